package assignor

import "moldau.io/moldau/protocol"

// homogeneous assigns when all members have the same subscription. Each member has a quota; first those that have more
// give partitions back, and then those that have less get the ones that nobody has.
type homogeneous struct {
	group  *Group
	order  []int32 // of the members
	shares []share // by index of the member

	subscribed map[protocol.TopicID]bool
	free       []partition // that nobody has, in the order in which they are given away
	needy      []need
	quota      int // of each member
	extra      int // members that may have one more
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
	if len(sub.ids) == 0 {
		return Assignment{}, nil
	}
	topics := newTable[protocol.TopicID](capacityFor(sub.names))
	h.subscribed = make(map[protocol.TopicID]bool, len(sub.ids))
	for _, id := range sub.ids {
		topics.put(id, hashID(id))
		h.subscribed[id] = true
	}
	total := h.findFree(topics.keys(make([]protocol.TopicID, 0, len(sub.ids))))
	h.quota, h.extra = total/len(h.order), total%len(h.order)
	for at, i := range h.order {
		h.revoke(i, len(h.order)-at)
	}
	if !h.give() {
		return nil, errLeft
	}
	return result(h.group, h.shares), nil
}

// findFree collects the partitions of topics that nobody has and counts all of them.
func (h *homogeneous) findFree(topics []protocol.TopicID) (total int) {
	counts := h.group.partitions()
	taken := make(map[protocol.TopicID][]bool, len(topics))
	for _, id := range topics {
		taken[id] = make([]bool, counts[id])
		total += counts[id]
	}
	for i := range h.group.Members {
		for _, t := range h.group.Members[i].Target {
			of := taken[t.ID]
			for _, p := range t.Partitions {
				if int(p) < len(of) {
					of[p] = true
				}
			}
		}
	}
	for _, id := range topics {
		for p, is := range taken[id] {
			if !is {
				h.free = append(h.free, partition{id, int32(p)})
			}
		}
	}
	return total
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
	for _, at := range targetOrder(s.target) {
		t := s.target[at]
		switch {
		case !h.subscribed[t.ID]:
			s.drop(t.ID)
		case len(t.Partitions) <= quota:
			quota -= len(t.Partitions)
		default:
			for _, p := range partitionOrder(t.Partitions)[quota:] {
				s.remove(t.ID, p)
				h.free = append(h.free, partition{t.ID, p})
			}
			quota = 0
		}
	}
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

// give fills the members up. It says whether nothing is left.
func (h *homogeneous) give() bool {
	free := h.free
	for _, n := range h.needy {
		count := min(n.lacks, len(free))
		for _, p := range free[:count] {
			h.shares[n.member].add(p.id, p.number, bucketsDefault)
		}
		free = free[count:]
	}
	return len(free) == 0
}
