package producers

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
)

var now = time.UnixMilli(1_700_000_000_000)

// script drives a state as a log would: what Check lets through is stamped and applied.
type script struct {
	t   *testing.T
	s   *State
	end protocol.Offset
}

func newScript(t *testing.T) *script { return &script{t: t, s: New()} }

// data is a batch of n records.
func data(id int64, epoch int16, seq int32, n int, txn bool) batch.Batch {
	b := batch.NewBuilder(batch.BuilderOptions{
		Producer:      &batch.Producer{ID: id, Epoch: epoch, Sequence: seq},
		Transactional: txn,
	})
	for range n {
		b.Add(5000+int64(seq), nil, []byte("v"))
	}
	return b.Build()
}

// endTxn is a marker.
func endTxn(id int64, epoch int16, commit bool, coordinator int32) batch.Batch {
	b := batch.NewBuilder(batch.BuilderOptions{
		Producer:      &batch.Producer{ID: id, Epoch: epoch, Sequence: -1},
		Transactional: true,
		Control:       true,
	})
	key, value := make([]byte, 4), make([]byte, 6)
	if commit {
		key[3] = 1
	}
	binary.BigEndian.PutUint32(value[2:], uint32(coordinator))
	b.Add(7000, key, value)
	return b.Build()
}

func (x *script) try(b batch.Batch) (Verdict, error) {
	x.t.Helper()
	v, err := x.s.Check(b, nil)
	if err == nil && !v.Duplicate {
		b.Stamp(x.end, 0)
		x.end = b.LastOffset() + 1
		x.s.Apply(b, now)
	}
	return v, err
}

// ok wants b to be new.
func (x *script) ok(b batch.Batch) {
	x.t.Helper()
	if v, err := x.try(b); err != nil || v.Duplicate {
		x.t.Fatalf("batch %d/%d/%d: %+v, %v", b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), v, err)
	}
}

// code wants b to be refused.
func (x *script) code(b batch.Batch, want protocol.Code) {
	x.t.Helper()
	if v, err := x.try(b); protocol.CodeOf(err) != want {
		x.t.Fatalf("batch %d/%d/%d: %+v, %v; want %v", b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), v, err, want)
	}
}

// dup wants b to be known, with this base offset.
func (x *script) dup(b batch.Batch, base protocol.Offset) {
	x.t.Helper()
	v, err := x.try(b)
	if err != nil || !v.Duplicate || v.Base != base || v.Last != base+protocol.Offset(b.LastOffsetDelta()) {
		x.t.Fatalf("batch %d/%d/%d: %+v, %v; want the duplicate of %d", b.ProducerID(), b.ProducerEpoch(),
			b.BaseSequence(), v, err, base)
	}
}

func TestRule040_AnyFirstSequenceOfAnUnknownProducer(t *testing.T) {
	x := newScript(t)
	x.ok(data(7, 3, 1234, 2, false))
	x.ok(data(7, 3, 1236, 1, false))
}

func TestRule041_SequencesFollowAndWrap(t *testing.T) {
	x := newScript(t)
	x.ok(data(7, 0, 0, 3, false))
	x.code(data(7, 0, 4, 1, false), protocol.OutOfOrderSequenceNumber)
	x.ok(data(7, 0, 3, 1, false))
	x.ok(data(8, 0, math.MaxInt32-1, 2, false)) // ends at the largest
	x.code(data(8, 0, 1, 1, false), protocol.OutOfOrderSequenceNumber)
	x.ok(data(8, 0, 0, 1, false))
	x.ok(data(9, 0, math.MaxInt32, 3, false)) // wraps inside: its last is 1
	x.dup(data(9, 0, math.MaxInt32, 3, false), x.end-3)
	x.ok(data(9, 0, 2, 1, false))
}

func TestRule042_TheLastFiveBatchesAreKnown(t *testing.T) {
	x := newScript(t)
	for i := range int32(7) {
		x.ok(data(7, 0, 2*i, 2, false))
	}
	for i := int32(2); i < 7; i++ {
		x.dup(data(7, 0, 2*i, 2, false), protocol.Offset(2*i))
	}
	v, err := x.try(data(7, 0, 12, 2, false))
	if err != nil || v.Timestamp != 5012 {
		t.Fatalf("%+v, %v: want the timestamp of the batch in the log", v, err)
	}
}

