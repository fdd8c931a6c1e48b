package storage

import (
	"bytes"
	"fmt"
	"slices"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/producers"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/storagetest"
)

// settle takes a partition as a crash left it: it must be a whole prefix of what was there, with everything in it that
// was durable, or after a kill everything that was acknowledged: up to Done. The model goes on from there.
func (w *world) settle(p *part) {
	if err := w.s.Failed(p.tp); err != nil {
		w.fail("%v after a crash: %v\n%v", p.tp, err, w.mem)
	}
	l, ok := w.s.Log(p.tp)
	if !ok {
		w.absent(p)
		return
	}
	if !p.wanted && !p.maybe {
		w.fail("%v was deleted, and is back after a crash", p.tp)
	}
	p.wanted, p.maybe, p.tail = true, false, 0
	if id := l.TopicID(); !id.IsZero() && id != p.m.ID {
		w.fail("%v has the id %v after a crash, want %v", p.tp, id, p.m.ID)
	}
	p.l = l
	if p.cut {
		// A kill in the middle of a truncation, and a power cut before anything is synced again, bring back what was being
		// cut off, whole. That is the state before the truncation, which had not ended: it is let pass here.
		w.must(w.mem.SyncAll(l.Dir()))
	}
	b, m := l.Bounds(), p.m
	if p.anew && b.Start == b.End && l.Size() == 0 && len(l.Producers()) == 0 {
		p.beginAt(b.Start)
		w.check(p)
		return
	}
	p.anew, p.cut = false, false
	if b.End < m.Done || b.End > m.End || b.Start > m.Start || b.Start < m.Kept || b.Start > b.End {
		w.fail("%v has the bounds %+v after a crash; at least %d are kept, the model has %d..%d\n%v", p.tp, b, m.Done,
			m.Start, m.End, w.mem)
	}
	w.sim.note(w.depth, "%v was recovered: %+v of the model's %d..%d, durable %d", p.tp, b, m.Start, m.End, m.Durable)
	w.adopt(p, b)
	w.check(p)
}

// absent is a partition that a crash took away as a whole. The broker makes it again.
func (w *world) absent(p *part) {
	if p.wanted && !p.maybe && p.m.Done > 0 {
		w.fail("%v is gone after a crash; at least %d are kept\n%v", p.tp, p.m.Done, w.mem)
	}
	p.maybe, p.anew, p.cut, p.l = false, false, false, nil
	if p.wanted {
		w.create(p, p.m.ID)
	} else {
		p.m = nil
	}
}

// adopt cuts the model to what is there.
func (w *world) adopt(p *part, b Bounds) {
	m := p.m
	base := (*p.l.segments.Load())[0].Base()
	m.Floors = append(slices.Clip(m.Floors), base)
	ends := []protocol.Offset{b.End}
	if b.Start == b.End && p.l.Size() == 0 { // the start outlived the records, and nobody knows how many of them did
		ends = ends[:0]
		for _, mb := range slices.Backward(m.Batches) {
			if mb.Next() <= b.End {
				ends = append(ends, mb.Next())
			}
		}
		ends = append(ends, 0)
	}
	missing, ok := w.adoptProducers(p, m.Floors, ends)
	if !ok {
		w.fail("%v knows the producers %+v after a crash, want %+v", p.tp, p.l.Producers(), w.replayed(p, 0, b.End).Active())
	}
	if len(missing) > 0 { // their last batches are gone, and for the sake of these the earlier ones were not kept
		m.Forgets = append(m.Forgets, storagetest.Forget{At: m.End, IDs: missing})
	}
	m.End, m.Done, m.Start = b.End, b.End, b.Start
	m.Durable = b.Synced
	p.cleaned, p.decided = min(p.cleaned, b.End), min(p.decided, b.End)
}

// adoptProducers looks which batches the log's producers come from: all up to one of ends, unless a snapshot was lost
// and with it what was written before a floor, or the news that a producer had been forgotten. Of a compacted log
// several may fit: those are taken that leave the fewest producers missing.
func (w *world) adoptProducers(p *part, floors, ends []protocol.Offset) (missing []int64, ok bool) {
	m := p.m
	m.Forgets = slices.Clone(m.Forgets)
	undo := func(mask int) {
		for i := range m.Forgets {
			m.Forgets[i].Undone = mask>>i&1 == 1
		}
	}
	var best struct {
		undone     int
		floor, end protocol.Offset
		missing    []int64
	}
	found := false
search:
	for undone := range 1 << min(len(m.Forgets), 6) {
		undo(undone)
		for _, end := range ends {
			for _, floor := range floors {
				missing, ok := w.knows(p, floor, end)
				if !ok || found && len(missing) >= len(best.missing) {
					continue
				}
				best.undone, best.floor, best.end, best.missing = undone, floor, end, missing
				if found = true; len(missing) == 0 {
					break search
				}
			}
		}
	}
	if !found {
		return nil, false
	}
	undo(best.undone)
	m.Cut(best.end)
	m.Floor = best.floor
	return best.missing, true
}

func (w *world) replayed(p *part, from, end protocol.Offset) *producers.State {
	return p.m.Replay(from, end, w.now)
}

// knows says whether a log's producers are those that the batches from..end make, and of a compacted log which of them
// are missing.
func (w *world) knows(p *part, from, end protocol.Offset) (missing []int64, ok bool) {
	if p.cleaned > 0 {
		return w.knowsCompacted(p, from, end)
	}
	return nil, bytes.Equal(untimed(p.l.w.producers), untimed(w.replayed(p, from, end)))
}

