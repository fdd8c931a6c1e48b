package group

import (
	"time"

	"moldau.io/moldau/protocol"
)

// Apply is the one way hard state changes: after a live append and on replay alike, with the same records in the same
// order. It keeps the pointers in r.
func (m *Machine) Apply(r Record) {
	switch r.Kind {
	case KindCommit:
		m.applyCommit(r)
	case KindSaved:
		if s, ok := r.Value.(*Saved); ok {
			m.applySaved(r.Group, s)
			return
		}
		m.applyGroupRemoved(r.Group)
	default:
		m.applyConsumer(r)
	}
}

func (m *Machine) applyCommit(r Record) {
	c, ok := r.Value.(*Commit)
	if !ok {
		m.removeOffset(r.Group, r.Topic, r.Partition)
		m.pending.forget(pendingAt{r.Group, r.Topic, r.Partition})
		return
	}
	m.knowsOffsets(r.Group)
	m.pending.overtake(r.Group, r.Topic, r.Partition)
	m.setOffset(r.Group, r.Topic, r.Partition, c)
}

// applySaved takes over a saved group. A live group has its members already; the record gives it the assignments and so
// makes it stable, or empties it. The record that only says that a group began changes nothing.
func (m *Machine) applySaved(id string, s *Saved) {
	if made := m.makingClassic; m.live && made != nil && made.id == id {
		m.groups[id] = made // converted in this call; it may be rebalancing already
		m.makingClassic = nil
		return
	}
	g := m.groups[id]
	if !m.live {
		delete(m.consumers, id) // the later record says what the group is
	}
	if g == nil {
		g = newGroup(id)
		m.groups[id] = g
	}
	if !m.live {
		g.restore(s)
		return
	}
	g.undo = nil
	switch {
	case len(s.Members) == 0 && s.Generation == g.generation:
		return
	case len(s.Members) == 0:
		g.state = Empty
		g.leader = ""
		g.protocol = nil
	case s.Generation == g.generation:
		g.state = Stable
		for i := range s.Members {
			if mem := g.byID[s.Members[i].Member]; mem != nil {
				mem.assignment = s.Members[i].Assignment
			}
		}
	}
	g.fresh = false
	g.since = s.Since
	g.generation = s.Generation
	if g.state == Empty {
		g.topics = g.subscribed()
	}
}

// restore makes g what the record says.
func (g *group) restore(s *Saved) {
	clear(g.byID)
	clear(g.static)
	g.members = g.members[:0]
	g.kind, g.generation, g.protocol, g.since = s.Type, s.Generation, s.Protocol, s.Since
	g.leader = ""
	if s.Leader != nil {
		g.leader = *s.Leader
	}
	name := ""
	if s.Protocol != nil {
		name = *s.Protocol
	}
	for i := range s.Members {
		sm := &s.Members[i]
		rebalance := sm.Rebalance
		if rebalance == -1 { // records of versions before 1
			rebalance = sm.Session
		}
		g.add(&member{
			id: sm.Member, instance: sm.Instance, clientID: sm.ClientID, clientHost: sm.ClientHost,
			session: time.Duration(sm.Session) * time.Millisecond, rebalance: time.Duration(rebalance) * time.Millisecond,
			protocols: []Protocol{{Name: name, Metadata: sm.Metadata}}, assignment: sm.Assignment,
		})
	}
	g.state = Empty
	g.unsettled = s.Leader == nil
	if len(g.members) > 0 {
		g.state = Stable
	}
	g.topics = g.subscribed()
}

func (m *Machine) applyGroupRemoved(id string) {
	g := m.groups[id]
	if g == nil {
		return
	}
	g.silence()
	if m.offsets.any(id) || m.pending.any(id) {
		// Offsets that are still there have not been removed by anyone; the group lives on as one that only stores them.
		g.restore(&Saved{Since: -1})
		return
	}
	delete(m.groups, id)
}

// Rejected tells the machine that the records of eff were not written, for the reason code; what was to be answered with
// them is an error now. The effects returned have no replies that depend on eff.
func (m *Machine) Rejected(now time.Time, eff Effects, code protocol.Code) Effects {
	records, replies := append([]Record(nil), eff.Records...), append([]Reply(nil), eff.Replies...)
	m.begin()
	code = coordinatorCode(code)
	for _, r := range replies {
		m.reply(r.To, refused(r.Resp, code))
	}
	for _, r := range records {
		m.rejectedConsumer(now, r)
		m.rejectedConversion(r, code)
		g := m.groups[r.Group]
		saved, ok := r.Value.(*Saved)
		if !ok || g == nil {
			continue
		}
		switch {
		case len(saved.Members) == 0 && saved.Generation != g.generation:
			// Nobody is there. If this broker fails now, the generation before comes back to life and times out.
			m.Apply(r)
			m.event(g, GroupEmptied, Who{}, g.reason)
		case g.state == Stable && g.undo != nil:
			g.undo()
			g.undo = nil
		case g.state == CompletingRebalance && saved.Generation == g.generation && len(saved.Members) > 0:
			m.failSyncs(now, g, code)
			m.prepareRebalance(now, g, why{cause: CauseStore, reason: "the assignment could not be stored: " + code.Error()})
		}
	}
	return m.eff
}

// coordinatorCode is what a client of a group is told of a failed write.
func coordinatorCode(c protocol.Code) protocol.Code {
	switch c {
	case protocol.UnknownTopicOrPartition, protocol.NotEnoughReplicas, protocol.NotEnoughReplicasAfterAppend,
		protocol.RequestTimedOut:
		return protocol.CoordinatorNotAvailable
	case protocol.NotLeaderOrFollower, protocol.KafkaStorageError:
		return protocol.NotCoordinator
	case protocol.MessageTooLarge, protocol.RecordListTooLarge, protocol.InvalidFetchSize:
		return protocol.UnknownServerError
	}
	return c
}

// refused is resp turned into an error.
func refused(resp Response, c protocol.Code) Response {
	switch r := resp.(type) {
	case *JoinResult:
		return &JoinResult{Code: c, Generation: -1, Member: r.Member}
	case *SyncResult:
		return &SyncResult{Code: c}
	case *LeaveResult:
		return &LeaveResult{Code: c}
	case *CommitResult:
		return (&CommitOffsets{Partitions: r.Partitions}).Refuse(c)
	case *ConsumerHeartbeatResult:
		return &ConsumerHeartbeatResult{Code: c}
	case *DeleteResult:
		return &DeleteResult{Code: c}
	case *DeleteOffsetsResult:
		return &DeleteOffsetsResult{Code: c}
	case *ForgetResult:
		return &ForgetResult{Code: c}
	}
	return resp
}
