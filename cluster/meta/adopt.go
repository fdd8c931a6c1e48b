package meta

import (
	"maps"
	"slices"
	"strings"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/protocol"
)

func (c *Controller) adopt(cmd Adopt) ([]Record, Reply, error) {
	var recs []Record
	switch have := c.image.ClusterID(); {
	case have == "":
		boot, _, err := c.bootstrap(Bootstrap{ClusterID: cmd.ClusterID, Features: cmd.Features})
		if err != nil {
			return nil, nil, err
		}
		recs = boot
	case have != cmd.ClusterID:
		return nil, nil, protocol.Errorf(protocol.InconsistentClusterID, "the cluster is %s, what is to be adopted comes from %s",
			have, cmd.ClusterID)
	}
	for _, id := range cmd.Removed {
		if c.image.TopicByID(id) != nil {
			recs = append(recs, RemoveTopicRecord{Topic: id})
		}
	}
	for _, t := range cmd.Topics {
		more, err := c.adoptTopic(t, cmd.Removed)
		if err != nil {
			return nil, nil, err
		}
		recs = append(recs, more...)
	}
	var reply AdoptReply
	for _, set := range cmd.Configs {
		recs = append(recs, c.adoptConfigs(set, cmd.Topics, &reply)...)
	}
	if cmd.NextProducerID > c.image.NextProducerID() {
		recs = append(recs, ProducerIDsRecord{Next: cmd.NextProducerID})
	}
	return recs, reply, nil
}

// adoptTopic makes a topic, or brings one that was adopted before up to what it has become since.
func (c *Controller) adoptTopic(t Topic, removed []protocol.TopicID) ([]Record, error) {
	if err := CheckTopicName(t.Name); err != nil {
		return nil, err
	}
	have := c.image.TopicByID(t.ID)
	if have == nil {
		var recs []Record
		if other := c.image.Topic(t.Name); other != nil && !slices.Contains(removed, other.ID) {
			recs = append(recs, RemoveTopicRecord{Topic: other.ID})
		}
		return append(recs, TopicRecord{Name: t.Name, ID: t.ID}, PartitionsRecord{Topic: t.ID, Partitions: t.Partitions}), nil
	}
	if have.Name != t.Name || len(t.Partitions) < len(have.Partitions) {
		return nil, protocol.Errorf(protocol.InvalidRequest, "topic %s is called %q and has %d partitions; it cannot become %q "+
			"with %d", t.ID, have.Name, len(have.Partitions), t.Name, len(t.Partitions))
	}
	now := slices.Clone(t.Partitions)
	changed := len(now) > len(have.Partitions)
	for i, old := range have.Partitions {
		if now[i].LeaderEpoch <= old.LeaderEpoch {
			now[i] = old
			continue
		}
		now[i].Epoch = max(now[i].Epoch, old.Epoch+1)
		changed = true
	}
	if !changed {
		return nil, nil
	}
	// Partitions that stay as they are would be refused, since a record of a partition raises its epoch.
	var recs []Record
	for i, p := range now {
		if i >= len(have.Partitions) || p.LeaderEpoch != have.Partitions[i].LeaderEpoch {
			recs = append(recs, PartitionsRecord{Topic: t.ID, First: int32(i), Partitions: []Partition{p}})
		}
	}
	return recs, nil
}

// adoptConfigs sets what one resource is to have, key by key: what is not allowed here is left out and named in reply.
// moldau's own keys, which nobody else can have set, stay.
func (c *Controller) adoptConfigs(set AdoptedConfigs, topics []Topic, reply *AdoptReply) []Record {
	if set.Resource.Type == config.TopicResource &&
		!slices.ContainsFunc(topics, func(t Topic) bool { return t.Name == set.Resource.Name }) {
		return nil
	}
	next := map[string]string{}
	for _, k := range slices.Sorted(maps.Keys(set.Values)) {
		if err := c.checkConfigs(set.Resource, map[string]string{k: set.Values[k]}); err != nil {
			reply.Refused = append(reply.Refused, RefusedConfig{set.Resource, k, OutcomeOf(err)})
			continue
		}
		next[k] = set.Values[k]
	}
	if err := c.checkConfigs(set.Resource, next); err != nil {
		reply.Refused = append(reply.Refused, RefusedConfig{set.Resource, "", OutcomeOf(err)})
		return nil
	}
	now := c.image.Configs(set.Resource.Type, set.Resource.Name)
	var recs []Record
	for _, k := range slices.Sorted(maps.Keys(now)) {
		if _, ok := next[k]; !ok && !strings.HasPrefix(k, "moldau.") {
			recs = append(recs, ConfigRecord{Resource: set.Resource, Key: k})
		}
	}
	for _, k := range slices.Sorted(maps.Keys(next)) {
		if v := next[k]; now[k] != v || now == nil {
			recs = append(recs, ConfigRecord{Resource: set.Resource, Key: k, Value: &v})
		}
	}
	return recs
}
