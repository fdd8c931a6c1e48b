package storage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// truncate cuts the log of a random history somewhere. A crash on the way may leave it as it was, or shorter by whole
// batches, but never shorter than what stays.
func (h *history) truncate() error {
	if h.m.end() <= h.m.start {
		return nil
	}
	to := h.m.start + protocol.Offset(h.rng.Int64N(int64(h.m.end()-h.m.start)+2))
	kept := h.m.cutAt(to)
	if kept.end() < h.m.start {
		return nil // the start lies in a batch that would go: that begins the log anew
	}
	h.m.synced = min(h.m.synced, kept.end())
	if err := h.l.Truncate(to); err != nil {
		return err
	}
	h.m = kept
	return nil
}

// cutAt is the model without the batches that hold to or lie behind it.
func (m *model) cutAt(to protocol.Offset) *model {
	c := m.clone()
	for len(c.batches) > 0 && c.batches[len(c.batches)-1].raw.LastOffset() >= to {
		c.batches = c.batches[:len(c.batches)-1]
	}
	c.synced = min(c.synced, c.end())
	c.seqs = map[int64]int32{}
	for _, mb := range c.batches {
		if id := mb.raw.ProducerID(); id >= 0 {
			c.seqs[id] = mb.raw.LastSequence() + 1
		}
	}
	return c
}

// TestTruncateIsAsIfNothingElseHadBeenWritten cuts logs at every offset, and holds what is left, and what is appended
// then, against a model, before and after opening them again.
func TestTruncateIsAsIfNothingElseHadBeenWritten(t *testing.T) {
	seeds := uint64(12)
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		end := func() protocol.Offset { h := grown(t, seed); return h.m.end() }()
		for to := range end + 3 {
			h := grown(t, seed)
			kept := h.m.cutAt(to)
			if kept.end() < h.m.start {
				continue
			}
			if err := h.l.Truncate(to); err != nil {
				t.Fatalf("seed %d, to %d: %v", seed, to, err)
			}
			h.m = kept
			h.m.synced = 0
			h.check(h.l, h.m, true)
			if hw := h.l.HighWatermark(); hw > h.m.end() {
				t.Fatalf("seed %d, to %d: the high watermark is %d", seed, to, hw)
			}
			for range 8 {
				h.append()
			}
			h.check(h.l, h.m, true)
			if err := h.s.Close(); err != nil {
				t.Fatal(err)
			}
			h.open()
			h.check(h.l, h.m, true)
		}
	}
}

// grown is a history of some forty steps.
func grown(t *testing.T, seed uint64) *history {
	h := newHistory(t, seed)
	for range 40 {
		h.step()
	}
	h.l.SetHighWatermark(h.m.end())
	return h
}

// TestTruncateSurvivesCrashes crashes at every file operation of a truncation, and of what is appended after it.
func TestTruncateSurvivesCrashes(t *testing.T) {
	seeds := uint64(60)
	if testing.Short() {
		seeds = 12
	}
	points := 0
	for seed := range seeds {
		h := grown(t, seed)
		h.every, h.armed = 1, true
		for range 4 {
			if err := h.truncate(); err != nil {
				t.Fatal(err)
			}
			h.append()
			h.append()
			if err := h.l.Flush(); err != nil {
				t.Fatal(err)
			}
			h.m.synced = h.l.Bounds().Synced
		}
		h.armed = false
		points += len(h.points)
		for i, p := range h.points {
			h.reopen(i, p, 1)
		}
	}
	t.Logf("%d crashed disks", points)
}

