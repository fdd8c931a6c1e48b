package group

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"moldau.io/moldau/protocol"
)

// simConsumer is a member that speaks KIP-848 as Java's AsyncKafkaConsumer does: it says everything in its first heartbeat
// and after a failure, else only what changed; it gives up what it was not assigned again before it takes what is new, and
// then says what it has; when it is fenced it drops everything and joins again under its member id.
type simConsumer struct {
	simPeer
	g        *simGroup
	instance string
	topics   []string
	regex    string
	assignor string
	version  int // of ConsumerGroupHeartbeat

	member   string
	epoch    int32
	has      simSet
	target   simSet // being taken; nil: nothing changes
	finish   int64  // when it has given up what it must
	half     bool   // it says what it gave up before it takes what is new
	said     string // the owned partitions as it said them last
	whole    bool   // it says everything next time
	anew     bool   // it says what it subscribes to next time
	urgent   bool   // it does not wait for the interval
	due      int64  // next heartbeat
	interval time.Duration
	beating  bool
	commits  bool
	fatal    bool
	retired  bool
	next     protocol.Offset
	metadata simMetadata
}

func newSimConsumer(g *simGroup, p simPeer, instance string) *simConsumer {
	c := &simConsumer{simPeer: p, g: g, instance: instance, has: simSet{}, version: g.w.rng.IntN(2)}
	c.topics = g.subscription()
	if c.version > 0 && g.w.chance(3) {
		c.topics, c.regex = nil, []string{"r.*", "orders|traces", ".*s"}[g.w.rng.IntN(3)]
	}
	c.assignor = []string{"", "uniform", "range"}[g.w.rng.IntN(3)]
	return c
}

func (c *simConsumer) peer() *simPeer       { return &c.simPeer }
func (c *simConsumer) memberID() string     { return c.member }
func (c *simConsumer) instanceID() string   { return c.instance }
func (c *simConsumer) generationNow() int32 { return c.epoch }

func (c *simConsumer) become(o simMember) {
	c.instance = o.instanceID()
	if twin, ok := o.(*simConsumer); ok {
		c.topics, c.regex, c.version = twin.topics, twin.regex, twin.version
	}
}

func (c *simConsumer) wants() []string {
	if c.regex == "" {
		return c.topics
	}
	return c.w.topics.matching(c.regex)
}

func (c *simConsumer) resting() string {
	switch {
	case c.epoch <= 0:
		return "has not joined"
	case c.target != nil:
		return fmt.Sprintf("goes from %v to %v", c.has, c.target)
	}
	return ""
}

func (c *simConsumer) start() {
	if c.retired {
		return
	}
	c.dead, c.fatal = false, false
	c.drop(c.has.sorted())
	c.member, c.beating, c.commits, c.interval = "", false, false, time.Second
	if c.version > 0 {
		c.member = fmt.Sprintf("%s-%08x", c.name, c.w.rng.Uint32())
	}
	c.rejoin()
	c.poll()
}

// rejoin begins with epoch 0 and nothing.
func (c *simConsumer) rejoin() {
	c.drop(c.has.sorted())
	c.epoch, c.target, c.whole, c.urgent, c.said = 0, nil, true, true, ""
}

func (c *simConsumer) kill() {
	c.w.note("%s is killed", c.name)
	c.drop(c.has.sorted())
	c.die()
}

// leave is close() with a new start later. Static members mean to come back and say so.
func (c *simConsumer) leave() {
	c.w.note("%s closes", c.name)
	c.drop(c.has.sorted())
	if c.epoch <= 0 || c.w.chance(5) {
		c.die()
		return
	}
	req := &ConsumerHeartbeat{Group: c.g.id, Member: c.member, Epoch: -1, Rebalance: unchangedRebalance, MemberIDRequired: c.version > 0}
	if c.instance != "" {
		req.Instance, req.Epoch = &c.instance, -2
	}
	c.ask(req, time.Second, func(Response) {})
	conn := c.conn
	c.life++
	c.w.after(2*time.Second, conn.cut)
	c.conn = nil
	c.dead = true
}

