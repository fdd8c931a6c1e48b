package compact

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"moldau.io/moldau/protocol"
)

// TestHash holds the hash against the vectors of its authors: the key 00 01 .. 0f, and messages 00 01 02 .. of each
// length.
func TestHash(t *testing.T) {
	var key [16]byte
	for i := range key {
		key[i] = byte(i)
	}
	seed := Seed{binary.LittleEndian.Uint64(key[:]), binary.LittleEndian.Uint64(key[8:])}
	want := []string{
		"a3817f04ba25a8e66df67214c7550293", "da87c1d86b99af44347659119b22fc45", "8177228da4a45dc7fca38bdef60affe4",
	}
	for n, w := range want {
		lo, hi := seed.sum([]byte{0, 1, 2}[:n])
		got := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, lo), hi)
		if hex.EncodeToString(got) != w {
			t.Errorf("%d bytes: %x, want %s", n, got, w)
		}
	}
}

func TestOffsetsAgainstAMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var o Offsets
		keys := 1 + rng.Int64N(300)
		o.Reset(Seed{rng.Uint64(), rng.Uint64()}, keys, 24*(2+rng.Int64N(400)), 0.1+0.89*rng.Float64(), 5)
		if o.Next() != 5 {
			t.Fatal(o.Next())
		}
		model := map[string]protocol.Offset{}
		for at := protocol.Offset(5); at < 2000; at++ {
			key := fmt.Sprint(rng.IntN(600))
			_, known := model[key]
			if o.Put([]byte(key), at) {
				model[key] = at
			} else if known || len(model) < 1 || o.Keys() != len(model) {
				t.Fatalf("key %s has no room, %d keys, %d known", key, o.Keys(), len(model))
			} else {
				break
			}
		}
		for k := range 600 {
			want, ok := model[fmt.Sprint(k)]
			if !ok {
				want = -1
			}
			if got := o.Get([]byte(fmt.Sprint(k))); got != want {
				t.Fatalf("key %d at %d, want %d", k, got, want)
			}
		}
		if o.Load() > 0.995 {
			t.Fatalf("load %v", o.Load())
		}
	}
}

// TestOffsetsTakeNoMoreThanTheyNeed: a small log gets a small table, whatever the bound is; a large one no more than
// that.
func TestOffsetsTakeNoMoreThanTheyNeed(t *testing.T) {
	var o Offsets
	o.Reset(Seed{}, 100, 128<<20, 0.9, 0)
	if n := cap(o.slots); n > 200 {
		t.Errorf("%d slots for 100 keys", n)
	}
	o.Reset(Seed{}, math.MaxInt64/2, 1<<20, 0.9, 0)
	if n := cap(o.slots) * SlotBytes; n > 1<<20 {
		t.Errorf("%d bytes, at most 1 MiB was allowed", n)
	}
	o.Reset(Seed{}, 10, 128<<20, 0.9, 0)
	if n := cap(o.slots); n > 100 {
		t.Errorf("%d slots are kept for 10 keys", n)
	}
}

func TestGroups(t *testing.T) {
	seg := func(base, next protocol.Offset, bytes int64) Segment {
		return Segment{Base: base, Next: next, Bytes: bytes, IndexBytes: bytes / 10, TimeBytes: bytes / 5}
	}
	f := func(segs []Segment, bytesMax, indexMax, distanceMax int64, want string) {
		t.Helper()
		got := ""
		for _, g := range Group(segs, bytesMax, indexMax, distanceMax) {
			got += fmt.Sprint(len(g))
		}
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	segs := []Segment{
		seg(0, 10, 100), seg(10, 20, 100), seg(20, 30, 50), seg(30, 1000, 0), seg(1000, 1001, 300), seg(1001, 1002, 1),
	}
	f(segs, 250, 1<<20, 1<<20, "411")
	f(segs, 301, 1<<20, 1<<20, "42")
	f(segs, 300, 1<<20, 1<<20, "411")
	f(segs, 1<<20, 41, 1<<20, "2211") // by the time index
	f(segs, 1<<20, 1<<20, 1001, "6")
	f(segs, 1<<20, 1<<20, 1000, "51") // an empty segment does not count for the distance
	f(segs, 1<<20, 1<<20, 28, "222")
	f(segs[:1], 1, 1, 1, "1")
}

func TestRule081_WhatIsCleaned(t *testing.T) {
	log := Log{
		Segments: []Segment{
			{Base: 0, Next: 10, Bytes: 100, MaxTimestamp: 1000, FirstTimestamp: 900},
			{Base: 10, Next: 20, Bytes: 100, MaxTimestamp: 2000, FirstTimestamp: 1900},
			{Base: 20, Next: 30, Bytes: 100, MaxTimestamp: 3000, FirstTimestamp: 2900},
			{Base: 30, Next: 35, Bytes: 50, MaxTimestamp: 4000},
		},
		End: 35, Stable: 35, MaxLag: math.MaxInt64,
	}
	f := func(change func(l *Log), dirty, uncleanable protocol.Offset, clean, dirtyBytes, overdue int64) {
		t.Helper()
		l := log
		change(&l)
		want := Plan{Dirty: dirty, Uncleanable: uncleanable, CleanBytes: clean, DirtyBytes: dirtyBytes, Overdue: overdue}
		if got := PlanFor(l, 5000); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	f(func(l *Log) {}, 0, 30, 0, 300, 0)
	f(func(l *Log) { l.Cleaned = 10 }, 10, 30, 100, 200, 0)
	f(func(l *Log) { l.Cleaned = 15 }, 15, 30, 100, 200, 0)
	f(func(l *Log) { l.Cleaned = 30 }, 30, 30, 300, 0, 0)
	f(func(l *Log) { l.Cleaned = 33 }, 33, 30, 300, 0, 0)
	f(func(l *Log) { l.Cleaned = 36 }, 0, 30, 0, 300, 0)                // beyond the end
	f(func(l *Log) { l.Start, l.Cleaned = 10, 5 }, 10, 30, 100, 200, 0) // before the start
	f(func(l *Log) { l.Stable = 30 }, 0, 30, 0, 300, 0)
	f(func(l *Log) { l.Stable = 29 }, 0, 20, 0, 200, 0)
	f(func(l *Log) { l.Stable = 5 }, 0, 0, 0, 0, 0)
	f(func(l *Log) { l.MinLag = 2000 }, 0, 30, 0, 300, 0)
	f(func(l *Log) { l.MinLag = 2001 }, 0, 20, 0, 200, 0)
	f(func(l *Log) { l.MinLag, l.Cleaned = 4500, 10 }, 10, 10, 100, 0, 0)
	f(func(l *Log) { l.MaxLag = 4000 }, 0, 30, 0, 300, 100)
	f(func(l *Log) { l.MaxLag, l.Cleaned = 3000, 10 }, 10, 30, 100, 200, 100)
	f(func(l *Log) { l.MaxLag, l.Cleaned = 4000, 10 }, 10, 30, 100, 200, 0)
}

func TestWhoIsCleanedFirst(t *testing.T) {
	half, most := Plan{CleanBytes: 50, DirtyBytes: 50}, Plan{CleanBytes: 10, DirtyBytes: 90}
	late := Plan{CleanBytes: 90, DirtyBytes: 10, Overdue: 1}
	if !most.Before(half) || half.Before(most) || !late.Before(most) {
		t.Error("order")
	}
	if half.Due(0.5) || !half.Due(0.49) || !late.Due(0.5) || (Plan{Overdue: 5}).Due(0) {
		t.Error("due")
	}
}