// TestTruncateFullyBeginsAnew lets a log begin anew below, in and above what it held, and crashes at every file operation
// on the way: it then holds the beginning of what was there, or nothing, and once it has returned only what came after.
func TestTruncateFullyBeginsAnew(t *testing.T) {
	seeds := uint64(30)
	if testing.Short() {
		seeds = 6
	}
	points := 0
	for seed := range seeds {
		h := grown(t, seed)
		if err := h.s.Checkpoint(nil); err != nil { // the start is durable
			t.Fatal(err)
		}
		old := h.m.clone()
		var to protocol.Offset
		switch seed % 3 {
		case 0:
			to = h.m.start / 2
		case 1:
			to = (h.m.start + h.m.end()) / 2
		default:
			to = h.m.end() + 50
		}
		h.every, h.armed = 1, true
		if err := h.l.TruncateFully(to); err != nil {
			t.Fatal(err)
		}
		during := len(h.points)
		if b := h.l.Bounds(); b != (Bounds{Start: to, End: to, LastStable: to, Synced: to}) {
			t.Fatalf("seed %d: %+v, want %d for all", seed, b, to)
		}
		if e := h.l.Epochs().Entries(); len(e) > 0 || len(h.l.Producers()) > 0 || h.l.HighWatermark() != to {
			t.Fatalf("epochs %v, producers %v, high watermark %d", e, h.l.Producers(), h.l.HighWatermark())
		}
		a, err := h.l.Append(testNow, 9, records(t, 5000, "new"))
		if err != nil || a.Base != to {
			t.Fatal(a, err)
		}
		if err := h.l.Flush(); err != nil {
			t.Fatal(err)
		}
		h.armed = false
		points += len(h.points)
		for i, p := range h.points {
			s, err := openIdle(p.disk, []string{"/data"}, testOptions(h.cfg))
			if err != nil {
				t.Fatal(err)
			}
			l, ok := s.Log(tp0)
			if !ok {
				t.Fatalf("seed %d, crash %d before %+v: %v\n%v", seed, i, p.op, s.Failed(tp0), p.disk)
			}
			checkBegunAnew(t, fmt.Sprintf("seed %d, to %d, crash %d before %+v", seed, to, i, p.op), l, old, to, i >= during)
		}
		if s, ok := mustReopen(t, h); !ok || strings.Join(readAll(t, s, to), ",") == "" {
			t.Fatal("the new record is gone")
		}
	}
	t.Logf("%d crashed disks", points)
}

func mustReopen(t *testing.T, h *history) (*Log, bool) {
	t.Helper()
	if err := h.s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := openIdle(h.mem, []string{"/data"}, testOptions(h.cfg))
	if err != nil {
		t.Fatal(err)
	}
	return s.Log(tp0)
}

// checkBegunAnew holds a log that a crash left around a TruncateFully(to) against what it held before. done says that the
// call had returned.
func checkBegunAnew(t *testing.T, when string, l *Log, old *model, to protocol.Offset, done bool) {
	t.Helper()
	b := l.Bounds()
	if done {
		if b.Start != to || b.End < to || b.End > to+1 {
			t.Fatalf("%s: %+v", when, b)
		}
		return
	}
	if b.Start < min(old.start, to) {
		t.Fatalf("%s: records below the start %d are back: %+v", when, old.start, b)
	}
	if b.Start == b.End {
		return
	}
	at := b.Start
	for _, mb := range old.batches { // what is there is what was there, from the start on and without a hole
		if mb.raw.LastOffset() < at || at >= b.End {
			continue
		}
		s, err := l.Read(at, b.End, 1, true)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		raw, err := s.Bytes(nil)
		s.Release()
		if err != nil || string(raw) != string(mb.raw) {
			t.Fatalf("%s: another batch at %d, %v", when, at, err)
		}
		at = mb.raw.LastOffset() + 1
	}
	if at != b.End {
		t.Fatalf("%s: batches end at %d, the log at %d", when, at, b.End)
	}
}

// TestTruncateBelowTheStartBeginsAnew: below its start a log has nothing to keep; and a batch that holds the start is not
// kept in part.
func TestTruncateBelowTheStartBeginsAnew(t *testing.T) {
	for _, c := range []struct{ start, to, want protocol.Offset }{{5, 3, 3}, {5, 5, 5}, {4, 5, 4}, {3, 5, 3}, {3, 3, 3}} {
		l := memLog(t, DefaultConfig())
		for range 4 {
			mustAppend(t, l, records(t, 1, "a", "b", "c"))
		}
		if err := l.Advance(c.start); err != nil {
			t.Fatal(err)
		}
		if err := l.Truncate(c.to); err != nil {
			t.Fatal(err)
		}
		if b := l.Bounds(); b.Start != c.want || b.End != c.want {
			t.Errorf("start %d, to %d: %+v, want %d", c.start, c.to, b, c.want)
		}
	}
}

