package quorum

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"

	"moldau.io/moldau/storage/vfs"
)

func testConfig(fs vfs.FS) Config {
	return Config{FS: fs, Dir: "data/quorum", Node: 1, Logger: slog.New(slog.DiscardHandler)}
}

// machine is what a user of the log makes of it: the list of all entries, of which a snapshot is the lines.
type machine struct {
	log   *Log
	lines []string
	index int64
}

func open(fs vfs.FS) (*machine, Opened, error) {
	log, found, err := Open(testConfig(fs))
	if err != nil {
		return nil, found, err
	}
	m := &machine{log: log, index: found.SnapshotIndex}
	if found.Snapshot != nil {
		m.lines = strings.Split(string(found.Snapshot), "\n")
	}
	return m, found, m.process()
}

func (m *machine) process() error {
	rd, err := m.log.Process()
	for _, e := range rd.Entries {
		if e.Index <= m.index {
			return fmt.Errorf("entry %d comes after %d", e.Index, m.index)
		}
		m.index = e.Index
		m.lines = append(m.lines, string(e.Data))
	}
	return err
}

func (m *machine) append(line string) error {
	if _, _, err := m.log.Append([]byte(line)); err != nil {
		return err
	}
	return m.process()
}

func (m *machine) snapshot() error {
	return m.log.SaveSnapshot(m.index, []byte(strings.Join(m.lines, "\n")))
}

// workload appends lines, takes snapshots, and starts anew now and then. It tells acked of each line that it has been
// answered for; about says which one is on its way.
func workload(fs vfs.FS, about, acked func(line string)) error {
	rng := rand.New(rand.NewPCG(7, 7))
	m, _, err := open(fs)
	if err != nil {
		return err
	}
	for i := range 40 {
		line := fmt.Sprintf("line-%d-%s", i, strings.Repeat("x", rng.IntN(700)))
		about(line)
		if err := m.append(line); err != nil {
			return err
		}
		acked(line)
		switch {
		case i%9 == 8:
			err = m.snapshot()
		case i%11 == 10:
			if err = m.log.Close(); err == nil {
				m, _, err = open(fs)
			}
		}
		if err != nil {
			return err
		}
	}
	return m.log.Close()
}

// TestAcknowledgedEntriesSurviveACrashAtEveryFileOperation loses the power before each file operation of a workload, and
// looks at what another start finds: all that was acknowledged, in order, at most one line more, and a log that goes on.
func TestAcknowledgedEntriesSurviveACrashAtEveryFileOperation(t *testing.T) {
	mem := vfs.NewMem()
	var acked []string
	inFlight := ""
	ops := 0
	fs := vfs.WithFaults(mem, func(op vfs.Op) error {
		switch op.Kind {
		case "ReadAt", "List", "Stat", "Open":
			return nil
		}
		ops++
		for seed := range uint64(4) {
			keep := []int{0, 100, 50, 20}[seed]
			disk := mem.CrashClone(rand.New(rand.NewPCG(seed, uint64(ops))), keep)
			if err := checkAfterCrash(disk, acked, inFlight); err != nil {
				t.Errorf("before operation %d (%s %s), seed %d: %v", ops, op.Kind, op.Name, seed, err)
			}
		}
		return nil
	})
	err := workload(fs, func(l string) { inFlight = l }, func(l string) { acked, inFlight = append(acked, l), "" })
	if err != nil {
		t.Fatal(err)
	}
	if ops < 100 {
		t.Errorf("only %d operations were tried", ops)
	}
}

func checkAfterCrash(disk *vfs.Mem, acked []string, inFlight string) error {
	m, _, err := open(disk)
	if err != nil {
		return err
	}
	got := m.lines
	if len(got) == len(acked)+1 && got[len(acked)] == inFlight {
		got = got[:len(acked)]
	}
	if !slices.Equal(got, acked) {
		return fmt.Errorf("%d lines are back, %d were acknowledged", len(m.lines), len(acked))
	}
	if err := m.append("after the crash"); err != nil {
		return err
	}
	want := m.lines
	// And once more, right away: what was found must not depend on what only the page cache held.
	again, _, err := open(disk.CrashClone(rand.New(rand.NewPCG(1, 1)), 0))
	if err != nil {
		return fmt.Errorf("second start: %w", err)
	}
	if !slices.Equal(again.lines, want) {
		return fmt.Errorf("second start: %d lines are back, %d were there", len(again.lines), len(want))
	}
	return nil
}

