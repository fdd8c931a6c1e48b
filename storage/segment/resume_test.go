package segment

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/vfs"
)

// TestResume compares a segment that was read from a flushed offset on with one that was read whole, whatever stands in the
// indexes behind what was flushed.
func TestResume(t *testing.T) {
	for seed := range uint64(150) {
		rng := rand.New(rand.NewPCG(seed, 11))
		m := vfs.NewMem()
		d := NewDescriptors(m, 10)
		s, err := Create(d, "/", 100)
		if err != nil {
			t.Fatal(err)
		}
		interval, next, flushed := int64(rng.IntN(400)), protocol.Offset(100), protocol.Offset(100)
		n := 1 + rng.IntN(60)
		for i := range n {
			b := made(next, 1000+rng.Int64N(3000), 1+rng.IntN(3), rng.IntN(60))
			write(t, s, interval, b)
			next = b.LastOffset() + 1
			if rng.IntN(n) == 0 && i < n-1 {
				flushed = next
				if err := s.Spill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		size := s.Size()
		if rng.IntN(2) == 0 {
			if err := s.Finish(); err != nil {
				t.Fatal(err)
			}
		}
		if flushed == 100 {
			continue
		}
		for _, suffix := range []string{IndexSuffix, TimeSuffix} {
			litter(t, rng, m, "/"+FileName(100, suffix))
		}
		sizes := Sizes{Log: size, Index: sizeOf(t, m, IndexSuffix), Time: sizeOf(t, m, TimeSuffix), Txn: -1}
		r, ok, err := Resume(d, "/", 100, flushed, Known{Sizes: sizes, Next: -1})
		if err != nil || !ok || r.Next() != flushed {
			t.Fatalf("seed %d: %v, %v", seed, ok, err)
		}
		read := protocol.Offset(0)
		found, err := r.Continue(size, interval, Recovery{
			Each: func(_ *Segment, b batch.Batch) error { read += protocol.Offset(b.LastOffsetDelta()) + 1; return nil },
		})
		if err != nil || found.Next != next || read != next-flushed {
			t.Fatalf("seed %d: %+v, %d records read of %d, %v", seed, found, read, next-flushed, err)
		}
		if err := r.Finish(); err != nil {
			t.Fatal(err)
		}
		if err := Verify(r); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// litter is what a crash may leave of an index behind its last synced entry: zeros, or bytes of anything that stood there.
func litter(t *testing.T, rng *rand.Rand, m *vfs.Mem, name string) {
	t.Helper()
	f, err := m.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, rng.IntN(50))
	if rng.IntN(2) == 0 {
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		if len(b) > 0 {
			b[0] |= 0x80 // no offset or time that rises: what looks like an entry behind the flush is not told from one
		}
	}
	if _, err := f.WriteAt(b, size); err != nil {
		t.Fatal(err)
	}
}

func sizeOf(t *testing.T, m *vfs.Mem, suffix string) int64 {
	t.Helper()
	e, err := m.Stat("/" + FileName(100, suffix))
	if err != nil {
		return -1
	}
	return e.Size
}

// FuzzResume resumes folders with any bytes in the log and its indexes: it says that it cannot, or what it took can be read.
func FuzzResume(f *testing.F) {
	one, two := made(0, 5, 2, 10), made(2, 6, 1, 300)
	log := append(bytes.Clone(one), two...)
	index := []byte{0, 0, 0, 2, 0, 0, 0, byte(len(one))}
	times := []byte{0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 2}
	f.Add(log, index, times, []byte{}, int64(3))
	f.Add(log, index, times, make([]byte, 68), int64(2))
	f.Add(log[:100], index, times, []byte{1, 2, 3}, int64(2))
	f.Add(log, make([]byte, 64), make([]byte, 36), make([]byte, 34), int64(1))
	f.Fuzz(func(t *testing.T, log, index, times, txns []byte, from int64) {
		m := vfs.NewMem()
		for suffix, b := range map[string][]byte{LogSuffix: log, IndexSuffix: index, TimeSuffix: times, TxnSuffix: txns} {
			if err := vfs.WriteFile(m, "/"+FileName(0, suffix), b); err != nil {
				t.Fatal(err)
			}
		}
		sizes := Sizes{Log: int64(len(log)), Index: int64(len(index)), Time: int64(len(times)), Txn: int64(len(txns))}
		s, ok, err := Resume(NewDescriptors(m, 4), "/", 0, protocol.Offset(from), Known{Sizes: sizes, Next: -1})
		if err != nil || !ok {
			return
		}
		if s.Next() != protocol.Offset(from) || s.Size() > int64(len(log)) {
			t.Fatalf("it ends at %d, byte %d of %d", s.Next(), s.Size(), len(log))
		}
		found, err := s.Continue(int64(len(log)), 100, Recovery{
			Each: func(*Segment, batch.Batch) error { return nil },
			Cut:  func(Found) error { return nil },
		})
		if err != nil || found.Kept+found.Cut != int64(len(log)) {
			t.Fatalf("%+v, %v", found, err)
		}
		for o := protocol.Offset(from); o < s.Next(); {
			p, ok, err := s.Find(o)
			if err != nil || !ok {
				return // what was not read again may be damaged, and says so
			}
			b, err := s.ReadBatch(p, nil)
			if err != nil {
				return
			}
			o = b.LastOffset() + 1
		}
	})
}
