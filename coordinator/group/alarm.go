package group

import (
	"container/heap"
	"time"
)

type alarmKind int8

const (
	sessionAlarm alarmKind = iota // a member or a pending member was silent for too long
	initialAlarm                  // the first rebalance of an empty group has waited
	joinAlarm                     // members had time enough to rejoin
	syncAlarm                     // members had time enough to sync

	consumerSessionAlarm   // a member of a consumer group was silent for too long
	consumerJoinAlarm      // a classic member of a consumer group had time enough to join again
	consumerSyncAlarm      // the same, to sync
	lookAlarm              // the look of a consumer group at all topics goes on
	consumerRebalanceAlarm // it had time enough to give partitions back
)

// alarm is one deadline. Moving it later costs a store, not a move in the heap: a heartbeat does just that, and the heap
// finds out when the old time comes.
type alarm struct {
	kind alarmKind
	at   time.Time // zero: off
	g    *group
	mem  *member // of sessionAlarm

	consumer *consumerGroup // of the alarms of consumer groups
	id       string         // of the member, for them

	queued time.Time // time of the entry in the heap that counts; zero: none
}

// set makes a ring at the time given.
func (as *alarms) set(a *alarm, at time.Time) {
	a.at = at
	if a.queued.IsZero() || at.Before(a.queued) {
		as.shrink()
		a.queued = at
		heap.Push(as, entry{at: at, a: a})
	}
}

// off keeps a from ringing.
func (a *alarm) off() { a.at = time.Time{} }

type entry struct {
	at time.Time
	a  *alarm
}

// alarms is a heap of entries; an entry whose alarm has been moved is put right when it comes to the top.
type alarms struct {
	h    []entry
	full int // length at which the heap is looked through for entries that count no more
}

const alarmsMin = 1024

// shrink drops entries of alarms that are off, before they come to the top: members that came and went would otherwise be
// remembered for as long as their sessions would have been.
func (as *alarms) shrink() {
	if len(as.h) < max(as.full, alarmsMin) {
		return
	}
	kept := as.h[:0]
	for _, e := range as.h {
		switch {
		case !e.at.Equal(e.a.queued):
		case e.a.at.IsZero():
			e.a.queued = time.Time{}
		default:
			kept = append(kept, e)
		}
	}
	clear(as.h[len(kept):])
	as.h = kept
	heap.Init(as)
	as.full = 2 * len(as.h)
}

// due takes out one alarm that must ring. It is off afterwards.
func (as *alarms) due(now time.Time) (*alarm, bool) {
	for len(as.h) > 0 && !as.h[0].at.After(now) {
		e := heap.Pop(as).(entry)
		a := e.a
		if !e.at.Equal(a.queued) {
			continue // an earlier entry took over
		}
		a.queued = time.Time{}
		switch {
		case a.at.IsZero():
		case a.at.After(e.at): // moved; it takes its place among the others again
			as.set(a, a.at)
		default:
			a.off()
			return a, true
		}
	}
	return nil, false
}

// next is when due is worth calling. It may be early, never late.
func (as *alarms) next() (time.Time, bool) {
	if len(as.h) == 0 {
		return time.Time{}, false
	}
	return as.h[0].at, true
}

// Len, Less, Swap, Push and Pop are heap.Interface.
func (as *alarms) Len() int           { return len(as.h) }
func (as *alarms) Less(i, j int) bool { return as.h[i].at.Before(as.h[j].at) }
func (as *alarms) Swap(i, j int)      { as.h[i], as.h[j] = as.h[j], as.h[i] }
func (as *alarms) Push(x any)         { as.h = append(as.h, x.(entry)) }

func (as *alarms) Pop() any {
	last := len(as.h) - 1
	e := as.h[last]
	as.h[last] = entry{}
	as.h = as.h[:last]
	return e
}

// ring acts on an alarm that is due.
func (m *Machine) ring(now time.Time, a *alarm) {
	if a.g != nil && m.groups[a.g.id] != a.g {
		return // of a group that was to be converted, and was not, or that is gone
	}
	switch a.kind {
	case sessionAlarm:
		m.sessionExpired(now, a.g, a.mem)
	case initialAlarm:
		m.initialDelayOver(now, a.g)
	case joinAlarm:
		m.completeJoin(now, a.g)
	case syncAlarm:
		m.syncExpired(now, a.g)
	case consumerSessionAlarm, consumerRebalanceAlarm, consumerJoinAlarm, consumerSyncAlarm:
		m.consumerAlarm(now, a)
	case lookAlarm:
		m.lookOn(now, a.consumer)
	}
}
