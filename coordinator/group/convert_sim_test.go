package group

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
)

// mixed is a group whose members come and go with either protocol, and one coordinator that is loaded anew now and then.
// Every member believes to have what it was told, until it is told to give it back.
type mixed struct {
	rng     *rand.Rand
	cfg     Config
	now     time.Time
	topics  *fakeTopics
	m       *Machine
	log     []Record
	ticket  Ticket
	asked   map[Ticket]func(Response)
	members []*mixedMember
	eager   bool // the classic ones give everything back before they join
	err     error

	upgrades, downgrades int
}

type mixedMember struct {
	w        *mixed
	name     string
	instance *string
	classic  bool
	member   string
	epoch    int32
	has      map[int32]bool
	state    string // "gone", "out", "waits", "in"
	tell     bool   // a consumer member's next heartbeat says what it has
	leads    int    // a classic group, and assigned so many partitions; 0 no
	acted    time.Time
	since    time.Time // it waits
}

func newMixed(seed uint64) *mixed {
	w := &mixed{
		rng: rand.New(rand.NewPCG(seed, 105)), cfg: DefaultConfig(), now: time.UnixMilli(1_700_000_000_000),
		topics: &fakeTopics{}, asked: map[Ticket]func(Response){}, eager: seed%3 == 0,
	}
	w.topics.set("t", 5)
	for i := range 5 {
		c := &mixedMember{w: w, name: fmt.Sprint("m", i), state: "gone"}
		if w.rng.IntN(3) == 0 {
			id := fmt.Sprint("i", i)
			c.instance = &id
		}
		w.members = append(w.members, c)
	}
	w.load()
	return w
}

