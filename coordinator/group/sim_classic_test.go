package group

import (
	"slices"
	"time"

	"moldau.io/moldau/protocol"
)

// simClassic is a member that speaks the classic protocol as Java's ConsumerCoordinator does: it gives partitions up before
// it rejoins (eager), or keeps them and gives up only what it was not assigned again, which it then says by one more
// rebalance (cooperative). It commits what it owns.
type simClassic struct {
	simPeer
	g        *simGroup
	instance string
	version  int16 // of JoinGroup
	topics   []string

	session, rebalance time.Duration

	state      simClassicState
	member     string
	generation int32
	ownedIn    int32  // generation of its last assignment
	chosen     string // protocol
	rejoin     bool
	lost       bool // its generation was taken from it, so what it owned is lost
	fatal      bool // it was told that it is fenced
	asking     bool // a join or sync is on its way
	beating    bool
	committing bool
	has        simSet
	metadata   simMetadata
	assigned   string // as the leader saw the topics when it assigned; "" for others
	retired    bool
	slow       int64 // it is busy before, and beats nevertheless
	next       protocol.Offset
}

type simClassicState int

const (
	simUnjoined simClassicState = iota
	simJoined                   // knows its generation and not its assignment
	simStable
)

func newSimClassic(g *simGroup, p simPeer, instance string) *simClassic {
	session, rebalance := simSession, simRebalance
	if g.w.chance(4) {
		session, rebalance = 3*simSession, simRebalance/2
	}
	return &simClassic{
		session: session, rebalance: rebalance,
		simPeer: p, g: g, instance: instance, version: int16(3 + g.w.rng.IntN(7)), topics: g.subscription(), has: simSet{},
		generation: -1,
	}
}

func (c *simClassic) peer() *simPeer     { return &c.simPeer }
func (c *simClassic) memberID() string   { return c.member }
func (c *simClassic) instanceID() string { return c.instance }
func (c *simClassic) become(o simMember) {
	c.instance = o.instanceID()
	if twin, ok := o.(*simClassic); ok {
		c.topics = twin.topics
	}
}
func (c *simClassic) generationNow() int32 { return c.ownedIn }
func (c *simClassic) wants() []string      { return c.topics }

func (c *simClassic) resting() string {
	switch {
	case c.state != simStable:
		return "has not joined"
	case c.rejoin:
		return "is about to rejoin"
	case c.metadata.version != c.w.topics.now.version:
		return "does not know the newest topics"
	}
	return ""
}

// instancePtr is nil for versions that know no instances.
func (c *simClassic) instancePtr() *string {
	if c.instance == "" {
		return nil
	}
	return &c.instance
}

func (c *simClassic) start() {
	if c.retired {
		return
	}
	c.dead = false
	c.forget()
	c.fatal = false
	if c.instance != "" && c.version < 5 {
		c.version = 5
	}
	c.poll()
}

// forget is what a process that begins knows.
func (c *simClassic) forget() {
	c.drop(c.has.sorted())
	c.state, c.member, c.generation, c.chosen = simUnjoined, "", -1, ""
	c.rejoin, c.lost, c.asking, c.beating, c.committing, c.assigned, c.slow = true, false, false, false, false, "", 0
}

func (c *simClassic) kill() {
	c.w.note("%s is killed", c.name)
	c.drop(c.has.sorted())
	c.die()
}

// leave is close() with a new start later. Static members say nothing.
func (c *simClassic) leave() {
	c.w.note("%s closes", c.name)
	c.drop(c.has.sorted())
	if c.member != "" && c.instance == "" {
		c.ask(&Leave{Group: c.g.id, Members: []LeavingMember{{Member: c.member}}}, time.Second, func(Response) {})
		conn := c.conn
		c.life++
		c.w.after(2*time.Second, conn.cut)
		c.conn = nil
		c.dead = true
		return
	}
	c.die()
}

func (c *simClassic) retire() {
	c.retired = true
	if !c.dead {
		c.leave()
	}
}

func (c *simClassic) drop(tps []simTP) {
	for _, tp := range tps {
		delete(c.has, tp)
		c.g.release(c, tp)
	}
}