func TestRule043_OlderAndOverlappingDuplicatesAreOutOfOrder(t *testing.T) {
	x := newScript(t)
	for i := range int32(7) {
		x.ok(data(7, 0, 2*i, 2, false))
	}
	x.code(data(7, 0, 2, 2, false), protocol.OutOfOrderSequenceNumber)
	x.code(data(7, 0, 12, 1, false), protocol.OutOfOrderSequenceNumber)
	x.code(data(7, 0, 12, 3, false), protocol.OutOfOrderSequenceNumber)
	x.code(data(7, 0, 13, 1, false), protocol.OutOfOrderSequenceNumber)
}

func TestRule044_EpochsRiseAndBeginAtZero(t *testing.T) {
	x := newScript(t)
	x.ok(data(7, 1, 0, 2, false))
	x.code(data(7, 0, 2, 1, false), protocol.InvalidProducerEpoch)
	x.code(data(7, 2, 2, 1, false), protocol.OutOfOrderSequenceNumber)
	x.ok(data(7, 2, 0, 1, false))
	x.code(data(7, 1, 0, 2, false), protocol.InvalidProducerEpoch) // the window of epoch 1 is gone
	x.code(data(7, -1, 1, 1, false), protocol.InvalidProducerEpoch)
	x.code(data(9, -1, 0, 1, false), protocol.InvalidProducerEpoch)
	x.code(data(7, 2, -1, 1, false), protocol.InvalidRecord)
}

func TestRule045_MadeUpProducersAreTaken(t *testing.T) {
	newScript(t).ok(data(math.MaxInt64, math.MaxInt16, 17, 1, false))
}

func TestRule046_ProducersExpireAndSurvive(t *testing.T) {
	x := newScript(t)
	x.ok(data(7, 0, 0, 1, false))
	x.ok(data(8, 0, 0, 1, true)) // an open transaction
	if n := x.s.Expire(now.Add(time.Hour-1), time.Hour); n != 0 {
		t.Fatalf("%d producers expired too early", n)
	}
	s, err := Load(x.s.Snapshot(), x.end)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*State{s, x.s} {
		if n := s.Expire(now.Add(time.Hour), time.Hour); n != 1 || s.Len() != 1 || s.byID[8] == nil {
			t.Fatalf("%d producers expired, %d left", n, s.Len())
		}
	}
	x.ok(data(7, 0, 9, 1, false)) // unknown again, so anything goes
	x.ok(endTxn(8, 4, true, 0))
	x.code(data(8, 3, 1, 1, false), protocol.InvalidProducerEpoch) // the marker's epoch is kept
	x.code(data(8, 4, 1, 1, false), protocol.OutOfOrderSequenceNumber)
	x.ok(data(8, 4, 0, 1, false))
}

func TestRule054_BatchesOutsideOfTheOpenTransaction(t *testing.T) {
	x := newScript(t)
	x.ok(data(7, 0, 0, 1, true))
	x.code(data(7, 0, 1, 1, false), protocol.InvalidTxnState)
	x.ok(data(7, 0, 1, 1, true))
}

func TestRule064_OpenTransactionsHoldTheLastStableOffset(t *testing.T) {
	x := newScript(t)
	first := func(want protocol.Offset) {
		t.Helper()
		if o, ok := x.s.FirstOpen(); ok != (want >= 0) || ok && o != want {
			t.Fatalf("first open transaction at %d, %v; want %d", o, ok, want)
		}
	}
	first(-1)
	x.ok(data(1, 0, 0, 3, false))
	x.ok(data(2, 0, 0, 2, true)) // 3
	x.ok(data(3, 0, 0, 1, true)) // 5
	x.ok(data(2, 0, 2, 1, true)) // 6
	first(3)
	end := func(b batch.Batch) (Ended, bool) {
		b.Stamp(x.end, 0)
		x.end++
		return x.s.Apply(b, now)
	}
	e, ok := end(endTxn(2, 0, false, 1)) // 7
	if want := (Ended{ProducerID: 2, First: 3, Last: 7, Aborted: true, LastStable: 5}); !ok || e != want {
		t.Fatalf("%+v, %v; want %+v", e, ok, want)
	}
	first(5)
	e, ok = end(endTxn(3, 0, true, 1)) // 8
	if want := (Ended{ProducerID: 3, First: 5, Last: 8, LastStable: 9}); !ok || e != want {
		t.Fatalf("%+v, %v; want %+v", e, ok, want)
	}
	first(-1)
	if e, ok = end(endTxn(3, 0, true, 1)); ok { // nothing was open: no transaction ends
		t.Fatalf("%+v", e)
	}
	if err := x.s.checkMarker(endTxn(3, 0, true, 0)); protocol.CodeOf(err) != protocol.TransactionCoordinatorFenced {
		t.Fatalf("a marker of an older coordinator: %v", err)
	}
}

