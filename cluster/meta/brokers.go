package meta

import (
	"slices"

	"moldau.io/moldau/protocol"
)

// alive is the ids of the brokers that can be given replicas, sorted.
func (c *Controller) alive() []protocol.BrokerID {
	var ids []protocol.BrokerID
	for _, b := range c.image.Brokers() {
		if c.image.active(b.ID) {
			ids = append(ids, b.ID)
		}
	}
	return ids
}

// place spreads count partitions of factor replicas each over the brokers: leaders go round the brokers from a random one
// on, and each round shifts the followers by one more, so that the partitions led by one broker do not all follow to the
// same second broker. The caller has made sure that there are at least factor brokers.
func (c *Controller) place(brokers []protocol.BrokerID, count, factor int) []Partition {
	n := len(brokers)
	start, shift := c.cfg.Random.IntN(n), c.cfg.Random.IntN(n)
	ps := make([]Partition, count)
	for i := range ps {
		if i > 0 && i%n == 0 {
			shift++
		}
		lead := (start + i) % n
		replicas := make([]protocol.BrokerID, factor)
		replicas[0] = brokers[lead]
		for j := 1; j < factor; j++ {
			replicas[j] = brokers[(lead+1+(shift+j-1)%(n-1))%n]
		}
		ps[i] = Partition{Replicas: replicas, ISR: replicas, Leader: replicas[0]}
	}
	return ps
}

// placeByHand is the partition that a manual assignment asks for.
func (c *Controller) placeByHand(partition int32, replicas []protocol.BrokerID) (Partition, error) {
	bad := func(format string, a ...any) (Partition, error) {
		return Partition{}, protocol.Errorf(protocol.InvalidReplicaAssignment, format, a...)
	}
	if len(replicas) == 0 {
		return bad("partition %d is assigned to no broker", partition)
	}
	var isr []protocol.BrokerID
	for i, id := range replicas {
		b := c.image.Broker(id)
		if b == nil {
			return bad("partition %d is assigned to broker %d, which is not registered", partition, id)
		}
		if slices.Contains(replicas[:i], id) {
			return bad("partition %d is assigned to broker %d twice", partition, id)
		}
		if c.image.active(id) {
			isr = append(isr, id)
		}
	}
	if len(isr) == 0 {
		return bad("partition %d is assigned to brokers none of which is alive", partition)
	}
	return Partition{Replicas: slices.Clone(replicas), ISR: isr, Leader: isr[0]}, nil
}
