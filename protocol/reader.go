package protocol

import (
	"encoding/binary"
	"fmt"
)

// reader walks a body in place. After the first fault it stands still: every read gives a zero value and err says what
// was wrong. It never allocates but for that error.
type reader struct {
	b   []byte
	at  int
	err error
}

// tagsMax is the most tagged fields that one section may hold. Kafka has none with more than a handful; without a bound
// five bytes could ask for 4 billion steps.
const tagsMax = 1024

func (r *reader) fail(format string, a ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("byte %d: %w", r.at, Errorf(InvalidRequest, format, a...))
	}
	r.b, r.at = r.b[:0], 0
}

func (r *reader) left() int { return len(r.b) - r.at }

// span takes the next n bytes. They alias the body.
func (r *reader) span(n int) []byte {
	if n < 0 || n > r.left() {
		r.fail("%d bytes expected, %d left", n, r.left())
		return nil
	}
	s := r.b[r.at : r.at+n : r.at+n]
	r.at += n
	return s
}

func (r *reader) int8() int8 {
	if s := r.span(1); s != nil {
		return int8(s[0])
	}
	return 0
}

func (r *reader) int16() int16 {
	if s := r.span(2); s != nil {
		return int16(binary.BigEndian.Uint16(s))
	}
	return 0
}

func (r *reader) int32() int32 {
	if s := r.span(4); s != nil {
		return int32(binary.BigEndian.Uint32(s))
	}
	return 0
}

func (r *reader) int64() int64 {
	if s := r.span(8); s != nil {
		return int64(binary.BigEndian.Uint64(s))
	}
	return 0
}

func (r *reader) uuid() (id TopicID) {
	copy(id[:], r.span(len(id)))
	return id
}

// uvarint reads an unsigned 32-bit varint: at most five bytes, as Kafka's ByteUtils.readUnsignedVarint.
func (r *reader) uvarint() uint32 {
	var v uint32
	for shift := 0; shift < 35; shift += 7 {
		if r.at >= len(r.b) {
			r.fail("a varint is cut short")
			return 0
		}
		c := r.b[r.at]
		if shift == 28 && c > 0x0f {
			r.fail("a varint does not fit into 32 bits")
			return 0
		}
		r.at++
		v |= uint32(c&0x7f) << shift
		if c < 0x80 {
			return v
		}
	}
	return 0 // not reached: the fifth byte ends the varint or fails
}

// length reads the length of bytes or of an array: a classic one is an int32, a compact one a varint one above it. Null
// is -1.
func (r *reader) length(compact bool) int {
	if compact {
		return int(r.uvarint()) - 1
	}
	return max(int(r.int32()), -1)
}

// nullableString reads a string; null is told apart from the empty one. The bytes alias the body.
func (r *reader) nullableString(compact bool) (s []byte, isNull bool) {
	n := 0
	if compact {
		n = int(r.uvarint()) - 1
	} else {
		n = int(r.int16())
	}
	if n < 0 {
		return nil, r.err == nil
	}
	if n > stringBytesMax {
		r.fail("a string of %d bytes", n)
		return nil, false
	}
	return r.span(n), false
}

// stringBytesMax is the longest string of the protocol, whether its length is compact or not.
const stringBytesMax = 1<<15 - 1

// str reads a string that may not be null.
func (r *reader) str(compact bool) []byte {
	s, isNull := r.nullableString(compact)
	if isNull {
		r.fail("a string is null")
	}
	return s
}

// array reads the length of an array whose elements take at least elemBytes each. It refuses one that cannot fit in what
// is left. Null is -1.
func (r *reader) array(compact bool, elemBytes int) int {
	n := r.length(compact)
	if n > 0 && n > r.left()/max(elemBytes, 1) {
		r.fail("an array of %d elements in %d bytes", n, r.left())
		return 0
	}
	return n
}

// tags reads the number of tagged fields in a section.
func (r *reader) tags() int {
	n := int(r.uvarint())
	if n > tagsMax || n > r.left()/2 {
		r.fail("%d tagged fields in %d bytes", n, r.left())
		return 0
	}
	return n
}

// tag reads one tagged field. The value aliases the body.
func (r *reader) tag() (key uint32, value []byte) {
	key = r.uvarint()
	return key, r.span(int(r.uvarint()))
}

func (r *reader) skipTags() {
	for n := r.tags(); n > 0 && r.err == nil; n-- {
		r.tag()
	}
}

// endOfStruct skips the tagged fields at the end of a struct whose known ones do not matter. Versions that are not
// flexible have none.
func (r *reader) endOfStruct(flexible bool) {
	if flexible {
		r.skipTags()
	}
}

// nullableBytes reads bytes in place. Null gives nil, empty does not.
func (r *reader) nullableBytes(compact bool) []byte {
	n := r.length(compact)
	if n < 0 {
		return nil
	}
	return r.span(n)
}

// count reads the length of an array that may not be null and whose elements take at least elemBytes each.
func (r *reader) count(compact bool, elemBytes int) int {
	n := r.array(compact, elemBytes)
	if n < 0 {
		r.fail("an array is null")
		return 0
	}
	return n
}

// inside takes over the fault of a reader that read the value of the tagged field key.
func (r *reader) inside(key uint32, in reader) {
	if in.err != nil && r.err == nil {
		err := in.err
		r.fail("")
		r.err = fmt.Errorf("tagged field %d: %w", key, err)
	}
}