// TestAFailedFileOperationAcknowledgesNothing makes each file operation fail once. From then on the log must refuse; a start
// on the same disk must find all that had been acknowledged.
func TestAFailedFileOperationAcknowledgesNothing(t *testing.T) {
	for n := 1; ; n++ {
		mem := vfs.NewMem()
		var acked []string
		inFlight := ""
		ops, failed := 0, false
		fs := vfs.WithFaults(mem, func(op vfs.Op) error {
			if ops++; ops == n {
				failed = true
				return errors.New("disk failure")
			}
			return nil
		})
		err := workload(fs, func(l string) { inFlight = l }, func(l string) { acked, inFlight = append(acked, l), "" })
		if !failed {
			break
		}
		if err == nil {
			t.Fatalf("operation %d failed, and nobody was told", n)
		}
		if err := checkAfterCrash(mem.CrashClone(rand.New(rand.NewPCG(1, uint64(n))), 50), acked, inFlight); err != nil {
			t.Fatalf("operation %d failed: %v", n, err)
		}
	}
}

// TestWhatAStartHasReadIsDurable: a process that is killed between writing and syncing leaves entries in the page cache. The next
// one takes them for committed, so they must not go away when the machine stops then.
func TestWhatAStartHasReadIsDurable(t *testing.T) {
	mem := vfs.NewMem()
	killed, left := false, (*vfs.Mem)(nil)
	m, _, err := open(vfs.WithFaults(mem, func(op vfs.Op) error {
		if killed && op.Kind == "Sync" {
			left = mem.KillClone()
			return errors.New("killed")
		}
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	killed = true
	_ = m.append("never answered for")
	m, _, err = open(left)
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := open(left.CrashClone(rand.New(rand.NewPCG(1, 1)), 0))
	if err != nil || !slices.Equal(again.lines, m.lines) {
		t.Errorf("%v: %q was shown, %q is left", err, m.lines, again.lines)
	}
}

// TestALostLeadershipIsNoDamage: the beginning of a leadership is not synced, so a crash may keep any of its sectors. None of
// them may look like the commit of an entry that is lost.
func TestALostLeadershipIsNoDamage(t *testing.T) {
	for n := range 520 { // some n puts the border of two sectors between the empty entry and its commit
		mem := vfs.NewMem()
		m, _, err := open(mem)
		if err == nil {
			err = errors.Join(m.append(strings.Repeat("x", 1+n)), m.log.Close())
		}
		if err == nil {
			_, _, err = open(mem)
		}
		if err != nil {
			t.Fatal(err)
		}
		for seed := range uint64(6) {
			if _, _, err := open(mem.CrashClone(rand.New(rand.NewPCG(seed, uint64(n))), 50)); err != nil {
				t.Fatalf("%d bytes, seed %d: %v", n, seed, err)
			}
		}
	}
}

func TestALogThatHasFailedStaysFailed(t *testing.T) {
	broken := false
	fs := vfs.WithFaults(vfs.NewMem(), func(op vfs.Op) error {
		if broken && op.Kind == "Sync" {
			return errors.New("disk failure")
		}
		return nil
	})
	m, _, err := open(fs)
	if err != nil {
		t.Fatal(err)
	}
	broken = true
	if err := m.append("a"); err == nil || len(m.lines) != 0 {
		t.Errorf("%v, %v", err, m.lines)
	}
	broken = false // after a failed sync nobody knows what is on the disk
	if err := m.append("b"); err == nil || len(m.lines) != 0 {
		t.Errorf("%v, %v", err, m.lines)
	}
	if err := m.snapshot(); err == nil {
		t.Error("a snapshot is taken of it")
	}
}

func TestAStartSyncsAtMostOnceBeforeItIsReady(t *testing.T) {
	mem := vfs.NewMem()
	m, found, err := open(mem)
	if err != nil || !found.Fresh {
		t.Fatalf("%+v %v", found, err)
	}
	if err := errors.Join(m.append("a"), m.log.Close()); err != nil {
		t.Fatal(err)
	}
	syncs := 0
	m, found, err = open(vfs.WithFaults(mem, func(op vfs.Op) error {
		if op.Kind == "Sync" || op.Kind == "SyncDir" {
			syncs++
		}
		return nil
	}))
	if err != nil || found.Fresh || syncs > 1 || !slices.Equal(m.lines, []string{"a"}) {
		t.Errorf("%+v %v, %d syncs, %v", found, err, syncs, m.lines)
	}
	before := syncs
	if err := m.append("b"); err != nil || syncs != before+1 {
		t.Errorf("%v, %d syncs for one entry", err, syncs-before)
	}
}

func TestASnapshotCutsTheLog(t *testing.T) {
	mem := vfs.NewMem()
	m, _, err := open(mem)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if err := m.append(fmt.Sprint("line", i)); err != nil {
			t.Fatal(err)
		}
	}
	before, _ := m.log.Bytes()
	if err := m.snapshot(); err != nil {
		t.Fatal(err)
	}
	if after, snap := m.log.Bytes(); after >= before/4 || snap == 0 {
		t.Errorf("the log had %d bytes and has %d, the snapshot %d", before, after, snap)
	}
	if err := errors.Join(m.append("one more"), m.log.Close()); err != nil {
		t.Fatal(err)
	}
	again, found, err := open(mem)
	if err != nil || !slices.Equal(again.lines, m.lines) || found.SnapshotIndex == 0 || again.index != m.index {
		t.Errorf("%v %v, %v", err, again.lines, m.lines)
	}
}

// image is the bytes of the log file after a few entries.
func image(t *testing.T) (*vfs.Mem, []byte) {
	t.Helper()
	mem := vfs.NewMem()
	m, _, err := open(mem)
	for _, line := range []string{"one", "two", "three"} {
		if err == nil {
			err = m.append(line)
		}
	}
	if err == nil {
		err = m.log.Close()
	}
	b, rerr := vfs.ReadFile(mem, "data/quorum/log", 1<<20)
	if err = errors.Join(err, rerr); err != nil {
		t.Fatal(err)
	}
	return mem, b
}

// TestDamageIsNotTakenForATornEnd flips each byte of a log and cuts it at each byte. What comes back must be a beginning of
// what was there; and where an entry is missing whose commit is still to be seen, the log must refuse.
func TestDamageIsNotTakenForATornEnd(t *testing.T) {
	_, b := image(t)
	whole, err := parseLog(b)
	if err != nil {
		t.Fatal(err)
	}
	refused, cut := 0, 0
	try := func(what string, bad []byte) {
		c, err := parseLog(bad)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("%s: %v", what, err)
			}
			refused++
			return
		}
		cut++
		for i, e := range c.entries {
			if !bytes.Equal(e.GetData(), whole.entries[i].GetData()) {
				t.Errorf("%s: entry %d is %q", what, i, e.GetData())
			}
		}
		if missing := len(whole.entries) - len(c.entries); missing > 1 && c.last() < lastCommit(bad[c.valid:]) {
			t.Errorf("%s: %d committed entries are forgotten", what, missing)
		}
	}
	for i := range b {
		flipped := slices.Clone(b)
		flipped[i] ^= 0x41
		try(fmt.Sprintf("byte %d flipped", i), flipped)
		try(fmt.Sprintf("cut at byte %d", i), b[:i])
	}
	if refused == 0 || cut == 0 {
		t.Errorf("%d refused, %d cut", refused, cut)
	}
	second := bytes.Index(b, []byte("two"))
	flipped := slices.Clone(b)
	flipped[second] ^= 1
	if _, err := parseLog(flipped); !errors.Is(err, ErrDamaged) {
		t.Errorf("a damaged entry in the middle: %v", err)
	}
}

