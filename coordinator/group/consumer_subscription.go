package group

import (
	"maps"
	"slices"

	"moldau.io/moldau/protocol"
)

// updateSubscription writes what changed about the member, and raises the group's epoch if that, or a change of the topics
// subscribed to, asks for a new target.
func (m *Machine) updateSubscription(b *beat) *refusal {
	g := b.g
	b.epoch = g.epoch
	w := why{}
	if b.desc != b.wasDesc {
		m.record(Record{Kind: KindMember, Group: g.id, Name: b.id, Value: b.desc})
		if !slices.Equal(b.desc.Topics, b.wasDesc.Topics) {
			b.subscription = true
			w = b.why(CauseSubscription, " changed its subscription")
			b.change(b.wasDesc.Topics, subscriptions{names: -1})
			b.change(b.desc.Topics, subscriptions{names: 1})
		}
	}
	bump := b.subscription
	if b.desc != b.wasDesc || len(g.patterns) > 0 {
		resolved, no := m.updateRegex(b)
		if no != nil {
			return no
		}
		if resolved && !bump {
			bump, w = true, b.why(CauseSubscription, " has another topic that its expression matches")
			if b.subscription {
				w = b.why(CauseSubscription, " changed its subscription")
			}
		}
	}
	if b.desc != b.wasDesc && m.preferredAssignor(g, nil, nil) != m.preferredAssignor(g, b.wasAssignor(), b.desc.Assignor) {
		if !bump {
			w = b.why(CauseProtocol, " decides for another assignor")
		}
		bump = true
	}
	if b.isNew {
		w = b.why(CauseJoin, " joined")
		m.tell(Event{
			Kind: MemberJoined, Group: g.id, Generation: g.epoch, Members: b.members(), Who: w.who, Reason: w.reason,
			Stored: true,
		})
	}
	if !bump && m.upgrading != nil && m.isUnassigned(b.g) {
		bump, w = true, b.why(CauseProtocol, " brings the consumer protocol to a group that was about to rebalance")
	}
	m.updateEpoch(b, bump, w)
	return nil
}

// why is a reason that the member gives.
func (b *beat) why(cause Cause, does string) why {
	who := b.desc.who(b.id, nil)
	who.Software = b.software
	return why{cause, who, who.name() + does}
}

// members is their number after this heartbeat.
func (b *beat) members() int {
	if b.isNew {
		return len(b.g.members) + 1
	}
	return len(b.g.members)
}

// change notes what the heartbeat does to the counts of topics.
func (b *beat) change(topics []string, by subscriptions) {
	if b.delta == nil {
		b.delta = topicCounts{}
	}
	b.delta.addAll(topics, by)
}

// updateEpoch compares the topics subscribed to with those of before, unless nothing can have changed.
func (m *Machine) updateEpoch(b *beat, bump bool, w why) {
	g := b.g
	md := m.topics.Now()
	if !bump && g.isChecked(md) {
		return
	}
	hash := m.hashAfter(g, b.delta)
	if hash != g.metadataHash || g.sizes == nil {
		sizes := topicSizes(md, g.topicsAfter(b.delta))
		if hash != g.metadataHash && !bump {
			bump = true
			w = why{CauseTopics, Who{}, whatResized(g.sizes, sizes)}
		}
		g.sizes = sizes
	}
	if bump {
		b.epoch = g.epoch + 1
		m.record(Record{Kind: KindEpoch, Group: g.id, Value: &Epoch{Epoch: b.epoch, MetadataHash: hash}})
		g.reason = w.reason
		m.tellEpoch(g, b.epoch, b.members(), w)
	}
	g.checked = metadataCheck{done: true, version: md.Version(), epoch: b.epoch}
}

// isChecked says that the group's hash is that of its topics in the metadata.
func (g *consumerGroup) isChecked(md Metadata) bool {
	return g.checked.done && g.checked.version == md.Version() && g.epoch >= g.checked.epoch
}

// hashAfter is the hash of the topics subscribed to once the counts of some have changed.
func (m *Machine) hashAfter(g *consumerGroup, delta topicCounts) int64 {
	md := m.topics.Now()
	if g.isChecked(md) && !g.setChanges(delta) {
		return g.metadataHash
	}
	return m.metadataHash(md, g.topicsAfter(delta))
}

// setChanges says that topics come to or go from the set of those subscribed to.
func (g *consumerGroup) setChanges(delta topicCounts) bool {
	for topic := range delta {
		if (g.topics[topic] == subscriptions{}) != (g.topics.after(topic, delta) == subscriptions{}) {
			return true
		}
	}
	return false
}

// topicsAfter are the topics subscribed to once the counts of some have changed, sorted.
func (g *consumerGroup) topicsAfter(delta topicCounts) []string {
	names := make([]string, 0, len(g.topics)+len(delta))
	for topic, n := range g.topics {
		if d, ok := delta[topic]; !ok || (subscriptions{n.names + d.names, n.patterns + d.patterns}) != (subscriptions{}) {
			names = append(names, topic)
		}
	}
	for topic := range delta {
		if _, ok := g.topics[topic]; !ok {
			names = append(names, topic)
		}
	}
	slices.Sort(names)
	return names
}

// topicSizes are the numbers of partitions; 0 of what is not there.
func topicSizes(md Metadata, names []string) map[string]int {
	sizes := make(map[string]int, len(names))
	for _, name := range names {
		t, _ := md.Topic(name)
		sizes[name] = t.Partitions
	}
	return sizes
}

// whatResized says which topic made a group look again.
func whatResized(was, is map[string]int) string {
	if was != nil {
		for _, name := range sortedKeys(is) {
			if before := was[name]; before != is[name] {
				return resized(name, before, is[name])
			}
		}
	}
	return "a topic that members are subscribed to was made, changed or deleted"
}

// wasAssignor is what the member, or who had its place, preferred so far.
func (b *beat) wasAssignor() *string { return b.wasDesc.Assignor }

// preferredAssignor is what most members that have a preference prefer once one of them changes it from one to another. Of
// two that are equal the one that is configured first is taken; without any preference the first of all.
func (m *Machine) preferredAssignor(g *consumerGroup, from, to *string) string {
	best, most := m.cfg.Assignors[0], 0
	for _, name := range m.cfg.Assignors {
		n := g.assignors[name]
		if from != nil && *from == name {
			n--
		}
		if to != nil && *to == name {
			n++
		}
		if n > most {
			best, most = name, n
		}
	}
	return best
}

// matchedBy are the topics of a member's expression, as far as they are known.
func (b *beat) matchedBy(d *Member) []string {
	pattern := d.pattern()
	if pattern == "" {
		return nil
	}
	re := b.resolved[pattern]
	if re == nil {
		re = b.g.regexes[pattern]
	}
	if re == nil {
		return nil
	}
	return re.Topics
}

// subscribedIDs are the ids, sorted, of the topics that the member is subscribed to and that are there.
func (b *beat) subscribedIDs(md Metadata) []protocol.TopicID {
	ids := make([]protocol.TopicID, 0, len(b.desc.Topics))
	for _, names := range [2][]string{b.desc.Topics, b.matchedBy(b.desc)} {
		for _, name := range names {
			if t, ok := md.Topic(name); ok {
				ids = append(ids, t.ID)
			}
		}
	}
	slices.SortFunc(ids, compareIDs)
	return ids
}

// sortedKeys are the keys of a map in an order that does not vary.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
