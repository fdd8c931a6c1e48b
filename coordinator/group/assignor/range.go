package assignor

import (
	"slices"

	"moldau.io/moldau/protocol"
)

// Range gives each member one range of each topic that it is subscribed to: the same one of all topics with the same number
// of partitions when all members are subscribed to the same topics, so that partitions of the same number stay together.
// Members with an instance id come first, by that, then the others by member id. What a member had does not count, so a
// member without an instance id that comes or goes may move every range behind it.
func Range(g Group) (Assignment, error) {
	order := make([]int32, len(g.Members))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(a, b int32) int { return compareMembers(&g.Members[a], &g.Members[b]) })

	subs := subscriptions{group: &g}
	ranges := make(map[protocol.TopicID]*ranges, len(g.Topics))
	counts := g.partitions()
	for _, i := range order {
		for _, id := range subs.of(&g.Members[i]).ids {
			if ranges[id] == nil {
				ranges[id] = newRanges(counts[id])
			}
			ranges[id].members++
		}
	}
	result := make(Assignment, len(order))
	for _, i := range order {
		m := &g.Members[i]
		sub := subs.of(m)
		capacity := sub.names
		if g.Homogeneous {
			capacity = len(sub.ids)
		}
		t := newTable[protocol.TopicID](capacityAtLeast(capacity))
		share := make(map[protocol.TopicID][]int32, len(sub.ids))
		for _, id := range sub.ids {
			if p := ranges[id].next(); len(p) > 0 {
				share[id] = p
				t.put(id, hashID(id))
			}
		}
		topics := make([]Topic, 0, len(share))
		for _, id := range t.keys(nil) {
			topics = append(topics, Topic{id, share[id]})
		}
		result[m.ID] = kept(m.Target, topics)
	}
	return result, nil
}

func compareMembers(a, b *Member) int {
	switch {
	case a.Instance != nil && b.Instance != nil:
		return compareStrings(*a.Instance, *b.Instance)
	case a.Instance != nil:
		return -1
	case b.Instance != nil:
		return 1
	}
	return compareStrings(a.ID, b.ID)
}

// ranges deals the partitions of one topic. The first members get one more when they cannot be dealt evenly.
type ranges struct {
	all     []int32 // 0, 1, 2, ...
	members int
	begun   int // members that had theirs
	from    int
}

func newRanges(partitions int) *ranges {
	r := &ranges{all: make([]int32, partitions)}
	for i := range r.all {
		r.all[i] = int32(i)
	}
	return r
}

// next is the range of the next member.
func (r *ranges) next() []int32 {
	n := len(r.all) / r.members
	if r.begun < len(r.all)%r.members {
		n++
	}
	r.begun++
	r.from += n
	return r.all[r.from-n : r.from : r.from]
}
