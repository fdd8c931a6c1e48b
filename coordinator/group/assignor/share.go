package assignor

import (
	"moldau.io/moldau/protocol"
)

// share is what one member is to have while an assignment is worked out. Until the first change it is the member's target.
type share struct {
	target []Topic
	topics *table[protocol.TopicID]
	held   map[protocol.TopicID]*table[int32]
}

// targetOrder is the order in which Kafka walks through the topics of a target: that of a map filled from its record.
func targetOrder(target []Topic) []int32 {
	if len(target) < 2 {
		return []int32{0}[:len(target)]
	}
	t := newTable[int32](bucketsDefault)
	for i := range target {
		t.put(int32(i), hashID(target[i].ID))
	}
	return t.keys(make([]int32, 0, len(target)))
}

// partitionTable is the set that Kafka makes of a list of partitions.
func partitionTable(partitions []int32) *table[int32] {
	t := newTable[int32](capacityFor(len(partitions)))
	for _, p := range partitions {
		t.put(p, uint32(p))
	}
	return t
}

func partitionOrder(partitions []int32) []int32 {
	return partitionTable(partitions).keys(make([]int32, 0, len(partitions)))
}

// change makes a copy of the target, as Kafka does before it changes anything.
func (s *share) change() {
	if s.held != nil {
		return
	}
	s.topics = newTable[protocol.TopicID](len(s.target))
	s.held = make(map[protocol.TopicID]*table[int32], len(s.target))
	for _, i := range targetOrder(s.target) {
		t := s.target[i]
		s.topics.put(t.ID, hashID(t.ID))
		s.held[t.ID] = partitionTable(partitionOrder(t.Partitions))
	}
}

func (s *share) drop(id protocol.TopicID) {
	s.change()
	s.topics.remove(id, hashID(id))
	delete(s.held, id)
}

func (s *share) remove(id protocol.TopicID, partition int32) {
	s.change()
	t := s.held[id]
	t.remove(partition, uint32(partition))
	if t.size == 0 {
		s.drop(id)
	}
}

// add gives the member a partition. If it is the first of its topic, the set for it is made with the capacity.
func (s *share) add(id protocol.TopicID, partition int32, capacity int) {
	s.change()
	t := s.held[id]
	s.topics.touch()
	if t == nil {
		t = newTable[int32](capacity)
		s.held[id] = t
		s.topics.putFirst(id, hashID(id))
	}
	t.put(partition, uint32(partition))
}

// list is what the member is to have.
func (s *share) list() []Topic {
	if s.held == nil {
		return s.target
	}
	topics := make([]Topic, 0, len(s.held))
	for _, id := range s.topics.keys(make([]protocol.TopicID, 0, len(s.held))) {
		t := s.held[id]
		topics = append(topics, Topic{id, t.keys(make([]int32, 0, t.size))})
	}
	return kept(s.target, topics)
}
