package meta

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
)

const testCluster = "J8nEMVy1SkKuGbn4sWZdJw"

// plant is a controller under test, and the records that it has made.
type plant struct {
	*testing.T
	c    *Controller
	recs [][]Record
}

func newPlant(t *testing.T, brokers int) *plant {
	p := &plant{T: t, c: NewController(ControllerConfig{
		Partitions: 3, ReplicationFactor: 1, Random: rand.New(rand.NewPCG(1, 2)),
	}, Empty())}
	p.do(Bootstrap{ClusterID: testCluster, Features: []Feature{{Name: "metadata.version", Level: 33}}})
	for i := range brokers {
		p.do(RegisterBroker{ID: protocol.BrokerID(i + 1), Listeners: []Listener{{Name: "PLAINTEXT", Host: "localhost", Port: 9092}}})
	}
	return p
}

func (p *plant) try(cmd Command) (Reply, error) {
	p.Helper()
	recs, reply, err := p.c.Handle(time.Time{}, cmd)
	if err == nil {
		if err := p.c.Apply(recs...); err != nil {
			p.Fatalf("%T: the controller's own records cannot be applied: %v", cmd, err)
		}
		p.recs = append(p.recs, recs)
	}
	return reply, err
}

func (p *plant) do(cmd Command) Reply {
	p.Helper()
	r, err := p.try(cmd)
	if err != nil {
		p.Fatalf("%T: %v", cmd, err)
	}
	return r
}

func (p *plant) create(nt NewTopic) CreatedTopic {
	p.Helper()
	return p.do(CreateTopics{Topics: []NewTopic{nt}}).(CreateTopicsReply).Topics[0]
}

func (p *plant) want(what string, err error, code protocol.Code) {
	p.Helper()
	if got := protocol.CodeOf(err); got != code {
		p.Errorf("%s: %v (%v), want %v", what, got, err, code)
	}
	if err != nil && (err.Error() == code.Error() || strings.HasSuffix(err.Error(), ".")) {
		p.Errorf("%s: the message %q says nothing of its own", what, err)
	}
}

func ptr[T any](v T) *T { return &v }

func assign(replicas ...[]protocol.BrokerID) []Assignment {
	var as []Assignment
	for i, r := range replicas {
		as = append(as, Assignment{Partition: int32(i), Replicas: r})
	}
	return as
}

type ids = []protocol.BrokerID

