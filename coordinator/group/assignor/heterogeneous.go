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
	order  []int32  // index of the member by its number
	topics topics   // as they come
	demand []demand // by topic
	ranked []int32  // topics in the order in which they are assigned
	scale  scale
	moves  []moved

	// Of the topic that is being balanced: its partitions by owner, and where in that list those of a member are that it had
	// before, by its number.
	sorted     []int32
	first, end []int32
}

// demand is who is subscribed to a topic and who has its partitions.
type demand struct {
	subscribers []int32 // numbers, ascending
	owners      []int32 // numbers, by partition; none
}

// moved is a move of a member.
type moved struct {
	member int32 // number
	move
}

// roundsMax is how often all topics are gone through to balance them.
const roundsMax = 16

func newHeterogeneous(g *Group) *heterogeneous {
	return &heterogeneous{group: g, order: g.memberOrder(), topics: newTopics(len(g.Topics)),
		scale: scale{sizes: make([]int32, len(g.Members))}}
}

func (h *heterogeneous) assign() (Assignment, error) {
	h.subscribe()
	if len(h.ranked) == 0 {
		return Assignment{}, nil
	}
	slices.SortFunc(h.ranked, h.compareTopics)
	kept, err := h.keep()
	if err != nil {
		return nil, err
	}
	for _, t := range h.ranked {
		h.give(t)
	}
	h.balance()
	return h.result(kept), nil
}

// subscribe finds the topics and their subscribers.
func (h *heterogeneous) subscribe() {
	byName := make(map[string]int32, len(h.group.Topics))
	for number, i := range h.order {
		m := &h.group.Members[i]
		for _, names := range [][]string{m.Names, m.Matched} {
			for _, name := range names {
				at, known := byName[name]
				if !known {
					at = h.demanded(name)
					byName[name] = at
				}
				if at == none {
					continue
				}
				d := &h.demand[at]
				if n := len(d.subscribers); n == 0 || d.subscribers[n-1] != int32(number) {
					d.subscribers = append(d.subscribers, int32(number))
				}
			}
		}
	}
}

// demanded takes note of a topic that somebody is subscribed to, if it is there.
func (h *heterogeneous) demanded(name string) int32 {
	info, there := h.group.Topics[name]
	if !there {
		return none
	}
	owners := make([]int32, info.Partitions)
	for p := range owners {
		owners[p] = none
	}
	at := h.topics.add(info)
	h.demand = append(h.demand, demand{owners: owners})
	h.ranked = append(h.ranked, at)
	return at
}

// compareTopics puts topics with many partitions for each subscriber first, and of those with as many the ones with fewer
// subscribers: what fewest can take is given away first.
func (h *heterogeneous) compareTopics(a, b int32) int {
	x, y := &h.demand[a], &h.demand[b]
	return cmp.Or(cmp.Compare(y.each(), x.each()), cmp.Compare(len(x.subscribers), len(y.subscribers)),
		compareIDs(h.topics.all[a].id, h.topics.all[b].id))
}

func (d *demand) each() float64 { return float64(len(d.owners)) / float64(len(d.subscribers)) }

// keep lets members keep what they had, but for topics that they are not subscribed to any more.
func (h *heterogeneous) keep() ([]share, error) {
	shares := make([]share, len(h.order))
	for number, i := range h.order {
		s := &shares[i]
		s.target = h.group.Members[i].Target
		for _, had := range s.target {
			at := h.topics.index(had.ID)
			if at == none || !h.demand[at].by(int32(number)) {
				s.drops = true
				continue
			}
			owners := h.demand[at].owners
			for _, p := range had.Partitions {
				if p < 0 || int(p) >= len(owners) {
					return nil, errPartition
				}
				owners[p] = int32(number)
			}
			h.scale.sizes[number] += int32(len(had.Partitions))
		}
	}
	return shares, nil
}

func (d *demand) by(number int32) bool {
	_, is := slices.BinarySearch(d.subscribers, number)
	return is
}

// give assigns the partitions of a topic that nobody has.
func (h *heterogeneous) give(topic int32) {
	d := &h.demand[topic]
	began := false
	for p, owner := range d.owners {
		if owner != none {
			continue
		}
		if !began {
			h.scale.weigh(d.subscribers)
			began = true
		}
		h.move(topic, int32(p), h.scale.lightest())
	}
}

// move gives a partition to a member, and takes it from the one that had it.
func (h *heterogeneous) move(topic, number, to int32) {
	p := partition{topic, number}
	owner := &h.demand[topic].owners[number]
	if *owner != none {
		h.moves = append(h.moves, moved{*owner, move{p, true}})
		h.scale.sizes[*owner]--
	}
	h.moves = append(h.moves, moved{to, move{p, false}})
	h.scale.sizes[to]++
	*owner = to
}

// balance goes through the topics until all were looked at once since the last move.
func (h *heterogeneous) balance() {
	h.first, h.end = make([]int32, len(h.order)), make([]int32, len(h.order))
	last := none
	for range roundsMax {
		for i, t := range h.ranked {
			switch {
			case i == last:
				return
			case len(h.demand[t].subscribers) < 2:
			case h.balanceTopic(t) > 0 || last == none:
				last = i
			}
		}
	}
}

// balanceTopic moves partitions of one topic and counts them. A member gives away its highest ones first.
func (h *heterogeneous) balanceTopic(topic int32) (count int) {
	d := &h.demand[topic]
	if h.scale.weigh(d.subscribers) <= 1 {
		return 0
	}
	h.sortByOwner(d)
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
		h.move(topic, h.sorted[h.end[from]], to)
		count++
	}
	return count
}

func (h *heterogeneous) sortByOwner(d *demand) {
	for _, number := range d.subscribers {
		h.end[number] = 0
	}
	for _, owner := range d.owners {
		h.end[owner]++
	}
	at := int32(0)
	for _, number := range d.subscribers {
		h.first[number] = at
		at += h.end[number]
		h.end[number] = h.first[number]
	}
	h.sorted = slices.Grow(h.sorted[:0], len(d.owners))[:len(d.owners)]
	for p, owner := range d.owners {
		h.sorted[h.end[owner]] = int32(p)
		h.end[owner]++
	}
}

// result sorts the moves by member and makes them.
func (h *heterogeneous) result(kept []share) Assignment {
	ends := make([]int32, len(h.order))
	for _, m := range h.moves {
		ends[m.member]++
	}
	all := make([]move, len(h.moves))
	at := int32(0)
	for number, i := range h.order {
		kept[i].moves = all[at : at+ends[number]]
		at += ends[number]
		ends[number] = at - ends[number]
	}
	for _, m := range h.moves {
		all[ends[m.member]] = m.move
		ends[m.member]++
	}
	numbers := make([]int32, len(h.order))
	for number, i := range h.order {
		numbers[i] = int32(number)
	}
	lists := shares{
		topics: &h.topics,
		setCapacity: func(topic int32) int {
			d := &h.demand[topic]
			return capacityAtLeast((len(d.owners) + len(d.subscribers) - 1) / len(d.subscribers))
		},
		subscribed: func(member int, id protocol.TopicID) bool {
			at := h.topics.index(id)
			return at != none && h.demand[at].by(numbers[member])
		},
	}
	return lists.all(h.group, kept)
}
