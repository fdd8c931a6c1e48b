package group

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
)

var simSeed = flag.Uint64("sim.seed", 0, "run the simulation of groups with this seed only")

// world is one machine, its log, and clients that come and go. Records are committed some time after they are appended;
// a crash takes what was not, with the answers that waited for it. Two runs with one seed are the same run.
type world struct {
	rng       *rand.Rand
	now       time.Time
	m         *Machine
	log       []Record
	committed int
	held      []heldReply
	ticket    Ticket
	asked     map[Ticket]func(Response)
	clients   []*client
	err       error

	// What members were told in each generation: partition -> who owns it.
	owners map[int32]map[byte]string
	newest int32 // generation that somebody was told an assignment in
	told   int   // answers to SyncGroup, commits and joins that carried no error; a run without any tests nothing
}

type heldReply struct {
	end  int // of the log when it was held
	to   Ticket
	resp Response
}

// client is a consumer that assigns partitions 0 to 5 when it leads.
type client struct {
	w          *world
	name       string
	instance   *string
	version    int
	member     string
	generation int32
	busy       bool // waits for an answer
	alive      bool
	silent     time.Time // does nothing before
	state      string    // "out", "joined", "in"
	members    []JoinMember
	leads      bool
	skip       bool
	next       protocol.Offset
}

const simPartitions = 6

func newWorld(seed uint64) *world {
	w := &world{
		rng: rand.New(rand.NewPCG(seed, 7)), now: time.UnixMilli(1_700_000_000_000), asked: map[Ticket]func(Response){},
		owners: map[int32]map[byte]string{},
	}
	for i := range 5 {
		c := &client{w: w, name: fmt.Sprint("c", i), version: 3 + w.rng.IntN(7), state: "out", alive: true}
		if w.rng.IntN(3) == 0 {
			id := fmt.Sprint("i", i)
			c.instance = &id
		}
		w.clients = append(w.clients, c)
	}
	w.start()
	return w
}

