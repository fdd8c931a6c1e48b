package storage

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/vfs"
)

// TestReadersWhileSegmentsGo writes several times what the disk holds to two logs, with retention by size for one of them and
// delete-oldest for both, while others read anywhere: what they read is what was written there, or they are told that it
// is gone, and it is.
func TestReadersWhileSegmentsGo(t *testing.T) {
	mem := vfs.NewMem()
	mem.SetCapacity(6 << 20)
	o := options()
	tuning := DefaultTuning()
	tuning.RetentionInterval, tuning.DeleteOldest, tuning.Cleaner.Enabled = time.Millisecond, true, false
	o.Tuning, o.Logger = &tuning, slog.New(slog.DiscardHandler)
	s := openStore(t, mem, "/data", o)
	defer closeStore(t, s)
	stop := make(chan struct{})
	var readers, writers sync.WaitGroup
	for i := range 2 {
		cfg := DefaultConfig()
		cfg.SegmentBytes = 100_000
		if i == 0 {
			cfg.RetentionBytes = 1 << 20
		}
		l, err := s.Create(protocol.TopicPartition{Topic: fmt.Sprintf("t%d", i)}, protocol.TopicID{byte(i + 1)}, cfg)
		if err != nil {
			t.Fatal(err)
		}
		writers.Go(func() { writeUntilRefusedNoMore(t, l, 700) })
		for seed := range uint64(2) {
			readers.Go(func() { readAnywhere(t, l, rand.New(rand.NewPCG(seed, 3)), stop) })
		}
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	gone := s.DeletedSegments()
	if gone["retention.bytes"] == 0 || gone["disk.full"] == 0 {
		t.Errorf("deleted %v", gone)
	}
}

// writeUntilRefusedNoMore appends n records of 20 KB, each of which begins with its offset.
func writeUntilRefusedNoMore(t *testing.T, l *Log, n int) {
	pause := time.NewTicker(time.Millisecond)
	defer pause.Stop()
	for i := range n {
		value := fmt.Sprintf("%08d", i) + strings.Repeat("x", 20_000)
		for {
			b := batch.NewBuilder(batch.BuilderOptions{})
			b.Add(int64(1000+i), nil, []byte(value))
			a, err := l.Append(testNow, 0, b.Build())
			if err == nil {
				if a.Base != protocol.Offset(i) {
					t.Errorf("%d was appended at %d", i, a.Base)
				}
				l.SetHighWatermark(a.Last + 1)
				break
			}
			if full := (*FullError)(nil); !errors.As(err, &full) {
				t.Error(err)
				return
			}
			<-pause.C
		}
	}
}

func readAnywhere(t *testing.T, l *Log, rng *rand.Rand, stop <-chan struct{}) {
	var buf []byte
	for {
		select {
		case <-stop:
			return
		default:
		}
		b := l.Bounds()
		if b.Start == b.End {
			continue
		}
		at := b.Start + protocol.Offset(rng.Int64N(int64(b.End-b.Start)))
		if rng.IntN(3) == 0 {
			at = b.Start // about to go
		}
		s, err := l.Read(at, b.End, 1, true)
		if protocol.CodeOf(err) == protocol.OffsetOutOfRange {
			if start := l.Bounds().Start; start <= at {
				t.Errorf("%v, but the log begins at %d", err, start)
				return
			}
			continue
		}
		if err != nil {
			t.Error(err)
			return
		}
		buf, err = s.Bytes(buf)
		s.Release()
		if err != nil {
			t.Errorf("read at %d: %v", at, err)
			return
		}
		for r, err := range batch.Batch(buf).Records(nil) {
			if err != nil || !strings.HasPrefix(string(r.Value), fmt.Sprintf("%08d", at)) {
				t.Errorf("read at %d: %.8s, %v", at, r.Value, err)
				return
			}
		}
		if _, _, err := l.OffsetAt(int64(1000+at), b.End); err != nil {
			t.Errorf("time of %d: %v", at, err)
			return
		}
	}
}