func (c *simConsumer) retire() {
	c.retired = true
	if !c.dead {
		c.leave()
	}
}

func (c *simConsumer) drop(tps []simTP) {
	for _, tp := range tps {
		delete(c.has, tp)
		c.g.release(c, tp)
	}
}

func (c *simConsumer) poll() {
	switch {
	case c.fatal:
		c.w.note("%s stops", c.name)
		c.drop(c.has.sorted())
		c.die()
		return
	case c.target != nil && c.w.now >= c.finish && !c.beating: // it might be told otherwise
		c.reconciled()
	}
	if c.w.chance(4) {
		c.metadata = c.w.topics.now
	}
	if c.w.opt.resubscribes && c.w.storm && c.epoch > 0 && c.w.chance(150) {
		c.topics, c.regex = c.g.subscription(), ""
		c.anew, c.urgent = true, true
		c.w.note("%s subscribes to %v", c.name, c.topics)
		c.w.mark("a consumer subscribes anew")
	}
	if !c.beating && (c.urgent || c.w.now >= c.due) {
		c.heartbeat()
	}
	if !c.commits && c.epoch > 0 && len(c.has) > 0 && c.w.chance(8) {
		c.commit()
	}
	c.at(50*time.Millisecond+c.w.some(400*time.Millisecond), c.poll)
}

// reconciled ends the callbacks: what is not in the target is given up, then what is new is taken.
func (c *simConsumer) reconciled() {
	var gone []simTP
	for _, tp := range c.has.sorted() {
		if !c.target[tp] {
			gone = append(gone, tp)
		}
	}
	if len(gone) > 0 {
		c.w.mark("a consumer gives partitions up")
	}
	c.drop(gone)
	if c.half && len(gone) > 0 && len(c.target) > len(c.has) {
		c.urgent = true // it says so first
		return
	}
	for _, tp := range c.target.sorted() {
		if !c.has[tp] {
			c.g.take(c, tp)
			c.has[tp] = true
		}
	}
	c.w.note("%s has %v in epoch %d", c.name, c.has, c.epoch)
	c.target, c.urgent = nil, true
}

func (c *simConsumer) heartbeat() {
	req := &ConsumerHeartbeat{
		Group: c.g.id, Member: c.member, Epoch: c.epoch, Rebalance: unchangedRebalance, MemberIDRequired: c.version > 0,
		ClientID: c.name, ClientHost: "/10.0.0.1",
	}
	if c.instance != "" {
		req.Instance = &c.instance
	}
	if c.w.storm && c.epoch > 2 && c.w.chance(100) {
		req.Epoch -= 1 + int32(c.w.rng.IntN(2)) // what it was told was lost on the way between its own threads
	}
	if c.whole || c.anew {
		req.Topics = append([]string{}, c.topics...)
		if regex := c.regex; c.version > 0 {
			req.Regex = &regex
		}
	}
	if c.whole {
		req.Rebalance = simRebalance
		if c.assignor != "" {
			req.Assignor = &c.assignor
		}
		rack := []string{"a", "b"}[len(c.name)%2]
		req.Rack = &rack
	}
	if owned := c.has.String(); c.whole || owned != c.said {
		req.Owned = c.ownedList()
		c.said = owned
	}
	c.whole, c.anew, c.urgent, c.beating = false, false, false, true
	c.due = c.w.now + int64(c.interval)
	epoch := c.epoch
	c.ask(req, 5*time.Second, func(resp Response) {
		c.beating = false
		if resp == nil {
			// It may have said that it has nothing of what it was about to take, and been believed.
			c.whole, c.urgent, c.target = true, true, nil
			return
		}
		if r := resp.(*ConsumerHeartbeatResult); r.Code != protocol.None {
			c.refused(r)
		} else if epoch == c.epoch {
			c.heard(r)
		}
	})
}

