package gossip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"go.uber.org/goleak"

	"moldau.io/moldau/cluster/link"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

// node is one broker as far as gossip goes.
type node struct {
	t    *testing.T
	id   int
	sw   *link.Switch
	port *link.Port
	fs   vfs.FS
	key  []byte
	rack string
	logs *logs

	link   *link.Link
	gossip *Gossip
}

type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

const pace = 100 * time.Millisecond

func newNode(t *testing.T, sw *link.Switch, id int) *node {
	return &node{t: t, id: id, sw: sw, fs: vfs.NewMem(), logs: &logs{}}
}

func (n *node) start(addr string) *node {
	n.t.Helper()
	cluster := func() string { return "CLUSTER" }
	n.port = n.sw.Of(fmt.Sprint(n.id))
	logger := slog.New(slog.NewTextHandler(n.logs, nil))
	var err error
	n.link, err = link.Listen(n.t.Context(), link.Config{
		Network: n.port, Addr: addr, Key: n.key, ClusterID: cluster, Logger: logger,
	})
	if err != nil {
		n.t.Fatal(err)
	}
	started := time.Now()
	n.gossip, err = Start(Config{
		Link: n.link, Name: fmt.Sprint(n.id), FS: n.fs, Path: "peers", Pace: pace, Logger: logger,
		Meta: func() Member {
			return Member{
				ID: protocol.BrokerID(n.id), ClusterID: cluster(), Addr: n.link.Addr(), Rack: n.rack, Version: "1.2",
				Quorum: uint64(n.id) << 40, Started: started, Listeners: []string{fmt.Sprintf("PLAINTEXT://127.0.0.1:%d", 9000+n.id)},
			}
		},
	})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(n.stop)
	return n
}

func (n *node) stop() {
	if err := n.gossip.Close(); err != nil {
		n.t.Error(err)
	}
	_ = n.link.Close() // it may be killed
}

// kill ends it as the end of its process would.
func (n *node) kill() {
	n.port.Kill()
	n.stop()
}

// sees is the ids of the members that it knows.
func (n *node) sees() string {
	var ids []string
	for _, m := range n.gossip.Members() {
		ids = append(ids, fmt.Sprint(m.ID))
	}
	return strings.Join(ids, " ")
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func allSee(t *testing.T, want string, nodes ...*node) {
	t.Helper()
	for _, n := range nodes {
		eventually(t, fmt.Sprintf("%d sees %s (it sees %s)", n.id, want, n.sees()), func() bool { return n.sees() == want })
	}
}

// cluster starts n brokers that have joined the first.
func cluster(t *testing.T, sw *link.Switch, n int, key []byte) []*node {
	t.Helper()
	var nodes []*node
	var all []string
	for id := 1; id <= n; id++ {
		x := newNode(t, sw, id)
		x.key = key
		x.start("127.0.0.1:0")
		nodes = append(nodes, x)
		all = append(all, fmt.Sprint(id))
		if id > 1 {
			if found, err := x.gossip.Join(t.Context(), nodes[rand.IntN(id-1)].link.Addr()); found != 1 || err != nil {
				t.Fatal(found, err)
			}
		}
	}
	allSee(t, strings.Join(all, " "), nodes...)
	return nodes
}

func TestFiveFindEachOtherThroughOne(t *testing.T) {
	for name, key := range map[string][]byte{"without a key": nil, "with a key": bytes.Repeat([]byte{3}, 32)} {
		t.Run(name, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			nodes := cluster(t, link.NewSwitch(), 5, key)
			for _, n := range nodes {
				for i, m := range n.gossip.Members() {
					of := nodes[i]
					if m.Addr != of.link.Addr() || m.Quorum != uint64(of.id)<<40 || m.Version != "1.2" || m.ClusterID != "CLUSTER" ||
						!slices.Equal(m.Listeners, []string{fmt.Sprintf("PLAINTEXT://127.0.0.1:%d", 9000+of.id)}) {
						t.Errorf("%d sees %+v", n.id, m)
					}
				}
				select {
				case <-n.gossip.Changes():
				default:
					t.Errorf("%d was told of no change", n.id)
				}
			}
			nodes[4].rack = "r5"
			if err := nodes[4].gossip.Update(); err != nil {
				t.Error(err)
			}
			eventually(t, "the rack is known", func() bool { return nodes[0].gossip.Members()[4].Rack == "r5" })
			for _, n := range nodes {
				n.stop()
			}
		})
	}
}

