package group

import (
	"time"

	"moldau.io/moldau/protocol"
)

// consumerHeartbeat takes ConsumerGroupHeartbeat. There are no consumer groups yet: the API is not announced.
func (m *Machine) consumerHeartbeat(_ time.Time, t Ticket, r *ConsumerHeartbeat) {
	m.reply(t, r.Refuse(protocol.UnsupportedVersion))
}
