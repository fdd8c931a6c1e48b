//go:build compat

package cluster

import (
	"context"
	"flag"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"moldau.io/moldau/compat-tests/harness"
)

var (
	shiftFor   = flag.Duration("cluster.for", 30*time.Second, "for how long TestShiftingFaults goes on")
	moveRounds = flag.Int("cluster.moves", 4, "rounds of TestMovesAwayFromTheDead")
	shiftSeed  = flag.Uint64("cluster.seed", 0, "which faults it draws; 0: others each time")
)

// TestShiftingFaults draws one fault after the other, which may overlap, in a cluster of four with three replicas of each
// partition. What is drawn never loses what two brokers have, so nothing acknowledged may be lost.
func TestShiftingFaults(t *testing.T) {
	t.Parallel()
	seed := *shiftSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-cluster.seed=%d", seed)
	s := newStage(t, startJava(t), harness.ClusterConfig{Brokers: 4})
	s.load("t", 6)
	x := &shifting{stage: s, rng: rand.New(rand.NewPCG(seed, 0)), down: map[*harness.Broker]time.Time{},
		frozen: map[*harness.Broker]time.Time{}}
	faults := []func(){x.kill, x.kill, x.freeze, x.freeze, x.term, x.all, x.wipe, x.move, x.move, x.elect}
	for end := time.Now().Add(*shiftFor); time.Now().Before(end); {
		faults[x.rng.IntN(len(faults))]()
		s.pause(time.Duration(x.rng.IntN(2500)) * time.Millisecond)
		x.restore(false)
	}
	x.restore(true)
	s.say("no more faults")
	s.whole(4)
	s.flowing()
	s.finish()
}

// shifting is a run of faults.
type shifting struct {
	*stage
	rng    *rand.Rand
	down   map[*harness.Broker]time.Time // until when
	frozen map[*harness.Broker]time.Time
}

// one is any broker.
func (x *shifting) one() *harness.Broker {
	return x.cluster.Brokers[x.rng.IntN(len(x.cluster.Brokers))]
}

func (x *shifting) well(b *harness.Broker) bool {
	_, down := x.down[b]
	_, frozen := x.frozen[b]
	return !down && !frozen
}

// later is a moment that a fault may last to.
func (x *shifting) later() time.Time {
	return time.Now().Add(time.Duration(x.rng.IntN(5000)) * time.Millisecond)
}

// restore brings back what has been away long enough, or everything.
func (x *shifting) restore(all bool) {
	for _, b := range x.cluster.Brokers {
		if until, ok := x.frozen[b]; ok && (all || time.Now().After(until)) {
			x.say("SIGCONT to %s", b.Addr)
			b.Thaw(x.t)
			delete(x.frozen, b)
		}
		if until, ok := x.down[b]; ok && (all || time.Now().After(until)) {
			x.say("start of %s", b.Addr)
			b.Launch(x.t)
			delete(x.down, b)
		}
	}
}

func (x *shifting) kill() {
	if b := x.one(); x.well(b) {
		x.say("kill -9 of %s", b.Addr)
		b.Kill(x.t)
		x.down[b] = x.later()
	}
}

func (x *shifting) freeze() {
	if b := x.one(); x.well(b) {
		x.say("SIGSTOP to %s", b.Addr)
		b.Freeze(x.t)
		x.frozen[b] = x.later()
	}
}

func (x *shifting) term() {
	if b := x.one(); x.well(b) && x.answers(b) { // a process that has just been started does not know the signal yet
		x.say("SIGTERM to %s", b.Addr)
		b.Stop(x.t)
		x.down[b] = x.later()
	}
}

func (x *shifting) answers(b *harness.Broker) bool {
	_, err := b.Metadata(x.ctx, time.Second)
	return err == nil
}

// all kills everybody, frozen or not.
func (x *shifting) all() {
	x.say("kill -9 of all")
	for _, b := range x.cluster.Brokers {
		b.Kill(x.t)
		delete(x.frozen, b)
		x.down[b] = time.Now()
	}
}

// wipe empties a broker when all others have everything.
func (x *shifting) wipe() {
	x.restore(true)
	x.whole(len(x.cluster.Brokers))
	b := x.one()
	x.say("kill -9 of %s, and its folder is gone", b.Addr)
	b.Kill(x.t)
	x.cluster.Wipe(x.t, b)
	b.Launch(x.t)
	x.whole(len(x.cluster.Brokers))
}

// move gives a partition other replicas.
func (x *shifting) move() {
	ids := []int32{}
	resp, err := x.cluster.Brokers[x.rng.IntN(len(x.cluster.Brokers))].Metadata(x.ctx, 2*time.Second)
	if err != nil || len(resp.Brokers) < 3 {
		return
	}
	for _, m := range resp.Brokers {
		ids = append(ids, m.NodeID)
	}
	x.rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	p := int32(x.rng.IntN(6))
	req := kadm.AlterPartitionAssignmentsReq{}
	req.Assign("t", p, ids[:3])
	ctx, cancel := context.WithTimeout(x.ctx, 3*time.Second)
	defer cancel()
	_, err = x.admin.AlterPartitionAssignments(ctx, req)
	x.say("t-%d is to be on %v: %v", p, ids[:3], err)
}

// elect makes the first replicas leaders where they are in sync.
func (x *shifting) elect() {
	ctx, cancel := context.WithTimeout(x.ctx, 3*time.Second)
	defer cancel()
	_, err := x.admin.ElectLeaders(ctx, kadm.ElectPreferredReplica, nil)
	x.say("election of the preferred leaders: %v", err)
}

// TestMovesAwayFromTheDead: a leader is killed, and its partition is moved to another broker before it comes back.
func TestMovesAwayFromTheDead(t *testing.T) {
	t.Parallel()
	s := newStage(t, startJava(t), harness.ClusterConfig{Brokers: 4})
	s.topic("t", 6)
	s.open(s.franzWriter("once", "t", Idempotent, 6, 200), s.franzWriter("plain", "t", Plain, 6, 200),
		s.franzReader("reader", "t", 6), s.prober("prober", "t"))
	s.flowing()
	for round := range *moveRounds {
		p := int32(round % 6)
		dead := s.leader("t", p)
		id := s.id(dead)
		others := []int32{}
		for _, b := range s.cluster.Brokers {
			if b != dead {
				others = append(others, s.id(b))
			}
		}
		s.say("kill -9 of %s, leader of t-%d", dead.Addr, p)
		dead.Kill(t)
		s.pause(time.Duration(round%4) * time.Second)
		req := kadm.AlterPartitionAssignmentsReq{}
		req.Assign("t", p, others)
		_, err := s.admin.AlterPartitionAssignments(s.ctx, req)
		s.say("t-%d moves from %d to %v: %v", p, id, others, err)
		s.pause(time.Duration(round%3) * 300 * time.Millisecond)
		dead.Run(t)
		s.whole(4)
		s.flowing()
	}
	s.finish()
}
