package group

import (
	"testing"
	"time"
)

// What the simulation found, in few steps.

// What the consumer protocol allows its members is nothing to a classic one: it said how long it may be silent.
func TestI72_ALoadedClassicMemberOfAConsumerGroupKeepsItsOwnSession(t *testing.T) {
	b := newBench(t)
	b.topics.set("t", 2)
	b.handle("a", &Join{
		Group: "g", Type: "consumer", Session: 2 * b.cfg.Consumer.Session, Rebalance: time.Minute, ClientID: "a",
		Protocols: []Protocol{{Name: "range", Metadata: b.subscription("+t")}},
	})
	b.advance(b.cfg.InitialRebalanceDelay)
	b.handle("a", &Sync{
		Group: "g", Member: b.ids["a"], Generation: 1,
		Assignments: []Assignment{{Member: b.ids["a"], Data: assignmentBytes("+t:0;1")}},
	})
	b.handle("c", &ConsumerHeartbeat{
		Group: "g", Member: "c", Rebalance: time.Minute, Topics: []string{"t"}, Owned: []TopicPartitions{}, MemberIDRequired: true,
	})
	b.restart()
	b.advance(b.cfg.Consumer.Session + time.Second)
	// The consumer is gone, so the group is a classic one again.
	if g := b.m.groups["g"]; g == nil || g.byID[b.ids["a"]] == nil {
		t.Fatalf("after the session of consumers the classic member is gone: %+v", g)
	}
	b.advance(2 * b.cfg.Consumer.Session)
	if g := b.m.groups["g"]; len(g.members) > 0 {
		t.Errorf("after its own session the classic member is still there: %+v", g.members)
	}
}

// The last consumer comes back as a classic member while another member waits for what it has left: a stable classic group
// would never tell that one of its partitions.
func TestI68_ADowngradeAmidstAReconciliationRebalances(t *testing.T) {
	b := newBench(t)
	b.topics.set("t", 4)
	instance := "i"
	beat := &ConsumerHeartbeat{
		Group: "g", Member: "s", Instance: &instance, Rebalance: time.Minute, Topics: []string{"t"}, Owned: []TopicPartitions{},
		MemberIDRequired: true,
	}
	b.handle("s", beat)
	b.handle("s", &ConsumerHeartbeat{Group: "g", Member: "s", Instance: &instance, Epoch: -2, Rebalance: unchangedRebalance, MemberIDRequired: true})
	b.advance(2 * b.cfg.Consumer.AssignmentInterval)
	join := func(who string, instance *string) {
		b.handle(who, &Join{
			Group: "g", Instance: instance, Type: "consumer", Session: b.cfg.MinSessionTimeout, Rebalance: time.Minute,
			ClientID: who, Protocols: []Protocol{{Name: "cooperative-sticky", Metadata: b.subscription("+t")}},
		})
	}
	join("a", nil)
	join("s", &instance)
	if b.m.groups["g"] == nil {
		t.Fatal("the group is no classic one")
	}
	b.out = nil
	b.handle("a", &Heartbeat{Group: "g", Member: b.ids["a"], Generation: b.gens["a"]})
	if b.out[0] != "a: REBALANCE_IN_PROGRESS" {
		t.Errorf("%s, and a was to get two partitions", b.out[0])
	}
}

// A static member that comes back is silent for as long as it says now, and not as it said when it was there before.
func TestI72_AStaticMemberThatComesBackHasItsNewSession(t *testing.T) {
	b := newBench(t)
	instance := "i"
	join := func(session time.Duration) {
		b.handle("s", &Join{
			Group: "g", Instance: &instance, Type: "consumer", Session: session, Rebalance: time.Minute, ClientID: "s",
			Protocols: []Protocol{{Name: "range", Metadata: b.subscription("+t")}},
		})
	}
	join(10 * b.cfg.MinSessionTimeout)
	b.advance(b.cfg.InitialRebalanceDelay)
	b.handle("s", &Sync{Group: "g", Member: b.ids["s"], Generation: 1})
	join(b.cfg.MinSessionTimeout)
	b.advance(b.cfg.MinSessionTimeout)
	if g := b.m.groups["g"]; len(g.members) > 0 {
		t.Errorf("it is still a member: %+v", g.members[0])
	}
}
