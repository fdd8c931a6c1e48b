package meta

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
)

// crew is a controller with brokers that keep leases, on a clock of its own.
type crew struct {
	*plant
	now   time.Time
	log   int64 // offset of the last entry of the metadata log
	epoch map[protocol.BrokerID]int64
	life  byte
}

func newCrew(t *testing.T, brokers int, features ...Feature) *crew {
	w := &crew{
		plant: &plant{T: t, c: NewController(ControllerConfig{Random: rand.New(rand.NewPCG(1, 2))}, Empty())},
		now:   time.Unix(1_000_000, 0), epoch: map[protocol.BrokerID]int64{},
	}
	w.act(Bootstrap{ClusterID: testCluster, Features: features})
	for i := range brokers {
		w.join(protocol.BrokerID(i + 1))
	}
	w.settle()
	return w
}

// settle lets the controller do what it has become due for.
func (w *crew) settle() {
	w.Helper()
	for at := w.c.Deadline(); !at.IsZero() && !at.After(w.now); at = w.c.Deadline() {
		w.apply(w.c.Tick(w.now))
	}
}

func withELR(t *testing.T, brokers int) *crew {
	return newCrew(t, brokers, Feature{Name: eligibleLeaderReplicas, Level: 1})
}

func (w *crew) apply(recs []Record) {
	w.Helper()
	if err := w.c.Apply(recs...); err != nil {
		w.Fatalf("the controller's own records cannot be applied: %v", err)
	}
	if len(recs) > 0 {
		w.log++
		w.c.Logged(w.log)
	}
	w.recs = append(w.recs, recs)
}

func (w *crew) ask(cmd Command) (Reply, error) {
	w.Helper()
	recs, reply, err := w.c.Handle(w.now, cmd)
	if err == nil {
		w.apply(recs)
	}
	return reply, err
}

func (w *crew) act(cmd Command) Reply {
	w.Helper()
	r, err := w.ask(cmd)
	if err != nil {
		w.Fatalf("%T: %v", cmd, err)
	}
	return r
}

// register is a new process of the broker. It is fenced until its first heartbeat, unless it is alone.
func (w *crew) register(id protocol.BrokerID, clean int64) error {
	w.life++
	r, err := w.ask(RegisterBroker{
		ID: id, Incarnation: protocol.TopicID{15: w.life}, CleanEpoch: clean, Quorum: uint64(1000 + id), Cluster: fmt.Sprint("c", id),
		Features: []FeatureRange{{Name: eligibleLeaderReplicas, Max: 1}},
	})
	if err == nil {
		w.epoch[id] = r.(RegisterBrokerReply).Epoch
	}
	return err
}

func (w *crew) join(id protocol.BrokerID) {
	w.Helper()
	if err := w.register(id, -1); err != nil {
		w.Fatal(err)
	}
	w.beat(id)
}

// restart is a process that ended and came back, in order or not.
func (w *crew) restart(id protocol.BrokerID, clean bool) {
	w.Helper()
	epoch := int64(-1)
	if clean {
		epoch = w.epoch[id]
	}
	if err := w.register(id, epoch); err != nil {
		w.Fatal(err)
	}
	w.beat(id)
}

func (w *crew) beat(who ...protocol.BrokerID) (last BrokerHeartbeatReply) {
	w.Helper()
	for _, id := range who {
		last = w.act(BrokerHeartbeat{ID: id, Epoch: w.epoch[id], Offset: w.log}).(BrokerHeartbeatReply)
	}
	return last
}

func (w *crew) die(id protocol.BrokerID) { w.Helper(); w.act(BrokerGone{ID: id, Epoch: w.epoch[id]}) }

func (w *crew) topic(name string, replicas ...ids) {
	w.Helper()
	if got := w.act(CreateTopics{Topics: []NewTopic{{Name: name, Partitions: -1, ReplicationFactor: -1,
		Assignments: assign(replicas...)}}}).(CreateTopicsReply).Topics[0]; got.Outcome.Err() != nil {
		w.Fatal(got.Outcome.Err())
	}
}

