package group

import "time"

// memberAlarms are the deadlines of a member of a consumer group. They know it by its id: the member may be made by records
// that are not yet written, or be gone when they ring.
type memberAlarms struct {
	session    alarm
	rebalance  alarm
	join, sync alarm // of a member of the classic protocol: it must join again, or sync, before
	epoch      int32 // that the member has to leave before rebalance rings
	timeout    time.Duration
	heard      time.Time // when it last showed life, or was given its session
	software   string    // of the client; "" not known
}

func (a *memberAlarms) off() {
	a.session.off()
	a.rebalance.off()
	a.join.off()
	a.sync.off()
}

// alarmsOf makes the alarms of a member if need be.
func (g *consumerGroup) alarmsOf(id string) *memberAlarms {
	a := g.alarms[id]
	if a == nil {
		a = &memberAlarms{
			session:   alarm{kind: consumerSessionAlarm, consumer: g, id: id},
			rebalance: alarm{kind: consumerRebalanceAlarm, consumer: g, id: id},
			join:      alarm{kind: consumerJoinAlarm, consumer: g, id: id},
			sync:      alarm{kind: consumerSyncAlarm, consumer: g, id: id},
		}
		g.alarms[id] = a
	}
	return a
}

// setConsumerSession gives the member as long as the group allows from now on.
func (m *Machine) setConsumerSession(now time.Time, g *consumerGroup, a *memberAlarms) {
	a.heard = now
	m.alarms.set(&a.session, now.Add(m.cfg.consumer(g.id).Session))
}

// setConsumerRebalance gives a member that must give partitions back the time that it asked for, and takes the deadline
// from one that need not.
func (m *Machine) setConsumerRebalance(now time.Time, a *memberAlarms, desc *Member, cur *Current) {
	if desc.Classic != nil {
		return
	}
	if cur.State != MemberUnrevoked {
		a.rebalance.off()
		return
	}
	a.epoch, a.timeout = cur.Epoch, time.Duration(desc.RebalanceMillis)*time.Millisecond
	m.alarms.set(&a.rebalance, now.Add(a.timeout))
}

// consumerAlarm acts on an alarm of a member.
func (m *Machine) consumerAlarm(now time.Time, a *alarm) {
	g := a.consumer
	mem := g.members[a.id]
	if m.consumers[g.id] != g || mem == nil {
		delete(g.alarms, a.id) // its records were never written
		return
	}
	switch a.kind {
	case consumerSessionAlarm:
		who := mem.who()
		m.fence(now, g, mem, MemberExpired, why{CauseSession, who, who.silent(now.Sub(mem.alarms.heard))})
	case consumerRebalanceAlarm:
		if mem.cur.Epoch == mem.alarms.epoch {
			who := mem.who()
			m.fence(now, g, mem, MemberRemoved, why{CauseRebalance, who, who.name() + " kept partitions for " +
				span(mem.alarms.timeout) + " that it was to give back"})
		}
	case consumerJoinAlarm, consumerSyncAlarm:
		m.classicAlarm(now, g, mem, a)
	}
}

// loadConsumers begins the sessions of members after a replay: nobody knows how long they have been silent.
func (m *Machine) loadConsumers(now time.Time) {
	for _, id := range sortedKeys(m.consumers) {
		g := m.consumers[id]
		for _, name := range g.memberIDs() {
			mem := g.members[name]
			if mem.desc.Classic != nil {
				m.setClassicSession(now, mem.alarms, mem.desc.Classic.session())
			} else {
				m.setConsumerSession(now, g, mem.alarms)
			}
			m.setConsumerRebalance(now, mem.alarms, mem.desc, mem.cur)
		}
		if len(g.members) > 0 {
			m.tell(Event{Kind: GroupLoaded, Group: id, Generation: g.epoch, Members: len(g.members), Reason: loadedReason})
		}
	}
}

// sessionRetry is when a member is fenced again whose tombstones were refused.
const sessionRetry = 500 * time.Millisecond

// rejectedConsumer puts the alarms of a member right whose record was refused: they were set for what it would have been.
func (m *Machine) rejectedConsumer(now time.Time, r Record) {
	g := m.consumers[r.Group]
	if g == nil || r.Kind != KindMember && r.Kind != KindCurrent {
		return
	}
	mem := g.members[r.Name]
	if mem == nil {
		return
	}
	if mem.alarms.session.at.IsZero() { // it rang, and the member is still there
		m.alarms.set(&mem.alarms.session, now.Add(sessionRetry))
	}
	if r.Kind == KindCurrent {
		m.setConsumerRebalance(now, mem.alarms, mem.desc, mem.cur)
	}
}
