//go:build bench

package quick

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"moldau.io/moldau/compat-tests/harness"
)

const (
	fsyncConnections = 64
	fsyncWarmUp      = 6 * time.Second
	fsyncTime        = 4 * time.Second
	refusedMax       = 500
)

// TestFsync has 64 connections produce one batch of 1 KB after the other, each after the answer to the one before, to topics
// that are acknowledged from the page cache and to topics that are synced first: by flush.messages=1 in Apache Kafka, by
// moldau.durability=fsync here. go test -tags bench -run TestFsync -v ./bench/quick
func TestFsync(t *testing.T) {
	ctx := t.Context()
	type side struct {
		name  string
		kind  harness.Kind
		topic map[string]*string
	}
	one, fsync := "1", "fsync"
	sides := []side{
		{"Apache Kafka, page cache", harness.Kafka, nil},
		{"Apache Kafka, flush.messages=1", harness.Kafka, map[string]*string{"flush.messages": &one}},
		{"moldau, page cache", harness.Moldau, nil},
		{"moldau, moldau.durability=fsync", harness.Moldau, map[string]*string{"moldau.durability": &fsync}},
	}
	brokers := map[harness.Kind]*harness.Broker{
		harness.Kafka:  harness.Start(t, harness.Config{Kind: harness.Kafka, JavaHeap: "512M"}),
		harness.Moldau: harness.Start(t, harness.Config{Kind: harness.Moldau}),
	}
	for _, partitions := range []int32{1, 64} {
		rates := make([][]float64, len(sides))
		for round := range *rounds {
			for i, s := range sides {
				rate, err := produceOneByOne(ctx, brokers[s.kind].Addr, fmt.Sprintf("fsync-%d-%d-%d", partitions, round, i),
					partitions, s.topic)
				if err != nil {
					t.Fatalf("%s: %v", s.name, err)
				}
				rates[i] = append(rates[i], rate)
			}
		}
		fmt.Printf("\n64 connections, %d partitions, 1 KB, one at a time: appends a second\n", partitions)
		for i, s := range sides {
			fmt.Printf("%-40s %10.0f\n", s.name, median(rates[i]))
		}
	}
}

// produceOneByOne is how many requests of one batch 64 connections have answered in a second.
func produceOneByOne(ctx context.Context, addr, topic string, partitions int32, configs map[string]*string) (float64, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, partitions, 1, configs, topic); err != nil {
		return 0, err
	}
	var n atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	from := time.Now().Add(fsyncWarmUp)
	for i := range int32(fsyncConnections) {
		wg.Go(func() {
			if err := oneByOne(addr, topic, i%partitions, from, &n); err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(n.Load()) / time.Since(from).Seconds(), deleteTopic(ctx, addr, topic)
}

func oneByOne(addr, topic string, partition int32, from time.Time, n *atomic.Int64) error {
	c, err := dialRaw(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	request, refused := produceRequest(topic, partition, recordBatch(1, recordBytes)), 0
	for time.Since(from) < fsyncTime {
		answer, err := c.exchange(request)
		if err != nil {
			return err
		}
		if err := produceError(answer); err != nil {
			if refused++; refused > refusedMax {
				return err
			}
			time.Sleep(50 * time.Millisecond) // the topic is not there yet
			continue
		}
		if time.Since(from) > 0 {
			n.Add(1)
		}
	}
	return nil
}
