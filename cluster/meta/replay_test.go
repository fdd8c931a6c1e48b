package meta

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"moldau.io/moldau/protocol"
)

// TestReplayGivesTheLiveImage: whatever commands came, the records of the log, the snapshot of the live image, and a
// snapshot with the rest of the log behind it all give the image that is live, bytes and indexes.
func TestReplayGivesTheLiveImage(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := NewController(ControllerConfig{Random: rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))}, Empty())
		var log [][]byte // one entry of the log for each command
		live, snapshot, snapshotAt := Empty(), Empty(), 0
		commands := rapid.SliceOfN(rapid.Custom(drawCommand), 1, 60).Draw(rt, "commands")
		for _, cmd := range append([]Command{Bootstrap{ClusterID: testCluster}, RegisterBroker{ID: 1}}, commands...) {
			recs, _, err := c.Handle(time.Time{}, cmd)
			if err != nil || len(recs) == 0 {
				continue
			}
			if err := c.Apply(recs...); err != nil {
				rt.Fatalf("%+v: %v", cmd, err)
			}
			log = append(log, AppendRecords(nil, recs))
			if live, err = live.With(int64(len(log)), recs...); err != nil {
				rt.Fatalf("%+v: %v", cmd, err)
			}
			if rapid.IntRange(0, 9).Draw(rt, "snapshot") == 0 {
				snapshot, snapshotAt = reload(rt, live), len(log)
			}
		}
		same(rt, "the controller's image", c.image, live)
		same(rt, "the log", replay(rt, Empty(), log, 0), live)
		same(rt, "the snapshot", reload(rt, live), live)
		same(rt, "snapshot and log", replay(rt, snapshot, log, snapshotAt), live)
	})
}

// TestI20_RecordsThatNoControllerWritesAreRefused: what comes from a disk or another node is judged before it becomes the
// image.
func TestI20_RecordsThatNoControllerWritesAreRefused(t *testing.T) {
	id := protocol.TopicID{1}
	was := Partition{Replicas: ids{1, 2}, ISR: ids{1, 2}, Leader: 1, LeaderEpoch: 5, Epoch: 7}
	im, err := Empty().With(1, TopicRecord{Name: "a", ID: id}, PartitionsRecord{Topic: id, Partitions: []Partition{was}})
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(*Partition)) Record {
		p := was
		p.LeaderEpoch, p.Epoch = was.LeaderEpoch+1, was.Epoch+1
		f(&p)
		return PartitionsRecord{Topic: id, Partitions: []Partition{p}}
	}
	for what, c := range map[string]struct {
		rec Record
		ok  bool
	}{
		"an election":               {change(func(p *Partition) { p.Leader = 2 }), true},
		"a shrunken set":            {change(func(p *Partition) { p.ISR, p.LeaderEpoch = ids{1}, 5 }), true},
		"no leader":                 {change(func(p *Partition) { p.Leader = -1 }), true},
		"two leaders in an epoch":   {change(func(p *Partition) { p.Leader, p.LeaderEpoch = 2, 5 }), false},
		"a leader epoch that falls": {change(func(p *Partition) { p.LeaderEpoch = 4 }), false},
		"an epoch that stays":       {change(func(p *Partition) { p.Epoch = 7 }), false},
		"in sync, but no replica":   {change(func(p *Partition) { p.ISR = ids{1, 3} }), false},
		"in sync twice":             {change(func(p *Partition) { p.ISR = ids{1, 1} }), false},
		"a leader without replica":  {change(func(p *Partition) { p.Leader = 3 }), false},
		"no replicas":               {change(func(p *Partition) { p.Replicas, p.ISR, p.Leader = nil, nil, -1 }), false},
		"the name once more":        {TopicRecord{Name: "a", ID: protocol.TopicID{2}}, false},
		"the id once more":          {TopicRecord{Name: "b", ID: id}, false},
		"an unknown topic":          {RemoveTopicRecord{Topic: protocol.TopicID{2}}, false},
		"a gap":                     {PartitionsRecord{Topic: id, First: 2, Partitions: []Partition{was}}, false},
		"producer ids":              {ProducerIDsRecord{Next: 0}, true},
	} {
		if _, err := im.With(2, c.rec); (err == nil) != c.ok {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := im.With(1); err == nil {
		t.Error("an offset comes twice")
	}
}

func drawCommand(t *rapid.T) Command {
	name := func() string { return fmt.Sprint("t", rapid.IntRange(0, 12).Draw(t, "name")) }
	switch rapid.IntRange(0, 7).Draw(t, "command") {
	case 0, 1, 2:
		cmd := CreateTopics{}
		for range rapid.IntRange(1, 3).Draw(t, "topics") {
			nt := NewTopic{Name: name(), Partitions: int32(rapid.IntRange(1, 4).Draw(t, "partitions")), ReplicationFactor: -1}
			if rapid.Bool().Draw(t, "configured") {
				nt.Configs = []ConfigPair{{Key: "retention.ms", Value: ptr("1000")}}
			}
			cmd.Topics = append(cmd.Topics, nt)
		}
		return cmd
	case 3:
		return DeleteTopics{Topics: []TopicRef{{Name: name()}, {Name: name()}}}
	case 4:
		return CreatePartitions{Topics: []MorePartitions{{Name: name(), Count: int32(rapid.IntRange(1, 8).Draw(t, "count"))}}}
	case 5:
		op := ConfigOp{Key: "retention.ms", Op: Op(rapid.IntRange(0, 1).Draw(t, "op")), Value: ptr("77")}
		return AlterConfigs{Resources: []AlterResource{{Resource: topicResource(name()), Ops: []ConfigOp{op}}}}
	case 6:
		return RegisterBroker{ID: protocol.BrokerID(rapid.IntRange(1, 3).Draw(t, "broker"))}
	default:
		return AllocateProducerIDs{Broker: 1, BrokerEpoch: 1}
	}
}

func replay(t *rapid.T, im *Image, log [][]byte, from int) *Image {
	for i, b := range log[from:] {
		recs, err := DecodeRecords(b)
		if err == nil {
			im, err = im.With(int64(from+i+1), recs...)
		}
		if err != nil {
			t.Fatalf("entry %d: %v", from+i+1, err)
		}
	}
	return im
}

// reload is the image after a round through its snapshot.
func reload(t *rapid.T, im *Image) *Image {
	recs, err := DecodeRecords(AppendRecords(nil, im.Records()))
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := Empty().With(im.Offset(), recs...)
	if err != nil {
		t.Fatal(err)
	}
	return fresh
}

func same(t *rapid.T, what string, got, want *Image) {
	if !reflect.DeepEqual(got.Records(), want.Records()) {
		t.Fatalf("%s gives\n%+v\nand not\n%+v", what, got.Records(), want.Records())
	}
	partitions := 0
	for i, topic := range got.Topics() {
		partitions += len(topic.Partitions)
		if got.Topic(topic.Name) != topic || got.TopicByID(topic.ID) != topic || (i > 0 && got.Topics()[i-1].Name >= topic.Name) {
			t.Fatalf("%s: topic %s is not where it should be", what, topic.Name)
		}
	}
	if got.byName.len() != len(got.Topics()) || got.byID.len() != len(got.Topics()) || got.PartitionCount() != partitions {
		t.Fatalf("%s: %d topics by name, %d by id, %d in order; %d partitions, counted %d", what,
			got.byName.len(), got.byID.len(), len(got.Topics()), partitions, got.PartitionCount())
	}
}
