package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"moldau.io/moldau/cluster/link"
	"moldau.io/moldau/storage/vfs"
)

// Config is what a Gossip needs to know.
type Config struct {
	Link *link.Link

	// Name is the broker's, for logs. A process of the same name that comes later is another member.
	Name string

	// Meta says what others are to know of this broker. It is asked at Start, by Update, and at each join.
	Meta func() Member

	// FS and Path say where the addresses of members are remembered. No FS or path: nowhere.
	FS   vfs.FS
	Path string

	// Pace is the time between two probes, by which all other times go. Default 1 s.
	Pace time.Duration

	Logger *slog.Logger
}

const (
	// membersMax is more than any cluster has; what lies about more is not listened to.
	membersMax = 1000
	// lostMax is how long a broker is looked for that has not said good-bye.
	lostMax = 24 * time.Hour
	// retryMax is the longest pause, in paces, between two tries to find one.
	retryMax = 30
)

// leaveMessage is sent to all members by one that stops, with its name at memberlist.
const leaveMessage = "gossip.leave"

// Gossip is this broker's part in the gossip.
type Gossip struct {
	cfg  Config
	name string // at memberlist: of this process

	changes chan struct{}
	poke    chan struct{} // has a token when run has something to look at
	stop    context.CancelFunc
	ctx     context.Context
	wg      sync.WaitGroup

	starting sync.Mutex // held while list is made
	t        *transport

	mu      sync.Mutex
	list    *memberlist.Memberlist // nil while this broker is alone
	me      Member
	members map[string]Member // others, by name at memberlist
	lost    map[string]search // by cluster address
	said    map[string]bool

	written []byte // run's: what the memory holds
}

// search is for a broker that was there.
type search struct {
	since, next time.Time
	pause       time.Duration
}

// Start begins to listen to others. With nobody to look for it costs nothing until one comes.
func Start(cfg Config) (*Gossip, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Pace <= 0 {
		cfg.Pace = time.Second
	}
	g := &Gossip{
		cfg: cfg, changes: make(chan struct{}, 1), poke: make(chan struct{}, 1), members: map[string]Member{},
		lost: map[string]search{}, said: map[string]bool{}, name: fmt.Sprintf("%s/%x", cfg.Name, cfg.Link.Process()),
		t: &transport{
			link: cfg.Link, streams: make(chan net.Conn), packets: make(chan *memberlist.Packet), failed: map[string]error{},
		},
	}
	g.me = cfg.Meta()
	if _, err := g.me.encode(); err != nil {
		return nil, err
	}
	for _, addr := range g.recall() {
		if addr != cfg.Link.Addr() {
			g.lost[addr] = search{since: time.Now()}
		}
	}
	g.ctx, g.stop = context.WithCancel(context.Background())
	g.t.ctx = g.ctx
	cfg.Link.OnMessage(leaveMessage, g.left)
	g.wg.Go(g.takeStreams)
	g.wg.Go(g.run)
	return g, nil
}

// ensure makes the memberlist when it is first needed.
func (g *Gossip) ensure() (*memberlist.Memberlist, error) {
	g.starting.Lock()
	defer g.starting.Unlock()
	if list := g.current(); list != nil {
		return list, nil
	}
	if g.ctx.Err() != nil {
		return nil, link.ErrClosed
	}
	list, err := memberlist.Create(g.config())
	if err != nil {
		return nil, fmt.Errorf("begin to gossip: %w", err)
	}
	g.mu.Lock()
	g.list = list
	g.mu.Unlock()
	g.wg.Go(g.takePackets)
	return list, nil
}

func (g *Gossip) current() *memberlist.Memberlist {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.list
}

func (g *Gossip) config() *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.Name = g.name
	c.Transport = g.t
	c.Label = "moldau " + g.me.ClusterID
	c.SecretKey = g.cfg.Link.Key()
	c.ProbeInterval, c.ProbeTimeout = g.cfg.Pace, g.cfg.Pace/2
	c.GossipInterval = g.cfg.Pace / 2
	c.GossipToTheDeadTime = 30 * g.cfg.Pace
	c.PushPullInterval = 30 * g.cfg.Pace
	c.TCPTimeout = max(5*g.cfg.Pace, time.Second)
	c.QueueCheckInterval = time.Hour // it only warns of long queues
	c.LogOutput = &logWriter{log: g.cfg.Logger}
	h := hooks{g}
	c.Delegate, c.Events, c.Alive, c.Merge = h, h, h, h
	return c
}

// takeStreams hands on the streams that others open. The first wakes a broker that was alone.
func (g *Gossip) takeStreams() {
	for {
		select {
		case <-g.ctx.Done():
			return
		case c := <-g.cfg.Link.Streams():
			if _, err := g.ensure(); err != nil {
				_ = c.Close()
				continue
			}
			select {
			case g.t.streams <- c:
			case <-g.ctx.Done():
				_ = c.Close()
			}
		}
	}
}

