package assignor

import (
	"slices"

	"moldau.io/moldau/protocol"
)

// kept is target when it has the same partitions as topics, in whatever order, and else topics: Kafka writes down what a
// member is to have only when it changes, so that the order of the last change stays.
func kept(target, topics []Topic) []Topic {
	if same(target, topics) {
		return target
	}
	return topics
}

func same(a, b []Topic) bool {
	if len(a) != len(b) {
		return false
	}
	var at map[protocol.TopicID]int
	for i, t := range a {
		j := i
		if b[i].ID != t.ID {
			if at == nil {
				at = make(map[protocol.TopicID]int, len(b))
				for k := range b {
					at[b[k].ID] = k
				}
			}
			var there bool
			if j, there = at[t.ID]; !there {
				return false
			}
		}
		if !samePartitions(t.Partitions, b[j].Partitions) {
			return false
		}
	}
	return true
}

func samePartitions(a, b []int32) bool {
	if len(a) != len(b) {
		return false
	}
	return slices.Equal(a, b) || slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
