package coordinator

import (
	"encoding/binary"
	"errors"
	"fmt"

	"moldau.io/moldau/coordinator/group"
	"moldau.io/moldau/protocol"
)

// Committed offsets (schemas OffsetCommitKey and OffsetCommitValue).
//
//	key 0, 1                    int16 version, str group, str topic, int32 partition
//	value                       int16 version, int64 offset, [v3+ int32 leader epoch], str metadata (v4+ cstr),
//	                            int64 commit time, [v1 int64 expiry time], [v4+ tags: 0 is the 16 bytes of the topic id]
//
// Written is value 4, or 1 if the commit has an expiry time of its own, which 4 cannot express.
const (
	keyCommitOld  = 0
	keyCommit     = 1
	commitV1      = 1
	commitV4      = 4
	commitNewest  = 4
	topicIDTag    = 0
	noExpiry      = -1
	noLeaderEpoch = -1
)

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
