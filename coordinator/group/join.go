package group

import (
	"fmt"
	"slices"
	"time"

	"moldau.io/moldau/protocol"
)

// join takes JoinGroup. Most answers come later, when the rebalance completes.
func (m *Machine) join(now time.Time, t Ticket, r *Join) {
	if r.Group == "" || len(r.Group) > stringBytesMax {
		m.reply(t, r.Refuse(protocol.InvalidGroupID))
		return
	}
	if r.unstorable() {
		m.reply(t, r.Refuse(protocol.InvalidRequest))
		return
	}
	if r.Session < m.cfg.MinSessionTimeout || r.Session > m.cfg.MaxSessionTimeout {
		m.reply(t, r.Refuse(protocol.InvalidSessionTimeout))
		return
	}
	cg := m.consumers[r.Group]
	if cg != nil && len(cg.members) > 0 {
		m.classicJoin(now, t, cg, r)
		return
	}
	if cg != nil && !m.leaveToClassic(t, cg, r) {
		return
	}
	g := m.groups[r.Group]
	if g == nil {
		if r.Member != "" {
			m.reply(t, r.Refuse(protocol.UnknownMemberID))
			return
		}
		g = newGroup(r.Group)
		g.since = now.UnixMilli()
		m.groups[r.Group] = g
		m.record(savedRecord(g.id, g.save(nil)))
	}
	switch {
	case !m.hasRoom(g, r.Member):
		kind := MemberRefused
		if mem := g.byID[r.Member]; mem != nil {
			kind = MemberRemoved
			m.dropParked(mem, g, protocol.GroupMaxSizeReached)
			g.remove(mem)
		} else if mem := g.pending[r.Member]; mem != nil {
			g.remove(mem)
		}
		m.event(g, kind, r.who(r.Member), fmt.Sprintf("group.max.size is %d", m.cfg.MaxSize))
		m.reply(t, &JoinResult{Code: protocol.GroupMaxSizeReached, Generation: -1})
		m.tryCompleteJoin(now, g)
	case r.Member == "":
		m.joinNew(now, t, g, r)
	default:
		m.joinKnown(now, t, g, r)
	}
}

// stringBytesMax is what records of groups have room for in a string. Requests of newer versions have more.
const stringBytesMax = 1<<15 - 1

func (r *Join) unstorable() bool {
	if len(r.Type) > stringBytesMax || r.Instance != nil && len(*r.Instance) > stringBytesMax-uuidBytes {
		return true
	}
	return slices.ContainsFunc(r.Protocols, func(p Protocol) bool { return len(p.Name) > stringBytesMax })
}

// hasRoom says whether the group takes the joining member. While members rejoin, those that have count: the last ones of a
// group that is too large are turned away.
func (m *Machine) hasRoom(g *group, id string) bool {
	mem := g.byID[id]
	switch g.state {
	case PreparingRebalance:
		return mem != nil && mem.joinTicket != 0 || g.awaiting < m.cfg.MaxSize
	case CompletingRebalance, Stable:
		return mem != nil || len(g.members) < m.cfg.MaxSize
	}
	return true
}

func (m *Machine) joinNew(now time.Time, t Ticket, g *group, r *Join) {
	if !g.supports(r.Type, r.Protocols) {
		m.reply(t, &JoinResult{Code: protocol.InconsistentGroupProtocol, Generation: -1})
		return
	}
	if r.Instance != nil {
		id := m.newMemberID(*r.Instance)
		if old := g.static[*r.Instance]; old != nil {
			m.replaceStatic(now, t, g, old, id, r)
			return
		}
		m.addMember(now, t, g, id, r)
		return
	}
	id := m.newMemberID(r.ClientID[:min(len(r.ClientID), stringBytesMax-uuidBytes)])
	if !r.MemberIDRequired {
		m.addMember(now, t, g, id, r)
		return
	}
	p := &member{
		id: id, clientID: r.ClientID, clientHost: r.ClientHost, software: r.Software, session: r.Session,
	}
	p.alarm = alarm{kind: sessionAlarm, g: g, mem: p}
	g.pending[id] = p
	m.setSession(now, g, p, r.Session)
	m.reply(t, &JoinResult{Code: protocol.MemberIDRequired, Generation: -1, Member: id})
}

