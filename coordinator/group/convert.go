package group

import (
	"slices"
	"time"

	"moldau.io/moldau/protocol"
)

// A group with members changes between the classic and the consumer protocol without stopping one of them (KIP-848): every
// member keeps its id, its epoch is the generation, and what it was assigned is what it has. Members of the classic
// protocol then live in a consumer group; consumer_classic.go serves them.

// upgrade makes a consumer group of a classic one with members, for a member of the new protocol that joins it. The group
// lives beside the classic one until its records are applied.
func (m *Machine) upgrade(now time.Time, g *group) (*consumerGroup, *refusal) {
	cannot := func(because string) (*consumerGroup, *refusal) {
		return nil, refuse(protocol.GroupIDNotFound, "Cannot upgrade classic group %s to consumer group because %s.", g.id,
			because)
	}
	switch {
	case m.cfg.Migration&Upgrade == 0:
		return cannot("online upgrade is disabled")
	case g.kind != consumerType:
		return cannot("the group does not use the consumer embedded protocol")
	case len(g.members) > m.cfg.ConsumerMaxSize:
		return cannot("the group size exceeds the consumer group maximum size")
	}
	members, fault := m.upgradedMembers(g)
	if fault != "" {
		return cannot(fault)
	}

	m.record(savedRecord(g.id, nil))
	first := len(m.eff.Records)
	m.recordUpgraded(g, members)
	cg := newConsumerGroup(g.id)
	for _, r := range m.eff.Records[first:] {
		cg.take(r) // again when they are applied, which changes nothing
	}
	for _, mem := range g.members {
		a := cg.alarmsOf(mem.id)
		a.software = mem.software
		m.setClassicSession(now, a, mem.session)
	}
	m.tell(Event{
		Kind: GroupConverted, Group: g.id, Generation: g.generation, Members: len(g.members), Stored: true,
		Reason: "from classic to consumer: a member of the consumer protocol joins",
	})
	m.upgrading = g
	return m.makeConsumerGroup(cg), nil
}

// upgraded are the values of the records of a member.
type upgraded struct {
	id     string
	has    []TopicPartitions // what it was assigned
	owned  []TopicPartitions // what it said it has when it joined
	desc   *Member
	target *MemberTarget
	cur    *Current
}

// finish makes what the member has its assignment, in the epoch given.
func (u *upgraded) finish(epoch int32) {
	u.target = &MemberTarget{Topics: u.has}
	u.cur = &Current{Epoch: epoch, PreviousEpoch: epoch, State: MemberStable, Assigned: withEpoch(u.has, epoch)}
}

// upgradedMembers are the members of the consumer group; fault says why there can be none.
func (m *Machine) upgradedMembers(g *group) (members []upgraded, fault string) {
	if len(g.members) == 0 {
		return nil, ""
	}
	md := m.topics.Now()
	strategy := g.strategy()
	for _, mem := range g.members {
		u, fault := mem.upgraded(md, strategy)
		if fault != "" {
			return nil, fault
		}
		members = append(members, u)
	}
	// While a classic group rebalances the assignments of before may be forgotten, or less than what members still have.
	// Those that rebalance step by step go on with it, and say so in their subscriptions: nobody else may get it before they
	// have been asked.
	if g.state != Stable {
		taken := map[ownedPartition]bool{}
		for i := range members {
			members[i].has = without(members[i].has, taken)
		}
		for i := range members {
			members[i].has = withoutEpochs(merge(withEpoch(members[i].has, 0), withEpoch(without(members[i].owned, taken), 0)))
		}
	}
	for i := range members {
		members[i].finish(g.upgradedEpoch())
	}
	return members, ""
}

// upgradedEpoch is the generation. A group that has none yet begins with the epoch of new consumer groups: 0 is that of
// members that join.
func (g *group) upgradedEpoch() int32 { return max(g.generation, initialEpoch) }

// without is list without the partitions that are taken; what is left is taken then.
func without(list []TopicPartitions, taken map[ownedPartition]bool) []TopicPartitions {
	out := make([]TopicPartitions, 0, len(list))
	for _, t := range list {
		free := TopicPartitions{ID: t.ID}
		for _, p := range t.Partitions {
			if key := (ownedPartition{t.ID, p}); !taken[key] {
				taken[key] = true
				free.Partitions = append(free.Partitions, p)
			}
		}
		out = appendSome(out, free)
	}
	return out
}

