package coordinator

import (
	"encoding/binary"
	"fmt"

	"moldau.io/moldau/coordinator/group"
)

// Consumer groups (KIP-848). The schema's name is ConsumerGroup and what stands behind the number of the key; all values
// have version 0 and end with tags, and so do the structs in them.
//
//	key 3   Metadata                   int16 3, str group
//	        value                      int16 0, int32 epoch, tags: 0 is the int64 hash of the metadata, unless 0
//	key 4   PartitionMetadata          int16 4, str group
//	        value                      int16 0, carray of topics. Written by Kafka before 4.1; we only note that it is there
//	key 5   MemberMetadata             int16 5, str group, str member
//	        value                      int16 0, cstr instance, cstr rack, cstr client id, cstr host, carray of cstr topics,
//	                                   cstr regex, int32 rebalance timeout, cstr assignor,
//	                                   tags: 0 is a byte 0 (none), or 1 and the classic member; not there: an empty one
//	            classic member         int32 session timeout, carray of (cstr name, cbytes metadata, tags), tags
//	key 6   TargetAssignmentMetadata   int16 6, str group
//	        value                      int16 0, int32 epoch, tags: 0 is the int64 time of its computation, unless 0
//	key 7   TargetAssignmentMember     int16 7, str group, str member
//	        value                      int16 0, carray of topics, tags
//	            topic                  16 bytes id, carray of int32 partitions, tags
//	key 8   CurrentMemberAssignment    int16 8, str group, str member
//	        value                      int16 0, int32 epoch, int32 previous epoch, int8 state, carray of topics assigned,
//	                                   carray of topics to give back, tags
//	            topic                  16 bytes id, carray of int32 partitions, tags: 0 is a carray of int32, the epochs in
//	                                   which they were assigned, unless empty
//	key 16  RegularExpression          int16 16, str group, str expression
//	        value                      int16 0, carray of cstr topics, int64 version, int64 time, tags
const (
	keyEpoch   = 3 // 3 to 8 follow each other in group.Kind too
	keyCurrent = 8
	keyRegex   = 16

	hashTag      = 0
	classicTag   = 0
	timestampTag = 0
	epochsTag    = 0
)

func appendVersion0(b []byte) []byte { return append(b, 0, 0) }

// appendLongTag ends a struct whose only tag, 0, is v, and is left out if v is 0.
func appendLongTag(b []byte, tag byte, v int64) []byte {
	if v == 0 {
		return append(b, 0)
	}
	b = append(b, 1, tag, 8)
	return binary.BigEndian.AppendUint64(b, uint64(v))
}

func appendEpoch(b []byte, e *group.Epoch) []byte {
	b = binary.BigEndian.AppendUint32(appendVersion0(b), uint32(e.Epoch))
	return appendLongTag(b, hashTag, e.MetadataHash)
}

func appendNoPartitions(b []byte) []byte { return append(appendCount(appendVersion0(b), 0), 0) }

func appendMember(b []byte, m *group.Member) []byte {
	b = appendCompactNullable(appendVersion0(b), m.Instance)
	b = appendCompactNullable(b, m.Rack)
	b = appendCompact(b, m.ClientID)
	b = appendCompact(b, m.ClientHost)
	b = appendCount(b, len(m.Topics))
	for _, t := range m.Topics {
		b = appendCompact(b, t)
	}
	b = appendCompactNullable(b, m.Regex)
	b = binary.BigEndian.AppendUint32(b, uint32(m.RebalanceMillis))
	b = appendCompactNullable(b, m.Assignor)
	switch c := m.Classic; {
	case c == nil:
		return append(b, 1, classicTag, 1, 0)
	case c.SessionMillis == 0 && len(c.Protocols) == 0:
		return append(b, 0) // what the schema says of members that say nothing
	default:
		body := appendClassic([]byte{1}, c)
		return appendTag(append(b, 1), classicTag, body)
	}
}

func appendTag(b []byte, tag byte, body []byte) []byte {
	b = binary.AppendUvarint(append(b, tag), uint64(len(body)))
	return append(b, body...)
}

func appendClassic(b []byte, c *group.ClassicMember) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(c.SessionMillis))
	b = appendCount(b, len(c.Protocols))
	for _, p := range c.Protocols {
		b = appendCompact(b, p.Name)
		b = append(appendCompact(b, p.Metadata), 0)
	}
	return append(b, 0)
}

func appendTarget(b []byte, t *group.Target) []byte {
	b = binary.BigEndian.AppendUint32(appendVersion0(b), uint32(t.Epoch))
	return appendLongTag(b, timestampTag, t.Timestamp)
}

func appendMemberTarget(b []byte, t *group.MemberTarget) []byte {
	b = appendTopics(appendVersion0(b), t.Topics, false)
	return append(b, 0)
}

func appendCurrent(b []byte, c *group.Current) []byte {
	b = binary.BigEndian.AppendUint32(appendVersion0(b), uint32(c.Epoch))
	b = binary.BigEndian.AppendUint32(b, uint32(c.PreviousEpoch))
	b = append(b, byte(c.State))
	b = appendTopics(b, c.Assigned, true)
	b = appendTopics(b, c.Revoking, true)
	return append(b, 0)
}