func TestBatchesOfOneAppendFollowEachOther(t *testing.T) {
	s := New()
	a, b, gap := data(7, 0, 0, 2, false), data(7, 0, 2, 1, false), data(7, 0, 4, 1, false)
	if _, err := s.Check(b, a); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Check(gap, a); protocol.CodeOf(err) != protocol.OutOfOrderSequenceNumber {
		t.Fatal(err)
	}
}

// TestSnapshotIsTheState takes random states through a snapshot: they must answer the same afterwards.
func TestSnapshotIsTheState(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 3))
		x := newScript(t)
		for range rng.IntN(60) {
			b := data(int64(rng.IntN(4)), int16(rng.IntN(2)), int32(rng.IntN(6)), 1+rng.IntN(3), rng.IntN(3) == 0)
			if rng.IntN(8) == 0 {
				b = endTxn(int64(rng.IntN(4)), int16(rng.IntN(2)), rng.IntN(2) == 0, int32(rng.IntN(2)))
			}
			_, _ = x.try(b)
		}
		snap := x.s.Snapshot()
		s, err := Load(snap, x.end)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(s.Snapshot(), snap) || s.End() != x.s.End() && x.end > 0 {
			t.Fatalf("seed %d: another state came back", seed)
		}
		for range 100 {
			b := data(int64(rng.IntN(4)), int16(rng.IntN(2)), int32(rng.IntN(12)), 1+rng.IntN(3), rng.IntN(3) == 0)
			v1, err1 := x.s.Check(b, nil)
			v2, err2 := s.Check(b, nil)
			if v1 != v2 || protocol.CodeOf(err1) != protocol.CodeOf(err2) {
				t.Fatalf("seed %d: %+v, %v; after the snapshot %+v, %v", seed, v1, err1, v2, err2)
			}
		}
		f1, ok1 := x.s.FirstOpen()
		f2, ok2 := s.FirstOpen()
		if f1 != f2 || ok1 != ok2 {
			t.Fatalf("seed %d: first open %d, %d", seed, f1, f2)
		}
	}
}

// TestKafkasSnapshotIsRead cuts our windows off, as Kafka's file has none.
func TestKafkasSnapshotIsRead(t *testing.T) {
	x := newScript(t)
	for i := range int32(7) {
		x.ok(data(7, 0, i, 1, false))
	}
	snap := x.s.Snapshot()[:snapshotHead+producerBytes]
	binary.BigEndian.PutUint32(snap[2:], checksum(snap))
	s, err := Load(snap, x.end)
	if err != nil {
		t.Fatal(err)
	}
	x.s = s
	x.dup(data(7, 0, 6, 1, false), 6)
	x.code(data(7, 0, 5, 1, false), protocol.OutOfOrderSequenceNumber)
	x.ok(data(7, 0, 7, 1, false))
}

func FuzzLoad(f *testing.F) {
	s := New()
	f.Add(s.Snapshot())
	for i := range int32(3) {
		b := data(int64(i), 1, i, 2, i == 1)
		b.Stamp(protocol.Offset(2*i), 0)
		s.Apply(b, now)
	}
	f.Add(s.Snapshot())
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= snapshotHead { // past the checksum
			binary.BigEndian.PutUint32(b[2:], checksum(b))
		}
		s, err := Load(b, 10)
		if err != nil {
			return
		}
		if again, err := Load(s.Snapshot(), 10); err != nil || again.Len() != s.Len() {
			t.Fatalf("a state that was read cannot be written and read again: %v", err)
		}
	})
}
