package group

import (
	"time"

	"moldau.io/moldau/protocol"
)

// sync takes SyncGroup. The leader's brings the assignments; the others' wait for it.
func (m *Machine) sync(now time.Time, t Ticket, r *Sync) {
	if r.Group == "" {
		m.reply(t, r.Refuse(protocol.InvalidGroupID))
		return
	}
	if cg := m.consumers[r.Group]; cg != nil {
		m.classicSync(now, t, cg, r)
		return
	}
	g := m.groups[r.Group]
	if g == nil || g.state == Empty {
		m.reply(t, r.Refuse(protocol.UnknownMemberID))
		return
	}
	mem, code := m.find(g, r.Member, r.Instance)
	switch {
	case code != protocol.None:
	case r.Generation != g.generation:
		code = protocol.IllegalGeneration
	case r.Type != nil && *r.Type != g.kind,
		r.Protocol != nil && g.protocol != nil && *r.Protocol != *g.protocol:
		code = protocol.InconsistentGroupProtocol
	case g.state == PreparingRebalance:
		code = protocol.RebalanceInProgress
	}
	if code != protocol.None {
		m.reply(t, r.Refuse(code))
		return
	}
	delete(g.unsynced, mem.id)
	if g.state == Stable {
		// The record that made the group stable may not be committed yet; until it is, nobody may hear of it.
		m.replyStable(t, &SyncResult{Type: &g.kind, Protocol: g.protocol, Assignment: mem.assignment})
		return
	}
	if mem.syncTicket != 0 { // asked again on another connection; see update
		m.reply(mem.syncTicket, &SyncResult{Code: protocol.RebalanceInProgress})
	}
	mem.syncTicket = t
	if g.leader == mem.id {
		m.assign(now, g, r.Assignments)
	}
}

// assign takes the leader's assignments: the group is saved with them, which makes it stable when the record is applied,
// and all who wait hear theirs. Members that the leader left out get an empty one.
func (m *Machine) assign(now time.Time, g *group, as []Assignment) {
	given := make(map[string][]byte, len(as))
	for _, a := range as {
		given[a.Member] = a.Data
	}
	saved := g.save(given)
	saved.Since = now.UnixMilli()
	m.record(savedRecord(g.id, saved))
	m.stored(g, RebalanceCompleted, Who{}, g.reason)
	for _, mem := range g.members {
		if mem.syncTicket == 0 {
			continue
		}
		m.reply(mem.syncTicket, &SyncResult{Type: &g.kind, Protocol: g.protocol, Assignment: given[mem.id]})
		mem.syncTicket = 0
		m.setSession(now, g, mem, mem.session)
	}
}

// failSyncs answers all who wait for an assignment; they rejoin.
func (m *Machine) failSyncs(now time.Time, g *group, code protocol.Code) {
	for _, mem := range g.members {
		mem.assignment = nil
		if mem.syncTicket != 0 {
			m.reply(mem.syncTicket, &SyncResult{Code: code})
			mem.syncTicket = 0
			m.setSession(now, g, mem, mem.session)
		}
	}
}

// save is the record of the group with these assignments by member id.
func (g *group) save(given map[string][]byte) *Saved {
	s := &Saved{Type: g.kind, Generation: g.generation, Protocol: g.protocol, Since: g.since}
	if g.leader != "" {
		leader := g.leader
		s.Leader = &leader
	}
	for _, mem := range g.members {
		s.Members = append(s.Members, SavedMember{
			Member: mem.id, ClientID: mem.clientID, ClientHost: mem.clientHost, Instance: mem.instance,
			Rebalance: int32(mem.rebalance.Milliseconds()), Session: int32(mem.session.Milliseconds()),
			Metadata: mem.metadata(g.protocol), Assignment: given[mem.id],
		})
	}
	return s
}

// assignments of the members as they are.
func (g *group) assignments() map[string][]byte {
	all := make(map[string][]byte, len(g.members))
	for _, mem := range g.members {
		all[mem.id] = mem.assignment
	}
	return all
}