func (w *mixed) failf(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

func (w *mixed) replayed() *Machine {
	m := New(w.cfg, w.topics, rand.New(rand.NewPCG(w.rng.Uint64(), 1)))
	for _, r := range w.log {
		m.Apply(r)
	}
	return m
}

// load loses the machine, and every request that waits in it.
func (w *mixed) load() {
	w.m = w.replayed()
	w.asked = map[Ticket]func(Response){}
	for _, c := range w.members {
		if c.state == "waits" {
			c.state = "out"
		}
	}
	w.settle(w.m.Loaded(w.now))
}

func (w *mixed) ask(req Request, then func(Response)) {
	w.ticket++
	w.asked[w.ticket] = then
	w.settle(w.m.Handle(w.now, w.ticket, req))
}

func (w *mixed) settle(eff Effects) {
	if len(eff.Records) > 0 && w.rng.IntN(40) == 0 {
		eff = w.m.Rejected(w.now, eff, protocol.NotEnoughReplicas)
	}
	replies := slices.Clone(eff.Replies)
	for _, e := range eff.Events {
		if e.Kind == GroupConverted && e.Members > 0 {
			if strings.HasPrefix(e.Reason, "from classic") {
				w.upgrades++
			} else {
				w.downgrades++
			}
		}
	}
	for _, r := range eff.Records {
		w.log = append(w.log, r)
		w.m.Apply(r)
	}
	for _, r := range replies {
		if then := w.asked[r.To]; then != nil {
			delete(w.asked, r.To)
			then(r.Resp)
		}
	}
}

// dump is the hard state of a machine. A classic group is compared while it is stable: all else of it is soft.
func (m *Machine) dump(stable map[string]bool) string {
	var s strings.Builder
	for _, id := range sortedKeys(m.groups) {
		if g := m.groups[id]; stable[id] {
			fmt.Fprintf(&s, "classic %s %v %d %s %v\n", id, g.state, g.generation, deref(g.protocol), g.save(g.assignments()).Members)
		}
	}
	for _, id := range sortedKeys(m.consumers) {
		g := m.consumers[id]
		fmt.Fprintf(&s, "consumer %s %d %d %d %d\n", id, g.epoch, g.targetEpoch, g.metadataHash, g.targetTime)
		for _, name := range g.memberIDs() {
			fmt.Fprintf(&s, "  %s %+v %+v target %v\n", name, describe(g.members[name].desc), *g.members[name].cur, g.targets[name])
		}
	}
	return s.String()
}

func describe(d *Member) string {
	s := fmt.Sprint(deref(d.Instance), d.Topics, d.RebalanceMillis)
	if d.Classic != nil {
		s += fmt.Sprintf(" classic %v", *d.Classic)
	}
	return s
}

// compare holds the machine against one that is made from its log.
func (w *mixed) compare() {
	stable := map[string]bool{}
	for id, g := range w.m.groups {
		stable[id] = g.state == Stable
	}
	other := w.replayed()
	if got, want := other.dump(stable), w.m.dump(stable); got != want {
		w.failf("a replay gives\n%swhere the machine has\n%s", got, want)
	}
}

func (c *mixedMember) owned() (list []int32) {
	for p := range c.has {
		list = append(list, p)
	}
	slices.Sort(list)
	return list
}

// gets makes list all that c has. Nobody else may have any of it.
func (c *mixedMember) gets(list []int32) (lost bool) {
	next := map[int32]bool{}
	for _, p := range list {
		next[p] = true
		for _, o := range c.w.members {
			if o != c && o.has[p] {
				c.w.failf("%s gets partition %d and %s has it", c.name, p, o.name)
			}
		}
	}
	for p := range c.has {
		lost = lost || !next[p]
	}
	c.has = next
	return lost
}

func (c *mixedMember) lose() { c.has = map[int32]bool{} }

func (c *mixedMember) act() {
	c.acted = c.w.now
	if t, _ := c.w.topics.Topic("t"); c.state == "in" && c.classic && c.leads > 0 && c.leads != t.Partitions {
		c.state = "out" // it sees that the topic has grown
	}
	switch {
	case c.state == "out" && c.classic:
		c.join()
	case c.state == "in" && c.classic:
		c.w.ask(&Heartbeat{Group: "g", Member: c.member, Instance: c.instance, Generation: c.epoch}, func(r Response) {
			c.answered(r.(*HeartbeatResult).Code)
		})
	case c.state == "out" || c.state == "in":
		c.beat()
	}
}

// answered is what a classic member does for a code.
func (c *mixedMember) answered(code protocol.Code) {
	switch code {
	case protocol.None:
		return
	case protocol.UnknownMemberID:
		c.lose()
		c.member = ""
	case protocol.IllegalGeneration:
		c.lose()
	case protocol.FencedInstanceID:
		// The coordinator was loaded anew before the record that says who it is now: it ends, and is started again.
		c.start(true)
		return
	}
	c.state = "out"
}

func (c *mixedMember) metadata() []byte {
	s := []byte{0, 1, 0, 0, 0, 1, 0, 1, 't', 0xff, 0xff, 0xff, 0xff}
	list := appendAssignment(nil, 1, []namedPartitions{{"t", c.owned()}})
	return append(s, list[2:len(list)-4]...)
}

func (c *mixedMember) join() {
	strategy := "cooperative"
	if c.w.eager {
		strategy = "range"
		c.lose()
	}
	c.state, c.since = "waits", c.w.now
	c.w.ask(&Join{
		Group: "g", Member: c.member, Instance: c.instance, Type: "consumer", Session: 30 * time.Second,
		Rebalance: time.Minute, Protocols: []Protocol{{Name: strategy, Metadata: c.metadata()}}, ClientID: c.name,
		MemberIDRequired: true, CanSkipAssigning: true,
	}, func(resp Response) {
		r := resp.(*JoinResult)
		if r.Code != protocol.None {
			if c.answered(r.Code); r.Code == protocol.MemberIDRequired {
				c.member = r.Member
			}
			return
		}
		c.member, c.epoch = r.Member, r.Generation
		c.sync(r.Members)
	})
}

func (c *mixedMember) sync(members []JoinMember) {
	kind := "consumer"
	c.leads = 0
	if t, _ := c.w.topics.Topic("t"); len(members) > 0 {
		c.leads = t.Partitions
	}
	c.w.ask(&Sync{
		Group: "g", Member: c.member, Instance: c.instance, Generation: c.epoch, Type: &kind,
		Assignments: c.w.assign(members),
	}, func(resp Response) {
		r := resp.(*SyncResult)
		if r.Code != protocol.None {
			c.answered(r.Code)
			return
		}
		list, _, _ := readAssignment(r.Assignment)
		var ps []int32
		for _, t := range list {
			ps = append(ps, t.partitions...)
		}
		c.state = "in"
		if c.gets(ps) && !c.w.eager {
			c.state = "out" // it has given something back; others wait for it
		}
	})
}

// assign is what a leader does: everybody keeps as much of what it has as is fair, and what somebody else still has is
// given to nobody yet.
func (w *mixed) assign(members []JoinMember) []Assignment {
	if len(members) == 0 {
		return nil
	}
	t, _ := w.topics.Topic("t")
	taken := map[int32]bool{}
	parts := make([][]int32, len(members))
	fair := (t.Partitions + len(members) - 1) / len(members)
	for i, m := range members {
		s, _ := readSubscription(m.Metadata)
		for _, o := range s.owned {
			for _, p := range o.partitions {
				if taken[p] {
					continue // claimed by two; the first one has it
				}
				taken[p] = true
				if len(parts[i]) < fair {
					parts[i] = append(parts[i], p)
				}
			}
		}
	}
	for p := range int32(t.Partitions) {
		if taken[p] {
			continue
		}
		least := 0
		for i := range parts {
			if len(parts[i]) < len(parts[least]) {
				least = i
			}
		}
		parts[least] = append(parts[least], p)
	}
	var all []Assignment
	for i, m := range members {
		slices.Sort(parts[i])
		all = append(all, Assignment{Member: m.Member, Data: appendAssignment(nil, 1, []namedPartitions{{"t", parts[i]}})})
	}
	return all
}

// beat is the heartbeat of a consumer member.
func (c *mixedMember) beat() {
	topic, _ := c.w.topics.Topic("t")
	r := &ConsumerHeartbeat{
		Group: "g", Member: c.member, Instance: c.instance, Epoch: c.epoch, Rebalance: unchangedRebalance, ClientID: c.name, MemberIDRequired: true,
	}
	if c.state == "out" {
		r.Epoch, r.Rebalance, r.Topics, r.Owned = 0, time.Minute, []string{"t"}, []TopicPartitions{}
		c.lose()
	} else if c.tell {
		r.Owned = []TopicPartitions{{ID: topic.ID, Partitions: c.owned()}}
		if len(c.has) == 0 {
			r.Owned = []TopicPartitions{}
		}
	}
	c.w.ask(r, func(resp Response) {
		res := resp.(*ConsumerHeartbeatResult)
		switch res.Code {
		case protocol.None:
		case protocol.UnknownMemberID, protocol.FencedMemberEpoch, protocol.GroupIDNotFound:
			c.lose()
			c.state = "out"
			return
		default: // retried; UNRELEASED_INSTANCE_ID until the session of the former self ends
			return
		}
		c.tell = false
		c.state, c.epoch = "in", res.Epoch
		if res.HasAssignment {
			var ps []int32
			for _, t := range res.Assigned {
				ps = append(ps, t.Partitions...)
			}
			c.gets(ps)
			c.tell = true
		}
	})
}

// step is one thing that happens.
func (w *mixed) step() {
	c := w.members[w.rng.IntN(len(w.members))]
	switch n := w.rng.IntN(100); {
	case n < 4 && c.state == "gone":
		c.start(w.rng.IntN(2) == 0)
	case n < 6 && c.state == "in":
		c.leave()
	case n < 8 && c.state == "in": // it dies, and is there again at once as something else
		c.lose()
		c.state = "gone"
		c.start(w.rng.IntN(2) == 0)
	case n == 8:
		w.load()
	case n == 9:
		w.compare()
	case n == 10 && w.rng.IntN(10) == 0:
		t, _ := w.topics.Topic("t")
		w.topics.set("t", t.Partitions+1)
	case n < 60:
		c.act()
	default:
		w.pass(time.Duration(w.rng.IntN(600)) * time.Millisecond)
	}
}

func (c *mixedMember) start(classic bool) {
	c.classic, c.member, c.epoch, c.state, c.tell = classic, "", 0, "out", false
	c.has = map[int32]bool{}
	if !classic {
		c.member = fmt.Sprintf("%s-%x", c.name, c.w.rng.Uint32())
	}
}

func (c *mixedMember) leave() {
	c.lose()
	c.state = "gone"
	if !c.classic {
		c.w.ask(&ConsumerHeartbeat{Group: "g", Member: c.member, Instance: c.instance, Epoch: -1, Rebalance: unchangedRebalance}, func(Response) {})
		return
	}
	c.w.ask(&Leave{Group: "g", Members: []LeavingMember{{Member: c.member, Instance: c.instance}}}, func(Response) {})
}

// pass lets time go by; whoever has not acted for three seconds does.
func (w *mixed) pass(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); {
		w.now = w.now.Add(min(end.Sub(w.now), 200*time.Millisecond))
		if !w.m.Deadline().After(w.now) {
			w.settle(w.m.Tick(w.now))
		}
		for _, c := range w.members {
			if c.state != "gone" && c.state != "waits" && w.now.Sub(c.acted) > 3*time.Second {
				c.act()
			}
		}
	}
}

