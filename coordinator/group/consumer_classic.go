package group

import (
	"fmt"
	"slices"
	"time"

	"moldau.io/moldau/protocol"
)

// Members of the classic protocol in a consumer group. Their generation is their member epoch; the server assigns for them,
// so none of them leads. A heartbeat tells them to join again when there is something to give back or to get: JoinGroup
// says what they have, SyncGroup brings what they are to have.

// setClassicSession gives a member the session that it asked for from now on.
func (m *Machine) setClassicSession(now time.Time, a *memberAlarms, session time.Duration) {
	a.heard = now
	m.alarms.set(&a.session, now.Add(session))
}

func (c *ClassicMember) session() time.Duration {
	return time.Duration(c.SessionMillis) * time.Millisecond
}

func (d *Member) rebalance() time.Duration {
	return time.Duration(d.RebalanceMillis) * time.Millisecond
}

// classicJoin takes a JoinGroup for a consumer group with members.
func (m *Machine) classicJoin(now time.Time, t Ticket, g *consumerGroup, r *Join) {
	id := r.Member
	if id == "" {
		id = m.newConsumerID()
	}
	refuseWith := func(c protocol.Code) { m.reply(t, &JoinResult{Code: c, Generation: -1}) }
	switch {
	case m.cfg.Migration == 0:
		refuseWith(protocol.InconsistentGroupProtocol)
		return
	case m.roomForConsumer(g, id, r.Instance) != nil:
		m.tell(Event{
			Kind: MemberRefused, Group: g.id, Generation: g.epoch, Members: len(g.members), Who: r.who(r.Member),
			Reason: fmt.Sprintf("group.consumer.max.size is %d", m.cfg.ConsumerMaxSize),
		})
		refuseWith(protocol.GroupMaxSizeReached)
		return
	case !g.supportsClassic(r.Type, r.Protocols):
		refuseWith(protocol.InconsistentGroupProtocol)
		return
	case r.MemberIDRequired && r.Member == "" && r.Instance == nil:
		m.reply(t, &JoinResult{Code: protocol.MemberIDRequired, Generation: -1, Member: id})
		return
	}
	// The subscription is looked at before anything is written. It is that of the strategy the member likes best.
	s, ok := readSubscription(r.Protocols[0].Metadata)
	if !ok || slices.ContainsFunc(s.topics, func(t string) bool { return len(t) > stringBytesMax }) {
		refuseWith(protocol.InconsistentGroupProtocol)
		return
	}
	b := beat{now: now, g: g, id: id, software: r.Software}
	if code := m.classicMember(&b, r); code != protocol.None {
		refuseWith(code)
		return
	}
	b.desc = b.wasDesc.joined(r, s)
	owned := identified(m.topics.Now(), s.owned)
	downgrade := b.old != nil && b.old.desc.Classic == nil && g.classic == len(g.members)-1 &&
		m.cfg.Migration&Downgrade != 0 && len(g.members) <= m.cfg.MaxSize
	if downgrade && m.downgradeReplaced(t, &b, r, owned) {
		return
	}
	if no := m.beatOn(&b, owned); no != nil {
		m.eff.Records, m.eff.Events = m.eff.Records[:0], m.eff.Events[:0]
		refuseWith(no.code)
		return
	}
	a := g.alarmsOf(b.id)
	a.software = r.Software
	a.rebalance.off()
	a.join.off()
	m.setClassicSession(now, a, r.Session)
	m.alarms.set(&a.sync, now.Add(b.desc.rebalance()))
	m.answerClassicJoin(t, b.id, b.cur.Epoch, r)
}

// answerClassicJoin tells nobody that it leads.
func (m *Machine) answerClassicJoin(t Ticket, id string, generation int32, r *Join) {
	kind := consumerType
	m.replyStable(t, &JoinResult{Generation: generation, Type: &kind, Protocol: &r.Protocols[0].Name, Member: id})
}

// supportsClassic says that somebody who offers ps may join: all members of the classic protocol offer one of them.
func (g *consumerGroup) supportsClassic(kind string, ps []Protocol) bool {
	if kind != consumerType {
		return false
	}
	return slices.ContainsFunc(ps, func(p Protocol) bool {
		for _, mem := range g.members {
			if c := mem.desc.Classic; c != nil && !c.offers(p.Name) {
				return false
			}
		}
		return true
	})
}

func (c *ClassicMember) offers(name string) bool {
	return slices.ContainsFunc(c.Protocols, func(p Protocol) bool { return p.Name == name })
}

