package storage

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/storagetest"
	"moldau.io/moldau/storage/vfs"
)

// logMachine drives one log and a model of it without crashes, and asks both the same questions with every limit that a
// reader can name. A failing history is shrunk.
type logMachine struct {
	l   *Log
	m   *storagetest.Model
	src storagetest.Source
	now time.Time
}

func (x *logMachine) append(t *rapid.T) {
	n := rapid.IntRange(1, 4).Draw(t, "batches")
	var bs []batch.Batch
	if n == 1 {
		bs = append(bs, x.src.Next(x.m, x.now.UnixMilli()))
	} else {
		for range n {
			bs = append(bs, x.src.Plain(x.m, x.now.UnixMilli()))
		}
	}
	if rapid.Bool().Draw(t, "mirror") { // as a follower
		a, err := x.l.Mirror(x.now, bytes.Join(raw(bs), nil))
		if err != nil || a.Last+1 != x.m.End {
			t.Fatalf("mirror: %+v, %v; the model ends at %d", a, err, x.m.End)
		}
		return
	}
	for _, b := range bs {
		b.Stamp(0, 0)
	}
	a, err := x.l.Append(x.now, x.m.Epoch, bs...)
	if err != nil || a.Last+1 != x.m.End {
		t.Fatalf("append: %+v, %v; the model ends at %d", a, err, x.m.End)
	}
}

func raw(bs []batch.Batch) (out [][]byte) {
	for _, b := range bs {
		out = append(out, b)
	}
	return out
}

func (x *logMachine) advance(t *rapid.T) {
	to := rapid.Int64Range(int64(x.m.Start), int64(x.m.End)).Draw(t, "start")
	x.m.Start = protocol.Offset(to)
	if err := x.l.Advance(x.m.Start); err != nil {
		t.Fatal(err)
	}
}

func (x *logMachine) truncate(t *rapid.T) {
	to := protocol.Offset(rapid.Int64Range(int64(x.m.Start), int64(x.m.End)).Draw(t, "to"))
	end := x.m.EndAt(to)
	if err := x.l.Truncate(to); err != nil {
		t.Fatal(err)
	}
	if end >= x.m.Start {
		x.m.Cut(end)
	} else {
		epoch := x.m.Epoch
		x.m = storagetest.NewModel(x.m.ID, x.m.Start)
		x.m.Epoch = epoch
	}
	x.m.Epoch++
	// What lies before the first segment is known by its snapshot only where there is one.
	if base := (*x.l.segments.Load())[0].Base(); base > 0 && !x.knows() {
		x.m.Floor = base
	}
}

func (x *logMachine) knows() bool {
	return bytes.Equal(untimed(x.l.w.producers), untimed(x.m.Replay(x.m.Floor, x.m.End, x.now)))
}

// read asks for any range, and compares it byte by byte.
func (x *logMachine) read(t *rapid.T) {
	m, start, end := x.m, int64(x.m.Start), int64(x.m.End)
	from := protocol.Offset(rapid.Int64Range(start-2, end+2).Draw(t, "from"))
	limit := protocol.Offset(rapid.Int64Range(start-2, end+2).Draw(t, "limit"))
	most, minOne := rapid.IntRange(0, 3000).Draw(t, "max"), rapid.Bool().Draw(t, "min one")
	s, err := x.l.Read(from, limit, most, minOne)
	defer s.Release()
	if from < m.Start || from > m.End {
		if protocol.CodeOf(err) != protocol.OffsetOutOfRange {
			t.Fatalf("read at %d of %d..%d: %v", from, start, end, err)
		}
		return
	}
	raw, berr := s.Bytes(nil)
	if err != nil || berr != nil {
		t.Fatal(err, berr)
	}
	var all []byte // what may come: whole batches below the limit
	first := 0
	if from < limit {
		for _, b := range m.From(from) {
			if b.Next() > limit {
				break
			}
			if first == 0 {
				first = len(b.Raw)
			}
			all = append(all, b.Raw...)
		}
	}
	if !bytes.HasPrefix(all, raw) {
		t.Fatalf("read %d below %d, at most %d: %d bytes that are not the log's", from, limit, most, len(raw))
	}
	whole := min(most, first)
	if minOne {
		whole = first
	}
	if len(raw) > max(most, whole) || len(raw) < whole {
		t.Fatalf("read %d below %d, at most %d, whole %v: %d bytes, want %d at least", from, limit, most, minOne, len(raw), whole)
	}
}

