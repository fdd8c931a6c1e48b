package assignor

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"moldau.io/moldau/protocol"
)

// story is a group over time: topics and members come, change and go, and now and then an assignment is made, which is the
// target of the next.
type story struct {
	rng     *rand.Rand
	group   Group
	made    int
	targets map[string][]Topic
	mixed   bool // subscriptions differ
}

func newStory(rng *rand.Rand) *story {
	s := &story{rng: rng, targets: map[string][]Topic{}, mixed: rng.IntN(2) == 0}
	s.group.Topics = map[string]TopicInfo{}
	for range 1 + rng.IntN(8) {
		s.addTopic()
	}
	for range 1 + rng.IntN(20) {
		s.addMember()
	}
	return s
}

func (s *story) id() (id protocol.TopicID) {
	binary.BigEndian.PutUint64(id[:8], s.rng.Uint64())
	binary.BigEndian.PutUint64(id[8:], s.rng.Uint64())
	return id
}

func (s *story) addTopic() {
	s.made++
	s.group.Topics[fmt.Sprintf("topic-%d", s.made)] = TopicInfo{s.id(), s.rng.IntN(50)}
}

func (s *story) addMember() {
	s.made++
	m := Member{ID: fmt.Sprintf("%s-%d", s.id(), s.made)}
	if s.rng.IntN(4) == 0 {
		instance := fmt.Sprintf("instance-%d", s.made)
		m.Instance = &instance
	}
	s.group.Members = append(s.group.Members, m)
	s.group.Peak = max(s.group.Peak, len(s.group.Members))
}

// change is one thing that happens.
func (s *story) change() {
	switch s.rng.IntN(6) {
	case 0, 1:
		s.addMember()
	case 2, 3:
		if n := len(s.group.Members); n > 1 {
			at := s.rng.IntN(n)
			delete(s.targets, s.group.Members[at].ID)
			s.group.Members = slices.Delete(s.group.Members, at, at+1)
		}
	case 4:
		names := slices.Sorted(maps.Keys(s.group.Topics))
		name := names[s.rng.IntN(len(names))]
		info := s.group.Topics[name]
		info.Partitions += s.rng.IntN(10)
		s.group.Topics[name] = info
	case 5:
		if s.rng.IntN(2) == 0 || len(s.group.Topics) < 2 {
			s.addTopic()
		} else {
			names := slices.Sorted(maps.Keys(s.group.Topics))
			delete(s.group.Topics, names[s.rng.IntN(len(names))])
		}
	}
}

// input is the group as it is now. Subscriptions are what the topics are now, or with mixed ones half of them, chosen by
// member.
func (s *story) input() Group {
	g := s.group
	g.Homogeneous = !s.mixed
	g.Members = slices.Clone(g.Members)
	names := slices.Sorted(maps.Keys(g.Topics))
	for i := range g.Members {
		m := &g.Members[i]
		for _, name := range names {
			if !s.mixed || hashString(m.ID+name)>>7%2 == 0 {
				m.Names = append(m.Names, name)
			}
		}
		m.Target = s.targets[m.ID]
	}
	return g
}

func (s *story) keep(a Assignment) { s.targets = maps.Clone(map[string][]Topic(a)) }
