// Package producers is what a log knows of those who write to it: for each idempotent producer the last batches, so
// that a repeated one is recognised and a missing one is noticed (KIP-98, KIP-360), and which transactions are open. It
// follows Kafka's ProducerStateManager and ProducerAppendInfo. It does no I/O and is told the time.
//
// Invariant: State depends only on the batches applied, in their order, and on the times passed in; a State read back
// from Snapshot answers as the one that wrote it.
package producers

import (
	"math"
	"slices"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
)

// windowBatches is how many batches of a producer are remembered, so how many a client may have in flight
// (ProducerStateEntry.NUM_BATCHES_TO_RETAIN).
const windowBatches = 5

// State is the producers of one log.
type State struct {
	byID map[int64]*entry
	open []Txn // in order of First

	end protocol.Offset // the offset after the last batch applied
}

// Txn is an open transaction.
type Txn struct {
	ProducerID int64
	First      protocol.Offset
}

// entry is one producer.
type entry struct {
	id               int64
	epoch            int16
	coordinatorEpoch int32
	txnFirst         protocol.Offset // of the open transaction; -1 when there is none
	lastTimestamp    int64           // of the last batch or marker, in milliseconds
	lastUse          int64           // when that was appended, in milliseconds

	window [windowBatches]written // a ring: the newest at newest
	newest int
	filled int
}

// written is a batch in the log.
type written struct {
	firstSeq, lastSeq int32
	last              protocol.Offset
	delta             int32 // last less the first offset
	timestamp         int64
}

func (w written) first() protocol.Offset { return w.last - protocol.Offset(w.delta) }

// noEpoch and noSequence stand for "none".
const (
	noEpoch    = int16(-1)
	noSequence = int32(-1)
)

// New is the state of an empty log.
func New() *State { return &State{byID: map[int64]*entry{}} }

// Len is the number of producers known.
func (s *State) Len() int { return len(s.byID) }

// End is the offset after the last batch that was applied.
func (s *State) End() protocol.Offset { return s.end }

// SetEnd says that the log goes on at end, for batches without a producer, which need not be applied.
func (s *State) SetEnd(end protocol.Offset) { s.end = end }

// FirstOpen is the first offset of the oldest open transaction. The last stable offset is the smaller of it and the
// high watermark.
func (s *State) FirstOpen() (protocol.Offset, bool) {
	if len(s.open) == 0 {
		return 0, false
	}
	return s.open[0].First, true
}

// Open are the open transactions, oldest first.
func (s *State) Open() []Txn { return slices.Clone(s.open) }

// Verdict says what a batch is to the log.
type Verdict struct {
	Duplicate bool            // it is in the log already
	Base      protocol.Offset // of the one in the log
	Last      protocol.Offset
	Timestamp int64 // of the one in the log
}

// Check says whether b, as a client sent it, may be appended, or is in the log already. prev is the batch that is to be
// appended just before it and has not been applied, or nil.
//
// Errors carry protocol.InvalidProducerEpoch, protocol.OutOfOrderSequenceNumber, protocol.InvalidTxnState or
// protocol.InvalidRecord.
func (s *State) Check(b, prev batch.Batch) (Verdict, error) {
	id := b.ProducerID()
	if id < 0 {
		return Verdict{}, nil
	}
	if b.IsControl() {
		return Verdict{}, s.checkMarker(b)
	}
	epoch, seq := b.ProducerEpoch(), b.BaseSequence()
	if epoch < 0 {
		return Verdict{}, protocol.Errorf(protocol.InvalidProducerEpoch, "producer %d has the epoch %d", id, epoch)
	}
	if seq < 0 {
		return Verdict{}, protocol.Errorf(protocol.InvalidRecord, "producer %d sent the sequence number %d", id, seq)
	}
	if prev != nil && prev.ProducerID() == id && !prev.IsControl() {
		return Verdict{}, follows(b, prev)
	}
	e := s.byID[id]
	if e == nil {
		return Verdict{}, nil // whatever the first sequence is: KIP-360
	}
	if w, ok := e.find(epoch, seq, b.LastSequence()); ok {
		return Verdict{Duplicate: true, Base: w.first(), Last: w.last, Timestamp: w.timestamp}, nil
	}
	if epoch < e.epoch {
		return Verdict{}, fenced(id, epoch, e.epoch)
	}
	if err := e.inOrder(epoch, seq); err != nil {
		return Verdict{}, err
	}
	if e.txnFirst >= 0 && !b.IsTransactional() {
		return Verdict{}, protocol.Errorf(protocol.InvalidTxnState,
			"producer %d sent a batch outside of its transaction, which began at offset %d", id, e.txnFirst)
	}
	return Verdict{}, nil
}

func fenced(id int64, epoch, known int16) error {
	return protocol.Errorf(protocol.InvalidProducerEpoch,
		"producer %d has the epoch %d, a newer one has %d", id, epoch, known)
}

func outOfOrder(id int64, got, after int32) error {
	return protocol.Errorf(protocol.OutOfOrderSequenceNumber,
		"producer %d sent the sequence number %d after %d", id, got, after)
}

