package meta

import (
	"math/rand/v2"
	"testing"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/protocol"
)

func adopted(epoch protocol.Epoch, partitions int) []Partition {
	ps := make([]Partition, partitions)
	self := []protocol.BrokerID{1}
	for i := range ps {
		ps[i] = Partition{Replicas: self, ISR: self, Leader: 1, LeaderEpoch: epoch, Epoch: 3}
	}
	return ps
}

func TestAdoptBeginsAClusterAndBringsItUpToDate(t *testing.T) {
	p := &plant{T: t, c: NewController(ControllerConfig{Random: rand.New(rand.NewPCG(1, 2))}, Empty())}
	a, b := protocol.TopicID{1}, protocol.TopicID{2}
	cmd := Adopt{
		ClusterID: testCluster, Features: []Feature{{Name: "metadata.version", Level: 33}}, NextProducerID: 5000,
		Topics: []Topic{{Name: "a", ID: a, Partitions: adopted(7, 2)}, {Name: "b", ID: b, Partitions: adopted(0, 1)}},
		Configs: []AdoptedConfigs{
			{Resource: topicResource("a"), Values: map[string]string{"retention.ms": "-1", "no.such.key": "x"}},
			{Resource: topicResource("gone"), Values: map[string]string{"retention.ms": "-1"}},
		},
	}
	reply := p.do(cmd).(AdoptReply)
	im := p.c.image
	if len(reply.Refused) != 1 || reply.Refused[0].Key != "no.such.key" {
		t.Errorf("refused %+v", reply.Refused)
	}
	if im.ClusterID() != testCluster || im.Feature("metadata.version") != 33 || im.NextProducerID() != 5000 ||
		im.TopicByID(a).Name != "a" || im.Topic("a").Partitions[1].LeaderEpoch != 7 ||
		im.Configs(config.TopicResource, "a")["retention.ms"] != "-1" || im.Configs(config.TopicResource, "gone") != nil {
		t.Errorf("%+v %+v", im.Topic("a"), im.Configs(config.TopicResource, "a"))
	}
	p.do(RegisterBroker{ID: 1})
	ours := p.create(NewTopic{Name: "ours", Partitions: 1, ReplicationFactor: 1})

	// The same again changes nothing.
	before := p.c.image
	p.do(cmd)
	if d := p.c.image.Since(before); len(d.Topics)+len(d.Removed)+len(d.Configs) > 0 {
		t.Errorf("adopting the same again changes %+v", d)
	}

	c := protocol.TopicID{3}
	p.do(Adopt{
		ClusterID: testCluster, NextProducerID: 10, Removed: []protocol.TopicID{b},
		Topics:  []Topic{{Name: "a", ID: a, Partitions: adopted(9, 3)}, {Name: "b", ID: c, Partitions: adopted(0, 1)}},
		Configs: []AdoptedConfigs{{Resource: topicResource("a"), Values: map[string]string{"retention.bytes": "1"}}},
	})
	im = p.c.image
	if len(im.Topic("a").Partitions) != 3 || im.Topic("a").Partitions[0].LeaderEpoch != 9 || im.Topic("b").ID != c ||
		im.Topic("ours") == nil || im.Topic("ours").ID != ours.ID || im.NextProducerID() != 5000 {
		t.Errorf("a %+v, b %+v, producers from %d", im.Topic("a"), im.Topic("b"), im.NextProducerID())
	}
	if cs := im.Configs(config.TopicResource, "a"); len(cs) != 1 || cs["retention.bytes"] != "1" {
		t.Errorf("configuration %v", cs)
	}
	_, err := p.try(Adopt{ClusterID: "another"})
	p.want("adopting another cluster", err, protocol.InconsistentClusterID)
}

func TestABrokerThatLostNothingMayKeepItsEpochs(t *testing.T) {
	p := newPlant(t, 1)
	p.create(NewTopic{Name: "a", Partitions: 1, ReplicationFactor: 1})
	p.do(RegisterBroker{ID: 1, SameEpochs: true})
	if e := p.c.image.Topic("a").Partitions[0].LeaderEpoch; e != 0 {
		t.Errorf("epoch %d", e)
	}
	p.do(RegisterBroker{ID: 1})
	if e := p.c.image.Topic("a").Partitions[0].LeaderEpoch; e != 1 {
		t.Errorf("epoch %d after a crash", e)
	}
}
