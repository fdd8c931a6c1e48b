package meta

import (
	"moldau.io/moldau/protocol"
)

// electLeaders has partitions led by their preferred replicas, or where cmd.Unclean is set those that have no leader led by any
// replica that is alive.
func (c *Controller) electLeaders(cmd ElectLeaders) ([]Record, Reply, error) {
	var cs changes
	reply := ElectLeadersReply{Partitions: make([]PartitionResult, 0, len(cmd.Partitions))}
	view := c.view()
	elect := func(tp protocol.TopicPartition, t *Topic, p *Partition) {
		to, err := c.electOne(p, c.rulesOf(view, t), cmd.Unclean)
		if err == nil {
			cs.add(t, tp.Partition, &to)
		}
		if cmd.All && protocol.CodeOf(err) == protocol.ElectionNotNeeded {
			return
		}
		reply.Partitions = append(reply.Partitions, PartitionResult{Partition: tp, Outcome: OutcomeOf(err)})
	}
	if cmd.All {
		for _, t := range c.image.Topics() {
			for i := range t.Partitions {
				elect(protocol.TopicPartition{Topic: t.Name, Partition: int32(i)}, t, &t.Partitions[i])
			}
		}
		return cs.records(), reply, nil
	}
	answered := make(map[protocol.TopicPartition]Outcome, len(cmd.Partitions))
	for _, tp := range cmd.Partitions {
		t, p := c.partition(tp)
		o, again := answered[tp]
		switch {
		case p == nil:
			reply.Partitions = append(reply.Partitions, PartitionResult{Partition: tp, Outcome: OutcomeOf(
				protocol.Errorf(protocol.UnknownTopicOrPartition, "there is no partition %s", tp))})
		case again: // named twice, it is answered twice and elected once
			reply.Partitions = append(reply.Partitions, PartitionResult{Partition: tp, Outcome: o})
		default:
			elect(tp, t, p)
			answered[tp] = reply.Partitions[len(reply.Partitions)-1].Outcome
		}
	}
	return cs.records(), reply, nil
}

// electOne is the partition after the election, or why there is none.
func (c *Controller) electOne(p *Partition, r rules, unclean bool) (Partition, error) {
	switch {
	case unclean && p.Leader >= 0:
		return Partition{}, protocol.Errorf(protocol.ElectionNotNeeded, "broker %d leads the partition", p.Leader)
	case !unclean && p.Leader == p.Replicas[0]:
		return Partition{}, protocol.Errorf(protocol.ElectionNotNeeded, "the preferred replica %d leads the partition", p.Leader)
	}
	ch := changeOf(p, r, c.voters(nil, -1))
	ch.election = electPreferred
	if unclean {
		ch.election = electUnclean
	}
	to, changed := ch.build()
	switch {
	case changed:
		return to, nil
	case unclean:
		return Partition{}, protocol.Errorf(protocol.EligibleLeadersNotAvailable, "no replica of the partition is alive")
	}
	return Partition{}, protocol.Errorf(protocol.PreferredLeaderNotAvailable,
		"the preferred replica %d is not alive, or not in sync", p.Replicas[0])
}
