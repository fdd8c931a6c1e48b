// Command franz-go drives a broker with github.com/twmb/franz-go: see ../scenarios.md.
package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"moldau.io/moldau/compat-tests/harness"
)

var codecs = []struct {
	name  string
	codec kgo.CompressionCodec
}{
	{"none", kgo.NoCompression()},
	{"gzip", kgo.GzipCompression()},
	{"snappy", kgo.SnappyCompression()},
	{"lz4", kgo.Lz4Compression()},
	{"zstd", kgo.ZstdCompression()},
}

type client struct {
	harness.Arguments
	written, read harness.Seen
}

func main() {
	c := &client{harness.ProgramArguments(), harness.Seen{}, harness.Seen{}}
	if c.Second {
		harness.Scenario("after-restart", c.afterRestart)
		return
	}
	harness.Scenario("create-topic", c.createTopic)
	for _, k := range codecs {
		harness.Scenario("produce-"+k.name, func() error {
			return c.produce(k.name, kgo.ProducerBatchCompression(k.codec), kgo.DisableIdempotentWrite())
		})
	}
	harness.Scenario("produce-idempotent", func() error { return c.produce("idempotent") })
	harness.Scenario("read-back", c.readBack)
	harness.Scenario("group-commit", func() error { return c.readInGroup(100) })
	harness.Scenario("group-resume", func() error {
		if err := c.readInGroup(len(c.written) - len(c.read)); err != nil {
			return err
		}
		return c.read.Equal(c.written)
	})
}

func (c *client) createTopic() error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Bootstrap))
	if err != nil {
		return err
	}
	defer cl.Close()
	admin := kadm.NewClient(cl)
	if _, err := admin.CreateTopic(context.Background(), 3, 1, nil, c.Topic); err != nil {
		return err
	}
	topics, err := admin.ListTopics(context.Background(), c.Topic)
	if err != nil {
		return err
	}
	if n := len(topics[c.Topic].Partitions); n != 3 {
		return fmt.Errorf("%d partitions", n)
	}
	return nil
}

func (c *client) produce(tag string, opts ...kgo.Opt) error {
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(c.Bootstrap), kgo.DefaultProduceTopic(c.Topic))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	var records []*kgo.Record
	for i := range harness.RecordsPerCodec {
		key, value := harness.TestRecord(tag, i)
		c.written[key] = true
		records = append(records, &kgo.Record{Key: []byte(key), Value: []byte(value),
			Headers: []kgo.RecordHeader{{Key: "codec", Value: []byte(tag)}}})
	}
	return cl.ProduceSync(context.Background(), records...).FirstErr()
}

func take(seen harness.Seen, r *kgo.Record) error {
	codec := ""
	for _, h := range r.Headers {
		codec = string(h.Value)
	}
	return seen.Take(string(r.Key), string(r.Value), codec)
}

func (c *client) readBack() error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Bootstrap), kgo.ConsumeTopics(c.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer cl.Close()
	seen := harness.Seen{}
	if err := poll(cl, len(c.written), seen); err != nil {
		return err
	}
	return seen.Equal(c.written)
}

// poll reads at least n records; after each poll they are committed by a client with a group.
func poll(cl *kgo.Client, n int, seen harness.Seen) error {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	for before := len(seen); len(seen)-before < n; {
		fetches := cl.PollRecords(ctx, 50)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("%d records were read: %w", len(seen)-before, err)
		}
		for _, r := range fetches.Records() {
			if err := take(seen, r); err != nil {
				return err
			}
		}
		if group, _ := cl.GroupMetadata(); group != "" {
			if err := cl.CommitUncommittedOffsets(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *client) readInGroup(n int) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Bootstrap), kgo.ConsumerGroup(c.Group), kgo.ConsumeTopics(c.Topic),
		kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer cl.Close()
	return poll(cl, n, c.read)
}

func (c *client) afterRestart() error {
	if err := c.produce("again", kgo.ProducerBatchCompression(kgo.ZstdCompression())); err != nil {
		return err
	}
	if err := c.readInGroup(harness.RecordsPerCodec); err != nil {
		return err
	}
	return c.read.Equal(c.written)
}