// strategy is the name of the protocol that the members' subscriptions are read in: the one that was chosen, or would be,
// where the group has none yet or a member that just came back does not offer it any more.
func (g *group) strategy() *string {
	if g.protocol != nil && g.offeredByAll(*g.protocol) {
		return g.protocol
	}
	name := g.vote()
	return &name
}

// upgraded is what becomes of a member; fault says why nothing can.
func (mem *member) upgraded(md Metadata, strategy *string) (u upgraded, fault string) {
	const malformed = "the embedded consumer protocol is malformed"
	s, ok := readSubscription(mem.metadata(strategy))
	if !ok {
		return u, malformed
	}
	var assigned []namedPartitions
	if len(mem.assignment) > 0 {
		custom := false
		assigned, custom, ok = readAssignment(mem.assignment)
		switch {
		case !ok:
			return u, malformed
		case custom:
			return u, "an unsupported custom assignor is in use. Please refer to the documentation or switch to a default " +
				"assignor before re-attempting the upgrade"
		}
	}
	none := ""
	u = upgraded{id: mem.id, desc: &Member{
		Instance: mem.instance, ClientID: mem.clientID, ClientHost: mem.clientHost,
		Topics: slices.Compact(slices.Sorted(slices.Values(s.topics))), Regex: &none,
		RebalanceMillis: int32(mem.rebalance.Milliseconds()),
		Classic:         &ClassicMember{SessionMillis: int32(mem.session.Milliseconds()), Protocols: mem.protocols},
	}}
	if s.rack != "" {
		u.desc.Rack = &s.rack
	}
	u.has, u.owned = identified(md, assigned), identified(md, s.owned)
	return u, ""
}

// withEpoch is list with the epoch for each partition.
func withEpoch(list []TopicPartitions, epoch int32) []TopicPartitions {
	out := make([]TopicPartitions, len(list))
	for i, t := range list {
		out[i] = TopicPartitions{ID: t.ID, Partitions: t.Partitions, Epochs: make([]int32, len(t.Partitions))}
		for j := range out[i].Epochs {
			out[i].Epochs[j] = epoch
		}
	}
	return out
}

func (m *Machine) recordUpgraded(g *group, members []upgraded) {
	var topics []string
	epoch := g.upgradedEpoch()
	for _, u := range members {
		m.record(Record{Kind: KindMember, Group: g.id, Name: u.id, Value: u.desc})
		topics = append(topics, u.desc.Topics...)
	}
	slices.Sort(topics)
	hash := m.metadataHash(m.topics.Now(), slices.Compact(topics))
	m.record(Record{Kind: KindEpoch, Group: g.id, Value: &Epoch{Epoch: epoch, MetadataHash: hash}})
	for _, u := range members {
		m.record(Record{Kind: KindMemberTarget, Group: g.id, Name: u.id, Value: u.target})
	}
	m.record(Record{Kind: KindTarget, Group: g.id, Value: &Target{Epoch: epoch}})
	for _, u := range members {
		m.record(Record{Kind: KindCurrent, Group: g.id, Name: u.id, Value: u.cur})
	}
}

// isUnassigned says that the group that is being upgraded was about to rebalance, or should have been: some partition is
// nobody's. A member that joins makes its epoch rise in any case, but not one that takes the place of a static one.
func (m *Machine) isUnassigned(g *consumerGroup) bool {
	if m.upgrading.state != Stable {
		return true
	}
	partitions := 0
	md := m.topics.Now()
	for name := range g.topics {
		t, _ := md.Topic(name)
		partitions += t.Partitions
	}
	return len(g.owners) < partitions
}

// finishUpgrade answers what members of the classic group wait for, once nothing can refuse the upgrade but the log: they
// join again, and find a consumer group.
func (m *Machine) finishUpgrade() {
	g := m.upgrading
	if g == nil {
		return
	}
	m.upgrading = nil
	for _, mem := range g.members {
		if mem.joinTicket != 0 {
			m.reply(mem.joinTicket, &JoinResult{Code: protocol.RebalanceInProgress, Generation: -1, Member: mem.id})
			mem.joinTicket = 0
			g.awaiting--
		}
		if mem.syncTicket != 0 {
			m.reply(mem.syncTicket, &SyncResult{Code: protocol.RebalanceInProgress})
			mem.syncTicket = 0
		}
	}
}

// mayDowngrade says that the group becomes a classic one when these leave: nobody of the new protocol is left, but others
// are, and a classic group has room for them.
func (m *Machine) mayDowngrade(g *consumerGroup, leaving []*consumerMember) bool {
	classic := g.classic
	for _, mem := range leaving {
		if mem.desc.Classic != nil {
			classic--
		}
	}
	left := len(g.members) - len(leaving)
	return left > 0 && classic == left && m.cfg.Migration&Downgrade != 0 && left <= m.cfg.MaxSize
}