func (w *world) failf(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

// start loads a machine from the log.
func (w *world) start() {
	w.m = New(DefaultConfig(), &fakeTopics{}, rand.New(rand.NewPCG(w.rng.Uint64(), 1)))
	for _, r := range w.log {
		w.m.Apply(r)
	}
	w.settle(w.m.Loaded(w.now))
}

// crash loses the machine and what was not committed; clients see their connections break.
func (w *world) crash() {
	w.log = w.log[:w.committed+w.rng.IntN(len(w.log)-w.committed+1)]
	w.committed = len(w.log)
	w.held, w.asked = nil, map[Ticket]func(Response){}
	for _, c := range w.clients {
		c.busy = false
	}
	w.start()
}

func (w *world) settle(eff Effects) {
	if len(eff.Records) > 0 && w.rng.IntN(30) == 0 {
		eff = w.m.Rejected(w.now, eff, protocol.NotEnoughReplicas)
	}
	for _, r := range eff.Records {
		w.log = append(w.log, r)
		w.m.Apply(r)
	}
	for _, r := range eff.Replies {
		if len(eff.Records) > 0 || r.Stable {
			w.held = append(w.held, heldReply{len(w.log), r.To, r.Resp})
		} else {
			w.answer(r.To, r.Resp)
		}
	}
}

func (w *world) answer(t Ticket, resp Response) {
	f := w.asked[t]
	if f == nil {
		w.failf("ticket %d is answered and was not asked, or twice", t)
		return
	}
	delete(w.asked, t)
	f(resp)
}

func (w *world) commit(upTo int) {
	w.committed = max(w.committed, upTo)
	for len(w.held) > 0 && w.held[0].end <= w.committed {
		h := w.held[0]
		w.held = w.held[1:]
		w.answer(h.to, h.resp)
	}
}

func (w *world) ask(req Request, f func(Response)) {
	w.ticket++
	w.asked[w.ticket] = f
	w.settle(w.m.Handle(w.now, w.ticket, req))
}

func (w *world) advance(d time.Duration) {
	end := w.now.Add(d)
	for {
		at := w.m.Deadline()
		if at.After(end) {
			break
		}
		w.now = at
		w.settle(w.m.Tick(w.now))
	}
	w.now = end
}

// step does one thing, chosen by the generator.
func (w *world) step(chaos bool) {
	if chaos {
		switch c := w.clients[w.rng.IntN(len(w.clients))]; w.rng.IntN(120) {
		case 0:
			w.crash()
		case 1, 2: // silence: a long collection of garbage, a cut cable
			c.silent = w.now.Add(time.Duration(w.rng.IntN(40)) * time.Second)
		case 3, 4: // killed and started anew, perhaps after a while
			c.reset()
			c.silent = w.now.Add(time.Duration(w.rng.IntN(20)) * time.Second)
		case 5:
			c.leave()
		}
	}
	for _, i := range w.rng.Perm(len(w.clients)) {
		w.clients[i].act()
	}
	if w.rng.IntN(2) == 0 {
		w.commit(w.committed + w.rng.IntN(len(w.log)-w.committed+1))
	}
	if !chaos {
		w.commit(len(w.log))
	}
	w.advance(time.Duration(w.rng.IntN(1500)) * time.Millisecond)
}

func (c *client) reset() {
	c.member, c.generation, c.state, c.busy = "", 0, "out", false
}

func (c *client) act() {
	if c.busy || !c.alive || c.w.now.Before(c.silent) {
		return
	}
	switch {
	case c.state == "out":
		c.join()
	case c.state == "joined":
		c.sync()
	case c.w.rng.IntN(3) == 0:
		c.commit()
	default:
		c.heartbeat()
	}
}

// ask marks the client busy; an answer that comes after it was reset is not for it.
func (c *client) ask(req Request, f func(Response)) {
	c.busy = true
	member, state := c.member, c.state
	c.w.ask(req, func(r Response) {
		if c.member == member && c.state == state && c.busy {
			c.busy = false
			f(r)
		}
	})
}

func (c *client) join() {
	c.ask(&Join{
		Group: "g", Member: c.member, Instance: c.instance, Type: "consumer", Session: 10 * time.Second,
		Rebalance: 30 * time.Second, Protocols: []Protocol{{Name: "range", Metadata: []byte(c.name)}}, ClientID: c.name,
		MemberIDRequired: c.version >= 4, CanSkipAssigning: c.version >= 9,
	}, func(resp Response) {
		r := resp.(*JoinResult)
		switch r.Code {
		case protocol.None:
			if r.Generation < c.w.newest {
				c.w.failf("%s was let into generation %d after members were given partitions in %d", c.name, r.Generation, c.w.newest)
			}
			c.w.told++
			c.member, c.generation, c.state = r.Member, r.Generation, "joined"
			c.leads, c.members, c.skip = r.Leader == r.Member, r.Members, r.SkipAssignment
		case protocol.MemberIDRequired:
			c.member = r.Member
		case protocol.UnknownMemberID, protocol.FencedInstanceID:
			c.reset()
		case protocol.RebalanceInProgress, protocol.CoordinatorNotAvailable:
		default:
			c.w.failf("%s: join: %v", c.name, r.Code)
		}
	})
}

func (c *client) sync() {
	req := &Sync{Group: "g", Member: c.member, Instance: c.instance, Generation: c.generation}
	if c.leads && !c.skip {
		for i, m := range c.members {
			a := Assignment{Member: m.Member}
			for p := i; p < simPartitions; p += len(c.members) {
				a.Data = append(a.Data, byte(p))
			}
			req.Assignments = append(req.Assignments, a)
		}
	}
	c.ask(req, func(resp Response) {
		r := resp.(*SyncResult)
		switch r.Code {
		case protocol.None:
			c.state = "in"
			c.owns(r.Assignment)
		case protocol.RebalanceInProgress, protocol.IllegalGeneration, protocol.CoordinatorNotAvailable:
			c.state = "out"
		case protocol.UnknownMemberID, protocol.FencedInstanceID:
			c.reset()
		default:
			c.w.failf("%s: sync: %v", c.name, r.Code)
		}
	})
}

// owns checks that no partition has two owners in one generation. A static member that came back is the same owner.
func (c *client) owns(partitions []byte) {
	w := c.w
	w.told++
	if c.generation < w.newest {
		w.failf("%s was given partitions in generation %d after others were in %d", c.name, c.generation, w.newest)
	}
	w.newest = c.generation
	who := c.member
	if c.instance != nil {
		who = *c.instance
	}
	if w.owners[c.generation] == nil {
		w.owners[c.generation] = map[byte]string{}
	}
	for _, p := range partitions {
		if other := w.owners[c.generation][p]; other != "" && other != who {
			w.failf("generation %d: partition %d belongs to %s and to %s", c.generation, p, other, who)
		}
		w.owners[c.generation][p] = who
	}
}

func (c *client) heartbeat() {
	c.ask(&Heartbeat{Group: "g", Member: c.member, Instance: c.instance, Generation: c.generation}, func(resp Response) {
		c.heard(resp.(*HeartbeatResult).Code)
	})
}

func (c *client) heard(code protocol.Code) {
	switch code {
	case protocol.None, protocol.CoordinatorNotAvailable:
	case protocol.RebalanceInProgress, protocol.IllegalGeneration:
		c.state = "out"
	case protocol.UnknownMemberID, protocol.FencedInstanceID:
		c.reset()
	default:
		c.w.failf("%s: %v", c.name, code)
	}
}

func (c *client) commit() {
	c.next++
	w, offset := c.w, c.next
	p := int32(w.rng.IntN(simPartitions))
	c.ask(&CommitOffsets{
		Group: "g", Member: c.member, Instance: c.instance, Generation: c.generation, Retention: -1,
		KnowsGroupNotFound: true,
		Partitions:         []CommitPartition{{Topic: c.name, Partition: p, Offset: offset, LeaderEpoch: -1}},
	}, func(resp Response) {
		code := resp.(*CommitResult).Partitions[0].Code
		if code == protocol.None {
			w.told++
			if got := w.stored(c.name, p); got != offset {
				w.failf("%s: offset %d of partition %d was acknowledged, the committed log has %d", c.name, offset, p, got)
			}
		}
		if code == protocol.GroupIDNotFound { // it expired, or was never saved
			code = protocol.UnknownMemberID
		}
		c.heard(code)
	})
}

// stored is the last committed offset by the committed log alone.
func (w *world) stored(topic string, partition int32) protocol.Offset {
	for _, r := range slices.Backward(w.log[:w.committed]) {
		if c, ok := r.Value.(*Commit); ok && r.Topic == topic && r.Partition == partition {
			return c.Offset
		}
	}
	return -1
}

func (c *client) leave() {
	if c.member == "" || c.busy {
		return
	}
	c.w.ask(&Leave{Group: "g", Members: []LeavingMember{{Member: c.member, Instance: c.instance}}}, func(Response) {})
	c.reset()
}

// hard is what a machine would tell of its groups after a replay, as text. Groups that rebalance are left out but for
// their offsets: what they are about to become is in no log.
func hard(m *Machine, settled func(id string) bool) string {
	var out bytes.Buffer
	for _, id := range slices.Sorted(maps.Keys(m.groups)) {
		g := m.groups[id]
		if m.offsets.any(id) {
			fmt.Fprintf(&out, "%s offsets %v\n", id, m.offsets[id].fetched())
		}
		if !settled(id) {
			continue
		}
		fmt.Fprintf(&out, "%s %s %s generation %d leader %q protocol %q\n", id, g.state, g.kind, g.generation, g.leader, deref(g.protocol))
		for _, mem := range g.members {
			fmt.Fprintf(&out, "  %s %s %v %v %q %q\n", mem.id, deref(mem.instance), mem.session, mem.rebalance, mem.metadata(g.protocol), mem.assignment)
		}
	}
	return out.String()
}

// replayed compares the machine with one that is made from its log.
func (w *world) replayed() {
	other := New(DefaultConfig(), &fakeTopics{}, rand.New(rand.NewPCG(1, 1)))
	for _, r := range w.log {
		other.Apply(r)
	}
	settled := func(id string) bool {
		g := w.m.groups[id]
		o := other.groups[id]
		return g != nil && o != nil && (g.state == Stable || g.state == Empty && len(g.pending) == 0) && g.generation == o.generation
	}
	live, replay := hard(w.m, settled), hard(other, settled)
	if live != replay {
		w.failf("the machine and a replay of its log differ\nlive:\n%s\nreplay:\n%s", live, replay)
	}
	if g := w.m.groups["g"]; g != nil && g.state == Stable && !settled("g") {
		w.failf("the group is stable in generation %d and its log is not", g.generation)
	}
}

func (w *world) run(t *testing.T) {
	for step := 0; step < 400 && w.err == nil; step++ {
		w.step(true)
		check(t, w.m)
		if step%10 == 0 {
			w.replayed()
		}
	}
	// The storm is over: everybody who is alive is in, and every partition has an owner.
	for step := 0; step < 200 && w.err == nil; step++ {
		w.step(false)
	}
	if w.err != nil {
		return
	}
	g := w.m.groups["g"]
	if g == nil || g.state != Stable || len(g.members) != len(w.clients) {
		w.failf("at the end the group is not stable with all its members: %+v", g)
		return
	}
	owned := map[byte]bool{}
	for _, mem := range g.members {
		for _, p := range mem.assignment {
			owned[p] = true
		}
	}
	if len(owned) != simPartitions {
		w.failf("at the end %d of %d partitions have an owner", len(owned), simPartitions)
	}
	if w.told < 50 {
		w.failf("only %d answers without an error: the run tests nothing", w.told)
	}
}

func TestSimulation(t *testing.T) {
	seeds := uint64(150)
	if testing.Short() {
		seeds = 20
	}
	for seed := uint64(1); seed <= seeds; seed++ {
		if *simSeed != 0 && seed != 1 {
			break
		}
		if *simSeed != 0 {
			seed = *simSeed
		}
		w := newWorld(seed)
		w.run(t)
		if w.err != nil {
			t.Fatalf("seed %d: %v", seed, w.err)
		}
	}
}

func TestOneSeedIsOneRun(t *testing.T) {
	a, b := newWorld(3), newWorld(3)
	a.run(t)
	b.run(t)
	if !reflect.DeepEqual(a.log, b.log) || len(a.log) == 0 {
		t.Fatalf("two runs of one seed wrote %d and %d records", len(a.log), len(b.log))
	}
	if !strings.Contains(hard(a.m, func(string) bool { return true }), "Stable") {
		t.Error("the run did not end stable")
	}
}
