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
