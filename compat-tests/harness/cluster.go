package harness

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// seat is a broker's place in a cluster. The zero seat is that of a broker of its own.
type seat struct {
	number      int      // from 1; Kafka's node id
	host        string   // default 127.0.0.1
	namespace   string   // of the network, "" for the machine's
	controllers string   // Kafka: the addresses of all controllers
	join        []string // moldau: cluster addresses of brokers that are there
	numbered    bool     // moldau: the number is its node id too
}

// ClusterConfig is how several brokers are started.
type ClusterConfig struct {
	Kind       Kind              // UnderTest() when empty
	Brokers    int               // default 3
	Properties map[string]string // of each, beside the stock ones
	JavaHeap   string            // of each; default 512M
	Net        *Net              // nil: loopback
	Binary     string            // of moldau, where it is not the one built from this tree
	Numbered   bool              // moldau: brokers are told their ids, as Kafka's are, and not given them by the cluster
}

// Cluster is several brokers that know each other. Brokers that are added later are at the end of Brokers.
type Cluster struct {
	Kind    Kind
	Brokers []*Broker

	cfg ClusterConfig
}

// readyLimit is how long brokers may take to find each other. It is no measure of anything.
const readyLimit = 4 * time.Minute

// AnswerLimit is how long an answer may take that is no story of its own. It is no measure of anything.
const AnswerLimit = 10 * time.Second

// StartCluster starts brokers by one command each and waits until each of them knows all. They are stopped when the test ends.
func StartCluster(tb testing.TB, cfg ClusterConfig) *Cluster {
	tb.Helper()
	cfg.Kind = cmp.Or(cfg.Kind, UnderTest())
	cfg.Brokers = cmp.Or(cfg.Brokers, 3)
	cfg.JavaHeap = cmp.Or(cfg.JavaHeap, "512M")
	c := &Cluster{Kind: cfg.Kind, cfg: cfg}
	for range cfg.Brokers {
		c.prepare(tb)
	}
	if c.Kind == Kafka {
		c.formatKafka(tb)
	}
	for _, b := range c.Brokers {
		b.Launch(tb)
		b.endWith(tb)
	}
	c.AwaitBrokers(tb, len(c.Brokers))
	c.awaitVoters(tb, min(3, len(c.Brokers)))
	return c
}

// awaitVoters waits until the loss of one of the first brokers does not stop the others.
func (c *Cluster) awaitVoters(tb testing.TB, n int) {
	tb.Helper()
	deadline := time.Now().Add(readyLimit)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, voters, err := c.Brokers[0].Quorum(2 * time.Second)
		if err == nil && voters >= n {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("%d of %d brokers vote after %v: %v", voters, n, readyLimit, err)
		}
		<-tick.C
	}
}

