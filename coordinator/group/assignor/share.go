package assignor

import (
	"slices"

	"moldau.io/moldau/protocol"
)

// topic is one that members are subscribed to.
type topic struct {
	id         protocol.TopicID
	hash       uint32
	partitions int
}

// topics are all topics that are to be assigned. The code names them by their index.
type topics struct {
	all  []topic
	byID map[protocol.TopicID]int32
	last struct { // that was asked for: targets of many members begin with the same
		known bool
		id    protocol.TopicID
		at    int32
	}
}

func newTopics(count int) topics {
	return topics{all: make([]topic, 0, count), byID: make(map[protocol.TopicID]int32, count)}
}

func (t *topics) add(info TopicInfo) int32 {
	at := int32(len(t.all))
	t.byID[info.ID] = at
	t.all = append(t.all, topic{info.ID, hashID(info.ID), info.Partitions})
	return at
}

// index of a topic, none when it is not to be assigned.
func (t *topics) index(id protocol.TopicID) int32 {
	if !t.last.known || t.last.id != id {
		at, ok := t.byID[id]
		if !ok {
			at = none
		}
		t.last.known, t.last.id, t.last.at = true, id, at
	}
	return t.last.at
}

// partition is one partition of a topic.
type partition struct{ topic, number int32 }

// move is a partition that a member gets or gives back.
type move struct {
	partition
	back bool
}

// share is what one member is to have: its target, without the topics that it is not subscribed to any more, and with the
// moves made.
type share struct {
	target []Topic
	drops  bool // has topics that the member is not subscribed to
	moves  []move
}

// shares makes the lists of members out of their shares. It does to two kinds of tables what Kafka does to a member's map
// of topics and sets of partitions, for the sake of their order.
type shares struct {
	topics *topics
	// setCapacity is the capacity of the set that is made for the first partition of a topic.
	setCapacity func(topic int32) int
	// subscribed says whether a member is subscribed to a topic; asked only for members with drops.
	subscribed func(member int, id protocol.TopicID) bool
	// inTurn says that what a member gives back goes topic by topic, in turn with those that it drops, rather than after
	// all of them: in a tree of topics the order counts in which they are removed.
	inTurn bool

	map_  table[protocol.TopicID]
	sets  []set // by the place in map_
	order table[int32]
	list  []Topic // what is left of a larger list
	parts []int32
	chunk int
}

// set is the partitions of a topic. One that was given a run of partitions at once and nothing else has no table: the
// order of a run is known without.
type set struct {
	table[int32]
	capacity int
	run      int32 // length; 0 when the partitions are in the table
	from     int32
}

// all is the assignment that shares make up.
func (s *shares) all(g *Group, shares []share) Assignment {
	a := make(Assignment, len(shares))
	s.chunk = min(chunkMax, 2*len(shares))
	s.map_.compare = compareIDs
	for i := range shares {
		a[g.Members[i].ID] = s.of(i, &shares[i])
	}
	return a
}

// of is the list of a member.
func (s *shares) of(member int, sh *share) []Topic {
	if !sh.drops && len(sh.moves) == 0 {
		return sh.target
	}
	order := s.copyTarget(sh.target)
	moves := sh.moves
	if sh.drops {
		for _, i := range order {
			id := sh.target[i].ID
			if !s.subscribed(member, id) {
				s.map_.remove(id, hashID(id))
				continue
			}
			for s.inTurn && len(moves) > 0 && moves[0].back && s.topics.all[moves[0].topic].id == id {
				s.take(&s.topics.all[moves[0].topic], moves[0].number)
				moves = moves[1:]
			}
		}
	}
	for len(moves) > 0 {
		t := &s.topics.all[moves[0].topic]
		if moves[0].back {
			s.take(t, moves[0].number)
			moves = moves[1:]
		} else {
			moves = moves[s.give(t, moves):]
		}
	}
	return kept(sh.target, s.result())
}

// copyTarget makes a copy of the target, as Kafka does before the first change. It returns the order of the topics.
func (s *shares) copyTarget(target []Topic) []int32 {
	s.map_.reset(len(target))
	order := targetOrder(&s.order, target)
	for _, i := range order {
		t := &target[i]
		set := s.set(s.map_.put(t.ID, hashID(t.ID)), capacityFor(len(t.Partitions)))
		for _, p := range t.Partitions {
			set.put(p, uint32(p))
		}
		if set.wasCrowded {
			// The set is a copy of the target's set, which has what is in the list. Else both have one order.
			list := set.keys(nil)
			set.reset(set.capacity)
			for _, p := range list {
				set.put(p, uint32(p))
			}
		}
	}
	return order
}

