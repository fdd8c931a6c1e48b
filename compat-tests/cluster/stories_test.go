//go:build compat

package cluster

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"moldau.io/moldau/compat-tests/harness"
)

// TestStories are what may happen to a cluster, each with a cluster of its own and the clients of stage.load. Afterwards the
// cluster is whole again by itself, nothing acknowledged is lost or moved, no read has gone back, and all replicas are equal.
func TestStories(t *testing.T) {
	java := startJava(t)
	for _, story := range []struct {
		name string
		tell func(*stage)
	}{
		{"KillEachInTurn", killEach},
		{"KillAll", killAll},
		{"FreezeTheController", freezeController},
		{"LoseAFolder", loseFolder},
		{"RollingRestart", rollingRestart},
		{"Grow", grow},
	} {
		t.Run(story.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, java, harness.ClusterConfig{})
			s.load("t", 6)
			story.tell(s)
			s.finish()
		})
	}
}

// pause lets the load go on for a while.
func (s *stage) pause(d time.Duration) {
	select {
	case <-time.After(d): // what is wanted is time that passes
	case <-s.ctx.Done():
	}
}

func killEach(s *stage) {
	for _, b := range s.cluster.Brokers {
		s.pause(time.Second)
		s.say("kill -9 of %s", b.Addr)
		b.Kill(s.t)
		s.flowing()
		b.Run(s.t)
		s.whole(3)
		s.flowing()
	}
}

// killAll ends all brokers at once, while records are on their way.
func killAll(s *stage) {
	for range 3 {
		s.pause(time.Second)
		s.say("kill -9 of all")
		for _, b := range s.cluster.Brokers {
			b.Kill(s.t)
		}
		for _, b := range s.cluster.Brokers {
			b.Launch(s.t)
		}
		s.whole(3)
		s.flowing()
	}
}

func freezeController(s *stage) {
	for range 2 {
		s.pause(time.Second)
		b := s.controller()
		s.say("SIGSTOP to the controller, %s", b.Addr)
		b.Freeze(s.t)
		s.flowing()
		b.Thaw(s.t)
		s.say("SIGCONT")
		s.whole(3)
		s.flowing()
	}
}

func loseFolder(s *stage) {
	for _, b := range s.cluster.Brokers {
		s.pause(time.Second)
		s.say("kill -9 of %s, and its folder is gone", b.Addr)
		b.Kill(s.t)
		s.cluster.Wipe(s.t, b)
		s.flowing()
		b.Run(s.t)
		s.whole(3)
		s.flowing()
	}
}

func rollingRestart(s *stage) {
	for _, b := range s.cluster.Brokers {
		s.pause(time.Second)
		s.say("SIGTERM to %s", b.Addr)
		b.Stop(s.t)
		b.Run(s.t)
		s.whole(3)
		s.flowing()
	}
	s.calm()
}

// grow adds a broker, partitions and a topic while everybody works.
func grow(s *stage) {
	s.pause(time.Second)
	b := s.cluster.Add(s.t)
	s.say("a fourth broker, %s", b.Addr)
	s.flowing()
	if _, err := s.admin.UpdatePartitions(s.ctx, 12, "t"); err != nil {
		s.t.Fatal(err)
	}
	for _, a := range append(slices.Clone(s.writers), s.readers...) {
		if a.grow != nil {
			a.grow(12)
		}
	}
	s.await("everybody writes to 12 partitions", func() string {
		var missing []string
		for _, w := range s.writers {
			if n := len(s.of(w.name).acked); n < 12 {
				missing = append(missing, fmt.Sprintf("%s writes to %d", w.name, n))
			}
		}
		return strings.Join(missing, ", ")
	})
	s.say("12 partitions")
	for _, topic := range []string{"u", "v"} {
		s.lighter(topic, 8)
		s.say("a new topic, %s", topic)
	}
	resp, err := b.Metadata(s.ctx, 5*time.Second, "t", "u", "v")
	if err != nil {
		s.t.Fatal(err)
	}
	fourth, leads, follows := s.id(b), 0, 0
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if p.Leader == fourth {
				leads++
			} else if slices.Contains(p.Replicas, fourth) {
				follows++
			}
		}
	}
	if leads == 0 || follows == 0 {
		s.t.Errorf("the fourth broker leads %d partitions and follows %d", leads, follows)
	}
	s.calm()
}
