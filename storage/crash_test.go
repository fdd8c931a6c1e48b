package storage

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/epoch"
	"moldau.io/moldau/storage/producers"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

var testNow = time.UnixMilli(1_000_000)

// model is what a log should hold: its batches, from offset 0 on.
type model struct {
	batches []modelBatch
	start   protocol.Offset // the highest that Advance was called with
	synced  protocol.Offset // the log said that so much is durable
	// keptStart is a start that is durable: no record below it may be back. 0 for none.
	keptStart protocol.Offset
	seqs      map[int64]int32
	epoch     protocol.Epoch
}

type modelBatch struct {
	raw        batch.Batch // as it is in the log
	timestamps []int64
}

func (m *model) end() protocol.Offset {
	if len(m.batches) == 0 {
		return 0
	}
	return m.batches[len(m.batches)-1].raw.LastOffset() + 1
}

func (m *model) clone() *model {
	c := *m
	c.batches = append([]modelBatch(nil), m.batches...)
	return &c
}

// crashPoint is a disk as a crash left it, and what was true then.
type crashPoint struct {
	disk *vfs.Mem
	m    *model
	op   vfs.Op
}

// history drives one log at random and takes crashed disks on the way.
type history struct {
	t      *testing.T
	rng    *rand.Rand
	mem    *vfs.Mem
	fs     vfs.FS
	m      *model
	s      *Store
	l      *Log
	cfg    Config
	points []crashPoint
	armed  bool
	every  int
	ops    int
}

func newHistory(t *testing.T, seed uint64) *history {
	h := &history{t: t, rng: rand.New(rand.NewPCG(seed, 1)), mem: vfs.NewMem(), m: &model{seqs: map[int64]int32{}}}
	h.every = 3 + h.rng.IntN(30)
	h.fs = vfs.WithFaults(h.mem, func(op vfs.Op) error {
		h.ops++
		if h.armed && op.Kind != "ReadAt" && op.Kind != "Stat" && op.Kind != "List" && h.ops%h.every == 0 {
			disk := h.mem.CrashClone(rand.New(rand.NewPCG(seed, uint64(h.ops))), []int{0, 50, 90, 100}[h.rng.IntN(4)])
			h.points = append(h.points, crashPoint{disk: disk, m: h.m.clone(), op: op})
		}
		return nil
	})
	h.cfg = DefaultConfig()
	h.cfg.SegmentBytes = 1500 + h.rng.Int64N(4000)
	h.cfg.IndexInterval = h.rng.Int64N(600)
	h.cfg.DeleteDelay = time.Duration(h.rng.IntN(2)) * time.Hour
	h.open()
	return h
}

func testOptions(cfg Config) Options {
	o := options()
	o.Config = func(string) Config { return cfg }
	o.RecoveryThreads = 1
	o.Now = func() time.Time { return testNow }
	return o
}

