package group

// consumerDescribe takes one group of a ConsumerGroupDescribe.
func (m *Machine) consumerDescribe(t Ticket, r *ConsumerDescribe) {
	g, no := m.existingConsumerGroup(r.Group)
	if no != nil {
		m.reply(t, &ConsumerDescribeResult{Code: no.code, Message: no.message})
		return
	}
	res := &ConsumerDescribeResult{
		State: g.state(), Epoch: g.epoch, AssignmentEpoch: g.targetEpoch, Assignor: m.preferredAssignor(g, nil, nil),
		Reason: g.reason,
	}
	for _, id := range g.memberIDs() {
		mem := g.members[id]
		res.Members = append(res.Members, ConsumerMemberView{
			Member: id, Instance: mem.desc.Instance, Rack: mem.desc.Rack, Epoch: mem.cur.Epoch,
			ClientID: mem.desc.ClientID, ClientHost: mem.desc.ClientHost, Topics: mem.desc.Topics, Regex: mem.desc.Regex,
			Assigned: withoutEpochs(merge(mem.cur.Assigned, mem.cur.Revoking)), Target: g.targets[id],
			Classic: mem.desc.Classic != nil, Software: mem.who().Software,
		})
	}
	m.replyStable(t, res)
}

func withoutEpochs(list []TopicPartitions) []TopicPartitions {
	out := make([]TopicPartitions, len(list))
	for i, t := range list {
		out[i] = TopicPartitions{ID: t.ID, Partitions: t.Partitions}
	}
	return out
}