// downgradeWithout makes a classic group of the consumer group if that is what is left when these leave. The members that
// stay are asked to join again; until then they are assigned what they have.
func (m *Machine) downgradeWithout(now time.Time, g *consumerGroup, leaving []*consumerMember, w why) bool {
	if !m.mayDowngrade(g, leaving) {
		return false
	}
	stay := slices.DeleteFunc(g.inOrder(), func(mem *consumerMember) bool { return slices.Contains(leaving, mem) })
	members := make([]downgraded, len(stay))
	for i, mem := range stay {
		members[i] = mem.downgraded()
	}
	classic := m.downgrade(now, g, members)
	if classic == nil {
		return false
	}
	m.removeConsumerGroup(g)
	m.saveDowngraded(now, classic, false)
	m.prepareRebalance(now, classic, w)
	return true
}

// downgraded is a member on its way into a classic group.
type downgraded struct {
	id, software string
	epoch        int32
	desc         *Member
	assigned     []TopicPartitions
}

// downgraded is the member with all that it has not given back. One that has reached the target has just that.
func (mem *consumerMember) downgraded() downgraded {
	return downgraded{
		id: mem.id, software: mem.alarms.software, epoch: mem.cur.Epoch, desc: mem.desc,
		assigned: merge(mem.cur.Assigned, mem.cur.Revoking),
	}
}

// downgrade is the classic group of these members, with the group's epoch for its generation. It is nil if they share no strategy, or their subscriptions cannot be read: a log that something
// else wrote may hold that.
func (m *Machine) downgrade(now time.Time, g *consumerGroup, members []downgraded) *group {
	c := newGroup(g.id)
	c.kind, c.generation, c.state, c.since = consumerType, g.epoch, Stable, now.UnixMilli()
	for _, d := range members {
		mem := &member{
			id: d.id, instance: d.desc.Instance, clientID: d.desc.ClientID, clientHost: d.desc.ClientHost, software: d.software,
			session:   d.desc.Classic.session(),
			rebalance: d.desc.rebalance(), protocols: d.desc.Classic.Protocols, epoch: d.epoch,
		}
		c.add(mem)
	}
	if !slices.ContainsFunc(c.members[0].protocols, func(p Protocol) bool { return c.offeredByAll(p.Name) }) {
		return nil
	}
	chosen := c.vote()
	c.protocol = &chosen
	md := m.topics.Now()
	for i, mem := range c.members {
		s, ok := readSubscription(mem.metadata(c.protocol))
		if !ok {
			return nil
		}
		mem.assignment = appendAssignment(nil, s.version, named(md, members[i].assigned))
	}
	c.topics = c.subscribed()
	return c
}

// saveDowngraded writes the classic group and begins the sessions of its members. A group whose assignment is not settled
// is about to rebalance; its record names no leader, so that who loads it knows.
func (m *Machine) saveDowngraded(now time.Time, c *group, settled bool) {
	saved := c.save(c.assignments())
	if !settled {
		saved.Leader = nil
	}
	m.record(savedRecord(c.id, saved))
	for _, mem := range c.members {
		m.setSession(now, c, mem, mem.session)
	}
	m.makingClassic = c
	m.stored(c, GroupConverted, Who{}, "from consumer to classic: the last member of the consumer protocol is gone")
}

// leaveToClassic gives the place of a consumer group without members to a classic one that somebody joins. It says whether
// the join may go on.
func (m *Machine) leaveToClassic(t Ticket, g *consumerGroup, r *Join) bool {
	if r.Member != "" {
		m.reply(t, r.Refuse(protocol.UnknownMemberID))
		return false
	}
	m.removeConsumerGroup(g)
	m.tell(Event{
		Kind: GroupConverted, Group: g.id, Generation: g.epoch, Stored: true,
		Reason: "the consumer group has no members; it is a classic group from now on",
	})
	return true
}

// rejectedConversion takes back a classic group that was to take the place of a consumer group whose removal was refused.
func (m *Machine) rejectedConversion(r Record, code protocol.Code) {
	g := m.groups[r.Group]
	if r.Kind != KindEpoch || r.Value != nil || m.consumers[r.Group] == nil || g == nil {
		return
	}
	for _, mem := range g.members {
		m.dropParked(mem, g, code)
	}
	g.silence()
	delete(m.groups, r.Group)
}
