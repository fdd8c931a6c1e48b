//go:build compat

package groups

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"moldau.io/moldau/compat-tests/harness"
)

const (
	smoothPartitions = 12
	smoothInterval   = 10 * time.Millisecond
	// stopFactor is how much longer than the noise a pause must be to count as a stop. The noise is the longest pause
	// that partitions had in the quiet part of the run, or that the onlooker had in the same moments, or two intervals
	// of the writer, whichever is longer: what the machine and the program themselves do.
	stopFactor = 4
	noiseLeast = 2 * smoothInterval
)

// change is one member that joins or leaves.
type change struct {
	join bool
	m    member
	kind string // what the group is then, consumer or classic; "": no matter
}

// step is what came of a change.
type step struct {
	what    string
	unmoved int
	gap     time.Duration // the worst of the partitions that did not move
	noise   time.Duration
	kept    error // a partition that did not move was taken away in between
}

// walk lets members of a group join and leave one at a time while records are written, next to an onlooker of the same
// program that reads everything in a group of its own.
func walk(s *story, start []member, changes []change) []step {
	s.t.Helper()
	name := start[0].group
	w := s.topic(name, smoothPartitions)
	onlooker := start[0]
	onlooker.name, onlooker.group = "onlooker", name+"-onlooker"
	members := append([]member{onlooker}, start...)
	s.open(members...)
	s.awaitSpread(onlooker.group, 1, smoothPartitions)
	s.awaitSpread(name, len(start), smoothPartitions, smoothPartitions/len(start))
	w.run(smoothInterval)
	s.awaitMore(name, 1)
	from := now()
	s.awaitMore(name, 100)
	quiet := worst(s.history(name), name, nil, from, now())

	var steps []step
	for _, c := range changes {
		from := now()
		what := "leaves"
		if c.join {
			what = "joins"
			members = append(members, c.m)
			s.open(c.m)
		} else {
			members = slices.DeleteFunc(members, func(m member) bool { return m.name == c.m.name })
			s.close(c.m)
		}
		size := len(members) - 1
		s.awaitSpread(name, size, smoothPartitions, smoothPartitions/size, (smoothPartitions+size-1)/size)
		if kind := s.kind(name); c.kind != "" && kind != c.kind {
			s.t.Errorf("after %s %s the group is of type %q, want %q", c.m.name, what, kind, c.kind)
		}
		s.awaitMore(name, 10)
		to := now()
		h := s.history(name)
		unmoved := h.Unmoved(from, to)
		steps = append(steps, step{what: c.m.name + " " + what, unmoved: len(unmoved),
			gap:   worst(h, name, unmoved, from, to),
			noise: max(noiseLeast, quiet, worst(s.history(onlooker.group), name, nil, from, to)),
			kept:  h.CheckKept(from, to),
		})
	}
	w.stop()
	s.awaitRead(name, w)
	h := s.history(name)
	s.check(name, h.CheckOnce(w.written()), h.CheckOrder(), h.CheckExclusive())
	s.close(members...)
	for _, step := range steps {
		s.t.Logf("%s, %s: %d of %d partitions stay; their longest pause %v, noise %v", s.broker.Kind, step.what,
			step.unmoved, smoothPartitions, step.gap.Round(time.Millisecond), step.noise.Round(time.Millisecond))
	}
	return steps
}

// comeAndGo is a group of three to which two are added, and from which an old and a new one go.
func comeAndGo(s *story, story, program, protocol string) []step {
	s.t.Helper()
	m := func(i int) member {
		name := fmt.Sprintf("%s-%s-%s", story, program, protocol)
		return member{program: program, name: fmt.Sprintf("m%d", i), group: name, topics: name, protocol: protocol,
			options: "session=20000 heartbeat=500"}
	}
	return walk(s, []member{m(1), m(2), m(3)},
		[]change{{true, m(4), ""}, {true, m(5), ""}, {false, m(1), ""}, {false, m(5), ""}, {true, m(6), ""}})
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

// check fails the test if a partition that need not move was taken away, or stopped to be read. librdkafka pauses all
// the partitions of a member from the moment that it asks the application to give one up until it has fetched anew,
// with any broker; of its pauses nothing is asked.
func (step step) check(s *story, program string) {
	s.t.Helper()
	s.check(step.what, step.kept)
	if program != "confluent-kafka" && step.gap > stopFactor*step.noise {
		s.t.Errorf("%s: a partition that did not move stopped for %v; the noise is %v", step.what, step.gap, step.noise)
	}
}

// smooth: where members come and go one at a time, only what must move moves, and the rest goes on.
func smooth(s *story, program, protocol string) {
	for _, step := range comeAndGo(s, "smooth", program, protocol) {
		step.check(s, program)
		// The fairest spread needs no more than an owner's worth of moves, and one for the rounding.
		if least := smoothPartitions - smoothPartitions/3 - 1; step.unmoved < least {
			s.t.Errorf("%s: %d partitions stayed, want %d at least", step.what, step.unmoved, least)
		}
	}
}

// reference plays the same on Apache Kafka, for the figures alone: what a reader compares those of moldau with.
func reference(t *testing.T) {
	s := &story{newStage(t, harness.Kafka), t}
	for _, protocol := range []string{"cooperative", "consumer"} {
		comeAndGo(s, "reference", "java", protocol)
	}
}

// stops shows that smooth could fail: an eager group takes every partition away whenever a member comes or goes, and
// the partitions of a member that holds still are seen to stop.
func stops(s *story, program, protocol string) {
	for _, step := range comeAndGo(s, "taken", program, protocol) {
		if step.unmoved > 0 && step.kept == nil {
			s.t.Errorf("%s: nothing was taken away in an eager group: the histories do not tell", step.what)
		}
	}
	name := "stops-" + program + "-" + protocol
	w := s.topic(name, smoothPartitions)
	m := member{program: program, name: "m", group: name, topics: name, protocol: protocol}
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