// Quorum is the id of the broker that leads the metadata quorum, and how many vote.
func (b *Broker) Quorum(limit time.Duration) (leader int32, voters int, err error) {
	c, err := Dial(b.Addr)
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	req := kmsg.NewPtrDescribeQuorumRequest()
	req.Version = 1
	t := kmsg.NewDescribeQuorumRequestTopic()
	t.Topic = "__cluster_metadata"
	t.Partitions = append(t.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
	req.Topics = append(req.Topics, t)
	resp, err := c.Ask(req, limit)
	if err != nil {
		return 0, 0, err
	}
	for _, t := range resp.(*kmsg.DescribeQuorumResponse).Topics {
		for _, p := range t.Partitions {
			if p.LeaderID >= 0 && p.ErrorCode == 0 {
				return p.LeaderID, len(p.CurrentVoters), nil
			}
		}
	}
	return 0, 0, fmt.Errorf("%s names no leader of the metadata quorum: %+v", b.name(), resp)
}

// prepare makes the next broker, without starting it.
func (c *Cluster) prepare(tb testing.TB) *Broker {
	tb.Helper()
	dir := tb.TempDir()
	n := len(c.Brokers) + 1
	b := &Broker{Kind: c.Kind, DataDir: filepath.Join(dir, "data"), LogFile: filepath.Join(dir, "broker.log"),
		cfg: Config{Kind: c.Kind, Properties: maps.Clone(c.cfg.Properties), JavaHeap: c.cfg.JavaHeap, Binary: c.cfg.Binary}}
	b.cfg.seat = seat{number: n, host: "127.0.0.1", numbered: c.cfg.Numbered}
	if c.cfg.Net != nil {
		b.cfg.seat.host, b.cfg.seat.namespace = c.cfg.Net.Host(n), c.cfg.Net.Namespace(n)
	}
	for i := range b.ports {
		b.ports[i] = steadyPort(tb)
	}
	b.Addr = b.local(0)
	if c.Kind == Moldau && n > 1 {
		b.cfg.seat.join = []string{c.Brokers[0].ClusterAddr()}
	}
	c.Brokers = append(c.Brokers, b)
	return b
}

// formatKafka makes the brokers so far the voters of a new cluster.
func (c *Cluster) formatKafka(tb testing.TB) {
	tb.Helper()
	for _, b := range c.Brokers {
		b.cfg.seat.controllers = c.controllers()
	}
	var wg sync.WaitGroup
	for _, b := range c.Brokers {
		wg.Go(func() { b.formatKafka(tb, "--initial-controllers", c.voters()) })
	}
	wg.Wait()
	if tb.Failed() {
		tb.FailNow()
	}
}

// voters is how Kafka's storage tool wants them named.
func (c *Cluster) voters() string {
	voters := make([]string, c.cfg.Brokers)
	for i, b := range c.Brokers[:c.cfg.Brokers] {
		id := make([]byte, 16)
		id[0], id[15] = 0x4d, byte(i+1)
		voters[i] = fmt.Sprintf("%d@%s:%s", i+1, b.local(1), base64.RawURLEncoding.EncodeToString(id))
	}
	return strings.Join(voters, ",")
}

func (c *Cluster) controllers() string {
	var all []string
	for _, b := range c.Brokers[:c.cfg.Brokers] {
		all = append(all, b.local(1))
	}
	return strings.Join(all, ",")
}

// Add starts one more broker and waits until all know it.
func (c *Cluster) Add(tb testing.TB) *Broker {
	tb.Helper()
	b := c.prepare(tb)
	if c.Kind == Kafka {
		b.cfg.seat.controllers = c.controllers()
		b.formatKafka(tb, "--no-initial-controllers")
	}
	b.Launch(tb)
	b.endWith(tb)
	c.AwaitBrokers(tb, len(c.Brokers))
	return b
}

// Wipe removes a broker's data folder, which its next start makes anew. The command is the same, but for the first broker: it
// was started without a member to join, and would be another cluster's first.
func (c *Cluster) Wipe(tb testing.TB, b *Broker) {
	tb.Helper()
	if err := os.RemoveAll(b.DataDir); err != nil {
		tb.Fatal(err)
	}
	if c.Kind == Kafka {
		b.formatKafka(tb, "--initial-controllers", c.voters())
		return
	}
	if len(b.cfg.seat.join) == 0 {
		for _, other := range c.Brokers {
			if other != b {
				b.cfg.seat.join = append(b.cfg.seat.join, other.ClusterAddr())
			}
		}
	}
}

// Join has a broker's next start join others than those it was first told of.
func (b *Broker) Join(members ...*Broker) {
	b.cfg.seat.join = nil
	for _, m := range members {
		b.cfg.seat.join = append(b.cfg.seat.join, m.ClusterAddr())
	}
}

// Upgrade gives a broker another program, of which its next start is.
func (b *Broker) Upgrade(binary string) { b.cfg.Binary = binary }

// Addrs are the addresses of all Kafka listeners.
func (c *Cluster) Addrs() []string {
	var all []string
	for _, b := range c.Brokers {
		all = append(all, b.Addr)
	}
	return all
}

// Bootstrap is Addrs with commas.
func (c *Cluster) Bootstrap() string { return strings.Join(c.Addrs(), ",") }

// At is the broker that listens on an address, nil if none does.
func (c *Cluster) At(host string, port int32) *Broker {
	for _, b := range c.Brokers {
		if b.Addr == net.JoinHostPort(host, strconv.Itoa(int(port))) {
			return b
		}
	}
	return nil
}

// AwaitBrokers waits until each broker names n brokers.
func (c *Cluster) AwaitBrokers(tb testing.TB, n int) {
	tb.Helper()
	deadline := time.Now().Add(readyLimit)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for _, b := range c.Brokers {
		for {
			known, err := b.brokersKnown()
			if err == nil && known == n {
				break
			}
			select {
			case <-b.done:
				tb.Fatalf("%s ended (%v) before it knew %d brokers", b.name(), b.cmd.ProcessState, n)
			case <-tick.C:
			}
			if time.Now().After(deadline) {
				tb.Fatalf("%s knows %d brokers, not %d, after %v: %v", b.name(), known, n, readyLimit, err)
			}
		}
	}
}

func (b *Broker) brokersKnown() (int, error) {
	resp, err := b.Metadata(context.Background(), 2*time.Second)
	if err != nil {
		return 0, err
	}
	return len(resp.Brokers), nil
}

// Metadata is what this broker says of the named topics; of none without names.
func (b *Broker) Metadata(ctx context.Context, limit time.Duration, topics ...string) (*kmsg.MetadataResponse, error) {
	c, err := Dial(b.Addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 12
	req.Topics = []kmsg.MetadataRequestTopic{}
	for _, name := range topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(name)
		req.Topics = append(req.Topics, t)
	}
	resp, err := c.Ask(req, limit)
	if err != nil {
		return nil, err
	}
	return resp.(*kmsg.MetadataResponse), nil
}

// Ports of brokers that go and come back are below those that the kernel gives to clients: between two lives of a broker
// a client's connection could take its port, or reach itself there.
const (
	steadyFrom = 21500
	steadyTo   = 21700
)

var steady struct {
	sync.Mutex
	next int
}

// SteadyAddr is an address on loopback whose port no client is given by chance while nobody listens there.
func SteadyAddr(tb testing.TB) string {
	tb.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(steadyPort(tb)))
}

func steadyPort(tb testing.TB) int {
	tb.Helper()
	steady.Lock()
	defer steady.Unlock()
	if steady.next == 0 {
		steady.next = steadyFrom + rand.IntN(steadyTo-steadyFrom)
	}
	for range steadyTo - steadyFrom {
		port := steady.next
		if steady.next++; steady.next == steadyTo {
			steady.next = steadyFrom
		}
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			_ = l.Close()
			return port
		}
	}
	tb.Fatalf("no free port from %d to %d", steadyFrom, steadyTo)
	return 0
}
