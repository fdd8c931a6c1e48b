package compact

import (
	"encoding/binary"
	"fmt"
	"testing"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
)

// cleanings is a log in memory that is cleaned again and again.
type cleanings struct {
	t         *testing.T
	log       []batch.Batch
	aborted   []Aborted // the index
	end       protocol.Offset
	open      map[int64]protocol.Offset
	committed protocol.Offset
	producers map[int64]LastBatch
	retention int64
}

func newCleanings(t *testing.T) *cleanings {
	return &cleanings{t: t, open: map[int64]protocol.Offset{}, committed: -1, retention: 100}
}

// put appends a batch of records "key=value" or "key", which is a tombstone; "=value" has no key.
func (x *cleanings) put(producer int64, transactional bool, records ...string) {
	o := batch.BuilderOptions{Transactional: transactional}
	if producer >= 0 {
		o.Producer = &batch.Producer{ID: producer, Epoch: 1, Sequence: 0}
	}
	b := batch.NewBuilder(o)
	for _, r := range records {
		var key, value []byte
		for i := range r {
			if r[i] == '=' {
				value = []byte(r[i+1:])
				r = r[:i]
				break
			}
		}
		if r != "" {
			key = []byte(r)
		}
		b.Add(1000, key, value)
	}
	if _, ok := x.open[producer]; transactional && !ok {
		x.open[producer] = x.end
	}
	x.add(b.Build())
}

func (x *cleanings) add(b batch.Batch) {
	b.Stamp(x.end, 0)
	x.end = b.LastOffset() + 1
	x.log = append(x.log, b)
}

func (x *cleanings) mark(producer int64, abort bool) {
	b := batch.NewBuilder(batch.BuilderOptions{
		Producer: &batch.Producer{ID: producer, Epoch: 1, Sequence: -1}, Transactional: true, Control: true,
	})
	key := []byte{0, 0, 0, 1}
	if abort {
		key[3] = 0
		a := Aborted{ProducerID: producer, First: x.open[producer], Last: x.end, LastStable: x.end + 1}
		x.aborted = append(x.aborted, a)
	}
	delete(x.open, producer)
	b.Add(1000, key, binary.BigEndian.AppendUint32([]byte{0, 0}, 7))
	x.add(b.Build())
}

// clean cleans the log up to an offset, at a time, and prints it.
func (x *cleanings) clean(now int64, to protocol.Offset, want string) {
	t := x.t
	t.Helper()
	var o Offsets
	o.Reset(Seed{1, 2}, 100, 1<<20, 0.9, 0)
	txns := NewTransactions(x.aborted)
	for _, b := range x.log {
		if b.LastOffset() < to {
			if room, err := Index(&o, txns, b, 0, nil); !room || err != nil {
				t.Fatal(room, err)
			}
		}
	}
	f := NewFilter(Round{Now: now, Retention: x.retention, Committed: x.committed, Producers: x.producers,
		Transaction: NewTransactions(x.aborted)}, &o)
	var w batch.Rewriter
	var log []batch.Batch
	var index []Aborted
	for _, b := range x.log {
		v, err := f.Look(b, nil)
		if err != nil {
			t.Fatal(err)
		}
		if v.Aborted != nil {
			index = append(index, *v.Aborted)
		}
		switch v.Fate {
		case Drop:
			continue
		case Rewrite:
			b, err = w.Rewrite(b, batch.Rewrite{Horizon: v.Horizon, Keep: f.Keeps})
			if err != nil {
				t.Fatal(err)
			}
		case Empty:
			b = w.Empty(b)
		}
		if !b.CheckCRC() {
			t.Fatal("the checksum is wrong")
		}
		log = append(log, append(batch.Batch(nil), b...))
	}
	x.log, x.aborted = log, index
	if got := x.print(); got != want {
		t.Errorf("at %d:\n got %s\nwant %s", now, got, want)
	}
}

func (x *cleanings) print() string {
	s := ""
	for _, b := range x.log {
		s += fmt.Sprintf("[%d-%d", b.BaseOffset(), b.LastOffset())
		if b.HasDeleteHorizon() {
			s += fmt.Sprintf(" until %d", b.BaseTimestamp())
		}
		for r, err := range b.Records(nil) {
			if err != nil {
				x.t.Fatal(err)
			}
			switch {
			case b.IsControl():
				s += " marker"
			case b.Timestamp(r) != 1000:
				x.t.Errorf("timestamp %d", b.Timestamp(r))
			case r.Value == nil:
				s += fmt.Sprintf(" %d:%s", r.OffsetDelta, r.Key)
			default:
				s += fmt.Sprintf(" %d:%s=%s", r.OffsetDelta, r.Key, r.Value)
			}
		}
		s += "]"
	}
	for _, a := range x.aborted {
		s += fmt.Sprintf(" aborted %d-%d", a.First, a.Last)
	}
	return s
}

