//go:build compat

package groups

import (
	"fmt"
	"syscall"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const zombiePartitions = 6

// zombie is a member that falls silent with records that it has read and not committed. Its partitions go to the
// others, who read these records again; its late commit is refused; it comes back as a new member, and nothing is lost.
//
// A confluent-kafka zombie is a process that is stopped, so that its session ends; a Java one goes on with its
// heartbeats and does not poll any more.
func zombie(s *story, program, protocol string) {
	name := "zombie-" + program + "-" + protocol
	w := s.topic(name, zombiePartitions)
	m := func(who string) member {
		return member{program: program, name: who, group: name, topics: name, protocol: protocol}
	}
	z, others := m("zombie"), []member{m("a"), m("b")}
	if program == "java" {
		z.options = "session=20000 heartbeat=300 maxpoll=2000"
	} else {
		z.process = name
		z.options = "session=3000 heartbeat=300"
		s.sessionTimeout(name, 3000)
	}
	s.open(others...)
	s.open(z)
	s.awaitSpread(name, 3, zombiePartitions, 2)
	w.burst(20)
	s.awaitRead(name, w)

	s.tell("hold", Held, z)
	if program != "java" {
		s.program(z).process.Signal(s.t, syscall.SIGSTOP)
	}
	s.await(name, "the zombie's partitions are the others'", func(g *sight) bool {
		return g.owned()["a"] == 3 && g.owned()["b"] == 3
	})
	s.awaitSpread(name, 2, zombiePartitions, 3)
	w.burst(20)
	s.awaitRead(name, w)
	if program != "java" {
		s.program(z).process.Signal(s.t, syscall.SIGCONT)
	}
	s.tell("commit", Refused, z)
	s.resume(z)
	s.awaitSpread(name, 3, zombiePartitions, 2)
	w.burst(20)
	s.awaitRead(name, w)
	s.close(append(others, z)...)

	h := s.history(name)
	s.check(name, h.CheckAtLeastOnce(w.written()), h.Without(z.name).CheckExclusive())
	if h.CheckOnce(w.written()) == nil {
		s.t.Error("no record was read twice: the zombie had nothing to commit, so that nothing was shown")
	}
	s.checkCommitted(name, w)
}

// fenced opens a second member of an instance that is still there. In a classic group it takes the place of the first,
// which learns that it is fenced; in a consumer group it is the second that is refused. Either way there is one.
func fenced(s *story, program, protocol string) {
	name := "fenced-" + program + "-" + protocol
	w := s.topic(name, 3)
	m := func(who string) member {
		return member{program: program, name: who, group: name, topics: name, protocol: protocol,
			options: "instance=one session=20000 heartbeat=300"}
	}
	first, second := m("first"), m("second")
	s.open(first)
	s.awaitSpread(name, 1, 3, 3)
	w.burst(20)
	s.awaitRead(name, w)
	s.open(second)
	loser, winner := first, second
	if protocol == "consumer" {
		loser, winner = second, first
	}
	s.await(name, loser.name+" is fenced", func(g *sight) bool { return g.kinds[loser.name+" fenced"] == 1 })
	s.awaitSpread(name, 1, 3, 3)
	w.burst(20)
	s.awaitRead(name, w)
	s.close(winner)
	h := s.history(name)
	s.check(name, h.CheckAtLeastOnce(w.written()))
	for p, owner := range h.Between(0, h[len(h)-1].At).Owners() {
		if owner != winner.name {
			s.t.Errorf("%s is with %s", p, owner)
		}
	}
	s.checkCommitted(name, w)
}

// sessionTimeout sets how long members of a consumer group may be silent.
func (s *story) sessionTimeout(group string, ms int) {
	s.t.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	value := fmt.Sprint(ms)
	req.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeGroupConfig,
		ResourceName: group, Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{
			{Name: "consumer.session.timeout.ms", Value: &value}}}}
	resp, err := req.RequestWith(s.t.Context(), s.client)
	if err != nil || resp.Resources[0].ErrorCode != 0 {
		s.t.Fatalf("%v %+v", err, resp)
	}
}

// checkCommitted fails the test unless a group has committed all that is written.
func (s *story) checkCommitted(group string, w *writer) {
	s.t.Helper()
	offsets, err := kadm.NewClient(s.client).FetchOffsets(s.t.Context(), group)
	if err != nil {
		s.t.Fatal(err)
	}
	written := w.written()
	for p := range len(w.next) {
		at, ok := offsets.Lookup(w.topic, int32(p))
		if want := written[fmt.Sprintf("%s-%d", w.topic, p)]; !ok || at.At != want {
			s.t.Errorf("%s: partition %d is committed to %d, want %d", group, p, at.At, want)
		}
	}
}
