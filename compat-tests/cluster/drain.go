package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// eventBytes is the size of an event that is drained: a line of a log.
const eventBytes = 100

// Fill writes n events to a topic, acks=all, spread over its partitions.
func Fill(ctx context.Context, brokers []string, topic string, n int) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(20*time.Millisecond),
		kgo.MaxBufferedRecords(100_000), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.RecordPartitioner(kgo.UniformBytesPartitioner(64<<10, false, false, nil)))
	if err != nil {
		return err
	}
	defer cl.Close()
	var failed atomic.Pointer[error]
	keys := make([]byte, n*8)
	line := make([]byte, eventBytes-8)
	for i := range n {
		key := keys[i*8 : i*8+8]
		binary.BigEndian.PutUint64(key, uint64(i))
		cl.Produce(ctx, &kgo.Record{Key: key, Value: line}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	if p := failed.Load(); p != nil {
		return *p
	}
	return nil
}

// Drained is how a group has emptied a topic.
type Drained struct {
	Events  int
	Took    time.Duration // from the first event that a member had to the last
	Members int           // that read some
	Twice   int           // events that came more than once
}

// Rate is events a second.
func (d Drained) Rate() float64 { return float64(d.Events) / d.Took.Seconds() }

// Drain has a group of so many members, a thread each, read the n events that Fill wrote.
func Drain(ctx context.Context, brokers []string, topic, group string, threads, n int) (Drained, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	d := drain{seen: make([]atomic.Bool, n), done: make(chan struct{})}
	var members sync.WaitGroup
	for range threads {
		cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.ConsumerGroup(group),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(500*time.Millisecond))
		if err != nil {
			return Drained{}, err
		}
		members.Go(func() {
			defer cl.Close()
			d.member(ctx, cl, cancel)
		})
	}
	select {
	case <-d.done:
	case <-ctx.Done():
	}
	cause := context.Cause(ctx)
	cancel(nil)
	members.Wait()
	got := Drained{Events: int(d.events.Load()), Took: time.Duration(d.last.Load() - d.first.Load()), Members: int(d.active.Load()),
		Twice: int(d.twice.Load())}
	if got.Events < n {
		return got, fmt.Errorf("%d of %d events were read: %w", got.Events, n, cause)
	}
	return got, nil
}

type drain struct {
	seen                  []atomic.Bool // by the number of the event
	events, twice, active atomic.Int64
	first, last           atomic.Int64
	done                  chan struct{} // closed when all have been seen
}

var errAlien = errors.New("a record that was never written")

func (d *drain) member(ctx context.Context, cl *kgo.Client, cancel context.CancelCauseFunc) {
	began := false
	for ctx.Err() == nil {
		fetches := cl.PollFetches(ctx)
		now := time.Now().UnixNano()
		d.first.CompareAndSwap(0, now)
		fetches.EachRecord(func(r *kgo.Record) {
			if !began {
				began = true
				d.active.Add(1)
			}
			if len(r.Key) != 8 || binary.BigEndian.Uint64(r.Key) >= uint64(len(d.seen)) {
				cancel(errAlien)
				return
			}
			if d.seen[binary.BigEndian.Uint64(r.Key)].Swap(true) {
				d.twice.Add(1)
				return
			}
			if d.events.Add(1) == int64(len(d.seen)) {
				d.last.Store(time.Now().UnixNano())
				close(d.done)
			}
		})
	}
}