func TestRule082_TheLastRecordOfEachKeyStaysAtItsOffset(t *testing.T) {
	x := newCleanings(t)
	x.put(-1, false, "a=1", "b=1", "a=2", "=keyless")
	x.put(-1, false, "c=1")
	x.put(-1, false, "a=3", "c=2")
	x.put(-1, false, "b=2", "=kept") // at 7: the cleaning does not come so far
	x.clean(5000, 7, "[0-3 1:b=1][5-6 0:a=3 1:c=2][7-8 0:b=2 1:=kept]")
	x.clean(5001, 9, "[5-6 0:a=3 1:c=2][7-8 0:b=2]")
}

func TestRule083_TombstonesStayForATime(t *testing.T) {
	x := newCleanings(t)
	x.put(-1, false, "a=1", "b=1")
	x.put(-1, false, "a", "x=1")
	x.clean(5000, 4, "[0-1 1:b=1][2-3 until 5100 0:a 1:x=1]")
	x.clean(5099, 4, "[0-1 1:b=1][2-3 until 5100 0:a 1:x=1]") // the first cleaning counts
	x.clean(5100, 4, "[0-1 1:b=1][2-3 until 5100 1:x=1]")
	x.put(-1, false, "x")
	x.clean(5200, 5, "[0-1 1:b=1][4-4 until 5300 0:x]")
	x.clean(5300, 5, "[0-1 1:b=1]")
}

func TestRule084_MarkersOutliveTheirTransaction(t *testing.T) {
	x := newCleanings(t)
	x.put(7, true, "a=1")
	x.put(-1, false, "b=1")
	x.mark(7, true)
	x.put(7, true, "c=1", "b=2")
	x.mark(7, false)
	x.put(-1, false, "d=1")
	// The aborted record goes at once, and its marker stays with its entry in the index: who reads what there was needs
	// both.
	x.clean(5000, 7, "[2-2 marker][3-4 0:c=1 1:b=2][5-5 marker][6-6 0:d=1] aborted 0-2")
	// Now nothing of it is left, and the marker's time begins.
	x.clean(5010, 7, "[2-2 until 5110 marker][3-4 0:c=1 1:b=2][5-5 marker][6-6 0:d=1]")
	x.put(-1, false, "c=2", "b=3")
	x.clean(5110, 9, "[5-5 marker][6-6 0:d=1][7-8 0:c=2 1:b=3]")
	x.clean(5111, 9, "[5-5 until 5211 marker][6-6 0:d=1][7-8 0:c=2 1:b=3]")
	x.clean(5211, 9, "[6-6 0:d=1][7-8 0:c=2 1:b=3]")
}

// Aborted data must never count as the last record of its key.
func TestRule084_AbortedRecordsReplaceNothing(t *testing.T) {
	x := newCleanings(t)
	x.put(-1, false, "a=1")
	x.put(7, true, "a=2")
	x.put(8, true, "a=3")
	x.mark(7, true)
	x.mark(8, true)
	x.clean(5000, 5, "[0-0 0:a=1][3-3 marker][4-4 marker] aborted 1-3 aborted 2-4")
}

func TestRule085_EmptyBatchesThatStay(t *testing.T) {
	x := newCleanings(t)
	x.producers = map[int64]LastBatch{7: {Last: 1, Epoch: 1}, 8: {Last: -1, Epoch: 1}}
	x.put(7, false, "a=1")
	x.put(7, false, "a=2") // the producer's last: its sequence number is needed
	x.put(9, false, "a=3")
	x.put(8, true, "b=1")
	x.mark(8, true) // all that is known of this producer is its epoch
	x.put(-1, false, "a=4")
	x.put(-1, false, "a=5")
	x.put(-1, false, "a=6")
	x.clean(5000, 8, "[1-1][4-4 marker][7-7 0:a=6] aborted 3-4")
	x.clean(5010, 8, "[1-1][4-4 until 5110 marker][7-7 0:a=6]")
	x.clean(5110, 8, "[1-1][4-4][7-7 0:a=6]")
	x.producers = nil
	x.put(-1, false, "c=1")
	x.put(-1, false, "a=7")
	x.committed = 8
	x.clean(5120, 10, "[7-7][8-8 0:c=1][9-9 0:a=7]") // ends at the high watermark
	x.committed = 10
	x.clean(5130, 10, "[8-8 0:c=1][9-9 0:a=7]")
}

// TestDamagedRecordsAreReported: what cannot be read is neither kept nor dropped.
func TestDamagedRecordsAreReported(t *testing.T) {
	x := newCleanings(t)
	x.put(-1, false, "key=value")
	b := x.log[0]
	b[batch.HeaderBytes] = 0x7e // the record's size
	var o Offsets
	o.Reset(Seed{}, 10, 1<<20, 0.9, 0)
	if _, err := Index(&o, NewTransactions(nil), b, 0, nil); err == nil {
		t.Error("Index")
	}
	if _, err := NewFilter(Round{Transaction: NewTransactions(nil)}, &o).Look(b, nil); err == nil {
		t.Error("Look")
	}
}
