package group

import (
	"bytes"
	"maps"
	"time"

	"moldau.io/moldau/protocol"
)

// simRules holds what coordinators do against what may never be seen. It watches their requests, answers and records, and
// what members believe.
//
//	OneOwner            no partition has two owners that are members now (taken)
//	AllOwned            in the end every partition that somebody wants has one (simGroup.restless)
//	GenerationMonotone  after somebody was given partitions in a generation nobody is let into an earlier one (answered)
//	SyncConsistent      in a generation a member gets one assignment, and no partition has two owners (synced)
//	NothingEarly        nobody is told what is not committed (early)
//	EpochFenced         heartbeats of another epoch than the member's are refused (mayBeat)
//	CommitFenced        commits of another generation, or of nobody while there are members, are refused (handled)
//	CommitMonotone      what is fetched is what the log has last (fetched); what was acknowledged is committed (answered)
//	ExpiryRight         members go when they are silent for a session, by the monotonic clock, and not before (ticked)
//	StaticMember        one that comes back in time keeps its assignment, and the generation stays (handled)
//	Replay              a machine made from the log, compacted or not, has the same hard state (replayed)
//	NothingIsLeft       when all have gone no ticket, alarm or group remains (checkEmpty, checkGone)
type simRules struct {
	removed     map[string]int // how often a member of a consumer group was, by group/member
	w           *simWorld
	told        map[string]*simTold
	generations map[string]int32 // of groups, when they became groups of the other kind
	doubt       int64            // until then old coordinators may answer
	lives       map[string]int   // of groups: after a group was deleted its generations begin anew
}

// simTold is what the members of a classic group were told, by whatever coordinator.
type simTold struct {
	newest int32                       // generation in which somebody got an assignment
	joined map[string]int32            // member -> the generation it was let into last
	given  map[int32]map[string][]byte // generation -> member or instance -> assignment
	owner  map[int32]map[simTP]string  // generation -> partition -> member or instance
}

// simHeard is when a member was heard of, by the coordinator's clock.
type simHeard struct {
	sure  time.Time // at least then: its session began anew
	maybe time.Time // at most then
}

// simBefore is what a machine looked like before it did something.
type simBefore struct {
	groups     map[string]simGroupSeen
	generation int32 // of the group that a request is about
	static     *member
	assignment []byte
}

type simGroupSeen struct {
	state   State
	members map[string]simMemberSeen
}

type simMemberSeen struct {
	session, rebalance time.Duration
	rejoined, unsynced bool
}

func newSimRules(w *simWorld) *simRules {
	return &simRules{w: w, told: map[string]*simTold{}, lives: map[string]int{}, removed: map[string]int{}, generations: map[string]int32{}}
}

func (r *simRules) beginAnew(group string) {
	delete(r.told, group)
	r.lives[group]++
}

func (r *simRules) of(group string) *simTold {
	t := r.told[group]
	if t == nil {
		t = &simTold{joined: map[string]int32{}, given: map[int32]map[string][]byte{}, owner: map[int32]map[simTP]string{}}
		r.told[group] = t
	}
	return t
}

// before looks at the machine; c is nil before a tick.
func (r *simRules) before(life *simLife, c *simCall) *simBefore {
	b := &simBefore{}
	if c == nil {
		b.groups = map[string]simGroupSeen{}
		for id, g := range life.m.groups {
			b.groups[id] = seeGroup(g)
		}
		return b
	}
	g := life.m.groups[c.req.GroupID()]
	if g == nil {
		return b
	}
	b.generation = g.generation
	if j, ok := c.req.(*Join); ok && j.Instance != nil && j.Member == "" && g.state == Stable {
		if mem := g.static[*j.Instance]; mem != nil && mem.matches(j.Protocols) {
			seen := *mem
			b.static, b.assignment = &seen, mem.assignment
		}
	}
	return b
}

func seeGroup(g *group) simGroupSeen {
	s := simGroupSeen{state: g.state, members: map[string]simMemberSeen{}}
	for _, mem := range g.members {
		s.members[mem.id] = simMemberSeen{
			session: mem.session, rebalance: mem.rebalance, rejoined: mem.joinTicket != 0, unsynced: g.unsynced[mem.id] != nil,
		}
	}
	return s
}

