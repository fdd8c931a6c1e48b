package group

import (
	"slices"

	"moldau.io/moldau/coordinator/group/assignor"
	"moldau.io/moldau/protocol"
)

// updateTarget computes the target assignment for the group's epoch, unless there is one, or the last one is too young:
// then the member goes on towards that, and a later heartbeat of any member computes it.
func (m *Machine) updateTarget(b *beat) *refusal {
	g := b.g
	before := b.id
	if b.old != nil {
		before = b.old.id
	}
	b.targetEpoch, b.target = g.targetEpoch, g.targets[before]
	if g.targetEpoch >= b.epoch || !m.mayAssign(b) {
		return nil
	}
	next, err := m.nextTarget(b)
	if err != nil {
		return refuse(protocol.UnknownServerError, "Failed to compute a new target assignment for epoch %d: %v", b.epoch, err)
	}
	for _, id := range sortedKeys(next) {
		of := id
		if id == b.id {
			of = before
		}
		if was, ok := g.targets[of]; !ok || !equalPartitions(was, next[id]) {
			m.record(Record{Kind: KindMemberTarget, Group: g.id, Name: id, Value: &MemberTarget{Topics: next[id]}})
		}
	}
	m.record(Record{Kind: KindTarget, Group: g.id, Value: &Target{Epoch: b.epoch, Timestamp: b.now.UnixMilli()}})
	b.targetEpoch, b.target = b.epoch, next[b.id]
	return nil
}

// mayAssign says that the interval between two computations is over. Members that join one after the other would else
// each cost one, and move what was just given. A clock that was set back does not stop it.
func (m *Machine) mayAssign(b *beat) bool {
	past := b.now.UnixMilli() - b.g.targetTime
	return b.g.targetTime == 0 || past < 0 || past >= m.cfg.consumer(b.g.id).AssignmentInterval.Milliseconds()
}

// nextTarget asks the assignor that the group prefers. Every member is in the result, with its topics in the order that
// the assignor chose: the next assignment depends on it.
func (m *Machine) nextTarget(b *beat) (map[string][]TopicPartitions, error) {
	g := b.g
	in := assignor.Group{
		Members: make([]assignor.Member, 0, len(g.members)+1), Joining: b.isNew || b.old != nil, Peak: g.peak,
		Homogeneous: b.isHomogeneous(), Topics: m.targetTopics(b),
	}
	add := func(id string, desc *Member, target []TopicPartitions) {
		in.Members = append(in.Members, assignor.Member{
			ID: id, Instance: desc.Instance, Rack: desc.Rack, Names: desc.Topics, Matched: b.matchedBy(desc),
			Target: toAssignor(target),
		})
	}
	for _, mem := range g.inOrder() {
		switch {
		case mem == b.old:
		case mem.id == b.id:
			add(mem.id, b.desc, b.target)
		default:
			add(mem.id, mem.desc, g.targets[mem.id])
		}
	}
	if in.Joining {
		add(b.id, b.desc, b.target)
	}
	assign := assignor.Uniform
	if m.preferredAssignor(g, b.wasAssignor(), b.desc.Assignor) == "range" {
		assign = assignor.Range
	}
	out, err := assign(in)
	if err != nil {
		// Only targets that no assignor made are refused; a log that was damaged may bring some. Begin anew, or the group
		// would be stuck for good.
		for i := range in.Members {
			in.Members[i].Target = nil
		}
		if out, err = assign(in); err != nil {
			return nil, err
		}
	}
	all := make(map[string][]TopicPartitions, len(in.Members))
	for i := range in.Members {
		all[in.Members[i].ID] = fromAssignor(out[in.Members[i].ID])
	}
	return all, nil
}

// inOrder are the members in the order in which they joined.
func (g *consumerGroup) inOrder() []*consumerMember {
	all := make([]*consumerMember, 0, len(g.members))
	for _, mem := range g.members {
		all = append(all, mem)
	}
	slices.SortFunc(all, func(a, b *consumerMember) int { return int(a.joined - b.joined) })
	return all
}

// targetTopics are the topics subscribed to that are there.
func (m *Machine) targetTopics(b *beat) map[string]assignor.TopicInfo {
	md := m.topics.Now()
	names := b.g.topicsAfter(b.delta)
	topics := make(map[string]assignor.TopicInfo, len(names))
	for _, name := range names {
		if t, ok := md.Topic(name); ok {
			topics[name] = assignor.TopicInfo{ID: t.ID, Partitions: t.Partitions}
		}
	}
	return topics
}

// isHomogeneous says that all members have the same subscription, by counts: each topic has the names of all members, or
// all members have one expression and nobody names a topic.
func (b *beat) isHomogeneous() bool {
	g := b.g
	members, patterns, first := b.members(), 0, 0
	each := func(pattern string, n int) {
		if pattern == b.wasDesc.pattern() && !b.isNew {
			n--
		}
		if pattern == b.desc.pattern() {
			n++
		}
		if n > 0 {
			patterns, first = patterns+1, n
		}
	}
	for pattern, n := range g.patterns {
		each(pattern, n)
	}
	if to := b.desc.pattern(); to != "" && g.patterns[to] == 0 {
		each(to, 0)
	}
	if patterns > 0 && first != members {
		return false
	}
	for _, topic := range g.topicsAfter(b.delta) {
		n := g.topics.after(topic, b.delta)
		if patterns == 0 && n.names != members || patterns > 0 && (n.patterns != 1 || n.names > 0) {
			return false
		}
	}
	return true
}

func toAssignor(list []TopicPartitions) []assignor.Topic {
	out := make([]assignor.Topic, len(list))
	for i, t := range list {
		out[i] = assignor.Topic{ID: t.ID, Partitions: t.Partitions}
	}
	return out
}

func fromAssignor(list []assignor.Topic) []TopicPartitions {
	out := make([]TopicPartitions, len(list))
	for i, t := range list {
		out[i] = TopicPartitions{ID: t.ID, Partitions: t.Partitions}
	}
	return out
}
