//go:build compat

package groups

import (
	"fmt"
	"time"
)

// members is the story of USE-CASES' partitions and members: a topic of three partitions and a group that has one, three
// and four members, whose members leave again; a second group of two; a queue, which is one group, next to publish and
// subscribe, which is many. All the while records are written.
func members(s *story, program, protocol string) {
	name := "members-" + program + "-" + protocol
	w := s.topic(name, 3)
	in := func(group string, i int) member {
		return member{program: program, name: fmt.Sprintf("%s%d", group, i), group: name + "-" + group, topics: name,
			protocol: protocol}
	}
	w.burst(10)
	w.run(10 * time.Millisecond)

	queue := []member{in("queue", 1), in("queue", 2), in("queue", 3), in("queue", 4)}
	group := queue[0].group
	s.open(queue[0])
	s.awaitSpread(group, 1, 3, 3)
	s.open(queue[1:3]...)
	s.awaitSpread(group, 3, 3, 1)
	s.open(queue[3])
	s.awaitSpread(group, 4, 3, 1)

	// Two members next to them, and two groups of one: each group reads everything, from the first record on.
	pair := []member{in("pair", 1), in("pair", 2)}
	single := []member{in("first", 1), in("second", 1)}
	s.open(pair...)
	s.open(single...)
	s.awaitSpread(pair[0].group, 2, 3, 1, 2)

	// An owner leaves, and the idle member takes over.
	s.close(queue[0])
	s.awaitSpread(group, 3, 3, 1)
	s.close(queue[1:3]...)
	s.awaitSpread(group, 1, 3, 3)
	s.awaitMore(group, 5)
	w.stop()

	all := []member{queue[3], pair[0], pair[1], single[0], single[1]}
	for _, m := range all {
		s.awaitRead(m.group, w)
	}
	s.close(all...)
	for _, g := range []string{group, pair[0].group, single[0].group, single[1].group} {
		h := s.history(g)
		s.check(g, h.CheckOnce(w.written()), h.CheckOrder(), h.CheckExclusive())
	}
}
