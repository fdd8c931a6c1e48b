package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/vfs"
)

func memLog(t *testing.T, cfg Config) *Log {
	t.Helper()
	s := openStore(t, vfs.NewMem(), "/data", options())
	t.Cleanup(func() { closeStore(t, s) })
	return create(t, s, cfg)
}

// length reads and says how many bytes came, and the base offset of the first batch.
func length(t *testing.T, l *Log, from, limit protocol.Offset, max int, minOne bool) (int64, protocol.Offset) {
	t.Helper()
	s, err := l.Read(from, limit, max, minOne)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	if s.Len() < batch.HeaderBytes {
		return s.Len(), -1
	}
	raw, err := s.Bytes(nil)
	if err != nil {
		t.Fatal(err)
	}
	return s.Len(), batch.Batch(raw).BaseOffset()
}

func TestRule059_FromTheMiddleOfABatchItIsWhole(t *testing.T) {
	l := memLog(t, DefaultConfig())
	for range 3 {
		mustAppend(t, l, records(t, 1, "a", "b", "c"))
	}
	whole := int64(len(records(t, 1, "a", "b", "c")))
	if n, base := length(t, l, 4, 9, 1<<20, true); n != 2*whole || base != 3 {
		t.Errorf("%d bytes from %d on", n, base)
	}
	if n, _ := length(t, l, 9, 9, 1<<20, true); n != 0 {
		t.Errorf("%d bytes at the end", n)
	}
	for _, from := range []protocol.Offset{-1, 10} {
		if _, err := l.Read(from, 9, 1<<20, true); protocol.CodeOf(err) != protocol.OffsetOutOfRange {
			t.Errorf("offset %d: %v", from, err)
		}
	}
}

func TestRule060_LimitsAreSoftForTheFirstBatchOnly(t *testing.T) {
	l := memLog(t, DefaultConfig())
	one := int64(len(mustBatch(t, l)))
	for range 3 {
		mustBatch(t, l)
	}
	f := func(max int, minOne bool, want int64) {
		t.Helper()
		if n, _ := length(t, l, 0, 4, max, minOne); n != want {
			t.Errorf("max %d, at least one %v: %d bytes, want %d", max, minOne, n, want)
		}
	}
	f(0, true, one)
	f(0, false, 0)
	f(10, true, one)
	f(10, false, 10)
	f(int(one)+21, true, one+21) // the second batch is cut
	f(1<<20, true, 4*one)
}

func mustBatch(t *testing.T, l *Log) batch.Batch {
	t.Helper()
	b := records(t, 1, "value")
	mustAppend(t, l, b)
	return b
}

func TestNothingAtOrAboveTheLimitIsRead(t *testing.T) {
	cfg := DefaultConfig()
	cfg.SegmentBytes = 300
	l := memLog(t, cfg)
	var ends []protocol.Offset
	for range 20 {
		ends = append(ends, mustAppend(t, l, records(t, 1, "x", "y")).Last+1)
	}
	for from := range protocol.Offset(40) {
		for limit := range protocol.Offset(41) {
			s, err := l.Read(from, limit, 1<<20, true)
			if err != nil {
				t.Fatal(err)
			}
			raw, _ := s.Bytes(nil)
			s.Release()
			for len(raw) > 0 {
				b, rest, err := batch.Next(raw)
				if err != nil || b.LastOffset() >= limit {
					t.Fatalf("from %d below %d: batch to %d, %v", from, limit, b.LastOffset(), err)
				}
				raw = rest
			}
		}
	}
}

func TestRule078_TheStartMayLieInsideABatch(t *testing.T) {
	cfg := DefaultConfig()
	cfg.SegmentBytes = 300
	l := memLog(t, cfg)
	for range 20 {
		mustAppend(t, l, records(t, 1, "x", "y", "z"))
	}
	segments := l.Segments()
	if err := l.Advance(31); err != nil {
		t.Fatal(err)
	}
	if b := l.Bounds(); b.Start != 31 || b.End != 60 || l.Segments() >= segments {
		t.Fatalf("%+v, %d segments of %d", b, l.Segments(), segments)
	}
	if _, base := length(t, l, 31, 60, 1<<20, true); base != 30 {
		t.Errorf("the first batch begins at %d", base)
	}
	if _, err := l.Read(30, 60, 1, true); protocol.CodeOf(err) != protocol.OffsetOutOfRange {
		t.Errorf("a deleted record: %v", err)
	}
	if err := l.Advance(7); err != nil || l.Bounds().Start != 31 {
		t.Errorf("a lower start: %v, %+v", err, l.Bounds())
	}
	if err := l.Advance(61); protocol.CodeOf(err) != protocol.OffsetOutOfRange {
		t.Errorf("a start above the end: %v", err)
	}
	if err := l.Advance(60); err != nil {
		t.Fatal(err)
	}
	if a := mustAppend(t, l, records(t, 1, "after")); a.Base != 60 || a.LogStart != 60 {
		t.Errorf("%+v", a)
	}
}

