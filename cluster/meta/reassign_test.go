package meta

import (
	"math/rand/v2"
	"slices"
	"testing"

	"moldau.io/moldau/protocol"
)

// move asks for other replicas of a topic's first partition; nil ones cancel.
func (w *crew) move(topic string, replicas ids) error {
	w.Helper()
	return w.act(AlterReassignments{Partitions: []Reassignment{{
		Partition: protocol.TopicPartition{Topic: topic}, Replicas: replicas,
	}}}).(AlterReassignmentsReply).Partitions[0].Outcome.Err()
}

func (w *crew) replicas(topic string, want ...protocol.BrokerID) {
	w.Helper()
	if got := w.c.image.Topic(topic).Partitions[0].Replicas; !slices.Equal(got, want) {
		w.Errorf("%s is on %v, want %v", topic, got, want)
	}
}

func TestReassignmentGoesOnUntilAllAreInSync(t *testing.T) {
	w := newCrew(t, 5)
	w.topic("a", ids{1, 2, 3})
	if err := w.move("a", ids{4, 5, 1}); err != nil {
		t.Fatal(err)
	}
	w.is("a", "1/0/1 isr[1 2 3] adding[4 5] removing[2 3]")
	w.replicas("a", 4, 5, 1, 2, 3)
	w.isr("a", 1, 2, 3, 4)
	w.is("a", "1/0/2 isr[1 2 3 4] adding[4 5] removing[2 3]")
	w.isr("a", 1, 2, 3, 4, 5)
	w.is("a", "1/1/3 isr[1 4 5]") // a new leader epoch: those that went are refused from now on
	w.replicas("a", 4, 5, 1)
	w.move("a", ids{5, 2, 3})
	w.isr("a", 1, 4, 5, 2, 3)
	w.is("a", "5/2/5 isr[5 2 3]") // the leader was among those that went
	w.replicas("a", 5, 2, 3)
}

func TestReassignmentWithoutMovesEndsAtOnce(t *testing.T) {
	w := newCrew(t, 3)
	w.topic("a", ids{1, 2, 3})
	w.move("a", ids{1, 2, 3})
	w.is("a", "1/0/0 isr[1 2 3]") // nothing to do
	w.move("a", ids{3, 2, 1})
	w.is("a", "1/0/1 isr[1 2 3]") // another order moves no leader
	w.replicas("a", 3, 2, 1)
	w.move("a", ids{3, 2})
	w.is("a", "3/1/2 isr[2 3]")
	w.replicas("a", 3, 2)
	w.move("a", ids{3, 2, 1})
	w.is("a", "3/1/3 isr[2 3] adding[1]")
	w.isr("a", 3, 2, 1)
	w.is("a", "3/1/4 isr[3 2 1]")
}

func TestReassignmentRefusals(t *testing.T) {
	w := newCrew(t, 3)
	w.topic("a", ids{1, 2})
	for _, c := range []struct {
		what     string
		replicas ids
		code     protocol.Code
	}{
		{"nothing to cancel", nil, protocol.NoReassignmentInProgress},
		{"to nobody", ids{}, protocol.InvalidReplicaAssignment},
		{"to an unknown broker", ids{1, 9}, protocol.InvalidReplicaAssignment},
		{"to no broker", ids{1, -3}, protocol.InvalidReplicaAssignment},
		{"to a broker twice", ids{1, 2, 1}, protocol.InvalidReplicaAssignment},
	} {
		if err := w.move("a", c.replicas); protocol.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %v", c.what, err, c.code)
		}
	}
	here := protocol.TopicPartition{Topic: "a"}
	got := w.act(AlterReassignments{KeepFactor: true, Partitions: []Reassignment{
		{Partition: here, Replicas: ids{1, 2, 3}},
		{Partition: protocol.TopicPartition{Topic: "a", Partition: 1}, Replicas: ids{1}},
		{Partition: protocol.TopicPartition{Topic: "b"}, Replicas: ids{1}},
		{Partition: here, Replicas: ids{1, 3}},
	}}).(AlterReassignmentsReply).Partitions
	for i, code := range []protocol.Code{protocol.InvalidReplicationFactor, protocol.UnknownTopicOrPartition,
		protocol.UnknownTopicOrPartition, protocol.InvalidRequest} {
		if protocol.CodeOf(got[i].Outcome.Err()) != code {
			t.Errorf("%d: %v, want %v", i, got[i].Outcome.Err(), code)
		}
	}
	w.is("a", "1/0/0 isr[1 2]")
}