func TestRule109_CreateTopicsRefusals(t *testing.T) {
	p := newPlant(t, 3)
	p.create(NewTopic{Name: "there", Partitions: 1, ReplicationFactor: 1})
	p.create(NewTopic{Name: "with.dot", Partitions: 1, ReplicationFactor: 1})
	offset := p.c.image.Offset()
	for _, c := range []struct {
		what string
		nt   NewTopic
		code protocol.Code
	}{
		{"exists", NewTopic{Name: "there", Partitions: 1, ReplicationFactor: 1}, protocol.TopicAlreadyExists},
		{"collides", NewTopic{Name: "with_dot", Partitions: 1, ReplicationFactor: 1}, protocol.InvalidTopicException},
		{"empty name", NewTopic{Name: "", Partitions: 1, ReplicationFactor: 1}, protocol.InvalidTopicException},
		{"dot", NewTopic{Name: ".", Partitions: 1, ReplicationFactor: 1}, protocol.InvalidTopicException},
		{"dots", NewTopic{Name: "..", Partitions: 1, ReplicationFactor: 1}, protocol.InvalidTopicException},
		{"slash", NewTopic{Name: "a/b", Partitions: 1, ReplicationFactor: 1}, protocol.InvalidTopicException},
		{"not ASCII", NewTopic{Name: "té", Partitions: 1, ReplicationFactor: 1}, protocol.InvalidTopicException},
		{"250 characters", NewTopic{Name: strings.Repeat("x", 250), Partitions: 1, ReplicationFactor: 1}, protocol.InvalidTopicException},
		{"metadata", NewTopic{Name: "__cluster_metadata", Partitions: 1, ReplicationFactor: 1}, protocol.InvalidRequest},
		{"no partitions", NewTopic{Name: "a", Partitions: 0, ReplicationFactor: 1}, protocol.InvalidPartitions},
		{"-2 partitions", NewTopic{Name: "a", Partitions: -2, ReplicationFactor: 1}, protocol.InvalidPartitions},
		{"no replicas", NewTopic{Name: "a", Partitions: 1, ReplicationFactor: 0}, protocol.InvalidReplicationFactor},
		{"-2 replicas", NewTopic{Name: "a", Partitions: 1, ReplicationFactor: -2}, protocol.InvalidReplicationFactor},
		{"4 replicas", NewTopic{Name: "a", Partitions: 1, ReplicationFactor: 4}, protocol.InvalidReplicationFactor},
		{"far too many", NewTopic{Name: "a", Partitions: 1 << 30, ReplicationFactor: 1}, protocol.PolicyViolation},
		{"unknown config", NewTopic{Name: "a", Partitions: 1, ReplicationFactor: 1,
			Configs: []ConfigPair{{"no.such.key", ptr("1")}}}, protocol.InvalidConfig},
		{"bad config", NewTopic{Name: "a", Partitions: 1, ReplicationFactor: 1,
			Configs: []ConfigPair{{"retention.ms", ptr("x")}}}, protocol.InvalidConfig},
		{"null config", NewTopic{Name: "a", Partitions: 1, ReplicationFactor: 1,
			Configs: []ConfigPair{{"retention.ms", nil}}}, protocol.InvalidConfig},
		{"counts and assignment", NewTopic{Name: "a", Partitions: 1, ReplicationFactor: -1,
			Assignments: assign(ids{1})}, protocol.InvalidRequest},
		{"factor and assignment", NewTopic{Name: "a", Partitions: -1, ReplicationFactor: 1,
			Assignments: assign(ids{1})}, protocol.InvalidRequest},
		{"unknown broker", NewTopic{Name: "a", Partitions: -1, ReplicationFactor: -1,
			Assignments: assign(ids{9})}, protocol.InvalidReplicaAssignment},
		{"replica twice", NewTopic{Name: "a", Partitions: -1, ReplicationFactor: -1,
			Assignments: assign(ids{1, 1})}, protocol.InvalidReplicaAssignment},
		{"no replica", NewTopic{Name: "a", Partitions: -1, ReplicationFactor: -1,
			Assignments: assign(ids{})}, protocol.InvalidReplicaAssignment},
		{"uneven", NewTopic{Name: "a", Partitions: -1, ReplicationFactor: -1,
			Assignments: assign(ids{1, 2}, ids{1})}, protocol.InvalidReplicaAssignment},
		{"gap", NewTopic{Name: "a", Partitions: -1, ReplicationFactor: -1,
			Assignments: []Assignment{{0, ids{1}}, {2, ids{1}}}}, protocol.InvalidReplicaAssignment},
		{"partition twice", NewTopic{Name: "a", Partitions: -1, ReplicationFactor: -1,
			Assignments: []Assignment{{0, ids{1}}, {0, ids{1}}}}, protocol.InvalidReplicaAssignment},
	} {
		p.want(c.what, p.create(c.nt).Outcome.Err(), c.code)
	}
	if p.c.image.Offset() != offset {
		t.Errorf("refused commands left records")
	}
}

func TestRule109_CreateTopicsFillsInDefaults(t *testing.T) {
	p := newPlant(t, 3)
	got := p.create(NewTopic{Name: "a", Partitions: -1, ReplicationFactor: -1, Configs: []ConfigPair{{"cleanup.policy", ptr("compact")}}})
	if got.Outcome.Err() != nil || got.Partitions != 3 || got.ReplicationFactor != 1 || got.ID.IsZero() || got.Configs["cleanup.policy"] != "compact" {
		t.Errorf("%+v", got)
	}
	topic := p.c.image.Topic("a")
	if topic == nil || topic.ID != got.ID || len(topic.Partitions) != 3 || p.c.image.TopicByID(got.ID) != topic {
		t.Fatalf("%+v", topic)
	}
	for i, part := range topic.Partitions {
		if part.Leader != part.Replicas[0] || !slices.Equal(part.ISR, part.Replicas) || part.LeaderEpoch != 0 {
			t.Errorf("partition %d: %+v", i, part)
		}
	}
	if v := p.c.image.Configs(2, "a")["cleanup.policy"]; v != "compact" {
		t.Errorf("cleanup.policy is %q", v)
	}
}

