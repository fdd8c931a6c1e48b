package storage

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/vfs"
)

// TestReadersAndAWriter has readers at the tail and anywhere, one by time, and one that moves the start, while a writer
// appends, rolls and flushes: every byte read must be whole, in order, and below the limit.
func TestReadersAndAWriter(t *testing.T) {
	o := options()
	o.OpenFiles = 6
	s := openStore(t, vfs.OS(), t.TempDir(), o)
	defer closeStore(t, s)
	cfg := DefaultConfig()
	cfg.SegmentBytes = 20_000
	cfg.IndexInterval = 300
	cfg.DeleteDelay = 0
	cfg.FlushMessages = 50
	l := create(t, s, cfg)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	loop := func(do func(rng *rand.Rand) bool) {
		seed := rand.Uint64()
		readers.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 2))
			for do(rng) {
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for range 2 {
		at := protocol.Offset(0)
		loop(func(*rand.Rand) bool { // follows the tail
			b := l.Bounds()
			at = readChecked(t, l, max(at, b.Start), b.End, 4000)
			return at >= 0
		})
	}
	loop(func(rng *rand.Rand) bool { // anywhere
		b := l.Bounds()
		if b.End == b.Start {
			return true
		}
		from := b.Start + protocol.Offset(rng.Int64N(int64(b.End-b.Start)))
		limit := from + protocol.Offset(rng.Int64N(int64(b.End-from)+1))
		return readChecked(t, l, from, limit, rng.IntN(3000)) >= 0
	})
	loop(func(rng *rand.Rand) bool { // by time; the record at offset o has the timestamp o
		b := l.Bounds()
		ts := rng.Int64N(int64(b.End) + 10)
		f, ok, err := l.OffsetAt(ts, b.End)
		if err != nil || ok && (int64(f.Offset) != max(f.Timestamp, 0) || f.Timestamp < ts) {
			t.Errorf("timestamp %d: %+v, %v, %v", ts, f, ok, err)
			return false
		}
		return true
	})
	loop(func(rng *rand.Rand) bool { // deletes records
		b := l.Bounds()
		if b.End-b.Start < 2000 {
			return true
		}
		if err := l.Advance(b.Start + 700); err != nil {
			t.Error(err)
			return false
		}
		return true
	})
	for n := protocol.Offset(0); n < 8000; {
		k := 1 + int(n)%3
		bb := batch.NewBuilder(batch.BuilderOptions{})
		for i := range k {
			value := binary.BigEndian.AppendUint64(bytes.Repeat([]byte{'.'}, int(n)%90), uint64(n)+uint64(i))
			bb.Add(int64(n)+int64(i), nil, value)
		}
		n = mustAppend(t, l, bb.Build()).Last + 1
	}
	close(stop)
	readers.Wait()
	if n := s.OpenFiles(); n > 6 {
		t.Errorf("%d files are open", n)
	}
}

// readChecked reads a slice, checks what is in it, and gives the offset to go on at, or -1 after an error.
func readChecked(t *testing.T, l *Log, from, limit protocol.Offset, max int) protocol.Offset {
	s, err := l.Read(from, limit, max, true)
	if protocol.CodeOf(err) == protocol.OffsetOutOfRange {
		return l.Bounds().Start // deleted meanwhile
	}
	if err != nil {
		t.Error(err)
		return -1
	}
	defer s.Release()
	raw, err := s.Bytes(nil)
	if err != nil {
		t.Error(err)
		return -1
	}
	for len(raw) > 0 {
		b, rest, err := batch.Next(raw)
		if err != nil {
			break // cut
		}
		if !b.CheckCRC() || b.BaseOffset() > from || b.LastOffset() < from || b.LastOffset() >= limit {
			t.Errorf("batch %d..%d where %d below %d was asked for", b.BaseOffset(), b.LastOffset(), from, limit)
			return -1
		}
		for r, err := range b.Records(nil) {
			o := b.BaseOffset() + protocol.Offset(r.OffsetDelta)
			if err != nil || binary.BigEndian.Uint64(r.Value[len(r.Value)-8:]) != uint64(o) {
				t.Error("record " + strconv.FormatInt(int64(o), 10) + " has another's value")
				return -1
			}
		}
		from, raw = b.LastOffset()+1, rest
	}
	return from
}
