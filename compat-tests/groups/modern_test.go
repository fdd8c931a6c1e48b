//go:build compat

package groups

import "fmt"

// pattern subscribes by a regular expression, which the broker resolves: a topic that is made later comes by itself, a
// topic that does not match never.
func pattern(s *story, program, protocol string) {
	name := "pattern-" + program
	m := func(who string) member {
		return member{program: program, name: who, group: name, pattern: "^" + name + "-(in|also)$", protocol: protocol}
	}
	in, out := s.topic(name+"-in", 2), s.topic(name+"-out", 2)
	in.burst(10)
	out.burst(10)
	s.open(m("a"))
	s.awaitSpread(name, 1, 2, 2)
	also := s.topic(name+"-also", 2)
	also.burst(10)
	s.awaitSpread(name, 1, 4, 4)
	s.open(m("b"))
	s.awaitSpread(name, 2, 4, 2)
	in.burst(10)
	also.burst(10)
	s.awaitRead(name, in)
	s.awaitRead(name, also)
	s.close(m("a"), m("b"))
	written := in.written()
	for p, n := range also.written() {
		written[p] = n
	}
	h := s.history(name)
	s.check(name, h.CheckOnce(written), h.CheckOrder(), h.CheckExclusive())
}

// chosen asks for one of the broker's assignors. Two topics of three partitions and two members tell which one it was:
// range gives the first member two of each topic, uniform gives both members as many.
func chosen(s *story, program, protocol string) {
	for assignor, spread := range map[string][2]int{"range": {2, 4}, "uniform": {3, 3}} {
		name := fmt.Sprintf("chosen-%s-%s", program, assignor)
		m := func(who string) member {
			return member{program: program, name: who, group: name, topics: name + "-x," + name + "-y",
				protocol: protocol, options: "assignor=" + assignor}
		}
		x, y := s.topic(name+"-x", 3), s.topic(name+"-y", 3)
		x.burst(10)
		y.burst(10)
		s.open(m("a"), m("b"))
		s.awaitSpread(name, 2, 6, spread[:]...)
		s.awaitRead(name, x)
		s.awaitRead(name, y)
		s.close(m("a"), m("b"))
		written := x.written()
		for p, n := range y.written() {
			written[p] = n
		}
		h := s.history(name)
		s.check(name, h.CheckOnce(written), h.CheckOrder(), h.CheckExclusive())
	}
}