func (w *crew) set(topic, key, value string) {
	w.Helper()
	w.act(AlterConfigs{Resources: []AlterResource{{Resource: topicResource(topic), Ops: []ConfigOp{{Key: key, Value: &value}}}}})
}

// isr has the leader ask for another in-sync set.
func (w *crew) isr(topic string, isr ...protocol.BrokerID) ISRChanged {
	w.Helper()
	return w.act(w.isrChange(topic, isr...)).(AlterPartitionReply).Partitions[0]
}

func (w *crew) isrChange(topic string, isr ...protocol.BrokerID) AlterPartition {
	t := w.c.image.Topic(topic)
	p := t.Partitions[0]
	ch := ISRChange{Topic: t.ID, LeaderEpoch: p.LeaderEpoch, Epoch: p.Epoch, Recovered: true}
	for _, id := range isr {
		ch.ISR = append(ch.ISR, ISRMember{ID: id, Epoch: w.epoch[id]})
	}
	return AlterPartition{Broker: p.Leader, BrokerEpoch: w.epoch[p.Leader], Partitions: []ISRChange{ch}}
}

func (w *crew) state(topic string) string { return show(w.c.image.Topic(topic).Partitions[0]) }

// show is a partition in one line: leader/leader epoch/partition epoch, in-sync set, and what else there is.
func show(p Partition) string {
	s := fmt.Sprintf("%d/%d/%d isr%v", p.Leader, p.LeaderEpoch, p.Epoch, p.ISR)
	for _, l := range []struct {
		name string
		ids  ids
	}{{"elr", p.ELR}, {"last", p.LastKnownELR}, {"adding", p.Adding}, {"removing", p.Removing}} {
		if len(l.ids) > 0 {
			s += fmt.Sprintf(" %s%v", l.name, l.ids)
		}
	}
	if p.Recovering {
		s += " recovering"
	}
	return s
}

func (w *crew) is(topic, want string) {
	w.Helper()
	if got := w.state(topic); got != want {
		w.Errorf("%s is %s, want %s", topic, got, want)
	}
}

func TestLeadersMoveWhenABrokerDies(t *testing.T) {
	w := newCrew(t, 3)
	w.topic("a", ids{1, 2, 3})
	w.is("a", "1/0/0 isr[1 2 3]")
	w.die(1)
	w.is("a", "2/1/1 isr[2 3]")
	w.die(3)
	w.is("a", "2/1/2 isr[2]") // an ISR that shrinks is no new leader epoch
	w.die(2)
	w.is("a", "-1/2/3 isr[2]") // the last one is remembered
	w.restart(1, true)
	w.is("a", "-1/2/3 isr[2]") // it lacks what 2 alone has taken
	w.restart(2, true)
	w.is("a", "2/3/4 isr[2]")
	if r := w.isr("a", 2, 1); r.Code != protocol.None || show(r.Partition) != "2/3/5 isr[2 1]" {
		t.Errorf("%v", r)
	}
	w.set("a", "unclean.leader.election.enable", "true")
	w.isr("a", 2)
	w.die(2)
	w.is("a", "1/4/7 isr[1] recovering")
}

func TestEligibleReplicasLead(t *testing.T) {
	w := withELR(t, 3)
	w.topic("a", ids{1, 2, 3})
	w.set("a", "min.insync.replicas", "2")
	w.die(1)
	w.is("a", "2/1/1 isr[2 3]")
	w.die(3)
	w.is("a", "2/1/2 isr[2] elr[3]")
	w.die(2)
	w.is("a", "-1/2/3 isr[] elr[2 3] last[2]")
	w.restart(1, true)
	w.is("a", "-1/2/3 isr[] elr[2 3] last[2]")
	w.restart(3, true)
	w.is("a", "3/3/4 isr[3] elr[2]")
	w.isr("a", 3, 1)
	w.is("a", "3/3/5 isr[3 1]")
}

