//go:build compat

package groups

import (
	"fmt"
	"maps"
	"time"
)

// rolling is a rolling restart of a group of static members: each is closed and made anew within its session timeout. No
// partition moves: every instance has the same ones before and after, and no other member sees anything of it.
func rolling(s *story, program, protocol string) {
	size := 3
	if program == "java" {
		size = 20
	}
	name := "rolling-" + program + "-" + protocol
	w := s.topic(name, 2*size)
	var all []member
	for i := range size {
		all = append(all, member{program: program, name: fmt.Sprintf("m%d", i), group: name, topics: name,
			protocol: protocol, options: fmt.Sprintf("instance=i%d session=30000 heartbeat=300", i)})
	}
	s.open(all...)
	s.awaitSpread(name, size, 2*size, 2)
	w.run(50 * time.Millisecond)
	s.awaitMore(name, 2)

	before := s.history(name).Owners()
	for i, m := range all {
		from := now()
		s.close(m)
		if i == 0 { // it stays away for two seconds of records, in which a group without it would get a new assignment
			s.awaitMore(name, 40)
		}
		s.open(m)
		s.await(name, m.name+" has its partitions again", func(g *sight) bool { return maps.Equal(g.owner, before) })
		s.check("the restart of "+m.name, s.history(name).Between(from, now()).Without(m.name).CheckQuiet())
	}
	s.awaitMore(name, 2)
	if after := s.history(name).Owners(); !maps.Equal(before, after) {
		s.t.Errorf("the owners were %v and are %v", before, after)
	}
	w.stop()
	s.awaitRead(name, w)
	h := s.history(name)
	s.check(name, h.CheckOnce(w.written()), h.CheckOrder(), h.CheckExclusive())
	s.close(all...)
}