// run ends when the group has come to rest: then everything is owned, and the owners are those who are there.
func (w *mixed) run(steps int) error {
	for range steps {
		if w.step(); w.err != nil {
			return w.err
		}
	}
	alive := 0
	for _, c := range w.members {
		if c.state != "gone" {
			alive++
		}
	}
	if alive == 0 {
		w.members[0].start(true)
	}
	w.pass(4 * time.Minute)
	w.compare()
	t, _ := w.topics.Topic("t")
	owners := map[int32]string{}
	for _, c := range w.members {
		if c.state == "waits" {
			w.failf("%s waits since %v", c.name, w.now.Sub(c.since))
		}
		for p := range c.has {
			owners[p] = c.name
		}
	}
	if len(owners) != t.Partitions {
		w.failf("of %d partitions these have owners: %v", t.Partitions, owners)
	}
	return w.err
}

// A log may end anywhere, even in the middle of a conversion that another broker wrote record by record. Whoever loads it
// has a group of one kind, and a member that joins then gets all partitions once the sessions of the others are over.
func TestAConversionMayBeCutOffAnywhere(t *testing.T) {
	w := newMixed(615)
	if err := w.run(1500); err != nil {
		t.Fatal(err)
	}
	conversions := 0
	for k := range w.log {
		kind := w.log[k].Kind
		if kind == KindSaved && w.log[k].Value == nil {
			conversions++
		}
		if kind == KindCommit || conversions > 6 {
			continue
		}
		m := New(w.cfg, w.topics, rand.New(rand.NewPCG(1, uint64(k))))
		for _, r := range w.log[:k+1] {
			m.Apply(r)
		}
		now := w.now
		apply := func(eff Effects) Effects {
			replies := slices.Clone(eff.Replies)
			for _, r := range slices.Clone(eff.Records) {
				m.Apply(r)
			}
			return Effects{Replies: replies}
		}
		apply(m.Loaded(now))
		for range 200 { // sessions end
			now = now.Add(time.Second)
			apply(m.Tick(now))
			if m.groups["g"] != nil && m.consumers["g"] != nil {
				t.Fatalf("cut behind record %d: the group is of both kinds", k)
			}
		}
		join := &ConsumerHeartbeat{
			Group: "g", Member: "late", Rebalance: time.Minute, Topics: []string{"t"}, Owned: []TopicPartitions{},
			MemberIDRequired: true,
		}
		eff := apply(m.Handle(now, 1, join))
		res := eff.Replies[0].Resp.(*ConsumerHeartbeatResult)
		topic, _ := w.topics.Topic("t")
		if res.Code != protocol.None || len(res.Assigned) != 1 || len(res.Assigned[0].Partitions) != topic.Partitions {
			t.Fatalf("cut behind record %d (%d %s): %+v", k, kind, w.log[k].Name, res)
		}
	}
	if conversions < 3 {
		t.Errorf("only %d conversions", conversions)
	}
}

// I-67, I-68: whatever members come and go with whichever protocol, no partition has two owners, and in the end each has one.
func TestI67_NobodyLosesOrSharesPartitionsWhenGroupsAreConverted(t *testing.T) {
	seeds := []uint64{53, 615, 1072, 2540} // each of them failed once
	for seed := range uint64(200) {
		seeds = append(seeds, seed)
	}
	if *simSeed != 0 {
		seeds = []uint64{*simSeed}
	}
	upgrades, downgrades := 0, 0
	for _, seed := range seeds {
		w := newMixed(seed)
		if err := w.run(1500); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		upgrades, downgrades = upgrades+w.upgrades, downgrades+w.downgrades
	}
	if len(seeds) > 1 && (upgrades < len(seeds) || downgrades < len(seeds)) {
		t.Errorf("only %d upgrades and %d downgrades in %d runs", upgrades, downgrades, len(seeds))
	}
}