func TestRule075_TheFirstRecordThatIsLateEnough(t *testing.T) {
	l := memLog(t, DefaultConfig())
	add := func(ts ...int64) {
		b := batch.NewBuilder(batch.BuilderOptions{})
		for _, x := range ts {
			b.Add(x, nil, []byte("v"))
		}
		mustAppend(t, l, b.Build())
	}
	add(100, 300, 200)
	add(50, 60)
	add(300, 250, 400)
	f := func(ts int64, limit, want protocol.Offset) {
		t.Helper()
		got, ok, err := l.OffsetAt(ts, limit)
		if err != nil || ok != (want >= 0) || ok && got.Offset != want {
			t.Errorf("%d below %d: %+v, %v, %v; want %d", ts, limit, got, ok, err, want)
		}
	}
	f(0, 8, 0)
	f(100, 8, 0)
	f(101, 8, 1)
	f(300, 8, 1)
	f(301, 8, 7)
	f(400, 8, 7)
	f(401, 8, -1)
	f(301, 7, -1) // at the limit
	if err := l.Advance(2); err != nil {
		t.Fatal(err)
	}
	f(0, 8, 2)
	f(300, 8, 5)
	if got, ok, err := l.MaxTimestamp(); err != nil || !ok || got.Offset != 7 || got.Timestamp != 400 {
		t.Errorf("%+v, %v, %v", got, ok, err)
	}
}

func TestRule074_TheFirstOfTheLargestTimestamps(t *testing.T) {
	l := memLog(t, DefaultConfig())
	if _, ok, err := l.MaxTimestamp(); ok || err != nil {
		t.Fatal(ok, err)
	}
	mustAppend(t, l, records(t, 5, "5", "6", "7"))
	mustAppend(t, l, records(t, 7, "7"))
	if got, ok, err := l.MaxTimestamp(); err != nil || !ok || got.Offset != 2 || got.Timestamp != 7 {
		t.Errorf("%+v, %v, %v", got, ok, err)
	}
	if err := l.Advance(3); err != nil {
		t.Fatal(err)
	}
	if got, ok, err := l.MaxTimestamp(); err != nil || !ok || got.Offset != 3 {
		t.Errorf("%+v, %v, %v", got, ok, err)
	}
}

