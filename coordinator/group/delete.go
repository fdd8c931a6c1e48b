package group

import (
	"maps"
	"slices"

	"moldau.io/moldau/protocol"
)

// delete removes a group without members, and all its offsets, with those that open transactions would commit.
func (m *Machine) delete(t Ticket, r *Delete) {
	if g := m.consumers[r.Group]; g != nil {
		m.deleteConsumer(t, g, r)
		return
	}
	g := m.groups[r.Group]
	switch {
	case g == nil:
		m.reply(t, r.Refuse(protocol.GroupIDNotFound))
		return
	case g.state != Empty:
		m.reply(t, r.Refuse(protocol.NonEmptyGroup))
		return
	}
	m.removeAllOffsets(g.id)
	m.record(savedRecord(g.id, nil))
	m.stored(g, GroupDeleted, Who{}, "asked by a client")
	m.reply(t, &DeleteResult{})
}

func (m *Machine) removeAllOffsets(id string) {
	m.removeOffsets(id, func(string, int32, *Commit) bool { return true })
	m.pending.each(id, func(topic string, p int32, _ []pendingCommit) {
		if m.offsets[id].of(topic, p) == nil {
			m.record(commitRecord(id, topic, p, nil)) // the transaction must not bring it back
		}
	})
}

// removeOffsets writes tombstones for the offsets that match, in a fixed order, and says whether none is left. They
// may be many, and each stands for itself.
func (m *Machine) removeOffsets(id string, match func(topic string, partition int32, c *Commit) bool) (all bool) {
	all = true
	committed := m.offsets[id]
	for _, topic := range slices.Sorted(maps.Keys(committed)) {
		for _, p := range slices.Sorted(maps.Keys(committed[topic])) {
			if match(topic, p, committed[topic][p]) {
				m.record(commitRecord(id, topic, p, nil))
				m.cut()
			} else {
				all = false
			}
		}
	}
	return all
}

// deleteOffsets takes OffsetDelete. Offsets of topics that members are subscribed to stay.
func (m *Machine) deleteOffsets(t Ticket, r *DeleteOffsets) {
	g, cg := m.groups[r.Group], m.consumers[r.Group]
	switch {
	case r.Group == "":
		m.reply(t, r.Refuse(protocol.InvalidGroupID))
		return
	case g == nil && cg == nil:
		m.reply(t, r.Refuse(protocol.GroupIDNotFound))
		return
	case cg == nil && g.state != Empty && g.kind != consumerType:
		m.reply(t, r.Refuse(protocol.NonEmptyGroup))
		return
	}
	for i := range r.Partitions {
		p := &r.Partitions[i]
		switch {
		case p.Code != protocol.None:
		case cg != nil && cg.subscribedTo(p.Topic), cg == nil && g.subscribedTo(p.Topic):
			p.Code = protocol.GroupSubscribedToTopic
		case m.offsets[r.Group].of(p.Topic, p.Partition) != nil, m.pending.unstable(r.Group, p.Topic, p.Partition):
			m.record(commitRecord(r.Group, p.Topic, p.Partition, nil))
		}
	}
	m.reply(t, &DeleteOffsetsResult{Partitions: r.Partitions})
}

// forgetTopics removes the offsets of deleted topics from all groups. Where both sides know the topic's id, offsets of a
// later topic of the same name stay.
func (m *Machine) forgetTopics(t Ticket, r *ForgetTopics) {
	gone := make(map[string]protocol.TopicID, len(r.Topics))
	for _, topic := range r.Topics {
		gone[topic.Name] = topic.ID
	}
	match := func(topic string, _ int32, c *Commit) bool {
		tid, ok := gone[topic]
		return ok && (tid.IsZero() || c.TopicID.IsZero() || tid == c.TopicID)
	}
	for _, id := range slices.Sorted(maps.Keys(m.offsets)) {
		m.removeOffsets(id, match)
	}
	for _, id := range slices.Sorted(maps.Keys(m.pending.of)) {
		m.pending.each(id, func(topic string, p int32, list []pendingCommit) {
			c := m.offsets[id].of(topic, p)
			removed := c != nil && match(topic, p, c)
			if !removed && slices.ContainsFunc(list, func(o pendingCommit) bool {
				return o.commit != nil && match(topic, p, o.commit)
			}) {
				m.record(commitRecord(id, topic, p, nil))
			}
		})
	}
	m.reply(t, &ForgetResult{})
}
