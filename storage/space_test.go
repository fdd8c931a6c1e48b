package storage

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/vfs"
)

// small is a store on a disk of 10 MB, of which a tenth is the reserve, with as many logs as are asked for, each of whose
// appends is a segment.
type small struct {
	t    *testing.T
	mem  *vfs.Mem
	s    *Store
	logs []*Log
	text bytes.Buffer
}

const (
	smallDisk    = 10 << 20
	smallReserve = smallDisk / 10
)

func newSmall(t *testing.T, logs int, deleteOldest bool) *small {
	t.Helper()
	d := &small{t: t, mem: vfs.NewMem()}
	d.mem.SetCapacity(smallDisk)
	o := testOptions(DefaultConfig())
	o.Logger = slog.New(slog.NewTextHandler(&d.text, nil))
	tuning := DefaultTuning()
	tuning.DeleteOldest = deleteOldest
	o.Tuning = &tuning
	s, err := openIdle(d.mem, []string{"/data"}, o)
	if err != nil {
		t.Fatal(err)
	}
	d.s = s
	for i := range logs {
		d.add(i, func(*Config) {})
	}
	return d
}

func (d *small) add(i int, change func(*Config)) *Log {
	d.t.Helper()
	cfg := DefaultConfig()
	cfg.SegmentBytes, cfg.DeleteDelay = 150_000, time.Hour
	change(&cfg)
	l, err := d.s.Create(protocol.TopicPartition{Topic: fmt.Sprintf("t%d", i)}, protocol.TopicID{byte(i + 1)}, cfg)
	if err != nil {
		d.t.Fatal(err)
	}
	d.logs = append(d.logs, l)
	return l
}

func (d *small) append(l *Log, ts int64) error {
	_, err := l.Append(testNow, 0, records(d.t, ts, strings.Repeat("x", 100_000)))
	if err == nil {
		l.SetHighWatermark(l.Bounds().End)
	}
	return err
}

func (d *small) free() int64 {
	s, err := d.mem.Space("/data")
	if err != nil {
		d.t.Fatal(err)
	}
	return s.Free
}

// fill appends until that is refused.
func (d *small) fill(l *Log) (n int) {
	d.t.Helper()
	for {
		err := d.append(l, int64(n))
		if err == nil {
			n++
			continue
		}
		var full *FullError
		if !errors.As(err, &full) || protocol.CodeOf(err) != protocol.KafkaStorageError {
			d.t.Fatalf("after %d appends: %v", n, err)
		}
		if full.Free < 0 || full.Free > 2*smallReserve {
			d.t.Fatalf("%v, with %d free", err, d.free())
		}
		return n
	}
}

// TestAFullDiskRefusesAppends: the reserve is not touched, though nobody looked at the disk meanwhile; what is there can be
// read; nothing is offline; records and topics can be deleted, and give space at once; then appends go on.
func TestAFullDiskRefusesAppends(t *testing.T) {
	d := newSmall(t, 2, false)
	l, other := d.logs[0], d.logs[1]
	n := d.fill(l)
	if free := d.free(); free < smallReserve-50_000 || free > smallReserve+150_000 { // files beside the logs take some
		t.Fatalf("%d bytes are free after %d appends, the reserve is %d", free, n, smallReserve)
	}
	err := d.append(other, 1)
	for _, want := range []string{"/data", fmt.Sprint(smallReserve), "moldau.disk.reserve.bytes", "delete records"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: does not say %s", err, want)
		}
	}
	d.s.keepReserves()
	d.s.keepReserves()
	if got := d.s.Spaces()[0]; !got.Full || got.Reserve != smallReserve || got.Free != d.free() || got.Total != smallDisk {
		t.Fatalf("%+v", got)
	}
	if got := readAll(t, l, 0); len(got) != n || l.Failure() != nil || other.Failure() != nil {
		t.Fatalf("%d records of %d; %v", len(got), n, l.Failure())
	}
	if err := other.Flush(); err != nil {
		t.Fatal(err)
	}
	// One segment less is not enough to go on: it would be full again at once.
	if err := l.Advance(1); err != nil {
		t.Fatal(err)
	}
	d.s.keepReserves()
	if err := d.append(l, 1); err == nil {
		t.Fatal("an append went on with hardly any space")
	}
	if err := l.Advance(5); err != nil {
		t.Fatal(err)
	}
	d.s.keepReserves() // also removes what file.delete.delay.ms would keep for an hour
	if err := d.append(other, 1); err != nil {
		t.Fatal(err)
	}
	d.fill(other)
	d.s.keepReserves()
	if err := d.s.Delete(l.Partition()); err != nil {
		t.Fatal(err)
	}
	d.s.keepReserves()
	if n := d.fill(other); n < 50 {
		t.Fatalf("the deletion of a topic made room for %d appends only", n)
	}
	text := d.text.String()
	if full, again := strings.Count(text, "the disk is full"), strings.Count(text, "has space again"); full != 2 || again != 2 {
		t.Errorf("%d and %d lines:\n%s", full, again, text)
	}
	if strings.Count(text, "a tenth is kept free") != 1 {
		t.Errorf("the reserve is said to be too large other than once:\n%s", text)
	}
}

