package broker_test

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
	"moldau.io/moldau/protocol"
)

// fetchFrom is partition p from offset on, with generous limits.
func fetchFrom(p int32, offset int64) kmsg.FetchRequestTopicPartition {
	fp := kmsg.NewFetchRequestTopicPartition()
	fp.Partition, fp.FetchOffset, fp.PartitionMaxBytes = p, offset, 1<<20
	return fp
}

func fetchRequest(version int16, topic string, id protocol.TopicID, parts ...kmsg.FetchRequestTopicPartition) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxWaitMillis, req.MinBytes, req.MaxBytes = version, 0, 1, 50<<20
	req.SessionEpoch = -1
	ft := kmsg.NewFetchRequestTopic()
	ft.Topic, ft.TopicID, ft.Partitions = topic, id, parts
	req.Topics = append(req.Topics, ft)
	return req
}

func fetch(c *brokertest.Client, version int16, topic string, id protocol.TopicID,
	parts ...kmsg.FetchRequestTopicPartition) *kmsg.FetchResponse {
	c.T.Helper()
	return c.Do(fetchRequest(version, topic, id, parts...)).(*kmsg.FetchResponse)
}

// listOffset asks for one partition.
func listOffset(c *brokertest.Client, version int16, topic string, partition int32, timestamp int64) kmsg.ListOffsetsResponseTopicPartition {
	c.T.Helper()
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version, req.ReplicaID = version, -1
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Partition, p.Timestamp, p.CurrentLeaderEpoch = partition, timestamp, -1
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return c.Do(req).(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
}
