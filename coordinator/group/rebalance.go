package group

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"moldau.io/moldau/protocol"
)

// rebalanceOrComplete begins a rebalance, or carries on the one that runs.
func (m *Machine) rebalanceOrComplete(now time.Time, g *group, reason string) {
	if g.state == PreparingRebalance {
		m.tryCompleteJoin(now, g)
		return
	}
	m.prepareRebalance(now, g, reason)
}

// prepareRebalance asks all members to rejoin. They hear of it by their heartbeats.
func (m *Machine) prepareRebalance(now time.Time, g *group, reason string) {
	if g.state == CompletingRebalance {
		m.failSyncs(now, g, protocol.RebalanceInProgress)
	}
	clear(g.unsynced)
	g.syncAlarm.off()
	g.reason = reason
	g.become(now, PreparingRebalance)
	m.event(g, "group rebalances", reason)
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
			m.event(g, "member did not rejoin in time", mem.id)
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
	g.become(now, CompletingRebalance)
	clear(g.unsynced)
	for _, mem := range g.members {
		if mem.joinTicket != 0 {
			m.reply(mem.joinTicket, g.answerJoin(mem))
			mem.joinTicket = 0
			g.awaiting--
		}
		m.setSession(now, g, mem, mem.session)
		mem.isNew = false
		g.unsynced[mem.id] = mem
	}
	m.alarms.set(&g.syncAlarm, now.Add(g.rebalanceTimeout()))
	m.detail(g, "group has a new generation", g.reason)
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
	m.detail(g, "group is empty", g.reason)
}

// syncExpired removes those who joined the generation and did not sync in time.
func (m *Machine) syncExpired(now time.Time, g *group) {
	if (g.state != CompletingRebalance && g.state != Stable) || len(g.unsynced) == 0 {
		return
	}
	ids := slices.Sorted(maps.Keys(g.unsynced))
	for _, id := range ids {
		mem := g.unsynced[id]
		m.dropParked(mem, g, protocol.UnknownMemberID)
		g.remove(mem)
	}
	m.prepareRebalance(now, g, fmt.Sprintf("did not sync in time: %.200s", strings.Join(ids, " ")))
}

// sessionExpired removes a member that was silent for too long.
func (m *Machine) sessionExpired(now time.Time, g *group, mem *member) {
	if g.pending[mem.id] == mem {
		g.remove(mem)
		m.tryAfterPending(now, g)
		return
	}
	if g.byID[mem.id] != mem || mem.isWaiting() {
		return // a waiting member gets a new session with its answer
	}
	m.event(g, "member's session timed out", mem.id)
	m.removeMember(now, g, mem, "the session of member "+mem.id+" timed out")
}

// tryAfterPending carries on when a pending member is gone: its absence may have been all that was missing. As in Kafka
// this may end even the initial delay, but only when there are members.
func (m *Machine) tryAfterPending(now time.Time, g *group) {
	if g.state == PreparingRebalance && g.allJoined() {
		m.completeJoin(now, g)
	}
}

// removeMember takes a member out and rebalances without it.
func (m *Machine) removeMember(now time.Time, g *group, mem *member, reason string) {
	m.dropParked(mem, g, protocol.UnknownMemberID)
	g.remove(mem)
	switch g.state {
	case Stable, CompletingRebalance:
		m.prepareRebalance(now, g, reason)
	case PreparingRebalance:
		m.tryAfterPending(now, g)
	}
}

// setSession gives mem the time d to show life.
func (m *Machine) setSession(now time.Time, g *group, mem *member, d time.Duration) {
	if mem.alarm.mem == nil {
		mem.alarm = alarm{kind: sessionAlarm, g: g, mem: mem}
	}
	m.alarms.set(&mem.alarm, now.Add(d))
}
