package group

import "encoding/binary"

// consumerType is the protocol type of consumers. Only their subscriptions are looked into.
const consumerType = "consumer"

// subscribed is the set of topics that the members' subscriptions name, or nil if they cannot be read. Nothing else of a
// subscription is read: clients of all ages put different things behind the topics.
func (g *group) subscribed() map[string]struct{} {
	if g.kind != consumerType || g.protocol == nil {
		return nil
	}
	all := map[string]struct{}{}
	for _, mem := range g.members {
		if !addTopics(all, mem.metadata(g.protocol)) {
			return nil
		}
	}
	return all
}

// subscribedTo says that the offsets of the topic are in use. If subscriptions cannot be read, all are.
func (g *group) subscribedTo(topic string) bool {
	if g.kind != consumerType || len(g.members) == 0 {
		return false
	}
	if g.topics == nil {
		return true
	}
	_, ok := g.topics[topic]
	return ok
}

// addTopics reads the head of a ConsumerProtocolSubscription: int16 version, then an array of strings.
func addTopics(to map[string]struct{}, b []byte) bool {
	if len(b) < 6 || int16(binary.BigEndian.Uint16(b)) < 0 {
		return false
	}
	n := int32(binary.BigEndian.Uint32(b[2:]))
	b = b[6:]
	if n < 0 {
		return false
	}
	for ; n > 0; n-- {
		if len(b) < 2 {
			return false
		}
		l := int(int16(binary.BigEndian.Uint16(b)))
		b = b[2:]
		if l < 0 || l > len(b) {
			return false
		}
		to[string(b[:l])] = struct{}{}
		b = b[l:]
	}
	return true
}
