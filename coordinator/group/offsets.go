package group

// offsets are the committed offsets of one group, of whatever type, by topic and partition.
type offsets map[string]map[int32]*Commit

// of is the committed offset of a partition, nil if there is none.
func (o offsets) of(topic string, partition int32) *Commit { return o[topic][partition] }

// allOffsets are those of all groups, by group id; a group without any is not there. Only Apply changes them.
type allOffsets map[string]offsets

func (a allOffsets) any(group string) bool { return len(a[group]) > 0 }

func (a allOffsets) set(group, topic string, partition int32, c *Commit) {
	of := a[group]
	if of == nil {
		of = offsets{}
		a[group] = of
	}
	partitions := of[topic]
	if partitions == nil {
		partitions = map[int32]*Commit{}
		of[topic] = partitions
	}
	partitions[partition] = c
}

func (a allOffsets) remove(group, topic string, partition int32) {
	of := a[group]
	delete(of[topic], partition)
	if len(of[topic]) == 0 {
		delete(of, topic)
	}
	if len(of) == 0 {
		delete(a, group)
	}
}
