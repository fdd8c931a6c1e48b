package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"testing"
	"time"

	"moldau.io/moldau/cluster/link"
	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/cluster/quorum"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

// machine is one on which a node runs, or does not.
type machine struct {
	t    *testing.T
	sw   *link.Switch
	name string
	fs   *vfs.Mem
	port *link.Port
	addr string // the cluster address that it had
	id   Identity
	node *Node

	snapshotBytes int64
	asked         protocol.BrokerID
}

// machines are the machines of one test.
type machines struct {
	t   *testing.T
	sw  *link.Switch
	all []*machine
}

func newMachines(t *testing.T, names ...string) *machines {
	ms := &machines{t: t, sw: link.NewSwitch()}
	for _, name := range names {
		ms.all = append(ms.all, &machine{
			t: t, sw: ms.sw, name: name, fs: vfs.NewMem(), addr: "127.0.0.1:0", asked: -1,
		})
	}
	t.Cleanup(func() {
		ms.sw.HealAll()
		for _, m := range ms.all {
			if m.node != nil {
				m.node.Abandon()
			}
			m.stop()
		}
	})
	return ms
}

// cluster starts the first machine alone, and has the others join it.
func (ms *machines) cluster() []*Node {
	ms.t.Helper()
	var nodes []*Node
	for i, m := range ms.all {
		if i == 0 {
			m.id.NodeID = 1
			m.start()
		} else {
			m.start(ms.all[0].addr)
		}
		nodes = append(nodes, m.node)
	}
	return nodes
}

// vote waits until these brokers vote, and nobody else.
func (ms *machines) vote(want ...protocol.BrokerID) {
	ms.t.Helper()
	var got []protocol.BrokerID
	eventually(ms.t, fmt.Sprintf("%v vote, and all know", want), func() bool {
		for _, m := range ms.all {
			if m.node == nil {
				continue
			}
			st, err := m.node.quorumHere(ms.t.Context()) // as this one knows it
			if got = voters(st); err != nil || !slices.Equal(got, want) {
				return false
			}
		}
		return true
	})
}

