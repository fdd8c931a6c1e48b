package group

import (
	"time"

	"moldau.io/moldau/protocol"
)

// consumerLeave takes a heartbeat with epoch -1 or -2. A static member that leaves for a while keeps its place, and its
// partitions, until its session ends.
func (m *Machine) consumerLeave(now time.Time, r *ConsumerHeartbeat) (*ConsumerHeartbeatResult, *refusal) {
	g, no := m.existingConsumerGroup(r.Group)
	if no != nil {
		return nil, no
	}
	var mem *consumerMember
	if r.Instance == nil {
		if mem = g.members[r.Member]; mem == nil {
			return nil, refuse(protocol.UnknownMemberID, "Member %s is not a member of group %s.", r.Member, r.Group)
		}
	} else {
		switch mem = g.static[*r.Instance]; {
		case mem == nil:
			return nil, refuse(protocol.UnknownMemberID, "Instance id %s is unknown.", *r.Instance)
		case mem.id != r.Member:
			return nil, fenced(r.Member, *r.Instance, mem.id)
		}
	}
	if r.Epoch == leaveStaticEpoch {
		m.leaveForAWhile(g, mem)
	} else {
		who := mem.who()
		m.fence(now, g, mem, MemberLeft, why{CauseLeave, who, who.name() + " left"})
	}
	return &ConsumerHeartbeatResult{Member: r.Member, Epoch: r.Epoch}, nil
}

// leaveForAWhile keeps what the member has. What it was giving back it gives back by leaving. Epochs of partitions begin
// anew: who takes the place has none of before.
func (m *Machine) leaveForAWhile(g *consumerGroup, mem *consumerMember) {
	cur := &Current{Epoch: leaveStaticEpoch, PreviousEpoch: mem.cur.PreviousEpoch, State: mem.cur.State}
	for _, t := range mem.cur.Assigned {
		t.Epochs = make([]int32, len(t.Partitions))
		cur.Assigned = append(cur.Assigned, t)
	}
	m.record(Record{Kind: KindCurrent, Group: g.id, Name: mem.id, Value: cur})
	m.tell(Event{
		Kind: MemberLeft, Group: g.id, Generation: g.epoch, Members: len(g.members), Who: mem.who(), Stored: true,
		Reason: "it means to come back and keeps its partitions",
	})
}

// fence removes a member for good, and the group's epoch rises: the others get what it had.
func (m *Machine) fence(now time.Time, g *consumerGroup, mem *consumerMember, kind EventKind, w why) {
	m.fenceAll(now, g, []*consumerMember{mem}, kind, w)
}

// fenceAll is fence for several members, for which the epoch rises once.
func (m *Machine) fenceAll(now time.Time, g *consumerGroup, gone []*consumerMember, kind EventKind, w why) {
	left := len(g.members) - len(gone)
	for _, mem := range gone {
		m.tell(Event{
			Kind: kind, Group: g.id, Generation: g.epoch + 1, Members: left, Who: mem.who(), Reason: w.reason, Stored: true,
		})
	}
	if m.downgradeWithout(now, g, gone, w) {
		return
	}
	delta := topicCounts{}
	patterns := map[string]int{}
	for _, mem := range gone {
		m.dropMember(g, mem.id)
		delta.addAll(mem.desc.Topics, subscriptions{names: -1})
		if re := mem.pattern(); re != "" {
			patterns[re]++
		}
	}
	for _, re := range sortedKeys(patterns) {
		if g.patterns[re] != patterns[re] {
			continue
		}
		m.record(Record{Kind: KindRegex, Group: g.id, Name: re})
		if resolved := g.regexes[re]; resolved != nil {
			delta.addAll(resolved.Topics, subscriptions{patterns: -1})
		}
	}
	epoch := g.epoch + 1
	m.record(Record{Kind: KindEpoch, Group: g.id, Value: &Epoch{Epoch: epoch, MetadataHash: m.hashAfter(g, delta)}})
	if left == 0 {
		// There is nothing to assign. A time of 0 lets the next member have its target at once.
		m.record(Record{Kind: KindTarget, Group: g.id, Value: &Target{Epoch: epoch}})
	}
	g.reason = w.reason
	m.tellEpoch(g, epoch, left, w)
	if left == 0 {
		m.tell(Event{Kind: GroupEmptied, Group: g.id, Generation: epoch, Reason: w.reason, Stored: true})
	}
}

// tellEpoch tells that the epoch of a group rises.
func (m *Machine) tellEpoch(g *consumerGroup, epoch int32, members int, w why) {
	m.tell(Event{
		Kind: RebalanceBegun, Group: g.id, Generation: epoch, Members: members, Who: w.who, Cause: w.cause,
		Reason: w.reason, Stored: true,
	})
}
