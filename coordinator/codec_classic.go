package coordinator

import (
	"encoding/binary"
	"errors"
	"fmt"

	"moldau.io/moldau/coordinator/group"
)

// Classic groups (schemas GroupMetadataKey and GroupMetadataValue).
//
//	key 2                       int16 version, str group
//	value                       int16 version, str protocol type, int32 generation, str protocol, str leader,
//	                            [v2+ int64 time of the state], int32 count, members:
//	    member                  str id, [v3+ str instance], str client id, str host, [v1+ int32 rebalance timeout],
//	                            int32 session timeout, int32 length and subscription, int32 length and assignment
//
// Written is value 3.
const (
	keyGroup    = 2
	groupV3     = 3
	groupV4     = 4 // like 3 but flexible; read only
	groupNewest = 4
	noStateTime = -1
)

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