func TestOneThatLeavesIsNotLookedFor(t *testing.T) {
	nodes := cluster(t, link.NewSwitch(), 3, nil)
	if err := nodes[2].gossip.Leave(t.Context()); err != nil {
		t.Error(err)
	}
	nodes[2].stop()
	allSee(t, "1 2", nodes[0], nodes[1])
	for _, n := range nodes[:2] {
		if _, ok := n.gossip.nextSearch(); ok {
			t.Errorf("%d looks for it", n.id)
		}
		eventually(t, "it is forgotten", func() bool {
			return !slices.Contains(n.gossip.recall(), nodes[2].link.Addr())
		})
	}
}

func TestOneThatDiedComesBackAtAnotherAddress(t *testing.T) {
	nodes := cluster(t, link.NewSwitch(), 3, nil)
	old := nodes[2].link.Addr()
	nodes[2].kill()
	allSee(t, "1 2", nodes[0], nodes[1])
	if _, ok := nodes[0].gossip.nextSearch(); !ok {
		t.Error("nobody looks for it")
	}
	nodes[2].start("127.0.0.1:0") // it remembers the others
	allSee(t, "1 2 3", nodes...)
	if got := nodes[0].gossip.Members()[2].Addr; got == old || got != nodes[2].link.Addr() {
		t.Errorf("3 is at %s, and known at %s", nodes[2].link.Addr(), got)
	}
}

