package producers

import (
	"encoding/binary"
	"slices"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
)

// Ended is a transaction that a marker ended.
type Ended struct {
	ProducerID int64
	First      protocol.Offset // of the transaction's first record
	Last       protocol.Offset // of the marker
	Aborted    bool
	LastStable protocol.Offset // first offset of the oldest transaction that stays open, else the one after the marker
}

// A transaction marker is the one record of a control batch. Its key and value, big endian (ControlRecordType,
// EndTransactionMarker of Kafka):
//
//	key    0         2      4        value  0         2                    6
//	       +---------+------+               +---------+--------------------+
//	       | version | type |               | version | coordinator epoch  |   type: 0 aborts, 1 commits
//	       +---------+------+               +---------+--------------------+
type marker struct {
	aborted          bool
	coordinatorEpoch int32
	timestamp        int64
}

// parseMarker is ok=false for control batches that end no transaction, and for those whose record compaction has
// removed.
func parseMarker(b batch.Batch) (m marker, ok bool) {
	for r, err := range b.Records(nil) {
		if err != nil || len(r.Key) < 4 {
			return marker{}, false
		}
		kind := binary.BigEndian.Uint16(r.Key[2:])
		if kind > 1 || len(r.Value) < 6 {
			return marker{}, false
		}
		return marker{
			aborted:          kind == 0,
			coordinatorEpoch: int32(binary.BigEndian.Uint32(r.Value[2:])),
			timestamp:        b.BaseTimestamp() + r.TimestampDelta,
		}, true
	}
	return marker{}, false
}

// checkMarker checks a marker that a transaction coordinator sends: its producer epoch must not be older than what the
// log knows, nor its coordinator's.
func (s *State) checkMarker(b batch.Batch) error {
	m, ok := parseMarker(b)
	e := s.byID[b.ProducerID()]
	if !ok || e == nil {
		return nil
	}
	if b.ProducerEpoch() < e.epoch {
		return fenced(e.id, b.ProducerEpoch(), e.epoch)
	}
	if m.coordinatorEpoch < e.coordinatorEpoch {
		return protocol.Errorf(protocol.TransactionCoordinatorFenced,
			"the marker for producer %d is from a coordinator of epoch %d, a newer one has %d",
			e.id, m.coordinatorEpoch, e.coordinatorEpoch)
	}
	return nil
}

func (s *State) applyMarker(b batch.Batch, now time.Time) (Ended, bool) {
	m, ok := parseMarker(b)
	if !ok {
		return Ended{}, false
	}
	e := s.entry(b.ProducerID())
	e.setEpoch(b.ProducerEpoch())
	e.coordinatorEpoch = m.coordinatorEpoch
	e.lastTimestamp, e.lastUse = m.timestamp, now.UnixMilli()
	if e.txnFirst < 0 {
		return Ended{}, false // the transaction wrote nothing here
	}
	ended := Ended{
		ProducerID: e.id,
		First:      e.txnFirst,
		Last:       b.BaseOffset(),
		Aborted:    m.aborted,
		LastStable: b.BaseOffset() + 1,
	}
	e.txnFirst = -1
	s.open = slices.DeleteFunc(s.open, func(t Txn) bool { return t.ProducerID == e.id })
	if len(s.open) > 0 {
		ended.LastStable = s.open[0].First
	}
	return ended, true
}

// Aborts says that b is a marker that aborts a transaction.
func Aborts(b batch.Batch) bool {
	m, ok := parseMarker(b)
	return ok && m.aborted
}
