package group

import (
	"time"

	"moldau.io/moldau/protocol"
)

// upgrade makes a consumer group of a classic one with members.
func (m *Machine) upgrade(_ time.Time, g *group) (*consumerGroup, *refusal) {
	return nil, refuse(protocol.GroupIDNotFound, "Group %s is not a consumer group.", g.id)
}

// downgradeWithout makes a classic group of a consumer group when the last member leaves that speaks the new protocol.
func (m *Machine) downgradeWithout(time.Time, *consumerGroup, *consumerMember, EventKind, why) bool {
	return false
}

// leaveToClassic gives the place of a consumer group without members to a classic one that somebody joins. It says whether
// the join may go on.
func (m *Machine) leaveToClassic(t Ticket, g *consumerGroup, r *Join) bool {
	switch {
	case len(g.members) > 0:
		m.reply(t, r.Refuse(protocol.InconsistentGroupProtocol))
		return false
	case r.Member != "":
		m.reply(t, r.Refuse(protocol.UnknownMemberID))
		return false
	}
	m.removeConsumerGroup(g)
	m.tell(Event{
		Kind: GroupConverted, Group: g.id, Generation: g.epoch, Stored: true,
		Reason: "the consumer group has no members; it is a classic group from now on",
	})
	return true
}

// rejectedConversion takes back a classic group that was to take the place of a consumer group whose removal was refused.
func (m *Machine) rejectedConversion(r Record, code protocol.Code) {
	g := m.groups[r.Group]
	if r.Kind != KindEpoch || r.Value != nil || m.consumers[r.Group] == nil || g == nil {
		return
	}
	for _, mem := range g.members {
		m.dropParked(mem, g, code)
	}
	g.silence()
	delete(m.groups, r.Group)
}
