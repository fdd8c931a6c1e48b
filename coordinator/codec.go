package coordinator

import (
	"encoding/binary"
	"errors"
	"fmt"

	"moldau.io/moldau/coordinator/group"
	"moldau.io/moldau/protocol"
)

// The records of __consumer_offsets, as Kafka writes them (GroupCoordinatorRecordHelpers; schemas OffsetCommitKey,
// OffsetCommitValue, GroupMetadataKey and GroupMetadataValue). Big endian; str is an int16 length and bytes, -1 is null;
// cstr is an unsigned varint of length+1 and bytes.
//
//	key 0, 1   offset commit    int16 version, str group, str topic, int32 partition
//	key 2      group            int16 version, str group
//
//	offset commit value         int16 version, int64 offset, [v3+ int32 leader epoch], str metadata (v4+ cstr),
//	                            int64 commit time, [v1 int64 expiry time], [v4+ tags: 0 is the 16 bytes of the topic id]
//	group value                 int16 version, str protocol type, int32 generation, str protocol, str leader,
//	                            [v2+ int64 time of the state], int32 count, members:
//	    member                  str id, [v3+ str instance], str client id, str host, [v1+ int32 rebalance timeout],
//	                            int32 session timeout, int32 length and subscription, int32 length and assignment
//
// Written are commit value 4 (1 if the commit has an expiry time of its own, which 4 cannot express) and group value 3,
// with keys 1 and 2.
const (
	keyCommitOld  = 0
	keyCommit     = 1
	keyGroup      = 2
	commitV1      = 1
	commitV4      = 4
	groupV3       = 3
	groupV4       = 4 // like 3 but flexible; read only
	topicIDTag    = 0
	commitNewest  = 4
	groupNewest   = 4
	noExpiry      = -1
	noStateTime   = -1
	noLeaderEpoch = -1
)

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

// appendKey appends the key of r.
func appendKey(b []byte, r *group.Record) []byte {
	if r.Kind == group.KindSaved {
		b = binary.BigEndian.AppendUint16(b, keyGroup)
		return appendString(b, r.Group)
	}
	b = binary.BigEndian.AppendUint16(b, keyCommit)
	b = appendString(b, r.Group)
	b = appendString(b, r.Topic)
	return binary.BigEndian.AppendUint32(b, uint32(r.Partition))
}

// appendValue appends the value of r. hasValue is false for a tombstone.
func appendValue(b []byte, r *group.Record) (out []byte, hasValue bool) {
	switch v := r.Value.(type) {
	case *group.Commit:
		return appendCommit(b, v), true
	case *group.Saved:
		return appendSaved(b, v), true
	}
	return b, false
}

func appendCommit(b []byte, c *group.Commit) []byte {
	if c.Expires != noExpiry {
		b = binary.BigEndian.AppendUint16(b, commitV1)
		b = binary.BigEndian.AppendUint64(b, uint64(c.Offset))
		b = appendString(b, c.Metadata)
		b = binary.BigEndian.AppendUint64(b, uint64(c.Timestamp))
		return binary.BigEndian.AppendUint64(b, uint64(c.Expires))
	}
	b = binary.BigEndian.AppendUint16(b, commitV4)
	b = binary.BigEndian.AppendUint64(b, uint64(c.Offset))
	b = binary.BigEndian.AppendUint32(b, uint32(c.LeaderEpoch))
	b = binary.AppendUvarint(b, uint64(len(c.Metadata))+1)
	b = append(b, c.Metadata...)
	b = binary.BigEndian.AppendUint64(b, uint64(c.Timestamp))
	if c.TopicID.IsZero() {
		return append(b, 0)
	}
	b = append(b, 1, topicIDTag, byte(len(c.TopicID)))
	return append(b, c.TopicID[:]...)
}

