package assignor

import (
	"math/bits"
	"slices"
)

// memberOrder is the order, as indexes, in which Kafka's uniform assignor takes the members: that of a map that was filled
// from the group's table of members.
func (g *Group) memberOrder() []int32 {
	var t table[int32]
	t.expect(len(g.Members))
	t.compare = func(a, b int32) int { return compareStrings(g.Members[a].ID, g.Members[b].ID) }
	t.reset(bucketsDefault)
	hashes := make([]uint32, len(g.Members))
	for i := range g.Members {
		hashes[i] = hashString(g.Members[i].ID)
	}
	for _, i := range g.stored(hashes) {
		t.put(i, hashes[i])
	}
	return t.keys(make([]int32, 0, len(g.Members)))
}

// stored is the order in which Kafka walks through a group's own table of members: by the first bits of a product, and of
// equal ones the last that came is first. A member that is joining is not in the table and comes last.
func (g *Group) stored(hashes []uint32) []int32 {
	inside := len(g.Members)
	if g.Joining {
		inside--
	}
	slots := 2
	for 4*slots < 3*(max(inside, g.Peak)+1) {
		slots *= 2
	}
	shift := 64 - bits.TrailingZeros(uint(slots))
	slot := func(i int) int { return int(uint64(int64(int32(hashes[i]))) * 0x9e3779b97f4a7c15 >> shift) }
	ends := make([]int32, slots)
	for i := range inside {
		ends[slot(i)]++
	}
	at := int32(0)
	for s, n := range ends {
		at += n
		ends[s] = at - n
	}
	order := make([]int32, len(g.Members))
	for i := inside - 1; i >= 0; i-- {
		s := slot(i)
		order[ends[s]] = int32(i)
		ends[s]++
	}
	if g.Joining {
		order[inside] = int32(inside)
	}
	return order
}

// subscription is what a member is subscribed to, in the order of Kafka's sets.
type subscription struct {
	names int // with those that are not there
	infos []TopicInfo
}

// subscriptions knows the last one that it worked out: many members have the same.
type subscriptions struct {
	group *Group
	last  *Member
	sub   subscription
}

func (s *subscriptions) of(m *Member) subscription {
	if s.last != nil && sameSubscription(s.last, m) {
		return s.sub
	}
	names := union(m.Names, m.Matched)
	sub := subscription{len(names), make([]TopicInfo, 0, len(names))}
	for _, name := range names {
		if info, ok := s.group.Topics[name]; ok {
			sub.infos = append(sub.infos, info)
		}
	}
	s.last, s.sub = m, sub
	return sub
}

func sameSubscription(a, b *Member) bool {
	return slices.Equal(a.Names, b.Names) && slices.Equal(a.Matched, b.Matched)
}

// union goes through the larger set and then through what only the smaller has.
func union(names, matched []string) []string {
	large, small := matched, names
	if len(names) > len(matched) {
		large, small = names, matched
	}
	all := setOrder(large)
	for _, name := range setOrder(small) {
		if _, both := slices.BinarySearch(large, name); !both {
			all = append(all, name)
		}
	}
	return all
}

// setOrder is the order of a set of names that was made from a list.
func setOrder(names []string) []string {
	t := newTable[string](capacityFor(len(names)))
	t.compare = compareStrings
	for _, name := range names {
		t.put(name, hashString(name))
	}
	return t.keys(make([]string, 0, len(names)))
}
