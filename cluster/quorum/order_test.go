package quorum

import (
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