func TestReassignmentIsCancelled(t *testing.T) {
	w := newCrew(t, 5)
	w.topic("a", ids{1, 2})
	w.move("a", ids{3, 4})
	w.isr("a", 1, 2, 3)
	if err := w.move("a", nil); err != nil {
		t.Fatal(err)
	}
	w.is("a", "1/1/3 isr[1 2]")
	w.replicas("a", 1, 2)
	w.move("a", ids{3, 4})
	w.isr("a", 1, 2, 3)
	w.die(2)
	w.die(1)
	w.is("a", "3/2/7 isr[3] adding[3 4] removing[1 2]")
	if err := w.move("a", nil); protocol.CodeOf(err) != protocol.InvalidReplicaAssignment {
		t.Errorf("going back would lose what only 3 has: %v", err)
	}
	w.restart(1, true)
	if err := w.move("a", nil); protocol.CodeOf(err) != protocol.InvalidReplicaAssignment {
		t.Errorf("the same where somebody is alive who could lead: %v", err)
	}
	w.set("a", "unclean.leader.election.enable", "true")
	if err := w.move("a", nil); err != nil || w.c.image.Topic("a").Partitions[0].Leader != 1 {
		t.Errorf("%v, %s", err, w.state("a"))
	}
}

func TestReassignmentChangesItsAim(t *testing.T) {
	w := newCrew(t, 5)
	w.topic("a", ids{1, 2})
	w.move("a", ids{3, 2})
	w.move("a", ids{4, 2})
	w.is("a", "1/1/2 isr[1 2] adding[4] removing[1]") // 3 is not wanted any more, and had nothing yet
	w.replicas("a", 4, 2, 1)
	w.isr("a", 1, 2, 4)
	w.replicas("a", 4, 2)
}

func TestI46_AReassignmentWaitsWhereItWouldLeaveTooFewInSync(t *testing.T) {
	w := newCrew(t, 4)
	w.topic("a", ids{1, 2, 3})
	w.set("a", "min.insync.replicas", "2")
	w.isr("a", 1, 2)
	w.move("a", ids{1, 3, 4}) // 3 lags
	w.isr("a", 1, 2, 4)
	w.is("a", "1/1/3 isr[1 4]")
	w.move("a", ids{3, 4, 2})
	w.isr("a", 1, 4, 2)
	w.is("a", "4/2/5 isr[4 2]")
	w.isr("a", 4)
	w.move("a", ids{3, 2, 1}) // nothing but 4 is in sync
	w.isr("a", 4, 1)
	w.is("a", "4/2/8 isr[4 1] adding[1] removing[4]") // [1] alone could commit nothing
	w.isr("a", 4, 1, 2)
	w.is("a", "2/3/9 isr[1 2]")
}

// TestI46_AReassignmentDoesNotForgetWhoHasEverything: when the replica that is to go dies, it is for a while the only other one
// with every committed record. A move that ended then would leave one copy where two are promised.
func TestI46_AReassignmentDoesNotForgetWhoHasEverything(t *testing.T) {
	w := withELR(t, 3)
	w.topic("a", ids{3, 2})
	w.set("a", "min.insync.replicas", "2")
	w.die(3)
	w.restart(3, false)
	w.isr("a", 2)
	w.move("a", ids{3, 1})
	w.isr("a", 2, 1)
	w.is("a", "2/1/4 isr[2 1] adding[1] removing[2]")
	w.die(2)
	w.is("a", "1/2/5 isr[1] elr[2] adding[1] removing[2]")
	w.isr("a", 1, 3)
	w.is("a", "1/3/6 isr[1 3]")
}

