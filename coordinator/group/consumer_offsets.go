package group

import "moldau.io/moldau/protocol"

// mayCommit says whether the sender may commit all the partitions it names. One that is behind may, for those that it has
// had since the epoch it believes in (KIP-1251): the answer that raised its epoch may be on its way.
func (g *consumerGroup) mayCommit(r *CommitOffsets) protocol.Code {
	if r.Generation < 0 && len(g.members) == 0 {
		return protocol.None
	}
	mem := g.members[r.Member]
	if mem == nil {
		return protocol.UnknownMemberID
	}
	stale := protocol.StaleMemberEpoch
	if mem.desc.Classic != nil {
		stale = protocol.IllegalGeneration
	} else if !r.KnowsGroupNotFound { // below v9
		return protocol.UnsupportedVersion
	}
	switch {
	case r.Generation == mem.cur.Epoch:
		return protocol.None
	case r.Generation > mem.cur.Epoch:
		return stale
	}
	for i := range r.Partitions {
		p := &r.Partitions[i]
		if p.Code != protocol.None {
			continue
		}
		since, ok := has(mem.cur.Assigned, p.TopicID, p.Partition)
		if !ok {
			since, ok = has(mem.cur.Revoking, p.TopicID, p.Partition)
		}
		if !ok || r.Generation < since {
			return stale
		}
	}
	return protocol.None
}

// mayFetch checks a sender that says who it is.
func (g *consumerGroup) mayFetch(r *FetchOffsets) protocol.Code {
	if r.Member == nil && r.Epoch < 0 {
		return protocol.None
	}
	var mem *consumerMember
	if r.Member != nil {
		mem = g.members[*r.Member]
	}
	switch {
	case mem == nil:
		return protocol.UnknownMemberID
	case r.Epoch == mem.cur.Epoch:
		return protocol.None
	case mem.desc.Classic != nil:
		return protocol.IllegalGeneration
	}
	return protocol.StaleMemberEpoch
}

// deleteConsumer removes a consumer group without members, and all its offsets.
func (m *Machine) deleteConsumer(t Ticket, g *consumerGroup, r *Delete) {
	if len(g.members) > 0 {
		m.reply(t, r.Refuse(protocol.NonEmptyGroup))
		return
	}
	m.removeAllOffsets(g.id)
	m.removeConsumerGroup(g)
	m.tell(Event{Kind: GroupDeleted, Group: g.id, Generation: g.epoch, Reason: "asked by a client", Stored: true})
	m.reply(t, &DeleteResult{})
}

// expireConsumers removes the offsets of consumer groups that were committed long ago, for topics that nobody is subscribed
// to, and the groups that nothing is left of.
func (m *Machine) expireConsumers(wall, keep int64) {
	for _, id := range sortedKeys(m.consumers) {
		g := m.consumers[id]
		none := m.removeOffsets(id, func(topic string, p int32, c *Commit) bool {
			switch {
			case g.subscribedTo(topic), m.pending.unstable(id, topic, p):
				return false
			case c.Expires >= 0:
				return wall >= c.Expires
			}
			return wall-c.Timestamp >= keep
		})
		if none && len(g.members) == 0 && !m.pending.any(id) {
			m.removeConsumerGroup(g)
			m.cut()
			m.tell(Event{
				Kind: GroupDeleted, Group: id, Generation: g.epoch, Reason: "it has no members and no offsets", Stored: true,
			})
		}
	}
}
