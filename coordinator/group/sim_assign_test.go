package group

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// What the leaders of simulated classic groups do: they read subscriptions and make assignments, in the formats of Kafka's
// consumer protocol.

// nameOf knows topics that are gone, too.
func (t *simTopics) nameOf(tp simTP) string { return t.names[tp.id] }

func simSubscription(topics []string, has simSet, generation int32, all *simTopics) []byte {
	m := kmsg.NewConsumerMemberMetadata()
	m.Version = 2
	m.Topics = topics
	m.Generation = generation
	for _, tp := range has.sorted() {
		name := all.nameOf(tp)
		i := slices.IndexFunc(m.OwnedPartitions, func(o kmsg.ConsumerMemberMetadataOwnedPartition) bool { return o.Topic == name })
		if i < 0 {
			m.OwnedPartitions = append(m.OwnedPartitions, kmsg.ConsumerMemberMetadataOwnedPartition{Topic: name})
			i = len(m.OwnedPartitions) - 1
		}
		m.OwnedPartitions[i].Partitions = append(m.OwnedPartitions[i].Partitions, tp.p)
	}
	return m.AppendTo(nil)
}

// simSubscriber is a member as an assignor sees it.
type simSubscriber struct {
	member JoinMember
	meta   kmsg.ConsumerMemberMetadata
	given  map[string][]int32
	count  int
}

func (s *simSubscriber) give(topic string, p int32) {
	s.given[topic] = append(s.given[topic], p)
	s.count++
}

func (s *simSubscriber) owns(topic string, p int32) bool {
	for _, o := range s.meta.OwnedPartitions {
		if o.Topic == topic && slices.Contains(o.Partitions, p) {
			return true
		}
	}
	return false
}

// simAssign deals the partitions out.
func simAssign(protocol string, members []JoinMember, topics simMetadata) []Assignment {
	var all []*simSubscriber
	for _, m := range members {
		s := &simSubscriber{member: m, given: map[string][]int32{}}
		if s.meta.ReadFrom(m.Metadata) == nil {
			all = append(all, s)
		}
	}
	for _, t := range topics.topics {
		var of []*simSubscriber
		for _, s := range all {
			if slices.Contains(s.meta.Topics, t.Name) {
				of = append(of, s)
			}
		}
		if len(of) == 0 {
			continue
		}
		for p := range int32(t.Partitions) {
			switch protocol {
			case "range":
				of[int(p)*len(of)/t.Partitions].give(t.Name, p)
			case "roundrobin":
				of[int(p)%len(of)].give(t.Name, p)
			default:
				simSticky(of, t, p)
			}
		}
	}
	out := make([]Assignment, 0, len(all))
	for _, s := range all {
		a := kmsg.NewConsumerMemberAssignment()
		for _, name := range sortedKeys(s.given) {
			a.Topics = append(a.Topics, kmsg.ConsumerMemberAssignmentTopic{Topic: name, Partitions: s.given[name]})
		}
		out = append(out, Assignment{Member: s.member.Member, Data: a.AppendTo(nil)})
	}
	return out
}

// simSticky leaves a partition with its owner unless that has many more than another; then nobody gets it until the owner
// has let it go. Of several that say they own it the one of the latest generation does.
func simSticky(of []*simSubscriber, t Topic, p int32) {
	var owner *simSubscriber
	least := of[0]
	for _, s := range of {
		if s.owns(t.Name, p) && (owner == nil || s.meta.Generation > owner.meta.Generation) {
			owner = s
		}
		if s.count < least.count {
			least = s
		}
	}
	switch {
	case owner == nil:
		least.give(t.Name, p)
	case owner.count <= least.count+1:
		owner.give(t.Name, p)
	}
}

// simReadAssignment takes topic names for the topics that have them now.
func simReadAssignment(data []byte, topics *simTopics) simSet {
	set := simSet{}
	var a kmsg.ConsumerMemberAssignment
	if len(data) == 0 || a.ReadFrom(data) != nil {
		return set
	}
	for _, at := range a.Topics {
		t, ok := topics.now.Topic(at.Topic)
		if !ok {
			continue
		}
		for _, p := range at.Partitions {
			set[simTP{t.ID, p}] = true
		}
	}
	return set
}
