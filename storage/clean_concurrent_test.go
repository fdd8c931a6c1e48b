package storage

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/vfs"
)

// TestCleaningDisturbsNobody writes and reads logs while goroutines of the store clean them, with more logs than those:
// every read gives whole batches in order, nothing is refused, and in the end each key is there with its last value.
func TestCleaningDisturbsNobody(t *testing.T) {
	const logs, batches, keys = 3, 400, 20
	cfg := DefaultConfig()
	cfg.Compacts, cfg.Deletes, cfg.MinCleanableRatio = true, false, 0.01
	cfg.SegmentBytes, cfg.IndexInterval, cfg.DeleteDelay = 4000, 300, 0
	tune := DefaultTuning()
	tune.Cleaner.Backoff, tune.Cleaner.Threads, tune.Cleaner.BufferBytes = time.Millisecond, 2, 1
	o := options()
	o.Tuning = &tune
	o.OpenFiles = 8 // files are closed and opened again meanwhile
	s := openStore(t, vfs.NewMem(), "/data", o)
	defer closeStore(t, s)
	var all []*Log
	for i := range logs {
		l, err := s.Create(protocol.TopicPartition{Topic: "t", Partition: int32(i)}, protocol.TopicID{1}, cfg)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	var writers, readers sync.WaitGroup
	var done atomic.Bool
	for _, l := range all {
		writers.Go(func() {
			for n := range batches {
				if err := appendKeyed(l, n, keys); err != nil {
					t.Error(err)
					return
				}
				if n%20 == 0 {
					runtime.Gosched()
				}
			}
		})
		readers.Go(func() {
			for !done.Load() {
				if err := walk(l); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	waitUntil(t, func() bool {
		for _, l := range all {
			if l.cleaned.Load() != int64(l.active().Base()) {
				return false
			}
		}
		return true
	})
	done.Store(true)
	readers.Wait()
	for _, l := range all {
		checkIndexes(t, l)
		got := view(readEntries(t, l, 0, func(batch.Batch) {}))
		if len(got) != keys {
			t.Errorf("%v", got)
		}
		for k := range keys {
			last := (batches - 1) - (batches-1-k)%keys
			if want := fmt.Sprintf("%d %s", last, strings.Repeat("v", 100)); got[fmt.Sprint(k)] != want {
				t.Errorf("key %d: %.20s, want %.20s", k, got[fmt.Sprint(k)], want)
			}
		}
	}
	if stats := s.CleanerStats(); stats.Runs < logs || stats.Uncleanable["/data"].Logs > 0 {
		t.Errorf("%+v", stats)
	}
}

func appendKeyed(l *Log, n, keys int) error {
	b := batch.NewBuilder(batch.BuilderOptions{})
	b.Add(time.Now().UnixMilli(), fmt.Append(nil, n%keys), fmt.Appendf(nil, "%d %s", n, strings.Repeat("v", 100)))
	a, err := l.Append(time.Now(), 0, b.Build())
	if err == nil {
		l.SetHighWatermark(a.Last + 1)
	}
	return err
}

// walk reads a log from its start to its end.
func walk(l *Log) error {
	end := l.HighWatermark()
	for at := protocol.Offset(0); at < end; {
		s, err := l.Read(at, end, 2000, true)
		if err != nil {
			return fmt.Errorf("read at %d: %w", at, err)
		}
		raw, err := s.Bytes(nil)
		s.Release()
		if err != nil {
			return err
		}
		if len(raw) == 0 {
			return nil
		}
		next := at
		for {
			b, rest, err := batch.Next(raw)
			if err != nil {
				break // cut, as slices may be
			}
			if !b.CheckCRC() || b.LastOffset() < next {
				return fmt.Errorf("read at %d gives the batch %d..%d, checksum right: %v", at, b.BaseOffset(), b.LastOffset(),
					b.CheckCRC())
			}
			raw, next = rest, b.LastOffset()+1
		}
		if next == at {
			return errors.New("a read gave no whole batch")
		}
		at = next
	}
	return nil
}

func waitUntil(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("it does not come to an end")
		}
	}
}
