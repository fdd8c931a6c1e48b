//go:build compat

package scenarios

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"moldau.io/moldau/compat-tests/harness"
)

const (
	crashRounds     = 15
	crashTopics     = 3
	crashPartitions = 2
	crashGroup      = "crash-loop"
	crashValue      = 1000 // bytes: about a thousand records in a segment
)

// TestIdempotentProducerSurvivesCrashLoop: one idempotent producer writes numbered records into small segments while the
// broker is killed, or stopped, again and again at random moments, and a group commits meanwhile. In the end each partition
// holds each number once, in order, at the offset that was acknowledged, and no commit that was acknowledged is taken back.
func TestIdempotentProducerSurvivesCrashLoop(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	b := harness.Start(t, harness.Config{Properties: map[string]string{"log.segment.bytes": "1048576"}})
	for i := range crashTopics {
		createTopic(t, b.Addr, crashTopic(i), crashPartitions)
	}
	load := startCrashLoad(t, b.Addr)
	commits := startCommits(t, b.Addr)
	for round := range crashRounds {
		load.awaitMore(t, 1000+rng.Int64N(20_000))
		if round%5 == 4 {
			b.Stop(t)
		} else {
			b.Kill(t)
		}
		b.Run(t)
		commits.check(t, b.Addr)
	}
	commits.stop()
	sent := load.finish(t)
	commits.check(t, b.Addr)
	load.verify(t, b.Addr, sent)
	t.Logf("%d records and %d commits over %d crashes", load.acked.Load(), commits.acked.Load(), crashRounds)
}

func crashTopic(i int) string { return fmt.Sprintf("crash-%d", i) }

type lane struct {
	topic     string
	partition int32
}

func crashLanes() []lane {
	var all []lane
	for i := range crashTopics {
		for p := range int32(crashPartitions) {
			all = append(all, lane{crashTopic(i), p})
		}
	}
	return all
}

// crashLoad is the producer: one goroutine for each partition.
type crashLoad struct {
	cl    *kgo.Client
	stop  context.CancelFunc
	wg    sync.WaitGroup
	acked atomic.Int64

	mu      sync.Mutex
	offsets map[lane][]int64 // by number, -1 until acknowledged
	fault   error            // the first of a record
	changed chan struct{}    // one token after an acknowledgement
}

func startCrashLoad(t *testing.T, addr string) *crashLoad {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(2000), kgo.RetryBackoffFn(
			func(int) time.Duration { return 20 * time.Millisecond }), kgo.ProducerBatchMaxBytes(64<<10),
		kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	ctx, stop := context.WithCancel(t.Context())
	l := &crashLoad{cl: cl, stop: stop, offsets: map[lane][]int64{}, changed: make(chan struct{}, 1)}
	for _, at := range crashLanes() {
		l.wg.Go(func() { l.run(ctx, at) })
	}
	return l
}

// run sends 0, 1, 2 and so on, at most 500 of them unacknowledged.
func (l *crashLoad) run(ctx context.Context, at lane) {
	window := make(chan struct{}, 500)
	for n := uint64(0); ctx.Err() == nil; n++ {
		select {
		case window <- struct{}{}:
		case <-ctx.Done():
			return
		}
		value := make([]byte, crashValue)
		binary.BigEndian.PutUint64(value, n)
		l.mu.Lock()
		l.offsets[at] = append(l.offsets[at], -1)
		l.mu.Unlock()
		r := &kgo.Record{Topic: at.topic, Partition: at.partition, Value: value}
		l.cl.Produce(context.Background(), r, func(r *kgo.Record, err error) {
			l.note(at, n, r, err)
			<-window
		})
	}
}

func (l *crashLoad) note(at lane, n uint64, r *kgo.Record, err error) {
	l.mu.Lock()
	if err != nil && l.fault == nil {
		l.fault = fmt.Errorf("record %d of %s-%d: %w", n, at.topic, at.partition, err)
	}
	if err == nil {
		l.offsets[at][n] = r.Offset
		l.acked.Add(1)
	}
	l.mu.Unlock()
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

func (l *crashLoad) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fault
}