// classicMember finds the member that joins, or makes it. A static one that comes without its member id takes the place of
// the member that has its instance id, of whichever protocol that is.
func (m *Machine) classicMember(b *beat, r *Join) protocol.Code {
	if r.Instance != nil {
		holder := b.g.static[*r.Instance]
		switch {
		case r.Member != "" && holder == nil:
			return protocol.UnknownMemberID
		case r.Member != "" && holder.id != r.Member:
			m.tell(Event{
				Kind: MemberFenced, Group: b.g.id, Generation: b.g.epoch, Members: len(b.g.members),
				Who: r.who(r.Member), Reason: "its instance id belongs to member " + holder.id,
			})
			return protocol.FencedInstanceID
		case r.Member == "" && holder != nil:
			m.replaceStatic848(b, holder)
			return protocol.None
		}
	}
	if mem := b.g.members[b.id]; mem != nil {
		b.wasDesc, b.wasCur = mem.desc, mem.cur
		return protocol.None
	}
	b.wasDesc, b.wasCur = newcomer()
	b.isNew = true
	return protocol.None
}

// joined is what a member says of itself in a JoinGroup; d itself if that is nothing new.
func (d *Member) joined(r *Join, s memberSubscription) *Member {
	n := &Member{
		Instance: changed(d.Instance, r.Instance), Rack: d.Rack, ClientID: r.ClientID, ClientHost: r.ClientHost,
		Topics: slices.Compact(slices.Sorted(slices.Values(s.topics))), Regex: d.Regex, Assignor: d.Assignor,
		RebalanceMillis: d.RebalanceMillis,
		Classic:         &ClassicMember{SessionMillis: int32(r.Session.Milliseconds()), Protocols: r.Protocols},
	}
	if s.rack != "" {
		n.Rack = &s.rack
	}
	if r.Rebalance >= 0 {
		n.RebalanceMillis = int32(r.Rebalance.Milliseconds())
	}
	if d.pattern() != "" {
		none := ""
		n.Regex = &none
	}
	if d.equal(n) {
		return d
	}
	return n
}

// downgradeReplaced makes a classic group when a member of the classic protocol takes the place of the last one of the
// consumer protocol. Nobody need join again if the assignment is that of the group's epoch and everybody has it.
func (m *Machine) downgradeReplaced(t Ticket, b *beat, r *Join, owned []TopicPartitions) bool {
	g := b.g
	members := make([]downgraded, 0, len(g.members))
	for _, mem := range g.inOrder() {
		if mem != b.old {
			members = append(members, mem.downgraded())
		}
	}
	members = append(members, downgraded{id: b.id, software: r.Software, desc: b.desc, assigned: sorted(g.targets[b.old.id])})
	classic := m.downgrade(b.now, g, members)
	if classic == nil {
		return false
	}
	// What replaceStatic848 recorded is not needed: of the consumer group nothing is left.
	m.eff.Records = m.eff.Records[:0]
	stale := g.epoch > g.targetEpoch || !g.settledWithout(b.old) || !slices.Equal(b.desc.Topics, b.wasDesc.Topics) || b.wasDesc.pattern() != "" ||
		m.metadataHash(m.topics.Now(), g.topicsAfter(nil)) != g.metadataHash
	m.removeConsumerGroup(g)
	m.saveDowngraded(b.now, classic, !stale)
	if stale {
		who := r.who(b.id)
		m.prepareRebalance(b.now, classic, why{CauseProtocol, who, "the group goes back to the classic protocol, and its " +
			"assignment is older than its subscriptions"})
	}
	m.answerClassicJoin(t, b.id, classic.generation, &Join{Protocols: []Protocol{{Name: *classic.protocol}}})
	return true
}

// settledWithout says that all other members have what they are to have.
func (g *consumerGroup) settledWithout(mem *consumerMember) bool {
	n := g.settled
	if mem.settledAt(g.targetEpoch) {
		n--
	}
	return n == len(g.members)-1
}

// classicSender checks that the sender of a request is the member of the classic protocol that it says it is.
func (g *consumerGroup) classicSender(id string, instance *string, generation int32) (*consumerMember, protocol.Code) {
	mem := g.members[id]
	if instance != nil {
		switch holder := g.static[*instance]; {
		case holder == nil:
			return nil, protocol.UnknownMemberID
		case holder.id != id:
			return nil, protocol.FencedInstanceID
		}
	}
	switch {
	case mem == nil, mem.desc.Classic == nil:
		return nil, protocol.UnknownMemberID
	case mem.cur.Epoch != generation:
		return nil, protocol.IllegalGeneration
	}
	return mem, protocol.None
}

