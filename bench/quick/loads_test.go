//go:build bench

package quick

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	recordBytes  = 1000
	readyRecords = 16 // in a ready-made request: 16 records of 1 KB
)

func createTopic(ctx context.Context, addr, topic string, partitions int32) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		return err
	}
	defer cl.Close()
	_, err = kadm.NewClient(cl).CreateTopic(ctx, partitions, 1, nil, topic)
	return err
}

func deleteTopic(ctx context.Context, addr, topic string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		return err
	}
	defer cl.Close()
	_, err = kadm.NewClient(cl).DeleteTopic(ctx, topic)
	return err
}

// produceBatched produces total bytes in records of 1 KB as a client does that batches: acks=all, idempotent, 16 KB
// batches as the Java client's default, five milliseconds of linger.
func produceBatched(ctx context.Context, addr, topic string, total int64) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DefaultProduceTopic(topic),
		kgo.ProducerLinger(5*time.Millisecond), kgo.MaxBufferedRecords(20_000),
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
	for range total / recordBytes {
		cl.Produce(ctx, &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
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

// produceReady sends ready-made requests of one 16 KB batch, each after the answer to the one before, acks=1.
func produceReady(_ context.Context, addr, topic string, total int64) error {
	c, err := dialRaw(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	batch := recordBatch(readyRecords, recordBytes)
	request := produceRequest(topic, 0, batch)
	for n := int64(0); n < total; n += int64(len(batch)) {
		answer, err := c.exchange(request)
		if err != nil {
			return err
		}
		if err := produceError(answer); err != nil {
			return err
		}
	}
	return nil
}

// consume reads total bytes of values from the start of topic.
func consume(ctx context.Context, addr, topic string, total int64) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer cl.Close()
	for got := int64(0); got < total/recordBytes*recordBytes; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		fetches.EachRecord(func(r *kgo.Record) { got += int64(len(r.Value)) })
	}
	return nil
}

type latencies []time.Duration

func (l latencies) at(q float64) time.Duration {
	if len(l) == 0 {
		return 0
	}
	return l[min(len(l)-1, int(q*float64(len(l))))]
}

// endToEnd sends perSecond records a second for d, each stamped with its time, and returns the times until a consumer
// had them, in rising order. Records of the first second are not counted.
func endToEnd(ctx context.Context, addr, topic string, perSecond int, d time.Duration) (latencies, error) {
	reader, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	writer, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0),
		kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return nil, err
	}
	defer writer.Close()

	const bundle = 10 // records sent at one tick
	total := int(d.Seconds()*float64(perSecond)) / bundle * bundle
	ctx, cancel := context.WithTimeout(ctx, d+30*time.Second)
	defer cancel()
	go func() {
		start := time.Now()
		for i := range total {
			if i%bundle == 0 {
				due := start.Add(time.Duration(i) * time.Second / time.Duration(perSecond))
				time.Sleep(time.Until(due))
			}
			value := make([]byte, 100)
			binary.BigEndian.PutUint64(value, uint64(time.Now().UnixNano()))
			writer.Produce(ctx, &kgo.Record{Value: value}, nil)
		}
	}()
	all := make(latencies, 0, total)
	for seen := 0; seen < total; {
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("after %d of %d records: %w", seen, total, err)
		}
		now := time.Now().UnixNano()
		fetches.EachRecord(func(r *kgo.Record) {
			if seen++; seen > perSecond {
				all = append(all, time.Duration(now-int64(binary.BigEndian.Uint64(r.Value))))
			}
		})
	}
	slices.Sort(all)
	return all, nil
}
