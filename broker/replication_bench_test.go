package broker_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
)

// BenchmarkProduceToThreeReplicas sends batches of 16 KiB with acks=all: one at a time, which is the way from the client to
// the leader, both followers and back, and eight at a time on one connection.
func BenchmarkProduceToThreeReplicas(b *testing.B) {
	for _, c := range []struct {
		name     string
		inFlight int
	}{{"one", 1}, {"eight", 8}} {
		b.Run(c.name, func(b *testing.B) {
			brokers := brokertest.StartCluster(b, 3, brokertest.Options{Quiet: true})
			admin := brokers[0].Dial()
			create := kmsg.NewPtrCreateTopicsRequest()
			create.TimeoutMillis = 20_000
			topic := kmsg.NewCreateTopicsRequestTopic()
			topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "t", 1, 3
			create.Topics = append(create.Topics, topic)
			id := admin.Do(brokertest.At(7, create)).(*kmsg.CreateTopicsResponse).Topics[0].TopicID
			var leader int32
			brokers[0].AwaitMetadata("three in sync", func(m *kmsg.MetadataResponse) bool {
				p := partition(m, 0)
				leader = p.Leader
				return leader > 0 && len(p.ISR) == 3
			})
			client := brokers[leader-1].Dial()
			recs := records(16, 1000)
			request := func() *kmsg.ProduceRequest { return produceRequest(13, "t", id, 0, -1, recs) }
			b.SetBytes(int64(len(recs)))
			b.ReportAllocs()
			b.ResetTimer()
			sent, answered := 0, 0
			for answered < b.N {
				for sent < b.N && sent-answered < c.inFlight {
					client.Send(client.Encode(request()))
					sent++
				}
				resp := client.Answer(request()).(*kmsg.ProduceResponse)
				if code := resp.Topics[0].Partitions[0].ErrorCode; code != 0 {
					b.Fatalf("code %d", code)
				}
				answered++
			}
		})
	}
}