func TestI24_AnUncleanRestartLeavesEverything(t *testing.T) {
	w := withELR(t, 3)
	w.topic("a", ids{1, 2, 3})
	w.set("a", "min.insync.replicas", "2")
	w.restart(2, false) // faster than its lease: nobody has noticed that it was gone
	w.is("a", "1/0/1 isr[1 3]")
	w.die(3)
	w.is("a", "1/0/2 isr[1] elr[3]")
	w.restart(3, false)
	w.is("a", "1/0/3 isr[1]")
	w.die(1)
	w.is("a", "-1/1/4 isr[] elr[1] last[1]")
	w.restart(1, false) // nobody is left who has everything: the last leader is the best there is
	w.is("a", "1/2/6 isr[1] recovering")
	if r := w.isr("a", 1); r.Code != protocol.None || r.Partition.Recovering {
		t.Errorf("%v", r)
	}
}

func TestI43_ALeaseRunsOut(t *testing.T) {
	w := newCrew(t, 3)
	w.topic("a", ids{1, 2, 3})
	w.topic("b", ids{2, 1, 3})
	for range 6 {
		w.now = w.now.Add(leaseDefault / 4)
		w.beat(1, 3)
		w.apply(w.c.Tick(w.now))
	}
	if at := w.c.Deadline(); !at.Equal(w.now.Add(leaseDefault)) || !w.c.image.Broker(2).Fenced {
		t.Errorf("the next lease ends at %v, broker 2 is %+v", at, w.c.image.Broker(2))
	}
	w.is("a", "1/0/1 isr[1 3]")
	w.is("b", "1/1/1 isr[1 3]")
	if r := w.beat(2); r.Fenced || w.c.image.Broker(2).Fenced {
		t.Errorf("a broker that comes back stays fenced: %+v", r)
	}
}

func TestAControllerThatBeginsOrWasStoppedGivesFreshLeases(t *testing.T) {
	w := newCrew(t, 3)
	w.c = NewController(w.c.cfg, w.c.image)
	w.now = w.now.Add(time.Hour)
	if at := w.c.Deadline(); at.IsZero() || at.After(w.now) {
		t.Errorf("a controller that begins is first called at %v", at)
	}
	if recs := w.c.Tick(w.now); len(recs) > 0 {
		t.Errorf("a controller begins with %+v", recs)
	}
	w.now = w.now.Add(time.Minute) // frozen
	if recs := w.c.Tick(w.now); len(recs) > 0 {
		t.Errorf("a controller that was frozen goes on with %+v", recs)
	}
	w.now = w.now.Add(leaseDefault - 1)
	w.beat(1)
	w.now = w.c.Deadline()
	w.apply(w.c.Tick(w.now))
	if w.c.image.Broker(1).Fenced || !w.c.image.Broker(2).Fenced || !w.c.image.Broker(3).Fenced {
		t.Errorf("brokers 2 and 3 are silent: %v", w.c.image.Brokers())
	}
}

func TestI42_OneProcessForAnID(t *testing.T) {
	w := newCrew(t, 2)
	second := RegisterBroker{ID: 2, Incarnation: protocol.TopicID{1}, CleanEpoch: -1, Quorum: 7, Cluster: "elsewhere"}
	_, err := w.ask(second)
	w.want("a second process", err, protocol.DuplicateBrokerRegistration)
	before := w.c.image.Broker(2).Epoch
	w.restart(2, true) // in the same folder, at the same address: the first is gone
	w.die(2)
	w.act(second)
	if b := w.c.image.Broker(2); b.Epoch <= before || !b.Fenced {
		t.Errorf("%+v after epoch %d", b, before)
	}
	_, err = w.ask(BrokerHeartbeat{ID: 2, Epoch: before})
	w.want("the first process", err, protocol.StaleBrokerEpoch)
	last := w.c.image.Broker(2).Epoch
	w.act(UnregisterBroker{ID: 2})
	w.join(2)
	if w.epoch[2] <= last {
		t.Errorf("epoch %d comes after %d", w.epoch[2], last)
	}
}

