package coordinator

import (
	"bytes"
	"encoding/binary"
)

// input reads Kafka's primitive types off b. After the first thing that does not fit bad is set, and what is read is zero.
type input struct {
	b        []byte
	flexible bool // strings, arrays and bytes are compact, and structs end with tags
	bad      bool
}

// bytes is the next n bytes, as a view. A negative n is damage here; nullable readers look at it first.
func (in *input) bytes(n int) []byte {
	if n < 0 || n > len(in.b) {
		in.bad = true
	}
	if in.bad {
		return nil
	}
	out := in.b[:n:n]
	in.b = in.b[n:]
	return out
}

func (in *input) int8() int8 {
	if b := in.bytes(1); b != nil {
		return int8(b[0])
	}
	return 0
}

func (in *input) int16() int16 {
	if b := in.bytes(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (in *input) int32() int32 {
	if b := in.bytes(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (in *input) int64() int64 {
	if b := in.bytes(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (in *input) uvarint() uint64 {
	v, n := binary.Uvarint(in.b)
	if n <= 0 {
		in.bad = true
		return 0
	}
	in.b = in.b[n:]
	return v
}

// compactLength is -1 for null.
func (in *input) compactLength() int {
	v := in.uvarint()
	if v > uint64(len(in.b))+1 {
		in.bad = true
		return 0
	}
	return int(v) - 1
}

func (in *input) stringLength() int {
	if !in.flexible {
		return int(in.int16())
	}
	n := in.compactLength()
	if n > stringBytesMax {
		in.bad = true
	}
	return n
}

// stringBytesMax is what an int16 length can say; longer strings cannot be written back.
const stringBytesMax = 1<<15 - 1

func (in *input) string() string { return string(in.bytes(in.stringLength())) }

func (in *input) nullable() *string {
	n := in.stringLength()
	if n < 0 {
		return nil
	}
	s := string(in.bytes(n))
	return &s
}

func (in *input) blob() []byte {
	if in.flexible {
		return bytes.Clone(in.bytes(in.compactLength()))
	}
	return bytes.Clone(in.bytes(int(in.int32())))
}

// count is the length of an array, never more than there are bytes for.
func (in *input) count() int {
	n := 0
	if in.flexible {
		n = in.compactLength()
	} else {
		n = int(in.int32())
	}
	if n < 0 || n > len(in.b) {
		in.bad = true
		return 0
	}
	return n
}

func (in *input) endStruct() {
	if in.flexible {
		in.tags(func(uint64, []byte) {})
	}
}

func (in *input) tags(each func(tag uint64, data []byte)) {
	for n := in.uvarint(); n > 0 && !in.bad; n-- {
		tag := in.uvarint()
		size := in.uvarint()
		if size > uint64(len(in.b)) {
			in.bad = true
			return
		}
		each(tag, in.bytes(int(size)))
	}
}

// ints reads an array of int32.
func (in *input) ints() []int32 {
	n := in.count()
	if n > len(in.b)/4 {
		in.bad = true
	}
	if n == 0 || in.bad {
		return nil
	}
	out := make([]int32, n)
	for i := range out {
		out[i] = in.int32()
	}
	return out
}

// longTag ends a struct and reads the int64 that stands under the tag; 0 if it is not there.
func (in *input) longTag(want uint64) (v int64) {
	in.tags(func(tag uint64, data []byte) {
		if tag == want {
			sub := input{b: data}
			v = sub.int64()
			in.bad = in.bad || sub.bad
		}
	})
	return v
}
