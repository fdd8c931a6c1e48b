package producers

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"moldau.io/moldau/protocol"
)

// A snapshot file, big endian, as ProducerStateManager of Kafka writes it:
//
//	0         2     6       10
//	+---------+-----+-------+--------------------+----------------+
//	| version | crc | count | count * producer   | windows        |   version is 1; the CRC-32C covers all behind it
//	+---------+-----+-------+--------------------+----------------+
//
// A producer:
//
//	0    8       10              14            22             26          34                  38                     46
//	+----+-------+---------------+-------------+--------------+-----------+-------------------+----------------------+
//	| id | epoch | last sequence | last offset | offset delta | timestamp | coordinator epoch | txn's first offset   |
//	+----+-------+---------------+-------------+--------------+-----------+-------------------+----------------------+
//
// Last sequence, last offset and the first offset of the transaction are -1 where there is none.
//
// Kafka keeps the last batch of a producer only, so that after a restart it takes a repeat of an older one for a gap.
// The windows are ours: Kafka's reader stops after the producers and does not look at what follows, as long as the CRC
// covers it. They hold, after the eight bytes of windowsMagic, for each producer in the same order:
//
//	0          8       9
//	+----------+-------+----------------------------------------------------------------------------------+
//	| last use | count | count * (last sequence 4, last offset 8, offset delta 4, timestamp 8), oldest first |
//	+----------+-------+----------------------------------------------------------------------------------+
const (
	snapshotVersion  = 1
	snapshotHead     = 10
	producerBytes    = 46
	windowHead       = 9
	windowBatchBytes = 24
	windowsMagic     = "moldau-1"
)

// ErrCorrupt says that bytes are no snapshot.
var ErrCorrupt = errors.New("corrupt producer snapshot")

func corrupt(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, a...))
}

// Snapshot is the state as a file's content.
func (s *State) Snapshot() []byte {
	es := s.sorted()
	const most = producerBytes + windowHead + windowBatches*windowBatchBytes
	out := make([]byte, snapshotHead, snapshotHead+len(windowsMagic)+len(es)*most)
	be := binary.BigEndian
	for _, e := range es {
		w := written{lastSeq: noSequence, last: -1}
		if e.filled > 0 {
			w = e.at(0)
		}
		out = be.AppendUint64(out, uint64(e.id))
		out = be.AppendUint16(out, uint16(e.epoch))
		out = be.AppendUint32(out, uint32(w.lastSeq))
		out = be.AppendUint64(out, uint64(w.last))
		out = be.AppendUint32(out, uint32(w.delta))
		out = be.AppendUint64(out, uint64(e.lastTimestamp))
		out = be.AppendUint32(out, uint32(e.coordinatorEpoch))
		out = be.AppendUint64(out, uint64(e.txnFirst))
	}
	out = append(out, windowsMagic...)
	for _, e := range es {
		out = be.AppendUint64(out, uint64(e.lastUse))
		out = append(out, byte(e.filled))
		for i := e.filled - 1; i >= 0; i-- {
			w := e.at(i)
			out = be.AppendUint32(out, uint32(w.lastSeq))
			out = be.AppendUint64(out, uint64(w.last))
			out = be.AppendUint32(out, uint32(w.delta))
			out = be.AppendUint64(out, uint64(w.timestamp))
		}
	}
	be.PutUint16(out, snapshotVersion)
	be.PutUint32(out[6:], uint32(len(es)))
	be.PutUint32(out[2:], checksum(out))
	return out
}

func checksum(snapshot []byte) uint32 {
	return crc32.Checksum(snapshot[6:], crc32.MakeTable(crc32.Castagnoli))
}

// Load is the state that a snapshot describes, whose log goes on at end. Errors wrap ErrCorrupt.
func Load(b []byte, end protocol.Offset) (*State, error) {
	be := binary.BigEndian
	if len(b) < snapshotHead {
		return nil, corrupt("%d bytes are too few", len(b))
	}
	if v := be.Uint16(b); v != snapshotVersion {
		return nil, corrupt("version %d, only %d is known", v, snapshotVersion)
	}
	if got, want := be.Uint32(b[2:]), checksum(b); got != want {
		return nil, corrupt("the checksum is %08x, its bytes have %08x", got, want)
	}
	n := int64(int32(be.Uint32(b[6:])))
	rest := b[snapshotHead:]
	if n < 0 || n*producerBytes > int64(len(rest)) {
		return nil, corrupt("%d producers in %d bytes", n, len(rest))
	}
	s := New()
	s.end = end
	es := make([]*entry, n)
	for i := range es {
		e, err := s.loadEntry(rest[i*producerBytes:])
		if err != nil {
			return nil, err
		}
		es[i] = e
	}
	slices.SortFunc(s.open, func(a, b Txn) int { return int(min(max(a.First-b.First, -1), 1)) })
	if err := loadWindows(es, rest[n*producerBytes:]); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *State) loadEntry(p []byte) (*entry, error) {
	be := binary.BigEndian
	id := int64(be.Uint64(p))
	if id < 0 || s.byID[id] != nil {
		return nil, corrupt("the producer %d is not a producer's id, or comes twice", id)
	}
	e := s.entry(id)
	e.epoch = int16(be.Uint16(p[8:]))
	e.lastTimestamp = int64(be.Uint64(p[26:]))
	e.lastUse = e.lastTimestamp
	e.coordinatorEpoch = int32(be.Uint32(p[34:]))
	w := written{
		lastSeq:   int32(be.Uint32(p[10:])),
		last:      protocol.Offset(be.Uint64(p[14:])),
		delta:     int32(be.Uint32(p[22:])),
		timestamp: e.lastTimestamp,
	}
	if w.last >= 0 {
		w.firstSeq = firstSequence(w)
		e.push(w)
	}
	if first := protocol.Offset(be.Uint64(p[38:])); first >= 0 {
		e.txnFirst = first
		s.open = append(s.open, Txn{ProducerID: id, First: first})
	}
	return e, nil
}

// firstSequence counts back from the last, and before 0 comes 2147483647.
func firstSequence(w written) int32 {
	return int32((int64(w.lastSeq) - int64(w.delta)) & 0x7fffffff)
}

// loadWindows adds what Kafka does not keep. Bytes that are not ours are left alone.
func loadWindows(es []*entry, b []byte) error {
	if len(b) < len(windowsMagic) || string(b[:len(windowsMagic)]) != windowsMagic {
		return nil
	}
	b = b[len(windowsMagic):]
	be := binary.BigEndian
	for _, e := range es {
		if len(b) < windowHead || int(b[8]) > windowBatches || len(b) < windowHead+int(b[8])*windowBatchBytes {
			return corrupt("the window of producer %d is cut short", e.id)
		}
		e.lastUse = int64(be.Uint64(b))
		n := int(b[8])
		b = b[windowHead:]
		e.filled = 0
		for range n {
			w := written{
				lastSeq:   int32(be.Uint32(b)),
				last:      protocol.Offset(be.Uint64(b[4:])),
				delta:     int32(be.Uint32(b[12:])),
				timestamp: int64(be.Uint64(b[16:])),
			}
			w.firstSeq = firstSequence(w)
			e.push(w)
			b = b[windowBatchBytes:]
		}
	}
	return nil
}