func (h *history) open() {
	s, err := openIdle(h.fs, []string{"/data"}, testOptions(h.cfg))
	if err != nil {
		h.t.Fatal(err)
	}
	l, err := s.Create(tp0, protocol.TopicID{1}, h.cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	h.s, h.l = s, l
}

// next is a random batch, as the producer sends it. The model has it already, as it will be in the log: a crash in the
// middle of its append may keep it.
func (h *history) next() batch.Batch {
	n := 1 + h.rng.IntN(4)
	mb := modelBatch{}
	opts := batch.BuilderOptions{}
	id := int64(h.rng.IntN(3))
	if id > 0 {
		opts.Producer = &batch.Producer{ID: id, Sequence: h.m.seqs[id]}
		h.m.seqs[id] += int32(n)
	}
	b := batch.NewBuilder(opts)
	for range n {
		ts := 1000 + h.rng.Int64N(5000)
		mb.timestamps = append(mb.timestamps, ts)
		b.Add(ts, nil, bytes.Repeat([]byte{byte('a' + h.rng.IntN(26))}, h.rng.IntN(300)))
	}
	mb.raw = b.Build()
	if h.rng.IntN(20) == 0 {
		h.m.epoch++
	}
	mb.raw.Stamp(h.m.end(), h.m.epoch)
	h.m.batches = append(h.m.batches, mb)
	return batch.Batch(bytes.Clone(mb.raw))
}

func (h *history) append() {
	b := h.next()
	want := b.BaseOffset()
	a, err := h.l.Append(testNow, h.m.epoch, b)
	if err != nil {
		h.t.Fatal(err)
	}
	if a.Base != want {
		h.t.Fatalf("appended at %d, want %d", a.Base, want)
	}
}

func (h *history) step() {
	var err error
	switch p := h.rng.IntN(100); {
	case p < 70:
		h.append()
	case p < 78:
		err = h.l.Flush()
	case p < 86:
		h.s.flushPending()
	case p < 91:
		err = h.s.Checkpoint(nil)
	case p < 94:
		to := h.m.start + protocol.Offset(h.rng.Int64N(int64(h.m.end()-h.m.start)+1))
		h.m.start = to
		err = h.l.Advance(to)
	case p < 96:
		h.s.removeDue(h.rng.IntN(2) == 0)
	case p < 98:
		err = h.truncate()
	default:
		if err = h.s.Close(); err == nil {
			h.m.synced = h.l.Bounds().Synced
			h.open()
			h.check(h.l, h.m, true)
		}
	}
	if err != nil {
		h.t.Fatal(err)
	}
	h.m.synced = max(h.m.synced, h.l.Bounds().Synced)
}

// check holds a log against the model. exact says that nothing may be missing.
func (h *history) check(l *Log, m *model, exact bool) {
	t := h.t
	t.Helper()
	b := l.Bounds()
	if b.End < m.synced || b.End > m.end() && b.End > m.start || b.Start > m.start && b.Start > b.End {
		t.Fatalf("bounds %+v; synced %d, end %d, start %d", b, m.synced, m.end(), m.start)
	}
	if b.Start < m.keptStart {
		t.Fatalf("bounds %+v; the start %d was durable", b, m.keptStart)
	}
	if exact && (b.End != m.end() || b.Start != m.start) {
		t.Fatalf("bounds %+v, want %d..%d", b, m.start, m.end())
	}
	h.checkReads(l, m, b)
	h.checkTimes(l, m, b)
	h.checkState(l, m, b)
	checkIndexes(t, l)
}

func (h *history) checkReads(l *Log, m *model, b Bounds) {
	t := h.t
	t.Helper()
	at := b.Start
	for _, mb := range m.batches {
		if mb.raw.LastOffset() < at || at >= b.End {
			continue
		}
		s, err := l.Read(at, b.End, 1, true)
		if err != nil {
			t.Fatalf("read at %d of %+v: %v", at, b, err)
		}
		raw, err := s.Bytes(nil)
		s.Release()
		if err != nil || !bytes.Equal(raw, mb.raw) {
			t.Fatalf("read at %d: %d bytes, want the batch %d..%d of %d bytes; %v", at, len(raw), mb.raw.BaseOffset(),
				mb.raw.LastOffset(), len(mb.raw), err)
		}
		at = mb.raw.LastOffset() + 1
	}
	if at != b.End {
		t.Fatalf("batches end at %d, the log at %d", at, b.End)
	}
}

func (h *history) checkTimes(l *Log, m *model, b Bounds) {
	t := h.t
	t.Helper()
	for range 5 {
		ts := 900 + h.rng.Int64N(5200)
		limit := b.Start + protocol.Offset(h.rng.Int64N(int64(b.End-b.Start)+1))
		got, ok, err := l.OffsetAt(ts, limit)
		want, wantOK := m.firstAt(ts, b.Start, min(limit, b.End))
		if err != nil || ok != wantOK || ok && (got.Offset != want.Offset || got.Timestamp != want.Timestamp) {
			t.Fatalf("offset at %d below %d: %+v %v %v, want %+v %v", ts, limit, got, ok, err, want, wantOK)
		}
	}
	got, ok, err := l.MaxTimestamp()
	want, wantOK := m.largest(b.Start, b.End)
	if err != nil || ok != wantOK || ok && (got.Offset != want.Offset || got.Timestamp != want.Timestamp) {
		t.Fatalf("largest timestamp of %+v: %+v %v %v, want %+v %v", b, got, ok, err, want, wantOK)
	}
}

func (m *model) each(do func(o protocol.Offset, ts int64)) {
	for _, mb := range m.batches {
		for i, ts := range mb.timestamps {
			do(mb.raw.BaseOffset()+protocol.Offset(i), ts)
		}
	}
}

func (m *model) firstAt(ts int64, from, to protocol.Offset) (found TimestampOffset, ok bool) {
	m.each(func(o protocol.Offset, at int64) {
		if !ok && o >= from && o < to && at >= ts {
			found, ok = TimestampOffset{Offset: o, Timestamp: at}, true
		}
	})
	return found, ok
}

func (m *model) largest(from, to protocol.Offset) (found TimestampOffset, ok bool) {
	m.each(func(o protocol.Offset, at int64) {
		if o >= from && o < to && (!ok || at > found.Timestamp) {
			found, ok = TimestampOffset{Offset: o, Timestamp: at}, true
		}
	})
	return found, ok
}

// checkState compares the producers and the epochs with those that the surviving batches make.
func (h *history) checkState(l *Log, m *model, b Bounds) {
	t := h.t
	t.Helper()
	state, epochs := producers.New(), epoch.History{}
	for _, mb := range m.batches {
		if mb.raw.BaseOffset() < b.End {
			state.Apply(mb.raw, testNow)
			epochs, _ = epochs.Assign(mb.raw.LeaderEpoch(), mb.raw.BaseOffset())
		}
	}
	epochs, _ = epochs.TruncateStart(b.Start)
	epochs, _ = epochs.TruncateEnd(b.End)
	if b.Start == 0 && !bytes.Equal(l.w.producers.Snapshot(), state.Snapshot()) {
		t.Fatalf("producers %+v, want %+v", l.Producers(), state.Active())
	}
	if b.Start < b.End && fmt.Sprint(l.Epochs()) != fmt.Sprint(epochs) {
		t.Fatalf("bounds %+v model %d: epochs %v, want %v", b, m.start, l.Epochs(), epochs)
	}
}

// checkIndexes walks every index entry of every segment: each must point at a batch that ends at its offset.
func checkIndexes(t *testing.T, l *Log) {
	t.Helper()
	for _, s := range *l.segments.Load() {
		if err := segment.Verify(s); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCrashes runs random histories and opens the disks that crashes on the way would have left: each must hold a
// prefix of the log with everything that was durable, without a hole, with indexes and states that fit.
func TestCrashes(t *testing.T) {
	seeds := 150
	if testing.Short() {
		seeds = 40
	}
	points := 0
	for seed := range uint64(seeds) {
		ok := t.Run(fmt.Sprintf("seed%d", seed), func(t *testing.T) {
			h := newHistory(t, seed)
			h.armed = true
			for range 40 + h.rng.IntN(120) {
				h.step()
			}
			h.armed = false
			h.check(h.l, h.m, true)
			points += len(h.points)
			for i, p := range h.points {
				h.reopen(i, p, 2)
			}
		})
		if !ok {
			return
		}
	}
	t.Logf("%d crashed disks", points)
}

// reopen opens a crashed disk, checks it, writes on, crashes again while that is open, and so on.
func (h *history) reopen(i int, p crashPoint, depth int) {
	t := h.t
	s, err := openIdle(p.disk, []string{"/data"}, testOptions(h.cfg))
	if err != nil {
		t.Fatalf("crash %d before %v: %v\n%v", i, p.op, err, p.disk)
	}
	if err := s.Failed(tp0); err != nil {
		t.Fatalf("crash %d before %+v: %v\n%v", i, p.op, err, p.disk)
	}
	l, ok := s.Log(tp0)
	if !ok {
		if p.m.synced > 0 {
			t.Fatalf("crash %d before %+v: the log is gone\n%v", i, p.op, p.disk)
		}
		return
	}
	defer func() {
		if t.Failed() {
			t.Logf("crash %d before %+v, depth %d\n%v", i, p.op, depth, p.disk)
		}
	}()
	h.check(l, p.m, false)
	if depth == 0 {
		return
	}
	// Go on from what survived.
	m := p.m.clone()
	b := l.Bounds()
	m.start = b.Start
	for len(m.batches) > 0 && m.batches[len(m.batches)-1].raw.BaseOffset() >= b.End {
		m.batches = m.batches[:len(m.batches)-1]
	}
	if m.end() != b.End { // offsets up to a start that outlived its records are not used again
		return
	}
	g := &history{t: t, rng: h.rng, m: m, s: s, l: l, cfg: h.cfg}
	m.seqs = map[int64]int32{}
	for _, a := range l.Producers() {
		m.seqs[a.ID] = a.LastSequence + 1
	}
	for range 5 {
		g.append()
	}
	g.m.synced = l.Bounds().Synced
	disk := p.disk.CrashClone(rand.New(rand.NewPCG(uint64(i), 7)), 50)
	h.reopen(i, crashPoint{disk: disk, m: g.m, op: vfs.Op{Kind: "again"}}, depth-1)
}

// TestCutsAreNoticed breaks one byte of a log after a crash, wherever: what is flushed is never cut in silence, and
// what is not flushed ends before the broken batch.
func TestCutsAreNoticed(t *testing.T) {
	for seed := range uint64(60) {
		h := newHistory(t, seed)
		for range 30 {
			h.append()
		}
		if seed%2 == 0 {
			if err := h.l.Flush(); err != nil {
				t.Fatal(err)
			}
			if err := h.s.Checkpoint(nil); err != nil {
				t.Fatal(err)
			}
		}
		flushed := h.l.Bounds().Synced
		victim := h.m.batches[h.rng.IntN(len(h.m.batches))].raw
		disk := h.mem.CrashClone(h.rng, 100)
		inActive := breakBatch(t, disk, h, victim)
		s, err := openIdle(disk, []string{"/data"}, testOptions(h.cfg))
		if err != nil {
			t.Fatal(err)
		}
		l, ok := s.Log(tp0)
		switch {
		case victim.BaseOffset() < flushed && inActive && ok: // nothing was cut, and whoever reads it is told
			_, err := l.Read(victim.BaseOffset(), l.Bounds().End, 1<<20, true)
			if err == nil || l.Bounds().End < flushed {
				t.Fatalf("seed %d: damage at %d was not noticed, %d had been flushed", seed, victim.BaseOffset(), flushed)
			}
		case victim.BaseOffset() >= flushed && (!ok || l.Bounds().End != victim.BaseOffset()):
			t.Fatalf("seed %d: damage at %d: %v, %v", seed, victim.BaseOffset(), ok, s.Failed(tp0))
		}
	}
}

// breakBatch flips a byte of a batch's records, and says whether the batch is in the last segment.
func breakBatch(t *testing.T, disk *vfs.Mem, h *history, victim batch.Batch) bool {
	segs := *h.l.segments.Load()
	s := segs[holder(segs, victim.BaseOffset())]
	p, ok, err := s.Find(victim.BaseOffset())
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	f, err := disk.Open(path.Join(h.l.Dir(), segment.FileName(s.Base(), segment.LogSuffix)))
	if err != nil {
		t.Fatal(err)
	}
	at := p.Position + batch.HeaderBytes + h.rng.Int64N(p.Bytes-batch.HeaderBytes)
	var one [1]byte
	if _, err := f.ReadAt(one[:], at); err != nil {
		t.Fatal(err)
	}
	one[0] ^= 1 << h.rng.IntN(8)
	if _, err := f.WriteAt(one[:], at); err != nil {
		t.Fatal(err)
	}
	return s == segs[len(segs)-1]
}

// TestWhatWasCutStaysCut cuts a log before a good batch, writes a batch of the same length in place of the broken one, and
// crashes: the good batch behind it belongs to a history that was given up, and must not be back.
func TestWhatWasCutStaysCut(t *testing.T) {
	cfg := DefaultConfig()
	disk := vfs.NewMem()
	reopen := func() (*Store, *Log) {
		t.Helper()
		s, err := openIdle(disk, []string{"/data"}, testOptions(cfg))
		if err != nil {
			t.Fatal(err)
		}
		l, err := s.Create(tp0, protocol.TopicID{1}, cfg)
		if err != nil {
			t.Fatal(err)
		}
		return s, l
	}
	_, l := reopen()
	// Two sectors, so that what follows is in sectors of its own.
	value := strings.Repeat("x", 1024-len(records(t, 1, strings.Repeat("x", 900)))+900)
	first := records(t, 1, value)
	if len(first) != 1024 {
		t.Fatalf("the batch has %d bytes", len(first))
	}
	mustAppend(t, l, first)
	mustAppend(t, l, records(t, 2, "good, and given up"))
	disk = disk.CrashClone(rand.New(rand.NewPCG(0, 0)), 100)
	f, err := disk.Open(path.Join(l.Dir(), segment.FileName(0, segment.LogSuffix)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0xff}, 500); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	_, l = reopen()
	if b := l.Bounds(); b.End != 0 {
		t.Fatalf("%+v", b)
	}
	mustAppend(t, l, records(t, 3, strings.ReplaceAll(value, "x", "y")))
	for seed := range uint64(300) {
		crashed := disk.CrashClone(rand.New(rand.NewPCG(seed, 1)), 70)
		s, err := openIdle(crashed, []string{"/data"}, testOptions(cfg))
		if err != nil {
			t.Fatal(err)
		}
		if l, ok := s.Log(tp0); !ok || l.Bounds().End > 1 {
			t.Fatalf("seed %d: %v, %v", seed, ok, l.Bounds())
		}
	}
}
