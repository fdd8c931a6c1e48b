package batch_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/protocol/compress"
)

var now = time.UnixMilli(1_700_000_000_000)

// rules are the defaults of a topic.
func rules() batch.Rules {
	return batch.Rules{
		Partition: protocol.TopicPartition{Topic: "t", Partition: 3}, Now: now,
		TimestampBeforeMaxMs: math.MaxInt64, TimestampAfterMaxMs: 3_600_000,
		MaxBytes: 1048588, MaxDecompressedRecord: math.MaxInt32 - 8, Target: batch.KeepProducer,
	}
}

func BenchmarkValidate(b *testing.B) {
	for _, x := range []struct {
		codec         compress.Codec
		count, record int
	}{
		{compress.None, 16, 1000}, {compress.None, 150, 100}, {compress.None, 8000, 100},
		{compress.Gzip, 150, 100}, {compress.Snappy, 150, 100}, {compress.LZ4, 150, 100}, {compress.Zstd, 150, 100},
	} {
		b.Run(fmt.Sprintf("%v/%dx%d", x.codec, x.count, x.record), func(b *testing.B) {
			bt := plainRecords(batch.BuilderOptions{Codec: x.codec}, x.count, x.record)
			r := rules()
			b.SetBytes(int64(len(bt)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := bt.Validate(r); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(x.count), "ns/record")
		})
	}
}

// plainRecords makes a batch of n records with a key and no headers.
func plainRecords(o batch.BuilderOptions, n, valueBytes int) batch.Batch {
	b := batch.NewBuilder(o)
	for i := range n {
		b.Add(now.UnixMilli()+int64(i/10), fmt.Appendf(nil, "key-%d", i), make([]byte, valueBytes))
	}
	return b.Build()
}

func BenchmarkCheckCRC(b *testing.B) {
	bt := build(batch.BuilderOptions{}, 150, 100)
	b.SetBytes(int64(len(bt)))
	for b.Loop() {
		if !bt.CheckCRC() {
			b.Fatal()
		}
	}
}