// TestTruncateForgetsTransactions: one that ended behind the cut is open again, one that began there is gone, and an
// aborted one is no longer listed, also after a crash.
func TestTruncateForgetsTransactions(t *testing.T) {
	for seed := range uint64(40) {
		mem, cfg := vfs.NewMem(), DefaultConfig()
		cfg.SegmentBytes = 2000
		s, err := openIdle(mem, []string{"/data"}, testOptions(cfg))
		if err != nil {
			t.Fatal(err)
		}
		l := create(t, s, cfg)
		mustAppend(t, l, txnBatch(7, 0)) // offset 0
		mustAppend(t, l, txnBatch(8, 0)) // 1
		mustAppend(t, l, txnMarker(7))   // 2: aborts
		mustAppend(t, l, txnBatch(9, 0)) // 3
		mustAppend(t, l, txnMarker(8))   // 4: aborts
		mustAppend(t, l, txnMarker(9))   // 5: aborts
		if err := l.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := s.Checkpoint(nil); err != nil {
			t.Fatal(err)
		}
		check := func(l *Log, want int, stable protocol.Offset) {
			t.Helper()
			got, err := l.Aborted(0, 100)
			if err != nil || len(got) != want || l.Bounds().LastStable != stable {
				t.Fatalf("seed %d: %d aborted transactions, %+v, %v; want %d, stable %d", seed, len(got), l.Bounds(), err,
					want, stable)
			}
		}
		check(l, 3, 6)
		to, want, stable := protocol.Offset(4), 1, protocol.Offset(1)
		if seed%2 == 0 {
			to, want, stable = 2, 0, 0
		}
		if err := l.Truncate(to); err != nil {
			t.Fatal(err)
		}
		check(l, want, stable)
		for range 4 { // enough for the next segment, so that this one is not read again
			mustAppend(t, l, records(t, 1, strings.Repeat("no transaction", 60)))
		}
		if err := l.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := s.Checkpoint(nil); err != nil {
			t.Fatal(err)
		}
		disk := mem.CrashClone(rand.New(rand.NewPCG(seed, 3)), int(seed%3)*50)
		s, err = openIdle(disk, []string{"/data"}, testOptions(cfg))
		if err != nil {
			t.Fatal(err)
		}
		again, ok := s.Log(tp0)
		if !ok {
			t.Fatal(s.Failed(tp0))
		}
		check(again, want, stable)
	}
}

func txnBatch(id int64, seq int32) batch.Batch {
	b := batch.NewBuilder(batch.BuilderOptions{Producer: &batch.Producer{ID: id, Sequence: seq}, Transactional: true})
	b.Add(1, nil, []byte("v"))
	return b.Build()
}

func txnMarker(id int64) batch.Batch {
	b := batch.NewBuilder(batch.BuilderOptions{
		Producer: &batch.Producer{ID: id, Sequence: -1}, Transactional: true, Control: true,
	})
	b.Add(1, []byte{0, 0, 0, 0}, []byte{0, 0, 0, 0, 0, 0})
	return b.Build()
}

// TestReadersBelowATruncationAreNotDisturbed reads the part that stays while the rest is cut and written again.
func TestReadersBelowATruncationAreNotDisturbed(t *testing.T) {
	cfg := DefaultConfig()
	cfg.SegmentBytes, cfg.IndexInterval = 2000, 300
	l := memLog(t, cfg)
	var want []string
	for i := range 40 {
		v := fmt.Sprintf("v%d", i)
		mustAppend(t, l, records(t, int64(i), v))
		want = append(want, v)
	}
	keep := l.Bounds().End
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				for from := range keep {
					s, err := l.Read(from, keep, 1, true)
					if err != nil {
						t.Errorf("read at %d: %v", from, err)
						return
					}
					raw, err := s.Bytes(nil)
					s.Release()
					if err != nil || batch.Batch(raw).BaseOffset() != from {
						t.Errorf("read at %d: %d bytes, %v", from, len(raw), err)
						return
					}
				}
				if _, _, err := l.OffsetAt(20, keep); err != nil && !errors.Is(err, segment.ErrRemoved) {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 60 {
		for range i % 30 {
			mustAppend(t, l, records(t, 1, "to be cut"))
		}
		if err := l.Truncate(keep + protocol.Offset(i%3)); err != nil {
			t.Fatal(err)
		}
		if err := l.Truncate(keep); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()
	if got := readAll(t, l, 0); len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
}
