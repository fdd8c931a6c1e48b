package storage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/protocol/compress"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// keyed is one record of a compacted log, as it was appended.
type keyed struct {
	offset    protocol.Offset
	key       string
	value     []byte // nil for a tombstone
	timestamp int64
	producer  int64
	batch     int           // index in keptBatches
	txn       *txnModel     // nil outside of transactions
	cleaned   time.Duration // when it was first cleaned, by the test's clock; -1 for never
}

// txnModel is a transaction.
type txnModel struct {
	ended, aborted bool
	marker         protocol.Offset
}

// keptBatch is what of a batch may never change.
type keptBatch struct {
	base, last protocol.Offset
	epoch      protocol.Epoch
	producer   batch.Producer
	control    bool
	codec      compress.Codec
	appendTime bool
}

// cleanHistory drives one compacted log at random, and knows every record that was ever appended.
type cleanHistory struct {
	t     *testing.T
	rng   *rand.Rand
	disk  *vfs.Mem
	fs    vfs.FS
	cfg   Config
	tune  Tuning
	s     *Store
	l     *Log
	clock time.Duration // since testNow

	records []keyed
	batches []keptBatch
	open    map[int64]*txnModel // by producer
	keys    int
	start   protocol.Offset
	hw      protocol.Offset
}

func newCleanHistory(t *testing.T, seed uint64) *cleanHistory {
	h := &cleanHistory{t: t, rng: rand.New(rand.NewPCG(seed, 77)), disk: vfs.NewMem(), open: map[int64]*txnModel{}}
	h.fs = h.disk
	h.keys = 1 + h.rng.IntN(40)
	h.cfg = DefaultConfig()
	h.cfg.Compacts, h.cfg.Deletes = true, false
	h.cfg.MinCleanableRatio = []float64{0, 0, 0.3}[h.rng.IntN(3)]
	h.cfg.SegmentBytes = 1000 + h.rng.Int64N(6000)
	h.cfg.IndexInterval = h.rng.Int64N(600)
	h.cfg.DeleteRetention = time.Duration(h.rng.IntN(3)) * time.Hour
	h.cfg.Codec = []compress.Codec{batch.KeepProducer, compress.None, compress.LZ4, compress.Zstd}[h.rng.IntN(4)]
	if h.rng.IntN(4) == 0 {
		h.cfg.MinCompactionLag = 90 * time.Minute
	}
	if h.rng.IntN(4) == 0 {
		h.cfg.MaxCompactionLag = 30 * time.Minute
	}
	h.tune = DefaultTuning()
	h.tune.Cleaner.BufferBytes = 1
	if h.rng.IntN(2) == 0 {
		h.tune.Cleaner.DedupeBytes = 24 * (2 + h.rng.Int64N(30)) // several passes
	}
	h.reopen()
	return h
}

func (h *cleanHistory) now() time.Time { return testNow.Add(h.clock) }

func (h *cleanHistory) options() Options {
	o := testOptions(h.cfg)
	o.Now = h.now
	o.Tuning = &h.tune
	return o
}

