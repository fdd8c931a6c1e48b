package protocol

import "encoding/binary"

// appender encodes the values of one version. Compact lengths are varints one above the length, with 0 for null
// (KIP-482); classic ones are int16 for strings, int32 for the rest, with -1 for null.
type appender struct {
	b       []byte
	compact bool
}

func (a *appender) int16(v int16) { a.b = binary.BigEndian.AppendUint16(a.b, uint16(v)) }
func (a *appender) int32(v int32) { a.b = binary.BigEndian.AppendUint32(a.b, uint32(v)) }
func (a *appender) int64(v int64) { a.b = binary.BigEndian.AppendUint64(a.b, uint64(v)) }

func (a *appender) uvarint(v uint32) {
	for v >= 0x80 {
		a.b = append(a.b, byte(v)|0x80)
		v >>= 7
	}
	a.b = append(a.b, byte(v))
}

// length is that of an array or of bytes; -1 is null.
func (a *appender) length(n int) {
	if a.compact {
		a.uvarint(uint32(n + 1))
		return
	}
	a.int32(int32(n))
}

func (a *appender) str(s string) {
	if a.compact {
		a.uvarint(uint32(len(s) + 1))
	} else {
		a.int16(int16(len(s)))
	}
	a.b = append(a.b, s...)
}

// nullable writes null for the empty string: none of the strings that are written with it has a meaning when empty.
func (a *appender) nullable(s string) {
	switch {
	case s != "":
		a.str(s)
	case a.compact:
		a.uvarint(0)
	default:
		a.int16(-1)
	}
}

// tags is the number of tagged fields that follow. Versions that are not flexible have no such section.
func (a *appender) tags(n int) {
	if a.compact {
		a.uvarint(uint32(n))
	}
}

// topic names a topic as the version does: by id from the version byID on, else by name.
func (a *appender) topic(name string, id TopicID, byID bool) {
	if byID {
		a.b = append(a.b, id[:]...)
		return
	}
	a.str(name)
}

// Leader tells a client where a partition is led now (KIP-951), so that it need not ask for metadata first.
type Leader struct {
	ID    BrokerID
	Epoch Epoch
}

// tag writes the leader as the tagged field key.
func (l Leader) tag(a *appender, key uint32) {
	a.uvarint(key)
	a.uvarint(4 + 4 + 1)
	a.int32(int32(l.ID))
	a.int32(int32(l.Epoch))
	a.tags(0)
}

// NodeEndpoint is where a client reaches a broker that a Leader names.
type NodeEndpoint struct {
	ID   BrokerID
	Host string
	Port int32
	Rack string // empty for none
}

// nodeEndpoints writes the last section of tagged fields of a Produce or Fetch answer: tag 0 with the endpoints, if any.
func (a *appender) nodeEndpoints(nodes []NodeEndpoint) {
	if len(nodes) == 0 {
		a.tags(0)
		return
	}
	value := appender{compact: true}
	value.length(len(nodes))
	for _, n := range nodes {
		value.int32(int32(n.ID))
		value.str(n.Host)
		value.int32(n.Port)
		value.nullable(n.Rack)
		value.tags(0)
	}
	a.tags(1)
	a.uvarint(0)
	a.uvarint(uint32(len(value.b)))
	a.b = append(a.b, value.b...)
}