func TestRule109_ValidateOnlyAnswersFullyAndCreatesNothing(t *testing.T) {
	p := newPlant(t, 1)
	r := p.do(CreateTopics{ValidateOnly: true, Topics: []NewTopic{{Name: "a", Partitions: 2, ReplicationFactor: 1}}})
	got := r.(CreateTopicsReply).Topics[0]
	if got.Outcome.Err() != nil || got.Partitions != 2 || got.ReplicationFactor != 1 || got.ID.IsZero() {
		t.Errorf("%+v", got)
	}
	if p.c.image.Topic("a") != nil {
		t.Error("the topic is there")
	}
}

func TestRule109_ManualAssignmentIsKept(t *testing.T) {
	p := newPlant(t, 3)
	got := p.create(NewTopic{Name: "a", Partitions: -1, ReplicationFactor: -1,
		Assignments: []Assignment{{1, ids{3, 1}}, {0, ids{2, 3}}}})
	if got.Outcome.Err() != nil || got.Partitions != 2 || got.ReplicationFactor != 2 {
		t.Fatalf("%+v", got)
	}
	ps := p.c.image.Topic("a").Partitions
	if !slices.Equal(ps[0].Replicas, ids{2, 3}) || !slices.Equal(ps[1].Replicas, ids{3, 1}) || ps[1].Leader != 3 {
		t.Errorf("%+v", ps)
	}
}

func TestRule109_SameNameOnceInOneCommand(t *testing.T) {
	p := newPlant(t, 1)
	r := p.do(CreateTopics{Topics: []NewTopic{
		{Name: "a.b", Partitions: 1, ReplicationFactor: 1}, {Name: "a.b", Partitions: 1, ReplicationFactor: 1},
		{Name: "a_b", Partitions: 1, ReplicationFactor: 1},
	}}).(CreateTopicsReply)
	p.want("first", r.Topics[0].Outcome.Err(), protocol.None)
	p.want("again", r.Topics[1].Outcome.Err(), protocol.InvalidRequest)
	p.want("collides with one in the same command", r.Topics[2].Outcome.Err(), protocol.None)
}

func TestC24_AnotherLifeHasAnotherID(t *testing.T) {
	p := newPlant(t, 1)
	first := p.create(NewTopic{Name: "a.x", Partitions: 1, ReplicationFactor: 1, Configs: []ConfigPair{{"retention.ms", ptr("1")}}})
	p.do(DeleteTopics{Topics: []TopicRef{{Name: "a.x"}}})
	second := p.create(NewTopic{Name: "a_x", Partitions: 1, ReplicationFactor: 1}) // the name that collided is free again
	third := p.create(NewTopic{Name: "b", Partitions: 1, ReplicationFactor: 1})
	p.do(DeleteTopics{Topics: []TopicRef{{Name: "b"}}})
	fourth := p.create(NewTopic{Name: "b", Partitions: 1, ReplicationFactor: 1})
	if second.Outcome.Err() != nil || first.ID == second.ID || third.ID == fourth.ID || p.c.image.TopicByID(third.ID) != nil {
		t.Errorf("%+v %+v %+v %+v", first, second, third, fourth)
	}
	if m := p.c.image.Configs(2, "a.x"); m != nil {
		t.Errorf("the configuration of a deleted topic is still there: %v", m)
	}
}

func TestRule110_DeleteTopics(t *testing.T) {
	p := newPlant(t, 1)
	a := p.create(NewTopic{Name: "a", Partitions: 1, ReplicationFactor: 1})
	b := p.create(NewTopic{Name: "b", Partitions: 1, ReplicationFactor: 1})
	r := p.do(DeleteTopics{Topics: []TopicRef{
		{Name: "a", ID: a.ID}, {Name: "none"}, {ID: protocol.TopicID{9}}, {Name: "a"}, {ID: b.ID}, {Name: "b"},
	}}).(DeleteTopicsReply)
	for i, code := range []protocol.Code{
		protocol.InvalidRequest, protocol.UnknownTopicOrPartition, protocol.UnknownTopicID, protocol.None, protocol.None,
		protocol.InvalidRequest,
	} {
		p.want(fmt.Sprint("topic ", i), r.Topics[i].Outcome.Err(), code)
	}
	if r.Topics[4].Name != "b" || r.Topics[3].ID != a.ID {
		t.Errorf("name and id are not both answered: %+v", r.Topics)
	}
	if len(p.c.image.Topics()) != 0 || p.c.image.PartitionCount() != 0 {
		t.Errorf("left: %v", p.c.image.Topics())
	}
}