// TestI46_ReassignmentsKeepWhatIsCommitted has brokers die and return, leaders shrink and grow their in-sync sets, and an operator
// move partitions about. No move may make an in-sync set too small, take the last replica that has everything, or let one in that
// the leader has not named.
func TestI46_ReassignmentsKeepWhatIsCommitted(t *testing.T) {
	for seed := range uint64(400) {
		moves(t, seed)
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

func moves(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 46))
	const brokers = 6
	var features []Feature
	if seed%2 == 0 {
		features = []Feature{{Name: eligibleLeaderReplicas, Level: 1}}
	}
	w := newCrew(t, brokers, features...)
	w.topic("a", ids{1, 2, 3})
	w.set("a", "min.insync.replicas", "2")
	for range 120 {
		before := w.c.image.Topic("a").Partitions[0]
		id := protocol.BrokerID(1 + random.IntN(brokers))
		b := w.c.image.Broker(id)
		named := before.ISR
		operation := false
		switch random.IntN(6) {
		case 0, 1:
			replicas := ids(nil) // cancels, which goes back to what there was, however little
			for _, i := range random.Perm(brokers)[:random.IntN(4)] {
				replicas = append(replicas, protocol.BrokerID(i+1))
			}
			operation = replicas != nil
			w.move("a", replicas)
		case 2:
			if !b.Fenced {
				w.die(id)
			}
		case 3:
			if b.Fenced {
				w.restart(id, true)
			}
		default:
			if before.Leader < 0 {
				continue
			}
			named = ids{before.Leader}
			for _, r := range before.Replicas {
				if o := w.c.image.Broker(r); r != before.Leader && !o.Fenced && random.IntN(3) > 0 {
					named = append(named, r)
				}
			}
			operation = len(named) >= len(before.ISR) // the leader took nobody out, so whoever goes is moved away
			w.isr("a", named...)
		}
		w.keeps(&before, named, operation)
	}
}

// keeps checks what became of the partition. A move is the operator's doing alone, or the end of what it began.
func (w *crew) keeps(was *Partition, named ids, move bool) {
	w.Helper()
	p := &w.c.image.Topic("a").Partitions[0]
	complete := func(q *Partition) int { return len(q.ISR) + len(q.ELR) }
	if complete(p) == 0 {
		w.Errorf("nobody is left who has everything: %s, was %s", show(*p), show(*was))
	}
	for _, id := range p.ISR {
		if !slices.Contains(named, id) && !slices.Contains(was.ISR, id) && !slices.Contains(was.ELR, id) {
			w.Errorf("%d came into the in-sync set by itself: %s, was %s", id, show(*p), show(*was))
		}
	}
	least := min(2, len(p.Replicas)-len(p.Adding))
	if move && len(p.ISR) < min(least, len(named)) && p.Leader >= 0 && was.Leader >= 0 {
		w.Errorf("too few are left in sync on %v: %s, was %s", p.Replicas, show(*p), show(*was))
	}
	if !containsAll(p.Replicas, p.ISR) || !containsAll(p.Replicas, p.Adding) || !containsAll(p.Replicas, p.Removing) {
		w.Errorf("%v does not hold all of %s", p.Replicas, show(*p))
	}
}

func TestPreferredAndUncleanElections(t *testing.T) {
	w := newCrew(t, 3)
	w.topic("a", ids{1, 2})
	w.topic("b", ids{1, 2})
	w.topic("c", ids{3})
	elect := func(unclean, all bool, topics ...string) (codes []protocol.Code) {
		cmd := ElectLeaders{Unclean: unclean, All: all}
		for _, topic := range topics {
			cmd.Partitions = append(cmd.Partitions, protocol.TopicPartition{Topic: topic})
		}
		for _, r := range w.act(cmd).(ElectLeadersReply).Partitions {
			codes = append(codes, r.Outcome.Code)
		}
		return codes
	}
	is := func(what string, got []protocol.Code, want ...protocol.Code) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	is("as it is", elect(false, false, "a", "x", "a"), protocol.ElectionNotNeeded, protocol.UnknownTopicOrPartition,
		protocol.ElectionNotNeeded)
	is("all as they are", elect(false, true))
	w.die(1)
	is("not alive", elect(false, false, "a", "a"), protocol.PreferredLeaderNotAvailable, protocol.PreferredLeaderNotAvailable)
	is("led", elect(true, false, "a"), protocol.ElectionNotNeeded)
	w.restart(1, true)
	is("not in sync", elect(false, true), protocol.PreferredLeaderNotAvailable, protocol.PreferredLeaderNotAvailable)
	w.isr("a", 2, 1)
	is("all", elect(false, true), protocol.None, protocol.PreferredLeaderNotAvailable)
	w.is("a", "1/2/3 isr[2 1]")
	w.die(2)
	is("nobody who has everything", elect(false, false, "b"), protocol.PreferredLeaderNotAvailable)
	is("somebody", elect(true, true), protocol.None)
	w.is("b", "1/3/3 isr[1] recovering")
	w.die(3)
	is("nobody at all", elect(true, false, "c"), protocol.EligibleLeadersNotAvailable)
}