func TestABrokerIsLetInWhenItHasCaughtUp(t *testing.T) {
	w := newCrew(t, 2)
	w.topic("a", ids{2})
	w.die(2)
	if err := w.register(2, w.epoch[2]); err != nil {
		t.Fatal(err)
	}
	r := w.act(BrokerHeartbeat{ID: 2, Epoch: w.epoch[2], Offset: w.log - 1}).(BrokerHeartbeatReply)
	if r.CaughtUp || !r.Fenced || w.state("a")[:2] != "-1" {
		t.Errorf("it has not applied its registration: %+v, %s", r, w.state("a"))
	}
	if r := w.beat(2); !r.CaughtUp || r.Fenced || w.state("a")[:1] != "2" {
		t.Errorf("it has: %+v, %s", r, w.state("a"))
	}
}

func TestControlledShutdownMovesLeadersFirst(t *testing.T) {
	w := newCrew(t, 3)
	w.topic("a", ids{1, 2, 3})
	stop := func(offset int64) BrokerHeartbeatReply {
		return w.act(BrokerHeartbeat{ID: 1, Epoch: w.epoch[1], Offset: offset, WantShutdown: true}).(BrokerHeartbeatReply)
	}
	if r := stop(w.log); r.Shutdown || !w.c.image.Broker(1).Stopping {
		t.Errorf("it led: %+v", r)
	}
	w.is("a", "2/1/1 isr[2 3]")
	if r := stop(w.log); r.Shutdown {
		t.Error("the others do not know the new leader yet")
	}
	if code := w.isr("a", 2, 3, 1).Code; code != protocol.IneligibleReplica {
		t.Errorf("a broker that stops comes into the ISR: %v", code)
	}
	w.beat(2, 3)
	if r := stop(w.log); !r.Shutdown || !w.c.image.Broker(1).Fenced {
		t.Errorf("all know: %+v", r)
	}
	w.restart(1, true)
	if b := w.c.image.Broker(1); b.Fenced || b.Stopping {
		t.Errorf("after its restart: %+v", b)
	}
}

func TestTheOnlyBrokerNeedsNoLease(t *testing.T) {
	w := newCrew(t, 1)
	w.topic("a", ids{1})
	if w.c.Deadline() != (time.Time{}) {
		t.Errorf("a deadline at %v", w.c.Deadline())
	}
	w.now = w.now.Add(time.Hour)
	if recs := w.c.Tick(w.now); recs != nil || w.c.image.Broker(1).Fenced {
		t.Errorf("%+v", recs)
	}
	r := w.act(BrokerHeartbeat{ID: 1, Epoch: w.epoch[1], WantShutdown: true}).(BrokerHeartbeatReply)
	if !r.Shutdown {
		t.Errorf("it is not let go: %+v", r)
	}
	w.restart(1, true)
	w.is("a", "1/1/1 isr[1]") // one epoch for a restart
}