// untimed is a snapshot without the times at which producers were used last, which a replay does not know.
func untimed(s *producers.State) []byte {
	const head, producer, magic = 10, 46, 8
	b := bytes.Clone(s.Snapshot())
	clear(b[2:6])
	at := head + s.Len()*producer + magic
	for range s.Len() {
		clear(b[at : at+8])
		at += 9 + 24*int(b[at+8])
	}
	return b
}

// check holds a log against its model, of which nothing may be missing.
func (w *world) check(p *part) {
	if p.l == nil {
		return
	}
	if err := p.l.Failure(); err != nil {
		w.fail("%v", err)
	}
	b, m := p.l.Bounds(), p.m
	if b.Start != m.Start || b.End != m.End || b.Synced > b.End {
		w.fail("%v has the bounds %+v, want %d..%d", p.tp, b, m.Start, m.End)
	}
	if missing, ok := w.knows(p, m.Floor, m.End); !ok || len(missing) > 0 {
		w.fail("%v knows the producers %+v, want %+v", p.tp, p.l.Producers(), w.replayed(p, m.Floor, m.End).Active())
	}
	if p.cleaned > 0 {
		w.checkCompacted(p, b)
		return
	}
	w.checkReads(p, b)
	w.checkTimes(p, m, b)
	w.checkEpochs(p, b)
	w.checkAborted(p, b)
	for _, s := range *p.l.segments.Load() {
		w.must(segment.Verify(s))
	}
}

func (w *world) checkReads(p *part, b Bounds) {
	at := b.Start
	for _, mb := range p.m.From(b.Start) {
		s, err := p.l.Read(at, b.End, 1, true)
		if err != nil {
			w.fail("read %v at %d of %+v: %v", p.tp, at, b, err)
		}
		raw, err := s.Bytes(nil)
		s.Release()
		if err != nil || !bytes.Equal(raw, mb.Raw) {
			w.fail("read %v at %d: %d bytes, want the batch %d..%d of %d bytes; %v\n%v", p.tp, at, len(raw), mb.First(),
				mb.Next()-1, len(mb.Raw), err, w.mem)
		}
		at = mb.Next()
	}
	if at != b.End {
		w.fail("the batches of %v end at %d, the log at %d", p.tp, at, b.End)
	}
}

func (w *world) checkTimes(p *part, m *storagetest.Model, b Bounds) {
	same := func(got TimestampOffset, want storagetest.Record) bool {
		return got.Offset == want.Offset && got.Timestamp == want.Timestamp
	}
	for range 3 {
		ts := w.now.UnixMilli() - 2000 + w.rng.Int64N(2500)
		if batches := m.From(b.Start); len(batches) > 0 && w.rng.IntN(2) == 0 {
			rs := batches[w.rng.IntN(len(batches))].Records
			if len(rs) == 0 {
				continue
			}
			ts = max(0, rs[w.rng.IntN(len(rs))].Timestamp)
		}
		limit := w.src.Random(b.Start, b.End)
		got, ok, err := p.l.OffsetAt(ts, limit)
		want, wantOK := m.FirstAt(ts, b.Start, limit)
		if err != nil || ok != wantOK || ok && !same(got, want) {
			w.fail("%v at time %d below %d: %+v %v %v, want %d at %d, %v", p.tp, ts, limit, got, ok, err, want.Offset,
				want.Timestamp, wantOK)
		}
	}
	got, ok, err := p.l.MaxTimestamp()
	want, wantOK := m.Largest(b.Start, b.End)
	if err != nil || ok != wantOK || ok && !same(got, want) {
		w.fail("largest timestamp of %v, %+v: %+v %v %v, want %d at %d, %v", p.tp, b, got, ok, err, want.Offset,
			want.Timestamp, wantOK)
	}
}

func (w *world) checkEpochs(p *part, b Bounds) {
	if b.Start == b.End {
		return
	}
	want := p.m.Epochs(b.Start, b.End)
	if p.tail > 0 {
		want, _ = want.Assign(p.tail, b.End)
	}
	got := p.l.Epochs()
	if first := p.m.From(b.Start); len(first) > 0 { // in a gap at the start: read from the batches it begins behind it
		got, _ = got.TruncateStart(first[0].First())
		want, _ = want.TruncateStart(first[0].First())
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.fail("%v %+v has the epochs %v, want %v", p.tp, b, got, want)
	}
}

// checkAborted is exact while the log knows all of its producers.
func (w *world) checkAborted(p *part, b Bounds) {
	m := p.m
	stable := b.End
	if first, open := w.replayed(p, m.Floor, m.End).FirstOpen(); open {
		stable = max(first, b.Start) // as Kafka: nobody reads what lies before the start
	}
	if b.LastStable != stable {
		w.fail("the last stable offset of %v is %d, want %d", p.tp, b.LastStable, stable)
	}
	if slices.Max(m.Floors) > 0 {
		return
	}
	from := w.src.Random(b.Start, b.End)
	to := w.src.Random(from, b.End)
	got, err := p.l.Aborted(from, to)
	all := m.Aborted(0, m.End)
	if want := storagetest.Overlapping(all, from, to); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		w.fail("aborted in %d..%d of %v: %v %v, want %v of %v", from, to, p.tp, got, err, want, all)
	}
}
