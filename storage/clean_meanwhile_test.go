package storage

import (
	"strings"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// TestWhatHappensMeanwhileWins lets something happen to a log at each step of a cleaning that has not been published yet: the
// cleaning is given up, or what it made fits what the log is by then; nothing that went comes back, now or after a restart.
func TestWhatHappensMeanwhileWins(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(s *Store, l *Log) error
		want string
	}{
		"DeleteRecords":           {func(_ *Store, l *Log) error { return l.Advance(3) }, "4:k0 5:k1"},
		"all records are deleted": {func(_ *Store, l *Log) error { return l.Advance(6) }, ""},
		"the end is cut off":      {func(_ *Store, l *Log) error { return l.Truncate(5) }, "3:k1 4:k0"},
		"the end is cut off and written anew": {func(_ *Store, l *Log) error {
			if err := l.Truncate(5); err != nil {
				return err
			}
			b := batch.NewBuilder(batch.BuilderOptions{})
			b.Add(1, []byte("k0"), []byte("v5"))
			if _, err := l.Append(testNow, 1, b.Build()); err != nil {
				return err
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.roll(l.active().Next())
		}, "3:k1 5:k0"},
		"everything is cut off": {func(_ *Store, l *Log) error { return l.TruncateFully(2) }, ""},
		"a segment is closed": {func(s *Store, l *Log) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.roll(l.active().Next())
		}, "4:k0 5:k1"},
		"it is deleted": {func(s *Store, l *Log) error { return s.Delete(tp0) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			for nth := 0; meanwhile(t, nth, c.do, c.want); nth++ {
			}
		})
	}
}

// meanwhile is false when the cleaning has fewer than nth steps.
func meanwhile(t *testing.T, nth int, do func(s *Store, l *Log) error, want string) bool {
	t.Helper()
	disk := vfs.NewMem()
	var s *Store
	var l *Log
	n, happened := -1, false
	watched := vfs.WithFaults(disk, func(op vfs.Op) error {
		if n < 0 || happened || op.Kind == "Rename" || !strings.HasSuffix(op.Name, segment.CleanedSuffix) {
			return nil
		}
		if n++; n <= nth {
			return nil
		}
		happened = true
		if err := do(s, l); err != nil {
			t.Error(err)
		}
		return nil
	})
	cfg := DefaultConfig()
	cfg.DeleteDelay = 0
	s = idle(t, watched, testOptions(cfg))
	l = compacted(t, s, tp0, cfg, 6, 2)
	cfg = l.Config()
	n = 0
	s.cleanNow(testNow)
	if !happened {
		return false
	}
	if err := s.Uncleanable(tp0); err != nil {
		t.Fatal(err)
	}
	_, there := s.Log(tp0)
	check := func() {
		t.Helper()
		l, ok := s.Log(tp0)
		if ok != there {
			t.Fatalf("step %d: the log is there: %v, it was: %v", nth, ok, there)
		}
		if !ok {
			return
		}
		l.SetHighWatermark(l.Bounds().End)
		s.cleanNow(testNow)
		if got := offsetsIn(t, l); got != want {
			t.Fatalf("step %d: %s, want %s\n%v", nth, got, want, disk)
		}
		checkIndexes(t, l)
		for _, e := range mustList(t, disk, l.Dir()) {
			if strings.HasSuffix(e.Name, segment.CleanedSuffix) || strings.HasSuffix(e.Name, segment.SwapSuffix) {
				t.Fatalf("step %d: %s is left", nth, e.Name)
			}
		}
	}
	check()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = idle(t, disk, testOptions(cfg))
	check()
	return true
}

// TestAStoreIsClosedDuringACleaning: closing waits for no throttle, and leaves nothing of it.
func TestAStoreIsClosedDuringACleaning(t *testing.T) {
	disk := vfs.NewMem()
	o := options()
	cfg := DefaultConfig()
	cfg.Compacts, cfg.Deletes = true, false
	o.Config = func(string) Config { return cfg }
	tune := DefaultTuning()
	tune.Cleaner.Backoff, tune.Cleaner.BytesPerSec = time.Millisecond, 1
	o.Tuning = &tune
	s := openStore(t, disk, "/data", o)
	l := compacted(t, s, tp0, cfg, 6, 2)
	waitUntil(t, func() bool { return s.CleanerStats().Workers > 0 })
	began := time.Now()
	closeStore(t, s)
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("closing took %v", took)
	}
	for _, e := range mustList(t, disk, l.Dir()) {
		if strings.HasSuffix(e.Name, segment.CleanedSuffix) {
			t.Errorf("%s is left", e.Name)
		}
	}
	s = idle(t, disk, testOptions(cfg))
	l, _ = s.Log(tp0)
	if got := offsetsIn(t, l); got != "0:k0 1:k1 2:k0 3:k1 4:k0 5:k1" || l.Bounds().End != protocol.Offset(6) {
		t.Error(got)
	}
}