func TestTheBrokersOwnRecordsMayUseTheReserve(t *testing.T) {
	d := newSmall(t, 1, false)
	d.fill(d.logs[0])
	d.s.keepReserves()
	own := d.add(7, func(c *Config) { c.Internal = true })
	if err := d.append(own, 1); err != nil {
		t.Error(err)
	}
	if _, err := d.logs[0].Append(testNow, 0, txnMarker(1)); err != nil {
		t.Errorf("the marker of a transaction: %v", err)
	}
	if err := d.append(d.logs[0], 1); err == nil {
		t.Error("a client's append was not refused")
	}
}

// TestADuplicateIsAnsweredOnAFullDisk: its client must learn that its batch is in the log.
func TestADuplicateIsAnsweredOnAFullDisk(t *testing.T) {
	d := newSmall(t, 2, false)
	first := producedBy(t, 5, 0)
	if _, err := d.logs[1].Append(testNow, 0, bytes.Clone(first)); err != nil {
		t.Fatal(err)
	}
	d.fill(d.logs[0])
	d.s.keepReserves()
	if a, err := d.logs[1].Append(testNow, 0, bytes.Clone(first)); err != nil || !a.Duplicate {
		t.Fatal(a, err)
	}
	if _, err := d.logs[1].Append(testNow, 0, producedBy(t, 5, 1)); err == nil {
		t.Fatal("the next one was not refused")
	}
}

func TestTheReserveMayBeChanged(t *testing.T) {
	d := newSmall(t, 1, false)
	d.fill(d.logs[0])
	d.s.keepReserves()
	tuning := d.s.Tuning()
	tuning.ReserveBytes = smallReserve / 2
	d.s.Tune(tuning)
	d.s.keepReserves()
	if n := d.fill(d.logs[0]); n < 3 {
		t.Fatalf("%d appends", n)
	}
	// Without a reserve the disk itself refuses.
	tuning.ReserveBytes = 0
	d.s.Tune(tuning)
	d.s.keepReserves()
	for range 200 {
		if err := d.append(d.logs[0], 1); err != nil && protocol.CodeOf(err) != protocol.KafkaStorageError {
			t.Fatal(err)
		}
		d.s.keepReserves()
	}
	if err := d.logs[0].Failure(); err != nil {
		t.Fatal(err)
	}
	if free := d.free(); free > 150_000 {
		t.Fatalf("%d bytes are still free", free)
	}
}

func TestOldestFirst(t *testing.T) {
	seg := func(newest, bytes int64) aged { return aged{newest: newest, bytes: bytes} }
	logs := [][]aged{
		{seg(10, 100), seg(40, 100), seg(20, 100)}, // out of order: the one behind waits for it
		{seg(15, 100), seg(30, 100)},
		{},
	}
	for _, c := range []struct {
		need int64
		want []int
	}{{0, []int{0, 0, 0}}, {1, []int{1, 0, 0}}, {100, []int{1, 0, 0}}, {101, []int{1, 1, 0}}, {300, []int{1, 2, 0}},
		{301, []int{2, 2, 0}}, {5000, []int{3, 2, 0}}} {
		if got := oldest(logs, c.need); !slices.Equal(got, c.want) {
			t.Errorf("%d bytes: %v, want %v", c.need, got, c.want)
		}
	}
}

