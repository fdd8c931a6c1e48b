// Package fields reads the fields of the records that Apache Kafka keeps in its internal logs: the primitive types of its
// message schemas, in their classic and their flexible forms. It knows no schema.
//
// Invariant: no input makes it panic, and it allocates nothing but the strings that it returns.
package fields

import "encoding/binary"

// Reader reads fields off bytes. After the first thing that does not fit Bad is true, and what is read is zero.
type Reader struct {
	rest []byte
	// Flexible says that strings, arrays and bytes are compact and that structs end with tagged fields.
	Flexible bool
	bad      bool
}

// NewReader reads b from its beginning.
func NewReader(b []byte, flexible bool) *Reader { return &Reader{rest: b, Flexible: flexible} }

// Bad says that the bytes did not hold what was read from them.
func (r *Reader) Bad() bool { return r.bad }

// Left is how many bytes have not been read.
func (r *Reader) Left() int { return len(r.rest) }

// Span is the next n bytes, as a view.
func (r *Reader) Span(n int) []byte {
	if n < 0 || n > len(r.rest) {
		r.bad = true
	}
	if r.bad {
		return nil
	}
	out := r.rest[:n:n]
	r.rest = r.rest[n:]
	return out
}

// Int8 reads one byte.
func (r *Reader) Int8() int8 {
	if b := r.Span(1); b != nil {
		return int8(b[0])
	}
	return 0
}

// Int16 reads two bytes.
func (r *Reader) Int16() int16 {
	if b := r.Span(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

// Int32 reads four bytes.
func (r *Reader) Int32() int32 {
	if b := r.Span(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

// Int64 reads eight bytes.
func (r *Reader) Int64() int64 {
	if b := r.Span(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

// Uvarint reads an unsigned varint.
func (r *Reader) Uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// UUID reads sixteen bytes.
func (r *Reader) UUID() (id [16]byte) {
	copy(id[:], r.Span(len(id)))
	return id
}

// compact reads a length of the flexible form; -1 for null.
func (r *Reader) compact() int {
	v := r.Uvarint()
	if v > uint64(len(r.rest))+1 {
		r.bad = true
		return 0
	}
	return int(v) - 1
}

// Text reads a string. isNull is true for null.
func (r *Reader) Text() (s string, isNull bool) {
	n := 0
	if r.Flexible {
		n = r.compact()
	} else {
		n = int(r.Int16())
	}
	if n < 0 {
		return "", !r.bad
	}
	return string(r.Span(n)), false
}

// String reads a string; null is the empty one.
func (r *Reader) String() string {
	s, _ := r.Text()
	return s
}

// Bytes reads bytes, as a view; nil for null.
func (r *Reader) Bytes() []byte {
	n := 0
	if r.Flexible {
		n = r.compact()
	} else {
		n = int(r.Int32())
	}
	if n < 0 {
		return nil
	}
	return r.Span(n)
}

// Count reads the length of an array: -1 for null, and never more than there are bytes left.
func (r *Reader) Count() int {
	n := 0
	if r.Flexible {
		n = r.compact()
	} else {
		n = int(r.Int32())
	}
	if n > len(r.rest) {
		r.bad = true
		return 0
	}
	return max(n, -1)
}

// Int32s reads an array of int32; nil for null, never nil for an empty one.
func (r *Reader) Int32s() []int32 {
	n := r.Count()
	if n < 0 || n > len(r.rest)/4 {
		r.bad = r.bad || n > 0
		return nil
	}
	out := make([]int32, n)
	for i := range out {
		out[i] = r.Int32()
	}
	return out
}

// EndStruct reads the tagged fields that a struct of the flexible form ends with. each may be nil.
func (r *Reader) EndStruct(each func(tag uint64, value []byte)) {
	if !r.Flexible {
		return
	}
	for n := r.Uvarint(); n > 0 && !r.bad; n-- {
		tag, size := r.Uvarint(), r.Uvarint()
		if size > uint64(len(r.rest)) {
			r.bad = true
			return
		}
		value := r.Span(int(size))
		if each != nil && !r.bad {
			each(tag, value)
		}
	}
}