// takePackets reads the UDP side of the port, which ends with the link or with this gossip.
func (g *Gossip) takePackets() {
	packets := g.cfg.Link.Packets()
	defer context.AfterFunc(g.ctx, func() { _ = packets.SetReadDeadline(time.Unix(1, 0)) })()
	buf := make([]byte, 64<<10)
	for {
		n, from, err := packets.ReadFrom(buf)
		if g.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n < 1 {
			continue // such as the answer to a packet that nobody took
		}
		p := &memberlist.Packet{Buf: slices.Clone(buf[:n]), From: from, Timestamp: time.Now()}
		select {
		case g.t.packets <- p:
		case <-g.ctx.Done():
			return
		}
	}
}

// Join looks for members at cluster addresses, and says how many answered. The error says of each why it did not.
func (g *Gossip) Join(ctx context.Context, addrs ...string) (int, error) {
	list, err := g.ensure()
	if err != nil {
		return 0, err
	}
	var errs []error
	found := 0
	for _, addr := range addrs {
		if err := g.joinOne(ctx, list, addr); err != nil {
			errs = append(errs, err)
			continue
		}
		found++
	}
	return found, errors.Join(errs...)
}

func (g *Gossip) joinOne(ctx context.Context, list *memberlist.Memberlist, addr string) error {
	to, err := resolve(ctx, addr)
	if err != nil {
		return fmt.Errorf("join %s: %w", addr, err)
	}
	if !g.begin() {
		return link.ErrClosed
	}
	done := make(chan error, 1)
	go func() { // memberlist knows no context; its own timeout ends it
		defer g.wg.Done()
		_, err := list.Join([]string{to.String()})
		done <- err
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		return fmt.Errorf("join %s: %w", addr, context.Cause(ctx))
	}
	if err != nil {
		if why := g.t.why(to.String()); why != nil {
			err = why
		}
		return fmt.Errorf("join %s: %w", addr, err)
	}
	return nil
}

func (g *Gossip) begin() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ctx.Err() != nil {
		return false
	}
	g.wg.Add(1)
	return true
}

// Members are this broker and the others of whom is heard, by id. Where two processes call themselves the same broker, it is
// the one that was started last.
func (g *Gossip) Members() []Member {
	g.mu.Lock()
	defer g.mu.Unlock()
	newest := map[int32]Member{int32(g.me.ID): g.me}
	for _, m := range g.members {
		if have, ok := newest[int32(m.ID)]; !ok || have.Started.Before(m.Started) {
			newest[int32(m.ID)] = m
		}
	}
	var out []Member
	for _, id := range slices.Sorted(maps.Keys(newest)) {
		m := newest[id]
		m.Listeners = slices.Clone(m.Listeners)
		out = append(out, m)
	}
	return out
}

// Changes has a token after the members have changed: one, however many changes there were. There can be one reader.
func (g *Gossip) Changes() <-chan struct{} { return g.changes }

// Update tells others what Meta says now.
func (g *Gossip) Update() error {
	me := g.cfg.Meta()
	if _, err := me.encode(); err != nil {
		return err
	}
	g.mu.Lock()
	same := g.me.equal(me)
	g.me = me
	list := g.list
	g.mu.Unlock()
	if same {
		return nil
	}
	g.changed()
	if list == nil {
		return nil
	}
	told := make(chan error, 1)
	go func() { told <- list.UpdateNode(10 * g.cfg.Pace) }()
	select {
	case err := <-told:
		if err != nil {
			return fmt.Errorf("tell other brokers what has changed of this one: %w", err)
		}
	case <-g.ctx.Done(): // nobody is told any more, and a broker that ends must not wait for that
	}
	return nil
}

func (g *Gossip) changed() {
	for _, ch := range []chan struct{}{g.changes, g.poke} {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// Leave says good-bye: the others do not look for this broker. Close must still be called.
func (g *Gossip) Leave(ctx context.Context) error {
	list := g.current()
	if list == nil {
		return nil
	}
	g.mu.Lock()
	addrs := map[string]bool{}
	for _, m := range g.members {
		addrs[m.Addr] = true
	}
	g.mu.Unlock()
	for addr := range addrs {
		g.cfg.Link.Send(addr, leaveMessage, []byte(g.name))
	}
	timeout := 4 * g.cfg.Pace
	if deadline, ok := ctx.Deadline(); ok {
		timeout = max(min(timeout, time.Until(deadline)), time.Millisecond)
	}
	return list.Leave(timeout)
}

// Close stops at once. The link must be closed after it.
func (g *Gossip) Close() error {
	g.mu.Lock()
	g.stop()
	g.mu.Unlock()
	g.starting.Lock()
	list := g.current()
	g.starting.Unlock()
	var err error
	if list != nil {
		err = list.Shutdown()
	}
	g.wg.Wait()
	return err
}