// TestDeleteOldestMakesRoom: the oldest closed segments go, of whichever topic, named in the log; what is compacted, not
// committed, or still written to stays; and where nothing may go appends are refused.
func TestDeleteOldestMakesRoom(t *testing.T) {
	d := newSmall(t, 2, true)
	compacted := d.add(2, func(c *Config) { c.Deletes, c.Compacts = false, true })
	for i := range 20 {
		for _, l := range []*Log{d.logs[1], compacted, d.logs[0]} { // t1 is always a little older than t0
			if err := d.append(l, int64(10*i)+map[*Log]int64{d.logs[0]: 5}[l]); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 100 {
		if err := d.append(d.logs[i%2], int64(1000+i)); err != nil {
			t.Fatalf("append %d: %v", i, err)
		}
		d.s.keepReserves()
	}
	b0, b1 := d.logs[0].Bounds(), d.logs[1].Bounds()
	if b0.Start == 0 || b1.Start == 0 || b0.Start > b1.Start || b1.Start > b0.Start+2 || compacted.Bounds().Start != 0 {
		t.Fatalf("%+v %+v %+v", b0, b1, compacted.Bounds())
	}
	if free := d.free(); free < smallReserve {
		t.Fatalf("%d bytes are free", free)
	}
	text := d.text.String()
	if n := strings.Count(text, "before its time"); int64(n) != d.s.DeletedSegments()["disk.full"] ||
		int64(n) != int64(b0.Start+b1.Start) || strings.Contains(text, "refused") {
		t.Errorf("%d segments are named; %v, starts %d and %d\n%s", n, d.s.DeletedSegments(), b0.Start, b1.Start, text)
	}
	// Nothing is committed any more: nothing may go.
	for _, l := range d.logs {
		l.SetHighWatermark(l.Bounds().Start)
	}
	for range 100 {
		_, err := d.logs[0].Append(testNow, 0, records(t, 1, strings.Repeat("x", 100_000)))
		d.s.keepReserves()
		if full := (*FullError)(nil); errors.As(err, &full) {
			if !d.s.Spaces()[0].Full {
				t.Fatal("not full")
			}
			return
		}
	}
	t.Fatal("appends were not refused")
}

// TestAFullDiskCanBeEmptied: where not even the reserve is left, segments go without the start being kept first, and a
// crash on the way leaves no hole.
func TestAFullDiskCanBeEmptied(t *testing.T) {
	for seed := range uint64(20) {
		h := grown(t, seed)
		for range 10 {
			h.append()
		}
		if err := h.l.Flush(); err != nil {
			t.Fatal(err)
		}
		h.m.synced = h.l.Bounds().Synced
		h.mem.SetCapacity(1) // nothing fits any more
		h.every, h.armed = 1, true
		to := h.m.start + protocol.Offset(rand.New(rand.NewPCG(seed, 5)).Int64N(int64(h.m.end()-h.m.start)+1))
		h.m.start = to
		before := h.l.Segments()
		if err := h.l.Advance(to); err != nil {
			t.Fatal(err)
		}
		h.armed = false
		if before > 3 && to > h.m.end()*9/10 && h.l.Segments() == before {
			t.Fatal("nothing was removed")
		}
		h.mem.SetCapacity(0)
		h.append()
		h.check(h.l, h.m, true)
		for i, p := range h.points {
			h.reopen(i, p, 1)
		}
	}
}

func producedBy(t *testing.T, id int64, seq int32) batch.Batch {
	t.Helper()
	b := batch.NewBuilder(batch.BuilderOptions{Producer: &batch.Producer{ID: id, Sequence: seq}})
	b.Add(1, nil, []byte("v"))
	return b.Build()
}