func (m *Machine) joinKnown(now time.Time, t Ticket, g *group, r *Join) {
	if !g.supports(r.Type, r.Protocols) {
		m.reply(t, r.Refuse(protocol.InconsistentGroupProtocol))
		return
	}
	if g.pending[r.Member] != nil {
		if r.Instance != nil { // the id was given to a dynamic member
			m.reply(t, r.Refuse(protocol.UnknownMemberID))
			return
		}
		m.addMember(now, t, g, r.Member, r)
		return
	}
	mem, code := m.find(g, r.Member, r.Instance)
	if code != protocol.None {
		m.reply(t, r.Refuse(code))
		return
	}
	same := mem.matches(r.Protocols)
	switch {
	case g.state == PreparingRebalance:
		m.rejoin(now, t, g, mem, r, why{cause: CauseJoin})
	case g.state == CompletingRebalance && same, g.state == Stable && same && g.leader != mem.id:
		// It may have missed the answer to its first JoinGroup: tell it again how things stand. A follower of a stable
		// group goes on to SyncGroup from here.
		res := g.answerJoin(mem)
		if g.state == Stable {
			res.Members = nil
		}
		m.reply(t, res)
	case g.state == CompletingRebalance, g.state == Stable && g.leader != mem.id:
		m.rejoin(now, t, g, mem, r, why{cause: CauseSubscription, reason: " changed its subscription"})
	case g.state == Stable:
		// The leader may know of changes that its own subscription does not show, such as new partitions.
		w := why{cause: CauseLeader, reason: ", the leader, asks for a new assignment"}
		if what := m.changedTopic(g); what != "" {
			w = why{cause: CauseTopics, reason: ", the leader, asks for a new assignment: " + what}
		}
		m.rejoin(now, t, g, mem, r, w)
	default:
		m.reply(t, r.Refuse(protocol.UnknownMemberID))
	}
}

// answerJoin is the answer to mem's JoinGroup in the group's generation.
func (g *group) answerJoin(mem *member) *JoinResult {
	res := &JoinResult{Generation: g.generation, Type: &g.kind, Protocol: g.protocol, Leader: g.leader, Member: mem.id}
	if g.leader == mem.id {
		res.Members = g.roster()
	}
	return res
}

// roster is what a leader is told.
func (g *group) roster() []JoinMember {
	all := make([]JoinMember, len(g.members))
	for i, mem := range g.members {
		all[i] = JoinMember{Member: mem.id, Instance: mem.instance, Metadata: mem.metadata(g.protocol)}
	}
	return all
}

// addMember lets a member in; its JoinGroup is parked until the rebalance completes.
func (m *Machine) addMember(now time.Time, t Ticket, g *group, id string, r *Join) {
	mem := &member{
		id: id, clientID: r.ClientID, clientHost: r.ClientHost, software: r.Software, instance: r.Instance,
		session: r.Session, rebalance: r.Rebalance, protocols: r.Protocols, joinTicket: t, isNew: true,
	}
	mem.alarm = alarm{kind: sessionAlarm, g: g, mem: mem}
	if g.state == PreparingRebalance && g.fresh {
		g.joined = true
	}
	if len(g.members) == 0 {
		g.kind = r.Type
	}
	g.add(mem)
	// A new member does not know its id, so it cannot send heartbeats, and while its request is parked nothing tells us
	// that it went away. After this time it is taken for gone; a live one asks again.
	m.setSession(now, g, mem, m.cfg.NewMemberJoinTimeout)
	who := mem.who()
	m.event(g, MemberJoined, who, r.Reason)
	m.rebalanceOrComplete(now, g, why{CauseJoin, who, because(who.name()+" joined", r.Reason)})
}

