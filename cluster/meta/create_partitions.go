package meta

import "moldau.io/moldau/protocol"

func (c *Controller) createPartitions(cmd CreatePartitions) ([]Record, Reply, error) {
	var recs []Record
	reply := CreatePartitionsReply{Topics: make([]TopicResult, 0, len(cmd.Topics))}
	seen := make(map[string]bool, len(cmd.Topics))
	total := 0
	for _, more := range cmd.Topics {
		rec, err := c.addPartitions(more, seen)
		seen[more.Name] = true
		if err == nil {
			total += len(rec.Partitions)
			if total > partitionsPerCommand {
				err = protocol.Errorf(protocol.PolicyViolation, "one request creates at most %d partitions", partitionsPerCommand)
			}
		}
		if err == nil {
			recs = append(recs, rec)
		}
		reply.Topics = append(reply.Topics, TopicResult{Name: more.Name, Outcome: OutcomeOf(err)})
	}
	if cmd.ValidateOnly {
		recs = nil
	}
	return recs, reply, nil
}

func (c *Controller) addPartitions(more MorePartitions, seen map[string]bool) (PartitionsRecord, error) {
	none := PartitionsRecord{}
	if seen[more.Name] {
		return none, protocol.Errorf(protocol.InvalidRequest, "topic %q is in the request twice", more.Name)
	}
	t := c.image.Topic(more.Name)
	if t == nil {
		return none, protocol.Errorf(protocol.UnknownTopicOrPartition, "there is no topic %q", more.Name)
	}
	have := int32(len(t.Partitions))
	switch {
	case more.Count == have:
		return none, protocol.Errorf(protocol.InvalidPartitions, "topic %q has %d partitions already", t.Name, have)
	case more.Count < have:
		return none, protocol.Errorf(protocol.InvalidPartitions,
			"topic %q has %d partitions; their number can be raised, not lowered to %d", t.Name, have, more.Count)
	case more.Count-have > partitionsPerCommand:
		return none, protocol.Errorf(protocol.PolicyViolation, "one request creates at most %d partitions", partitionsPerCommand)
	}
	add, factor := int(more.Count-have), len(t.Partitions[0].Replicas)
	rec := PartitionsRecord{Topic: t.ID, First: have}
	if more.Assigned {
		if len(more.Assignments) != add {
			return none, protocol.Errorf(protocol.InvalidReplicaAssignment,
				"%d partitions are to be added and %d are assigned", add, len(more.Assignments))
		}
		for i, replicas := range more.Assignments {
			p, err := c.placeByHand(have+int32(i), replicas)
			if err != nil {
				return none, err
			}
			if len(replicas) != factor {
				return none, protocol.Errorf(protocol.InvalidReplicaAssignment,
					"partition %d has %d replicas, the topic has %d", have+int32(i), len(replicas), factor)
			}
			rec.Partitions = append(rec.Partitions, p)
		}
		return rec, nil
	}
	ps, err := c.place(add, factor)
	rec.Partitions = ps
	return rec, err
}
