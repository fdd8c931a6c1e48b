package meta

import (
	"testing"

	"moldau.io/moldau/protocol"
)

// TestTopicsOfCoordinatorsGrowWithTheCluster: made on one broker, with all three replicas once there are three.
func TestTopicsOfCoordinatorsGrowWithTheCluster(t *testing.T) {
	w := newCrew(t, 1)
	w.act(CreateTopics{Topics: []NewTopic{{Name: OffsetsTopic, Partitions: 6, ReplicationFactor: 1}}})
	w.topic("mine", ids{1})
	catchUp := func() {
		topic := w.c.image.Topic(OffsetsTopic)
		for i, p := range topic.Partitions {
			ch := ISRChange{Topic: topic.ID, Partition: int32(i), LeaderEpoch: p.LeaderEpoch, Epoch: p.Epoch, Recovered: true}
			for _, id := range p.Replicas {
				ch.ISR = append(ch.ISR, ISRMember{ID: id, Epoch: w.epoch[id]})
			}
			r := w.act(AlterPartition{Broker: p.Leader, BrokerEpoch: w.epoch[p.Leader], Partitions: []ISRChange{ch}})
			if code := r.(AlterPartitionReply).Partitions[0].Code; code != protocol.None {
				t.Errorf("partition %d: %v", i, code)
			}
		}
	}
	w.settle()
	w.join(2)
	w.settle()
	for i, p := range w.c.image.Topic(OffsetsTopic).Partitions {
		if len(p.Replicas) != 2 || len(p.Adding) != 1 || p.Adding[0] != 2 || p.Leader != 1 || len(p.ISR) != 1 {
			t.Errorf("partition %d: %s of %v", i, show(p), p.Replicas)
		}
	}
	w.join(3)
	w.settle() // nothing yet: two are on their way
	catchUp()
	w.settle()
	catchUp()
	first := map[protocol.BrokerID]int{}
	for i, p := range w.c.image.Topic(OffsetsTopic).Partitions {
		first[p.Replicas[0]]++
		if len(p.Replicas) != 3 || len(p.Adding) != 0 || len(p.ISR) != 3 {
			t.Errorf("partition %d: %s of %v", i, show(p), p.Replicas)
		}
	}
	if first[1] != 2 || first[2] != 2 || first[3] != 2 {
		t.Errorf("preferred leaders are %v", first)
	}
	w.is("mine", "1/0/0 isr[1]")
	n := len(w.recs)
	w.join(4)
	w.settle()
	for _, recs := range w.recs[n:] {
		for _, r := range recs {
			if _, ok := r.(PartitionChangesRecord); ok {
				t.Errorf("a fourth broker is no reason for %+v", r)
			}
		}
	}
}
