package quorum

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestAFolderOfASingleBrokerGrows: what an older version has written, with the id that is made of the node's, opens as it is,
// takes other members, and still knows itself when the node it is asked for is another.
func TestAFolderOfASingleBrokerGrows(t *testing.T) {
	old, _ := image(t)
	first := &member{node: 1, disk: old}
	if err := first.open(false); err != nil {
		t.Fatal(err)
	}
	if first.id != 2 {
		t.Fatalf("raft id %d", first.id)
	}
	g := &group{t: t, cut: map[uint64]bool{}, members: []*member{first}}
	g.run(0)
	g.same("one", "two", "three")
	for range 2 {
		m := g.add(true)
		g.change(MemberChange{Promote: []uint64{m.id}})
	}
	g.append("four")
	g.run(2)
	g.same("one", "two", "three", "four")
	for range 2 { // as it was written, and once it has been cut
		if err := first.log.Close(); err != nil {
			t.Fatal(err)
		}
		if err := first.open(false); err != nil || first.id != 2 {
			t.Fatalf("id %d: %v", first.id, err)
		}
		g.leader()
		g.run(2)
		if err := first.snapshot(); err != nil {
			t.Fatal(err)
		}
	}
	if err := first.log.Close(); err != nil {
		t.Fatal(err)
	}
	other := &member{node: 7, disk: old}
	if err := other.open(false); err == nil || !strings.Contains(err.Error(), "belongs to node 1") {
		t.Errorf("%v", err)
	}
}

// TestAMemberThatIsRemovedWhileItIsAwayKnowsItAfterwards, voters and learners alike.
func TestAMemberThatIsRemovedWhileItIsAwayKnowsItAfterwards(t *testing.T) {
	g := grown(t, 4)
	lead := g.leader()
	away := g.members[(slices.Index(g.members, lead)+1)%4]
	learner := g.members[(slices.Index(g.members, lead)+2)%4]
	g.change(MemberChange{Demote: []uint64{learner.id}})
	g.run(2)
	g.cut[away.id], g.cut[learner.id] = true, true
	g.change(MemberChange{Remove: []uint64{away.id, learner.id}})
	g.append("without them")
	clear(g.cut)
	for _, m := range []*member{away, learner} {
		if m.log.Status().Removed {
			t.Errorf("node %d knows before it has been told", m.node)
		}
	}
	term := lead.log.Status().Term
	g.run(3 * askTicks)
	for _, m := range []*member{away, learner} {
		if !m.log.Status().Removed || !m.ready.Removed {
			t.Errorf("node %d does not know", m.node)
		}
	}
	g.append("undisturbed")
	if now := g.leader(); now != lead || now.log.Status().Term != term {
		t.Error("who was removed has cost the leader its lead")
	}
	g.change(MemberChange{AddLearners: []uint64{away.id}})
	g.run(5)
	if away.log.Status().Removed || away.ready.Removed || !slices.Equal(away.lines, lead.lines) {
		t.Errorf("added again: %+v", away.log.Status())
	}
}

