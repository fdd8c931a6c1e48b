package assignor

import "slices"

// scale says which of some members has the fewest partitions and which the most, while partitions go from one to the other.
// It sorts once. From there on it knows two groups: at the light end those that have the fewest, each of which gets one
// partition before any gets a second, and at the heavy end those that have the most, each of which gives one in turn.
type scale struct {
	sizes   []int32  // partitions that a member has, by number: kept up to date by the user
	keys    []uint64 // for sorting
	members []int32  // numbers, by size and number

	light struct {
		end  int   // members[:end] are the group
		size int32 // what they have, before they get one more
		next int
	}
	heavy struct {
		first, end int   // members[first:end] are the group; those behind it cannot give
		size       int32 // what they have, before they give one
		next       int   // goes down
	}
}

// weigh begins with members and says how far apart they are.
func (s *scale) weigh(members []int32) int32 {
	s.keys = s.keys[:0]
	for _, number := range members {
		s.keys = append(s.keys, uint64(s.sizes[number])<<32|uint64(number))
	}
	slices.Sort(s.keys)
	s.members = s.members[:0]
	for _, key := range s.keys {
		s.members = append(s.members, int32(uint32(key)))
	}
	n := len(members)
	least, most := s.sizes[s.members[0]], s.sizes[s.members[n-1]]
	s.light.end, s.light.size, s.light.next = 0, least-1, 0
	s.heavy.first, s.heavy.end, s.heavy.size, s.heavy.next = n, n, most+1, n-1
	return most - least
}

// lightest is the member that is to get the next partition.
func (s *scale) lightest() int32 {
	l := &s.light
	if l.next >= l.end {
		l.size++
		for l.end < len(s.members) && s.sizes[s.members[l.end]] == l.size {
			l.end++
		}
		l.next = 0
	}
	l.next++
	return s.members[l.next-1]
}

// heaviest is the member that is to give the next partition, none when all are excluded.
func (s *scale) heaviest() int32 {
	h := &s.heavy
	if h.next < h.first {
		if h.first == h.end && h.first > 0 {
			h.size = s.sizes[s.members[h.first-1]]
		} else {
			h.size--
		}
		for h.first > 0 && s.sizes[s.members[h.first-1]] == h.size {
			h.first--
		}
		h.next = h.end - 1
	}
	if h.next < 0 {
		return none
	}
	h.next--
	return s.members[h.next+1]
}

// exclude takes the member that heaviest gave last out of its group: it has nothing that it could give.
func (s *scale) exclude() {
	h := &s.heavy
	at := h.next + 1
	s.members[at], s.members[h.end-1] = s.members[h.end-1], s.members[at]
	h.end--
}

// even says whether no partition can be moved to any effect.
func (s *scale) even() bool { return s.heavy.size-s.light.size <= 1 }
