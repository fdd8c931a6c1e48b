//go:build bench

package cluster

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"moldau.io/moldau/compat-tests/harness"
)

const recordBytes = 1000

// produce measures acks=all with three replicas: as fast as it goes by franz-go and by Kafka's own tool, at small and at large
// batches, and the time to the acknowledgement at a rate that both brokers bear.
func (b *bench) produce(round int) {
	for _, load := range []struct {
		row, cpu string
		bytes    int32
		linger   time.Duration
	}{
		{"produce, franz-go, 16 KB batches, linger 5 ms", "  brokers' processor time", 16 << 10, 5 * time.Millisecond},
		{"produce, franz-go, 128 KB batches, linger 20 ms", "  brokers' processor time, large batches", 128 << 10, 20 * time.Millisecond},
	} {
		topic := fmt.Sprintf("franz-%d-%d", load.bytes, round)
		b.make(topic, 6)
		before, began := b.used(), time.Now()
		if err := b.franz(topic, load.bytes, load.linger); err != nil {
			b.t.Fatalf("%s: %v", b.Kind, err)
		}
		gigabytes := float64(*records) * recordBytes / 1e9
		b.add(load.row, 1000*gigabytes/time.Since(began).Seconds())
		b.add(load.cpu, (b.used()-before).Seconds()/gigabytes)
		b.remove(topic)
	}
	b.perfTest(round, "small", "produce, producer-perf-test, its defaults", "  p99 under that load")
	b.perfTest(round, "large", "produce, producer-perf-test, 64 KB, linger 10 ms", "  p99 under that load, large batches",
		"batch.size=65536", "linger.ms=10")
	b.latency(round)
}

func (b *bench) franz(topic string, batchBytes int32, linger time.Duration) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...), kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(linger),
		kgo.ProducerBatchMaxBytes(batchBytes), kgo.MaxBufferedRecords(20_000),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	if err != nil {
		return err
	}
	defer cl.Close()
	value := make([]byte, recordBytes)
	for i := range value {
		value[i] = byte('a' + i%26)
	}
	var failed atomic.Pointer[error]
	for range *records {
		cl.Produce(b.t.Context(), &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		})
	}
	if err := cl.Flush(b.t.Context()); err != nil {
		return err
	}
	if p := failed.Load(); p != nil {
		return *p
	}
	return nil
}

var (
	perfRate = regexp.MustCompile(`\(([0-9.]+) MB/sec\)`)
	perfP99  = regexp.MustCompile(`([0-9.]+) ms 99th`)
)

// perfTest runs kafka-producer-perf-test as fast as it goes.
func (b *bench) perfTest(round int, name, rateRow, p99Row string, config ...string) {
	b.t.Helper()
	topic := fmt.Sprintf("perf-%s-%d", name, round)
	b.make(topic, 6)
	args := append([]string{"--topic", topic, "--num-records", strconv.Itoa(*records), "--record-size", strconv.Itoa(recordBytes),
		"--throughput", "-1", "--command-property", "bootstrap.servers=" + b.Bootstrap(), "acks=all"}, config...)
	r := harness.Run(b.t, 5*time.Minute, "", harness.ToolCommand(b.t, "producer-perf-test", args...)...).Want(b.t)
	last := harness.Tail(strings.TrimSpace(r.Stdout), 1)
	rate, p99 := perfRate.FindStringSubmatch(last), perfP99.FindStringSubmatch(last)
	if rate == nil || p99 == nil {
		b.t.Fatalf("%s: %s", b.Kind, r.Stdout)
	}
	mb, _ := strconv.ParseFloat(rate[1], 64)
	ms, _ := strconv.ParseFloat(p99[1], 64)
	b.add(rateRow, mb)
	b.add(p99Row, ms)
	b.remove(topic)
}

// latency sends 5,000 records of 1 KB a second to 6 partitions, without linger, and takes the times until each is acknowledged. The
// first second does not count.
func (b *bench) latency(round int) {
	b.t.Helper()
	const perSecond, seconds = 5000, 8
	topic := fmt.Sprintf("latency-%d", round)
	b.make(topic, 6)
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...), kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	if err != nil {
		b.t.Fatal(err)
	}
	defer cl.Close()
	var mu sync.Mutex
	var all []time.Duration
	value := make([]byte, recordBytes)
	start := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for i := 0; i < perSecond*seconds; {
		<-tick.C
		for ; i < perSecond*seconds && time.Since(start) >= time.Duration(i)*time.Second/perSecond; i++ {
			counted := i >= perSecond
			sent := time.Now()
			cl.Produce(b.t.Context(), &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
				took := time.Since(sent)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					b.t.Errorf("%s: %v", b.Kind, err)
				} else if counted {
					all = append(all, took)
				}
			})
		}
	}
	if err := cl.Flush(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	slices.Sort(all)
	for _, q := range []struct {
		row string
		at  float64
	}{{"produce at 5,000 records/s, p50", .5}, {"produce at 5,000 records/s, p99", .99}, {"produce at 5,000 records/s, p99.9", .999}} {
		b.add(q.row, float64(all[int(q.at*float64(len(all)))].Microseconds())/1000)
	}
	b.remove(topic)
}