// set is an empty set for the topic at a place.
func (s *shares) set(at int32, capacity int) *set {
	for int(at) >= len(s.sets) {
		s.sets = append(s.sets, set{})
	}
	set := &s.sets[at]
	set.capacity, set.run = capacity, 0
	set.reset(capacity)
	return set
}

func (s *shares) take(t *topic, number int32) {
	at := s.map_.find(t.id, t.hash)
	if at == none {
		return // a target that names the topic twice
	}
	set := &s.sets[at]
	set.spread()
	set.remove(number, uint32(number))
	if set.size == 0 {
		s.map_.remove(t.id, t.hash)
	}
}

// give makes the first of some moves, and those that follow it in a run if the topic is new to the member. It returns how
// many it made.
func (s *shares) give(t *topic, moves []move) int {
	s.map_.touch()
	number := moves[0].number
	if at := s.map_.find(t.id, t.hash); at != none {
		s.sets[at].spread()
		s.sets[at].put(number, uint32(number))
		return 1
	}
	at := s.map_.putFirst(t.id, t.hash)
	n := 1
	for n < len(moves) && moves[n] == (move{partition: partition{moves[0].topic, number + int32(n)}}) {
		n++
	}
	if n > 1 {
		s.map_.touch()
	}
	for int(at) >= len(s.sets) {
		s.sets = append(s.sets, set{})
	}
	set := &s.sets[at]
	set.capacity, set.from, set.run = s.setCapacity(moves[0].topic), number, int32(n)
	return n
}

// spread puts the partitions of a run into the table.
func (s *set) spread() {
	if s.run == 0 {
		return
	}
	s.reset(s.capacity)
	for p := s.from; p < s.from+s.run; p++ {
		s.put(p, uint32(p))
	}
	s.run = 0
}

func (s *set) count() int {
	if s.run > 0 {
		return int(s.run)
	}
	return s.size
}

// appendTo appends the partitions in their order. A run of not more partitions than there are buckets begins in the middle
// of them, goes on to the last, and on from the first. Only with numbers from 2^16 on buckets do not follow one another.
func (s *set) appendTo(list []int32) []int32 {
	if s.run == 0 {
		return s.keys(list)
	}
	if s.from+s.run > 1<<16 {
		s.spread()
		return s.keys(list)
	}
	buckets := int32(powerOfTwo(s.capacity))
	for float32(s.run) > float32(buckets)*0.75 {
		buckets *= 2
	}
	turn := min((s.from+buckets-1)&^(buckets-1), s.from+s.run)
	for p := turn; p < s.from+s.run; p++ {
		list = append(list, p)
	}
	for p := s.from; p < turn; p++ {
		list = append(list, p)
	}
	return list
}

// chunkMax is how many elements of results are allocated at once.
const chunkMax = 1 << 12

func (s *shares) result() []Topic {
	if s.map_.size == 0 {
		return nil
	}
	if cap(s.list)-len(s.list) < s.map_.size {
		s.list = make([]Topic, 0, max(s.chunk, s.map_.size))
	}
	from := len(s.list)
	for at := range s.map_.walk {
		set := &s.sets[at]
		if n := set.count(); cap(s.parts)-len(s.parts) < n {
			s.parts = make([]int32, 0, max(s.chunk, n))
		}
		begin := len(s.parts)
		s.parts = set.appendTo(s.parts)
		s.list = append(s.list, Topic{s.map_.nodes[at].key, slices.Clip(s.parts[begin:])})
	}
	return slices.Clip(s.list[from:])
}

// targetOrder is the order in which Kafka walks through the topics of a target: that of a map filled from its record.
func targetOrder(t *table[int32], target []Topic) []int32 {
	switch len(target) {
	case 0:
		return nil
	case 1:
		return []int32{0}
	}
	t.compare = func(a, b int32) int { return compareIDs(target[a].ID, target[b].ID) }
	t.reset(bucketsDefault)
	for i := range target {
		t.put(int32(i), hashID(target[i].ID))
	}
	return t.keys(make([]int32, 0, len(target)))
}

// partitionOrder is the order of a set that is made of a list of partitions.
func partitionOrder(t *table[int32], partitions []int32) []int32 {
	t.reset(capacityFor(len(partitions)))
	for _, p := range partitions {
		t.put(p, uint32(p))
	}
	return t.keys(make([]int32, 0, len(partitions)))
}
