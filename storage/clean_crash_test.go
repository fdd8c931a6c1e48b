package storage

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// changes says whether a call changes what is on disk.
func changes(op vfs.Op) bool {
	return !slices.Contains([]string{"ReadAt", "Stat", "List", "Open", "Space"}, op.Kind)
}

// TestCrashesOfCleanings takes crashed disks before operations of cleanings: the log opened from it shows a reader the
// same records, and the next cleaning ends what that one had begun. Each of those is crashed again while it is opened.
func TestCrashesOfCleanings(t *testing.T) {
	seeds, every := 24, 5
	if testing.Short() {
		seeds = 8
	}
	points, swaps := 0, 0
	for seed := range uint64(seeds) {
		ok := t.Run(fmt.Sprintf("seed%d", seed), func(t *testing.T) {
			h := newCleanHistory(t, seed)
			h.dirty(60 + h.rng.IntN(60))
			rng := rand.New(rand.NewPCG(seed, 5))
			var disks []*vfs.Mem
			var at []vfs.Op
			var synced []protocol.Offset
			armed := false
			watched := vfs.WithFaults(h.disk, func(op vfs.Op) error {
				if armed && changes(op) && rng.IntN(every) == 0 {
					disks = append(disks, h.disk.CrashClone(rng, []int{0, 50, 100}[rng.IntN(3)]))
					at, synced = append(at, op), append(synced, h.l.Bounds().Synced)
				}
				return nil
			})
			h.rehome(watched)
			armed = true
			h.clean()
			armed = false
			points += len(disks)
			for i, disk := range disks {
				h.hw = synced[i]
				swaps += h.reopenCleaned(disk, at[i], 1)
			}
		})
		if !ok {
			return
		}
	}
	t.Logf("%d crashed disks, %d swaps to be completed or dropped", points, swaps)
	if swaps == 0 {
		t.Fatal("no crash was in the middle of a swap")
	}
}

// dirty makes a history, at the end of which there is a lot to clean.
func (h *cleanHistory) dirty(steps int) {
	h.cfg.MinCleanableRatio, h.cfg.MinCompactionLag = 0, 0
	if err := h.l.Reconfigure(h.cfg); err != nil {
		h.t.Fatal(err)
	}
	for range steps {
		h.step()
	}
	h.fill()
}

// fill appends without a flush, and leaves no transaction open.
func (h *cleanHistory) fill() {
	for range 25 {
		h.append()
	}
	for _, id := range slices.Sorted(maps.Keys(h.open)) {
		h.end(id, h.rng.IntN(2) == 0)
	}
	h.append()
	h.hw = h.l.Bounds().End
	h.l.SetHighWatermark(h.hw)
}

// rehome closes the store and opens it on a file system that watches the same disk. What it does until the first
// cleaning is crashed, too.
func (h *cleanHistory) rehome(fsys vfs.FS) {
	if err := h.s.Close(); err != nil {
		h.t.Fatal(err)
	}
	h.fs = fsys
	h.reopen()
	h.fill()
}

// reopenCleaned opens a crashed disk, and says whether a swap was under way there.
func (h *cleanHistory) reopenCleaned(disk *vfs.Mem, op vfs.Op, depth int) int {
	t := h.t
	t.Helper()
	swap := 0
	if strings.Contains(disk.String(), segment.SwapSuffix) {
		swap = 1
	}
	before := disk.String()
	defer func() {
		if t.Failed() {
			t.Logf("crash before %+v, depth %d\n%s\nnow\n%v", op, depth, before, disk)
		}
	}()
	var again *vfs.Mem
	n, stop := 0, h.rng.IntN(12)
	watched := vfs.WithFaults(disk, func(op vfs.Op) error {
		if changes(op) {
			if n == stop && depth > 0 {
				again = disk.CrashClone(h.rng, 50)
			}
			n++
		}
		return nil
	})
	g := *h
	g.fs, g.disk = watched, disk
	s, err := openIdle(watched, []string{"/data"}, g.options())
	if err != nil {
		t.Fatal(err)
	}
	l, ok := s.Log(tp0)
	if !ok {
		t.Fatal(s.Failed(tp0))
	}
	g.s, g.l = s, l
	end := l.Bounds().End
	g.upTo(end)
	if end < h.hw {
		t.Fatalf("the log ends at %d, %d had been flushed", end, h.hw)
	}
	l.SetHighWatermark(end)
	checkIndexes(t, l)
	g.start = l.Bounds().Start
	got := readEntries(t, l, g.start, func(batch.Batch) {})
	if v, w := view(got), view(g.modelEntries(l.Bounds().LastStable)); !maps.Equal(v, w) {
		t.Fatalf("a reader sees %v\nwant %v", v, w)
	}
	for _, e := range mustList(t, disk, l.Dir()) {
		if strings.HasSuffix(e.Name, segment.SwapSuffix) || strings.HasSuffix(e.Name, segment.CleanedSuffix) {
			t.Fatalf("%s is left", e.Name)
		}
	}
	g.clean()
	if again != nil {
		swap += h.reopenCleaned(again, vfs.Op{Kind: "again"}, depth-1)
	}
	return swap
}