// Before its former life is known to be over, the new one counts.
func TestTheNewestLifeCounts(t *testing.T) {
	sw := link.NewSwitch()
	nodes := cluster(t, sw, 2, nil)
	twin := newNode(t, sw, 2).start("127.0.0.1:0")
	if _, err := twin.gossip.Join(t.Context(), nodes[0].link.Addr()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the twin is known", func() bool { return nodes[0].gossip.Members()[1].Addr == twin.link.Addr() })
	if got := nodes[0].sees(); got != "1 2" {
		t.Errorf("1 sees %s", got)
	}
	third := newNode(t, sw, 2).start("127.0.0.1:0") // it hears of its own former lives, and says nothing of them
	if _, err := third.gossip.Join(t.Context(), nodes[0].link.Addr()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it hears of 1", func() bool { return third.sees() == "1 2" })
	if log := third.logs.String(); strings.Contains(log, "broker=2") || strings.Count(log, "heard of a broker") != 1 {
		t.Errorf("%s", log)
	}
}

func TestAPartitionHealsByItself(t *testing.T) {
	sw := link.NewSwitch()
	nodes := cluster(t, sw, 5, nil)
	for _, a := range []string{"1", "2"} {
		for _, b := range []string{"3", "4", "5"} {
			sw.Cut(a, b)
		}
	}
	allSee(t, "1 2", nodes[:2]...)
	allSee(t, "3 4 5", nodes[2:]...)
	sw.HealAll()
	allSee(t, "1 2 3 4 5", nodes...)
}

// All of a cluster that was switched off find each other with no address given.
func TestTheMemoryIsEnough(t *testing.T) {
	sw := link.NewSwitch()
	nodes := cluster(t, sw, 3, nil)
	var addrs []string
	for _, n := range nodes {
		addrs = append(addrs, n.link.Addr())
		eventually(t, "both others are remembered", func() bool { return len(n.gossip.recall()) == 2 })
	}
	for _, n := range nodes {
		n.kill()
	}
	for i, n := range nodes {
		n.start(addrs[i])
	}
	allSee(t, "1 2 3", nodes...)
}

func TestOneThatIsAloneHasNoTimer(t *testing.T) {
	n := newNode(t, link.NewSwitch(), 1).start("127.0.0.1:0")
	if n.gossip.current() != nil {
		t.Error("it gossips with itself")
	}
	if _, ok := n.gossip.nextSearch(); ok {
		t.Error("it looks for somebody")
	}
	if err := errors.Join(n.gossip.Update(), n.gossip.Leave(t.Context())); err != nil {
		t.Error(err)
	}
}

func TestJoinSaysWhyNot(t *testing.T) {
	sw := link.NewSwitch()
	a, b := newNode(t, sw, 1).start("127.0.0.1:0"), newNode(t, sw, 2)
	b.key = bytes.Repeat([]byte{1}, 16)
	b.start("127.0.0.1:0")
	found, err := a.gossip.Join(t.Context(), b.link.Addr(), "127.0.0.1:1", "nowhere")
	if found != 0 || !errors.Is(err, link.ErrKey) || !errors.Is(err, link.ErrRefused) ||
		!strings.Contains(err.Error(), "moldau.gossip.key") || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("%d, %v", found, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.gossip.Join(ctx, b.link.Addr()); err == nil {
		t.Error("joined without time")
	}
}

func TestAnotherClustersMembersAreRefused(t *testing.T) {
	n := newNode(t, link.NewSwitch(), 1).start("127.0.0.1:0")
	stranger := func(cluster string) *memberlist.Node {
		m := Member{ID: 7, ClusterID: cluster, Addr: "127.0.0.1:1"}
		b, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		return &memberlist.Node{Name: "7/1", Meta: b}
	}
	h := hooks{n.gossip}
	for range 2 {
		if err := h.NotifyAlive(stranger("OTHER")); !errors.Is(err, link.ErrOtherCluster) {
			t.Errorf("%v", err)
		}
	}
	if got := strings.Count(n.logs.String(), "cluster=OTHER"); got != 1 {
		t.Errorf("it was said %d times", got)
	}
	if err := h.NotifyAlive(stranger("CLUSTER")); err != nil {
		t.Error(err)
	}
	if err := h.NotifyMerge([]*memberlist.Node{stranger("OTHER")}); err == nil {
		t.Error("merged with another cluster")
	}
	if err := h.NotifyMerge([]*memberlist.Node{stranger("OTHER"), stranger("CLUSTER")}); err != nil {
		t.Error("one liar keeps a cluster apart:", err)
	}
	if err := h.NotifyAlive(&memberlist.Node{Name: "x", Meta: []byte("nonsense")}); err == nil {
		t.Error("took one that does not say who it is")
	}
}

// TestI48_GossipIsAdvisory: whatever comes by UDP, members stay and nothing breaks.
func TestI48_GossipIsAdvisory(t *testing.T) {
	for name, key := range map[string][]byte{"without a key": nil, "with a key": bytes.Repeat([]byte{3}, 32)} {
		t.Run(name, func(t *testing.T) {
			sw := link.NewSwitch()
			nodes := cluster(t, sw, 3, key)
			c, err := net.Dial("udp", nodes[0].link.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			rng := rand.New(rand.NewPCG(1, 2))
			for i := range 3000 {
				b := make([]byte, rng.IntN(300))
				for j := range b {
					b[j] = byte(rng.Uint32())
				}
				if i%2 == 0 { // as far as the inner messages, where there is no key
					b = append([]byte("\xf4\x0emoldau CLUSTER"), append([]byte{byte(rng.IntN(14))}, b...)...)
				}
				_, _ = c.Write(b) // a full buffer loses some
			}
			nodes[1].rack = "after"
			if err := nodes[1].gossip.Update(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "news still arrive", func() bool {
				m := nodes[0].gossip.Members()
				return len(m) == 3 && m[1].Rack == "after"
			})
		})
	}
}

func TestALongListOfListenersIsCut(t *testing.T) {
	m := Member{ID: 1, Addr: "a:1", Listeners: slices.Repeat([]string{"PLAINTEXT://host.example:9092"}, 40)}
	b, err := m.encode()
	if err != nil || len(b) > memberlist.MetaMaxSize {
		t.Fatal(len(b), err)
	}
	if got, err := decode(b); err != nil || len(got.Listeners) < 10 || got.Addr != "a:1" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := (Member{Rack: strings.Repeat("r", 600)}).encode(); err == nil {
		t.Error("a rack of 600 bytes was taken")
	}
}

func FuzzMember(f *testing.F) {
	b, _ := Member{ID: 1, ClusterID: "c", Addr: "a:1", Listeners: []string{"x"}, Rack: "r", Version: "v", Quorum: 9}.encode()
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decode(b)
		if err != nil {
			return
		}
		if again, err := m.encode(); err == nil {
			if m2, err := decode(again); err != nil || len(b) <= memberlist.MetaMaxSize && !m2.equal(m) {
				t.Errorf("%+v became %+v (%v)", m, m2, err)
			}
		}
		parseMemory(append([]byte(memoryFirst+"\n"), b...))
	})
}
