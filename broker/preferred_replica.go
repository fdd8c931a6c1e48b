package broker

import (
	"moldau.io/moldau/cluster/replica"
	"moldau.io/moldau/protocol"
)

// Consumers near a follower are sent there by the leader (KIP-392), where the operator has asked for it.

// rackAware is the value of replica.selector.class that is known here: the class that Kafka has.
const rackAware = "org.apache.kafka.common.replica.RackAwareReplicaSelector"

// preferred is the follower that the client of f should read p from, -1 for this broker. It is one in the client's rack
// that is in sync and has the offset; of several the one that is closest to the leader.
func (f *fetch) preferred(p *Partition, offset protocol.Offset) protocol.BrokerID {
	rack, im := string(f.req.Rack), f.b.image()
	if me := im.Broker(f.b.nodeID()); me == nil || me.Rack == rack {
		return -1
	}
	best := replica.FollowerState{ID: -1}
	for _, s := range p.followerStates() {
		br := im.Broker(s.ID)
		if br == nil || br.Fenced || br.Rack != rack || !s.Serves(offset) {
			continue
		}
		if _, ok := br.Listener(f.r.listener()); !ok {
			continue
		}
		if best.ID < 0 || s.End > best.End || s.End == best.End && s.CaughtUp.After(best.CaughtUp) {
			best = s
		}
	}
	return best.ID
}

// followerStates is what this broker, as the leader, knows of the other replicas; nil where it does not lead.
func (p *Partition) followerStates() []replica.FollowerState {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.leader == nil {
		return nil
	}
	return p.mu.leader.Followers()
}
