package storage

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

// TestRule079_RetentionDecides is the decision by itself. Segments are written "end:bytes:newest".
func TestRule079_RetentionDecides(t *testing.T) {
	const now = 1_000_000
	for _, c := range []struct {
		name      string
		segs      string
		start, hw protocol.Offset
		age       int64 // ms
		bytes     int64
		want      string // how many for log.start, retention.bytes, retention.ms
	}{
		{"nothing is old", "10:100:999000 20:100:999500 30:100:999900", 0, 30, 5000, -1, "0 0 0"},
		{"two are old", "10:100:100 20:100:200 30:100:999900", 0, 30, 5000, -1, "0 0 2"},
		{"exactly as old as allowed stays", "10:100:995000 20:100:999999", 0, 20, 5000, -1, "0 0 0"},
		{"one millisecond older goes", "10:100:994999 20:100:999999", 0, 20, 5000, -1, "0 0 1"},
		{"a young one keeps those behind it", "10:100:100 20:100:999999 30:100:100 40:1:1", 0, 40, 5000, -1, "0 0 1"},
		{"the future keeps a segment", "10:100:2000000 20:100:100", 0, 20, 5000, -1, "0 0 0"},
		{"all of it, the active one too", "10:100:100 20:100:200", 0, 20, 5000, -1, "0 0 2"},
		{"an empty active one stays", "10:100:100 10:0:-1", 0, 10, 5000, -1, "0 0 1"},
		{"any age", "10:100:100 20:100:200", 0, 20, -1, -1, "0 0 0"},
		{"age 0", "10:100:999999 20:100:1000000", 0, 20, 0, -1, "0 0 1"},
		{"not above the high watermark", "10:100:100 20:100:200 30:100:300", 0, 19, 5000, -1, "0 0 1"},
		{"up to the high watermark", "10:100:100 20:100:200 30:100:300", 0, 20, 5000, -1, "0 0 2"},
		{"size: the rest must be as large", "10:100:100 20:100:200 30:100:300", 0, 30, -1, 200, "0 1 0"},
		{"size: one byte short", "10:100:100 20:100:200 30:100:300", 0, 30, -1, 201, "0 0 0"},
		{"size: a large one does not go, nor those behind it", "10:300:1 20:10:1 30:10:1", 0, 30, -1, 100, "0 0 0"},
		{"size 0: all", "10:100:100 20:100:200", 0, 20, -1, 0, "0 2 0"},
		{"size: below the high watermark only", "10:100:1 20:100:1 30:100:1", 0, 15, -1, 0, "0 1 0"},
		{"size first, then age", "10:100:1 20:100:2 30:100:999999", 0, 30, 5000, 200, "0 1 1"},
		{"start first", "10:100:1 20:100:2 30:100:999999", 10, 30, 5000, -1, "1 0 1"},
		{"the start alone", "10:100:999999 20:100:999999 30:1:999999", 25, 30, 5000, -1, "2 0 0"},
		{"the start at the end keeps the active one", "10:100:999999 20:100:999999", 20, 20, -1, -1, "1 0 0"},
		{"what the start took does not count for the size", "10:100:1 20:100:1 30:100:1", 10, 30, -1, 200, "1 0 0"},
	} {
		cfg := DefaultConfig()
		cfg.RetentionAge, cfg.RetentionBytes = time.Duration(c.age)*time.Millisecond, c.bytes
		got := retention(parseAged(t, c.segs), c.start, c.hw, &cfg, time.UnixMilli(now))
		if s := fmt.Sprint(got.segments[belowStart], got.segments[bySize], got.segments[byAge]); s != c.want {
			t.Errorf("%s: %s, want %s", c.name, s, c.want)
		}
	}
}

