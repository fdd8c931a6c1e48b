package group

import (
	"time"

	"moldau.io/moldau/protocol"
)

// heartbeat keeps a session alive and tells of a rebalance. It allocates nothing but the answer.
func (m *Machine) heartbeat(now time.Time, t Ticket, r *Heartbeat) {
	if r.Group == "" {
		m.reply(t, r.Refuse(protocol.InvalidGroupID))
		return
	}
	if cg := m.consumers[r.Group]; cg != nil {
		m.classicHeartbeat(now, t, cg, r)
		return
	}
	g := m.groups[r.Group]
	if g == nil {
		m.reply(t, r.Refuse(protocol.UnknownMemberID))
		return
	}
	mem, code := m.find(g, r.Member, r.Instance)
	switch {
	case code != protocol.None:
	case !g.inGeneration(mem, r.Generation):
		code = protocol.IllegalGeneration
	case g.state == Empty:
		code = protocol.UnknownMemberID
	default:
		m.setSession(now, g, mem, mem.session)
		if g.state == PreparingRebalance {
			code = protocol.RebalanceInProgress
		}
	}
	m.reply(t, &HeartbeatResult{Code: code})
}