func follows(b, prev batch.Batch) error {
	switch id := b.ProducerID(); {
	case b.ProducerEpoch() < prev.ProducerEpoch():
		return fenced(id, b.ProducerEpoch(), prev.ProducerEpoch())
	case b.ProducerEpoch() > prev.ProducerEpoch() && b.BaseSequence() != 0:
		return outOfOrder(id, b.BaseSequence(), noSequence)
	case b.ProducerEpoch() == prev.ProducerEpoch() && !next(prev.LastSequence(), b.BaseSequence()):
		return outOfOrder(id, b.BaseSequence(), prev.LastSequence())
	}
	return nil
}

// inOrder checks the sequence number of a batch that is no duplicate.
func (e *entry) inOrder(epoch int16, seq int32) error {
	switch {
	case e.epoch == noEpoch:
		return nil
	case epoch != e.epoch:
		if seq != 0 {
			return protocol.Errorf(protocol.OutOfOrderSequenceNumber,
				"producer %d begins the epoch %d with the sequence number %d, not 0", e.id, epoch, seq)
		}
	case !next(e.lastSeq(), seq):
		return outOfOrder(e.id, seq, e.lastSeq())
	}
	return nil
}

// next says whether seq comes after last: by one, and after 2147483647 comes 0.
func next(last, seq int32) bool {
	return int64(seq) == int64(last)+1 || seq == 0 && last == math.MaxInt32
}

func (e *entry) lastSeq() int32 {
	if e.filled == 0 {
		return noSequence
	}
	return e.window[e.newest].lastSeq
}

// find looks for a batch with these sequence numbers among the remembered ones.
func (e *entry) find(epoch int16, first, last int32) (written, bool) {
	if epoch != e.epoch {
		return written{}, false
	}
	for i := range e.filled {
		if w := e.at(i); w.firstSeq == first && w.lastSeq == last {
			return w, true
		}
	}
	return written{}, false
}

// at is the i-th newest batch.
func (e *entry) at(i int) written {
	return e.window[(e.newest-i+windowBatches)%windowBatches]
}

func (e *entry) push(w written) {
	e.newest = (e.newest + 1) % windowBatches
	e.window[e.newest] = w
	e.filled = min(e.filled+1, windowBatches)
}

func (e *entry) setEpoch(epoch int16) {
	if e.epoch != epoch {
		e.epoch, e.filled = epoch, 0
	}
}

// Apply records that b is in the log. Replay calls it with the same batches in the same order as they were appended.
// When b is the marker that ends a transaction, that is returned.
//
// now is when it was appended, or is applied again.
func (s *State) Apply(b batch.Batch, now time.Time) (Ended, bool) {
	s.end = b.LastOffset() + 1
	id := b.ProducerID()
	if id < 0 {
		return Ended{}, false
	}
	if b.IsControl() {
		return s.applyMarker(b, now)
	}
	e := s.entry(id)
	e.setEpoch(b.ProducerEpoch())
	e.lastTimestamp, e.lastUse = b.MaxTimestamp(), now.UnixMilli()
	e.push(written{
		firstSeq:  b.BaseSequence(),
		lastSeq:   b.LastSequence(),
		last:      b.LastOffset(),
		delta:     b.LastOffsetDelta(),
		timestamp: b.MaxTimestamp(),
	})
	if b.IsTransactional() && e.txnFirst < 0 {
		e.txnFirst = b.BaseOffset()
		s.open = append(s.open, Txn{ProducerID: id, First: e.txnFirst})
	}
	return Ended{}, false
}

func (s *State) entry(id int64) *entry {
	e := s.byID[id]
	if e == nil {
		e = &entry{id: id, epoch: noEpoch, coordinatorEpoch: -1, txnFirst: -1}
		s.byID[id] = e
	}
	return e
}

// Expire forgets producers that have appended nothing for idle and have no open transaction. It says how many.
func (s *State) Expire(now time.Time, idle time.Duration) int {
	n, limit := 0, now.Add(-idle).UnixMilli()
	for id, e := range s.byID {
		if e.txnFirst < 0 && e.lastUse <= limit {
			delete(s.byID, id)
			n++
		}
	}
	return n
}

// TakeUse takes from another state of the same log when producers were used last.
func (s *State) TakeUse(from *State) {
	for id, e := range s.byID {
		if f := from.byID[id]; f != nil {
			e.lastUse = max(e.lastUse, f.lastUse)
		}
	}
}

// Active is what DescribeProducers says of one producer.
type Active struct {
	ID               int64
	Epoch            int16
	LastSequence     int32           // -1 when no batch is remembered
	LastOffset       protocol.Offset // of that batch; -1 when there is none
	LastTimestamp    int64           // milliseconds
	CoordinatorEpoch int32           // -1 when no marker came
	TxnFirst         protocol.Offset // of the open transaction; -1 when there is none
}

// Active are the producers, by id.
func (s *State) Active() []Active {
	out := make([]Active, 0, len(s.byID))
	for _, e := range s.sorted() {
		last := protocol.Offset(-1)
		if e.filled > 0 {
			last = e.at(0).last
		}
		out = append(out, Active{
			ID:               e.id,
			Epoch:            e.epoch,
			LastSequence:     e.lastSeq(),
			LastOffset:       last,
			LastTimestamp:    e.lastTimestamp,
			CoordinatorEpoch: e.coordinatorEpoch,
			TxnFirst:         e.txnFirst,
		})
	}
	return out
}

func (s *State) sorted() []*entry {
	es := make([]*entry, 0, len(s.byID))
	for _, e := range s.byID {
		es = append(es, e)
	}
	slices.SortFunc(es, func(a, b *entry) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	return es
}
