package group

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"moldau.io/moldau/protocol"
)

// rebalanceOrComplete begins a rebalance, or carries on the one that runs.
func (m *Machine) rebalanceOrComplete(now time.Time, g *group, w why) {
	if g.state == PreparingRebalance {
		m.tryCompleteJoin(now, g)
		return
	}
	m.prepareRebalance(now, g, w)
}

// prepareRebalance asks all members to rejoin. They hear of it by their heartbeats.
func (m *Machine) prepareRebalance(now time.Time, g *group, w why) {
	if g.state == CompletingRebalance {
		m.failSyncs(now, g, protocol.RebalanceInProgress)
	}
	clear(g.unsynced)
	g.syncAlarm.off()
	g.reason = w.reason
	g.become(now, PreparingRebalance)
	m.event(g, RebalanceBegun, w.who, w.reason)
	m.eff.Events[len(m.eff.Events)-1].Cause = w.cause
	if g.fresh {
		g.joined = false
		g.delay = m.cfg.InitialRebalanceDelay
		g.remaining = max(g.rebalanceTimeout()-g.delay, 0)
		g.joinAlarm.kind = initialAlarm
		m.alarms.set(&g.joinAlarm, now.Add(g.delay))
		return
	}
	if g.allJoined() {
		m.completeJoin(now, g)
		return
	}
	m.waitForJoins(now, g, 0)
}

// rejoinPause is the least time between two looks for members that came back: a member may ask for a rebalance timeout of
// nothing.
const rejoinPause = time.Second

func (m *Machine) waitForJoins(now time.Time, g *group, atLeast time.Duration) {
	g.joinAlarm.kind = joinAlarm
	m.alarms.set(&g.joinAlarm, now.Add(max(g.rebalanceTimeout(), atLeast)))
}

// tryCompleteJoin ends the phase if everybody is there. The initial delay is always waited for.
func (m *Machine) tryCompleteJoin(now time.Time, g *group) {
	if g.state == PreparingRebalance && !g.fresh && g.allJoined() {
		m.completeJoin(now, g)
	}
}

// initialDelayOver ends the first join phase of a group, or waits on for members that keep coming.
func (m *Machine) initialDelayOver(now time.Time, g *group) {
	if g.state != PreparingRebalance {
		return
	}
	if !g.joined || g.remaining == 0 {
		m.completeJoin(now, g)
		return
	}
	g.joined = false
	next := min(m.cfg.InitialRebalanceDelay, g.remaining)
	g.remaining = max(g.remaining-g.delay, 0)
	g.delay = next
	m.alarms.set(&g.joinAlarm, now.Add(next))
}

// completeJoin begins the next generation with those who are there. Dynamic members that did not rejoin are out; static
// ones stay until their session ends.
func (m *Machine) completeJoin(now time.Time, g *group) {
	if g.state != PreparingRebalance {
		return
	}
	g.joinAlarm.off()
	for _, mem := range slices.Clone(g.members) {
		if mem.joinTicket == 0 && mem.instance == nil {
			m.dropParked(mem, g, protocol.UnknownMemberID)
			g.remove(mem)
			m.event(g, MemberRemoved, mem.who(), "it did not rejoin in time")
		}
	}
	if len(g.members) == 0 {
		m.becomeEmpty(now, g)
		return
	}
	if !m.electLeader(g) {
		// Only static members are left and none came back; their sessions will end this.
		m.waitForJoins(now, g, rejoinPause)
		return
	}
	chosen := g.vote()
	g.generation++
	g.protocol = &chosen
	g.topics = g.subscribed()
	g.sizes = m.sizes(g)
	g.become(now, CompletingRebalance)
	clear(g.unsynced)
	for _, mem := range g.members {
		if mem.joinTicket != 0 {
			m.reply(mem.joinTicket, g.answerJoin(mem))
			mem.joinTicket = 0
			g.awaiting--
		}
		m.setSession(now, g, mem, mem.session)
		mem.isNew, mem.epoch = false, 0
		g.unsynced[mem.id] = mem
	}
	m.alarms.set(&g.syncAlarm, now.Add(g.rebalanceTimeout()))
}

// electLeader makes sure that the leader is somebody who rejoined.
func (m *Machine) electLeader(g *group) bool {
	if mem := g.byID[g.leader]; mem != nil && mem.joinTicket != 0 {
		return true
	}
	for _, mem := range g.members {
		if mem.joinTicket != 0 {
			g.leader = mem.id
			return true
		}
	}
	return false
}

// becomeEmpty saves the group without members, in a generation of its own; applying the record empties it.
func (m *Machine) becomeEmpty(now time.Time, g *group) {
	m.record(savedRecord(g.id, &Saved{Type: g.kind, Generation: g.generation + 1, Since: now.UnixMilli()}))
	m.stored(g, GroupEmptied, Who{}, g.reason)
	m.eff.Events[len(m.eff.Events)-1].Generation++
}

// syncExpired removes those who joined the generation and did not sync in time.
func (m *Machine) syncExpired(now time.Time, g *group) {
	if (g.state != CompletingRebalance && g.state != Stable) || len(g.unsynced) == 0 {
		return
	}
	ids := slices.Sorted(maps.Keys(g.unsynced))
	w := why{cause: CauseRebalance}
	for _, id := range ids {
		mem := g.unsynced[id]
		m.dropParked(mem, g, protocol.UnknownMemberID)
		g.remove(mem)
		w.who = mem.who()
		m.event(g, MemberRemoved, w.who, "it did not sync in time")
	}
	w.reason = w.who.name() + " did not sync in time"
	if len(ids) > 1 {
		w.reason = fmt.Sprintf("%d members did not sync in time, the last: %s", len(ids), w.who.name())
	}
	m.prepareRebalance(now, g, w)
}

// sessionExpired removes a member that was silent for too long.
func (m *Machine) sessionExpired(now time.Time, g *group, mem *member) {
	if g.pending[mem.id] == mem {
		g.remove(mem)
		m.event(g, MemberRemoved, mem.who(), "it was sent a member id and did not come back with it for "+
			span(now.Sub(mem.heard)))
		m.tryAfterPending(now, g)
		return
	}
	if g.byID[mem.id] != mem || mem.isWaiting() {
		return // a waiting member gets a new session with its answer
	}
	who := mem.who()
	m.removeMember(now, g, mem, why{CauseSession, who, who.silent(now.Sub(mem.heard))})
}

// tryAfterPending carries on when a pending member is gone: its absence may have been all that was missing. As in Kafka
// this may end even the initial delay, but only when there are members.
func (m *Machine) tryAfterPending(now time.Time, g *group) {
	if g.state == PreparingRebalance && g.allJoined() {
		m.completeJoin(now, g)
	}
}

// removeMember takes out a member that is silent and rebalances without it.
func (m *Machine) removeMember(now time.Time, g *group, mem *member, w why) {
	m.dropParked(mem, g, protocol.UnknownMemberID)
	g.remove(mem)
	m.event(g, MemberExpired, w.who, w.reason)
	switch g.state {
	case Stable, CompletingRebalance:
		m.prepareRebalance(now, g, w)
	case PreparingRebalance:
		m.tryAfterPending(now, g)
	}
}

// setSession gives mem the time d to show life.
func (m *Machine) setSession(now time.Time, g *group, mem *member, d time.Duration) {
	if mem.alarm.mem == nil {
		mem.alarm = alarm{kind: sessionAlarm, g: g, mem: mem}
	}
	mem.heard = now
	m.alarms.set(&mem.alarm, now.Add(d))
}