func (l *crashLoad) awaitMore(t *testing.T, more int64) {
	t.Helper()
	target := l.acked.Load() + more
	late := time.NewTimer(30 * time.Second)
	defer late.Stop()
	for l.acked.Load() < target {
		if err := l.failed(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-l.changed:
		case <-late.C:
			t.Fatalf("%d of %d records were acknowledged in 30 s", more-(target-l.acked.Load()), more)
		}
	}
}

// finish waits until all that was sent is acknowledged, and returns how much that is for each partition.
func (l *crashLoad) finish(t *testing.T) map[lane]int64 {
	t.Helper()
	l.stop()
	l.wg.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := l.cl.Flush(ctx); err != nil {
		t.Fatalf("the last records are not acknowledged: %v", err)
	}
	if err := l.failed(); err != nil {
		t.Fatal(err)
	}
	sent := map[lane]int64{}
	for at, offsets := range l.offsets {
		sent[at] = int64(len(offsets))
		for n, offset := range offsets {
			if offset != int64(n) {
				t.Fatalf("%s-%d: record %d was acknowledged at offset %d", at.topic, at.partition, n, offset)
			}
		}
	}
	return sent
}

// verify reads everything back: number n is at offset n, and nothing else is there.
func (l *crashLoad) verify(t *testing.T, addr string, sent map[lane]int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	offsets := map[string]map[int32]kgo.Offset{}
	var topics []string
	left := int64(0)
	for at, n := range sent {
		if offsets[at.topic] == nil {
			offsets[at.topic] = map[int32]kgo.Offset{}
			topics = append(topics, at.topic)
		}
		offsets[at.topic][at.partition] = kgo.NewOffset().At(0)
		left += n
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumePartitions(offsets))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topics...)
	if err != nil {
		t.Fatal(err)
	}
	for at, n := range sent {
		if end, _ := ends.Lookup(at.topic, at.partition); end.Offset != n {
			t.Fatalf("%s-%d ends at %d; %d records were sent, each once", at.topic, at.partition, end.Offset, n)
		}
	}
	next := map[lane]int64{}
	for left > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%d records were still to come: %v", left, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			at := lane{r.Topic, r.Partition}
			if n := int64(binary.BigEndian.Uint64(r.Value)); n != next[at] || r.Offset != n {
				t.Fatalf("%s-%d: record %d at offset %d, expected %d", r.Topic, r.Partition, n, r.Offset, next[at])
			}
			next[at]++
			left--
		})
	}
}

// crashCommits commits growing offsets for one partition, one after another.
type crashCommits struct {
	stop             func()
	acked, attempted atomic.Int64
}

func startCommits(t *testing.T, addr string) *crashCommits {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.MetadataMinAge(50*time.Millisecond), kgo.RetryBackoffFn(
		func(int) time.Duration { return 20 * time.Millisecond }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	c := &crashCommits{stop: func() { cancel(); <-done }}
	go func() {
		defer close(done)
		adm := kadm.NewClient(cl)
		pace := time.NewTicker(2 * time.Millisecond)
		defer pace.Stop()
		for n := int64(1); ctx.Err() == nil; n++ {
			<-pace.C
			var os kadm.Offsets
			os.Add(kadm.Offset{Topic: crashTopic(0), Partition: 0, At: n, LeaderEpoch: -1})
			c.attempted.Store(n)
			if resp, err := adm.CommitOffsets(ctx, crashGroup, os); err == nil && resp.Error() == nil {
				c.acked.Store(n)
			}
		}
	}()
	return c
}

// check compares what the broker says with what it has acknowledged before it was asked.
func (c *crashCommits) check(t *testing.T, addr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	acked := c.acked.Load()
	resp, err := kadm.NewClient(cl).FetchOffsets(ctx, crashGroup)
	if err != nil {
		t.Fatal(err)
	}
	got := int64(0)
	if o, ok := resp.Lookup(crashTopic(0), 0); ok {
		got = o.At
	}
	if tried := c.attempted.Load(); got < acked || got > tried {
		t.Fatalf("the group is at offset %d; %d was acknowledged, %d was the last sent", got, acked, tried)
	}
}