func TestSegmentsAreClosedByAge(t *testing.T) {
	cfg := DefaultConfig()
	cfg.SegmentAge = time.Second
	f := func(name string, want string, appends ...[2]int64) { // clock, timestamp
		t.Helper()
		l := memLog(t, cfg)
		got := ""
		for _, x := range appends {
			a, err := l.Append(time.UnixMilli(x[0]), 0, records(t, x[1], "v"))
			if err != nil {
				t.Fatal(err)
			}
			got += map[bool]string{true: "R", false: "."}[a.Rolled]
		}
		if got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	f("by the records' time", "..R.R", [2]int64{0, 10}, [2]int64{9000, 1010}, [2]int64{0, 1011}, [2]int64{0, 5}, [2]int64{0, 2012})
	f("without timestamps by the clock", "..R.", [2]int64{0, -1}, [2]int64{1000, -1}, [2]int64{1001, -1}, [2]int64{1500, -1})
}

func TestABatchLargerThanASegmentIsRefused(t *testing.T) {
	cfg := DefaultConfig()
	cfg.SegmentBytes = 200
	l := memLog(t, cfg)
	if _, err := l.Append(testNow, 0, records(t, 1, strings.Repeat("x", 200))); protocol.CodeOf(err) != protocol.RecordListTooLarge {
		t.Fatal(err)
	}
	mustAppend(t, l, records(t, 1, "x"))
}

// TestAFailedAppendLeavesNothing fails writes of the log, as a full disk does, and syncs, as a broken one does.
func TestAFailedAppendLeavesNothing(t *testing.T) {
	full, noCut, noSync := false, false, false
	disk := vfs.WithFaults(vfs.NewMem(), func(op vfs.Op) error {
		if !strings.HasSuffix(op.Name, ".log") {
			return nil
		}
		switch {
		case op.Kind == "WriteAt" && full, op.Kind == "Truncate" && noCut, op.Kind == "Sync" && noSync:
			return fs.ErrPermission
		}
		return nil
	})
	s := openStore(t, disk, "/data", options())
	l := create(t, s, DefaultConfig())
	mustAppend(t, l, records(t, 1, "a"))
	full = true
	if _, err := l.Append(testNow, 0, records(t, 1, "lost", "lost")); protocol.CodeOf(err) != protocol.KafkaStorageError ||
		!errors.Is(err, fs.ErrPermission) {
		t.Fatalf("got %v", err)
	}
	full = false
	if a := mustAppend(t, l, records(t, 1, "b")); a.Base != 1 {
		t.Fatalf("the next append went to %d", a.Base)
	}
	if got := readAll(t, l, 0); fmt.Sprint(got) != "[0=a 1=b]" {
		t.Fatal(got)
	}
	full, noCut = true, true // now bytes stay behind that cannot be cut off
	if _, err := l.Append(testNow, 0, records(t, 1, "lost")); err == nil || l.Failure() == nil {
		t.Fatalf("got %v; the log must be offline", err)
	}
	full, noCut = false, false
	var offline *OfflineError
	if _, err := l.Append(testNow, 0, records(t, 1, "c")); !errors.As(err, &offline) {
		t.Fatalf("append to an offline log: %v", err)
	}
	if err := s.Close(); err == nil {
		t.Error("a store with an offline log was closed in order")
	}
	if _, err := disk.Stat("/data/" + cleanFile); err == nil {
		t.Error("its folder is marked as left in order")
	}
	s = openStore(t, disk, "/data", options())
	l = mustLog(t, s, tp0)
	if got := readAll(t, l, 0); fmt.Sprint(got) != "[0=a 1=b]" {
		t.Fatal(got)
	}
	noSync = true
	if err := l.Flush(); protocol.CodeOf(err) != protocol.KafkaStorageError || l.Failure() == nil {
		t.Fatalf("a failed sync: %v; the log must be offline", err)
	}
	noSync = false
	_ = s.Close()
}

func TestFlushMessagesAndFlushMs(t *testing.T) {
	syncs := 0
	disk := vfs.WithFaults(vfs.NewMem(), func(op vfs.Op) error {
		if op.Kind == "Sync" && strings.HasSuffix(op.Name, ".log") {
			syncs++
		}
		return nil
	})
	cfg := DefaultConfig()
	cfg.FlushMessages = 3
	s, err := openIdle(disk, []string{"/data"}, testOptions(cfg))
	if err != nil {
		t.Fatal(err)
	}
	l := create(t, s, cfg)
	for i, want := range []protocol.Offset{0, 0, 3, 3, 6} {
		bs := []batch.Batch{records(t, 1, "a")}
		if i == 4 {
			bs = append(bs, records(t, 1, "b"))
		}
		mustAppend(t, l, bs...)
		if got := l.Bounds().Synced; got != want {
			t.Errorf("append %d: synced up to %d, want %d", i, got, want)
		}
	}
	if syncs != 2 {
		t.Errorf("%d syncs", syncs)
	}
	cfg.FlushMessages, cfg.FlushInterval = DefaultConfig().FlushMessages, time.Second
	if err := l.Reconfigure(cfg); err != nil {
		t.Fatal(err)
	}
	l.w.flushedAt = time.UnixMilli(1000)
	mustAppend(t, l, records(t, 1, "c")) // at 1000
	s.flushByTime(time.UnixMilli(1999))
	if s.flushPending(); l.Bounds().Synced != 6 {
		t.Error("flushed too early")
	}
	s.flushByTime(time.UnixMilli(2000))
	if s.flushPending(); l.Bounds().Synced != 7 {
		t.Error("not flushed in time")
	}
}

// TestAFullDiskForIndexesIsNoReasonToRefuse keeps index entries in memory while their files cannot be written.
func TestAFullDiskForIndexesIsNoReasonToRefuse(t *testing.T) {
	full := true
	disk := vfs.WithFaults(vfs.NewMem(), func(op vfs.Op) error {
		if full && op.Kind == "WriteAt" && strings.HasSuffix(op.Name, "index") {
			return fs.ErrPermission
		}
		return nil
	})
	s := openStore(t, disk, "/data", options())
	cfg := DefaultConfig()
	cfg.IndexInterval = 0
	l := create(t, s, cfg)
	for i := range 500 {
		mustAppend(t, l, records(t, int64(i), "a"))
	}
	if _, base := length(t, l, 250, 500, 100, true); base != 250 {
		t.Errorf("read from %d on", base)
	}
	full = false
	closeStore(t, s)
	s = openStore(t, disk, "/data", options())
	checkIndexes(t, mustLog(t, s, tp0))
	closeStore(t, s)
}

func TestEpochEndOfALog(t *testing.T) {
	l := memLog(t, DefaultConfig())
	if err := l.AssignEpoch(3); err != nil {
		t.Fatal(err)
	}
	if e, end := l.EpochEnd(3); e != 3 || end != 0 {
		t.Errorf("%d, %d", e, end)
	}
	b := records(t, 1, "a", "b")
	if _, err := l.Append(testNow, 4, b); err != nil {
		t.Fatal(err)
	}
	if b.LeaderEpoch() != 4 {
		t.Errorf("the batch has the epoch %d", b.LeaderEpoch())
	}
	if e, end := l.EpochEnd(4); e != 4 || end != 2 {
		t.Errorf("%d, %d", e, end)
	}
	if e, end := l.EpochEnd(5); e != -1 || end != -1 {
		t.Errorf("%d, %d", e, end)
	}
}
