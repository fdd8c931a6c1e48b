// Command sarama drives a broker with github.com/IBM/sarama: see ../scenarios.md.
package main

import (
	"context"
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"moldau.io/moldau/compat-tests/harness"
)

var codecs = []struct {
	name  string
	codec sarama.CompressionCodec
}{
	{"none", sarama.CompressionNone},
	{"gzip", sarama.CompressionGZIP},
	{"snappy", sarama.CompressionSnappy},
	{"lz4", sarama.CompressionLZ4},
	{"zstd", sarama.CompressionZSTD},
}

type client struct {
	harness.Arguments
	written, read harness.Seen
}

func config() *sarama.Config {
	c := sarama.NewConfig()
	c.Version = sarama.V2_8_0_0
	c.Producer.Return.Successes = true
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Consumer.Return.Errors = true
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.Offsets.AutoCommit.Enable = false
	return c
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
			cfg := config()
			cfg.Producer.Compression = k.codec
			return c.produce(k.name, cfg)
		})
	}
	harness.Scenario("produce-idempotent", func() error { return c.produce("idempotent", idempotent()) })
	harness.Scenario("read-back", c.readBack)
	harness.Scenario("group-commit", func() error { return c.readInGroup(100) })
	harness.Scenario("group-resume", func() error {
		if err := c.readInGroup(len(c.written) - len(c.read)); err != nil {
			return err
		}
		return c.read.Equal(c.written)
	})
}

func idempotent() *sarama.Config {
	cfg := config()
	cfg.Producer.Idempotent = true
	cfg.Net.MaxOpenRequests = 1
	return cfg
}

func (c *client) createTopic() error {
	admin, err := sarama.NewClusterAdmin([]string{c.Bootstrap}, config())
	if err != nil {
		return err
	}
	defer admin.Close()
	if err := admin.CreateTopic(c.Topic, &sarama.TopicDetail{NumPartitions: 3, ReplicationFactor: 1}, false); err != nil {
		return err
	}
	topics, err := admin.DescribeTopics([]string{c.Topic})
	if err != nil {
		return err
	}
	if n := len(topics[0].Partitions); n != 3 {
		return fmt.Errorf("%d partitions", n)
	}
	return nil
}

func (c *client) produce(tag string, cfg *sarama.Config) error {
	producer, err := sarama.NewSyncProducer([]string{c.Bootstrap}, cfg)
	if err != nil {
		return err
	}
	defer producer.Close()
	var messages []*sarama.ProducerMessage
	for i := range harness.RecordsPerCodec {
		key, value := harness.TestRecord(tag, i)
		c.written[key] = true
		messages = append(messages, &sarama.ProducerMessage{Topic: c.Topic, Key: sarama.StringEncoder(key),
			Value:   sarama.StringEncoder(value),
			Headers: []sarama.RecordHeader{{Key: []byte("codec"), Value: []byte(tag)}}})
	}
	return producer.SendMessages(messages)
}

func take(seen harness.Seen, m *sarama.ConsumerMessage) error {
	codec := ""
	for _, h := range m.Headers {
		codec = string(h.Value)
	}
	return seen.Take(string(m.Key), string(m.Value), codec)
}

func (c *client) readBack() error {
	consumer, err := sarama.NewConsumer([]string{c.Bootstrap}, config())
	if err != nil {
		return err
	}
	defer consumer.Close()
	messages := make(chan *sarama.ConsumerMessage)
	errs := make(chan error, 3)
	for p := range int32(3) {
		pc, err := consumer.ConsumePartition(c.Topic, p, sarama.OffsetOldest)
		if err != nil {
			return err
		}
		defer pc.AsyncClose()
		go func() {
			for m := range pc.Messages() {
				messages <- m
			}
		}()
		go func() {
			for err := range pc.Errors() {
				errs <- err
			}
		}()
	}
	seen := harness.Seen{}
	for limit := time.After(30 * time.Second); len(seen) < len(c.written); {
		select {
		case m := <-messages:
			if err := take(seen, m); err != nil {
				return err
			}
		case err := <-errs:
			return err
		case <-limit:
			return fmt.Errorf("%d records in 30 s", len(seen))
		}
	}
	return seen.Equal(c.written)
}

// member is a sarama.ConsumerGroupHandler that stops when the group has read enough.
type member struct {
	seen chan *sarama.ConsumerMessage
	took chan error
}

func (m *member) Setup(sarama.ConsumerGroupSession) error { return nil }

// Cleanup commits what has been marked, while the member is still in the group.
func (m *member) Cleanup(session sarama.ConsumerGroupSession) error {
	session.Commit()
	return nil
}

func (m *member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case msg, ok := <-claim.Messages():
			if !ok {
				return nil
			}
			select {
			case m.seen <- msg:
			case <-session.Context().Done():
				return nil
			}
			if err := <-m.took; err != nil {
				return nil
			}
			session.MarkMessage(msg, "")
		case <-session.Context().Done():
			return nil
		}
	}
}

func (c *client) readInGroup(n int) error {
	group, err := sarama.NewConsumerGroup([]string{c.Bootstrap}, c.Group, config())
	if err != nil {
		return err
	}
	defer group.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	m := &member{make(chan *sarama.ConsumerMessage), make(chan error)}
	ended := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			if err := group.Consume(ctx, []string{c.Topic}, m); err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}()
	for left := n; left > 0; left-- {
		select {
		case msg := <-m.seen:
			err := take(c.read, msg)
			m.took <- err
			if err != nil {
				return err
			}
		case err := <-group.Errors():
			return err
		case err := <-ended:
			return fmt.Errorf("%d records were still wanted: %w", left, err)
		}
	}
	cancel()
	return <-ended
}

func (c *client) afterRestart() error {
	cfg := idempotent()
	cfg.Producer.Compression = sarama.CompressionSnappy
	if err := c.produce("again", cfg); err != nil {
		return err
	}
	if err := c.readInGroup(harness.RecordsPerCodec); err != nil {
		return err
	}
	return c.read.Equal(c.written)
}