// classicSync takes a SyncGroup: the member hears what it has. What a leader would assign is not looked at.
func (m *Machine) classicSync(now time.Time, t Ticket, g *consumerGroup, r *Sync) {
	mem, code := g.classicSender(r.Member, r.Instance, r.Generation)
	if code != protocol.None {
		m.reply(t, r.Refuse(code))
		return
	}
	first := &mem.desc.Classic.Protocols[0]
	switch {
	case r.Type != nil && *r.Type != consumerType, r.Protocol != nil && *r.Protocol != first.Name:
		m.reply(t, r.Refuse(protocol.InconsistentGroupProtocol))
		return
	case g.targetEpoch > mem.cur.Epoch && mem.cur.State != MemberUnrevoked:
		m.mustJoin(now, mem)
		m.reply(t, r.Refuse(protocol.RebalanceInProgress))
		return
	}
	mem.alarms.sync.off()
	m.setClassicSession(now, mem.alarms, mem.desc.Classic.session())
	s, _ := readSubscription(first.Metadata)
	assignment := appendAssignment(nil, max(s.version, 0), named(m.topics.Now(), mem.cur.Assigned))
	m.replyStable(t, &SyncResult{Type: r.Type, Protocol: r.Protocol, Assignment: assignment})
}

// mustJoin gives a member its rebalance timeout to join again, from the first time on that it is told to.
func (m *Machine) mustJoin(now time.Time, mem *consumerMember) {
	if mem.alarms.join.at.IsZero() {
		m.alarms.set(&mem.alarms.join, now.Add(mem.desc.rebalance()))
	}
}

// classicHeartbeat takes a Heartbeat. The member is told to join when it is behind the target, when it has something to
// give back, and when what it waits for is free.
func (m *Machine) classicHeartbeat(now time.Time, t Ticket, g *consumerGroup, r *Heartbeat) {
	mem, code := g.classicSender(r.Member, r.Instance, r.Generation)
	if code != protocol.None {
		m.reply(t, r.Refuse(code))
		return
	}
	m.setClassicSession(now, mem.alarms, mem.desc.Classic.session())
	if mem.cur.Epoch < g.targetEpoch || mem.cur.State == MemberUnrevoked ||
		mem.cur.State == MemberUnreleased && !g.waitsForOthers(mem) || m.onlyClassicCanAssign(now, g) {
		m.mustJoin(now, mem)
		code = protocol.RebalanceInProgress
	}
	m.reply(t, &HeartbeatResult{Code: code})
}

// onlyClassicCanAssign says that the target is out of date in a group where nobody speaks the consumer protocol, which the
// policy may keep from becoming a classic one: nobody but a member that joins again would ever have it computed.
func (m *Machine) onlyClassicCanAssign(now time.Time, g *consumerGroup) bool {
	if g.classic < len(g.members) {
		return false
	}
	if g.epoch > g.targetEpoch {
		return m.mayAssign(&beat{now: now, g: g})
	}
	md := m.topics.Now()
	if g.isChecked(md) {
		return false
	}
	if m.metadataHash(md, g.topicsAfter(nil)) != g.metadataHash {
		return true
	}
	g.checked = metadataCheck{done: true, version: md.Version(), epoch: g.epoch}
	return false
}

// waitsForOthers says that somebody has a partition that the member is to have.
func (g *consumerGroup) waitsForOthers(mem *consumerMember) bool {
	for _, t := range g.targets[mem.id] {
		for _, p := range t.Partitions {
			if _, ok := has(mem.cur.Assigned, t.ID, p); !ok && g.owners[ownedPartition{t.ID, p}] != nil {
				return true
			}
		}
	}
	return false
}

// classicLeave takes a LeaveGroup, which removes members of either protocol.
func (m *Machine) classicLeave(now time.Time, t Ticket, g *consumerGroup, r *Leave) {
	codes := make([]protocol.Code, len(r.Members))
	var gone []*consumerMember
	last := why{cause: CauseLeave}
	for i, who := range r.Members {
		mem := g.members[who.Member]
		if who.Instance != nil {
			mem = g.static[*who.Instance]
		}
		switch {
		case mem == nil:
			codes[i] = protocol.UnknownMemberID
			continue
		case who.Instance != nil && who.Member != "" && mem.id != who.Member:
			codes[i] = protocol.FencedInstanceID
			continue
		}
		last.who = mem.who()
		last.reason = because(last.who.name()+" left", who.Reason)
		if !slices.Contains(gone, mem) {
			gone = append(gone, mem)
		}
	}
	if len(gone) > 1 {
		last.reason = fmt.Sprintf("%d members left, the last: %s", len(gone), last.reason)
	}
	if len(gone) > 0 {
		m.fenceAll(now, g, gone, MemberLeft, last)
	}
	m.replyStable(t, &LeaveResult{Codes: codes})
}

// classicAlarm removes a member that did not join again, or did not sync, in the time that it asked for.
func (m *Machine) classicAlarm(now time.Time, g *consumerGroup, mem *consumerMember, a *alarm) {
	if mem.desc.Classic == nil {
		return
	}
	m.alarms.set(a, now.Add(sessionRetry)) // unless it is gone then
	who := mem.who()
	did := " did not sync"
	if a.kind == consumerJoinAlarm {
		did = " did not join again"
	}
	m.fence(now, g, mem, MemberRemoved, why{CauseRebalance, who, who.name() + did + " within " + span(mem.desc.rebalance())})
}
