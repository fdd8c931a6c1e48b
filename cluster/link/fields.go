package link

import (
	"encoding/binary"
	"errors"
)

// Fields are how a hello is written: any number of
//
//	0     1          3
//	+-----+----------+-------+
//	| tag | bytes    | value |   tag: what it is; bytes: of the value, big endian
//	+-----+----------+-------+
//
// A reader passes over tags that it does not know, so that later builds may say more.
type Fields []byte

var errFields = errors.New("fields end in the middle of one")

// Add returns f with one more field. A value that is too long for a field is left out.
func (f Fields) Add(tag byte, value []byte) Fields {
	if len(value) > 1<<16-1 {
		return f
	}
	f = append(f, tag)
	f = binary.BigEndian.AppendUint16(f, uint16(len(value)))
	return append(f, value...)
}

// AddString leaves out what is empty.
func (f Fields) AddString(tag byte, value string) Fields {
	if value == "" {
		return f
	}
	return f.Add(tag, []byte(value))
}

// AddInt writes eight bytes.
func (f Fields) AddInt(tag byte, v int64) Fields {
	return f.Add(tag, binary.BigEndian.AppendUint64(nil, uint64(v)))
}

// Each calls field for each, in order.
func (f Fields) Each(field func(tag byte, value []byte)) error {
	for len(f) > 0 {
		if len(f) < 3 {
			return errFields
		}
		n := int(binary.BigEndian.Uint16(f[1:]))
		if len(f) < 3+n {
			return errFields
		}
		field(f[0], f[3:3+n])
		f = f[3+n:]
	}
	return nil
}

// Int reads what AddInt wrote; anything else is 0.
func Int(value []byte) int64 {
	if len(value) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(value))
}
