package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
)

// Record is one record of a batch. Its slices alias the batch where that is not compressed, else the walk's buffer.
//
//	+------+------------+----------------+-------------+------------+-----+--------------+-------+--------------+------
//	| size | attributes | timestamp delta| offset delta| key length | key | value length | value | header count | headers
//	+------+------------+----------------+-------------+------------+-----+--------------+-------+--------------+------
//
// The attributes are one byte without meaning; everything else is a signed variable-length integer or what one of them
// counts. size counts what follows it. A length of -1 is null. A header is key length, key, value length, value.
type Record struct {
	OffsetDelta    int32
	TimestampDelta int64
	// Key and Value are nil for null, which is not the same as empty.
	Key, Value []byte
	Headers    Headers
}

// Headers are a record's headers as they are stored.
type Headers struct {
	raw   []byte
	count int
}

// Header is one header. Value is nil for null.
type Header struct {
	Key   string
	Value []byte
}

// Len is the number of headers.
func (h Headers) Len() int { return h.count }

// All yields key and value of each header in the order in which they were written; a key may occur twice. The slices alias
// the record. A nil value is null.
func (h Headers) All() iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		at := 0
		for range h.count {
			var key, value []byte
			key, at = field(h.raw, at)
			value, at = field(h.raw, at)
			if at < 0 || !yield(key, value) { // parse has checked them, so at is not negative
				return
			}
		}
	}
}

// field reads a length and that many bytes; nil for null. next is -1 where b is too short.
func field(b []byte, at int) (f []byte, next int) {
	n, at := varint32(b, at)
	switch {
	case at < 0 || int(n) > len(b)-at:
		return nil, -1
	case n < 0:
		return nil, at
	}
	return b[at : at+int(n) : at+int(n)], at + int(n)
}

var (
	errRecordTorn    = errors.New("the batch ends within a record")
	errRecordShape   = errors.New("a record's fields do not fill its size")
	errRecordHeaders = errors.New("a record's headers are broken")
	errRecordsLeft   = errors.New("records are left after the batch's last one")
	errNoRecords     = errors.New("the batch ends before its last record")
	errRecordSize    = errors.New("a record has a negative size")

	errRecordTooLarge = errors.New("a record decompresses to more than is allowed")
)

// parts says where the fields of a record lie.
type parts struct {
	timestampDelta int64
	offsetDelta    int32
	keyAt, keyLen  int // keyLen is -1 for null
	valAt, valLen  int
	headersAt      int
	headers        int
	end            int // the position after the record
}

// parse reads the record that begins at position at of b. Everything that can be wrong with a record's form is found here:
// Kafka's DefaultRecord.readFrom.
func (p *parts) parse(b []byte, at int) error {
	size, at := varint32(b, at)
	if at < 0 || int(size) > len(b)-at {
		return errRecordTorn
	}
	if size < 0 {
		return errRecordSize
	}
	return p.parseBody(b[:at+int(size)], at)
}

// parseShort is a faster parse for the record that nearly every batch is full of: each integer in at most two bytes, no headers.
// It loads eight bytes at a time and so needs a few more after the fields. False means that
// parse has to look; true, that parse would find the same.
func (p *parts) parseShort(b []byte, at int) bool {
	const word = 8
	if at < 0 || at+shortVarintNone+word > len(b) {
		return false
	}
	size, n := shortVarint(binary.LittleEndian.Uint64(b[at:]))
	at += n
	end := at + size
	fields := binary.LittleEndian.Uint64(b[at:]) >> 8 // without the attributes
	timestampDelta, n1 := shortVarint(fields)
	fields >>= 8 * uint(n1&3)
	offsetDelta, n2 := shortVarint(fields)
	fields >>= 8 * uint(n2&3)
	keyLen, n3 := shortVarint(fields)
	if n|n1|n2|n3 >= shortVarintNone {
		return false
	}
	p.keyAt, p.keyLen = at+1+n1+n2+n3, max(keyLen, -1)
	at = p.keyAt + max(keyLen, 0)
	if at+word > len(b) {
		return false
	}
	valLen, n := shortVarint(binary.LittleEndian.Uint64(b[at:]))
	p.valAt, p.valLen = at+n, max(valLen, -1)
	at += n + max(valLen, 0)
	if n >= shortVarintNone || at != end-1 || at >= len(b) || b[at] != 0 {
		return false
	}
	p.timestampDelta, p.offsetDelta = int64(timestampDelta), int32(offsetDelta)
	p.headersAt, p.headers, p.end = end, 0, end
	return true
}

// parseBody reads what follows a record's size: it begins at position at of b and fills b to its end.
func (p *parts) parseBody(b []byte, at int) error {
	p.end = len(b)
	if at == p.end {
		return errRecordShape
	}
	at++ // the attributes
	var n int32
	if p.timestampDelta, at = varint64(b, at); at < 0 {
		return errRecordShape
	}
	if p.offsetDelta, at = varint32(b, at); at < 0 {
		return errRecordShape
	}
	if n, at = varint32(b, at); at < 0 || int(n) > p.end-at {
		return errRecordShape
	}
	p.keyAt, p.keyLen = at, int(max(n, -1))
	at += int(max(n, 0))
	if n, at = varint32(b, at); at < 0 || int(n) > p.end-at {
		return errRecordShape
	}
	p.valAt, p.valLen = at, int(max(n, -1))
	at += int(max(n, 0))
	if n, at = varint32(b, at); at < 0 || n < 0 {
		return errRecordShape
	}
	p.headersAt, p.headers = at, int(n)
	if n > 0 {
		return p.parseHeaders(b)
	}
	if at != p.end {
		return errRecordShape
	}
	return nil
}

func (p *parts) parseHeaders(b []byte) error {
	at := p.headersAt
	if p.headers > (len(b)-at)/2 { // two length bytes each
		return errRecordHeaders
	}
	for range p.headers {
		n, next := varint32(b, at)
		if next < 0 || n < 0 || int(n) > len(b)-next {
			return errRecordHeaders
		}
		n, next = varint32(b, next+int(n))
		if next < 0 || int(n) > len(b)-next {
			return errRecordHeaders
		}
		at = next + int(max(n, 0))
	}
	if at != p.end {
		return errRecordShape
	}
	return nil
}

// record is the view that p describes.
func (p *parts) record(b []byte) Record {
	r := Record{OffsetDelta: p.offsetDelta, TimestampDelta: p.timestampDelta}
	if p.keyLen >= 0 {
		r.Key = b[p.keyAt : p.keyAt+p.keyLen : p.keyAt+p.keyLen]
	}
	if p.valLen >= 0 {
		r.Value = b[p.valAt : p.valAt+p.valLen : p.valAt+p.valLen]
	}
	if p.headers > 0 {
		r.Headers = Headers{raw: b[p.headersAt:p.end:p.end], count: p.headers}
	}
	return r
}

// RecordsError is a fault in the records of a batch: what, and the index of the record that has it.
type RecordsError struct {
	Index int
	Err   error
}

func (e *RecordsError) Error() string {
	return fmt.Sprintf("record %d of the batch: %v", e.Index, e.Err)
}
func (e *RecordsError) Unwrap() error { return e.Err }