// handled looks at what one request did.
func (r *simRules) handled(life *simLife, c *simCall, b *simBefore, eff Effects) {
	w := r.w
	life.hear(c.req)
	r.decided(life, eff)
	switch req := c.req.(type) {
	case *CommitOffsets:
		if len(eff.Records) > 0 {
			r.mayCommit(life, req, b)
		}
	case *FetchOffsets:
		for _, reply := range eff.Replies {
			r.fetched(life, req, reply.Resp.(*FetchResult))
		}
	case *ConsumerHeartbeat:
		r.mayBeat(life, req, eff)
	case *Join:
		life.greet(req.Group)
		if b.static == nil || life.m.groups[req.Group].state != Stable {
			return
		}
		w.mark("a static member comes back")
		mem := life.m.groups[req.Group].static[*req.Instance]
		if life.m.groups[req.Group].generation != b.generation || mem == nil || !bytes.Equal(mem.assignment, b.assignment) {
			w.failf("static member %s came back and does not have what it had", *req.Instance)
		}
	}
}

// mayCommit holds a commit that was let through against what is known of the group.
func (r *simRules) mayCommit(life *simLife, req *CommitOffsets, b *simBefore) {
	if !life.leads() {
		return
	}
	if life.m.consumers[req.Group] != nil {
		r.mayCommitConsumer(life, req)
		return
	}
	t := r.of(req.Group)
	g := life.m.groups[req.Group]
	switch {
	case req.Generation < 0:
		if g != nil && len(g.members) > 0 {
			r.w.failf("a commit without a member was taken by group %s, which has %d", req.Group, len(g.members))
		}
	case !r.purelyClassic(req.Group) && g.state == PreparingRebalance && req.Generation < b.generation && g.byID[req.Member] != nil:
		r.w.mark("a member that is behind a group that became classic commits")
	case req.Generation < t.newest || req.Generation != b.generation:
		r.w.failf("a commit of %s in generation %d was taken; the group is at %d, told are %d", simShort(req.Member),
			req.Generation, b.generation, t.newest)
	case g == nil || g.byID[req.Member] == nil:
		r.w.failf("a commit of %s was taken, which is no member", simShort(req.Member))
	}
}

// fetched holds what is told of offsets against the log.
func (r *simRules) fetched(life *simLife, req *FetchOffsets, res *FetchResult) {
	if !life.leads() || res.Code != protocol.None {
		return
	}
	g := life.log.model.of(req.Group)
	n := 0
	for _, t := range res.Topics {
		for _, p := range t.Partitions {
			n++
			want := protocol.Offset(-1)
			if c := g.commit(t.Topic, p.Partition); c != nil {
				want = c.Offset
			}
			if p.Offset != want {
				r.w.failf("group %s has offset %d of %s-%d, the log %d", req.Group, p.Offset, t.Topic, p.Partition, want)
			}
		}
	}
	if req.All {
		for _, of := range g.offsets {
			n -= len(of)
		}
		if n != 0 {
			r.w.failf("group %s tells of %d offsets more than the log has", req.Group, n)
		}
	}
}

// answered looks at an answer that leaves the coordinator.
func (r *simRules) answered(life *simLife, c *simCall, resp Response) {
	r.w.trace(c.req.GroupID(), int64(codeOf(resp)))
	switch resp := resp.(type) {
	case *JoinResult:
		if resp.Code != protocol.None || !life.leads() {
			return
		}
		if !r.purelyClassic(c.req.GroupID()) && life.m.consumers[c.req.GroupID()] != nil {
			return // its epoch is its own
		}
		t := r.of(c.req.GroupID())
		if resp.Generation < t.newest {
			r.w.failf("%s is let into generation %d of %s, after partitions were given out in %d", simShort(resp.Member),
				resp.Generation, c.req.GroupID(), t.newest)
		}
		t.joined[resp.Member] = resp.Generation
	case *SyncResult:
		if resp.Code == protocol.None && life.leads() && r.purelyClassic(c.req.GroupID()) {
			r.synced(c.req.(*Sync), resp)
		}
	case *CommitResult:
		r.committed(life, c.req.(*CommitOffsets), resp)
	}
}

// purelyClassic says that generations are all there is.
func (r *simRules) purelyClassic(id string) bool {
	g := r.w.groupOf(id)
	return g != nil && g.kind != simModern && g.kind != simMixed
}

