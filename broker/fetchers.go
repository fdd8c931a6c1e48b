package broker

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
)

// fetchers copy the partitions that this broker follows: num.replica.fetchers of them for each broker that leads any, with
// one connection each. A partition stays with one fetcher for as long as it has the same leader.
type fetchers struct {
	b       *Broker
	threads int
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	// The applying goroutine's.

	all     map[fetcherKey]*fetcher
	pending map[*fetcher][]change // of the image that is being applied

	failed struct { // partitions whose own log does not take what their leader sends, for the metrics
		sync.Mutex
		parts map[*Partition]bool
	}
}

type fetcherKey struct {
	leader protocol.BrokerID
	thread int
}

// change is a partition that is to be followed in a leader epoch, or that is not any more.
type change struct {
	p      *Partition
	epoch  protocol.Epoch
	follow bool
}

func newFetchers(b *Broker) *fetchers {
	fs := &fetchers{
		b: b, threads: max(1, int(b.static.Int("num.replica.fetchers"))),
		all: map[fetcherKey]*fetcher{}, pending: map[*fetcher][]change{},
	}
	fs.failed.parts = map[*Partition]bool{}
	fs.ctx, fs.cancel = context.WithCancel(context.Background())
	return fs
}

// thread spreads partitions over the fetchers of a leader.
func (fs *fetchers) thread(p *Partition) int {
	h := uint32(p.id.Partition)
	for _, c := range p.topicID {
		h = h*31 + uint32(c)
	}
	return int(h % uint32(fs.threads))
}

// follow has p fetched from a leader. It takes effect with flush.
func (fs *fetchers) follow(p *Partition, leader protocol.BrokerID, epoch protocol.Epoch) {
	key := fetcherKey{leader, fs.thread(p)}
	f := fs.all[key]
	if f == nil {
		f = newFetcher(fs.b, key)
		fs.all[key] = f
		fs.wg.Go(func() { f.run(fs.ctx) })
	}
	if p.fetcher != nil && p.fetcher != f {
		fs.leave(p)
	}
	p.fetcher = f
	fs.pending[f] = append(fs.pending[f], change{p: p, epoch: epoch, follow: true})
}

// leave ends the fetching of p. It takes effect with flush.
func (fs *fetchers) leave(p *Partition) {
	if f := p.fetcher; f != nil {
		p.fetcher = nil
		fs.pending[f] = append(fs.pending[f], change{p: p})
	}
}

// flush tells the fetchers what has changed; all of them look again for their leaders where brokers have changed.
func (fs *fetchers) flush(brokersChanged bool) {
	for f, changes := range fs.pending {
		f.post(changes)
		delete(fs.pending, f)
	}
	if brokersChanged {
		for _, f := range fs.all {
			f.retry()
		}
	}
}

// stop ends all fetchers and waits for them.
func (fs *fetchers) stop() {
	fs.cancel()
	for _, f := range fs.all {
		f.interrupt()
	}
	fs.wg.Wait()
}

// fails and cured note whether a partition can be followed.
func (fs *fetchers) fails(p *Partition) {
	fs.failed.Lock()
	defer fs.failed.Unlock()
	fs.failed.parts[p] = true
}

func (fs *fetchers) cured(p *Partition) {
	fs.failed.Lock()
	defer fs.failed.Unlock()
	delete(fs.failed.parts, p)
}

// failures is how many partitions cannot be followed, for the metrics.
func (fs *fetchers) failures() int {
	fs.failed.Lock()
	defer fs.failed.Unlock()
	return len(fs.failed.parts)
}

// brokerEpoch is the registration under which this broker fetches and proposes, -1 before there is one.
func (b *Broker) brokerEpoch() int64 {
	if br := b.newest().Broker(b.nodeID()); br != nil && br.Incarnation == b.node.Incarnation() {
		return br.Epoch
	}
	return -1
}

// dial connects to an address of another broker.
func (b *Broker) dial(ctx context.Context, addr string) (net.Conn, error) {
	if b.cfg.Network != nil {
		return b.cfg.Network.Dial(ctx, addr)
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}

// dialLeader connects to another broker by the listener that brokers use among themselves.
func (b *Broker) dialLeader(ctx context.Context, id protocol.BrokerID) (net.Conn, error) {
	br := b.newest().Broker(id)
	if br == nil {
		return nil, fmt.Errorf("broker %d is not registered", id)
	}
	l, ok := b.interBroker(br)
	if !ok {
		return nil, fmt.Errorf("broker %d has no listener for other brokers", id)
	}
	ctx, cancel := context.WithTimeout(ctx, max(time.Second, b.static.Millis("replica.socket.timeout.ms")/6))
	defer cancel()
	nc, err := b.dial(ctx, net.JoinHostPort(l.Host, strconv.Itoa(int(l.Port))))
	if err != nil {
		return nil, err
	}
	if t, ok := nc.(*net.TCPConn); ok {
		_ = t.SetNoDelay(true)
	}
	return nc, nil
}

// interBroker is where other brokers reach br: by inter.broker.listener.name, else by the first listener with
// security.inter.broker.protocol. An address that only says where the client has come from is that of the cluster.
func (b *Broker) interBroker(br *meta.Broker) (meta.Listener, bool) {
	name, _ := b.static.Get("inter.broker.listener.name")
	protocolName, _ := b.static.Get("security.inter.broker.protocol")
	if protocolName == "" {
		protocolName = "PLAINTEXT"
	}
	for _, l := range br.Listeners {
		if name != "" && l.Name != name || name == "" && l.Protocol != protocolName {
			continue
		}
		if l.Host == "" {
			if host, _, err := net.SplitHostPort(br.Cluster); err == nil {
				l.Host = host
			}
		}
		return l, true
	}
	return meta.Listener{}, false
}
