package storage

import (
	"bytes"
	"fmt"
	"maps"
	"testing"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/protocol/compress"
)

// check holds a log against what was appended to it.
func (h *cleanHistory) check(l *Log) {
	t := h.t
	t.Helper()
	checkIndexes(t, l)
	bounds, cleaned := l.Bounds(), protocol.Offset(l.cleaned.Load())
	byBase := map[protocol.Offset]keptBatch{}
	for _, b := range h.batches {
		byBase[b.base] = b
	}
	markers := map[protocol.Offset]bool{}
	got := readEntries(t, l, bounds.Start, func(b batch.Batch) {
		h.checkBatch(b, byBase)
		markers[b.BaseOffset()] = b.IsControl()
	})
	want := h.modelEntries(bounds.LastStable)
	if v, w := view(got), view(want); !maps.Equal(v, w) {
		t.Fatalf("a reader sees %v\nwant %v", v, w)
	}
	h.checkRecords(got, want, cleaned, markers)
	if from := bounds.Start + protocol.Offset(h.rng.Int64N(int64(bounds.End-bounds.Start)+1)); from < bounds.End {
		h.checkFrom(l, from, got)
	}
}

// checkBatch: what a batch is known by stays (rule 82).
func (h *cleanHistory) checkBatch(b batch.Batch, byBase map[protocol.Offset]keptBatch) {
	h.t.Helper()
	was, ok := byBase[b.BaseOffset()]
	is := keptBatch{
		base: b.BaseOffset(), last: b.LastOffset(), epoch: b.LeaderEpoch(), control: b.IsControl(), codec: was.codec,
		producer:   batch.Producer{ID: b.ProducerID(), Epoch: b.ProducerEpoch(), Sequence: b.BaseSequence()},
		appendTime: b.IsLogAppendTime(),
	}
	if !ok || is != was {
		h.t.Fatalf("batch %+v, it was %+v", is, was)
	}
	empty, target := b.Count() == 0, h.cfg.Codec
	if b.Codec() != was.codec && b.Codec() != target && !(empty && b.Codec() == compress.None) {
		h.t.Fatalf("batch %+v is compressed with %v", is, b.Codec())
	}
}

// checkRecords: every record is one that was appended, and those that are missing had to go.
func (h *cleanHistory) checkRecords(got, want []entry, cleaned protocol.Offset, markers map[protocol.Offset]bool) {
	t := h.t
	t.Helper()
	latest := map[string]protocol.Offset{} // of the records that a cleaning looks at
	known := map[protocol.Offset]keyed{}
	for _, r := range h.records {
		known[r.offset] = r
		if r.offset < cleaned && (r.txn == nil || !r.txn.aborted) {
			latest[r.key] = r.offset
		}
	}
	there := map[protocol.Offset]bool{}
	for _, e := range got {
		r, ok := known[e.offset]
		if !ok || r.key != string(e.key) || !bytes.Equal(r.value, e.value) || (r.value == nil) != (e.value == nil) ||
			r.timestamp != e.timestamp {
			t.Fatalf("record %+v was %+v", e, r)
		}
		there[e.offset] = true
		if r.txn != nil && r.txn.ended && r.txn.aborted && !markers[r.txn.marker] {
			t.Fatalf("a record at %d of an aborted transaction is there, its marker at %d is not", e.offset, r.txn.marker)
		}
		if e.offset < cleaned && latest[r.key] > e.offset && r.offset >= h.start && h.cfg.MinCompactionLag == 0 {
			t.Fatalf("record %d of %s is below %d, there is a later one at %d", e.offset, r.key, cleaned, latest[r.key])
		}
	}
	for _, e := range want {
		r := known[e.offset]
		switch {
		case there[e.offset], e.offset < cleaned && latest[r.key] > e.offset:
		case r.txn != nil && r.txn.aborted && e.offset < h.l.active().Base():
		case e.offset >= cleaned:
			t.Fatalf("record %d is gone, only what is below %d was cleaned", e.offset, cleaned)
		case r.value != nil:
			t.Fatalf("the last record of %s, at %d, is gone", r.key, e.offset)
		case r.cleaned < 0 || h.clock < r.cleaned+h.cfg.DeleteRetention:
			t.Fatalf("the tombstone of %s at %d is gone after %v, it was cleaned at %v", r.key, e.offset, h.clock, r.cleaned)
		}
	}
}

// checkFrom: who begins to read anywhere sees the same records from there on.
func (h *cleanHistory) checkFrom(l *Log, from protocol.Offset, all []entry) {
	h.t.Helper()
	var want []entry
	for _, e := range all {
		if e.offset >= from {
			want = append(want, e)
		}
	}
	got := readEntries(h.t, l, from, func(batch.Batch) {})
	if fmt.Sprint(got) != fmt.Sprint(want) {
		h.t.Fatalf("from %d on:\n got %v\nwant %v", from, got, want)
	}
}

// TestI36_CompactionKeepsTheLastRecordOfEachKey runs random histories of keyed records, tombstones, transactions,
// codecs, truncations, deletions and restarts, and cleans them again and again while time goes on.
func TestI36_CompactionKeepsTheLastRecordOfEachKey(t *testing.T) {
	seeds := 150
	if testing.Short() {
		seeds = 60
	}
	runs, passes, dropped := int64(0), 0, int64(0)
	for seed := range uint64(seeds) {
		ok := t.Run(fmt.Sprintf("seed%d", seed), func(t *testing.T) {
			h := newCleanHistory(t, seed)
			for range 40 + h.rng.IntN(160) {
				h.step()
			}
			h.check(h.l)
			stats := h.s.CleanerStats()
			runs += stats.Runs
			passes += stats.Total.Passes
			dropped += stats.Total.RecordsRead - stats.Total.RecordsKept
		})
		if !ok {
			return
		}
	}
	t.Logf("%d cleanings, %d passes, %d records dropped", runs, passes, dropped)
	if runs == 0 || int64(passes) <= runs || dropped == 0 {
		t.Fatal("too little was cleaned")
	}
}
