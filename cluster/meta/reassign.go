package meta

import (
	"slices"

	"moldau.io/moldau/protocol"
)

// alterReassignments gives partitions other replicas (KIP-455): those to come and those to go are marked and stay among the
// replicas until all that are to stay are in sync, which partitionChange.build notices.
func (c *Controller) alterReassignments(cmd AlterReassignments) ([]Record, Reply, error) {
	var cs changes
	reply := AlterReassignmentsReply{Partitions: make([]PartitionResult, 0, len(cmd.Partitions))}
	seen := make(map[protocol.TopicPartition]bool, len(cmd.Partitions))
	view := c.view()
	for _, want := range cmd.Partitions {
		err := error(nil)
		t, p := c.partition(want.Partition)
		switch {
		case p == nil:
			err = protocol.Errorf(protocol.UnknownTopicOrPartition, "there is no partition %s", want.Partition)
		case seen[want.Partition]: // the second change would begin from what the first has changed
			err = protocol.Errorf(protocol.InvalidRequest, "partition %s is in the request twice", want.Partition)
		default:
			var to Partition
			var changed bool
			if to, changed, err = c.reassign(p, want, c.rulesOf(view, t), cmd.KeepFactor); err == nil && changed {
				cs.add(t, want.Partition.Partition, &to)
			}
		}
		seen[want.Partition] = true
		reply.Partitions = append(reply.Partitions, PartitionResult{Partition: want.Partition, Outcome: OutcomeOf(err)})
	}
	return cs.records(), reply, nil
}

// partition is a partition with its topic, nil where there is none.
func (c *Controller) partition(tp protocol.TopicPartition) (*Topic, *Partition) {
	t := c.image.Topic(tp.Topic)
	if t == nil || tp.Partition < 0 || int(tp.Partition) >= len(t.Partitions) {
		return nil, nil
	}
	return t, &t.Partitions[tp.Partition]
}

// reassign is the partition after one reassignment has begun or was cancelled, and whether that changes it.
func (c *Controller) reassign(p *Partition, want Reassignment, r rules, keepFactor bool) (Partition, bool, error) {
	ch := changeOf(p, r, c.voters(nil, -1))
	if want.Replicas == nil {
		if err := cancelReassignment(&ch, want.Partition); err != nil {
			return Partition{}, false, err
		}
		to, changed := ch.build()
		if len(ch.isr) == 0 && to.Leader == -1 {
			return Partition{}, false, protocol.Errorf(protocol.InvalidReplicaAssignment,
				"going back with %s would leave nobody to lead it: none of its former replicas is alive", want.Partition)
		}
		return to, changed, nil
	}
	if err := c.checkReplicas(want); err != nil {
		return Partition{}, false, err
	}
	if stays := len(without(p.Replicas, p.Removing...)); keepFactor && stays != len(want.Replicas) {
		return Partition{}, false, protocol.Errorf(protocol.InvalidReplicationFactor,
			"The replication factor is changed from %d to %d", stays, len(want.Replicas))
	}
	ch.election = electAny
	ch.aim(want.Replicas)
	to, changed := ch.build()
	return to, changed, nil
}

// aim has the change bring the partition to the replicas of target. Where another reassignment goes on, replicas that it was
// bringing and this one does not want go at once, unless too few would be left in sync: they are then taken with the others.
// (Kafka keeps them until the end, and may then wait for ever for a replica that both comes and goes.)
func (ch *partitionChange) aim(target []protocol.BrokerID) {
	current := ch.was.Replicas
	if dropped := difference(ch.was.Adding, target); len(dropped) > 0 {
		if isr := difference(ch.isr, dropped); len(isr) == len(ch.isr) || len(isr) >= max(1, ch.minISR) {
			current, ch.isr = difference(current, dropped), isr
		}
	}
	ch.removing = difference(current, target)
	slices.Sort(ch.removing)
	ch.adding = nil
	for _, id := range target {
		if !slices.Contains(current, id) || slices.Contains(ch.was.Adding, id) {
			ch.adding = append(ch.adding, id)
		}
	}
	slices.Sort(ch.adding)
	ch.replicas = append(slices.Clone(target), ch.removing...)
}

// Reassigned says that the partition is on its way to other replicas.
func (p *Partition) Reassigned() bool { return len(p.Adding) > 0 || len(p.Removing) > 0 }

// checkReplicas judges a list of replicas that somebody has chosen by hand.
func (c *Controller) checkReplicas(want Reassignment) error {
	if len(want.Replicas) == 0 {
		return protocol.Errorf(protocol.InvalidReplicaAssignment, "partition %s is assigned to no broker", want.Partition)
	}
	for i, id := range want.Replicas {
		if c.image.Broker(id) == nil {
			return protocol.Errorf(protocol.InvalidReplicaAssignment,
				"partition %s is assigned to broker %d, which is not registered", want.Partition, id)
		}
		if slices.Contains(want.Replicas[:i], id) {
			return protocol.Errorf(protocol.InvalidReplicaAssignment, "partition %s is assigned to broker %d twice",
				want.Partition, id)
		}
	}
	return nil
}

// cancelReassignment has a partition go back to the replicas that it had. Where none of these is in sync any more, that would
// lose records, so it is refused unless the topic allows it.
func cancelReassignment(ch *partitionChange, tp protocol.TopicPartition) error {
	if !ch.was.Reassigned() {
		return protocol.NoReassignmentInProgress
	}
	ch.replicas = difference(ch.was.Replicas, ch.was.Adding)
	ch.isr = difference(ch.was.ISR, ch.was.Adding)
	if len(ch.isr) == 0 {
		if len(ch.replicas) == 0 {
			return protocol.Errorf(protocol.InvalidReplicaAssignment, "the reassignment of %s brings all of its replicas", tp)
		}
		if !ch.rules.unclean {
			return protocol.Errorf(protocol.InvalidReplicaAssignment,
				"going back with %s would need an unclean leader election: none of its former replicas is in sync", tp)
		}
		ch.isr = nil // whoever is alive is elected, uncleanly if it must be
	}
	ch.adding, ch.removing = nil, nil
	return nil
}

// difference is what of a is not in b, in a's order. It never shares memory with a.
func difference(a, b []protocol.BrokerID) []protocol.BrokerID {
	var out []protocol.BrokerID
	for _, id := range a {
		if !slices.Contains(b, id) {
			out = append(out, id)
		}
	}
	return out
}
