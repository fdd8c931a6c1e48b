package assignor

import (
	"cmp"
	"slices"

	"moldau.io/moldau/protocol"
)

// heterogeneous assigns when subscriptions differ. Partitions that nobody has go to the subscriber that has least, topic by
// topic, and then partitions move from the subscriber of a topic that has most to the one that has least.
//
// Members are numbered in the order in which Kafka takes them.
type heterogeneous struct {
	group  *Group
	order  []int32 // index of the member by its number
	shares []share // by index of the member
	topics []*topic
	byID   map[protocol.TopicID]*topic
	scale  scale

	// Of the topic that is being balanced: its partitions by owner, and where in that list those of a member are that it had
	// before, by its number.
	sorted     []int32
	first, end []int32
}

// topic is one that somebody is subscribed to.
type topic struct {
	id          protocol.TopicID
	subscribers []int32 // numbers, ascending
	owners      []int32 // numbers, by partition; none
}

// roundsMax is how often all topics are gone through to balance them.
const roundsMax = 16

func newHeterogeneous(g *Group) *heterogeneous {
	n := len(g.Members)
	h := &heterogeneous{group: g, order: g.memberOrder(), shares: make([]share, n),
		byID: make(map[protocol.TopicID]*topic, len(g.Topics))}
	for i := range g.Members {
		h.shares[i].target = g.Members[i].Target
	}
	h.scale.sizes = make([]int32, n)
	return h
}

func (h *heterogeneous) assign() (Assignment, error) {
	h.subscribe()
	slices.SortFunc(h.topics, compareTopics)
	if len(h.topics) == 0 {
		return Assignment{}, nil
	}
	if err := h.keep(); err != nil {
		return nil, err
	}
	for _, t := range h.topics {
		h.give(t)
	}
	h.balance()
	return result(h.group, h.shares), nil
}

// subscribe finds the topics and their subscribers.
func (h *heterogeneous) subscribe() {
	subs := subscriptions{group: h.group}
	counts := h.group.partitions()
	for number, i := range h.order {
		for _, id := range subs.of(&h.group.Members[i]).ids {
			t := h.byID[id]
			if t == nil {
				t = &topic{id: id, owners: make([]int32, counts[id])}
				for p := range t.owners {
					t.owners[p] = none
				}
				h.byID[id] = t
				h.topics = append(h.topics, t)
			}
			t.subscribers = append(t.subscribers, int32(number))
		}
	}
}

// compareTopics puts topics with many partitions for each subscriber first, and of those with as many the ones with fewer
// subscribers: what fewest can take is given away first.
func compareTopics(a, b *topic) int {
	return cmp.Or(cmp.Compare(b.each(), a.each()), cmp.Compare(len(a.subscribers), len(b.subscribers)), compareIDs(a.id, b.id))
}

func (t *topic) each() float64 { return float64(len(t.owners)) / float64(len(t.subscribers)) }

// keep lets members keep what they had, but for topics that they are not subscribed to any more.
func (h *heterogeneous) keep() error {
	for number, i := range h.order {
		s := &h.shares[i]
		for _, had := range s.target {
			t := h.byID[had.ID]
			if t == nil || !t.subscribedBy(int32(number)) {
				s.drop(had.ID)
				continue
			}
			for _, p := range had.Partitions {
				if p < 0 || int(p) >= len(t.owners) {
					return errPartition
				}
				t.owners[p] = int32(number)
			}
			h.scale.sizes[number] += int32(len(had.Partitions))
		}
	}
	return nil
}

func (t *topic) subscribedBy(number int32) bool {
	_, is := slices.BinarySearch(t.subscribers, number)
	return is
}

// give assigns the partitions of a topic that nobody has.
func (h *heterogeneous) give(t *topic) {
	began := false
	for p, owner := range t.owners {
		if owner != none {
			continue
		}
		if !began {
			h.scale.weigh(t.subscribers)
			began = true
		}
		h.move(t, int32(p), h.scale.lightest())
	}
}

// move gives a partition to a member, and takes it from the one that had it.
func (h *heterogeneous) move(t *topic, partition, to int32) {
	if from := t.owners[partition]; from != none {
		h.shares[h.order[from]].remove(t.id, partition)
		h.scale.sizes[from]--
	}
	n := len(t.subscribers)
	h.shares[h.order[to]].add(t.id, partition, capacityAtLeast((len(t.owners)+n-1)/n))
	h.scale.sizes[to]++
	t.owners[partition] = to
}

// balance goes through the topics until all were looked at once since the last move.
func (h *heterogeneous) balance() {
	shared := slices.DeleteFunc(h.topics, func(t *topic) bool { return len(t.subscribers) < 2 })
	h.first, h.end = make([]int32, len(h.order)), make([]int32, len(h.order))
	last := none
	for range roundsMax {
		for i, t := range shared {
			if i == last {
				return
			}
			if h.balanceTopic(t) > 0 || last == none {
				last = i
			}
		}
	}
}

// balanceTopic moves partitions of one topic and counts them. A member gives away its highest ones first.
func (h *heterogeneous) balanceTopic(t *topic) (moved int) {
	if h.scale.weigh(t.subscribers) <= 1 {
		return 0
	}
	h.sortByOwner(t)
	for !h.scale.even() {
		from := h.scale.heaviest()
		for from != none && h.first[from] == h.end[from] {
			h.scale.exclude()
			from = h.scale.heaviest()
		}
		if from == none {
			break
		}
		h.end[from]--
		to := h.scale.lightest()
		if h.scale.even() {
			break
		}
		h.move(t, h.sorted[h.end[from]], to)
		moved++
	}
	return moved
}

func (h *heterogeneous) sortByOwner(t *topic) {
	for _, number := range t.subscribers {
		h.end[number] = 0
	}
	for _, owner := range t.owners {
		h.end[owner]++
	}
	at := int32(0)
	for _, number := range t.subscribers {
		h.first[number] = at
		at += h.end[number]
		h.end[number] = h.first[number]
	}
	h.sorted = slices.Grow(h.sorted[:0], len(t.owners))[:len(t.owners)]
	for p, owner := range t.owners {
		h.sorted[h.end[owner]] = int32(p)
		h.end[owner]++
	}
}
