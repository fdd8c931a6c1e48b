package group

import (
	"fmt"
	"time"

	"moldau.io/moldau/protocol"
)

// leave takes LeaveGroup: the members named are out at once, and the group rebalances without them.
func (m *Machine) leave(now time.Time, t Ticket, r *Leave) {
	if r.Group == "" {
		m.reply(t, r.Refuse(protocol.InvalidGroupID))
		return
	}
	if cg := m.consumers[r.Group]; cg != nil {
		m.classicLeave(now, t, cg, r)
		return
	}
	codes := make([]protocol.Code, len(r.Members))
	g := m.groups[r.Group]
	left, last := 0, why{cause: CauseLeave}
	for i, who := range r.Members {
		if g == nil {
			codes[i] = protocol.UnknownMemberID
			continue
		}
		mem, code := g.leaving(who)
		codes[i] = code
		if code != protocol.None {
			continue
		}
		left++
		last.who = mem.who()
		last.reason = because(last.who.name()+" left", who.Reason)
		m.dropParked(mem, g, protocol.UnknownMemberID)
		g.remove(mem)
		m.event(g, MemberLeft, last.who, who.Reason)
	}
	m.reply(t, &LeaveResult{Codes: codes})
	if left == 0 {
		return
	}
	if left > 1 {
		last.reason = fmt.Sprintf("%d members left, the last: %s", left, last.reason)
	}
	switch g.state {
	case Stable, CompletingRebalance:
		m.prepareRebalance(now, g, last)
	case PreparingRebalance:
		m.tryCompleteJoin(now, g)
	}
}

// leaving finds the member to remove. An instance id alone is enough, so that tools can remove static members.
func (g *group) leaving(who LeavingMember) (*member, protocol.Code) {
	if who.Member == "" {
		if who.Instance != nil {
			if mem := g.static[*who.Instance]; mem != nil {
				return mem, protocol.None
			}
		}
		return nil, protocol.UnknownMemberID
	}
	if p := g.pending[who.Member]; p != nil {
		return p, protocol.None
	}
	return g.find(who.Member, who.Instance)
}
