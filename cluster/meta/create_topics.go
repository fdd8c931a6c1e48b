package meta

import (
	"encoding/binary"
	"slices"

	"moldau.io/moldau/protocol"
)

// partitionsPerCommand bounds what one request may create (Kafka's MAX_PARTITIONS_PER_BATCH), which bounds the size of a log
// entry and the time during which nobody else is served.
const partitionsPerCommand = 10_000

func (c *Controller) createTopics(cmd CreateTopics) ([]Record, Reply, error) {
	var recs []Record
	reply := CreateTopicsReply{Topics: make([]CreatedTopic, 0, len(cmd.Topics))}
	seen := make(map[string]bool, len(cmd.Topics))
	tooMany := c.checkTotal(cmd)
	for _, nt := range cmd.Topics {
		made, created, err := []Record(nil), CreatedTopic{}, tooMany
		if err == nil {
			made, created, err = c.createTopic(nt, seen)
		}
		if err != nil {
			reply.Topics = append(reply.Topics, CreatedTopic{Name: nt.Name, Outcome: OutcomeOf(err)})
			continue
		}
		reply.Topics = append(reply.Topics, created)
		recs = append(recs, made...)
	}
	if cmd.ValidateOnly {
		recs = nil
	}
	return recs, reply, nil
}

// checkTotal refuses a command that asks for too much, whatever else may be wrong with it.
func (c *Controller) checkTotal(cmd CreateTopics) error {
	total := int64(0)
	for _, nt := range cmd.Topics {
		switch {
		case len(nt.Assignments) > 0:
			total += int64(len(nt.Assignments))
		case nt.Partitions == -1:
			total += int64(c.cfg.Partitions)
		case nt.Partitions > 0:
			total += int64(nt.Partitions)
		}
	}
	if total > partitionsPerCommand {
		return protocol.Errorf(protocol.PolicyViolation, "one request creates at most %d partitions, not %d",
			partitionsPerCommand, total)
	}
	return nil
}

func (c *Controller) createTopic(nt NewTopic, seen map[string]bool) ([]Record, CreatedTopic, error) {
	if err := c.checkNewName(nt.Name, seen); err != nil {
		return nil, CreatedTopic{}, err
	}
	seen[nt.Name] = true
	configs, err := c.newTopicConfigs(nt.Configs)
	if err != nil {
		return nil, CreatedTopic{}, err
	}
	partitions, err := c.newPartitions(nt)
	if err != nil {
		return nil, CreatedTopic{}, err
	}
	id := c.newTopicID()
	recs := []Record{TopicRecord{Name: nt.Name, ID: id}, PartitionsRecord{Topic: id, Partitions: partitions}}
	for _, p := range nt.Configs {
		recs = append(recs, ConfigRecord{Resource: topicResource(nt.Name), Key: p.Key, Value: p.Value})
	}
	return recs, CreatedTopic{
		Name: nt.Name, ID: id, Partitions: int32(len(partitions)),
		ReplicationFactor: int16(len(partitions[0].Replicas)), Configs: configs,
	}, nil
}

func (c *Controller) checkNewName(name string, seen map[string]bool) error {
	if name == metadataTopic {
		return protocol.Errorf(protocol.InvalidRequest, "a topic cannot be called %s", metadataTopic)
	}
	if err := CheckTopicName(name); err != nil {
		return err
	}
	if seen[name] {
		return protocol.Errorf(protocol.InvalidRequest, "topic %q is in the request twice", name)
	}
	if c.image.Topic(name) != nil {
		return protocol.Errorf(protocol.TopicAlreadyExists, "topic %q already exists", name)
	}
	// Two that come in one command may collide with each other, as in Apache Kafka.
	if key, ok := collisionKey(name); ok && len(c.collisions[key]) > 0 {
		return protocol.Errorf(protocol.InvalidTopicException,
			"topic %q differs from topic %q in '.' and '_' only, which metrics cannot tell apart", name, c.collisions[key][0])
	}
	return nil
}

func (c *Controller) newPartitions(nt NewTopic) ([]Partition, error) {
	if len(nt.Assignments) > 0 {
		return c.assignedPartitions(nt)
	}
	count, factor := nt.Partitions, nt.ReplicationFactor
	switch {
	case count == -1:
		count = c.cfg.Partitions
	case count < 1:
		return nil, protocol.Errorf(protocol.InvalidPartitions, "a topic has at least one partition, not %d", count)
	}
	switch {
	case factor == -1:
		factor = c.cfg.ReplicationFactor
	case factor < 1:
		return nil, protocol.Errorf(protocol.InvalidReplicationFactor, "a partition has at least one replica, not %d", factor)
	}
	return c.place(int(count), int(factor))
}

func (c *Controller) assignedPartitions(nt NewTopic) ([]Partition, error) {
	if nt.Partitions != -1 || nt.ReplicationFactor != -1 {
		return nil, protocol.Errorf(protocol.InvalidRequest,
			"partition count and replication factor must both be -1 where replicas are assigned by hand")
	}
	as := slices.Clone(nt.Assignments)
	slices.SortStableFunc(as, func(a, b Assignment) int { return int(a.Partition) - int(b.Partition) })
	ps := make([]Partition, len(as))
	for i, a := range as {
		if a.Partition != int32(i) {
			return nil, protocol.Errorf(protocol.InvalidReplicaAssignment,
				"partitions must be assigned from 0 on, each once and without gaps: expected %d, got %d", i, a.Partition)
		}
		p, err := c.placeByHand(a.Partition, a.Replicas)
		if err != nil {
			return nil, err
		}
		if len(a.Replicas) != len(as[0].Replicas) {
			return nil, protocol.Errorf(protocol.InvalidReplicaAssignment,
				"partition %d has %d replicas, partition 0 has %d", i, len(a.Replicas), len(as[0].Replicas))
		}
		ps[i] = p
	}
	return ps, nil
}

// newTopicID draws an id that is not in use and that a command line does not take for a flag.
func (c *Controller) newTopicID() protocol.TopicID {
	for {
		var id protocol.TopicID
		binary.BigEndian.PutUint64(id[:8], c.cfg.Random.Uint64())
		binary.BigEndian.PutUint64(id[8:], c.cfg.Random.Uint64())
		id[6] = id[6]&0x0f | 0x40 // a version 4 UUID, as Kafka's are
		id[8] = id[8]&0x3f | 0x80
		if id.String()[0] != '-' && c.image.TopicByID(id) == nil {
			return id
		}
	}
}
