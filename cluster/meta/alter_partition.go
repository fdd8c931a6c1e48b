package meta

import (
	"slices"

	"moldau.io/moldau/protocol"
)

// alterPartition changes in-sync sets as the leaders ask, each by itself. An error is that of the whole command: the broker is
// not who it says.
func (c *Controller) alterPartition(cmd AlterPartition) ([]Record, Reply, error) {
	if _, err := c.registered(cmd.Broker, cmd.BrokerEpoch); err != nil {
		return nil, nil, err
	}
	type place struct {
		topic     protocol.TopicID
		partition int32
	}
	var cs changes
	view, all := c.view(), c.voters(nil, -1)
	reply := AlterPartitionReply{Partitions: make([]ISRChanged, len(cmd.Partitions))}
	seen := make(map[place]bool, len(cmd.Partitions))
	for i := range cmd.Partitions {
		isr := &cmd.Partitions[i]
		t := c.image.TopicByID(isr.Topic)
		if t == nil {
			reply.Partitions[i].Code = protocol.UnknownTopicID
			continue
		}
		code := c.checkISR(cmd.Broker, t, isr)
		if at := (place{isr.Topic, isr.Partition}); code == protocol.None {
			if seen[at] {
				code = protocol.InvalidUpdateVersion // the first of the two changes the epoch
			}
			seen[at] = true
		}
		if code != protocol.None {
			reply.Partitions[i].Code = code
			continue
		}
		ch := changeOf(&t.Partitions[isr.Partition], c.rulesOf(view, t), all)
		ch.isr = make([]protocol.BrokerID, len(isr.ISR))
		for j, m := range isr.ISR {
			ch.isr[j] = m.ID
		}
		ch.recovering = ch.recovering && !isr.Recovered
		to, changed := ch.build()
		if changed {
			cs.add(t, isr.Partition, &to)
		} else {
			to = *ch.was
		}
		if changed && to.LeaderEpoch != ch.was.LeaderEpoch && to.Leader != cmd.Broker {
			reply.Partitions[i].Code = protocol.NewLeaderElected
			continue
		}
		reply.Partitions[i].Partition = to
	}
	return cs.records(), reply, nil
}

// checkISR says whether a leader may ask for that, with Kafka's answers in Kafka's order.
func (c *Controller) checkISR(leader protocol.BrokerID, t *Topic, ch *ISRChange) protocol.Code {
	if ch.Partition < 0 || int(ch.Partition) >= len(t.Partitions) {
		return protocol.UnknownTopicOrPartition
	}
	p := &t.Partitions[ch.Partition]
	switch {
	case ch.LeaderEpoch > p.LeaderEpoch, ch.Epoch > p.Epoch:
		return protocol.NotController // it has seen more than this controller has
	case ch.LeaderEpoch < p.LeaderEpoch:
		return protocol.FencedLeaderEpoch
	case leader != p.Leader:
		return protocol.InvalidRequest
	case ch.Epoch < p.Epoch:
		return protocol.InvalidUpdateVersion
	}
	leads := false
	for i, m := range ch.ISR {
		if !slices.Contains(p.Replicas, m.ID) || slices.ContainsFunc(ch.ISR[:i], func(o ISRMember) bool { return o.ID == m.ID }) {
			return protocol.InvalidRequest
		}
		leads = leads || m.ID == leader
	}
	if !leads || p.Recovering && !ch.Recovered && len(ch.ISR) > 1 {
		return protocol.InvalidRequest
	}
	for _, m := range ch.ISR {
		b := c.image.Broker(m.ID)
		if b == nil || b.Fenced || b.Stopping || m.Epoch != -1 && m.Epoch != b.Epoch {
			return protocol.IneligibleReplica
		}
	}
	return protocol.None
}