func TestRule110_CreatePartitions(t *testing.T) {
	p := newPlant(t, 3)
	p.create(NewTopic{Name: "a", Partitions: 2, ReplicationFactor: 2})
	one := func(more MorePartitions) error {
		t.Helper()
		r := p.do(CreatePartitions{Topics: []MorePartitions{more}}).(CreatePartitionsReply)
		if len(r.Topics) != 1 {
			t.Fatalf("C28: %d results for one topic", len(r.Topics))
		}
		return r.Topics[0].Outcome.Err()
	}
	p.want("same", one(MorePartitions{Name: "a", Count: 2}), protocol.InvalidPartitions)
	p.want("fewer", one(MorePartitions{Name: "a", Count: 1}), protocol.InvalidPartitions)
	p.want("negative", one(MorePartitions{Name: "a", Count: -1}), protocol.InvalidPartitions)
	p.want("far too many", one(MorePartitions{Name: "a", Count: 1 << 30}), protocol.PolicyViolation)
	p.want("unknown", one(MorePartitions{Name: "b", Count: 2}), protocol.UnknownTopicOrPartition)
	p.want("few assignments", one(MorePartitions{Name: "a", Count: 4, Assigned: true, Assignments: []ids{{1, 2}}}), protocol.InvalidReplicaAssignment)
	p.want("uneven assignments", one(MorePartitions{Name: "a", Count: 3, Assigned: true, Assignments: []ids{{1}}}), protocol.InvalidReplicaAssignment)
	p.want("unknown broker", one(MorePartitions{Name: "a", Count: 3, Assigned: true, Assignments: []ids{{1, 9}}}), protocol.InvalidReplicaAssignment)
	before := p.c.image.Topic("a").Partitions
	p.want("more", one(MorePartitions{Name: "a", Count: 4}), protocol.None)
	p.want("by hand", one(MorePartitions{Name: "a", Count: 5, Assigned: true, Assignments: []ids{{3, 1}}}), protocol.None)
	ps := p.c.image.Topic("a").Partitions
	if len(ps) != 5 || p.c.image.PartitionCount() != 5 || !slices.Equal(ps[4].Replicas, ids{3, 1}) {
		t.Fatalf("%+v", ps)
	}
	if len(before) != 2 || !slices.Equal(ps[0].Replicas, before[0].Replicas) || !slices.Equal(ps[1].Replicas, before[1].Replicas) {
		t.Errorf("the partitions that were there have changed")
	}
}

func TestPlacementSpreadsLeadersAndFollowers(t *testing.T) {
	p := newPlant(t, 5)
	p.create(NewTopic{Name: "a", Partitions: 100, ReplicationFactor: 3})
	leads, holds := map[protocol.BrokerID]int{}, map[protocol.BrokerID]int{}
	for i, part := range p.c.image.Topic("a").Partitions {
		leads[part.Leader]++
		for j, r := range part.Replicas {
			holds[r]++
			if slices.Contains(part.Replicas[:j], r) {
				t.Fatalf("partition %d has a broker twice: %v", i, part.Replicas)
			}
		}
	}
	for id := protocol.BrokerID(1); id <= 5; id++ {
		if leads[id] != 20 || holds[id] != 60 {
			t.Errorf("broker %d leads %d and holds %d of 100 and 300", id, leads[id], holds[id])
		}
	}
}

func TestRule047_ProducerIDsComeInBlocksOfAThousand(t *testing.T) {
	p := newPlant(t, 1)
	epoch := p.c.image.Broker(1).Epoch
	a := p.do(AllocateProducerIDs{Broker: 1, BrokerEpoch: epoch}).(AllocateProducerIDsReply)
	b := p.do(AllocateProducerIDs{Broker: 1, BrokerEpoch: epoch}).(AllocateProducerIDsReply)
	if a.Count != 1000 || b.First != a.First+1000 {
		t.Errorf("%+v then %+v", a, b)
	}
	_, err := p.try(AllocateProducerIDs{Broker: 1, BrokerEpoch: epoch - 1})
	p.want("old epoch", err, protocol.StaleBrokerEpoch)
	_, err = p.try(AllocateProducerIDs{Broker: 2, BrokerEpoch: epoch})
	p.want("unknown broker", err, protocol.BrokerIDNotRegistered)
}

