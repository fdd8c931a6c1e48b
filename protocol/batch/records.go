package batch

import (
	"iter"

	"moldau.io/moldau/protocol/compress"
)

// RecordsBytesMax is how much of a batch Records decompresses at most.
const RecordsBytesMax = 1 << 30

// Records walks the records, decompressing where needed with d, which may be nil. A record is valid until the next one of
// a compressed batch, and as long as b otherwise. The walk ends at the first error: *RecordsError for broken records,
// around *compress.CorruptError or compress.ErrLimit for data that does not decompress.
//
// Timestamps and offsets are relative; Timestamp gives the absolute one.
func (b Batch) Records(d *compress.Decoder) iter.Seq2[Record, error] {
	if b.Codec() == compress.None {
		return b.plainRecords()
	}
	return func(yield func(Record, error) bool) {
		d := d // a second walk takes its own
		if d == nil {
			d = compress.TakeDecoder()
			defer d.Release()
		}
		if err := d.Reset(b.Codec(), b.Payload(), RecordsBytesMax); err != nil {
			yield(Record{}, &RecordsError{0, err})
			return
		}
		w := takeWindow(d)
		defer w.release()
		var p parts
		for i := range int(b.Count()) {
			raw, err := w.next()
			if err == nil {
				err = p.parseBody(raw, 0)
			}
			if err != nil {
				yield(Record{}, &RecordsError{i, err})
				return
			}
			if !yield(p.record(raw), nil) {
				return
			}
		}
		if err := w.end(); err != nil {
			yield(Record{}, &RecordsError{int(b.Count()), err})
		}
	}
}

func (b Batch) plainRecords() iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		var p parts
		payload := b.Payload()
		for i := range int(b.Count()) {
			if !p.parseShort(payload, p.end) {
				if err := p.parse(payload, p.end); err != nil {
					yield(Record{}, &RecordsError{i, err})
					return
				}
			}
			if !yield(p.record(payload), nil) {
				return
			}
		}
		if p.end != len(payload) {
			yield(Record{}, &RecordsError{int(b.Count()), errRecordsLeft})
		}
	}
}

// Timestamp is the time of r, a record of b, in milliseconds since 1970; -1 where it has none.
func (b Batch) Timestamp(r Record) int64 {
	if b.IsLogAppendTime() {
		return b.MaxTimestamp()
	}
	return b.BaseTimestamp() + r.TimestampDelta
}
