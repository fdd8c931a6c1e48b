//go:build compat

package groups

import (
	"fmt"
	"time"
)

const (
	smoothPartitions = 12
	smoothInterval   = 10 * time.Millisecond
	// stopFactor is how much longer than the noise a pause must be to count as a stop. The noise is the longest pause
	// that partitions had in the quiet part of the run, or that the onlooker had in the same moments, whichever is
	// longer: what the machine and the program themselves do.
	stopFactor = 4
)

// step is one member that joins or leaves, and what came of it.
type step struct {
	what    string
	unmoved int
	gap     time.Duration // the worst of the partitions that did not move
	noise   time.Duration
	kept    error // a partition that did not move was taken away in between
}

// walk lets members join and leave one at a time while records are written, next to an onlooker of the same program that
// reads everything in a group of its own.
func walk(s *story, program, protocol string) []step {
	s.t.Helper()
	name := fmt.Sprintf("smooth-%s-%s", program, protocol)
	w := s.topic(name, smoothPartitions)
	m := func(i int) member {
		return member{program: program, name: fmt.Sprintf("m%d", i), group: name, topics: name, protocol: protocol,
			options: "session=20000 heartbeat=500"}
	}
	onlooker := m(0)
	onlooker.name, onlooker.group = "onlooker", name+"-onlooker"
	s.open(onlooker, m(1), m(2), m(3))
	s.awaitSpread(onlooker.group, 1, smoothPartitions)
	s.awaitSpread(name, 3, smoothPartitions, 4)
	w.run(smoothInterval)
	s.awaitMore(name, 1)
	from := now()
	s.awaitMore(name, 100)
	quiet := worst(s.history(name), name, nil, from, now())

	var steps []step
	size := 3
	for _, change := range []struct {
		join bool
		m    member
	}{{true, m(4)}, {true, m(5)}, {false, m(1)}, {false, m(5)}, {true, m(6)}} {
		from := now()
		what := "leaves"
		if change.join {
			what = "joins"
			size++
			s.open(change.m)
		} else {
			size--
			s.close(change.m)
		}
		s.awaitSpread(name, size, smoothPartitions, smoothPartitions/size, (smoothPartitions+size-1)/size)
		s.awaitMore(name, 10)
		to := now()
		h := s.history(name)
		unmoved := h.Unmoved(from, to)
		steps = append(steps, step{what: change.m.name + " " + what, unmoved: len(unmoved),
			gap:   worst(h, name, unmoved, from, to),
			noise: max(quiet, worst(s.history(onlooker.group), name, nil, from, to)),
			kept:  h.CheckKept(from, to),
		})
	}
	w.stop()
	s.awaitRead(name, w)
	h := s.history(name)
	s.check(name, h.CheckOnce(w.written()), h.CheckOrder(), h.CheckExclusive())
	s.close(onlooker, m(2), m(3), m(4), m(6))
	for _, step := range steps {
		s.t.Logf("%s %s: %d of %d partitions stay; their longest pause %v, noise %v", s.broker.Kind, step.what,
			step.unmoved, smoothPartitions, step.gap.Round(time.Millisecond), step.noise.Round(time.Millisecond))
	}
	return steps
}

// worst is the longest pause of the partitions, nil: all of the topic.
func worst(h History, topic string, partitions []string, from, to int64) time.Duration {
	if partitions == nil {
		for p := range smoothPartitions {
			partitions = append(partitions, fmt.Sprintf("%s-%d", topic, p))
		}
	}
	var gap time.Duration
	for _, p := range partitions {
		gap = max(gap, h.WorstGap(p, from, to))
	}
	return gap
}

// smooth: no partition that need not move is taken away, or stops to be read. librdkafka pauses all the partitions of a
// member from the moment that it asks the application to give one up, until it has fetched anew, with any broker; of its
// pauses nothing is asked.
func smooth(s *story, program, protocol string) {
	for _, step := range walk(s, program, protocol) {
		s.check(step.what, step.kept)
		if program != "confluent-kafka" && step.gap > stopFactor*step.noise {
			s.t.Errorf("%s: a partition that did not move stopped for %v; the noise is %v", step.what, step.gap, step.noise)
		}
		// The fairest spread needs no more than an owner's worth of moves, and one for the rounding.
		if least := smoothPartitions - smoothPartitions/3 - 1; step.unmoved < least {
			s.t.Errorf("%s: %d partitions stayed, want %d at least", step.what, step.unmoved, least)
		}
	}
}

// stops shows that smooth could fail: an eager group takes every partition away whenever a member comes or goes, and
// the partitions of a member that holds still are seen to stop.
func stops(s *story, program string) {
	for _, step := range walk(s, program, "range") {
		if step.unmoved > 0 && step.kept == nil {
			s.t.Errorf("%s: nothing was taken away in an eager group: the histories do not tell", step.what)
		}
	}
	name := "stops-" + program
	w := s.topic(name, smoothPartitions)
	m := member{program: program, name: "m", group: name, topics: name, protocol: "range"}
	onlooker := m
	onlooker.name, onlooker.group = "onlooker", name+"-onlooker"
	s.open(m, onlooker)
	s.awaitSpread(name, 1, smoothPartitions)
	s.awaitSpread(onlooker.group, 1, smoothPartitions)
	w.run(smoothInterval)
	s.awaitMore(name, 1)
	s.awaitMore(onlooker.group, 1)
	s.tell("hold", Held, m)
	from := now()
	var to int64
	s.await(onlooker.group, "a hold that is longer than the noise", func(*sight) bool {
		to = now()
		return time.Duration(to-from) > 2*stopFactor*worst(Sorted(s.seen.Of(onlooker.group)), name, nil, from, to)
	})
	gap, noise := worst(s.history(name), name, nil, from, to), worst(s.history(onlooker.group), name, nil, from, to)
	if gap <= stopFactor*noise {
		s.t.Errorf("a member that held still for %v has a pause of %v and a noise of %v", time.Duration(to-from), gap, noise)
	}
	s.resume(m)
	s.awaitMore(name, 1)
	w.stop()
	s.awaitRead(name, w)
	s.close(m, onlooker)
	s.check(name, s.history(name).CheckOnce(w.written()))
}
