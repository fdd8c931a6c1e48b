package broker_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/protocol/compress"
)

// createTopic makes a topic and returns its id.
func createTopic(c *brokertest.Client, name string, partitions int32, configs ...string) protocol.TopicID {
	c.T.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 10_000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, 1
	for i := 0; i < len(configs); i += 2 {
		cfg := kmsg.NewCreateTopicsRequestTopicConfig()
		cfg.Name, cfg.Value = configs[i], &configs[i+1]
		topic.Configs = append(topic.Configs, cfg)
	}
	req.Topics = append(req.Topics, topic)
	resp := c.Do(brokertest.Latest(req)).(*kmsg.CreateTopicsResponse)
	if code := resp.Topics[0].ErrorCode; code != 0 {
		c.T.Fatalf("create %s: %v", name, protocol.Code(code))
	}
	return resp.Topics[0].TopicID
}

// records makes a batch of n records with values of size bytes.
func records(n, size int) []byte {
	b := batch.NewBuilder(batch.BuilderOptions{})
	value := make([]byte, size)
	for i := range n {
		binary.BigEndian.PutUint32(value, uint32(i))
		b.Add(time.Now().UnixMilli(), []byte("key"), value)
	}
	return b.Build()
}

// produce sends one batch at a version and returns the partition's part of the answer.
func produce(c *brokertest.Client, version int16, topic string, id protocol.TopicID, partition int32, acks int16,
	recs []byte) kmsg.ProduceResponseTopicPartition {
	c.T.Helper()
	req := produceRequest(version, topic, id, partition, acks, recs)
	resp := c.Do(req).(*kmsg.ProduceResponse)
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		c.T.Fatalf("answer %+v", resp)
	}
	return resp.Topics[0].Partitions[0]
}

func produceRequest(version int16, topic string, id protocol.TopicID, partition int32, acks int16,
	recs []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = version, acks, 10_000
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.TopicID = topic, id
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, recs
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

func TestProduceAndFetchAtEveryVersion(t *testing.T) {
	b := brokertest.Start(t, brokertest.Options{})
	c := b.Dial()
	id := createTopic(c, "t", 1)
	next := int64(0)
	for version := int16(3); version <= 13; version++ {
		p := produce(c, version, "t", id, 0, -1, records(3, 100))
		if p.ErrorCode != 0 || p.BaseOffset != next || p.LogAppendTime != -1 {
			t.Fatalf("version %d: %+v, want offset %d", version, p, next)
		}
		next += 3
	}
	for version := int16(4); version <= 18; version++ {
		resp := fetch(c, version, "t", id, fetchFrom(0, 5))
		p := resp.Topics[0].Partitions[0]
		if p.ErrorCode != 0 || p.HighWatermark != next {
			t.Fatalf("version %d: %+v", version, p)
		}
		if n := countRecords(t, p.RecordBatches); n != next-3 { // from the batch that holds 5
			t.Fatalf("version %d: %d records", version, n)
		}
	}
}

func countRecords(t *testing.T, raw []byte) (n int64) {
	t.Helper()
	for len(raw) > 0 {
		b, rest, err := batch.Next(raw)
		if err != nil {
			t.Fatal(err)
		}
		if !b.CheckCRC() {
			t.Fatal("a batch with a wrong checksum")
		}
		n += int64(b.Count())
		raw = rest
	}
	return n
}

var _ = compress.None
