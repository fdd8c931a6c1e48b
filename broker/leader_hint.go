package broker

import (
	"slices"

	"moldau.io/moldau/protocol"
)

// Clients of Produce 10 and Fetch 16 and later are told with a refusal who leads the partition now, so that they need not
// ask for metadata first (KIP-951, rules 38 and 72).
const (
	produceHints = 10
	fetchHints   = 16
)

// leaderHint is who leads a partition, if it is somebody whom the client of r can reach, else nil. Where the leader is reached
// is added to nodes, once.
func (b *Broker) leaderHint(r *request, topic string, partition int32, nodes []protocol.NodeEndpoint) (*protocol.Leader,
	[]protocol.NodeEndpoint) {
	im := b.newest() // who waited for a partition that is led elsewhere now is answered before the image is served
	t := im.Topic(topic)
	if t == nil || partition < 0 || int(partition) >= len(t.Partitions) {
		return nil, nodes
	}
	p := t.Partitions[partition]
	for _, e := range b.endpoints(r, im) {
		if e.id != p.Leader || e.fenced {
			continue
		}
		if !slices.ContainsFunc(nodes, func(n protocol.NodeEndpoint) bool { return n.ID == e.id }) {
			n := protocol.NodeEndpoint{ID: e.id, Host: e.host, Port: e.port}
			if e.rack != nil {
				n.Rack = *e.rack
			}
			nodes = append(nodes, n)
		}
		return &protocol.Leader{ID: p.Leader, Epoch: p.LeaderEpoch}, nodes
	}
	return nil, nodes
}