func (h *cleanHistory) reopen() {
	s, err := openIdle(h.fs, []string{"/data"}, h.options())
	if err != nil {
		h.t.Fatal(err)
	}
	l, err := s.Create(tp0, protocol.TopicID{1}, h.cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	h.s, h.l = s, l
	h.l.SetHighWatermark(h.hw)
}

// nextSequence is what a producer sends next.
func (h *cleanHistory) nextSequence(id int64) int32 {
	for _, p := range h.l.Producers() {
		if p.ID == id {
			return p.LastSequence + 1
		}
	}
	return 0
}

// append appends a batch of random records: of nobody, of an idempotent producer (1 to 3), or in a transaction (4 to
// 6).
func (h *cleanHistory) append() {
	id := int64(h.rng.IntN(7))
	o := batch.BuilderOptions{LogAppendTime: h.rng.IntN(6) == 0, AppendTime: h.now().UnixMilli()}
	o.Codec = []compress.Codec{0, 0, 0, compress.Gzip, compress.Snappy, compress.LZ4, compress.Zstd}[h.rng.IntN(7)]
	if id > 0 {
		o.Producer = &batch.Producer{ID: id, Sequence: h.nextSequence(id)}
	}
	var txn *txnModel
	if id > 3 {
		o.Transactional = true
		if h.open[id] == nil {
			h.open[id] = &txnModel{}
		}
		txn = h.open[id]
	}
	b := batch.NewBuilder(o)
	base := h.l.Bounds().End
	for i := range 1 + h.rng.IntN(6) {
		r := keyed{
			offset:    base + protocol.Offset(i),
			key:       fmt.Sprintf("key-%d", h.rng.IntN(h.keys)),
			timestamp: h.now().UnixMilli() - h.rng.Int64N(1000),
			producer:  id,
			batch:     len(h.batches),
			txn:       txn,
			cleaned:   -1,
		}
		if h.rng.IntN(5) > 0 {
			r.value = fmt.Appendf(nil, "value of %d %s", r.offset, bytes.Repeat([]byte("x"), h.rng.IntN(80)))
		}
		b.Add(r.timestamp, []byte(r.key), r.value, batch.Header{Key: "h", Value: []byte(r.key)})
		if o.LogAppendTime {
			r.timestamp = o.AppendTime
		}
		h.records = append(h.records, r)
	}
	h.put(b.Build())
}

func (h *cleanHistory) put(b batch.Batch) {
	h.t.Helper()
	if _, err := h.l.Append(h.now(), 3, b); err != nil {
		h.t.Fatal(err)
	}
	h.batches = append(h.batches, keptBatch{
		base: b.BaseOffset(), last: b.LastOffset(), epoch: b.LeaderEpoch(), control: b.IsControl(), codec: b.Codec(),
		producer:   batch.Producer{ID: b.ProducerID(), Epoch: b.ProducerEpoch(), Sequence: b.BaseSequence()},
		appendTime: b.IsLogAppendTime(),
	})
}

// end ends the transaction of a producer.
func (h *cleanHistory) end(id int64, abort bool) {
	b := batch.NewBuilder(batch.BuilderOptions{
		Producer: &batch.Producer{ID: id, Sequence: -1}, Transactional: true, Control: true,
	})
	key, value := make([]byte, 4), make([]byte, 6)
	if !abort {
		key[3] = 1
	}
	binary.BigEndian.PutUint32(value[2:], 1)
	b.Add(h.now().UnixMilli(), key, value)
	txn := h.open[id]
	txn.ended, txn.aborted, txn.marker = true, abort, h.l.Bounds().End
	delete(h.open, id)
	h.put(b.Build())
}

// truncate cuts off some of the last batches, behind the high watermark.
func (h *cleanHistory) truncate() {
	keep := max(len(h.batches)-h.rng.IntN(5), 0)
	if keep == len(h.batches) || h.batches[keep].base < max(h.start, h.hw) {
		return
	}
	to := h.batches[keep].base
	if err := h.l.Truncate(to); err != nil {
		h.t.Fatal(err)
	}
	h.batches = h.batches[:keep]
	h.records = slices.DeleteFunc(h.records, func(r keyed) bool { return r.offset >= to })
	txns := map[int64]*txnModel{}
	for i := range h.records {
		if txn := h.records[i].txn; txn != nil && (!txn.ended || txn.marker >= to) {
			*txn = txnModel{}
			txns[h.records[i].producer] = txn
		}
	}
	h.open = txns
}

func (h *cleanHistory) step() {
	switch p := h.rng.IntN(100); {
	case p < 60:
		h.append()
	case p < 75:
		if ids := slices.Sorted(maps.Keys(h.open)); len(ids) > 0 {
			h.end(ids[h.rng.IntN(len(ids))], h.rng.IntN(2) == 0)
		}
	case p < 80:
		h.clock += time.Duration(h.rng.IntN(90)) * time.Minute
	case p < 83:
		h.truncate()
	case p < 85:
		h.start = max(h.start, h.l.Bounds().Start+protocol.Offset(h.rng.IntN(20)))
		h.start = min(h.start, max(h.hw, h.l.Bounds().Start))
		if err := h.l.Advance(h.start); err != nil {
			h.t.Fatal(err)
		}
	case p < 88:
		state := func() string {
			b := h.l.Bounds()
			return fmt.Sprint(h.l.Producers(), b.Start, b.End, b.LastStable)
		}
		before := state()
		if err := h.s.Close(); err != nil {
			h.t.Fatal(err)
		}
		h.reopen()
		if after := state(); after != before {
			h.t.Fatalf("after a restart %s, before %s", after, before)
		}
	default:
		h.clean()
	}
	if h.rng.IntN(3) > 0 {
		h.hw = max(h.hw, h.l.Bounds().End-protocol.Offset(h.rng.IntN(15)))
	}
	h.l.SetHighWatermark(h.hw)
}

// clean compacts, and notes for tombstones when that was.
func (h *cleanHistory) clean() {
	h.t.Helper()
	h.s.cleanNow(h.now())
	if err := h.s.Uncleanable(tp0); err != nil {
		h.t.Fatal(err)
	}
	cleaned := protocol.Offset(h.l.cleaned.Load())
	for i := range h.records {
		if r := &h.records[i]; r.cleaned < 0 && r.offset < cleaned {
			r.cleaned = h.clock
		}
	}
	h.check(h.l)
}

// entry is a record as it was read.
type entry struct {
	offset     protocol.Offset
	key, value []byte
	timestamp  int64
	visible    bool // to a reader of committed records
}

// readEntries walks a log as a reader of committed records does, from an offset to the end.
func readEntries(t *testing.T, l *Log, from protocol.Offset, each func(b batch.Batch)) []entry {
	t.Helper()
	var out []entry
	end := l.Bounds().LastStable
	aborted, err := l.Aborted(from, end)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(aborted, func(a, b segment.AbortedTxn) int { return int(a.First - b.First) })
	under := map[int64]bool{}
	for at := from; at < l.Bounds().End; {
		s, err := l.Read(at, l.Bounds().End, 1<<20, true)
		if err != nil {
			t.Fatalf("read at %d: %v", at, err)
		}
		raw, err := s.Bytes(nil)
		s.Release()
		if err != nil {
			t.Fatal(err)
		}
		if len(raw) == 0 {
			break
		}
		for len(raw) > 0 {
			b, rest, err := batch.Next(raw)
			if err != nil || !b.CheckCRC() {
				t.Fatalf("batch at %d: %v", at, err)
			}
			raw, at = rest, b.LastOffset()+1
			for len(aborted) > 0 && aborted[0].First <= b.LastOffset() {
				under[aborted[0].ProducerID] = true
				aborted = aborted[1:]
			}
			each(b)
			for r, err := range b.Records(nil) {
				if err != nil {
					t.Fatalf("batch %d..%d: %v", b.BaseOffset(), b.LastOffset(), err)
				}
				if b.BaseOffset()+protocol.Offset(r.OffsetDelta) < from {
					continue
				}
				if b.IsControl() {
					if binary.BigEndian.Uint16(r.Key[2:]) == 0 {
						delete(under, b.ProducerID())
					}
					continue
				}
				e := entry{offset: b.BaseOffset() + protocol.Offset(r.OffsetDelta), key: bytes.Clone(r.Key),
					value: bytes.Clone(r.Value), timestamp: b.Timestamp(r)}
				e.visible = e.offset < end && !(b.IsTransactional() && under[b.ProducerID()])
				out = append(out, e)
			}
		}
	}
	return out
}

// view is what a table made of the committed records looks like, from an offset on.
func view(es []entry) map[string]string {
	out := map[string]string{}
	for _, e := range es {
		switch {
		case !e.visible:
		case e.value == nil:
			delete(out, string(e.key))
		default:
			out[string(e.key)] = string(e.value)
		}
	}
	return out
}

// modelEntries are the entries of a log that was never compacted.
func (h *cleanHistory) modelEntries(end protocol.Offset) []entry {
	var out []entry
	for _, r := range h.records {
		if r.offset < h.start {
			continue
		}
		out = append(out, entry{offset: r.offset, key: []byte(r.key), value: r.value, timestamp: r.timestamp,
			visible: r.offset < end && (r.txn == nil || r.txn.ended && !r.txn.aborted)})
	}
	return out
}
