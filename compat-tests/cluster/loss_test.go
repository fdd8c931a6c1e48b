//go:build compat

package cluster

import (
	"slices"
	"strings"
	"testing"

	"moldau.io/moldau/compat-tests/harness"
)

// TestALossIsSeen makes a real loss and wants it told: a producer with acks=1 writes to a leader whose followers are frozen,
// and the leader is killed. Told as a producer's with acks=all, the history has lost records; told as what it is, it is sound.
// What the old leader had alone is cut off when it comes back, so that the replicas are equal.
func TestALossIsSeen(t *testing.T) {
	t.Parallel()
	s := newStage(t, startJava(t), harness.ClusterConfig{})
	s.topic("t", 1)
	s.open(s.franzWriter("hasty", "t", Careless, 1, 500), s.franzReader("reader", "t", 1))
	s.flowing()
	leader := s.leader("t", 0)
	for _, b := range s.cluster.Brokers {
		if b != leader {
			b.Freeze(t)
		}
	}
	s.mu.Lock()
	before := s.of("hasty").acked["t-0"]
	s.mu.Unlock()
	s.await("the leader alone acknowledges 100 records", func() string {
		if s.of("hasty").acked["t-0"] < before+100 {
			return "some"
		}
		return ""
	})
	leader.Kill(t)
	for _, b := range s.cluster.Brokers {
		if b != leader {
			b.Thaw(t)
		}
	}
	s.flowing()
	leader.Run(t)
	s.whole(3)
	s.flowing()
	s.end(s.writers)
	ends := s.ends("t")
	final := s.franzReader("final", "t", 1)
	s.awaitRead(ends, "reader")
	s.awaitRead(ends, "final")
	s.end(append(s.readers, final))
	s.judge([]actor{final})
	s.replicas()

	s.mu.Lock()
	defer s.mu.Unlock()
	boast := slices.Clone(s.seen)
	for i, e := range boast {
		if e.Kind == Opened && e.Who == "hasty" {
			boast[i].Value = string(Plain)
		}
	}
	err := boast.Check("final")
	if err == nil || !strings.Contains(err.Error(), "lost: ") {
		t.Errorf("100 records were lost, and found was: %v", err)
	}
}
