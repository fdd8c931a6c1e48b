//go:build compat

package scenarios

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"moldau.io/moldau/compat-tests/harness"
)

const (
	killTopic      = "gigabytes"
	killPartitions = 3
	killRecords    = 1_048_576 // of 1 KiB: one GiB
	payloadBytes   = 1024
	payloadLines   = 512
)

// TestAcknowledgedRecordsSurviveKill9: a gigabyte by Kafka's own performance tool is read back with checksums; then the
// broker is killed in the middle of a second one, and after the restart every record that was acknowledged is at its
// offset, the first gigabyte is what it was, and nothing lies between that was never sent.
func TestAcknowledgedRecordsSurviveKill9(t *testing.T) {
	b := harness.Start(t, harness.Config{})
	createTopic(t, b.Addr, killTopic, killPartitions)

	payloads, known := payloadFile(t)
	began := time.Now()
	harness.Tool(t, "producer-perf-test", "--topic", killTopic, "--num-records", fmt.Sprint(killRecords),
		"--throughput", "-1", "--payload-file", payloads,
		"--producer-props", "bootstrap.servers="+b.Addr, "acks=all").Want(t, fmt.Sprintf("%d records sent", killRecords))
	t.Logf("first GiB produced in %.1f s", time.Since(began).Seconds())

	before := readAll(t, b.Addr)
	if n := before.count(); n != killRecords {
		t.Fatalf("%d records were read back, %d were produced", n, killRecords)
	}
	for p, sums := range before {
		for offset, sum := range sums {
			if !known[sum] {
				t.Fatalf("partition %d, offset %d: the value is none of those sent", p, offset)
			}
		}
	}

	acked := produceUntilKilled(t, b)
	b.Run(t)

	after := readAll(t, b.Addr)
	for p, sums := range before {
		for offset, sum := range sums {
			if offset >= len(after[p]) || after[p][offset] != sum {
				t.Fatalf("partition %d, offset %d: the first gigabyte has changed", p, offset)
			}
		}
	}
	lost := 0
	for _, a := range acked {
		if a.offset >= len(after[a.partition]) || after[a.partition][a.offset] != a.sum {
			lost++
		}
	}
	if lost > 0 {
		t.Fatalf("%d of %d acknowledged records are not at their offsets", lost, len(acked))
	}
	t.Logf("killed after %d acknowledgements in the second GiB: all are at their offsets; %d records in the log",
		len(acked), after.count())
}

// payloadFile writes different lines of payloadBytes for the performance tool to choose from, and returns their sums.
func payloadFile(t *testing.T) (path string, known map[uint32]bool) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	known = make(map[uint32]bool)
	var file bytes.Buffer
	for range payloadLines {
		line := make([]byte, payloadBytes)
		for i := range line {
			line[i] = "abcdefghijklmnopqrstuvwxyz012345"[rng.IntN(32)]
		}
		known[crc32.ChecksumIEEE(line)] = true
		file.Write(append(line, '\n'))
	}
	path = filepath.Join(t.TempDir(), "payloads.txt")
	if err := os.WriteFile(path, file.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path, known
}

// sums is the checksum of every value, by partition and offset.
type sums [killPartitions][]uint32

func (s *sums) count() (n int) {
	for _, p := range s {
		n += len(p)
	}
	return n
}

// readAll reads every partition from the start to its end and fails on any gap.
func readAll(t *testing.T, addr string) *sums {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumeTopics(killTopic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, killTopic)
	if err != nil {
		t.Fatal(err)
	}
	var all sums
	left := 0
	ends.Each(func(o kadm.ListedOffset) { left += int(o.Offset) })
	for left > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%d records were still to come: %v", left, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if int64(len(all[r.Partition])) != r.Offset {
				t.Fatalf("partition %d: offset %d came after %d", r.Partition, r.Offset, len(all[r.Partition])-1)
			}
			all[r.Partition] = append(all[r.Partition], crc32.ChecksumIEEE(r.Value))
			left--
		})
	}
	return &all
}

type acknowledged struct {
	partition, offset int
	sum               uint32
}

// produceUntilKilled produces with acks=all and kills the broker once it has acknowledged a good part of the gigabyte.
func produceUntilKilled(t *testing.T, b *harness.Broker) []acknowledged {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addr), kgo.DefaultProduceTopic(killTopic),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.RecordPartitioner(kgo.UniformBytesPartitioner(64<<10, false, false, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	var mu sync.Mutex
	var acked []acknowledged
	enough := make(chan struct{})
	promise := func(r *kgo.Record, err error) {
		if err != nil {
			return // after the kill: never acknowledged, so nothing was promised
		}
		mu.Lock()
		defer mu.Unlock()
		acked = append(acked, acknowledged{int(r.Partition), int(r.Offset), crc32.ChecksumIEEE(r.Value)})
		if len(acked) == killRecords/2 {
			close(enough)
		}
	}
	go func() {
		filler := strings.Repeat("x", payloadBytes-16)
		for i := 0; i < killRecords && ctx.Err() == nil; i++ {
			cl.Produce(ctx, &kgo.Record{Value: fmt.Appendf(nil, "%015d %s", i, filler)}, promise)
		}
	}()
	select {
	case <-enough:
	case <-time.After(3 * time.Minute):
		t.Fatal("half of the second gigabyte was not acknowledged in three minutes")
	}
	b.Kill(t)
	cancel()
	mu.Lock()
	defer mu.Unlock()
	return append([]acknowledged(nil), acked...)
}