func appendSaved(b []byte, s *group.Saved) []byte {
	b = binary.BigEndian.AppendUint16(b, groupV3)
	b = appendString(b, s.Type)
	b = binary.BigEndian.AppendUint32(b, uint32(s.Generation))
	b = appendNullable(b, s.Protocol)
	b = appendNullable(b, s.Leader)
	b = binary.BigEndian.AppendUint64(b, uint64(s.Since))
	b = binary.BigEndian.AppendUint32(b, uint32(len(s.Members)))
	for i := range s.Members {
		m := &s.Members[i]
		b = appendString(b, m.Member)
		b = appendNullable(b, m.Instance)
		b = appendString(b, m.ClientID)
		b = appendString(b, m.ClientHost)
		b = binary.BigEndian.AppendUint32(b, uint32(m.Rebalance))
		b = binary.BigEndian.AppendUint32(b, uint32(m.Session))
		b = appendBytes(b, m.Metadata)
		b = appendBytes(b, m.Assignment)
	}
	return b
}

// decoder turns keys and values into records. Names are shared between the records of one decoder, because a log names few
// groups and topics very often.
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

// decode reads one record. value is nil for a tombstone. The record does not alias key or value. The error is errForeign
// for keys of other kinds, else the record is damaged.
func (d *decoder) decode(key, value []byte) (group.Record, error) {
	var r group.Record
	in := input{b: key}
	kind := in.int16()
	switch {
	case in.bad:
		return r, errors.New("key without a version")
	case kind == keyCommitOld, kind == keyCommit:
		r.Group = d.name(in.bytes(int(in.int16())))
		r.Topic = d.name(in.bytes(int(in.int16())))
		r.Partition = in.int32()
		if in.bad || r.Topic == "" {
			return r, errors.New("damaged key of a committed offset")
		}
		if value != nil {
			c, err := d.commit(value)
			r.Value = c
			return r, err
		}
	case kind == keyGroup:
		r.Kind = group.KindSaved
		r.Group = d.name(in.bytes(int(in.int16())))
		if in.bad {
			return r, errors.New("damaged key of a group")
		}
		if value != nil {
			s, err := d.saved(value)
			r.Value = s
			return r, err
		}
	default:
		return r, fmt.Errorf("%w: key %d", errForeign, kind)
	}
	return r, nil
}

func (d *decoder) commit(value []byte) (*group.Commit, error) {
	in := input{b: value}
	v := in.int16()
	if !in.bad && (v < 0 || v > commitNewest) {
		return nil, fmt.Errorf("value of a committed offset has version %d", v)
	}
	c := &group.Commit{LeaderEpoch: noLeaderEpoch, Expires: noExpiry}
	c.Offset = protocol.Offset(in.int64())
	if v >= 3 {
		c.LeaderEpoch = protocol.Epoch(in.int32())
	}
	if v >= 4 {
		c.Metadata = d.name(in.bytes(in.compactLength()))
	} else {
		c.Metadata = d.name(in.bytes(int(in.int16())))
	}
	c.Timestamp = in.int64()
	if v == 1 {
		c.Expires = in.int64()
	}
	if v >= 4 {
		in.tags(func(tag uint64, data []byte) {
			if tag == topicIDTag && len(data) == len(c.TopicID) {
				copy(c.TopicID[:], data)
			}
		})
	}
	if in.bad {
		return nil, errors.New("damaged value of a committed offset")
	}
	return c, nil
}

func (d *decoder) saved(value []byte) (*group.Saved, error) {
	in := input{b: value}
	v := in.int16()
	if !in.bad && (v < 0 || v > groupNewest) {
		return nil, fmt.Errorf("value of a group has version %d", v)
	}
	in.flexible = v >= groupV4
	s := &group.Saved{Since: noStateTime}
	s.Type = in.string()
	s.Generation = in.int32()
	s.Protocol = in.nullable()
	s.Leader = in.nullable()
	if v >= 2 {
		s.Since = in.int64()
	}
	n := in.count()
	for i := 0; i < n && !in.bad; i++ {
		m := group.SavedMember{Rebalance: -1, Member: in.string()}
		if v >= 3 {
			m.Instance = in.nullable()
		}
		m.ClientID = in.string()
		m.ClientHost = in.string()
		if v >= 1 {
			m.Rebalance = in.int32()
		}
		m.Session = in.int32()
		m.Metadata = in.blob()
		m.Assignment = in.blob()
		in.endStruct()
		s.Members = append(s.Members, m)
	}
	in.endStruct()
	if in.bad {
		return nil, errors.New("damaged value of a group")
	}
	return s, nil
}
