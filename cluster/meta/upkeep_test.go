package meta

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/protocol"
)

// pass lets time go by, with heartbeats of those who live.
func (w *crew) pass(d time.Duration, alive ...protocol.BrokerID) {
	w.Helper()
	for end := w.now.Add(d); w.now.Before(end); {
		w.now = w.now.Add(min(end.Sub(w.now), leaseDefault/4))
		w.beat(alive...)
		w.settle()
	}
}

// arrive has the leaders of all partitions take all of their replicas that are alive into their in-sync sets.
func (w *crew) arrive() {
	w.Helper()
	for _, t := range w.c.image.Topics() {
		for i, p := range t.Partitions {
			ch := ISRChange{Topic: t.ID, Partition: int32(i), LeaderEpoch: p.LeaderEpoch, Epoch: p.Epoch, Recovered: true}
			for _, id := range p.Replicas {
				if w.c.image.active(id) {
					ch.ISR = append(ch.ISR, ISRMember{ID: id, Epoch: w.epoch[id]})
				}
			}
			if p.Leader >= 0 {
				w.act(AlterPartition{Broker: p.Leader, BrokerEpoch: w.epoch[p.Leader], Partitions: []ISRChange{ch}})
			}
		}
	}
}

// on counts the replicas and leaderships of a broker.
func (w *crew) on(id protocol.BrokerID) (replicas, leads int) {
	for _, t := range w.c.image.Topics() {
		for _, p := range t.Partitions {
			if slices.Contains(p.Replicas, id) {
				replicas++
			}
			if p.Leader == id {
				leads++
			}
		}
	}
	return replicas, leads
}

func TestLeadershipsGoBackToThePreferredReplicas(t *testing.T) {
	w := withELR(t, 3)
	w.topic("a", ids{1, 2, 3})
	w.topic("b", ids{2, 1, 3})
	w.die(1)
	w.is("a", "2/1/1 isr[2 3]")
	w.restart(1, true)
	w.pass(10*time.Minute, 1, 2, 3)
	w.is("a", "2/1/1 isr[2 3]") // it has not caught up
	w.arrive()
	w.is("a", "2/1/2 isr[1 2 3]")
	w.pass(5*time.Minute, 1, 2, 3)
	w.is("a", "1/2/3 isr[1 2 3]")
	w.is("b", "2/0/2 isr[2 1 3]")
	w.act(DrainBroker{ID: 1, Drain: true})
	w.settle()
	w.is("a", "2/3/4 isr[1 2 3]") // and it is not given back to a broker that is emptied
	w.pass(10*time.Minute, 1, 2, 3)
	w.is("a", "2/3/4 isr[1 2 3]")
}

func TestABrokerIsEmptied(t *testing.T) {
	w := withELR(t, 4)
	for i := range 100 {
		w.topic(fmt.Sprint("t", i), ids{1 + protocol.BrokerID(i%2), 3}, ids{3, 1 + protocol.BrokerID(i%2)})
	}
	w.topic("all", ids{1, 2, 3, 4})
	for _, c := range []struct {
		what string
		cmd  DrainBroker
		code protocol.Code
	}{{"one that is not there", DrainBroker{9, true}, protocol.BrokerIDNotRegistered}, {"broker 3", DrainBroker{3, true}, protocol.None}} {
		_, err := w.ask(c.cmd)
		w.want(c.what, err, c.code)
	}
	w.settle()
	replicas, leads := w.on(3)
	moves := 0
	for _, topic := range w.c.image.Topics() {
		for i := range topic.Partitions {
			if moving(&topic.Partitions[i]) {
				moves++
			}
		}
	}
	if leads != 0 || moves != movesMax || replicas != 201 {
		t.Errorf("at first %d partitions move, and it leads %d and has %d", moves, leads, replicas)
	}
	for range 20 {
		w.arrive()
		w.settle()
		for _, topic := range w.c.image.Topics() {
			for i, p := range topic.Partitions {
				if len(p.ISR) < 1 || p.Leader == -1 || len(p.ISR) < 2 && !moving(&p) {
					t.Fatalf("%s-%d: %s of %v on the way", topic.Name, i, show(p), p.Replicas)
				}
			}
		}
	}
	if replicas, leads = w.on(3); replicas != 1 || leads != 0 { // all four have a replica of one topic
		t.Errorf("in the end it leads %d and has %d", leads, replicas)
	}
	for id := protocol.BrokerID(1); id <= 4; id++ {
		if r, _ := w.on(id); id != 3 && (r < 120 || r > 150) {
			t.Errorf("broker %d has %d", id, r)
		}
	}
	if got := w.create(NewTopic{Name: "new", Partitions: 9, ReplicationFactor: 3}); got.Outcome.Err() != nil {
		t.Error(got.Outcome.Err())
	}
	if r, _ := w.on(3); r != 1 {
		t.Error("it is given new replicas")
	}
	w.act(DrainBroker{ID: 3})
	if w.c.image.Broker(3).Draining {
		t.Error("it cannot be taken back")
	}
	w.act(DrainBroker{ID: 1, Drain: true})
	w.act(DrainBroker{ID: 2, Drain: true})
	w.act(DrainBroker{ID: 3, Drain: true})
	_, err := w.ask(DrainBroker{ID: 4, Drain: true})
	w.want("the last one", err, protocol.InvalidRequest)
}

func TestABrokerThatStaysAwayIsReplaced(t *testing.T) {
	w := withELR(t, 4)
	w.topic("a", ids{1, 2, 3})
	w.topic("b", ids{3})
	w.die(3)
	w.pass(time.Hour, 1, 2, 4)
	w.is("a", "1/0/1 isr[1 2]") // by default nothing is moved
	heal := "10m"
	w.act(AlterConfigs{Resources: []AlterResource{{Resource: Resource{Type: config.BrokerResource}, Ops: []ConfigOp{{Key: autoHeal, Value: &heal}}}}})
	w.restart(3, true)
	w.die(3)
	w.pass(9*time.Minute, 1, 2, 4)
	w.is("a", "1/0/1 isr[1 2]")
	w.pass(time.Minute, 1, 2, 4)
	w.is("a", "1/0/2 isr[1 2] adding[4] removing[3]")
	w.arrive()
	w.settle()
	if p := w.c.image.Topic("a").Partitions[0]; show(p) != "1/1/3 isr[1 2 4]" || !slices.Equal(p.Replicas, ids{1, 2, 4}) {
		t.Errorf("%s of %v", show(p), p.Replicas)
	}
	if p := w.c.image.Topic("b").Partitions[0]; !slices.Equal(p.Replicas, ids{3}) {
		t.Errorf("what nobody else has was given away: %s of %v", show(p), p.Replicas)
	}
	w.restart(3, true)
	w.pass(time.Hour, 1, 2, 3, 4)
	if p := w.c.image.Topic("b").Partitions[0]; p.Leader != 3 {
		t.Errorf("%s", show(p))
	}
}

// TestTheUpkeepOfOneBrokerIsNothing: a process that has nothing to do sleeps.
func TestTheUpkeepOfOneBrokerIsNothing(t *testing.T) {
	w := withELR(t, 1)
	w.topic("a", ids{1})
	w.settle()
	if at := w.c.Deadline(); !at.IsZero() {
		t.Errorf("a deadline at %v", at)
	}
}
