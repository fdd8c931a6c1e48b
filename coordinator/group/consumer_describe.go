package group

import "moldau.io/moldau/protocol"

// consumerDescribe takes one group of a ConsumerGroupDescribe. There are no consumer groups yet: the API is not announced.
func (m *Machine) consumerDescribe(t Ticket, r *ConsumerDescribe) {
	m.reply(t, r.Refuse(protocol.UnsupportedVersion))
}
