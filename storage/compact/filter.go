package compact

import (
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/protocol/compress"
)

// Fate is what becomes of a batch.
type Fate int

// The fates.
const (
	Drop    Fate = iota // it goes
	Copy                // it stays as it is, byte for byte
	Rewrite             // some records go, or it gets a delete horizon
	Empty               // all records go and the header stays
)

// Verdict is what Filter says of a batch.
type Verdict struct {
	Fate    Fate
	Horizon int64    // what Rewrite is to be told: milliseconds, or batch.NoHorizon
	Kept    int      // records that stay
	Read    int      // records that were looked at
	Keyless int      // records that go because they have no key
	Aborted *Aborted // the index gets this entry
}

// LastBatch is what is left of a producer that may write again.
type LastBatch struct {
	Last  protocol.Offset // the last offset of its last batch of records; -1 when only its epoch is known, from a marker
	Epoch int16
}

// Round is what is the same for all batches of a cleaning.
type Round struct {
	Now         int64 // milliseconds
	Retention   int64 // how long tombstones and markers stay once they were seen, milliseconds
	Start       protocol.Offset
	Committed   protocol.Offset // the high watermark
	Producers   map[int64]LastBatch
	Transaction *Transactions
}

// Filter decides on batches, which it must be shown in the log's order, from a segment's begin on.
type Filter struct {
	Round
	offsets *Offsets
	keep    []uint64 // a bit for each record of the batch that was looked at last
}

// NewFilter decides by the last offsets of keys.
func NewFilter(r Round, o *Offsets) *Filter { return &Filter{Round: r, offsets: o} }

// Look decides on a batch. An error says that its records cannot be read. d may be nil.
func (f *Filter) Look(b batch.Batch, d *compress.Decoder) (Verdict, error) {
	var v Verdict
	gone, unused := false, false // everything in it goes; it is a marker without a transaction
	if b.IsControl() {
		var err error
		if unused, v.Aborted, err = f.Transaction.marker(b, d); err != nil {
			return v, err
		}
		gone = unused && b.HasDeleteHorizon() && b.BaseTimestamp() <= f.Now
	} else {
		gone = f.Transaction.data(b)
	}
	whenEmpty := Drop
	if f.lastOfProducer(b) || b.LastOffset()+1 == f.Committed {
		whenEmpty = Empty
	}
	if gone {
		v.Fate = whenEmpty
		return v, nil
	}
	tombstones, err := f.records(b, d, &v)
	if err != nil {
		return v, err
	}
	v.Horizon = batch.NoHorizon
	if b.HasDeleteHorizon() {
		v.Horizon = b.BaseTimestamp()
	}
	switch {
	case v.Kept == 0:
		v.Fate = whenEmpty
	case (tombstones || unused) && !b.HasDeleteHorizon():
		v.Fate, v.Horizon = Rewrite, f.Now+f.Retention
	case v.Kept < v.Read:
		v.Fate = Rewrite
	default:
		v.Fate = Copy
	}
	return v, nil
}

// lastOfProducer says that the batch must not vanish, for the sake of its producer's last sequence number; of one that
// has only written markers, for its epoch's.
func (f *Filter) lastOfProducer(b batch.Batch) bool {
	if !b.HasProducer() {
		return false
	}
	p, ok := f.Producers[b.ProducerID()]
	switch {
	case !ok:
		return false
	case p.Last >= 0:
		return b.LastOffset() == p.Last
	}
	return b.IsControl() && b.ProducerEpoch() == p.Epoch
}

// records decides on each record, and says whether a tombstone stays.
func (f *Filter) records(b batch.Batch, d *compress.Decoder, v *Verdict) (tombstones bool, err error) {
	control := b.IsControl()
	expired := b.HasDeleteHorizon() && b.BaseTimestamp() <= f.Now
	base, next := b.BaseOffset(), f.offsets.Next()
	f.keep = f.keep[:0]
	for r, err := range b.Records(d) {
		if err != nil {
			return false, err
		}
		offset := base + protocol.Offset(r.OffsetDelta)
		var stays bool
		switch {
		case control, offset >= next:
			stays = true
		case r.Key == nil:
			v.Keyless++
		case offset < f.Start, r.Value == nil && expired:
		default:
			stays = offset >= f.offsets.Get(r.Key)
		}
		if v.Read%64 == 0 {
			f.keep = append(f.keep, 0)
		}
		if stays {
			f.keep[v.Read/64] |= 1 << (v.Read % 64)
			v.Kept++
			tombstones = tombstones || r.Value == nil
		}
		v.Read++
	}
	return tombstones, nil
}

// Keeps says whether the i-th record of the batch that was looked at last stays.
func (f *Filter) Keeps(i int) bool { return f.keep[i/64]&(1<<(i%64)) != 0 }

// Index notes the keys of a batch in the dirty part of a log, from offset from on. It says whether there was room for
// all of them. Records of aborted transactions count for nothing.
func Index(o *Offsets, t *Transactions, b batch.Batch, from protocol.Offset, d *compress.Decoder) (bool, error) {
	if b.IsControl() {
		if _, _, err := t.marker(b, d); err != nil {
			return false, err
		}
	} else if !t.data(b) {
		base := b.BaseOffset()
		for r, err := range b.Records(d) {
			if err != nil {
				return false, err
			}
			offset := base + protocol.Offset(r.OffsetDelta)
			if r.Key != nil && offset >= from && !o.Put(r.Key, offset) {
				return false, nil
			}
		}
	}
	if next := b.LastOffset() + 1; next > from {
		o.Reach(next)
	}
	return true, nil
}
