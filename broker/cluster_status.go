package broker

import (
	"context"

	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
)

// ClusterStatus is who is in the cluster, as far as Kafka's protocol has no words for it.
type ClusterStatus struct {
	Cluster string         `json:"cluster"`
	Node    int32          `json:"node"` // who says so
	Brokers []MemberStatus `json:"brokers"`
}

// MemberStatus is one broker of the cluster.
type MemberStatus struct {
	ID      int32  `json:"id"`
	State   string `json:"state"` // MemberAlive and so on
	Rack    string `json:"rack,omitempty"`
	Version string `json:"version,omitempty"`
	Address string `json:"cluster_address,omitempty"` // of gossip and quorum
}

// What a broker of a cluster is doing.
const (
	MemberAlive    = "alive"
	MemberDown     = "down"     // fenced: it does not answer, or it has just come and knows too little yet
	MemberStopping = "stopping" // others take over what it leads
	MemberDraining = "draining" // everything is moved off it
)

// ClusterStatus says who is in the cluster.
func (b *Broker) ClusterStatus() ClusterStatus {
	im := b.image()
	st := ClusterStatus{Cluster: im.ClusterID(), Node: b.static.NodeID(), Brokers: []MemberStatus{}}
	for _, m := range im.Brokers() {
		st.Brokers = append(st.Brokers, MemberStatus{
			ID: int32(m.ID), State: stateOf(m), Rack: m.Rack, Version: m.Version, Address: m.Cluster,
		})
	}
	return st
}

func stateOf(m *meta.Broker) string {
	switch {
	case m.Fenced:
		return MemberDown
	case m.Draining:
		return MemberDraining
	case m.Stopping:
		return MemberStopping
	}
	return MemberAlive
}

// Drain has everything moved off a broker, or ends that.
func (b *Broker) Drain(ctx context.Context, id int32, drain bool) error {
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	_, err := b.propose(ctx, meta.DrainBroker{ID: protocol.BrokerID(id), Drain: drain})
	if err != nil {
		return adminError(err)
	}
	b.log.Info("a broker is to be emptied, or not any more", "broker", id, "drain", drain)
	return nil
}