// ownedList is what it has, as a heartbeat says it.
func (c *simConsumer) ownedList() []TopicPartitions {
	list := []TopicPartitions{}
	for _, tp := range c.has.sorted() {
		if n := len(list); n == 0 || list[n-1].ID != tp.id {
			list = append(list, TopicPartitions{ID: tp.id})
		}
		list[len(list)-1].Partitions = append(list[len(list)-1].Partitions, tp.p)
	}
	return list
}

func (c *simConsumer) heard(r *ConsumerHeartbeatResult) {
	if c.member == "" {
		c.member = r.Member
	}
	if r.Epoch < c.epoch && c.g.w.rules.certain() {
		c.w.failf("%s was in epoch %d and is told %d", c.name, c.epoch, r.Epoch)
	}
	c.epoch, c.interval = r.Epoch, r.Interval
	if !r.HasAssignment {
		return
	}
	target := simSet{}
	for _, t := range r.Assigned {
		for _, p := range t.Partitions {
			target[simTP{t.ID, p}] = true
		}
	}
	c.w.note("%s is told epoch %d with %v", c.name, r.Epoch, target)
	if maps.Equal(target, c.has) {
		c.target = nil
		return
	}
	c.target, c.finish, c.half = target, c.w.now+int64(c.w.some(time.Second)), c.w.chance(3)
	if c.w.opt.slow && c.w.storm && c.w.chance(6) {
		c.finish += int64(c.w.some(2 * simRebalance))
	}
}

func (c *simConsumer) refused(r *ConsumerHeartbeatResult) {
	c.w.note("%s in epoch %d: %v %s", c.name, c.epoch, r.Code, r.Message)
	switch r.Code {
	case protocol.UnknownMemberID, protocol.FencedMemberEpoch, protocol.GroupIDNotFound:
		c.w.mark("a consumer is fenced")
		c.rejoin()
	case protocol.UnreleasedInstanceID, protocol.FencedInstanceID, protocol.GroupMaxSizeReached:
		c.w.mark("a consumer is told " + r.Code.Error())
		c.fatal = true
	case protocol.NotCoordinator, protocol.CoordinatorNotAvailable:
		c.disconnect()
		c.whole, c.due = true, c.w.now+int64(200*time.Millisecond)
	case protocol.UnknownServerError:
		c.whole = true
	default:
		c.w.failf("%s: heartbeat: %v %s", c.name, r.Code, r.Message)
	}
}

func (c *simConsumer) commit() {
	tps := c.has.sorted()
	tp := tps[c.w.rng.IntN(len(tps))]
	name := c.w.topics.nameOf(tp)
	if !slices.ContainsFunc(c.metadata.topics, func(t Topic) bool { return t.ID == tp.id }) {
		return
	}
	c.commits = true
	c.next++
	epoch := c.epoch
	if epoch > 1 && c.w.chance(10) {
		epoch -= 1 + int32(c.w.rng.IntN(2)) // of what was processed before, and is committed late
	}
	req := &CommitOffsets{
		Group: c.g.id, Member: c.member, Generation: epoch, Retention: -1, KnowsGroupNotFound: true,
		Partitions: []CommitPartition{{Topic: name, TopicID: tp.id, Partition: tp.p, Offset: c.next, LeaderEpoch: -1}},
	}
	if c.instance != "" {
		req.Instance = &c.instance
	}
	c.ask(req, 5*time.Second, func(resp Response) {
		c.commits = false
		if resp == nil {
			return
		}
		switch code := resp.(*CommitResult).Partitions[0].Code; code {
		case protocol.None, protocol.UnknownServerError:
		case protocol.StaleMemberEpoch:
			c.w.mark("a commit has a stale epoch")
		case protocol.UnknownMemberID, protocol.GroupIDNotFound, protocol.FencedInstanceID: // the next heartbeat hears it
		case protocol.NotCoordinator, protocol.CoordinatorNotAvailable:
			c.disconnect()
		default:
			c.w.failf("%s: commit: %v", c.name, code)
		}
	})
}