func TestAlterPartitionRefusals(t *testing.T) {
	w := newCrew(t, 4)
	w.topic("a", ids{1, 2, 3})
	w.isr("a", 1, 2)
	w.die(4)
	for _, c := range []struct {
		what string
		code protocol.Code
		f    func(*AlterPartition, *ISRChange)
	}{
		{"as it is", protocol.None, func(*AlterPartition, *ISRChange) {}},
		{"unknown topic", protocol.UnknownTopicID, func(_ *AlterPartition, i *ISRChange) { i.Topic[0]++ }},
		{"unknown partition", protocol.UnknownTopicOrPartition, func(_ *AlterPartition, i *ISRChange) { i.Partition = 1 }},
		{"negative partition", protocol.UnknownTopicOrPartition, func(_ *AlterPartition, i *ISRChange) { i.Partition = -1 }},
		{"newer leader epoch", protocol.NotController, func(_ *AlterPartition, i *ISRChange) { i.LeaderEpoch++ }},
		{"newer epoch", protocol.NotController, func(_ *AlterPartition, i *ISRChange) { i.Epoch++ }},
		{"older leader epoch", protocol.FencedLeaderEpoch, func(_ *AlterPartition, i *ISRChange) { i.LeaderEpoch-- }},
		{"older epoch", protocol.InvalidUpdateVersion, func(_ *AlterPartition, i *ISRChange) { i.Epoch-- }},
		{"not the leader", protocol.InvalidRequest, func(a *AlterPartition, _ *ISRChange) { a.Broker, a.BrokerEpoch = 2, w.epoch[2] }},
		{"no replica", protocol.InvalidRequest, func(_ *AlterPartition, i *ISRChange) { i.ISR = append(i.ISR, ISRMember{4, -1}) }},
		{"twice", protocol.InvalidRequest, func(_ *AlterPartition, i *ISRChange) { i.ISR = append(i.ISR, i.ISR[0]) }},
		{"without the leader", protocol.InvalidRequest, func(_ *AlterPartition, i *ISRChange) { i.ISR = i.ISR[1:] }},
		{"nobody", protocol.InvalidRequest, func(_ *AlterPartition, i *ISRChange) { i.ISR = nil }},
		{"an older process", protocol.IneligibleReplica, func(_ *AlterPartition, i *ISRChange) { i.ISR[1].Epoch-- }},
		{"an unknown process", protocol.None, func(_ *AlterPartition, i *ISRChange) { i.ISR[1].Epoch = -1 }},
		{"a third", protocol.None, func(_ *AlterPartition, i *ISRChange) { i.ISR = append(i.ISR, ISRMember{3, w.epoch[3]}) }},
	} {
		cmd := w.isrChange("a", 1, 2)
		cmd.Partitions[0].ISR = slices.Clone(cmd.Partitions[0].ISR)
		c.f(&cmd, &cmd.Partitions[0])
		if got := w.act(cmd).(AlterPartitionReply).Partitions[0]; got.Code != c.code {
			t.Errorf("%s: %v, want %v", c.what, got.Code, c.code)
		}
	}
	w.is("a", "1/0/2 isr[1 2 3]")
	cmd := w.isrChange("a", 1)
	cmd.BrokerEpoch--
	_, err := w.ask(cmd)
	w.want("an older process asks", err, protocol.StaleBrokerEpoch)
	cmd = w.isrChange("a", 1)
	cmd.Partitions = append(cmd.Partitions, cmd.Partitions[0])
	if got := w.act(cmd).(AlterPartitionReply).Partitions; got[0].Code != protocol.None || got[1].Code != protocol.InvalidUpdateVersion {
		t.Errorf("the same partition twice: %v", got)
	}
}

func TestNodesAreGivenIDs(t *testing.T) {
	w := newCrew(t, 1)
	admit := func(asked protocol.BrokerID, cluster string, quorum uint64) (protocol.BrokerID, error) {
		r, err := w.ask(AdmitNode{Asked: asked, Cluster: cluster, Quorum: quorum})
		if err != nil {
			return -1, err
		}
		if got := r.(AdmitNodeReply); got.ClusterID != testCluster {
			t.Errorf("%+v", got)
		}
		return r.(AdmitNodeReply).ID, nil
	}
	is := func(what string, want protocol.BrokerID) func(protocol.BrokerID, error) {
		return func(got protocol.BrokerID, err error) {
			t.Helper()
			if err != nil || got != want {
				t.Errorf("%s: %d, %v, want %d", what, got, err, want)
			}
		}
	}
	is("the first", 2)(admit(-1, "c2", 1002))
	is("the same once more", 2)(admit(-1, "c2", 1002))
	is("another", 3)(admit(-1, "c3", 1003))
	is("the id it asks for", 9)(admit(9, "c9", 1009))
	_, err := admit(1, "x", 77)
	w.want("the id of the only broker", err, protocol.DuplicateBrokerRegistration)
	w.join(2)
	_, err = admit(2, "x", 77)
	w.want("the id of a living broker", err, protocol.DuplicateBrokerRegistration)
	_, err = admit(-1, "c2", 77)
	w.want("the address of a living broker", err, protocol.DuplicateBrokerRegistration)
	w.die(2)
	is("the address of a dead broker", 2)(admit(-1, "c2", 77))
	is("a new one", 10)(admit(-1, "c10", 1010))
	w.act(UnregisterBroker{ID: 9})
	if _, ok := w.c.image.Node(9); ok {
		t.Error("a node that never came is not forgotten")
	}
}
