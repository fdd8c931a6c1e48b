package coordinator

import (
	"encoding/binary"
	"errors"
	"fmt"

	"moldau.io/moldau/coordinator/group"
)

// The records of __consumer_offsets, as Kafka writes them (its GroupCoordinatorRecordHelpers). Big endian; str is an int16
// length and bytes, -1 is null; cstr is an unsigned varint of length+1 and bytes, 0 is null; carray the same with elements;
// tags is an unsigned varint count of: unsigned varints tag and size, and bytes. A key begins with the number of its kind, a
// value with the version of its schema. The layouts stand in codec_offsets.go, codec_classic.go and codec_consumer.go.

// errForeign says that a record is none of ours: of a kind that this broker does not know. It is skipped.
var errForeign = errors.New("record of an unknown kind")

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

func appendNullable(b []byte, s *string) []byte {
	if s == nil {
		return append(b, 0xff, 0xff)
	}
	return appendString(b, *s)
}

func appendBytes(b, p []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
	return append(b, p...)
}

func appendCompact[T ~string | ~[]byte](b []byte, s T) []byte {
	b = binary.AppendUvarint(b, uint64(len(s))+1)
	return append(b, s...)
}

func appendCompactNullable(b []byte, s *string) []byte {
	if s == nil {
		return append(b, 0)
	}
	return appendCompact(b, *s)
}

// appendCount begins a carray of n elements.
func appendCount(b []byte, n int) []byte { return binary.AppendUvarint(b, uint64(n)+1) }

// appendKey appends the key of r.
func appendKey(b []byte, r *group.Record) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(keyOf(r.Kind)))
	b = appendString(b, r.Group)
	switch r.Kind {
	case group.KindCommit:
		b = appendString(b, r.Topic)
		return binary.BigEndian.AppendUint32(b, uint32(r.Partition))
	case group.KindMember, group.KindMemberTarget, group.KindCurrent, group.KindRegex:
		return appendString(b, r.Name)
	}
	return b
}

// keyOf is the number that the key of a kind begins with.
func keyOf(k group.Kind) int16 {
	switch k {
	case group.KindCommit:
		return keyCommit
	case group.KindSaved:
		return keyGroup
	case group.KindRegex:
		return keyRegex
	}
	return keyEpoch + int16(k-group.KindEpoch)
}

// kindOf is the inverse of keyOf.
func kindOf(key int16) (k group.Kind, ok bool) {
	switch {
	case key == keyCommitOld, key == keyCommit:
		return group.KindCommit, true
	case key == keyGroup:
		return group.KindSaved, true
	case key == keyRegex:
		return group.KindRegex, true
	case key >= keyEpoch && key <= keyCurrent:
		return group.KindEpoch + group.Kind(key-keyEpoch), true
	}
	return 0, false
}

// appendValue appends the value of r. hasValue is false for a tombstone.
func appendValue(b []byte, r *group.Record) (out []byte, hasValue bool) {
	switch v := r.Value.(type) {
	case *group.Commit:
		return appendCommit(b, v), true
	case *group.Saved:
		return appendSaved(b, v), true
	case *group.Epoch:
		return appendEpoch(b, v), true
	case *group.Partitions:
		return appendNoPartitions(b), true
	case *group.Member:
		return appendMember(b, v), true
	case *group.Target:
		return appendTarget(b, v), true
	case *group.MemberTarget:
		return appendMemberTarget(b, v), true
	case *group.Current:
		return appendCurrent(b, v), true
	case *group.Regex:
		return appendRegex(b, v), true
	}
	return b, false
}

// decoder turns keys and values into records. Names are shared between the records of one decoder, because a log names few
// groups, topics and members very often.
type decoder struct{ names map[string]string }

func newDecoder() *decoder { return &decoder{names: map[string]string{}} }

func (d *decoder) name(b []byte) string {
	if s, ok := d.names[string(b)]; ok {
		return s
	}
	s := string(b)
	d.names[s] = s
	return s
}

// decode reads one record. value is nil for a tombstone. The record does not alias key or value; its lists are in the order
// in which they were written. The error is errForeign for keys of other kinds, else the record is damaged.
func (d *decoder) decode(key, value []byte) (group.Record, error) {
	r, err := d.key(key)
	if err != nil || value == nil {
		return r, err
	}
	switch r.Kind {
	case group.KindCommit:
		c, err := d.commit(value)
		r.Value = c
		return r, err
	case group.KindSaved:
		s, err := d.saved(value)
		r.Value = s
		return r, err
	}
	r.Value, err = d.consumer(r.Kind, value)
	return r, err
}

func (d *decoder) key(key []byte) (r group.Record, err error) {
	in := input{b: key}
	number := in.int16()
	if in.bad {
		return r, errors.New("key without a version")
	}
	kind, ok := kindOf(number)
	if !ok {
		return r, fmt.Errorf("%w: key %d", errForeign, number)
	}
	r.Kind = kind
	r.Group = d.name(in.bytes(int(in.int16())))
	switch kind {
	case group.KindCommit:
		r.Topic = d.name(in.bytes(int(in.int16())))
		r.Partition = in.int32()
		if in.bad || r.Topic == "" {
			return r, errors.New("damaged key of a committed offset")
		}
	case group.KindMember, group.KindMemberTarget, group.KindCurrent, group.KindRegex:
		r.Name = d.name(in.bytes(int(in.int16())))
	}
	if in.bad {
		return r, errors.New("damaged key of a group")
	}
	return r, nil
}
