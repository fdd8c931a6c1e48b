//go:build bench

package storage

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage"
	"moldau.io/moldau/storage/vfs"
)

const (
	fsyncProducers = 64 // each has one batch on its way
	fsyncWarmUp    = time.Second
	fsyncTime      = 2 * time.Second
)

// measureFsync has 64 producers append, each its next batch when the one before it is acknowledged: with one fdatasync a
// batch, with moldau.durability=fsync, and with an acknowledgement from the page cache.
func measureFsync(t *testing.T) []row {
	var rows []row
	for _, partitions := range []int{1, 64} {
		for _, size := range []struct {
			name  string
			bytes int
		}{{"1 KB", 1 << 10}, {"16 KB", 16 << 10}} {
			var bare, ours, cached, fold, part, rounds3 []float64
			for round := range max(*rounds/2, 1) + 1 {
				b := bareFsync(t, partitions, size.bytes)
				o, batches := logFsync(t, partitions, size.bytes, true)
				c, _ := logFsync(t, partitions, size.bytes, false)
				if round > 0 {
					bare, ours, cached = append(bare, b), append(ours, o), append(cached, c)
					fold, part, rounds3 = append(fold, o/b), append(part, o/c), append(rounds3, batches)
				}
			}
			what := fmt.Sprintf("64 producers, %d partitions, %s", partitions, size.name)
			rows = append(rows, row{
				what: what + ": group commit next to one fdatasync a batch",
				bare: fmt.Sprintf("%.0f/s", median(bare)), ours: fmt.Sprintf("%.0f/s", median(ours)),
				ratio: fmt.Sprintf("%.1f (%.0f batches a sync)", median(fold), median(rounds3)), aim: ">= 20",
			}, row{
				what: what + ": group commit next to the page cache",
				bare: fmt.Sprintf("%.0f/s", median(cached)), ours: fmt.Sprintf("%.0f/s", median(ours)),
				ratio: fmt.Sprintf("%.2f", median(part)),
			})
		}
	}
	return rows
}

// produceAll has every producer call its append until the time is over, and returns how many calls there were in a second.
func produceAll(t *testing.T, do func(producer int) error) float64 {
	t.Helper()
	var n atomic.Int64
	var wg sync.WaitGroup
	began := time.Now().Add(fsyncWarmUp) // files are made, and made durable for the first time
	for i := range fsyncProducers {
		wg.Go(func() {
			for time.Since(began) < fsyncTime {
				if err := do(i); err != nil {
					t.Error(err)
					return
				}
				if time.Since(began) > 0 {
					n.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return float64(n.Load()) / time.Since(began).Seconds()
}

// bareFsync writes each batch to the partition's file and syncs it before the next one.
func bareFsync(t *testing.T, partitions, size int) float64 {
	dir := tempDir(t)
	type partition struct {
		sync.Mutex
		f  *os.File
		at int64
	}
	ps := make([]partition, partitions)
	for i := range ps {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		ps[i].f = f
	}
	data := sized(size, -1)
	return produceAll(t, func(i int) error {
		p := &ps[i%partitions]
		p.Lock()
		defer p.Unlock()
		if _, err := p.f.WriteAt(data, p.at); err != nil {
			return err
		}
		p.at += int64(len(data))
		return unix.Fdatasync(int(p.f.Fd()))
	})
}

// waiting is who waits for records of a log to be durable: each producer has a channel of its own, so that only those are
// woken whose records are, as a broker wakes requests.
type waiting struct {
	l    *storage.Log
	mu   sync.Mutex
	list []waiter
}

type waiter struct {
	last protocol.Offset
	woke chan struct{}
}

func (w *waiting) durable() {
	w.mu.Lock()
	defer w.mu.Unlock()
	upTo, kept := w.l.Durable(), w.list[:0]
	for _, x := range w.list {
		if x.last < upTo || w.l.Failure() != nil {
			x.woke <- struct{}{}
		} else {
			kept = append(kept, x)
		}
	}
	w.list = kept
}

func (w *waiting) await(x waiter) error {
	w.mu.Lock()
	if x.last < w.l.Durable() {
		w.mu.Unlock()
		return nil
	}
	w.list = append(w.list, x)
	w.mu.Unlock()
	<-x.woke
	return w.l.Failure()
}

// logFsync appends to logs; fsync waits until the batch is durable, as a broker does: woken by OnDurable.
func logFsync(t *testing.T, partitions, size int, fsync bool) (perSecond, batchesASync float64) {
	s, err := storage.OpenStore(vfs.OS(), []string{tempDir(t)}, storage.Options{
		ClusterID: "bench", NodeID: 1, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg := storage.DefaultConfig()
	cfg.Fsync = fsync
	ps := make([]*waiting, partitions)
	for i := range ps {
		l, err := s.Create(protocol.TopicPartition{Topic: "t", Partition: int32(i)}, protocol.TopicID{1}, cfg)
		if err != nil {
			t.Fatal(err)
		}
		ps[i] = &waiting{l: l}
		l.OnDurable(ps[i].durable)
	}
	data := make([]batch.Batch, fsyncProducers)
	woke := make([]chan struct{}, fsyncProducers)
	for i := range data {
		data[i], woke[i] = sized(size, -1), make(chan struct{}, 1)
	}
	perSecond = produceAll(t, func(i int) error {
		p := ps[i%partitions]
		a, err := p.l.Submit(time.Now(), 0, data[i])
		if err != nil || !fsync {
			return err
		}
		return p.await(waiter{a.Last, woke[i]})
	})
	c, _ := s.JournalCounts()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return perSecond, float64(c.Batches) / float64(max(c.Syncs+c.Direct, 1))
}

// TestFsync prints only these rows.
func TestFsync(t *testing.T) { print(measureFsync(t)) }