func parseAged(t *testing.T, text string) []aged {
	t.Helper()
	var out []aged
	for _, f := range strings.Fields(text) {
		var s aged
		if _, err := fmt.Sscanf(f, "%d:%d:%d", &s.end, &s.bytes, &s.newest); err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

func TestRule080_WithoutDeleteOnlyWhatLiesBelowTheStartGoes(t *testing.T) {
	for _, compacts := range []bool{true, false} {
		cfg := DefaultConfig()
		cfg.Deletes, cfg.Compacts = false, compacts
		cfg.RetentionAge, cfg.RetentionBytes = 0, 0
		got := retention(parseAged(t, "10:100:1 20:100:1 30:100:1"), 10, 30, &cfg, time.UnixMilli(1_000_000))
		if want := (outlived{segments: [reasons]int{1}, bytes: [reasons]int64{100}}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		cfg.Deletes = true // compact,delete does both
		if got := retention(parseAged(t, "10:100:1 20:100:1 30:100:1"), 10, 30, &cfg, time.UnixMilli(1_000_000)); got.count() != 3 {
			t.Errorf("%+v with delete", got)
		}
	}
}

// aging is a store whose clock the test sets, with one log of small segments.
type aging struct {
	t   *testing.T
	mem *vfs.Mem
	now time.Time
	s   *Store
	l   *Log
	log bytes.Buffer
}

func newAging(t *testing.T, cfg Config) *aging {
	t.Helper()
	a := &aging{t: t, mem: vfs.NewMem(), now: time.UnixMilli(1_000_000_000)}
	a.mem.SetClock(func() time.Time { return a.now })
	o := testOptions(cfg)
	o.Now = func() time.Time { return a.now }
	o.Logger = slog.New(slog.NewTextHandler(&a.log, nil))
	s, err := openIdle(a.mem, []string{"/data"}, o)
	if err != nil {
		t.Fatal(err)
	}
	a.s, a.l = s, create(t, s, cfg)
	return a
}

// fill appends n records, each a segment of its own, with the timestamp of now less back.
func (a *aging) fill(n int, back time.Duration) {
	a.t.Helper()
	for range n {
		ts := int64(noTimestamp)
		if back >= 0 {
			ts = a.now.Add(-back).UnixMilli()
		}
		mustAppend(a.t, a.l, records(a.t, ts, strings.Repeat("x", 200)))
	}
	a.l.SetHighWatermark(a.l.Bounds().End)
}

func (a *aging) retained(start protocol.Offset, segments int) {
	a.t.Helper()
	a.s.retain(a.now)
	if b := a.l.Bounds(); b.Start != start || a.l.Segments() != segments {
		a.t.Fatalf("%+v and %d segments, want the start %d and %d segments\n%s", b, a.l.Segments(), start, segments, &a.log)
	}
}

func smallSegments() Config {
	cfg := DefaultConfig()
	cfg.SegmentBytes = 400
	return cfg
}

func TestRule079_OldSegmentsGo(t *testing.T) {
	cfg := smallSegments()
	cfg.RetentionAge = time.Hour
	a := newAging(t, cfg)
	a.fill(3, 2*time.Hour)
	a.fill(2, time.Minute)
	a.retained(3, 2)
	if got := a.s.DeletedSegments(); got["retention.ms"] != 3 {
		t.Error(got)
	}
	if text := a.log.String(); strings.Count(text, "segments are deleted") != 1 ||
		!strings.Contains(text, "retention.ms=3") || !strings.Contains(text, "bytes=8") {
		t.Error(text)
	}
	if !strings.Contains(a.mem.String(), "00000000000000000000.log.deleted") {
		t.Errorf("the files are to stay for file.delete.delay.ms:\n%v", a.mem)
	}
	a.now = a.now.Add(cfg.DeleteDelay)
	a.s.removeDue(false)
	if strings.Contains(a.mem.String(), ".deleted") {
		t.Errorf("the files are to go after file.delete.delay.ms:\n%v", a.mem)
	}
	// The rest gets old, and the active segment with it.
	a.now = a.now.Add(2 * time.Hour)
	a.retained(5, 1)
	if b := a.l.Bounds(); b.End != 5 {
		t.Fatalf("%+v", b)
	}
	a.retained(5, 1)
	a.fill(1, 0)
	a.retained(5, 1)
}

func TestRule079_TheFilesTimeCountsWhereRecordsHaveNone(t *testing.T) {
	cfg := smallSegments()
	cfg.RetentionAge = time.Hour
	a := newAging(t, cfg)
	a.fill(2, -1)
	a.now = a.now.Add(50 * time.Minute)
	a.fill(2, -1)
	a.retained(0, 4)
	a.now = a.now.Add(11 * time.Minute)
	a.retained(2, 2)
}

func TestRule079_SizeAndConfigurationChanges(t *testing.T) {
	cfg := smallSegments()
	a := newAging(t, cfg)
	a.fill(10, 0)
	a.retained(0, 10)
	cfg.RetentionBytes = a.l.Size() / 2
	if err := a.l.Reconfigure(cfg); err != nil {
		t.Fatal(err)
	}
	a.retained(5, 5)
	cfg.RetentionBytes, cfg.RetentionAge = -1, time.Millisecond
	if err := a.l.Reconfigure(cfg); err != nil {
		t.Fatal(err)
	}
	a.now = a.now.Add(time.Second)
	a.l.SetHighWatermark(8)
	a.retained(8, 2)
}

// TestRetentionSurvivesCrashes crashes at every file operation of retention, of DeleteRecords and of what is appended
// meanwhile: what a crash leaves has no hole, nothing below a start that was kept, and everything above.
func TestRetentionSurvivesCrashes(t *testing.T) {
	seeds := uint64(40)
	if testing.Short() {
		seeds = 8
	}
	points := 0
	for seed := range seeds {
		h := grown(t, seed)
		h.every, h.armed = 1, true
		for range 3 {
			h.l.SetHighWatermark(h.m.start + protocol.Offset(h.rng.Int64N(int64(h.m.end()-h.m.start)+1)))
			h.retainSome()
			h.append()
			to := h.m.start + protocol.Offset(h.rng.Int64N(int64(h.m.end()-h.m.start)+1))
			h.m.start = to
			if err := h.l.Advance(to); err != nil {
				t.Fatal(err)
			}
			if err := h.s.Checkpoint(nil); err != nil {
				t.Fatal(err)
			}
			h.m.keptStart = to
			h.append()
			h.s.removeDue(true)
		}
		h.armed = false
		h.check(h.l, h.m, true)
		points += len(h.points)
		for i, p := range h.points {
			h.reopen(i, p, 1)
		}
	}
	t.Logf("%d crashed disks", points)
}

// retainSome has the log keep about half of its bytes, or none.
func (h *history) retainSome() {
	cfg := h.cfg
	cfg.RetentionBytes = h.rng.Int64N(2) * h.l.Size() / 2
	if err := h.l.Reconfigure(cfg); err != nil {
		h.t.Fatal(err)
	}
	// A crash on the way may find the start raised, as far as it is going to be.
	out := retention(h.l.aged(*h.l.segments.Load()), h.l.Bounds().Start, h.l.HighWatermark(), &cfg, testNow)
	if n := out.count(); n > 0 {
		h.m.start = max(h.m.start, h.l.aged(*h.l.segments.Load())[n-1].end)
	}
	h.s.retain(testNow)
	if b := h.l.Bounds(); b.Start != h.m.start {
		h.t.Fatalf("%+v, want the start %d", b, h.m.start)
	}
	if out.count() > 0 {
		h.m.keptStart = h.m.start
	}
}

// TestDeletingATopicSurvivesCrashes crashes at every file operation of Store.Delete and of the removal of the files: the
// log is there as it was, or it is gone; what is left of it is never taken for a log, and goes.
func TestDeletingATopicSurvivesCrashes(t *testing.T) {
	there, gone := 0, 0
	for seed := range uint64(30) {
		h := grown(t, seed)
		if err := h.l.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := h.s.Checkpoint(nil); err != nil {
			t.Fatal(err)
		}
		h.m.synced = h.l.Bounds().Synced
		h.every, h.armed = 1, true
		if err := h.s.Delete(tp0); err != nil {
			t.Fatal(err)
		}
		during := len(h.points)
		h.s.removeDue(true)
		h.armed = false
		if text := h.mem.String(); strings.Contains(text, "/t-0") {
			t.Fatalf("the folder is still there:\n%s", text)
		}
		h.points = append(h.points, crashPoint{disk: h.mem.CrashClone(rand.New(rand.NewPCG(seed, 9)), 0), m: h.m})
		for i, p := range h.points {
			s, err := openIdle(p.disk, []string{"/data"}, testOptions(h.cfg))
			if err != nil || s.Failed(tp0) != nil {
				t.Fatalf("seed %d, crash %d before %+v: %v, %v\n%v", seed, i, p.op, err, s.Failed(tp0), p.disk)
			}
			l, ok := s.Log(tp0)
			switch {
			case ok && i >= during:
				t.Fatalf("seed %d, crash %d before %+v: a deleted log is back\n%v", seed, i, p.op, p.disk)
			case ok:
				there++
				h.check(l, p.m, false)
				if b := l.Bounds(); b.End != p.m.end() {
					t.Fatalf("seed %d, crash %d before %+v: %+v, want all up to %d", seed, i, p.op, b, p.m.end())
				}
			default:
				gone++
			}
			s.removeDue(true)
			if text := p.disk.String(); !ok && strings.Contains(text, "/t-0") {
				t.Fatalf("seed %d, crash %d before %+v: leftovers stay:\n%s", seed, i, p.op, text)
			}
			// A topic of that name can be made again, and does not get the old one's records.
			if ok {
				continue
			}
			again, err := s.Create(tp0, protocol.TopicID{2}, h.cfg)
			if err != nil || again.Bounds() != (Bounds{}) {
				t.Fatal(again, err)
			}
		}
	}
	if there == 0 || gone == 0 {
		t.Errorf("in %d crashes the log was there, in %d gone: one of the two was not seen", there, gone)
	}
}

func TestTheLastStableOffsetIsNeverBelowTheStart(t *testing.T) {
	l := memLog(t, DefaultConfig())
	mustAppend(t, l, txnBatch(7, 0))
	mustAppend(t, l, records(t, 1, "a", "b", "c"))
	if err := l.Advance(2); err != nil {
		t.Fatal(err)
	}
	if b := l.Bounds(); b.LastStable != 2 {
		t.Errorf("%+v, want the last stable offset 2", b)
	}
}
