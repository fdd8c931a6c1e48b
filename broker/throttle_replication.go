package broker

import (
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/protocol"
)

// Replication that is throttled, for reassignments mostly (KIP-73): a topic lists the replicas, a broker has a rate for what
// it sends as the leader and one for what it fetches as a follower. A replica that is in sync is never held up, but what goes
// to it counts.

// throttledReplicas is a topic's list: partitions with brokers, or all of them.
type throttledReplicas struct {
	all  bool
	some map[throttledReplica]bool
}

type throttledReplica struct {
	partition int32
	broker    protocol.BrokerID
}

// newThrottledReplicas reads the value of leader. or follower.replication.throttled.replicas, which was checked when it was
// set: "partition:broker,partition:broker", or a star first.
func newThrottledReplicas(value string) throttledReplicas {
	var t throttledReplicas
	for i, e := range strings.Split(value, ",") {
		e = strings.TrimSpace(e)
		if e == "*" && i == 0 {
			return throttledReplicas{all: true}
		}
		partition, broker, ok := strings.Cut(e, ":")
		p, err1 := strconv.ParseInt(partition, 10, 32)
		b, err2 := strconv.ParseInt(broker, 10, 32)
		if !ok || err1 != nil || err2 != nil {
			continue
		}
		if t.some == nil {
			t.some = map[throttledReplica]bool{}
		}
		t.some[throttledReplica{int32(p), protocol.BrokerID(b)}] = true
	}
	return t
}

func (t throttledReplicas) has(partition int32, broker protocol.BrokerID) bool {
	return t.all || t.some[throttledReplica{partition, broker}]
}

// replicationRate is one of the two rates of a broker. What goes through is counted when it has gone, so that a batch of any
// size gets through; then nothing more does until that is paid for.
type replicationRate struct {
	mu   sync.Mutex
	rate float64   // bytes a second
	paid time.Time // when what has gone through is paid for
}

// rateBurst is how much may go through at once after a pause, in time.
const rateBurst = time.Second

func (r *replicationRate) set(bytesPerSecond int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rate = float64(bytesPerSecond)
	if bytesPerSecond == math.MaxInt64 {
		r.rate = math.Inf(1)
	}
	r.paid = time.Time{}
}

// count takes note of bytes that have gone through.
func (r *replicationRate) count(now time.Time, bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if earliest := now.Add(-rateBurst); r.paid.Before(earliest) {
		r.paid = earliest
	}
	if !math.IsInf(r.rate, 1) && r.rate > 0 {
		r.paid = r.paid.Add(time.Duration(float64(bytes) / r.rate * float64(time.Second)))
	}
}

// wait is how long nothing may go through; 0 for not at all.
func (r *replicationRate) wait(now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rate <= 0 {
		return time.Second // until another rate is set
	}
	return max(0, r.paid.Sub(now))
}

// replicationRates takes over what is configured.
func (b *Broker) replicationRates(v config.View) {
	b.leaderRate.set(v.BrokerInt("leader.replication.throttled.rate"))
	b.followerRate.set(v.BrokerInt("follower.replication.throttled.rate"))
}

// throttledHere says whether this broker's replica of p is on the topic's list for leaders, or for followers.
func (p *Partition) throttledHere(leader bool) bool {
	rules := p.rules.Load()
	if leader {
		return rules.leaderThrottled.has(p.id.Partition, p.b.nodeID())
	}
	return rules.followerThrottled.has(p.id.Partition, p.b.nodeID())
}

// heldUp is how long p is not to be fetched: its follower is throttled, and not in sync.
func (p *Partition) heldUp(now time.Time) time.Duration {
	if p.followsInSync.Load() || !p.throttledHere(false) {
		return 0
	}
	return p.b.followerRate.wait(now)
}
