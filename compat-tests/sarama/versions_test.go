//go:build compat

package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"moldau.io/moldau/compat-tests/harness"
)

// TestC11_SaramaOfEachVersion uses the request versions of the Kafka that it is told of, and asks for none.
func TestC11_SaramaOfEachVersion(t *testing.T) {
	b := harness.Start(t, harness.Config{Properties: map[string]string{"group.initial.rebalance.delay.ms": "0"}})
	for _, version := range []sarama.KafkaVersion{sarama.V2_1_0_0, sarama.V2_3_0_0, sarama.V2_4_0_0, sarama.V2_6_0_0,
		sarama.V2_8_0_0, sarama.V3_0_0_0, sarama.V3_6_0_0, sarama.V4_0_0_0, sarama.MaxVersion} {
		t.Run(version.String(), func(t *testing.T) {
			t.Parallel()
			for _, ask := range []bool{false, true} {
				cfg := config()
				cfg.Version, cfg.ApiVersionsRequest = version, ask
				once(t, b.Addr, fmt.Sprintf("t-%v-%v", version, ask), cfg)
			}
		})
	}
}

// once makes a topic, writes to it, reads it, and reads it in a group.
func once(t *testing.T, addr, topic string, cfg *sarama.Config) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	admin, err := sarama.NewClusterAdmin([]string{addr}, cfg)
	must(err)
	defer admin.Close()
	must(admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1}, false))
	producer, err := sarama.NewSyncProducer([]string{addr}, cfg)
	must(err)
	defer producer.Close()
	for i := range 3 {
		_, offset, err := producer.SendMessage(&sarama.ProducerMessage{Topic: topic,
			Value: sarama.StringEncoder(fmt.Sprint(i))})
		must(err)
		if offset != int64(i) {
			t.Errorf("message %d is at offset %d", i, offset)
		}
	}
	consumer, err := sarama.NewConsumer([]string{addr}, cfg)
	must(err)
	defer consumer.Close()
	pc, err := consumer.ConsumePartition(topic, 0, sarama.OffsetOldest)
	must(err)
	defer pc.Close()
	for i := range 3 {
		take1(t, pc.Messages(), fmt.Sprint(i))
	}
	group, err := sarama.NewConsumerGroup([]string{addr}, topic+"-group", cfg)
	must(err)
	defer group.Close()
	m := &forwarder{make(chan *sarama.ConsumerMessage, 10)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- group.Consume(ctx, []string{topic}, m) }()
	for i := range 3 {
		take1(t, m.messages, fmt.Sprint(i))
	}
	cancel()
	must(<-done)
}

func take1(t *testing.T, messages <-chan *sarama.ConsumerMessage, want string) {
	t.Helper()
	select {
	case m := <-messages:
		if string(m.Value) != want {
			t.Fatalf("message %q, want %q", m.Value, want)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("no message %q", want)
	}
}

// forwarder is a sarama.ConsumerGroupHandler that hands on what it gets.
type forwarder struct{ messages chan *sarama.ConsumerMessage }

func (*forwarder) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (*forwarder) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (f *forwarder) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case m, ok := <-claim.Messages():
			if !ok {
				return nil
			}
			session.MarkMessage(m, "")
			f.messages <- m
		case <-session.Context().Done():
			return nil
		}
	}
}

// TestC79_AGroupOfSaramaOutlivesItsCoordinator: the broker goes and comes back while the group consumes. The codes that it
// answers meanwhile have to be among those that the client tries again after.
func TestC79_AGroupOfSaramaOutlivesItsCoordinator(t *testing.T) {
	b := harness.Start(t, harness.Config{Properties: map[string]string{
		"group.initial.rebalance.delay.ms": "0", "group.min.session.timeout.ms": "1000",
	}})
	cfg := config()
	cfg.Consumer.Group.Session.Timeout, cfg.Consumer.Group.Heartbeat.Interval = 2*time.Second, 300*time.Millisecond
	cfg.Consumer.Offsets.AutoCommit.Enable = true
	cfg.Consumer.Return.Errors = false
	cfg.Metadata.Retry.Max, cfg.Metadata.Retry.Backoff = 100, 100*time.Millisecond
	cfg.Producer.Retry.Max, cfg.Producer.Retry.Backoff = 100, 100*time.Millisecond
	producer, err := sarama.NewSyncProducer([]string{b.Addr}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	send := func(value string) {
		t.Helper()
		if _, _, err := producer.SendMessage(&sarama.ProducerMessage{Topic: "t",
			Value: sarama.StringEncoder(value)}); err != nil {
			t.Fatal(err)
		}
	}
	send("before")
	group, err := sarama.NewConsumerGroup([]string{b.Addr}, "g", cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer group.Close()
	m := &forwarder{make(chan *sarama.ConsumerMessage, 10)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil { // as its users do
			if err := group.Consume(ctx, []string{"t"}, m); err != nil {
				t.Logf("consume: %v", err)
			}
		}
	}()
	take1(t, m.messages, "before")
	for i := range 2 {
		b.Stop(t)
		b.Run(t)
		want := fmt.Sprint("after ", i)
		send(want)
		for found := false; !found; { // what was read and not committed may come again
			select {
			case got := <-m.messages:
				found = string(got.Value) == want
			case <-time.After(60 * time.Second):
				t.Fatalf("%q is not consumed after a restart", want)
			}
		}
	}
	cancel()
	<-done
}
