package segment

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path"
	"sync"
	"testing"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/vfs"
)

// made is a batch of n records whose values have size bytes.
func made(base protocol.Offset, ts int64, n, size int) batch.Batch {
	b := batch.NewBuilder(batch.BuilderOptions{Base: base})
	for range n {
		b.Add(ts, nil, make([]byte, size))
	}
	return b.Build()
}

func write(t testing.TB, s *Segment, interval int64, bs ...batch.Batch) {
	t.Helper()
	if err := s.Write(bytes.Join(asBytes(bs), nil), bs, interval); err != nil {
		t.Fatal(err)
	}
}

func asBytes(bs []batch.Batch) (out [][]byte) {
	for _, b := range bs {
		out = append(out, b)
	}
	return out
}

func newTestSegment(t testing.TB, base protocol.Offset) (*Segment, *Descriptors) {
	t.Helper()
	m := vfs.NewMem()
	if err := m.MkdirAll("/p"); err != nil {
		t.Fatal(err)
	}
	d := NewDescriptors(m, 10)
	s, err := Create(d, "/p", base)
	if err != nil {
		t.Fatal(err)
	}
	return s, d
}

// TestFind compares Find and FindTime, through tip, index in memory and index on disk, with a walk over everything.
func TestFind(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 5))
		base := protocol.Offset(rng.IntN(3) * 1000)
		s, _ := newTestSegment(t, base)
		interval := int64(rng.IntN(400))
		var all []batch.Batch
		var places []Place
		next, pos := base, int64(0)
		for range 1 + rng.IntN(1500) {
			b := made(next, 1000+rng.Int64N(3000), 1+rng.IntN(3), rng.IntN(40))
			write(t, s, interval, b)
			all, places = append(all, b), append(places, Place{pos, int64(len(b))})
			next, pos = b.LastOffset()+1, pos+int64(len(b))
			if rng.IntN(400) == 0 {
				if err := s.Spill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		for range 200 {
			o, ts := base-2+protocol.Offset(rng.Int64N(int64(next-base)+4)), 900+rng.Int64N(3200)
			wantO, wantT := -1, -1
			for i, b := range all {
				if wantO < 0 && b.LastOffset() >= o {
					wantO = i
				}
				if wantT < 0 && b.LastOffset() >= o && b.MaxTimestamp() >= ts {
					wantT = i
				}
			}
			p, ok, err := s.Find(o)
			if err != nil || ok != (wantO >= 0) || ok && p != places[wantO] {
				t.Fatalf("seed %d: offset %d: %+v %v %v, want batch %d", seed, o, p, ok, err, wantO)
			}
			p, ok, err = s.FindTime(ts, o)
			if err != nil || ok != (wantT >= 0) || ok && p != places[wantT] {
				t.Fatalf("seed %d: timestamp %d from %d: %+v %v %v, want batch %d", seed, ts, o, p, ok, err, wantT)
			}
		}
		if err := s.Finish(); err != nil {
			t.Fatal(err)
		}
		if err := Verify(s); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSegmentIsFullWhenItsIndexesAre(t *testing.T) {
	s, _ := newTestSegment(t, 5)
	if !s.Fits(5+LargestRelative, 100) || s.Fits(6+LargestRelative, 100) {
		t.Fatal("the distance from the base is not minded")
	}
	for i := range 4 {
		write(t, s, 0, made(protocol.Offset(5+i), int64(i), 1, 10))
	}
	// Three entries each, since the first batch gets none; the time index keeps room for one more.
	if s.Fits(10, 24) || !s.Fits(10, 60) || s.Fits(10, 59) {
		t.Fatalf("%d and %d entries", s.offsets.entries(), s.times.entries())
	}
}

// tipRounds is long enough for readers to be interrupted between their looks at the ring.
const tipRounds = 8_000_000

// TestTip lets readers look for offsets while a writer goes round the ring: what they find must be right.
func TestTip(t *testing.T) {
	tp := newTip(0, 0)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				n := tp.count.Load()
				for back := range uint64(70) {
					if back >= n {
						break
					}
					o := int64(n-back-1) * 3
					if from, to, ok := tp.find(o); ok && (from != o/3*100 || to != from+100) {
						t.Errorf("offset %d: %d..%d", o, from, to)
						return
					}
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for i := range int64(tipRounds) {
		tp.add(3*i+3, 100*i+100)
	}
	close(stop)
	wg.Wait()
	if _, _, ok := tp.find(3 * tipRounds); ok {
		t.Error("found what is not there yet")
	}
	if _, _, ok := tp.find(3 * (tipRounds - tipBatches - 1)); ok {
		t.Error("found what the ring has forgotten")
	}
	if from, _, ok := tp.find(3 * (tipRounds - 60)); !ok || from != 100*(tipRounds-60) {
		t.Error("did not find what the ring holds", from, ok)
	}
}

// TestDescriptorsAreFew reads from many more files than may be open, from many goroutines.
func TestDescriptorsAreFew(t *testing.T) {
	d := NewDescriptors(vfs.OS(), 8)
	dir := t.TempDir()
	var segs []*Segment
	for i := range 64 {
		s, err := Create(d, dir, protocol.Offset(1000*i))
		if err != nil {
			t.Fatal(err)
		}
		write(t, s, 4096, made(s.Base(), int64(i), 1, 100+i))
		segs = append(segs, s)
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 9))
			for range 2000 {
				i := rng.IntN(len(segs))
				s := segs[i]
				sl, err := s.Slice(0, s.Size(), s.Base())
				if err != nil {
					t.Error(err)
					return
				}
				raw, err := sl.Bytes(nil)
				sl.Release()
				if b, _, err2 := batch.Next(raw); err != nil || err2 != nil || b.BaseOffset() != s.Base() || !b.CheckCRC() {
					t.Errorf("segment %d: %v, %v", i, err, err2)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := d.Open(); n > 8 {
		t.Fatalf("%d files are open", n)
	}
	for _, s := range segs {
		s.Drop()
	}
	if n := d.Open(); n != 0 {
		t.Fatalf("%d files are open after all were dropped", n)
	}
}

func TestSliceOutlivesItsSegment(t *testing.T) {
	d := NewDescriptors(vfs.OS(), 8)
	dir := t.TempDir()
	s, err := Create(d, dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := made(0, 1, 3, 100)
	write(t, s, 4096, b)
	sl, err := s.Slice(0, s.Size(), 0)
	if err != nil {
		t.Fatal(err)
	}
	s.Drop()
	if err := os.Remove(path.Join(dir, FileName(0, LogSuffix))); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if n, err := sl.WriteTo(&out); n != int64(len(b)) || err != nil || !bytes.Equal(out.Bytes(), b) {
		t.Fatalf("%d bytes, %v", n, err)
	}
	sl.Release()
	if _, err := s.Slice(0, 1, 0); !errors.Is(err, ErrRemoved) {
		t.Fatalf("a slice of a removed segment: %v", err)
	}
}

// TestSliceGoesOutWhole sends slices below and above the size from which sendfile is used, from the middle of the file.
func TestSliceGoesOutWhole(t *testing.T) {
	d := NewDescriptors(vfs.OS(), 8)
	s, err := Create(d, t.TempDir(), 0)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	content := make([]byte, 5<<20)
	for i := range content {
		content[i] = byte(rng.Uint32())
	}
	f, err := s.log.acquire()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(content, 0); err != nil {
		t.Fatal(err)
	}
	s.log.release()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, n := range []int64{1, 1000, copyBytes, sendfileMin - 1, sendfileMin, 4 << 20} {
		for _, plain := range []bool{true, false} {
			got := make(chan []byte, 1)
			go func() {
				c, err := ln.Accept()
				if err != nil {
					got <- nil
					return
				}
				b, _ := io.ReadAll(c)
				c.Close()
				got <- b
			}()
			c, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			sl, err := s.Slice(777, n, 0)
			if err != nil {
				t.Fatal(err)
			}
			var w io.Writer = c
			if plain {
				w = struct{ io.Writer }{c}
			}
			sent, err := sl.WriteTo(w)
			sl.Release()
			c.Close()
			if b := <-got; sent != n || err != nil || !bytes.Equal(b, content[777:777+n]) {
				t.Fatalf("%d bytes: %d sent, %d received, %v", n, sent, len(b), err)
			}
		}
	}
	sl, err := s.Slice(int64(len(content))-10, sendfileMin, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer sl.Release()
	if _, err := sl.WriteTo(io.Discard); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("a slice beyond the file's end: %v", err)
	}
}

func TestParseName(t *testing.T) {
	f := func(name string, base protocol.Offset, suffix string, ok bool) {
		t.Helper()
		if b, s, o := ParseName(name); b != base || s != suffix || o != ok {
			t.Errorf("%s: %d %q %v", name, b, s, o)
		}
	}
	f("00000000000000000042.log", 42, ".log", true)
	f("00000000000000000042.log.deleted", 42, ".log.deleted", true)
	f("09223372036854775807.index", 1<<63-1, ".index", true)
	f("09223372036854775808.index", 0, "", false)
	f("-1.log", 0, "", false)
	f("leader-epoch-checkpoint", 0, "", false)
	f(".log", 0, "", false)
	if got := FileName(42, LogSuffix); got != "00000000000000000042.log" {
		t.Error(got)
	}
}

// FuzzOpen opens folders with any bytes in the log and its indexes: whatever comes out must be readable to its end or
// say why not, and recovery must keep only what checks out.
func FuzzOpen(f *testing.F) {
	one, two := made(0, 5, 2, 10), made(2, 6, 1, 300)
	log := append(bytes.Clone(one), two...)
	index := []byte{0, 0, 0, 2, 0, 0, 0, byte(len(one))}
	times := []byte{0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 2}
	f.Add(log, index, times, []byte{})
	f.Add(log[:100], index, times, []byte{1, 2, 3})
	f.Add([]byte{}, []byte{}, []byte{}, []byte{})
	f.Add(log, make([]byte, 64), make([]byte, 36), make([]byte, 34))
	f.Fuzz(func(t *testing.T, log, index, times, txns []byte) {
		for _, recover := range []bool{false, true} {
			m := vfs.NewMem()
			for suffix, b := range map[string][]byte{LogSuffix: log, IndexSuffix: index, TimeSuffix: times, TxnSuffix: txns} {
				if err := vfs.WriteFile(m, "/"+FileName(0, suffix), b); err != nil {
					t.Fatal(err)
				}
			}
			d := NewDescriptors(m, 4)
			if recover {
				recoverFuzzed(t, d, int64(len(log)))
				continue
			}
			sizes := Sizes{Log: int64(len(log)), Index: int64(len(index)), Time: int64(len(times)), Txn: int64(len(txns))}
			s, err := Open(d, "/", 0, Known{Sizes: sizes, Next: -1, Interval: 100})
			if err != nil {
				continue
			}
			for _, o := range []protocol.Offset{0, 1, 2, s.Next() - 1} {
				if p, ok, err := s.Find(o); err == nil && ok {
					_, _ = s.ReadBatch(p, nil)
				}
			}
			_, _, _ = s.FindTime(6, 0)
			_, _ = s.Aborted(nil)
		}
	})
}

func recoverFuzzed(t *testing.T, d *Descriptors, size int64) {
	n := 0
	how := Recovery{
		Each: func(_ *Segment, b batch.Batch) error { n++; return nil },
		Cut:  func(Found) error { return nil },
	}
	s, found, err := Recover(d, "/", 0, size, 100, how)
	if err != nil {
		t.Fatal(err)
	}
	if found.Batches != n || found.Kept+found.Cut != size || s.Size() != found.Kept {
		t.Fatalf("%+v of %d bytes, %d batches", found, size, n)
	}
	if err := Verify(s); err != nil {
		t.Fatal(err)
	}
	for o := protocol.Offset(0); o < s.Next(); {
		p, ok, err := s.Find(o)
		if err != nil || !ok {
			t.Fatalf("offset %d below %d: %v, %v", o, s.Next(), ok, err)
		}
		b, err := s.ReadBatch(p, nil)
		if err != nil || !b.CheckCRC() {
			t.Fatalf("offset %d: %v", o, err)
		}
		o = b.LastOffset() + 1
	}
}
