package assignor

import (
	"slices"

	"moldau.io/moldau/protocol"
)

// homogeneous assigns when all members have the same subscription. Each member has a quota; first those that have more
// give partitions back, and then those that have less get the ones that nobody has.
type homogeneous struct {
	group  *Group
	order  []int32 // of the members
	shares []share // by index of the member
	topics topics  // in the order in which Kafka takes them

	free  []partition // that nobody has, in the order in which they are given away
	moves []move      // of all members; each has a part of it
	needy []need
	quota int // of each member
	extra int // members that may have one more

	// For looking at one target.
	inTarget, inSet table[int32]
}

// need is a member that has less than its quota.
type need struct {
	member int32
	lacks  int
}

func newHomogeneous(g *Group) *homogeneous {
	h := &homogeneous{group: g, order: g.memberOrder(), shares: make([]share, len(g.Members))}
	for i := range g.Members {
		h.shares[i].target = g.Members[i].Target
	}
	return h
}

func (h *homogeneous) assign() (Assignment, error) {
	subs := subscriptions{group: h.group}
	sub := subs.of(&h.group.Members[h.order[0]])
	if len(sub.infos) == 0 {
		return Assignment{}, nil
	}
	order := newTable[int32](capacityFor(sub.names))
	order.compare = func(a, b int32) int { return compareIDs(sub.infos[a].ID, sub.infos[b].ID) }
	for i, info := range sub.infos {
		order.put(int32(i), hashID(info.ID))
	}
	h.topics = newTopics(len(sub.infos))
	total := 0
	for at := range order.walk {
		h.topics.add(sub.infos[order.nodes[at].key])
		total += sub.infos[order.nodes[at].key].Partitions
	}
	h.findFree(total)
	h.quota, h.extra = total/len(h.order), total%len(h.order)
	for at, i := range h.order {
		h.revoke(i, len(h.order)-at)
	}
	if !h.give() {
		return nil, errLeft
	}
	lists := shares{
		topics:      &h.topics,
		setCapacity: func(int32) int { return bucketsDefault },
		subscribed:  func(_ int, id protocol.TopicID) bool { return h.topics.index(id) != none },
		inTurn:      true,
	}
	return lists.all(h.group, h.shares), nil
}

// findFree collects the partitions of topics that nobody has.
func (h *homogeneous) findFree(total int) {
	flags := make([]bool, total)
	taken := make([][]bool, len(h.topics.all))
	for i, t := range h.topics.all {
		taken[i], flags = flags[:t.partitions], flags[t.partitions:]
	}
	had := 0
	for i := range h.group.Members {
		for _, t := range h.group.Members[i].Target {
			at := h.topics.index(t.ID)
			if at == none {
				continue
			}
			for _, p := range t.Partitions {
				if p >= 0 && int(p) < len(taken[at]) {
					taken[at][p] = true
					had++
				}
			}
		}
	}
	h.free = make([]partition, 0, max(total-had, 0))
	for i, of := range taken {
		for p, is := range of {
			if !is {
				h.free = append(h.free, partition{int32(i), int32(p)})
			}
		}
	}
}

// revoke takes from a member what is beyond its quota, and what it is not subscribed to any more. The first members that
// have enough for it keep one more than the quota; the last, of which there are as many as may still have one more, get it
// in any case. left is the number of members that are still to be looked at, with this one.
func (h *homogeneous) revoke(member int32, left int) {
	s := &h.shares[member]
	quota, extra := h.quota, h.extra > 0
	if extra {
		quota++
	}
	has := 0
	for _, t := range s.target {
		if h.topics.index(t.ID) == none {
			s.drops = true
		} else {
			has += len(t.Partitions)
		}
	}
	if has > quota {
		h.take(s, quota)
	}
	quota = max(quota-has, 0)
	if quota > 0 && extra && left > h.extra {
		quota--
		extra = false
	}
	if quota > 0 {
		h.needy = append(h.needy, need{member, quota})
	}
	if extra {
		h.extra--
	}
}

// take leaves a member the first partitions of its target, as many as the quota.
func (h *homogeneous) take(s *share, quota int) {
	from := len(h.moves)
	for _, i := range targetOrder(&h.inTarget, s.target) {
		t := s.target[i]
		at := h.topics.index(t.ID)
		switch {
		case at == none:
		case len(t.Partitions) <= quota:
			quota -= len(t.Partitions)
		default:
			order := partitionOrder(&h.inSet, t.Partitions)
			for _, p := range order[min(quota, len(order)):] {
				h.moves = append(h.moves, move{partition{at, p}, true})
				h.free = append(h.free, partition{at, p})
			}
			quota = 0
		}
	}
	s.moves = h.moves[from:]
}

// give fills the members up. It says whether nothing is left.
func (h *homogeneous) give() bool {
	free := h.free
	h.moves = slices.Grow(h.moves, len(free))
	for _, n := range h.needy {
		from := len(h.moves)
		count := min(n.lacks, len(free))
		for _, p := range free[:count] {
			h.moves = append(h.moves, move{p, false})
		}
		h.shares[n.member].moves = h.moves[from:]
		free = free[count:]
	}
	return len(free) == 0
}
