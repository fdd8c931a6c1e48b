package group

import (
	"encoding/binary"
	"slices"
)

// What members of the classic protocol tell each other through the coordinator, where their protocol type is "consumer"
// (ConsumerProtocolSubscription and ConsumerProtocolAssignment, versions 0 to 3). Big endian; str is an int16 length and
// bytes; an array is an int32 length and its elements; bytes are an int32 length, -1 for null, and the bytes.
//
//	subscription  int16 version, array of str topics, bytes user data,
//	              [v1+ array of (str topic, array of int32) owned], [v2+ int32 generation], [v3+ nullable str rack]
//	assignment    int16 version, array of (str topic, array of int32), bytes user data
//
// Later versions only add to the end: they are read as version 3.

// consumerType is the protocol type of consumers. Only their subscriptions are looked into.
const consumerType = "consumer"

const consumerProtocolMax = 3

// namedPartitions are partitions of a topic that is known by its name.
type namedPartitions struct {
	topic      string
	partitions []int32
}

// memberSubscription is what a member asks for.
type memberSubscription struct {
	version int16
	topics  []string
	owned   []namedPartitions
	rack    string // "" none
}

// readSubscription reads a subscription in the version it says it has.
func readSubscription(b []byte) (s memberSubscription, ok bool) {
	in := protocolReader{b: b}
	s.version = in.int16()
	if s.version < 0 {
		return s, false
	}
	s.topics = in.strings()
	in.bytes()
	if s.version >= 1 {
		s.owned = in.partitions()
	}
	if s.version >= 2 {
		in.int32()
	}
	if s.version >= 3 {
		if n := in.int16(); n >= 0 {
			s.rack = string(in.take(int(n)))
		}
	}
	return s, !in.bad
}

// readTopics reads no more of a subscription than all versions have.
func readTopics(b []byte) (topics []string, ok bool) {
	in := protocolReader{b: b}
	in.int16()
	topics = in.strings()
	in.bytes()
	return topics, !in.bad
}

// readAssignment reads an assignment. custom says that it carries data for an assignor of the client's own.
func readAssignment(b []byte) (list []namedPartitions, custom, ok bool) {
	in := protocolReader{b: b}
	if in.int16() < 0 {
		return nil, false, false
	}
	list = in.partitions()
	custom = len(in.bytes()) > 0
	return list, custom, !in.bad
}

// appendAssignment writes an assignment for a member whose subscription has the version.
func appendAssignment(b []byte, version int16, list []namedPartitions) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(min(version, consumerProtocolMax)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(list)))
	for _, t := range list {
		b = binary.BigEndian.AppendUint16(b, uint16(len(t.topic)))
		b = append(b, t.topic...)
		b = binary.BigEndian.AppendUint32(b, uint32(len(t.partitions)))
		for _, p := range t.partitions {
			b = binary.BigEndian.AppendUint32(b, uint32(p))
		}
	}
	return append(b, 0xff, 0xff, 0xff, 0xff) // no user data
}

// named are partitions by the names that their topics have now. What is not there any more is left out.
func named(md Metadata, list []TopicPartitions) []namedPartitions {
	out := make([]namedPartitions, 0, len(list))
	for _, t := range list {
		if topic, ok := md.TopicByID(t.ID); ok && len(t.Partitions) > 0 {
			out = append(out, namedPartitions{topic.Name, t.Partitions})
		}
	}
	return out
}

// identified are partitions by the ids that their topics have now, sorted, each once. What is not there is left out.
func identified(md Metadata, list []namedPartitions) []TopicPartitions {
	out := make([]TopicPartitions, 0, len(list))
	for _, t := range list {
		topic, ok := md.Topic(t.topic)
		if !ok {
			continue
		}
		ps := t.partitions
		if i := slices.IndexFunc(out, func(o TopicPartitions) bool { return o.ID == topic.ID }); i >= 0 {
			ps = slices.Concat(out[i].Partitions, ps)
			out = slices.Delete(out, i, i+1)
		}
		out = append(out, TopicPartitions{ID: topic.ID, Partitions: slices.Compact(slices.Sorted(slices.Values(ps)))})
	}
	return sorted(out)
}

// protocolReader reads off b. After the first thing that does not fit bad is set, and what is read is zero.
type protocolReader struct {
	b   []byte
	bad bool
}

func (in *protocolReader) take(n int) []byte {
	if in.bad || n < 0 || n > len(in.b) {
		in.bad = true
		return nil
	}
	out := in.b[:n:n]
	in.b = in.b[n:]
	return out
}

func (in *protocolReader) int16() int16 {
	if b := in.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (in *protocolReader) int32() int32 {
	if b := in.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

// count is the length of an array whose elements take at least eachBytes: a length that cannot be true makes no slice.
func (in *protocolReader) count(eachBytes int) int {
	n := int(in.int32())
	if n < 0 || n > len(in.b)/eachBytes {
		in.bad = true
		return 0
	}
	return n
}

func (in *protocolReader) string() string { return string(in.take(int(in.int16()))) }

func (in *protocolReader) strings() []string {
	out := make([]string, in.count(2))
	for i := range out {
		out[i] = in.string()
	}
	return out
}

// bytes is nil for null.
func (in *protocolReader) bytes() []byte {
	n := in.int32()
	if n == -1 {
		return nil
	}
	return in.take(int(n))
}

func (in *protocolReader) partitions() []namedPartitions {
	out := make([]namedPartitions, in.count(6))
	for i := range out {
		out[i].topic = in.string()
		out[i].partitions = make([]int32, in.count(4))
		for j := range out[i].partitions {
			out[i].partitions[j] = in.int32()
		}
	}
	return out
}
