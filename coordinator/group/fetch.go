package group

import (
	"maps"
	"slices"

	"moldau.io/moldau/protocol"
)

// fetchOffsets takes one group of an OffsetFetch. What is not committed has offset -1 and no error, and so has everything
// of a group that does not exist.
func (m *Machine) fetchOffsets(t Ticket, r *FetchOffsets) {
	if g := m.consumers[r.Group]; g != nil {
		if code := g.mayFetch(r); code != protocol.None {
			m.reply(t, r.Refuse(code))
			return
		}
	}
	committed := m.offsets[r.Group]
	res := &FetchResult{}
	if r.All {
		res.Topics = committed.fetched()
	} else {
		res.Topics = make([]FetchedTopic, 0, len(r.Topics))
		for _, topic := range r.Topics {
			out := FetchedTopic{
				Topic: topic.Topic, TopicID: topic.TopicID, Partitions: make([]FetchedPartition, len(topic.Partitions)),
			}
			for i, p := range topic.Partitions {
				c := committed.of(topic.Topic, p)
				if c != nil && !topic.TopicID.IsZero() && !c.TopicID.IsZero() && c.TopicID != topic.TopicID {
					c = nil // of an earlier topic of that name
				}
				out.Partitions[i] = fetched(p, c)
			}
			res.Topics = append(res.Topics, out)
		}
	}
	if r.Stable {
		m.hideUnstable(r.Group, res.Topics)
	}
	m.replyStable(t, res)
}

// hideUnstable replaces the offsets that open transactions may change by an error. The client asks again.
func (m *Machine) hideUnstable(group string, topics []FetchedTopic) {
	for _, topic := range topics {
		for i, p := range topic.Partitions {
			if m.pending.unstable(group, topic.Topic, p.Partition) {
				hidden := fetched(p.Partition, nil)
				hidden.Code = protocol.UnstableOffsetCommit
				topic.Partitions[i] = hidden
			}
		}
	}
}

// fetched is all of them, sorted.
func (o offsets) fetched() []FetchedTopic {
	var all []FetchedTopic
	for _, topic := range slices.Sorted(maps.Keys(o)) {
		out := FetchedTopic{Topic: topic}
		for _, p := range slices.Sorted(maps.Keys(o[topic])) {
			c := o[topic][p]
			out.Partitions = append(out.Partitions, fetched(p, c))
			out.TopicID = c.TopicID
		}
		all = append(all, out)
	}
	return all
}

func fetched(p int32, c *Commit) FetchedPartition {
	if c == nil {
		return FetchedPartition{Partition: p, Offset: -1, LeaderEpoch: -1}
	}
	return FetchedPartition{Partition: p, Offset: c.Offset, LeaderEpoch: c.LeaderEpoch, Metadata: c.Metadata}
}