func TestALeaderDoesNotTakeItsOwnVote(t *testing.T) {
	g := grown(t, 2)
	lead, other := g.leader(), g.members[1]
	if lead == other {
		other = g.members[0]
	}
	for _, c := range []MemberChange{{Remove: []uint64{lead.id}}, {Demote: []uint64{lead.id}}} {
		if err := lead.log.Change(c); !errors.Is(err, ErrOwnVote) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	lead.log.Transfer(other.id)
	if _, _, err := lead.log.Append([]byte("meanwhile")); !errors.Is(err, ErrNotLeader) {
		t.Errorf("while it hands over: %v", err)
	}
	g.run(2)
	if g.leader() != other {
		t.Fatal("the lead has not moved")
	}
	g.change(MemberChange{Remove: []uint64{lead.id}})
	g.append("alone")
	if err := other.log.Change(MemberChange{Remove: []uint64{other.id}}); !errors.Is(err, ErrOwnVote) {
		t.Errorf("the last one: %v", err)
	}
}

// TestALeaderThatEndsWithItsVoteIsNotMissed: a leader inherits a change that takes its own vote. It ends, with a longer log than
// the other, before the other knows that the change is committed. The other asks, and goes on alone.
func TestALeaderThatEndsWithItsVoteIsNotMissed(t *testing.T) {
	g := grown(t, 2)
	lead, other := g.leader(), g.members[1]
	if lead == other {
		other = g.members[0]
	}
	if err := lead.log.raft.ProposeConfChange(MemberChange{Remove: []uint64{lead.id}}.encode()); err != nil {
		t.Fatal(err)
	}
	deliver := func(from, to *member) {
		out, err := from.process()
		for _, m := range out {
			if err == nil && m.To == to.id {
				err = to.log.Step(m.Data)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	deliver(lead, other)
	if _, _, err := lead.log.Append([]byte("behind the change")); err != nil {
		t.Fatal(err)
	}
	deliver(other, lead)
	if _, err := lead.process(); err != nil { // what it would say of the commit is lost
		t.Fatal(err)
	}
	if st := lead.log.Status(); !st.Removed || st.Last <= other.log.Status().Last {
		t.Fatalf("%+v, the other %+v", st, other.log.Status())
	}
	g.run(4 * askTicks)
	if st := other.log.Status(); !st.Leading || !slices.Equal(st.Members.Voters, []uint64{other.id}) {
		t.Errorf("%+v", st)
	}
}

// TestALargeSnapshotGoesInPieces to a new member, with a window of them on their way, while another is saved and the log goes on.
func TestALargeSnapshotGoesInPieces(t *testing.T) {
	g := newGroup(t, 1)
	line := strings.Repeat("x", 100_000)
	for i := range 50 {
		g.append(fmt.Sprint(i, line))
	}
	if err := g.members[0].snapshot(); err != nil {
		t.Fatal(err)
	}
	largest, pieces, before := 0, 0, false
	g.tap = func(m Message) {
		largest = max(largest, len(m.Data))
		if m.Data[0] == byte(msgPiece) {
			if pieces++; pieces == 10 {
				before = true
				if err := g.members[0].snapshot(); err != nil {
					t.Error(err)
				}
			}
		}
	}
	m := g.add(true)
	g.change(MemberChange{AddLearners: []uint64{m.id}})
	g.append("more")
	g.run(5)
	if len(m.lines) != 51 || m.lines[49] != g.members[0].lines[49] {
		t.Errorf("%d lines", len(m.lines))
	}
	if largest > 300<<10 || pieces < 19 || !before {
		t.Errorf("%d pieces, the largest message has %d bytes", pieces, largest)
	}
	if len(g.members[0].log.out) != 0 || m.log.in != nil {
		t.Error("something is left of it")
	}
	if _, err := m.disk.Stat("data/quorum/" + partName); err == nil {
		t.Error("its file is left")
	}
	again := &member{id: m.id, node: m.node, disk: m.disk.CrashClone(rand.New(rand.NewPCG(1, 1)), 0)}
	if err := again.open(true); err != nil {
		t.Fatal(err)
	}
	if _, err := again.process(); err != nil || !slices.Equal(again.lines, m.lines) {
		t.Errorf("after a crash: %d lines, %v", len(again.lines), err)
	}
}

func TestAStatusSaysHowFarTheMembersAre(t *testing.T) {
	g := grown(t, 3)
	g.append("one")
	g.run(2)
	lead := g.leader()
	away := g.members[(slices.Index(g.members, lead)+1)%3]
	g.run(3)
	of := func(id uint64) Progress {
		for _, p := range lead.log.Status().Progress {
			if p.ID == id {
				return p
			}
		}
		t.Fatalf("no progress of %d", id)
		return Progress{}
	}
	if p := of(away.id); p.Match != lead.log.Status().Last || p.ContactTicks > 1 || p.CaughtUpTicks > 1 || !p.Active {
		t.Errorf("%+v", p)
	}
	g.cut[away.id] = true
	g.append("two")
	g.run(electionTicks + 5)
	if p := of(away.id); p.Match >= lead.log.Status().Last || p.ContactTicks < electionTicks || p.CaughtUpTicks < p.ContactTicks ||
		p.Active {
		t.Errorf("cut off: %+v", p)
	}
	if p := of(lead.id); p.Match != lead.log.Status().Last || p.ContactTicks != 0 || !p.Active {
		t.Errorf("itself: %+v", p)
	}
	clear(g.cut)
	g.run(3)
	if p := of(away.id); p.Match != lead.log.Status().Last || p.CaughtUpTicks > 1 || !p.Active {
		t.Errorf("back again: %+v", p)
	}
	if m := g.members; m[0] != lead && m[0].log.Status().Progress != nil {
		t.Error("a follower knows how far others are")
	}
}

// TestAProposalIsKeptOrLost: an entry that a leader could not commit has its place taken by another's, and Ready says so.
func TestAProposalIsKeptOrLost(t *testing.T) {
	g := grown(t, 3)
	old := g.leader()
	g.cut[old.id] = true
	index, term, err := old.log.Append([]byte("lost"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old.process(); err != nil {
		t.Fatal(err)
	}
	lead := func() *member { // for the old one still takes itself for the leader
		for range 60 {
			g.run(1)
			for _, m := range g.members {
				if m != old && m.log.leader.Leading {
					return m
				}
			}
		}
		t.Fatal("nobody leads")
		return nil
	}()
	at, _, err := lead.log.Append([]byte("kept"))
	if err != nil {
		t.Fatal(err)
	}
	g.run(1)
	clear(g.cut)
	g.run(5)
	g.same("kept")
	if old.ready.Applied < index || at < index || old.ready.Leadership.Term <= term {
		t.Errorf("entry %d of term %d: %+v", index, term, old.ready)
	}
	if _, _, err := old.log.Append([]byte("x")); !errors.Is(err, ErrNotLeader) {
		t.Error(err)
	}
	if _, _, err := lead.log.Append(bytes.Repeat([]byte("x"), entryBytesMax+1)); err == nil {
		t.Error("an entry of any size is taken")
	}
}

// TestALeaderThatIsNoneAnyMoreIsNotConfirmed: it has been cut off, and does not know yet that another leads.
func TestALeaderThatIsNoneAnyMoreIsNotConfirmed(t *testing.T) {
	alone := newGroup(t, 1).members[0]
	if ticket, err := alone.log.Confirm(); err != nil {
		t.Fatal(err)
	} else if _, err := alone.process(); err != nil || alone.ready.Confirmed != ticket {
		t.Errorf("alone: %+v %v", alone.ready, err)
	}
	g := grown(t, 3)
	old := g.leader()
	ticket, err := old.log.Confirm()
	if err != nil {
		t.Fatal(err)
	}
	g.run(1)
	if old.ready.Confirmed != ticket {
		t.Errorf("with all there: %+v", old.ready)
	}
	g.cut[old.id] = true
	for _, m := range g.members {
		if m != old {
			m.log.ForgetLeader(old.id)
		}
	}
	g.leader() // another, long before the old one gives up
	if !old.log.leads() {
		t.Fatal("the old one knows")
	}
	later, err := old.log.Confirm()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 * electionTicks {
		g.run(1)
		if old.ready.Confirmed >= later {
			t.Fatal("it is confirmed")
		}
	}
	clear(g.cut)
	g.run(5)
	if _, err := old.log.Confirm(); !errors.Is(err, ErrNotLeader) || old.ready.Confirmed >= later {
		t.Errorf("%v, %+v", err, old.ready)
	}
}

// TestASnapshotKeepsTermAndVote: they are in the log file, which a snapshot replaces.
func TestASnapshotKeepsTermAndVote(t *testing.T) {
	g := grown(t, 3)
	g.append("one")
	g.run(2)
	for _, m := range g.members {
		before := m.log.raft.BasicStatus().HardState
		if err := m.snapshot(); err != nil {
			t.Fatal(err)
		}
		again := &member{id: m.id, node: m.node, disk: m.disk.CrashClone(rand.New(rand.NewPCG(1, 1)), 0)}
		if err := again.open(true); err != nil {
			t.Fatal(err)
		}
		after := again.log.raft.BasicStatus().HardState
		if after.GetTerm() != before.GetTerm() || after.GetVote() != before.GetVote() || after.GetCommit() != before.GetCommit() {
			t.Errorf("node %d had %v and has %v", m.node, before, after)
		}
	}
}

// TestALeaderLeadsOnceAllBeforeItIsCommitted: what it decides must build on everything that earlier leaders have committed, and
// it knows that only when an entry of its own term is.
func TestALeaderLeadsOnceAllBeforeItIsCommitted(t *testing.T) {
	g := grown(t, 3)
	old := g.leader()
	next := g.members[(slices.Index(g.members, old)+1)%3]
	third := g.members[(slices.Index(g.members, old)+2)%3]
	if _, _, err := old.log.Append([]byte("under way")); err != nil {
		t.Fatal(err)
	}
	pass := func(from, to *member) {
		t.Helper()
		out, err := from.process()
		for _, m := range out {
			if err == nil && m.To == to.id {
				err = to.log.Step(m.Data)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	pass(old, next)
	pass(next, old)
	for _, m := range []*member{next, third} {
		m.log.ForgetLeader(old.id)
	}
	next.log.Campaign()
	for range 3 {
		pass(next, third)
		if st := next.log.raft.BasicStatus(); st.Lead == next.id {
			break
		}
		pass(third, next)
	}
	if _, err := next.process(); err != nil {
		t.Fatal(err)
	}
	if st := next.log.raft.BasicStatus(); st.Lead != next.id {
		t.Fatalf("%+v", st)
	}
	if next.log.leader.Leading || len(next.lines) > 0 {
		t.Errorf("%+v with %q", next.log.leader, next.lines)
	}
	if _, _, err := next.log.Append([]byte("x")); !errors.Is(err, ErrNotLeader) {
		t.Error(err)
	}
	g.run(3)
	if !next.log.leader.Leading || !slices.Equal(next.lines, []string{"under way"}) {
		t.Errorf("%+v with %q", next.log.leader, next.lines)
	}
}

// TestALostPieceIsSentAgain soon, and not after the whole transfer was given up.
func TestALostPieceIsSentAgain(t *testing.T) {
	g := newGroup(t, 1)
	for i := range 20 {
		g.append(fmt.Sprint(i, strings.Repeat("x", 100_000)))
	}
	if err := g.members[0].snapshot(); err != nil {
		t.Fatal(err)
	}
	m := g.add(true)
	rng := rand.New(rand.NewPCG(1, 1))
	pieces := 0
	g.lose = func(msg Message) bool {
		if msg.Data[0] == byte(msgPiece) {
			pieces++
		}
		return msg.Data[0] == byte(msgPiece) && (pieces < 5 || rng.IntN(3) == 0)
	}
	g.change(MemberChange{AddLearners: []uint64{m.id}})
	ticks := 0
	for ; len(m.lines) < 20 && ticks < 10*abandonTicks; ticks++ {
		g.run(1)
	}
	if ticks > abandonTicks {
		t.Errorf("after %d ticks %d lines are there", ticks, len(m.lines))
	}
}

// TestAnOldWordOfRemovalIsNotBelieved: it was sent before this node became a member.
func TestAnOldWordOfRemovalIsNotBelieved(t *testing.T) {
	g := grown(t, 3)
	g.append("one")
	g.run(2)
	m := g.members[2]
	stale := g.members[1].log.encode(msgKnown, m.id, 3, 2, 0)
	if err := m.log.Step(stale); err != nil || m.log.Status().Removed {
		t.Errorf("%v, %+v", err, m.log.Status())
	}
	news := g.members[1].log.encode(msgKnown, m.id, uint64(m.log.Status().Commit)+1, 2, 0)
	if err := m.log.Step(news); err != nil || !m.log.Status().Removed {
		t.Errorf("%v, %+v", err, m.log.Status())
	}
}