func appendTopics(b []byte, topics []group.TopicPartitions, epochs bool) []byte {
	b = appendCount(b, len(topics))
	for i := range topics {
		t := &topics[i]
		b = append(b, t.ID[:]...)
		b = appendInts(b, t.Partitions)
		if !epochs || len(t.Epochs) == 0 {
			b = append(b, 0)
			continue
		}
		size := 4*len(t.Epochs) + len(binary.AppendUvarint(nil, uint64(len(t.Epochs))+1))
		b = binary.AppendUvarint(append(b, 1, epochsTag), uint64(size))
		b = appendInts(b, t.Epochs)
	}
	return b
}

func appendInts(b []byte, list []int32) []byte {
	b = appendCount(b, len(list))
	for _, v := range list {
		b = binary.BigEndian.AppendUint32(b, uint32(v))
	}
	return b
}

func appendRegex(b []byte, r *group.Regex) []byte {
	b = appendCount(appendVersion0(b), len(r.Topics))
	for _, t := range r.Topics {
		b = appendCompact(b, t)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(r.Version))
	b = binary.BigEndian.AppendUint64(b, uint64(r.Timestamp))
	return append(b, 0)
}

// consumer reads the value of a record of a consumer group.
func (d *decoder) consumer(kind group.Kind, value []byte) (group.Value, error) {
	in := input{b: value, flexible: true}
	if v := in.int16(); !in.bad && v != 0 {
		return nil, fmt.Errorf("value of a consumer group (key %d) has version %d", keyOf(kind), v)
	}
	var v group.Value
	switch kind {
	case group.KindEpoch:
		e := &group.Epoch{Epoch: in.int32()}
		e.MetadataHash = in.longTag(hashTag)
		v = e
	case group.KindPartitions:
		v = &group.Partitions{}
	case group.KindMember:
		v = d.member(&in)
	case group.KindTarget:
		t := &group.Target{Epoch: in.int32()}
		t.Timestamp = in.longTag(timestampTag)
		v = t
	case group.KindMemberTarget:
		v = &group.MemberTarget{Topics: topicsOf(&in)}
		in.endStruct()
	case group.KindCurrent:
		c := &group.Current{Epoch: in.int32(), PreviousEpoch: in.int32(), State: group.MemberState(in.int8())}
		c.Assigned = topicsOf(&in)
		c.Revoking = topicsOf(&in)
		in.endStruct()
		v = c
	case group.KindRegex:
		r := &group.Regex{Topics: d.list(&in)}
		r.Version, r.Timestamp = in.int64(), in.int64()
		in.endStruct()
		v = r
	}
	if in.bad {
		return nil, fmt.Errorf("damaged value of a consumer group (key %d)", keyOf(kind))
	}
	return v, nil
}

func (d *decoder) member(in *input) *group.Member {
	m := &group.Member{Instance: in.nullable(), Rack: in.nullable()}
	m.ClientID, m.ClientHost = in.string(), in.string()
	m.Topics = d.list(in)
	m.Regex = in.nullable()
	m.RebalanceMillis = in.int32()
	m.Assignor = in.nullable()
	m.Classic = &group.ClassicMember{}
	in.tags(func(tag uint64, data []byte) {
		if tag != classicTag {
			return
		}
		sub := input{b: data, flexible: true}
		if sub.uvarint() == 0 {
			m.Classic = nil
		} else {
			m.Classic = classicOf(&sub)
		}
		in.bad = in.bad || sub.bad
	})
	return m
}

func classicOf(in *input) *group.ClassicMember {
	c := &group.ClassicMember{SessionMillis: in.int32()}
	for n := in.count(); n > 0 && !in.bad; n-- {
		c.Protocols = append(c.Protocols, group.Protocol{Name: in.string(), Metadata: in.blob()})
		in.endStruct()
	}
	in.endStruct()
	return c
}

// list reads names.
func (d *decoder) list(in *input) []string {
	n := in.count()
	if n == 0 {
		return nil
	}
	out := make([]string, 0, n)
	for ; n > 0 && !in.bad; n-- {
		out = append(out, d.name(in.bytes(in.stringLength())))
	}
	return out
}

const topicBytesMin = 18 // an id, no partitions, no tags

func topicsOf(in *input) []group.TopicPartitions {
	n := in.count()
	if n == 0 || n > len(in.b)/topicBytesMin {
		in.bad = in.bad || n > 0
		return nil
	}
	out := make([]group.TopicPartitions, 0, n)
	for ; n > 0 && !in.bad; n-- {
		var t group.TopicPartitions
		copy(t.ID[:], in.bytes(len(t.ID)))
		t.Partitions = in.ints()
		in.tags(func(tag uint64, data []byte) {
			if tag != epochsTag {
				return
			}
			sub := input{b: data, flexible: true}
			if sub.uvarint() == 0 { // null
				return
			}
			sub.b = data
			t.Epochs = sub.ints()
			in.bad = in.bad || sub.bad
		})
		if len(t.Epochs) != len(t.Partitions) {
			t.Epochs = nil // Kafka falls back on the epoch of the member too
		}
		out = append(out, t)
	}
	return out
}
