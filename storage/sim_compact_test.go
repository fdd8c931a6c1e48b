package storage

import (
	"bytes"
	"slices"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/producers"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/storagetest"
)

// clean compacts what there is to compact. While that lasts, and after a crash in it, anything below the end may have
// been compacted.
func (w *world) clean() {
	for _, p := range w.parts {
		if p.l != nil && p.cfg.Compacts {
			p.cleaned, p.wasCleaned = p.m.End, p.cleaned
			p.decided = max(p.decided, p.l.Bounds().LastStable)
		}
	}
	w.s.cleanNow(w.now)
	for _, p := range w.parts {
		if p.l != nil && p.cfg.Compacts {
			if err := w.s.Uncleanable(p.tp); err != nil {
				w.fail("%v cannot be compacted: %v", p.tp, err)
			}
			p.cleaned = max(p.wasCleaned, protocol.Offset(p.l.cleaned.Load()))
			p.m.Start = max(p.m.Start, p.l.Bounds().Start)
			w.check(p)
		}
	}
}

// view is what a reader of a compacted log sees, as a model: each record is one that was appended, in its batch, and what
// is missing had to be.
func (w *world) view(p *part, b Bounds) *storagetest.Model {
	v := storagetest.NewModel(p.m.ID, b.Start)
	before := p.m.From(b.Start)
	for at := b.Start; at < b.End; {
		s, err := p.l.Read(at, b.End, 1, true)
		if err != nil {
			w.fail("read %v at %d of %+v: %v", p.tp, at, b, err)
		}
		raw, err := s.Bytes(nil)
		s.Release()
		if len(raw) == 0 && err == nil {
			break // the last records of the log, which others have replaced, are gone with their batch
		}
		got := batch.Batch(raw)
		if err != nil || len(raw) < batch.HeaderBytes || !got.CheckCRC() || got.LastOffset() < at {
			w.fail("read %v at %d: %d bytes that are no batch, %v", p.tp, at, len(raw), err)
		}
		for len(before) > 0 && before[0].First() < got.BaseOffset() {
			w.missing(p, b, before[0], nil)
			before = before[1:]
		}
		if len(before) == 0 || before[0].First() != got.BaseOffset() || before[0].Next() != got.LastOffset()+1 ||
			before[0].Raw.ProducerID() != got.ProducerID() || before[0].Raw.LeaderEpoch() != got.LeaderEpoch() {
			w.fail("%v has the batch %d..%d, which was not appended so", p.tp, got.BaseOffset(), got.LastOffset())
		}
		v.Add(got)
		w.missing(p, b, before[0], &v.Batches[len(v.Batches)-1])
		before, at = before[1:], got.LastOffset()+1
	}
	for _, gone := range before {
		w.missing(p, b, gone, nil)
	}
	v.End = b.End
	return v
}

// missing compares a batch with what is left of it, nil for nothing.
func (w *world) missing(p *part, b Bounds, was storagetest.Batch, left *storagetest.Batch) {
	if was.First() >= p.cleaned && (left == nil || !bytes.Equal(left.Raw, was.Raw)) {
		w.fail("the batch %d..%d of %v has changed, and only what lies below %d may be compacted", was.First(),
			was.Next()-1, p.tp, p.cleaned)
	}
	var rest []storagetest.Record
	if left != nil {
		rest = left.Records
	}
	for _, r := range was.Records {
		if len(rest) > 0 && rest[0].Offset == r.Offset {
			if rest[0].Timestamp != r.Timestamp || !bytes.Equal(rest[0].Key, r.Key) || !bytes.Equal(rest[0].Value, r.Value) {
				w.fail("the record %d of %v has changed", r.Offset, p.tp)
			}
			rest = rest[1:]
			continue
		}
		if r.Offset >= b.Start && !w.replaceable(p, was, r) {
			w.fail("the record %d of %v, key %q, is gone, and nothing replaces it below %d\n%v", r.Offset, p.tp, r.Key,
				p.cleaned, w.mem)
		}
	}
	if len(rest) > 0 {
		w.fail("%v has a record at %d that was not appended", p.tp, rest[0].Offset)
	}
}

// replaceable says whether compaction may have removed a record: one without key or value, a marker, one of an aborted
// transaction, or one that a later record below the cleaned part's end replaces.
func (w *world) replaceable(p *part, in storagetest.Batch, r storagetest.Record) bool {
	aborted := p.m.Aborted(0, p.m.End)
	inAborted := func(b batch.Batch) bool {
		for _, a := range aborted {
			if b.IsTransactional() && a.ProducerID == b.ProducerID() && b.BaseOffset() >= a.First && b.BaseOffset() <= a.Last {
				return true
			}
		}
		return false
	}
	if r.Key == nil || r.Value == nil || in.Raw.IsControl() || inAborted(in.Raw) {
		return true
	}
	for _, b := range p.m.From(r.Offset) {
		if b.First() >= p.cleaned || b.Raw.IsControl() || inAborted(b.Raw) {
			continue
		}
		for _, later := range b.Records {
			if later.Offset > r.Offset && bytes.Equal(later.Key, r.Key) {
				return true
			}
		}
	}
	return false
}

// knowsCompacted is knows for a log of which batches are gone: each producer is where it was, though less may be known
// of how it came there.
func (w *world) knowsCompacted(p *part, from, end protocol.Offset) (missing []int64, ok bool) {
	got := p.l.Producers()
	for _, a := range w.replayed(p, from, end).Active() {
		same := func(g producers.Active) bool {
			return a.ID == g.ID && a.Epoch == g.Epoch && a.LastSequence == g.LastSequence && a.TxnFirst == g.TxnFirst
		}
		if i := slices.IndexFunc(got, same); i >= 0 {
			got = slices.Delete(got, i, i+1)
		} else {
			missing = append(missing, a.ID)
		}
	}
	return missing, len(got) == 0
}

// checkCompacted is check for a log that may have been compacted.
func (w *world) checkCompacted(p *part, b Bounds) {
	v := w.view(p, b)
	w.checkTimes(p, v, b)
	for _, s := range *p.l.segments.Load() {
		w.must(segment.Verify(s))
	}
}