func TestABrokerThatComesBackIsElectedAnew(t *testing.T) {
	p := newPlant(t, 2)
	p.create(NewTopic{Name: "a", Partitions: -1, ReplicationFactor: -1, Assignments: assign(ids{1, 2}, ids{2, 1})})
	epoch := p.c.image.Broker(1).Epoch
	r := p.do(RegisterBroker{ID: 1, Rack: "r"}).(RegisterBrokerReply)
	if b := p.c.image.Broker(1); r.Epoch <= epoch || b.Epoch != r.Epoch || b.Rack != "r" {
		t.Errorf("epoch %d after %d, %+v", r.Epoch, epoch, b)
	}
	ps := p.c.image.Topic("a").Partitions
	if ps[0].LeaderEpoch != 1 || ps[0].Leader != 1 || ps[1].LeaderEpoch != 0 {
		t.Errorf("%+v", ps)
	}
}

func TestAnImageDoesNotChangeUnderItsReader(t *testing.T) {
	p := newPlant(t, 1)
	p.create(NewTopic{Name: "a", Partitions: 1, ReplicationFactor: 1, Configs: []ConfigPair{{"retention.ms", ptr("1")}}})
	old := p.c.image
	before := hex.Dump(AppendRecords(nil, old.Records()))
	p.do(RegisterBroker{ID: 1})
	p.do(CreatePartitions{Topics: []MorePartitions{{Name: "a", Count: 3}}})
	p.create(NewTopic{Name: "b", Partitions: 1, ReplicationFactor: 1})
	p.do(AlterConfigs{Resources: []AlterResource{{Resource: topicResource("a"), Ops: []ConfigOp{{Key: "retention.ms", Value: ptr("2")}}}}})
	p.do(DeleteTopics{Topics: []TopicRef{{Name: "a"}}})
	if after := hex.Dump(AppendRecords(nil, old.Records())); after != before {
		t.Errorf("the image was\n%s\nand is\n%s", before, after)
	}
}

func TestSinceNamesWhatHasChanged(t *testing.T) {
	p := newPlant(t, 1)
	for _, name := range []string{"a", "b", "c"} {
		p.create(NewTopic{Name: name, Partitions: 1, ReplicationFactor: 1})
	}
	old := p.c.image
	p.do(DeleteTopics{Topics: []TopicRef{{Name: "a"}, {Name: "b"}}})
	p.create(NewTopic{Name: "b", Partitions: 1, ReplicationFactor: 1})
	p.do(AlterConfigs{Resources: []AlterResource{{Resource: topicResource("c"), Ops: []ConfigOp{{Key: "retention.ms", Value: ptr("2")}}}}})
	d := p.c.image.Since(old)
	names := func(ts []*Topic) (s []string) {
		for _, t := range ts {
			s = append(s, t.Name)
		}
		return s
	}
	if !slices.Equal(names(d.Topics), []string{"b"}) || !slices.Equal(names(d.Removed), []string{"a", "b"}) {
		t.Errorf("topics %v, removed %v", names(d.Topics), names(d.Removed))
	}
	if len(d.Configs) != 1 || d.Configs[0] != topicResource("c") {
		t.Errorf("configs %v", d.Configs)
	}
	if d := p.c.image.Since(p.c.image); d.Topics != nil || d.Removed != nil || d.Configs != nil {
		t.Errorf("an image differs from itself: %+v", d)
	}
}

func BenchmarkCreateTopics(b *testing.B) {
	for b.Loop() {
		c := NewController(ControllerConfig{Random: rand.New(rand.NewPCG(1, 2))}, Empty())
		for _, cmd := range []Command{Bootstrap{ClusterID: testCluster}, RegisterBroker{ID: 1}} {
			recs, _, err := c.Handle(time.Time{}, cmd)
			if err != nil || c.Apply(recs...) != nil {
				b.Fatal(err)
			}
		}
		for i := range 1000 {
			recs, _, err := c.Handle(time.Time{}, CreateTopics{Topics: []NewTopic{{Name: fmt.Sprint("topic-", i), Partitions: 10, ReplicationFactor: 1}}})
			if err != nil || c.Apply(recs...) != nil {
				b.Fatal(err)
			}
		}
	}
}
