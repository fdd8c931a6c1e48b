package meta

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
)

// largeCluster is a controller of three brokers with so many topics of ten partitions.
func largeCluster(tb testing.TB, topics int) *Controller {
	c := NewController(ControllerConfig{Random: rand.New(rand.NewPCG(1, 2))}, Empty())
	do := func(cmd Command) {
		recs, _, err := c.Handle(time.Unix(1, 0), cmd)
		if err == nil {
			err = c.Apply(recs...)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	do(Bootstrap{ClusterID: testCluster, Features: []Feature{{eligibleLeaderReplicas, 1}}})
	for id := protocol.BrokerID(1); id <= 3; id++ {
		do(RegisterBroker{ID: id, Incarnation: protocol.TopicID{byte(id)}, CleanEpoch: -1})
		c.Logged(0)
		do(BrokerHeartbeat{ID: id, Epoch: c.image.Broker(id).Epoch})
	}
	for i := range topics {
		do(CreateTopics{Topics: []NewTopic{newBenchTopic(i)}})
	}
	return c
}

func newBenchTopic(i int) NewTopic {
	return NewTopic{Name: fmt.Sprintf("topic-%05d", i), Partitions: 10, ReplicationFactor: 3}
}

// BenchmarkCreateAThousandTopics creates a thousand topics of ten partitions, each by itself, as a command of its own: decision, the
// controller's image, the entry's bytes, and the published image.
func BenchmarkCreateAThousandTopics(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		c := largeCluster(b, 0)
		im := c.image
		for i := range 1000 {
			recs, _, _ := c.Handle(time.Unix(1, 0), CreateTopics{Topics: []NewTopic{newBenchTopic(i)}})
			if err := c.Apply(recs...); err != nil {
				b.Fatal(err)
			}
			back, err := DecodeRecords(AppendRecords(nil, recs))
			if err == nil {
				im, err = im.With(im.Offset()+1, back...)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkFence has a broker die that leads a third of 30,000 replicas' 10,000 partitions and follows in the others.
func BenchmarkFence(b *testing.B) {
	c := largeCluster(b, 1000)
	recs := c.fence([]protocol.BrokerID{2})
	bytes := AppendRecords(nil, recs)
	b.Run("decide", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.fence([]protocol.BrokerID{2})
		}
	})
	b.Run("apply", func(b *testing.B) {
		b.ReportAllocs()
		b.ReportMetric(float64(len(bytes)), "entry-bytes")
		for b.Loop() {
			back, err := DecodeRecords(bytes)
			if err == nil {
				_, err = c.image.With(c.image.Offset()+1, back...)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkHeartbeat is what every broker asks twice a second.
func BenchmarkHeartbeat(b *testing.B) {
	c := largeCluster(b, 1000)
	cmd := BrokerHeartbeat{ID: 2, Epoch: c.image.Broker(2).Epoch, Offset: 1}
	b.ReportAllocs()
	for b.Loop() {
		if recs, _, err := c.Handle(time.Unix(1, 0), cmd); err != nil || recs != nil {
			b.Fatal(recs, err)
		}
	}
}

// BenchmarkAlterPartition changes the in-sync set of one partition among 10,000, to and fro.
func BenchmarkAlterPartition(b *testing.B) {
	c := largeCluster(b, 1000)
	t := c.image.Topics()[500]
	all := t.Partitions[3].Replicas
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p := c.image.TopicByID(t.ID).Partitions[3]
		ch := ISRChange{Topic: t.ID, Partition: 3, LeaderEpoch: p.LeaderEpoch, Epoch: p.Epoch, Recovered: true}
		for _, id := range all[:2+i%2] {
			ch.ISR = append(ch.ISR, ISRMember{id, -1})
		}
		recs, _, err := c.Handle(time.Unix(1, 0), AlterPartition{
			Broker: p.Leader, BrokerEpoch: c.image.Broker(p.Leader).Epoch, Partitions: []ISRChange{ch},
		})
		if err == nil {
			err = c.Apply(recs...)
		}
		if err != nil || len(recs) != 1 {
			b.Fatal(recs, err)
		}
	}
}