// poll is KafkaConsumer.poll, again and again.
func (c *simClassic) poll() {
	if c.fatal {
		c.w.note("%s is fenced and stops", c.name)
		c.drop(c.has.sorted())
		c.die()
		return
	}
	if c.w.chance(4) {
		c.metadata = c.w.topics.now
	}
	if c.state == simStable && c.assigned != "" && c.assigned != c.shape(c.metadata) {
		c.rejoin = true
	}
	if c.w.opt.resubscribes && c.w.storm && c.state == simStable && !c.rejoin && c.w.chance(40) {
		c.topics, c.rejoin = c.g.subscription(), true
		c.w.note("%s subscribes to %v", c.name, c.topics)
		c.w.mark("a classic member subscribes anew")
	}
	switch {
	case c.asking || c.w.now < c.slow:
	case c.rejoin && c.state == simStable && len(c.has) > 0 && c.w.opt.slow && c.w.storm && c.w.chance(10):
		c.slow = c.w.now + int64(c.w.some(2*simRebalance)) // what it has to finish before it gives partitions up
	case c.rejoin || c.state == simUnjoined:
		c.join()
	case c.state == simStable && !c.committing && len(c.has) > 0 && c.w.chance(3):
		c.commit()
	}
	if !c.beating && !c.asking && c.state != simUnjoined {
		c.heartbeat()
	}
	c.at(200*time.Millisecond+c.w.some(1800*time.Millisecond), c.poll)
}

// shape is what a leader looks at to see that it must assign anew.
func (c *simClassic) shape(m simMetadata) string {
	s := "of"
	for _, t := range m.topics {
		s += " " + t.Name + string(rune('0'+t.Partitions)) + string(rune('0'+t.ID[15]))
	}
	return s
}

func (c *simClassic) cooperative() bool {
	return c.g.kind == simCooperative || c.g.kind == simMixed && !c.g.eager
}

// join is onJoinPrepare and JoinGroup.
func (c *simClassic) join() {
	switch {
	case c.lost || c.generation < 0 || !c.cooperative():
		c.drop(c.has.sorted()) // onPartitionsLost, or onPartitionsRevoked of the eager protocol
	default:
		for _, tp := range c.has.sorted() {
			if !slices.Contains(c.topics, c.w.topics.nameOf(tp)) {
				c.drop([]simTP{tp}) // it is not subscribed to that any more
			}
		}
	}
	c.lost = false
	c.rejoin = false
	c.state = simUnjoined
	c.asking = true
	req := &Join{
		Group: c.g.id, Member: c.member, Instance: c.instancePtr(), Type: "consumer", Session: c.session,
		Rebalance: c.rebalance, Protocols: c.protocols(), ClientID: c.name, ClientHost: "/10.0.0.1",
		MemberIDRequired: c.version >= 4, CanSkipAssigning: c.version >= 9,
	}
	c.ask(req, simRebalance+5*time.Second, func(resp Response) {
		c.asking = false
		if resp == nil {
			c.rejoin = true
			return
		}
		c.joined(resp.(*JoinResult))
	})
}

func (c *simClassic) joined(r *JoinResult) {
	c.w.note("%s: join: %v generation %d", c.name, r.Code, r.Generation)
	c.rejoin = r.Code != protocol.None
	switch r.Code {
	case protocol.None:
		c.member, c.generation, c.chosen = r.Member, r.Generation, *r.Protocol
		c.state = simJoined
		c.sync(r)
	case protocol.MemberIDRequired:
		c.member = r.Member
		c.join()
	case protocol.UnknownMemberID:
		c.reset()
	case protocol.FencedInstanceID:
		c.fatal = true
	case protocol.NotCoordinator, protocol.CoordinatorNotAvailable:
		c.disconnect()
	case protocol.GroupMaxSizeReached:
		c.w.mark("a group is full")
		c.reset()
		c.fatal = true
	case protocol.RebalanceInProgress, protocol.UnknownServerError:
	default:
		c.w.failf("%s: join: %v", c.name, r.Code)
	}
}

// reset is resetStateOnResponseError with the member id.
func (c *simClassic) reset() {
	c.member = ""
	c.resetGeneration()
}

func (c *simClassic) resetGeneration() {
	c.generation, c.state = -1, simUnjoined
	c.rejoin, c.lost = true, true
}

func (c *simClassic) sync(j *JoinResult) {
	req := &Sync{Group: c.g.id, Member: c.member, Instance: c.instancePtr(), Generation: c.generation}
	if c.version >= 7 {
		kind := "consumer"
		req.Type, req.Protocol = &kind, &c.chosen
	}
	c.assigned = ""
	if j.Leader == j.Member {
		c.metadata = c.w.topics.now
		c.assigned = c.shape(c.metadata)
		if !j.SkipAssignment {
			req.Assignments = simAssign(c.chosen, j.Members, c.metadata)
		} else {
			c.w.mark("a static leader is told not to assign")
		}
	}
	c.asking = true
	generation := c.generation
	c.ask(req, simRebalance+5*time.Second, func(resp Response) {
		c.asking = false
		if resp == nil {
			c.rejoin = true
			return
		}
		if generation == c.generation {
			c.synced(resp.(*SyncResult))
		}
	})
}

