package storage

import (
	"bytes"
	"fmt"
	"log/slog"
	"math"
	"path"
	"strings"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// compacted is a log with some segments of one record each, keys k0, k1, ... again and again, and an empty last segment.
func compacted(t *testing.T, s *Store, tp protocol.TopicPartition, cfg Config, segments, keys int) *Log {
	t.Helper()
	cfg.Compacts, cfg.Deletes = true, false
	l, err := s.Create(tp, protocol.TopicID{1}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	for i := range segments {
		b := batch.NewBuilder(batch.BuilderOptions{})
		b.Add(s.o.Now().UnixMilli(), fmt.Append(nil, "k", i%keys), fmt.Append(nil, "v", i))
		mustAppend(t, l, b.Build())
		rollNow(t, l)
	}
	l.SetHighWatermark(l.Bounds().End)
	return l
}

func rollNow(t *testing.T, l *Log) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.roll(l.active().Next()); err != nil {
		t.Fatal(err)
	}
}

func idle(t *testing.T, fsys vfs.FS, o Options) *Store {
	t.Helper()
	s, err := openIdle(fsys, []string{"/data"}, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func offsetsIn(t *testing.T, l *Log) string {
	t.Helper()
	out := ""
	for _, e := range readEntries(t, l, l.Bounds().Start, func(batch.Batch) {}) {
		out += fmt.Sprintf("%d:%s ", e.offset, e.key)
	}
	return strings.TrimSpace(out)
}

func TestRule080_ALogWithoutCompactIsNotCleaned(t *testing.T) {
	s := idle(t, vfs.NewMem(), testOptions(DefaultConfig()))
	l := compacted(t, s, tp0, DefaultConfig(), 6, 2)
	cfg := l.Config()
	cfg.Compacts = false
	if err := l.Reconfigure(cfg); err != nil {
		t.Fatal(err)
	}
	if n := s.cleanNow(testNow); n != 0 {
		t.Errorf("%d cleanings", n)
	}
	cfg.Compacts = true
	if err := l.Reconfigure(cfg); err != nil {
		t.Fatal(err)
	}
	if n := s.cleanNow(testNow); n != 1 || offsetsIn(t, l) != "4:k0 5:k1" {
		t.Errorf("%d cleanings, %s", n, offsetsIn(t, l))
	}
}

func TestRule081_TheActiveSegmentIsNotCleaned(t *testing.T) {
	s := idle(t, vfs.NewMem(), testOptions(DefaultConfig()))
	l := compacted(t, s, tp0, DefaultConfig(), 4, 1)
	for range 3 {
		b := batch.NewBuilder(batch.BuilderOptions{})
		b.Add(1, []byte("k0"), []byte("v"))
		mustAppend(t, l, b.Build())
	}
	l.SetHighWatermark(l.Bounds().End)
	s.cleanNow(testNow)
	if got := offsetsIn(t, l); got != "3:k0 4:k0 5:k0 6:k0" || l.cleaned.Load() != 4 {
		t.Errorf("%s, cleaned to %d", got, l.cleaned.Load())
	}
}

func TestRule081_NothingAboveTheHighWatermarkIsCleaned(t *testing.T) {
	s := idle(t, vfs.NewMem(), testOptions(DefaultConfig()))
	l := compacted(t, s, tp0, DefaultConfig(), 6, 1)
	l.SetHighWatermark(3)
	s.cleanNow(testNow) // what the log was like when the high watermark was lower
	l.hw.Store(3)
	s.cleanNow(testNow)
	if got := offsetsIn(t, l); got != "0:k0 1:k0 2:k0 3:k0 4:k0 5:k0" {
		t.Errorf("%s: that the log's end was stable is not sure yet", got)
	}
	l.SetHighWatermark(6)
	s.cleanNow(testNow)
	if got := offsetsIn(t, l); got != "5:k0" {
		t.Error(got)
	}
}

// TestMaxCompactionLag: a log that nobody writes to any more is compacted all the same, its last segment too.
func TestMaxCompactionLag(t *testing.T) {
	cfg := DefaultConfig()
	cfg.MinCleanableRatio, cfg.MaxCompactionLag = 1, time.Hour
	now := testNow
	o := testOptions(cfg)
	o.Now = func() time.Time { return now }
	s := idle(t, vfs.NewMem(), o)
	l := compacted(t, s, tp0, cfg, 3, 1)
	for range 2 {
		b := batch.NewBuilder(batch.BuilderOptions{})
		b.Add(now.UnixMilli(), []byte("k0"), []byte("v"))
		mustAppend(t, l, b.Build())
	}
	l.SetHighWatermark(l.Bounds().End)
	now = now.Add(time.Hour)
	if n := s.cleanNow(now); n != 0 {
		t.Fatalf("%d cleanings, the time is not over", n)
	}
	now = now.Add(time.Millisecond)
	if n := s.cleanNow(now); n != 1 || offsetsIn(t, l) != "4:k0" {
		t.Errorf("%d cleanings, %s", n, offsetsIn(t, l))
	}
}

// TestDamageMakesALogUncleanable: it is said once, the others are cleaned, and it is tried again when something has changed.
func TestDamageMakesALogUncleanable(t *testing.T) {
	disk := vfs.NewMem()
	var said bytes.Buffer
	o := testOptions(DefaultConfig())
	o.Logger = slog.New(slog.NewTextHandler(&said, nil))
	s := idle(t, disk, o)
	bad := compacted(t, s, tp0, DefaultConfig(), 4, 1)
	other := protocol.TopicPartition{Topic: "other"}
	good := compacted(t, s, other, DefaultConfig(), 4, 1)
	name := path.Join(bad.Dir(), segment.FileName(1, segment.LogSuffix))
	f, err := disk.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	var one [1]byte
	if _, err := f.ReadAt(one[:], batch.HeaderBytes+3); err != nil {
		t.Fatal(err)
	}
	flip := func() {
		one[0] ^= 0x40
		if _, err := f.WriteAt(one[:], batch.HeaderBytes+3); err != nil {
			t.Fatal(err)
		}
	}
	flip()
	for range 3 {
		s.cleanNow(testNow)
	}
	if err := s.Uncleanable(tp0); err == nil || !strings.Contains(err.Error(), name) || s.Uncleanable(other) != nil {
		t.Errorf("%v; %v", err, s.Uncleanable(other))
	}
	if got := offsetsIn(t, good); got != "3:k0" {
		t.Errorf("the other log has %s", got)
	}
	if n := strings.Count(said.String(), "cannot be compacted"); n != 1 {
		t.Errorf("it was said %d times:\n%s", n, &said)
	}
	if u := s.CleanerStats().Uncleanable["/data"]; u.Logs != 1 || u.Bytes == 0 {
		t.Errorf("%+v", u)
	}
	for _, e := range mustList(t, disk, bad.Dir()) {
		if strings.HasSuffix(e.Name, segment.CleanedSuffix) {
			t.Errorf("%s is left", e.Name)
		}
	}
	flip()
	if err := bad.Reconfigure(bad.Config()); err != nil {
		t.Fatal(err)
	}
	if n := s.cleanNow(testNow); n != 1 || s.Uncleanable(tp0) != nil || offsetsIn(t, bad) != "3:k0" {
		t.Errorf("%d cleanings, %v, %s", n, s.Uncleanable(tp0), offsetsIn(t, bad))
	}
}

// TestKafkasSwapsAreCompleted makes of a compacted log what Kafka leaves when it is killed at each of its steps.
func TestKafkasSwapsAreCompleted(t *testing.T) {
	const before, after = "0:k0 1:k1 2:k0 3:k1 4:k0 5:k1", "4:k0 5:k1"
	for _, c := range []struct {
		name         string
		log, indexes string // the endings of the new files
		sources      bool   // the old ones are there
		want         string
	}{
		{"cleaned", ".cleaned", ".cleaned", true, before},
		{"the log is renamed", ".swap", ".cleaned", true, before},
		{"all are renamed", ".swap", ".swap", true, after},
		{"the sources are gone", ".swap", ".swap", false, after},
		{"the log is in place", "", ".swap", false, after},
	} {
		t.Run(c.name, func(t *testing.T) {
			old, cleaned := vfs.NewMem(), vfs.NewMem()
			for _, disk := range []*vfs.Mem{old, cleaned} {
				s := idle(t, disk, testOptions(DefaultConfig()))
				compacted(t, s, tp0, DefaultConfig(), 6, 2)
				if disk == cleaned && s.cleanNow(testNow) != 1 {
					t.Fatal("nothing was cleaned")
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if !c.sources {
				for _, e := range mustList(t, old, "/data/t-0") {
					if base, _, ok := segment.ParseName(e.Name); ok && base < 6 {
						if err := old.Remove("/data/t-0/" + e.Name); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			for _, suffix := range []string{segment.LogSuffix, segment.IndexSuffix, segment.TimeSuffix} {
				b, err := vfs.ReadFile(cleaned, "/data/t-0/"+segment.FileName(0, suffix), 1<<20)
				if err != nil {
					t.Fatal(err)
				}
				ending := c.indexes
				if suffix == segment.LogSuffix {
					ending = c.log
				}
				if err := vfs.WriteFile(old, "/data/t-0/"+segment.FileName(0, suffix)+ending, b); err != nil {
					t.Fatal(err)
				}
			}
			s := idle(t, old, testOptions(DefaultConfig()))
			l, ok := s.Log(tp0)
			if !ok {
				t.Fatal(s.Failed(tp0))
			}
			if got := offsetsIn(t, l); got != c.want || l.Bounds().End != 6 {
				t.Errorf("%s, end %d; want %s\n%v", got, l.Bounds().End, c.want, old)
			}
			checkIndexes(t, l)
		})
	}
}

func TestCleaningsAreThrottledTogether(t *testing.T) {
	var x throttle
	x.set(1000)
	now := time.Unix(100, 0)
	if d := x.take(now, 100); d > 0 {
		t.Errorf("the first bytes wait %v", d)
	}
	if d := x.take(now, 500); d != 500*time.Millisecond {
		t.Errorf("%v", d)
	}
	if d := x.take(now.Add(200*time.Millisecond), 1000); d != 1300*time.Millisecond {
		t.Errorf("%v", d)
	}
	if d := x.take(now.Add(time.Hour), 100); d > 0 {
		t.Errorf("after a pause %v", d)
	}
	x.set(math.MaxFloat64)
	if d := x.take(now, 1<<40); d != 0 {
		t.Errorf("without a bound %v", d)
	}
}

// TestTheCheckpointSaysWhatIsClean: it survives restarts, falls with a truncation, and goes with the partition.
func TestTheCheckpointSaysWhatIsClean(t *testing.T) {
	disk := vfs.NewMem()
	s := idle(t, disk, testOptions(DefaultConfig()))
	l := compacted(t, s, tp0, DefaultConfig(), 6, 2)
	s.cleanNow(testNow)
	said := func() offsets {
		t.Helper()
		o, err := readOffsets(disk, "/data", cleanerFile)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	if got := said(); got[tp0] != 6 {
		t.Fatal(got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	cfg := l.Config()
	s = idle(t, disk, testOptions(cfg))
	l, _ = s.Log(tp0)
	if n := s.cleanNow(testNow); n != 0 || l.cleaned.Load() != 6 {
		t.Errorf("%d cleanings after a restart, clean to %d", n, l.cleaned.Load())
	}
	if err := l.Truncate(5); err != nil {
		t.Fatal(err)
	}
	if got := said(); got[tp0] != 5 {
		t.Error(got)
	}
	if err := s.Delete(tp0); err != nil {
		t.Fatal(err)
	}
	l, err := s.Create(tp0, protocol.TopicID{2}, cfg)
	if got := said(); err != nil || l.cleaned.Load() != 0 || len(got) != 0 {
		t.Error(got, err)
	}
}

// TestNoSpaceForACleaning: nothing is written where the result might not fit, and it is tried again later.
func TestNoSpaceForACleaning(t *testing.T) {
	disk := vfs.NewMem()
	now := testNow
	o := testOptions(DefaultConfig())
	o.Now = func() time.Time { return now }
	full := false
	s := idle(t, nearlyFull{disk, &full}, o)
	l := compacted(t, s, tp0, DefaultConfig(), 6, 2)
	full = true
	s.cleanNow(now)
	if err := s.Uncleanable(tp0); err == nil || !strings.Contains(err.Error(), "bytes are free") || l.Failure() != nil {
		t.Errorf("%v, %v", err, l.Failure())
	}
	full = false
	if n := s.cleanNow(now); n != 0 {
		t.Error("it was tried again at once")
	}
	now = now.Add(cleaningRetry)
	if n := s.cleanNow(now); n != 1 || offsetsIn(t, l) != "4:k0 5:k1" {
		t.Errorf("%d cleanings, %s", n, offsetsIn(t, l))
	}
}

// nearlyFull has hardly any space left while full.
type nearlyFull struct {
	vfs.FS
	full *bool
}

func (d nearlyFull) Space(dir string) (vfs.Space, error) {
	sp, err := d.FS.Space(dir)
	if *d.full {
		sp.Free = 10
	}
	return sp, err
}