func TestADamagedLogIsLeftAsItIs(t *testing.T) {
	mem, b := image(t)
	b[bytes.Index(b, []byte("two"))] ^= 1
	if err := vfs.WriteFile(mem, "data/quorum/log", b); err != nil {
		t.Fatal(err)
	}
	if _, _, err := open(mem); !errors.Is(err, ErrDamaged) {
		t.Fatalf("%v", err)
	}
	after, err := vfs.ReadFile(mem, "data/quorum/log", 1<<20)
	if err != nil || !bytes.Equal(after, b) {
		t.Errorf("the file has changed: %v", err)
	}
}

func TestALogWithoutItsPartsIsRefused(t *testing.T) {
	for what, spoil := range map[string]func(fs vfs.FS) error{
		"log removed":      func(fs vfs.FS) error { return fs.Remove("data/quorum/log") },
		"snapshot removed": func(fs vfs.FS) error { return fs.Remove("data/quorum/snapshot") },
		"snapshot damaged": func(fs vfs.FS) error {
			b, err := vfs.ReadFile(fs, "data/quorum/snapshot", 1<<20)
			if err != nil {
				return err
			}
			b[len(b)-1] ^= 1
			return vfs.WriteFile(fs, "data/quorum/snapshot", b)
		},
	} {
		mem := vfs.NewMem()
		m, _, err := open(mem)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(m.append("a"), m.snapshot(), m.append("b"), m.log.Close(), spoil(mem)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := open(mem); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestAnotherNodesFolderIsRefused(t *testing.T) {
	mem, _ := image(t)
	cfg := testConfig(mem)
	cfg.Node = 2
	if _, _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), "belongs to node [1]") {
		t.Errorf("%v", err)
	}
}

// TestFormatIsTheOneOnDisk holds both files to bytes that an earlier version wrote. If it fails, folders that are out there
// are no longer opened: raise the version in the magic and read both.
func TestFormatIsTheOneOnDisk(t *testing.T) {
	log, snap := everyFrame()
	const golden = "testdata/files.hex"
	got := "log\n" + hex.Dump(log) + "snapshot\n" + hex.Dump(snap)
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	c, err := parseLog(log)
	if err != nil || c.base != (position{4, 2}) || len(c.entries) != 2 || string(c.entries[1].GetData()) != "another six" ||
		c.state.GetTerm() != 4 || c.state.GetVote() != 2 || c.state.GetCommit() != 6 || !slices.Equal(c.members.GetLearners(), []uint64{4}) {
		t.Errorf("%v: %+v", err, c)
	}
	s, err := parseSnapshot(snap)
	if err != nil || s.at != (position{4, 2}) || string(s.data) != "state" || !slices.Equal(s.members.GetVoters(), []uint64{2, 3}) {
		t.Errorf("%v: %+v", err, s)
	}
}

var update = flag.Bool("update", false, "write the golden files anew")

// everyFrame is a log and a snapshot with each kind of frame.
func everyFrame() (log, snap []byte) {
	members := &pb.ConfState{Voters: []uint64{2, 3}, Learners: []uint64{4}}
	term, vote, commit := uint64(4), uint64(2), uint64(6)
	b := appendBase([]byte(logMagic), position{4, 2}, members)
	b = appendEntry(b, newEntry(position{5, 3}, []byte("five")))
	b = appendEntry(b, newEntry(position{6, 3}, []byte("six")))
	b = appendEntry(b, newEntry(position{6, 4}, []byte("another six")))
	b = appendState(b, &pb.HardState{Term: &term, Vote: &vote, Commit: &commit}, commit)
	return b, appendSnapshot([]byte(snapshotMagic), position{4, 2}, members, []byte("state"))
}

func FuzzParseLog(f *testing.F) {
	log, snap := everyFrame()
	f.Add(log)
	f.Add(snap)
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := parseLog(b); err == nil {
			if c.valid > len(b) || c.members == nil {
				t.Fatalf("%+v", c)
			}
			for i, e := range c.entries {
				if e.GetIndex() != c.base.index+uint64(i)+1 {
					t.Fatalf("entry %d has index %d", i, e.GetIndex())
				}
			}
		}
		if s, err := parseSnapshot(b); err == nil && s.members == nil {
			t.Fatal("no members")
		}
	})
}