// start runs the machine's node, and registers its broker.
func (m *machine) start(join ...string) {
	m.t.Helper()
	if err := m.try(m.t.Context(), join...); err != nil {
		m.t.Fatalf("%s: %v", m.name, err)
	}
	if err := m.node.Register(m.t.Context(), meta.RegisterBroker{}); err != nil {
		m.t.Fatalf("%s registers: %v", m.name, err)
	}
	if err := m.node.AwaitUnfenced(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) try(ctx context.Context, join ...string) error {
	m.t.Helper()
	m.port = m.sw.Of(m.name)
	a, err := Listen(ctx, AddressConfig{Network: m.port, Listen: m.addr})
	if err != nil {
		return err
	}
	m.addr = a.String()
	joining := m.id.ClusterID == "" && len(join) > 0
	if joining {
		id, _, err := a.Admit(ctx, JoinConfig{Addrs: join, Asked: m.asked, Patience: 20 * time.Second})
		if err != nil {
			_ = a.Close()
			return err
		}
		m.id = id
	}
	n, err := Start(ctx, Config{
		FS: m.fs, Dir: "data", ClusterID: m.id.ClusterID, NodeID: m.id.NodeID, Quorum: m.id.Quorum, Address: a,
		Joining: joining, Members: join, VoterPatience: time.Second, Logger: m.logger(), SnapshotBytes: m.snapshotBytes,
	})
	if err != nil {
		_ = a.Close()
		return err
	}
	m.node = n
	m.id = a.Self()
	return nil
}

func (m *machine) stop() {
	if m.node != nil {
		_ = m.node.Close()
		m.node = nil
	}
}

// kill ends the node as kill -9 would, as far as others can see: they are told nothing, and refused from then on.
func (m *machine) kill() {
	m.port.Kill()
	disk := m.fs.KillClone() // nothing that is written from now on has been promised to anybody
	m.node.Abandon()
	m.stop()
	m.fs = disk
}

// wipe empties the disk of a machine on which nothing runs.
func (m *machine) wipe() { m.fs, m.id = vfs.NewMem(), Identity{} }

// propose has a command decided within a second.
func (m *machine) propose(cmd meta.Command) error {
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Second)
	defer cancel()
	_, err := m.node.Propose(ctx, cmd)
	return err
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("it never came that %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (m *machine) quorum() QuorumStatus {
	ctx, cancel := context.WithTimeout(m.t.Context(), 20*time.Second)
	defer cancel()
	st, err := m.node.Quorum(ctx)
	if err != nil {
		m.t.Fatal(err)
	}
	return st
}

func voters(st QuorumStatus) (ids []protocol.BrokerID) {
	for _, m := range st.Members {
		if m.Voter {
			ids = append(ids, m.Broker)
		}
	}
	return ids
}

// same waits until all nodes have the same image, and returns it.
func same(t *testing.T, nodes ...*Node) *meta.Image {
	t.Helper()
	eventually(t, "all have the same metadata", func() bool {
		for _, n := range nodes[1:] {
			if n.Image().Offset() != nodes[0].Image().Offset() {
				return false
			}
		}
		return true
	})
	for _, n := range nodes[1:] {
		if a, b := dump(n.Image()), dump(nodes[0].Image()); a != b && n.Image().Offset() == nodes[0].Image().Offset() {
			t.Fatalf("I-39: at the same offset node %d has\n%s\nand node %d\n%s", n.cfg.NodeID, a, nodes[0].cfg.NodeID, b)
		}
	}
	return nodes[0].Image()
}

func TestThreeNodesBecomeACluster(t *testing.T) {
	ms := newMachines(t, "a", "b", "c")
	nodes := ms.cluster()
	for i, n := range nodes {
		if n.cfg.NodeID != protocol.BrokerID(i+1) {
			t.Errorf("machine %d became broker %d", i, n.cfg.NodeID)
		}
	}
	for i, n := range nodes { // also through those that do not lead
		propose(t, n, create(fmt.Sprint("t", i), 3))
		if n.Image().Topic(fmt.Sprint("t", i)) == nil {
			t.Errorf("broker %d answers before it knows", n.cfg.NodeID)
		}
	}
	im := same(t, nodes...)
	if len(im.Brokers()) != 3 || len(im.Topics()) != 3 {
		t.Errorf("%d brokers, %d topics", len(im.Brokers()), len(im.Topics()))
	}
	ms.vote(1, 2, 3)
}

// logger writes what a node says into the test's log, where it was asked for.
func (m *machine) logger() *slog.Logger {
	if os.Getenv("MOLDAU_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	h := slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})
	return slog.New(h).With("machine", m.name)
}

// TestANodeThatWasRemovedWhileItWasAwayComesBack: its own log says that it is a member. It learns from the others that it is
// none, and asks for a seat.
func TestANodeThatWasRemovedWhileItWasAwayComesBack(t *testing.T) {
	ms := newMachines(t, "a", "b", "c")
	nodes := ms.cluster()
	eventually(t, "all three vote", func() bool { return len(voters(ms.all[0].quorum())) == 3 })
	same(t, nodes...)
	away := ms.all[2]
	away.kill()
	if _, err := nodes[0].Propose(t.Context(), meta.UnregisterBroker{ID: away.id.NodeID}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is no member any more", func() bool {
		st := ms.all[0].quorum()
		return len(st.Members) == 2
	})
	away.start(ms.all[0].addr)
	eventually(t, "it is a member again", func() bool {
		st := ms.all[0].quorum()
		return len(st.Members) == 3
	})
}

// TestWhatIsLeftOfAClusterGoesOnAfterRecover: two of three machines are gone for good. The third's quorum is recovered, it leads
// alone, knows what the cluster had decided, and another machine can join it.
func TestWhatIsLeftOfAClusterGoesOnAfterRecover(t *testing.T) {
	ms := newMachines(t, "a", "b", "c")
	nodes := ms.cluster()
	eventually(t, "all three vote", func() bool { return len(voters(ms.all[0].quorum())) == 3 })
	left := ms.all[1]
	if _, err := nodes[0].Propose(t.Context(), create("kept", 1)); err != nil {
		t.Fatal(err)
	}
	same(t, nodes...)
	for _, m := range ms.all {
		m.kill()
	}
	r, err := quorum.Recover(left.fs, "data/quorum", NewQuorumID())
	if err != nil || r.Was.Node != left.id.NodeID || len(r.Was.Members.Voters) != 3 {
		t.Fatalf("%+v %v", r, err)
	}
	left.id.Quorum = 0
	left.start()
	if left.node.Image().Topic("kept") == nil {
		t.Error("the topic is lost")
	}
	if left.id.Quorum != r.ID {
		t.Errorf("id %d in the quorum, want %d", left.id.Quorum, r.ID)
	}
	back := ms.all[2]
	back.fs, back.id = vfs.NewMem(), Identity{NodeID: back.id.NodeID}
	back.start(left.addr)
	if _, err := back.node.Propose(t.Context(), create("new", 1)); err != nil {
		t.Fatal(err)
	}
	same(t, left.node, back.node)
}
