//go:build compat

package groups

import "time"

// crash kills the broker with kill -9 three times under groups of either protocol that read and commit. The groups are
// there again with their members: nobody is given anything else than it had, no record is lost or read twice, and what
// was acknowledged is committed.
func crash(on *story, program, _ string) {
	s := &story{newStage(on.t, on.broker.Kind), on.t} // the other stories keep their broker
	type told struct {
		group string
		w     *writer
	}
	var tales []told
	var all []member
	for _, protocol := range []string{"cooperative", "consumer"} {
		name := "crash-" + program + "-" + protocol
		tales = append(tales, told{name, s.topic(name, 6)})
		for _, who := range []string{"a", "b", "c"} {
			all = append(all, member{program: program, name: who, group: name, topics: name, protocol: protocol,
				options: "commit=each"})
		}
	}
	s.open(all...)
	for _, t := range tales {
		s.awaitSpread(t.group, 3, 6, 2)
		t.w.run(20 * time.Millisecond)
		s.awaitMore(t.group, 1)
	}
	from := now()
	for range 3 {
		s.broker.Kill(s.t)
		s.broker.Run(s.t)
		for _, t := range tales {
			s.awaitMore(t.group, 20)
		}
	}
	for _, t := range tales {
		t.w.stop()
		s.awaitRead(t.group, t.w)
		s.awaitSpread(t.group, 3, 6, 2)
		h := s.history(t.group)
		s.check(t.group, h.CheckOnce(t.w.written()), h.CheckOrder(), h.CheckExclusive(), h.Between(from, now()).CheckStill())
	}
	s.close(all...)
	for _, t := range tales {
		s.checkCommitted(t.group, t.w)
	}
}
