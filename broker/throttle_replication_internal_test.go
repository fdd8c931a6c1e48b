package broker

import (
	"math"
	"testing"
	"time"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
)

func TestThrottledReplicasAreRead(t *testing.T) {
	f := func(value string, partition int32, broker protocol.BrokerID, want bool) {
		t.Helper()
		if got := newThrottledReplicas(value).has(partition, broker); got != want {
			t.Errorf("%q has %d:%d: %v", value, partition, broker, got)
		}
	}
	f("", 0, 1, false)
	f("*", 7, 9, true)
	f("0:1,1:2", 0, 1, true)
	f("0:1, 1:2", 1, 2, true)
	f("0:1,1:2", 0, 2, false)
}

func TestAReplicationRateIsKeptInTheLongRun(t *testing.T) {
	var r replicationRate
	now := time.Unix(1000, 0)
	r.set(math.MaxInt64)
	r.count(now, 1<<40)
	if w := r.wait(now); w != 0 {
		t.Errorf("without a bound: %v", w)
	}
	r.set(1000)
	sent, began := 0, now
	for now.Sub(began) < 100*time.Second {
		if w := r.wait(now); w > 0 {
			now = now.Add(w)
			continue
		}
		r.count(now, 700)
		sent += 700
		now = now.Add(time.Millisecond)
	}
	if sent < 99_000 || sent > 103_000 {
		t.Errorf("%d bytes in 100 s at 1000 a second", sent)
	}
	r.set(0)
	if w := r.wait(now); w == 0 {
		t.Error("a rate of nothing lets something through")
	}
}

// The follower is on the list and not in sync: with a rate of next to nothing it gets one answer and then no other.
func TestAThrottledFollowerFallsBehind(t *testing.T) {
	for _, side := range []string{"leader", "follower"} {
		rs := newReplicas(t, 2)
		all, rate := "*", "1"
		rs.configs = []meta.Record{
			meta.ConfigRecord{Resource: meta.Resource{Type: config.TopicResource, Name: "t"},
				Key: side + ".replication.throttled.replicas", Value: &all},
			meta.ConfigRecord{Resource: meta.Resource{Type: config.BrokerResource}, Key: side + ".replication.throttled.rate",
				Value: &rate},
		}
		rs.assign(1, 1, 5, 1)
		rs.put(1, 0, "first")
		rs.until("the first batch is copied", func() bool { return rs.p(2, 0).log.Bounds().End == 1 })
		rs.put(1, 0, "second")
		if wait := rs.b[1].leaderRate.wait(time.Now()) + rs.b[2].followerRate.wait(time.Now()); wait < time.Second {
			t.Errorf("%s: the next one must wait for %v", side, wait)
		}
		rs.configs = rs.configs[:1]
		rs.assign(1, 1, 5, 1)
		rs.same(0, 2)
	}
}
