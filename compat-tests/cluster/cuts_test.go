//go:build compat

package cluster

import (
	"slices"
	"testing"

	"moldau.io/moldau/compat-tests/harness"
)

// TestCuts cuts brokers off from the others. Clients reach all brokers all the time, so that one that is alone is asked too.
func TestCuts(t *testing.T) {
	t.Parallel()
	net := harness.NewNet(t, 3)
	java := startJava(t)
	s := newStage(t, java, harness.ClusterConfig{Net: net})
	s.load("t", 6)
	for _, cut := range []struct {
		what string
		who  func() *harness.Broker
		cut  func(one, other int)
	}{
		{"a broker that is not the controller is alone", s.follower, func(one, other int) { net.Cut(t, one, other) }},
		{"the controller is alone", s.controller, func(one, other int) { net.Cut(t, one, other) }},
		{"a leader is alone", func() *harness.Broker { return s.leader("t", 0) },
			func(one, other int) { net.Cut(t, one, other) }},
		{"nobody hears the controller", s.controller, func(one, other int) { net.Drop(t, one, other) }},
		{"the controller hears nobody", s.controller, func(one, other int) { net.Drop(t, other, one) }},
		{"nobody hears a leader", func() *harness.Broker { return s.leader("t", 1) },
			func(one, other int) { net.Drop(t, one, other) }},
	} {
		b := cut.who()
		one := s.number(b)
		s.say("%s: %s", cut.what, b.Addr)
		for other := 1; other <= 3; other++ {
			if other != one {
				cut.cut(one, other)
			}
		}
		s.flowing()
		net.Heal(t)
		s.say("healed")
		s.whole(3)
		s.flowing()
	}
	s.say("two brokers do not see each other, the third sees both")
	net.Cut(t, 1, 2)
	s.flowing()
	net.Heal(t)
	s.whole(3)
	s.finish()
}

// follower is a broker that is not the controller.
func (s *stage) follower() *harness.Broker {
	s.t.Helper()
	leader := s.controller()
	return s.cluster.Brokers[slices.IndexFunc(s.cluster.Brokers, func(b *harness.Broker) bool { return b != leader })]
}
