package storage

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/protocol/compress"
	"moldau.io/moldau/storage/vfs"
)

// BenchmarkCleaning compacts a log of 64 MB: batches of 100 records with keys of 16 bytes and values of 100, each key about four
// times. Bytes are those of the log, of which the cleaning reads each twice: for the keys, and to copy.
func BenchmarkCleaning(b *testing.B) {
	for _, codec := range []compress.Codec{compress.None, compress.LZ4, compress.Zstd} {
		b.Run(codec.String(), func(b *testing.B) {
			var spent time.Duration
			for b.Loop() {
				b.StopTimer()
				s, l := dirtyLog(b, codec, 64<<20)
				b.SetBytes(l.Size())
				began := processorTime(b)
				b.StartTimer()
				if n := s.cleanNow(time.Now()); n != 1 {
					b.Fatal(n)
				}
				b.StopTimer()
				spent += processorTime(b) - began
				stats := s.CleanerStats()
				b.ReportMetric(float64(stats.Total.RecordsRead), "records/op")
				b.ReportMetric(100*float64(stats.Total.BytesWritten)/float64(stats.Total.BytesRead), "%kept")
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(spent)/float64(b.N), "cpu-ns/op")
			b.ReportAllocs()
		})
	}
}

// dirtyLog is a log on disk, of so many bytes of records.
func dirtyLog(b *testing.B, codec compress.Codec, bytes int) (*Store, *Log) {
	b.Helper()
	cfg := DefaultConfig()
	cfg.Compacts, cfg.SegmentBytes = true, 32<<20
	s, err := openIdle(vfs.OS(), []string{b.TempDir()}, testOptions(cfg))
	if err != nil {
		b.Fatal(err)
	}
	l, err := s.Create(tp0, protocol.TopicID{1}, cfg)
	if err != nil {
		b.Fatal(err)
	}
	const recordBytes, perBatch = 128, 100
	keys := max(bytes/recordBytes/4, 1)
	rng := rand.New(rand.NewPCG(1, 1))
	value := make([]byte, 100)
	for range bytes / recordBytes / perBatch {
		x := batch.NewBuilder(batch.BuilderOptions{Codec: codec})
		for range perBatch {
			for i := range value {
				value[i] = "abcdefgh"[rng.IntN(8)]
			}
			x.Add(1000, fmt.Appendf(nil, "key-%012d", rng.IntN(keys)), value)
		}
		if _, err := l.Append(testNow, 0, x.Build()); err != nil {
			b.Fatal(err)
		}
	}
	l.mu.Lock()
	err = l.roll(l.active().Next())
	l.mu.Unlock()
	if err == nil {
		err = l.Flush()
	}
	if err != nil {
		b.Fatal(err)
	}
	l.SetHighWatermark(math.MaxInt64)
	return s, l
}
