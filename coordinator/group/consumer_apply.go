package group

import (
	"bytes"
	"slices"
)

// applyConsumer takes a record of a consumer group. Records of one group may come in any order that compaction leaves, so
// each makes what it needs, and a tombstone of what is not there means nothing.
func (m *Machine) applyConsumer(r Record) {
	if r.Value == nil {
		if g := m.consumers[r.Group]; g != nil {
			m.applyConsumerTombstone(g, r)
		}
		return
	}
	m.consumerGroupOf(r.Group).take(r)
}

// take makes what a record says part of the group.
func (g *consumerGroup) take(r Record) {
	switch v := r.Value.(type) {
	case *Epoch:
		g.epoch, g.metadataHash = v.Epoch, v.MetadataHash
	case *Target:
		g.setTargetEpoch(v.Epoch, v.Timestamp)
	case *MemberTarget:
		g.targets[r.Name] = v.Topics // in this order, which matters to the next assignment
	case *Member:
		_, cur := g.valuesOf(r.Name)
		g.setMember(r.Name, v, cur)
	case *Current:
		desc, _ := g.valuesOf(r.Name)
		g.setMember(r.Name, desc, v.normal())
	case *Regex:
		g.setRegex(r.Name, v)
	case *Partitions: // of an older Kafka; what it says is not needed any more
	}
}

// consumerGroupOf is the group that a record is about. The classic group of that id has no members: its place is taken.
func (m *Machine) consumerGroupOf(id string) *consumerGroup {
	if g := m.consumers[id]; g != nil {
		return g
	}
	if old := m.groups[id]; old != nil {
		old.silence()
		delete(m.groups, id)
	}
	g := m.making
	if !m.live || g == nil || g.id != id {
		g = newConsumerGroup(id)
	}
	m.consumers[id] = g
	return g
}

// valuesOf is what is known of a member.
func (g *consumerGroup) valuesOf(id string) (*Member, *Current) {
	if mem := g.members[id]; mem != nil {
		return mem.desc, mem.cur
	}
	return newcomer()
}

func (m *Machine) applyConsumerTombstone(g *consumerGroup, r Record) {
	switch r.Kind {
	case KindEpoch:
		for id := range g.members {
			g.setMember(id, nil, nil)
		}
		for _, a := range g.alarms {
			a.off()
		}
		delete(m.consumers, r.Group)
		// Offsets that are still there have not been removed by anyone; a group lives on that only stores them.
		if m.groups[r.Group] == nil && (m.offsets.any(r.Group) || m.pending.any(r.Group)) {
			m.groups[r.Group] = newGroup(r.Group)
		}
	case KindTarget:
		g.setTargetEpoch(-1, 0)
	case KindMemberTarget:
		delete(g.targets, r.Name)
	case KindMember:
		g.setMember(r.Name, nil, nil)
	case KindCurrent:
		if mem := g.members[r.Name]; mem != nil {
			g.setMember(r.Name, mem.desc, &Current{Epoch: leaveEpoch, PreviousEpoch: leaveEpoch, State: mem.cur.State})
		}
	case KindRegex:
		g.setRegex(r.Name, nil)
	}
}

// silence keeps the alarms of a classic group that goes away from ringing.
func (g *group) silence() {
	for _, p := range g.pending {
		p.alarm.off()
	}
	for _, mem := range g.members {
		mem.alarm.off()
	}
	g.joinAlarm.off()
	g.syncAlarm.off()
}

// normal is c with all lists sorted and with an epoch for each partition: records of before KIP-1251 have none, and then
// the member's own stands for them.
func (c *Current) normal() *Current {
	if isNormal(c.Assigned) && isNormal(c.Revoking) {
		return c
	}
	n := *c
	n.Assigned, n.Revoking = normal(c.Assigned, c.Epoch), normal(c.Revoking, c.Epoch)
	return &n
}

func isNormal(list []TopicPartitions) bool {
	for i, t := range list {
		if len(t.Epochs) != len(t.Partitions) || !slices.IsSorted(t.Partitions) {
			return false
		}
		if i > 0 && bytes.Compare(list[i-1].ID[:], t.ID[:]) >= 0 {
			return false
		}
	}
	return true
}

func normal(list []TopicPartitions, epoch int32) []TopicPartitions {
	out := make([]TopicPartitions, 0, len(list))
	for _, t := range list {
		if len(t.Epochs) != len(t.Partitions) {
			t.Epochs = make([]int32, len(t.Partitions))
			for i := range t.Epochs {
				t.Epochs[i] = max(epoch, 0)
			}
		}
		order := make([]int, len(t.Partitions))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(a, b int) int { return int(t.Partitions[a]) - int(t.Partitions[b]) })
		n := TopicPartitions{ID: t.ID}
		for _, i := range order {
			n.Partitions, n.Epochs = append(n.Partitions, t.Partitions[i]), append(n.Epochs, t.Epochs[i])
		}
		out = append(out, n)
	}
	return sorted(out)
}

// sorted is list by topic id, with the partitions of each ascending. Kafka writes them in the order of its hash tables.
func sorted(list []TopicPartitions) []TopicPartitions {
	byID := func(a, b TopicPartitions) int { return bytes.Compare(a.ID[:], b.ID[:]) }
	ok := slices.IsSortedFunc(list, byID)
	for _, t := range list {
		ok = ok && (t.Epochs != nil || slices.IsSorted(t.Partitions))
	}
	if ok {
		return list
	}
	out := slices.Clone(list)
	slices.SortStableFunc(out, byID)
	for i := range out {
		if t := &out[i]; t.Epochs == nil && !slices.IsSorted(t.Partitions) {
			t.Partitions = slices.Sorted(slices.Values(t.Partitions))
		}
	}
	return out
}
