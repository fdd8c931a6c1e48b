package compact

import (
	"encoding/binary"
	"slices"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/protocol/compress"
)

// Aborted is an aborted transaction, as the index of aborted transactions has it.
type Aborted struct {
	ProducerID int64
	First      protocol.Offset // of the transaction's first record
	Last       protocol.Offset // of its abort marker
	LastStable protocol.Offset // the last stable offset once it was decided
}

// Transactions follows the transactions of a log while it is read from its start: which batches belong to aborted ones,
// and which markers no batch is left for.
type Transactions struct {
	waiting   []Aborted           // in order of First: not come to yet
	aborted   map[int64]*underWay // by producer
	committed map[int64]bool      // producers of whose transaction a batch has been seen
}

type underWay struct {
	txn  Aborted
	seen bool // a batch of it
}

// NewTransactions takes the aborted transactions that overlap what is going to be read, in any order.
func NewTransactions(aborted []Aborted) *Transactions {
	waiting := slices.Clone(aborted)
	slices.SortFunc(waiting, func(a, b Aborted) int { return int(min(max(a.First-b.First, -1), 1)) })
	return &Transactions{waiting: waiting, aborted: map[int64]*underWay{}, committed: map[int64]bool{}}
}

func (t *Transactions) advance(upTo protocol.Offset) {
	for len(t.waiting) > 0 && t.waiting[0].First <= upTo {
		a := t.waiting[0]
		t.waiting = t.waiting[1:]
		if t.aborted[a.ProducerID] == nil {
			t.aborted[a.ProducerID] = &underWay{txn: a}
		}
	}
}

// data says whether a batch of records belongs to an aborted transaction.
func (t *Transactions) data(b batch.Batch) bool {
	t.advance(b.LastOffset())
	if !b.IsTransactional() {
		return false
	}
	if u := t.aborted[b.ProducerID()]; u != nil {
		u.seen = true
		return true
	}
	t.committed[b.ProducerID()] = true
	return false
}

// marker says whether a control batch's transaction has no batch left, and for an abort marker that has some the entry
// that the index needs.
func (t *Transactions) marker(b batch.Batch, d *compress.Decoder) (unused bool, entry *Aborted, err error) {
	t.advance(b.LastOffset())
	for r, err := range b.Records(d) {
		if err != nil {
			return false, nil, err
		}
		if len(r.Key) < 4 {
			return false, nil, nil
		}
		id := b.ProducerID()
		switch binary.BigEndian.Uint16(r.Key[2:]) {
		case 0:
			u := t.aborted[id]
			delete(t.aborted, id)
			if u != nil && u.seen {
				return false, &u.txn, nil
			}
			return true, nil, nil
		case 1:
			seen := t.committed[id]
			delete(t.committed, id)
			return !seen, nil, nil
		}
		return false, nil, nil // of the brokers' own, or newer than this code
	}
	return true, nil, nil // emptied by an earlier cleaning
}
