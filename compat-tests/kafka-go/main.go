// Command kafka-go drives a broker with github.com/segmentio/kafka-go: see ../scenarios.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/segmentio/kafka-go"

	"moldau.io/moldau/compat-tests/harness"
)

var codecs = []struct {
	name  string
	codec kafka.Compression
}{
	{"none", 0},
	{"gzip", kafka.Gzip},
	{"snappy", kafka.Snappy},
	{"lz4", kafka.Lz4},
	{"zstd", kafka.Zstd},
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
		harness.Scenario("produce-"+k.name, func() error { return c.produce(k.name, k.codec) })
	}
	harness.Scenario("read-back", c.readBack)
	harness.Scenario("group-commit", func() error { return c.readInGroup(100) })
	harness.Scenario("group-resume", func() error {
		if err := c.readInGroup(len(c.written) - len(c.read)); err != nil {
			return err
		}
		return c.read.Equal(c.written)
	})
}

func limited() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 60*time.Second)
}

func (c *client) createTopic() error {
	ctx, cancel := limited()
	defer cancel()
	cl := &kafka.Client{Addr: kafka.TCP(c.Bootstrap)}
	resp, err := cl.CreateTopics(ctx, &kafka.CreateTopicsRequest{
		Topics: []kafka.TopicConfig{{Topic: c.Topic, NumPartitions: 3, ReplicationFactor: 1}},
	})
	if err != nil {
		return err
	}
	if err := resp.Errors[c.Topic]; err != nil {
		return err
	}
	meta, err := cl.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{c.Topic}})
	if err != nil {
		return err
	}
	if n := len(meta.Topics[0].Partitions); n != 3 {
		return fmt.Errorf("%d partitions", n)
	}
	return nil
}

func (c *client) produce(tag string, codec kafka.Compression) error {
	ctx, cancel := limited()
	defer cancel()
	w := &kafka.Writer{Addr: kafka.TCP(c.Bootstrap), Topic: c.Topic, Balancer: &kafka.Hash{}, Compression: codec,
		RequiredAcks: kafka.RequireAll, BatchTimeout: 20 * time.Millisecond}
	var messages []kafka.Message
	for i := range harness.RecordsPerCodec {
		key, value := harness.TestRecord(tag, i)
		c.written[key] = true
		messages = append(messages, kafka.Message{Key: []byte(key), Value: []byte(value),
			Headers: []kafka.Header{{Key: "codec", Value: []byte(tag)}}})
	}
	return errors.Join(w.WriteMessages(ctx, messages...), w.Close())
}

func take(seen harness.Seen, m kafka.Message) error {
	codec := ""
	for _, h := range m.Headers {
		codec = string(h.Value)
	}
	return seen.Take(string(m.Key), string(m.Value), codec)
}

func (c *client) readBack() error {
	ctx, cancel := limited()
	defer cancel()
	seen := harness.Seen{}
	for p := range 3 {
		if err := c.readPartition(ctx, p, seen); err != nil {
			return fmt.Errorf("partition %d: %w", p, err)
		}
	}
	return seen.Equal(c.written)
}

func (c *client) readPartition(ctx context.Context, p int, seen harness.Seen) error {
	conn, err := kafka.DialLeader(ctx, "tcp", c.Bootstrap, c.Topic, p)
	if err != nil {
		return err
	}
	defer conn.Close()
	first, last, err := conn.ReadOffsets()
	if err != nil {
		return err
	}
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{c.Bootstrap}, Topic: c.Topic, Partition: p,
		MaxWait: 200 * time.Millisecond})
	defer r.Close()
	if err := r.SetOffset(first); err != nil {
		return err
	}
	for r.Offset() < last {
		m, err := r.ReadMessage(ctx)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if err := take(seen, m); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) readInGroup(n int) (err error) {
	ctx, cancel := limited()
	defer cancel()
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{c.Bootstrap}, GroupID: c.Group, Topic: c.Topic,
		StartOffset: kafka.FirstOffset, MaxWait: 200 * time.Millisecond})
	defer func() { err = errors.Join(err, r.Close()) }()
	for left := n; left > 0; left-- {
		m, err := r.FetchMessage(ctx)
		if err != nil {
			return fmt.Errorf("%d records were still wanted: %w", left, err)
		}
		if err := take(c.read, m); err != nil {
			return err
		}
		if err := r.CommitMessages(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) afterRestart() error {
	if err := c.produce("again", kafka.Gzip); err != nil {
		return err
	}
	if err := c.readInGroup(harness.RecordsPerCodec); err != nil {
		return err
	}
	return c.read.Equal(c.written)
}