// rejoin parks the JoinGroup of a member and takes over what it now offers. The reason goes on after the member's name.
func (m *Machine) rejoin(now time.Time, t Ticket, g *group, mem *member, r *Join, w why) {
	m.update(t, g, mem, r)
	w.who = mem.who()
	w.reason = because(w.who.name()+w.reason, r.Reason)
	m.rebalanceOrComplete(now, g, w)
}

// who is the sender as the member with this id.
func (r *Join) who(id string) Who {
	return Who{Member: id, Instance: orEmpty(r.Instance), ClientID: r.ClientID, Host: r.ClientHost, Software: r.Software}
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func (m *Machine) update(t Ticket, g *group, mem *member, r *Join) {
	mem.protocols, mem.rebalance, mem.session = r.Protocols, r.Rebalance, r.Session
	mem.software = r.Software
	if mem.joinTicket == 0 {
		g.awaiting++
	} else {
		// The member asks again on another connection. Kafka forgets the first request; here answers leave a connection in
		// order, so each must get one.
		m.reply(mem.joinTicket, &JoinResult{Code: protocol.RebalanceInProgress, Generation: -1, Member: mem.id})
	}
	mem.joinTicket = t
}

// replaceStatic lets a static member come back under a new member id. If the group is stable and the choice of the
// protocol does not change, nobody else notices (KIP-345, KIP-814).
func (m *Machine) replaceStatic(now time.Time, t Ticket, g *group, mem *member, id string, r *Join) {
	oldLeader, before := g.leader, *mem
	m.dropParked(mem, g, protocol.FencedInstanceID)
	delete(g.unsynced, mem.id)
	g.rename(mem, id)
	mem.isNew = false // it is known by its instance: its session bounds how long it may stay away
	m.update(t, g, mem, r)
	m.setSession(now, g, mem, mem.session)
	who := r.who(id)
	m.event(g, MemberReturned, who, fmt.Sprintf("instance %.200s was member %.200s before", *r.Instance, before.id))

	switch g.state {
	case Stable:
		if *g.protocol != g.vote() {
			m.rebalanceOrComplete(now, g, why{CauseStatic, who,
				because("static "+who.name()+" came back and changed the choice of protocol", r.Reason)})
			return
		}
		g.awaiting--
		mem.joinTicket = 0
		g.undo = func() {
			g.rename(mem, before.id)
			mem.protocols, mem.rebalance, mem.session = before.protocols, before.rebalance, before.session
		}
		m.record(savedRecord(g.id, g.save(g.assignments())))
		res := g.answerJoin(mem)
		if r.CanSkipAssigning {
			res.SkipAssignment = g.leader == id
		} else {
			// Without skip_assignment the client would assign anew as soon as it learns that it leads.
			res.Leader, res.Members = oldLeader, nil
		}
		m.reply(t, res)
	case CompletingRebalance:
		// The leader may already be assigning to the old id.
		m.prepareRebalance(now, g, why{CauseStatic, who,
			because("static "+who.name()+" came back during a rebalance", r.Reason)})
	default:
		m.tryCompleteJoin(now, g)
	}
}

// rename gives mem another id.
func (g *group) rename(mem *member, id string) {
	delete(g.byID, mem.id)
	if g.leader == mem.id {
		g.leader = id
	}
	mem.id = id
	g.byID[id] = mem
}

// dropParked answers what mem waits for with an error.
func (m *Machine) dropParked(mem *member, g *group, code protocol.Code) {
	if mem.joinTicket != 0 {
		id := ""
		if code == protocol.FencedInstanceID {
			id = mem.id
		}
		m.reply(mem.joinTicket, &JoinResult{Code: code, Generation: -1, Member: id})
		mem.joinTicket = 0
		g.awaiting--
	}
	if mem.syncTicket != 0 {
		m.reply(mem.syncTicket, &SyncResult{Code: code})
		mem.syncTicket = 0
	}
}