func (r *simRules) synced(req *Sync, resp *SyncResult) {
	t := r.of(req.Group)
	if req.Generation < t.newest {
		r.w.failf("%s is given partitions in generation %d of %s, after others were in %d", simShort(req.Member),
			req.Generation, req.Group, t.newest)
	}
	t.newest = req.Generation
	if t.given[t.newest] == nil {
		clear(t.given)
		clear(t.owner)
		t.given[t.newest], t.owner[t.newest] = map[string][]byte{}, map[simTP]string{}
	}
	who := req.Member
	if req.Instance != nil {
		who = *req.Instance
	}
	if had, ok := t.given[t.newest][who]; ok && !bytes.Equal(had, resp.Assignment) {
		r.w.failf("%s is given %x and then %x in generation %d", simShort(who), had, resp.Assignment, t.newest)
	}
	t.given[t.newest][who] = resp.Assignment
	for _, tp := range simReadAssignment(resp.Assignment, r.w.topics).sorted() {
		if other := t.owner[t.newest][tp]; other != "" && other != who {
			r.w.failf("in generation %d of %s partition %v is given to %s and to %s", t.newest, req.Group, tp, other, who)
		}
		t.owner[t.newest][tp] = who
	}
}

// early holds an answer that waits for nothing against what is not committed yet: a leader that is lost now takes that with
// it, and nobody may have heard of it (LoadedBeforeServe).
func (r *simRules) early(life *simLife, c *simCall, resp Response) {
	l := life.log
	if c == nil || !life.leads() || codeOf(resp) != protocol.None {
		return
	}
	for _, e := range l.entries[l.committed:] {
		if e.Group != c.req.GroupID() {
			continue
		}
		told := false
		switch req := c.req.(type) {
		case *FetchOffsets:
			told = e.Kind == KindCommit
		case *Sync:
			told = resp.(*SyncResult).Code == protocol.None && (e.Kind == KindSaved || e.Kind == KindCurrent && e.Name == req.Member)
		case *ConsumerHeartbeat:
			told = e.Kind == KindCurrent && e.Name == req.Member
		case *Describe:
			told = e.Kind == KindSaved
		}
		if told {
			r.w.failf("a %T of group %s is answered, and what it tells is not committed: %s", c.req, e.Group, simShow(e.Record))
		}
	}
}

// committed finds acknowledged offsets in what is committed of the log.
func (r *simRules) committed(life *simLife, req *CommitOffsets, resp *CommitResult) {
	for _, p := range resp.Partitions {
		if p.Code != protocol.None {
			continue
		}
		l, found := life.log, false
		for i := l.committed - 1; i >= 0 && !found; i-- {
			e := l.entries[i]
			c, ok := e.Value.(*Commit)
			found = ok && e.Group == req.Group && e.Topic == p.Topic && e.Partition == p.Partition && c.Offset == p.Offset
		}
		if !found {
			r.w.failf("offset %d of %s was acknowledged, and is not committed", p.Offset, req.Group)
		}
	}
}

// certain says that no old coordinator answers, and that nothing is late.
func (r *simRules) certain() bool { return r.w.now > r.doubt && !r.w.opt.late }

// taken is asked when m begins to own tp. Whoever else believes to own it must be out of the group: a classic member that
// was let into the generation of m should have let go, a consumer should have said that it did.
func (r *simRules) taken(g *simGroup, m simMember, tp simTP) {
	for _, h := range g.held[tp] {
		if h.by == m {
			r.w.failf("%s takes %v twice", m.peer().name, tp)
			return
		}
		if h.removed != r.removed[g.id+"/"+h.member] {
			continue // it was removed and has joined again, without hearing that what it has was given away
		}
		if h.group != r.lives[g.id] || !h.certain || !r.certain() {
			continue
		}
		if i := m.instanceID(); i != "" && i == h.by.instanceID() {
			continue // it took the other's place, which will hear of it
		}
		other, mine := h.by.generationNow(), m.generationNow()
		if model := g.log.model.of(g.id); model.consumer() {
			if model.members[h.member] != nil && model.members[m.memberID()] != nil {
				r.w.failf("%s takes %v in epoch %d, and %s has it in %d and is a member", m.peer().name, tp, mine, h.by.peer().name, other)
			}
			continue
		}
		if other == mine || r.of(g.id).joined[h.by.memberID()] == mine {
			r.w.failf("%s takes %v in generation %d, and %s has it in %d", m.peer().name, tp, mine, h.by.peer().name, other)
		}
	}
}

// moved is told of a new leader of a log.
func (r *simRules) moved(l *simLog) {
	for _, g := range r.w.groups {
		if g.log != l {
			continue
		}
		r.markMoved(l, g)
		// A generation in which nobody got an assignment is in no log, and its number is used again.
		t := r.of(g.id)
		maps.DeleteFunc(t.joined, func(_ string, generation int32) bool { return generation > t.newest })
	}
}

// markMoved says what became of a group.
func (r *simRules) markMoved(l *simLog, g *simGroup) {
	switch s := l.life.state(g.id); s {
	case PreparingRebalance, CompletingRebalance, Assigning, Reconciling:
		r.w.mark("a coordinator moves while a group is in " + string(s))
	}
}
