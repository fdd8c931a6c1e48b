package group

// offsets are the committed offsets of one group, of whatever type, by topic and partition.
type offsets map[string]map[int32]*Commit

// of is the committed offset of a partition, nil if there is none.
func (o offsets) of(topic string, partition int32) *Commit { return o[topic][partition] }

// allOffsets are those of all groups, by group id; a group without any is not there. Only Apply changes them.
type allOffsets map[string]offsets

func (a allOffsets) any(group string) bool { return len(a[group]) > 0 }

// set says whether the group had no offsets before, and whether the partition had none.
func (a allOffsets) set(group, topic string, partition int32, c *Commit) (newGroup, isNew bool) {
	of := a[group]
	if of == nil {
		newGroup = true
		of = offsets{}
		a[group] = of
	}
	partitions := of[topic]
	if partitions == nil {
		partitions = map[int32]*Commit{}
		of[topic] = partitions
	}
	before := len(partitions)
	partitions[partition] = c
	return newGroup, len(partitions) > before
}

// remove says whether there was an offset, and whether it was the group's last.
func (a allOffsets) remove(group, topic string, partition int32) (was, last bool) {
	of := a[group]
	if of == nil {
		return false, false
	}
	before := len(of[topic])
	delete(of[topic], partition)
	was = len(of[topic]) < before
	if len(of[topic]) == 0 {
		delete(of, topic)
	}
	if len(of) == 0 {
		delete(a, group)
	}
	return was, len(of) == 0
}

func (m *Machine) setOffset(group, topic string, partition int32, c *Commit) {
	newGroup, isNew := m.offsets.set(group, topic, partition, c)
	if isNew {
		m.committers.total++
	}
	if newGroup {
		m.committers.added = append(m.committers.added, group)
	}
}

func (m *Machine) removeOffset(group, topic string, partition int32) {
	was, last := m.offsets.remove(group, topic, partition)
	if was {
		m.committers.total--
	}
	if last {
		m.committers.gone++
	}
}