func (x *logMachine) lookup(t *rapid.T) {
	m := x.m
	ts := rapid.Int64Range(x.now.UnixMilli()-3000, x.now.UnixMilli()+1000).Draw(t, "timestamp")
	limit := protocol.Offset(rapid.Int64Range(int64(m.Start), int64(m.End)).Draw(t, "limit"))
	got, ok, err := x.l.OffsetAt(ts, limit)
	want, wantOK := m.FirstAt(ts, m.Start, limit)
	if err != nil || ok != wantOK || ok && (got.Offset != want.Offset || got.Timestamp != want.Timestamp) {
		t.Fatalf("time %d below %d: %+v %v %v, want %d %v", ts, limit, got, ok, err, want.Offset, wantOK)
	}
	from := protocol.Offset(rapid.Int64Range(int64(m.Start), int64(m.End)).Draw(t, "from"))
	to := protocol.Offset(rapid.Int64Range(int64(from), int64(m.End)).Draw(t, "to"))
	aborted, err := x.l.Aborted(from, to)
	if all := storagetest.Overlapping(m.Aborted(0, m.End), from, to); err != nil || m.Floor == 0 &&
		fmt.Sprint(aborted) != fmt.Sprint(all) {
		t.Fatalf("aborted in %d..%d: %v %v, want %v", from, to, aborted, err, all)
	}
	asked := protocol.Epoch(rapid.Int32Range(-1, int32(m.Epoch)+1).Draw(t, "epoch"))
	e, end := x.l.EpochEnd(asked)
	we, wend := m.Epochs(m.Start, m.End).EndOf(asked, m.End)
	if m.Start < m.End && (e != we || end != wend) {
		t.Fatalf("epoch %d ends %d %d, want %d %d", asked, e, end, we, wend)
	}
}

// check is asked after every step.
func (x *logMachine) check(t *rapid.T) {
	b := x.l.Bounds()
	stable := x.m.End
	if first, open := x.m.Replay(x.m.Floor, x.m.End, x.now).FirstOpen(); open {
		stable = max(first, x.m.Start)
	}
	if b.Start != x.m.Start || b.End != x.m.End || b.LastStable != stable {
		t.Fatalf("bounds %+v, want %d..%d, stable %d", b, x.m.Start, x.m.End, stable)
	}
	if !x.knows() {
		t.Fatalf("producers %+v, want %+v", x.l.Producers(), x.m.Replay(x.m.Floor, x.m.End, x.now).Active())
	}
}

// TestLogIsItsModel: reads with every bound, timestamps, epochs, aborted transactions, producers and bounds are those of a
// plain list of batches.
func TestLogIsItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := DefaultConfig()
		cfg.SegmentBytes = rapid.Int64Range(800, 5000).Draw(t, "segment.bytes")
		cfg.IndexInterval = rapid.Int64Range(0, 600).Draw(t, "index.interval.bytes")
		if rapid.Bool().Draw(t, "small index") {
			cfg.IndexBytes = 60
		}
		s, err := openIdle(vfs.NewMem(), []string{"/data"}, testOptions(cfg))
		if err != nil {
			t.Fatal(err)
		}
		l, err := s.Create(tp0, protocol.TopicID{1}, cfg)
		if err != nil {
			t.Fatal(err)
		}
		x := &logMachine{l: l, m: storagetest.NewModel(l.TopicID(), 0), now: time.UnixMilli(1_700_000_000_000)}
		x.src = storagetest.Source{Rng: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1)), Compressed: 10,
			Largest: int(cfg.SegmentBytes) / 5}
		t.Repeat(map[string]func(*rapid.T){
			"append":   x.append,
			"append 2": x.append,
			"append 3": x.append,
			"advance":  x.advance,
			"truncate": x.truncate,
			"read":     x.read,
			"read 2":   x.read,
			"lookup":   x.lookup,
			"leader":   func(*rapid.T) { x.m.Epoch++ },
			"time": func(t *rapid.T) {
				x.now = x.now.Add(time.Duration(rapid.IntRange(0, 2000).Draw(t, "ms")) * time.Millisecond)
			},
			"flush": func(t *rapid.T) {
				if err := x.l.Flush(); err != nil {
					t.Fatal(err)
				}
			},
			"": x.check,
		})
	})
}