func (c *simClassic) synced(r *SyncResult) {
	c.rejoin = r.Code != protocol.None
	switch r.Code {
	case protocol.None:
		c.state = simStable
		c.ownedIn = c.generation
		c.assign(r.Assignment)
		c.w.note("%s owns %v in generation %d", c.name, c.has, c.generation)
	case protocol.RebalanceInProgress:
	case protocol.FencedInstanceID:
		c.fatal = true
	case protocol.UnknownMemberID:
		c.reset()
	case protocol.IllegalGeneration:
		c.resetGeneration()
	case protocol.NotCoordinator, protocol.CoordinatorNotAvailable:
		c.disconnect()
	case protocol.UnknownServerError:
	default:
		c.w.failf("%s: sync: %v", c.name, r.Code)
	}
}

// assign is onJoinComplete. A cooperative member lets go of what it was not given again and rejoins to say so.
func (c *simClassic) assign(data []byte) {
	given := simReadAssignment(data, c.w.topics)
	var gone []simTP
	for _, tp := range c.has.sorted() {
		if !given[tp] {
			gone = append(gone, tp)
		}
	}
	if len(gone) > 0 {
		c.w.mark("a cooperative member gives partitions up")
		c.drop(gone)
		c.rejoin = true
	}
	for _, tp := range given.sorted() {
		if !c.has[tp] {
			c.g.take(c, tp)
			c.has[tp] = true
		}
	}
}

func (c *simClassic) heartbeat() {
	c.beating = true
	generation := c.generation
	req := &Heartbeat{Group: c.g.id, Member: c.member, Instance: c.instancePtr(), Generation: c.generation}
	c.ask(req, 5*time.Second, func(resp Response) {
		c.beating = false
		if resp != nil {
			c.heard(generation, resp.(*HeartbeatResult).Code)
		}
	})
}

// heard takes the code of a heartbeat or a commit that was sent in a generation.
func (c *simClassic) heard(generation int32, code protocol.Code) {
	switch code {
	case protocol.None, protocol.UnknownServerError:
		return
	case protocol.NotCoordinator, protocol.CoordinatorNotAvailable:
		c.disconnect()
		return
	case protocol.RebalanceInProgress:
		if c.state == simStable {
			c.rejoin = true
		}
		return
	}
	c.w.note("%s: %v", c.name, code)
	if generation != c.generation || c.asking { // it speaks of the past
		return
	}
	switch code {
	case protocol.FencedInstanceID:
		c.fatal = true
	case protocol.UnknownMemberID, protocol.GroupIDNotFound:
		c.reset()
	case protocol.IllegalGeneration:
		c.resetGeneration()
	default:
		c.w.failf("%s: heartbeat or commit: %v", c.name, code)
	}
}

func (c *simClassic) commit() {
	c.committing = true
	tps := c.has.sorted()
	tp := tps[c.w.rng.IntN(len(tps))]
	t, ok := c.metadata.TopicByID(tp.id)
	if !ok {
		c.committing = false
		return
	}
	c.next++
	generation := c.generation
	if generation > 1 && c.w.chance(10) {
		generation-- // what was processed before the rebalance, and is committed late
	}
	req := &CommitOffsets{
		Group: c.g.id, Member: c.member, Instance: c.instancePtr(), Generation: generation, Retention: -1,
		KnowsGroupNotFound: c.w.chance(2),
		Partitions:         []CommitPartition{{Topic: t.Name, TopicID: tp.id, Partition: tp.p, Offset: c.next, LeaderEpoch: -1}},
	}
	c.ask(req, 5*time.Second, func(resp Response) {
		c.committing = false
		if resp != nil {
			c.heard(generation, resp.(*CommitResult).Partitions[0].Code)
		}
	})
}

func (c *simClassic) protocols() []Protocol {
	if c.cooperative() {
		return []Protocol{{Name: "cooperative-sticky", Metadata: simSubscription(c.topics, c.has, c.generation, c.w.topics)}}
	}
	plain := simSubscription(c.topics, nil, -1, c.w.topics)
	ps := []Protocol{{Name: "range", Metadata: plain}, {Name: "roundrobin", Metadata: plain}}
	if len(c.name)%2 == 0 {
		slices.Reverse(ps)
	}
	return ps
}
