package batch

import (
	"io"
	"sync"
)

// window is the part of a stream of records that is in memory.
type window struct {
	in       io.Reader
	buf      []byte
	from, to int
	err      error // what in ended with
}

const (
	windowBytes     = 32 << 10
	windowKeepBytes = 1 << 20
	// fieldsBytesMax is the most that a record's fields up to its key take: attributes, two deltas, a length.
	fieldsBytesMax = 1 + varlongBytesMax + 2*varintBytesMax
)

// windows are idle windows of the whole process.
var windows = sync.Pool{New: func() any { return &window{buf: make([]byte, windowBytes)} }}

func takeWindow(in io.Reader) *window {
	w := windows.Get().(*window)
	w.in, w.from, w.to, w.err = in, 0, 0, nil
	return w
}

func (w *window) release() {
	w.in = nil
	if len(w.buf) <= windowKeepBytes {
		windows.Put(w)
	}
}

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
			larger := make([]byte, 2*len(w.buf))
			copy(larger, w.buf)
			w.buf = larger
		}
		var got int
		got, w.err = w.in.Read(w.buf[w.to:])
		w.to += got
	}
	return true
}

// pass consumes n bytes and writes them to out, which may be nil.
func (w *window) pass(n int, out io.Writer) error {
	for n > 0 {
		if w.from == w.to && !w.fill(1) {
			return w.torn(errRecordTorn)
		}
		some := min(n, w.to-w.from)
		if out != nil {
			if _, err := out.Write(w.buf[w.from : w.from+some]); err != nil {
				return err
			}
		}
		w.from += some
		n -= some
	}
	return nil
}

// varint consumes an integer of at most rest bytes and says how many it took.
func (w *window) varint(rest int) (v int32, took int, err error) {
	w.fill(min(rest, varintBytesMax))
	v, took = varint32(w.buf[w.from:min(w.to, w.from+rest)], 0)
	if took < 0 {
		if w.to-w.from < min(rest, varintBytesMax) {
			return 0, 0, w.torn(errRecordTorn)
		}
		return 0, 0, errRecordShape
	}
	w.from += took
	return v, took, nil
}

// size consumes the size of the next record.
func (w *window) size() (int, error) {
	if !w.fill(1) {
		return 0, w.torn(errNoRecords)
	}
	n, _, err := w.varint(varintBytesMax)
	if err == nil && n < 0 {
		err = errRecordSize
	}
	return int(n), err
}

// next is the bytes of the next record without its size. They are valid until the next call.
func (w *window) next() ([]byte, error) {
	n, err := w.size()
	if err != nil {
		return nil, err
	}
	if !w.fill(n) {
		return nil, w.torn(errRecordTorn)
	}
	raw := w.buf[w.from : w.from+n]
	w.from += n
	return raw, nil
}

// skim consumes the next record and checks its form. Of p it sets the deltas and the lengths of key and value.
func (w *window) skim(p *parts, bytesMax int) error {
	n, err := w.size()
	if err != nil {
		return err
	}
	if n > bytesMax {
		return errRecordTooLarge
	}
	if n > len(w.buf) {
		return w.skimLarge(p, n)
	}
	if !w.fill(n) {
		return w.torn(errRecordTorn)
	}
	raw := w.buf[w.from : w.from+n]
	w.from += n
	return p.parseBody(raw, 0)
}

// skimLarge is skim for a record that is larger than the window: it is read field by field.
func (w *window) skimLarge(p *parts, rest int) error {
	took, err := w.head(p, rest)
	if err != nil {
		return err
	}
	rest -= took
	var n int32
	// skip consumes a length and what it counts.
	skip := func(nullable bool) error {
		n, took, err = w.varint(rest)
		rest -= took
		if err != nil {
			return err
		}
		if int(n) > rest || n < 0 && !nullable {
			return errRecordShape
		}
		rest -= int(max(n, 0))
		return w.pass(int(max(n, 0)), nil)
	}
	if err := skip(true); err != nil {
		return err
	}
	p.keyLen = int(max(n, -1))
	if err := skip(true); err != nil {
		return err
	}
	p.valLen = int(max(n, -1))
	headers, took, err := w.varint(rest)
	rest -= took
	if err != nil {
		return err
	}
	if headers < 0 || int(headers) > rest/2 {
		return errRecordHeaders
	}
	for range headers {
		if err := skip(false); err != nil {
			return err
		}
		if err := skip(true); err != nil {
			return err
		}
	}
	if rest != 0 {
		return errRecordShape
	}
	return nil
}

// head consumes attributes and deltas of a record of rest bytes and says how many bytes they took.
func (w *window) head(p *parts, rest int) (took int, err error) {
	want := min(rest, fieldsBytesMax)
	w.fill(want)
	b := w.buf[w.from:min(w.to, w.from+want)]
	at := 1
	if p.timestampDelta, at = varint64(b, at); at >= 0 {
		p.offsetDelta, at = varint32(b, at)
	}
	if at < 0 {
		if len(b) < want {
			return 0, w.torn(errRecordTorn)
		}
		return 0, errRecordShape
	}
	w.from += at
	return at, nil
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
