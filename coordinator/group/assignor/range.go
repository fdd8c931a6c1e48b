package assignor

import (
	"cmp"
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
	slices.SortFunc(order, func(a, b int32) int { return compareMembers(&g.Members[a], &g.Members[b]) })

	r := newRanges(&g)
	for _, i := range order {
		for _, t := range r.of(&g.Members[i]).all {
			t.members++
		}
	}
	a := make(Assignment, len(order))
	for _, i := range order {
		m := &g.Members[i]
		a[m.ID] = kept(m.Target, r.next(r.of(m)))
	}
	return a, nil
}

func compareMembers(a, b *Member) int {
	switch {
	case a.Instance != nil && b.Instance != nil:
		return cmp.Or(compareStrings(*a.Instance, *b.Instance), compareStrings(a.ID, b.ID))
	case a.Instance != nil:
		return -1
	case b.Instance != nil:
		return 1
	}
	return compareStrings(a.ID, b.ID)
}

// ranges deals topics to members.
type ranges struct {
	group  *Group
	subs   subscriptions
	topics map[protocol.TopicID]*dealt
	walk   *walk   // of the subscription that was looked at last
	last   *Member // that had it
	list   []Topic // what is left of a larger list
	order  table[*dealt]
}

// dealt is a topic, of which members get one range after the other. The first get one more when they cannot be dealt
// evenly.
type dealt struct {
	id      protocol.TopicID
	hash    uint32
	all     []int32 // 0, 1, 2, ...
	members int
	begun   int // members that had theirs
	from    int
}

// walk is the topics of one subscription.
type walk struct {
	all      []*dealt
	capacity int
	// left are those of which there are partitions left, in the order in which a member's map has them. It is not kept when
	// so many are in one bucket that the order depends on which of them the member gets.
	left    []*dealt
	crowded bool
}

func newRanges(g *Group) *ranges {
	r := &ranges{group: g, subs: subscriptions{group: g}, topics: make(map[protocol.TopicID]*dealt, len(g.Topics))}
	r.order.compare = func(a, b *dealt) int { return compareIDs(a.id, b.id) }
	return r
}

// of is the walk of a member. When all members have the same subscription it is that of the first.
func (r *ranges) of(m *Member) *walk {
	if r.walk != nil && (r.group.Homogeneous || m == r.last || sameSubscription(m, r.last)) {
		return r.walk
	}
	sub := r.subs.of(m)
	w := &walk{capacity: capacityAtLeast(sub.names)}
	if r.group.Homogeneous {
		w.capacity = capacityAtLeast(len(sub.infos))
	}
	r.order.reset(w.capacity)
	for _, info := range sub.infos {
		t := r.topics[info.ID]
		if t == nil {
			t = newDealt(info)
			r.topics[info.ID] = t
		}
		w.all = append(w.all, t)
		r.order.put(t, t.hash)
	}
	w.left = r.order.keys(make([]*dealt, 0, len(w.all)))
	w.crowded = r.order.wasCrowded
	r.walk, r.last = w, m
	return w
}

func newDealt(info TopicInfo) *dealt {
	t := &dealt{id: info.ID, hash: hashID(info.ID), all: make([]int32, info.Partitions)}
	for i := range t.all {
		t.all[i] = int32(i)
	}
	return t
}

// next is what the next member gets.
func (r *ranges) next(w *walk) []Topic {
	if w.crowded {
		return r.nextCrowded(w)
	}
	if cap(r.list)-len(r.list) < len(w.left) {
		r.list = make([]Topic, 0, max(min(chunkMax, 2*len(r.group.Members)), len(w.left)))
	}
	from, left := len(r.list), 0
	for _, t := range w.left {
		if p := t.next(); len(p) > 0 {
			r.list = append(r.list, Topic{t.id, p})
		}
		if t.from < len(t.all) {
			w.left[left] = t
			left++
		}
	}
	w.left = w.left[:left]
	return slices.Clip(r.list[from:])
}

func (r *ranges) nextCrowded(w *walk) []Topic {
	share := make(map[*dealt][]int32, len(w.all))
	r.order.reset(w.capacity)
	for _, t := range w.all {
		if p := t.next(); len(p) > 0 {
			share[t] = p
			r.order.put(t, t.hash)
		}
	}
	list := make([]Topic, 0, len(share))
	for _, t := range r.order.keys(nil) {
		list = append(list, Topic{t.id, share[t]})
	}
	return list
}

// next is the range of the next member.
func (t *dealt) next() []int32 {
	n := len(t.all) / t.members
	if t.begun < len(t.all)%t.members {
		n++
	}
	t.begun++
	t.from += n
	return t.all[t.from-n : t.from : t.from]
}
