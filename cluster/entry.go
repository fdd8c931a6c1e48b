package cluster

import (
	"encoding/binary"
	"errors"

	"moldau.io/moldau/cluster/meta"
)

// An entry of the metadata log is meta's records. Where calls of other brokers made them that must not be executed twice,
// the numbers of these calls come first, so that every later leader knows that they were executed:
//
//	0      1
//	+------+---------+-----------------+-----------+
//	| 0xCA | uvarint | 8 bytes each    | records   |
//	|      | count   | numbers         |           |
//	+------+---------+-----------------+-----------+
const entryWithCalls = 0xCA

var errEntry = errors.New("the entry is cut short or damaged")

func encodeEntry(recs []meta.Record, calls []uint64) []byte {
	var b []byte
	if len(calls) > 0 {
		b = append(b, entryWithCalls)
		b = binary.AppendUvarint(b, uint64(len(calls)))
		for _, id := range calls {
			b = binary.LittleEndian.AppendUint64(b, id)
		}
	}
	return meta.AppendRecords(b, recs)
}

func decodeEntry(b []byte) (recs []meta.Record, calls []uint64, err error) {
	if len(b) > 0 && b[0] == entryWithCalls {
		count, n := binary.Uvarint(b[1:])
		if n <= 0 || count > uint64(len(b)-1-n)/8 {
			return nil, nil, errEntry
		}
		b = b[1+n:]
		for range count {
			calls = append(calls, binary.LittleEndian.Uint64(b))
			b = b[8:]
		}
	}
	recs, err = meta.DecodeRecords(b)
	return recs, calls, err
}

// executed remembers which calls are in the log, so that one whose answer was lost is not executed again.
type executed struct {
	at    map[uint64]int64 // index of their entry
	order []uint64         // oldest first
	since int64            // calls in entries up to this one may have been forgotten
}

// executedMax is far more than are made in the time that a caller waits.
const executedMax = 1 << 14

// begin forgets all: what was before index is not known.
func (x *executed) begin(index int64) {
	*x = executed{at: map[uint64]int64{}, since: index}
}

func (x *executed) add(index int64, calls []uint64) {
	for _, id := range calls {
		x.at[id] = index
		x.order = append(x.order, id)
	}
	for len(x.order) > executedMax {
		x.since = x.at[x.order[0]]
		delete(x.at, x.order[0])
		x.order = x.order[1:]
	}
}

// knows says that a call is in the log.
func (x *executed) knows(id uint64) bool {
	_, ok := x.at[id]
	return ok
}