// upTo makes the history a copy that ends at an offset.
func (h *cleanHistory) upTo(end protocol.Offset) {
	h.records = slices.DeleteFunc(slices.Clone(h.records), func(r keyed) bool { return r.offset >= end })
	h.batches = slices.DeleteFunc(slices.Clone(h.batches), func(b keptBatch) bool { return b.base >= end })
	open := map[*txnModel]*txnModel{}
	for i := range h.records {
		if txn := h.records[i].txn; txn != nil && txn.marker >= end {
			if open[txn] == nil {
				open[txn] = &txnModel{}
			}
			h.records[i].txn = open[txn]
		}
	}
}

func mustList(t *testing.T, fsys vfs.FS, dir string) []vfs.Entry {
	t.Helper()
	entries, err := fsys.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// TestFailuresOfCleanings makes each operation of a cleaning fail: the log serves what it did, and is cleaned when the
// disk works again; or it is offline, where nobody knows what is on disk, and right after a restart.
func TestFailuresOfCleanings(t *testing.T) {
	failed, offline := 0, 0
	for seed := range uint64(3) {
		for nth := 0; ; nth += 1 + int(seed+uint64(nth))%17 {
			h := newCleanHistory(t, seed)
			h.dirty(60)
			n, hit, armed := 0, false, false
			h.rehome(vfs.WithFaults(h.disk, func(op vfs.Op) error {
				if !armed || !changes(op) || !strings.Contains(op.Name, tp0.String()) {
					return nil
				}
				if n++; n <= nth || hit {
					return nil
				}
				hit = true
				return fmt.Errorf("%s %s does not work", op.Kind, path.Base(op.Name))
			}))
			armed = true
			h.s.cleanNow(h.now())
			if !hit {
				break
			}
			failed++
			if h.l.Failure() != nil {
				offline++
				h.reopenAfterKill()
			}
			h.clock += 2 * cleaningRetry
			h.clean()
		}
	}
	t.Logf("%d failures, %d took the log offline", failed, offline)
	if failed == 0 || offline == 0 || offline == failed {
		t.Fatal("one of the two was not met")
	}
}

// reopenAfterKill opens the disk as a process that was killed leaves it. What a failed sync took is gone.
func (h *cleanHistory) reopenAfterKill() {
	h.disk = h.disk.CrashClone(h.rng, 100)
	h.fs = h.disk
	h.reopen()
	h.hw = h.l.Bounds().End
	h.l.SetHighWatermark(h.hw)
	h.upTo(h.hw)
}

// TestACleanedSegmentMayEndBeforeTheNextBegins: the last batch of a segment belongs to an aborted transaction and is
// gone. What a crash shows at the recovery point, which is there, is no loss.
func TestACleanedSegmentMayEndBeforeTheNextBegins(t *testing.T) {
	h := newCleanHistory(t, 0)
	h.cfg = DefaultConfig()
	h.cfg.Compacts, h.cfg.MinCleanableRatio = true, 0
	if err := h.l.Reconfigure(h.cfg); err != nil {
		t.Fatal(err)
	}
	put := func(id int64, transactional bool) {
		b := batch.NewBuilder(batch.BuilderOptions{
			Producer: &batch.Producer{ID: id, Sequence: h.nextSequence(id)}, Transactional: transactional,
		})
		b.Add(h.now().UnixMilli(), []byte("key"), []byte("value"))
		h.put(b.Build())
	}
	put(1, false)
	put(4, true)
	h.open[4] = &txnModel{}
	h.cfg.SegmentBytes = h.l.Size() + 1
	if err := h.l.Reconfigure(h.cfg); err != nil {
		t.Fatal(err)
	}
	h.end(4, true)
	h.cfg.SegmentBytes = 1 << 20
	if err := h.l.Reconfigure(h.cfg); err != nil {
		t.Fatal(err)
	}
	put(4, false) // so that nothing of the transaction is needed for its producer
	h.hw = h.l.Bounds().End
	h.l.SetHighWatermark(h.hw)
	if n := h.s.cleanNow(h.now()); n != 1 || h.l.Segments() != 2 {
		t.Fatalf("%d cleanings, %d segments", n, h.l.Segments())
	}
	if err := h.s.Checkpoint(nil); err != nil {
		t.Fatal(err)
	}
	segs := *h.l.segments.Load()
	segs[0].Heads(0, func(b batch.Batch, _ segment.Place) bool {
		if b.LastOffset() > 0 {
			t.Fatalf("the batch at %d is there", b.LastOffset())
		}
		return true
	})
	end := h.l.Bounds().End
	for _, at := range []protocol.Offset{segs[1].Base(), end} { // the recovery point
		disk := h.disk.CrashClone(h.rng, 100)
		point := offsets{tp0: at}
		if err := vfs.WriteFile(disk, path.Join("/data", recoveryPointFile), point.encode()); err != nil {
			t.Fatal(err)
		}
		s, err := openIdle(disk, []string{"/data"}, h.options())
		if err != nil {
			t.Fatal(err)
		}
		if l, ok := s.Log(tp0); !ok || l.Bounds().End != end {
			t.Fatalf("recovery point %d: the log ends at %v, want %d; %v", at, ok, end, s.Failed(tp0))
		}
	}
}
