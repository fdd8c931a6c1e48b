package quorum

import (
	"errors"
	"slices"
	"testing"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"moldau.io/moldau/storage/vfs"
)

// TestWhoHasAnEntryKnowsWhatWasCommitted cuts the log at each byte of what one sync covers, as a crash before that sync may.
//
// A leader begins a change of the members when it has applied the one before. So who has the later one must know, whatever
// the crash has left, that the earlier one is committed: it would count votes by members of two changes ago, whose majority
// need not meet that of the newest. And what was there before and has been replaced must never pass for committed.
func TestWhoHasAnEntryKnowsWhatWasCommitted(t *testing.T) {
	mem := vfs.NewMem()
	m := &member{id: 1 << 40, node: 3, disk: mem}
	if err := m.open(true); err != nil {
		t.Fatal(err)
	}
	l := m.log
	write := func(term, commit uint64, entries ...*pb.Entry) {
		t.Helper()
		rd := raft.Ready{HardState: &pb.HardState{Term: &term, Vote: new(uint64(0)), Commit: &commit}, Entries: entries}
		if err := l.write(rd, rd.HardState); err != nil {
			t.Fatal(err)
		}
	}
	data := func(index, term uint64, text string) *pb.Entry { return newEntry(position{index, term}, []byte(text)) }
	write(2, 1, data(1, 1, "a"), data(2, 2, "old"), data(3, 2, "old"), data(4, 2, "old"), data(5, 2, "old"))
	if err := l.sync(); err != nil {
		t.Fatal(err)
	}
	from := int(l.size)
	write(3, 4, data(2, 3, "new"), data(3, 3, "new"), data(4, 3, "new"), data(5, 3, "new"))

	b, err := vfs.ReadFile(mem, "data/quorum/log", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[uint64]bool{}
	for n := from; n <= len(b); n++ {
		c, err := parseLog(b[:n])
		if err != nil {
			t.Fatalf("%d of %d bytes: %v", n, len(b), err)
		}
		seen[c.last()] = true
		for _, e := range c.entries {
			index, isNew := e.GetIndex(), string(e.GetData()) == "new"
			if isNew && c.state.GetCommit() < min(4, c.last()) {
				t.Errorf("%d bytes: entry %d is there, and the commit is %d", n, index, c.state.GetCommit())
			}
			if index > 1 && !isNew && index <= c.state.GetCommit() {
				t.Errorf("%d bytes: entry %d of term %d passes for committed", n, index, e.GetTerm())
			}
		}
	}
	for last := range uint64(5) {
		if !seen[last+1] {
			t.Errorf("no crash has left %d entries", last+1)
		}
	}
}

// TestAStartEndsAnInstall: the snapshot of another member is in place, and the log was about to be replaced. What the log has
// behind the snapshot counts only if the two agree on its last entry.
func TestAStartEndsAnInstall(t *testing.T) {
	for term, want := range map[uint64]int{2: 10, 5: 12} { // of the log's entries from the tenth on
		mem := vfs.NewMem()
		members := &pb.ConfState{Voters: []uint64{1 << 40, 2 << 40}}
		b := appendSelf(appendBase([]byte(logMagic), position{}, &pb.ConfState{}), self{raft: 1 << 40, node: 3})
		for i := uint64(1); i <= 12; i++ {
			at := position{i, 2}
			if i >= 10 {
				at.term = term
			}
			b = appendEntry(b, newEntry(at, []byte("of the log")))
		}
		b = appendState(b, &pb.HardState{Term: new(uint64(4)), Vote: new(uint64(2 << 40)), Commit: new(uint64(3))}, 3)
		snap := appendSnapshot([]byte(snapshotMagic), position{10, 5}, members, []byte("of the snapshot"))
		err := errors.Join(mem.MkdirAll("data/quorum"), vfs.WriteFile(mem, "data/quorum/log", b),
			vfs.WriteFile(mem, "data/quorum/snapshot", snap))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			m := &member{id: 1 << 40, node: 3, disk: mem}
			if err := m.open(true); err != nil {
				t.Fatal(err)
			}
			st := m.log.Status()
			if got := int(m.log.store.last()); got != want || m.index != 10 || st.Commit != 10 || !slices.Equal(m.lines, []string{"of the snapshot"}) {
				t.Errorf("term %d: last %d, %+v, %q", term, got, st, m.lines)
			}
			// And the next entry follows what there is.
			next := newEntry(position{uint64(want) + 1, 6}, []byte("next"))
			rd := raft.Ready{Entries: []*pb.Entry{next}}
			if err := errors.Join(m.log.write(rd, nil), m.log.Close()); err != nil {
				t.Fatal(err)
			}
			want++
		}
	}
}

// TestACutLowersWhatIsSure: entries that have been synced and are then replaced are synced no more.
func TestACutLowersWhatIsSure(t *testing.T) {
	l := &Log{last: 9, synced: 9, members: []membersAt{{0, &pb.ConfState{}}}, file: discard{}}
	entries := []*pb.Entry{newEntry(position{5, 3}, []byte("new")), newEntry(position{6, 3}, []byte("new"))}
	if err := l.write(raft.Ready{Entries: entries}, nil); err != nil || l.synced != 4 || l.last != 6 {
		t.Errorf("synced %d, last %d, %v", l.synced, l.last, err)
	}
}

// discard is a file that takes everything.
type discard struct{ vfs.File }

func (discard) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
