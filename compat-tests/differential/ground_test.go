//go:build compat

package differential

import (
	"reflect"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// topic makes a topic, waits until it can be written to, and returns its id. configs are "key=value".
func (s *session) topic(suffix string, partitions int32, configs ...string) (name string, id [16]byte) {
	name = s.name(suffix)
	req := createTopics(7, newTopic(name, partitions, 1, configs...))
	resp := s.quiet(req)
	if resp == nil {
		s.fail("create topic %s: no answer", name)
	}
	if code := resp.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode; code != 0 {
		s.fail("create topic %s: error %d", name, code)
	}
	return name, s.idOf(name, int(partitions))
}

// idOf waits until every partition of a topic has a leader, and returns the topic's id.
func (s *session) idOf(name string, partitions int) [16]byte {
	var id [16]byte
	s.until("leaders of "+name, metadataOf(12, name), func(r kmsg.Response) bool {
		t := r.(*kmsg.MetadataResponse).Topics[0]
		id = t.TopicID
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 || p.Leader < 0 {
				return false
			}
		}
		return t.ErrorCode == 0 && len(t.Partitions) == partitions
	})
	s.id(reflect.ValueOf(id)) // gets its placeholder in the order in which topics are made
	// Metadata may be ahead of the partition itself.
	for p := range partitions {
		s.until("partition of "+name, listOffsets(4, name, int32(p), -1), func(r kmsg.Response) bool {
			return r.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0].ErrorCode == 0
		})
	}
	return id
}

// gone waits until a topic is not known any more.
func (s *session) gone(name string) {
	s.until(name+" deleted", metadataOf(12, name), func(r kmsg.Response) bool {
		return r.(*kmsg.MetadataResponse).Topics[0].ErrorCode == 3
	})
}

// write appends a batch and gives up when it is refused.
func (s *session) write(topic string, partition int32, batch []byte) (base int64) {
	resp := s.quiet(produce(9, topic, partition, batch))
	if resp == nil {
		s.fail("produce to %s: no answer", topic)
	}
	p := resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	if p.ErrorCode != 0 {
		s.fail("produce to %s: error %d", topic, p.ErrorCode)
	}
	return p.BaseOffset
}

func newTopic(name string, partitions int32, replicas int16, configs ...string) kmsg.CreateTopicsRequestTopic {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, replicas
	for _, kv := range configs {
		k, v, _ := strings.Cut(kv, "=")
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = k, &v
		t.Configs = append(t.Configs, c)
	}
	return t
}

func createTopics(v int16, topics ...kmsg.CreateTopicsRequestTopic) *kmsg.CreateTopicsRequest {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.TimeoutMillis, req.Topics = v, 10_000, topics
	return req
}

func metadataOf(v int16, names ...string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	req.Version = v
	req.Topics = []kmsg.MetadataRequestTopic{}
	for _, n := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &n
		req.Topics = append(req.Topics, t)
	}
	return req
}

func listOffsets(v int16, topic string, partition int32, timestamp int64) *kmsg.ListOffsetsRequest {
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version, req.ReplicaID = v, -1
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Partition, p.Timestamp = partition, timestamp
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

// produce is a request with acks=all for one partition by name (up to v12).
func produce(v int16, topic string, partition int32, batch []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = v, -1, 5000
	t := kmsg.NewProduceRequestTopic()
	t.Topic = topic
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, batch
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

// produceTo is produce with the topic named as the version wants it.
func produceTo(v int16, topic string, id [16]byte, partition int32, batch []byte) *kmsg.ProduceRequest {
	req := produce(v, topic, partition, batch)
	req.Topics[0].TopicID = id
	return req
}

// fetch is a request that waits for nothing, with the topic named as the version wants it.
func fetch(v int16, topic string, id [16]byte, partition int32, offset int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.ReplicaID, req.MinBytes, req.MaxBytes = v, -1, 1, 1<<20
	req.SessionEpoch = -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = topic, id
	t.Partitions = append(t.Partitions, fetchPartition(partition, offset))
	req.Topics = append(req.Topics, t)
	return req
}

func fetchPartition(partition int32, offset int64) kmsg.FetchRequestTopicPartition {
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = partition, offset, 1<<20
	p.CurrentLeaderEpoch, p.LastFetchedEpoch, p.LogStartOffset = -1, -1, -1
	return p
}

// without is list without what drop names; nothing left is the same as nothing sent.
func without[T any](list []T, drop func(T) bool) []T {
	if list = slices.DeleteFunc(list, drop); len(list) == 0 {
		return nil
	}
	return list
}
