package quorum

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

// member is one node of a test's quorum: a log, what its user makes of it, and its disk.
type member struct {
	id    uint64 // raft id
	node  protocol.BrokerID
	disk  *vfs.Mem
	log   *Log // nil: down
	lines []string
	index int64
	ready Ready
	wrap  func(vfs.FS) vfs.FS // goes around disk; may be nil
}

func (m *member) open(join bool) error {
	fs := vfs.FS(m.disk)
	if m.wrap != nil {
		fs = m.wrap(fs)
	}
	log, found, err := Open(Config{
		FS: fs, Dir: "data/quorum", Node: m.node, Raft: m.id, Join: join, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	m.log, m.id, m.index, m.lines = log, found.ID, found.SnapshotIndex, nil
	m.load(found.Snapshot)
	return nil
}

func (m *member) load(snapshot []byte) {
	m.lines = nil
	if len(snapshot) > 0 {
		m.lines = strings.Split(string(snapshot), "\n")
	}
}

// process does what a node does with its log.
func (m *member) process() ([]Message, error) {
	rd, err := m.log.Process()
	if err != nil {
		return nil, err
	}
	m.ready = rd
	if rd.Snapshot != nil {
		m.load(rd.Snapshot.Data)
		m.index = rd.Snapshot.Index
	}
	for _, e := range rd.Entries {
		if e.Index <= m.index {
			return nil, fmt.Errorf("entry %d comes after %d", e.Index, m.index)
		}
		m.index = e.Index
		m.lines = append(m.lines, string(e.Data))
	}
	if rd.SnapshotWanted {
		err = m.snapshot()
	}
	return rd.Messages, err
}

func (m *member) snapshot() error {
	return m.log.SaveSnapshot(m.index, []byte(strings.Join(m.lines, "\n")))
}

// group is a quorum whose messages all arrive, in order, but for those of members that are down or cut off.
type group struct {
	t       *testing.T
	members []*member
	cut     map[uint64]bool
	queue   []Message
	tap     func(Message)      // sees all that is sent; may be nil
	lose    func(Message) bool // may be nil
}

// newGroup is one voter and n-1 strangers that wait to be added.
func newGroup(t *testing.T, n int) *group {
	t.Helper()
	g := &group{t: t, cut: map[uint64]bool{}}
	for i := range n {
		g.add(i > 0)
	}
	g.run(0)
	return g
}

func (g *group) add(join bool) *member {
	g.t.Helper()
	i := len(g.members) + 1
	m := &member{id: uint64(i)<<40 + 7, node: protocol.BrokerID(i), disk: vfs.NewMem()}
	if err := m.open(join); err != nil {
		g.t.Fatal(err)
	}
	g.members = append(g.members, m)
	return m
}

// run lets n ticks pass, and all messages arrive after each.
func (g *group) run(n int) {
	g.t.Helper()
	g.settle()
	for range n {
		for _, m := range g.members {
			if m.log != nil {
				m.log.Tick()
			}
		}
		g.settle()
	}
}

func (g *group) settle() {
	g.t.Helper()
	for idle := false; !idle; {
		idle = true
		for _, m := range g.members {
			if m.log == nil {
				continue
			}
			out, err := m.process()
			if err != nil {
				g.t.Fatalf("member %d: %v", m.node, err)
			}
			for _, msg := range out {
				if g.tap != nil {
					g.tap(msg)
				}
			}
			if !g.cut[m.id] {
				g.queue = append(g.queue, out...)
			}
		}
		queue := g.queue
		g.queue = nil
		for _, msg := range queue {
			for _, m := range g.members {
				if m.id != msg.To || m.log == nil || g.cut[m.id] || g.lose != nil && g.lose(msg) {
					continue
				}
				if err := m.log.Step(msg.Data); err != nil {
					g.t.Fatalf("member %d: %v", m.node, err)
				}
				idle = false
			}
		}
	}
}

// leader waits for one that all members which can be reached know.
func (g *group) leader() *member {
	g.t.Helper()
	for range 100 {
		g.run(1)
		for _, m := range g.members {
			if m.log != nil && !g.cut[m.id] && m.log.leader.Leading {
				return m
			}
		}
	}
	g.t.Fatal("nobody leads")
	return nil
}

func (g *group) append(line string) {
	g.t.Helper()
	l := g.leader()
	if _, _, err := l.log.Append([]byte(line)); err != nil {
		g.t.Fatal(err)
	}
	g.run(1)
	if !slices.Contains(l.lines, line) {
		g.t.Fatalf("%q is not committed", line)
	}
}

func (g *group) change(c MemberChange) {
	g.t.Helper()
	for range 100 {
		err := g.leader().log.Change(c)
		if err == nil {
			g.run(2)
			return
		}
		if !errors.Is(err, ErrChanging) {
			g.t.Fatal(err)
		}
	}
	g.t.Fatal("the members are being changed for ever")
}

func (g *group) same(lines ...string) {
	g.t.Helper()
	for _, m := range g.members {
		if m.log != nil && !g.cut[m.id] && !slices.Equal(m.lines, lines) {
			g.t.Errorf("member %d has %q, want %q", m.node, m.lines, lines)
		}
	}
}

// grown is a group of n voters.
func grown(t *testing.T, n int) *group {
	t.Helper()
	g := newGroup(t, n)
	for _, m := range g.members[1:] {
		g.change(MemberChange{AddLearners: []uint64{m.id}})
		g.change(MemberChange{Promote: []uint64{m.id}})
	}
	if got := g.leader().log.Status().Members.Voters; len(got) != n {
		t.Fatalf("voters %v", got)
	}
	return g
}

func TestThreeNodesShareALog(t *testing.T) {
	g := grown(t, 3)
	g.append("one")
	g.append("two")
	g.run(2)
	g.same("one", "two")

	first := g.leader()
	first.log = nil
	g.append("three")
	if second := g.leader(); second.log.Status().Term <= first.ready.Leadership.Term {
		t.Errorf("term %d after %d", second.log.Status().Term, first.ready.Leadership.Term)
	}
	if err := first.open(true); err != nil {
		t.Fatal(err)
	}
	g.run(5)
	g.same("one", "two", "three")
}

// TestADeadLeaderIsReplacedInTime: within two election times of silence, and at once where the process is known to be dead.
func TestADeadLeaderIsReplacedInTime(t *testing.T) {
	for _, known := range []bool{false, true} {
		for range 20 {
			g := grown(t, 3)
			dead := g.leader()
			dead.log = nil
			if known {
				for _, m := range g.members {
					if m.log != nil {
						m.log.ForgetLeader(dead.id)
					}
				}
			}
			ticks := 0
			for ; ticks < 100 && !slices.ContainsFunc(g.members, func(m *member) bool {
				return m.log != nil && m.log.leader.Leading
			}); ticks++ {
				g.run(1)
			}
			if want := map[bool]int{false: 2*electionTicks + 6, true: 4}[known]; ticks > want {
				t.Errorf("known dead %v: %d ticks", known, ticks)
			}
		}
	}
}
