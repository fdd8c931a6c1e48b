package storage

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"path"
	"strings"
	"syscall"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/storagetest"
	"moldau.io/moldau/storage/vfs"
)

// content is every byte of a log's segments.
func content(t testing.TB, l *Log) []byte {
	t.Helper()
	var all []byte
	for _, s := range *l.segments.Load() {
		b, err := vfs.ReadFile(l.files.FS(), s.Name(), 64<<20)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	return all
}

// fetched is what a leader answers to a fetch at an offset.
func fetched(t testing.TB, leader *Log, from protocol.Offset, most int) []byte {
	t.Helper()
	s, err := leader.Read(from, leader.Bounds().End, most, true)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	raw, err := s.Bytes(nil)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// catchUp fetches until the follower has all of the leader's log.
func catchUp(t testing.TB, leader, follower *Log, most func() int) {
	t.Helper()
	for follower.Bounds().End < leader.Bounds().End {
		raw := fetched(t, leader, follower.Bounds().End, most())
		if _, err := follower.Mirror(time.UnixMilli(1000), raw); err != nil {
			t.Fatal(err)
		}
	}
}

// TestI09_AMirrorIsTheLeadersLog: every byte, and all that follows from it, in segments of other sizes.
func TestI09_AMirrorIsTheLeadersLog(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		cfg := DefaultConfig()
		cfg.SegmentBytes, cfg.IndexInterval = 4000, 300
		leader := memLog(t, cfg)
		cfg.SegmentBytes = 1500 + rng.Int64N(6000)
		follower := memLog(t, cfg)
		m := storagetest.NewModel(leader.TopicID(), 0)
		src := storagetest.Source{Rng: rng, Largest: 700, Compressed: 10}
		for i := range 150 {
			if i%40 == 20 {
				m.Epoch++
			}
			if _, err := leader.Append(time.UnixMilli(1000), m.Epoch, src.Next(m, int64(1000+i))); err != nil {
				t.Fatal(err)
			}
			if rng.IntN(5) == 0 {
				catchUp(t, leader, follower, func() int { return 1 + rng.IntN(5000) })
			}
		}
		catchUp(t, leader, follower, func() int { return 1 + rng.IntN(5000) })
		if !bytes.Equal(content(t, leader), content(t, follower)) {
			t.Fatalf("seed %d: other bytes than the leader's", seed)
		}
		if l, f := leader.Epochs().Encode(), follower.Epochs().Encode(); !bytes.Equal(l, f) {
			t.Errorf("seed %d: epochs %q, the leader's %q", seed, f, l)
		}
		if !bytes.Equal(untimed(leader.w.producers), untimed(follower.w.producers)) {
			t.Errorf("seed %d: other producers than the leader's", seed)
		}
		lb, fb := leader.Bounds(), follower.Bounds()
		if lb.LastStable != fb.LastStable || lb.End != fb.End {
			t.Errorf("seed %d: %+v, the leader's %+v", seed, fb, lb)
		}
		la, err := leader.Aborted(0, lb.End)
		fa, ferr := follower.Aborted(0, lb.End)
		if err != nil || ferr != nil || len(la) != len(fa) {
			t.Errorf("seed %d: %d aborted transactions, the leader has %d: %v, %v", seed, len(fa), len(la), ferr, err)
		}
		for ts := int64(995); ts < 1160; ts += 7 {
			lt, lok, err := leader.OffsetAt(ts, lb.End)
			ft, fok, ferr := follower.OffsetAt(ts, lb.End)
			if lt != ft || lok != fok || err != nil || ferr != nil {
				t.Errorf("seed %d: at %d: %+v %v %v, the leader's %+v %v %v", seed, ts, ft, fok, ferr, lt, lok, err)
			}
		}
		checkIndexes(t, follower)
	}
}

func TestBatchesThatFitAreOneWrite(t *testing.T) {
	leader := memLog(t, DefaultConfig())
	for range 10 {
		mustAppend(t, leader, records(t, 1000, "one"))
	}
	writes := 0
	fsys := vfs.WithFaults(vfs.NewMem(), func(op vfs.Op) error {
		if op.Kind == "WriteAt" && strings.HasSuffix(op.Name, ".log") {
			writes++
		}
		return nil
	})
	s := openStore(t, fsys, "/data", options())
	t.Cleanup(func() { closeStore(t, s) })
	follower := create(t, s, DefaultConfig())
	writes = 0
	catchUp(t, leader, follower, func() int { return 1 << 20 })
	if writes != 1 {
		t.Errorf("%d writes for 10 batches", writes)
	}
}

// TestAFollowerChecksWhatItIsSent: nothing is appended of an answer that is wrong anywhere.
func TestAFollowerChecksWhatItIsSent(t *testing.T) {
	at := func(base protocol.Offset, epoch protocol.Epoch) batch.Batch {
		b := records(t, 1000, "a", "b")
		b.Stamp(base, epoch)
		return b
	}
	flip := func(b batch.Batch) batch.Batch { b[len(b)-1] ^= 1; return b }
	magic := func(b batch.Batch) batch.Batch { b[16] = 1; return b }
	for _, c := range []struct {
		name string
		bs   []batch.Batch
		code protocol.Code
	}{
		{"a checksum", []batch.Batch{at(2, 3), flip(at(4, 3))}, protocol.CorruptMessage},
		{"an old format", []batch.Batch{at(2, 3), magic(at(4, 3))}, protocol.InvalidRecord},
		{"offsets that are there already", []batch.Batch{at(1, 3)}, protocol.InvalidRecord},
		{"offsets that overlap", []batch.Batch{at(2, 3), at(3, 3)}, protocol.InvalidRecord},
		{"an epoch that is over", []batch.Batch{at(2, 2)}, protocol.InvalidRecord},
		{"epochs that go back", []batch.Batch{at(2, 4), at(4, 3)}, protocol.InvalidRecord},
		{"a part of a batch", []batch.Batch{at(2, 3)[:70]}, protocol.CorruptMessage},
		{"nothing", nil, protocol.CorruptMessage},
	} {
		l := memLog(t, DefaultConfig())
		if _, err := l.Mirror(time.UnixMilli(1000), at(0, 3)); err != nil {
			t.Fatal(err)
		}
		before := content(t, l)
		_, err := l.Mirror(time.UnixMilli(1000), bytes.Join(raw(c.bs), nil))
		if protocol.CodeOf(err) != c.code || !bytes.Equal(before, content(t, l)) || l.Failure() != nil {
			t.Errorf("%s: %v, then %d bytes in place of %d", c.name, err, len(content(t, l)), len(before))
		}
		if a, err := l.Mirror(time.UnixMilli(1000), at(2, 3)); err != nil || a.Base != 2 || a.Last != 3 {
			t.Errorf("after %s: %+v, %v", c.name, a, err)
		}
	}
}

// TestALogThatBeginsInsideOfABatch: records were deleted up to there at the leader, which sends the batch whole.
func TestALogThatBeginsInsideOfABatch(t *testing.T) {
	fsys := vfs.NewMem()
	s := openStore(t, fsys, "/data", options())
	l := create(t, s, DefaultConfig())
	if err := l.TruncateFully(7); err != nil {
		t.Fatal(err)
	}
	b := records(t, 1000, "5", "6", "7", "8")
	b.Stamp(5, 2)
	if a, err := l.Mirror(time.UnixMilli(1000), b); err != nil || a.Base != 5 || a.Last != 8 || a.LogStart != 7 {
		t.Fatalf("%+v, %v", a, err)
	}
	if bounds := l.Bounds(); bounds.Start != 7 || bounds.End != 9 || l.HighWatermark() != 7 {
		t.Errorf("%+v, high watermark %d", bounds, l.HighWatermark())
	}
	if _, err := l.Read(6, 9, 100, true); protocol.CodeOf(err) != protocol.OffsetOutOfRange {
		t.Errorf("read below the start: %v", err)
	}
	closeStore(t, s)
	s = openStore(t, fsys, "/data", options())
	t.Cleanup(func() { closeStore(t, s) })
	l, _ = s.Log(l.Partition())
	if bounds := l.Bounds(); bounds.Start != 7 || bounds.End != 9 {
		t.Errorf("opened again: %+v", bounds)
	}
}

// TestAGapThatNoSegmentSpans: the leader has compacted away more offsets than an index can count.
func TestAGapThatNoSegmentSpans(t *testing.T) {
	at := func(base protocol.Offset) batch.Batch {
		b := records(t, 1000, "a", "b")
		b.Stamp(base, 3)
		return b
	}
	for _, fsync := range []bool{false, true} {
		cfg := DefaultConfig()
		cfg.Fsync = fsync
		mem := vfs.NewMem()
		s := openStore(t, mem, "/data", options())
		l := create(t, s, cfg)
		const far, farther = 5_000_000_000, 11_000_000_000
		if a, err := l.Mirror(time.UnixMilli(1000), at(far)); err != nil || a.Base != far || a.Last != far+1 {
			t.Fatalf("the first batch: %+v, %v", a, err)
		}
		raw := append(append(at(far+2), at(farther)...), at(farther+2)...)
		a, err := l.Mirror(time.UnixMilli(1000), raw)
		if err != nil || a.Base != far+2 || a.Last != farther+3 {
			t.Fatalf("three batches: %+v, %v", a, err)
		}
		if err := l.Await(a.Last + 1); err != nil {
			t.Fatal(err)
		}
		if !fsync {
			if err := l.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		for _, from := range []protocol.Offset{0, far, far + 2, far + 100, farther + 3} {
			if n, base := length(t, l, from, farther+4, 1, true); n == 0 || base > max(from, far) && base != farther {
				t.Errorf("read at %d: %d bytes from %d", from, n, base)
			}
		}
		crashed := mem.CrashClone(rand.New(rand.NewPCG(1, 1)), 0)
		closeStore(t, s)
		for _, disk := range []vfs.FS{mem, crashed} {
			s := openStore(t, disk, "/data", options())
			l, ok := s.Log(l.Partition())
			if !ok || l.Bounds().End != farther+4 {
				t.Fatalf("fsync %v: opened again: %v %v", fsync, ok, s.Failed(tp0))
			}
			if got := readAll(t, l, far); len(got) != 8 {
				t.Errorf("fsync %v: %q", fsync, got)
			}
			closeStore(t, s)
		}
	}
}

// TestAMirrorIsDurableBeforeItCounts: with fsync the log says so, and a crash then takes nothing.
func TestAMirrorIsDurableBeforeItCounts(t *testing.T) {
	leader := memLog(t, DefaultConfig())
	for range 5 {
		mustAppend(t, leader, records(t, 1000, "one", "two"))
	}
	cfg := DefaultConfig()
	cfg.Fsync = true
	mem := vfs.NewMem()
	s := openStore(t, mem, "/data", options())
	l := create(t, s, cfg)
	a, err := l.Mirror(time.UnixMilli(1000), fetched(t, leader, 0, 1<<20))
	if err != nil || a.Last != 9 {
		t.Fatalf("%+v, %v", a, err)
	}
	if err := l.Await(a.Last + 1); err != nil || l.Durable() != 10 {
		t.Fatalf("durable up to %d: %v", l.Durable(), err)
	}
	crashed := mem.CrashClone(rand.New(rand.NewPCG(1, 1)), 0)
	closeStore(t, s)
	s = openStore(t, crashed, "/data", options())
	t.Cleanup(func() { closeStore(t, s) })
	if l, ok := s.Log(l.Partition()); !ok || l.Bounds().End != 10 {
		t.Errorf("after a power cut: %v", ok)
	}
}

// TestAFullDiskStopsAMirror: what was there stays, and it goes on when there is room.
func TestAFullDiskStopsAMirror(t *testing.T) {
	leader := memLog(t, DefaultConfig())
	for range 5 {
		mustAppend(t, leader, records(t, 1000, strings.Repeat("x", 500)))
	}
	full := false
	fsys := vfs.WithFaults(vfs.NewMem(), func(op vfs.Op) error {
		if full && op.Kind == "WriteAt" && path.Ext(op.Name) == ".log" {
			return syscall.ENOSPC
		}
		return nil
	})
	s := openStore(t, fsys, "/data", options())
	t.Cleanup(func() { closeStore(t, s) })
	l := create(t, s, DefaultConfig())
	catch := func(from protocol.Offset, most int) error {
		_, err := l.Mirror(time.UnixMilli(1000), fetched(t, leader, from, most))
		return err
	}
	if err := catch(0, 1); err != nil {
		t.Fatal(err)
	}
	full = true
	if err := catch(1, 1<<20); protocol.CodeOf(err) != protocol.KafkaStorageError || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a full disk: %v", err)
	}
	if b := l.Bounds(); b.End != 1 || l.Failure() != nil {
		t.Errorf("then: %+v, %v", b, l.Failure())
	}
	full = false
	if err := catch(1, 1<<20); err != nil || !bytes.Equal(content(t, l), content(t, leader)) {
		t.Errorf("with room again: %v", err)
	}
}
