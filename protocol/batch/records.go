package batch

import (
	"io"
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
		if d == nil {
			d = compress.TakeDecoder()
			defer d.Release()
		}
		w := window{}
		if err := d.Reset(b.Codec(), b.Payload(), RecordsBytesMax); err != nil {
			yield(Record{}, &RecordsError{0, err})
			return
		}
		w.in = d
		var p parts
		for i := range int(b.Count()) {
			raw, err := w.next()
			if err == nil {
				err = p.parse(raw, 0)
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
			if err := p.parse(payload, p.end); err != nil {
				yield(Record{}, &RecordsError{i, err})
				return
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

// window is the part of a stream of records that is in memory.
type window struct {
	in       io.Reader
	buf      []byte
	from, to int
	err      error // what in ended with
}

const windowBytes = 32 << 10

// fill tries to have n bytes in memory from w.from on. The buffer grows only with bytes that have arrived, so that a
// declared size alone costs nothing. It says whether there are n.
func (w *window) fill(n int) bool {
	for w.to-w.from < n {
		if w.err != nil {
			return false
		}
		if w.from > 0 {
			w.to = copy(w.buf, w.buf[w.from:w.to])
			w.from = 0
		}
		if w.to == len(w.buf) {
			larger := make([]byte, max(windowBytes, 2*len(w.buf)))
			copy(larger, w.buf)
			w.buf = larger
		}
		var got int
		got, w.err = w.in.Read(w.buf[w.to:])
		w.to += got
	}
	return true
}

// next is the bytes of the next record with its size. They are valid until the next call.
func (w *window) next() ([]byte, error) {
	var size int32
	at := -1
	for n := 1; n <= varintBytesMax && at < 0 && w.fill(n); n++ {
		size, at = varint32(w.buf[w.from:w.from+n], 0)
	}
	switch {
	case at < 0 && w.err != nil:
		return nil, w.torn(errNoRecords)
	case at < 0:
		return nil, errRecordShape
	case size < 0:
		return nil, errRecordSize
	case !w.fill(at + int(size)):
		return nil, w.torn(errRecordTorn)
	}
	raw := w.buf[w.from : w.from+at+int(size)]
	w.from += len(raw)
	return raw, nil
}

// torn is err for a stream that came to its end, else what broke the stream.
func (w *window) torn(err error) error {
	if w.err == io.EOF {
		return err
	}
	return w.err
}

// end is nil where nothing is left.
func (w *window) end() error {
	if w.fill(1) {
		return errRecordsLeft
	}
	return w.torn(nil)
}
