package group

import (
	"math/rand/v2"
	"slices"
	"time"

	"moldau.io/moldau/protocol"
)

// simLog is a replicated partition of __consumer_offsets: what its leader appends is committed some time later, and what
// was not may be gone with the leader. One life at a time may append.
type simLog struct {
	w         *simWorld
	partition int
	entries   []simEntry
	batches   []int // ends, ascending
	committed int
	term      int // rises when a tail is cut off
	model     *simModel
	life      *simLife   // the leader's
	lives     []*simLife // that have not ended, oldest first
	refusing  bool
}

type simEntry struct{ Record }

// simLife is one machine that leads a log, from its loading to its end, and the shell around it.
type simLife struct {
	log    *simLog
	broker *simBroker
	m      *Machine
	dead   bool
	frozen bool // it lost the lead when all that it wrote was committed

	ticket  Ticket
	calls   map[Ticket]*simCall
	held    []simHeld
	open    Effects // of commits that are not appended yet, as in coordinator's shard
	opened  int
	waiting []*simCall // came while the log was loaded
	alarmAt time.Time
	alarms  int
	rush    int // ticks at one moment
	rushAt  int64

	heard map[string]map[string]*simHeard // by group and member
}

type simCall struct {
	req   Request
	since int64
	reply func(Response)
}

// simHeld waits until all below end is committed.
type simHeld struct {
	end     int
	replies []Reply
}

const simCommitTimeout = 5 * time.Second

// lead makes a machine from the log on a broker. The one before is no leader any more, though it may not know it.
func (l *simLog) lead(broker int) {
	life := &simLife{
		log: l, broker: l.w.brokers[broker], calls: map[Ticket]*simCall{}, heard: map[string]map[string]*simHeard{},
	}
	l.life = life
	l.lives = append(l.lives, life)
	l.model = foldModel(l.entries)
	l.w.after(l.w.some(300*time.Millisecond), life.load)
}

func (life *simLife) load() {
	if life.dead {
		return
	}
	l := life.log
	w := l.w
	life.m = New(w.config(), life.broker, rand.New(rand.NewPCG(w.rng.Uint64(), 1)))
	entries := l.entries
	if w.chance(2) {
		entries = l.compacted(w.rng.IntN(l.committed+1), w.chance(2))
	}
	for _, e := range entries {
		life.m.Apply(e.clone())
	}
	l.hold(len(l.entries))
	w.note("log %d is loaded by broker %d: %d of %d entries, %d committed", l.partition, life.broker.id, len(entries), len(l.entries), l.committed)
	life.rejoinHeard()
	life.commit(life.m.Loaded(life.clock()))
	for _, c := range life.waiting {
		life.handle(c)
	}
	life.waiting = nil
}

// move takes the lead from the broker that has it. Some of what was not committed stays.
func (l *simLog) move() {
	w := l.w
	old := l.life
	keep := l.committed
	if tail := len(l.entries) - l.committed; tail > 0 {
		for _, end := range l.batches { // a follower has whole batches
			if end > keep && !w.chance(3) {
				keep = end
			} else if end > keep {
				break
			}
		}
		if keep < len(l.entries) {
			w.mark("a tail that was not committed is lost")
		} else {
			w.mark("a tail that was not committed is kept")
		}
	}
	old.frozen = keep == l.committed && keep == len(l.entries)
	l.truncate(keep)
	w.note("log %d moves from broker %d and keeps %d entries", l.partition, old.broker.id, keep)
	w.rules.moved(l)
	if w.opt.zombies && w.chance(2) && old.m != nil {
		w.mark("an old coordinator does not know that it is none")
		w.rules.doubt = w.now + int64(8*time.Second) // its answers may be on their way for a while
		w.after(w.some(4*time.Second), func() { old.end(w.chance(2)) })
	} else {
		old.end(w.chance(2))
	}
	l.lead(w.rng.IntN(len(w.brokers)))
}

func (l *simLog) truncate(keep int) {
	if keep < len(l.entries) {
		l.term++
	}
	l.entries = slices.Clone(l.entries[:keep])
	for len(l.batches) > 0 && l.batches[len(l.batches)-1] > keep {
		l.batches = l.batches[:len(l.batches)-1]
	}
}

// end is the end of a life: those who wait are refused, or hear nothing because the process is gone.
func (life *simLife) end(refuse bool) {
	if life.dead {
		return
	}
	life.dead = true
	life.log.lives = slices.DeleteFunc(life.log.lives, func(o *simLife) bool { return o == life })
	for _, t := range simSorted(life.calls) {
		c := life.calls[t]
		if refuse {
			c.reply(c.req.Refuse(protocol.NotCoordinator))
		}
	}
	for _, c := range life.waiting {
		c.reply(c.req.Refuse(protocol.NotCoordinator))
	}
	life.calls, life.held, life.waiting = nil, nil, nil
	if !refuse {
		life.log.w.breakConnections(life.broker, life.log)
	}
}

func (life *simLife) leads() bool { return life.log.life == life }

func (life *simLife) clock() time.Time { return life.broker.clock(life.log.w.now) }

// handle is coordinator's shard.handle.
func (life *simLife) handle(c *simCall) {
	if life.m == nil {
		life.waiting = append(life.waiting, c)
		return
	}
	w := life.log.w
	_, isCommit := c.req.(*CommitOffsets)
	_, isHeartbeat := c.req.(*Heartbeat)
	if !isCommit && !isHeartbeat {
		life.flush()
	}
	life.ticket++
	life.calls[life.ticket] = c
	before := w.rules.before(life, c)
	eff := life.m.Handle(life.clock(), life.ticket, c.req)
	w.rules.handled(life, c, before, eff)
	if isCommit && len(eff.Records) > 0 {
		life.open.Records = append(life.open.Records, eff.Records...)
		life.open.Replies = append(life.open.Replies, eff.Replies...)
		life.open.Events = append(life.open.Events, eff.Events...)
		if life.opened++; life.opened == 1 {
			w.after(w.some(2*time.Millisecond), life.flush)
		}
		return
	}
	life.commit(eff)
}

func (life *simLife) flush() {
	if life.opened == 0 || life.dead {
		return
	}
	if life.opened > 1 {
		life.log.w.mark("commits share a batch")
	}
	eff := life.open
	life.open, life.opened = Effects{}, 0
	life.commit(eff)
}

// commit is coordinator's shard.commit: append, apply, and answer once that is committed.
func (life *simLife) commit(eff Effects) {
	w := life.log.w
	for range 100 {
		for _, e := range eff.Events {
			w.note("  group %s: %s: %s (%d members, %d)", e.Group, e.Kind.Text(), e.Reason, e.Members, e.Generation)
			w.rules.event(life, e)
		}
		if len(eff.Records) == 0 {
			life.answer(eff.Replies, false)
			life.setAlarm()
			return
		}
		rest, code := life.append(eff.Records, eff.Cuts)
		if code == protocol.None {
			w.rules.applied(life)
			life.answer(eff.Replies, true)
			life.setAlarm()
			return
		}
		life.markRefused(rest)
		w.note("log %d refuses %d records: %v", life.log.partition, len(rest), code)
		eff.Records, eff.Cuts = rest, nil
		eff = life.m.Rejected(life.clock(), eff, code)
		w.rules.decided(life, eff)
		life.greetStatic()
	}
	w.failf("refused records make records without end")
}

// markRefused says what was not written.
func (life *simLife) markRefused(records []Record) {
	w := life.log.w
	w.mark("records are refused")
	if len(life.conversions(records)) > 0 {
		w.mark("a change of the protocol is refused")
	}
	for _, r := range records {
		switch {
		case r.Kind == KindTarget && r.Value != nil:
			w.mark("a new target is refused")
		case r.Kind == KindMember && r.Value == nil:
			w.mark("the removal of a consumer is refused")
		case r.Kind == KindSaved && r.Value != nil:
			w.mark("an assignment of a classic group is refused")
		}
	}
}

// append writes and applies. What comes back with a code was not written.
func (life *simLife) append(records []Record, cuts []int) ([]Record, protocol.Code) {
	l := life.log
	w := l.w
	done := 0
	for len(records) > 0 {
		if !life.leads() {
			return records, protocol.NotLeaderOrFollower
		}
		if l.refusing || w.storm && w.opt.refusals && w.chance(25) {
			return records, []protocol.Code{protocol.NotEnoughReplicas, protocol.MessageTooLarge}[w.rng.IntN(2)]
		}
		n := len(records)
		if len(cuts) > 0 && w.opt.splits && w.chance(3) {
			n = cuts[w.rng.IntN(len(cuts))] - done
			if n <= 0 || n >= len(records) {
				n = len(records)
			} else {
				w.mark("records of several decisions are parted")
			}
		}
		converted := life.conversions(records[:n])
		for _, r := range records[:n] {
			w.note("  log %d: %s", l.partition, simShow(r))
			w.trace(r.Group, int64(r.Kind))
			c := r.clone()
			w.rules.written(l, c, converted[c.Group])
			l.entries = append(l.entries, simEntry{c})
			l.model.apply(c)
			life.m.Apply(r)
		}
		for _, id := range sortedKeys(converted) {
			life.greetConverted(id)
		}
		l.batches = append(l.batches, len(l.entries))
		l.hold(len(l.entries))
		records, done = records[n:], done+n
	}
	return nil, protocol.None
}

// hold lets all below end be committed some time from now.
func (l *simLog) hold(end int) {
	lag := l.w.some(15 * time.Millisecond)
	if l.w.opt.slowCommits && l.w.storm && l.w.chance(15) {
		lag = l.w.some(8 * time.Second)
	}
	term := l.term
	l.w.after(lag, func() {
		if l.term == term && end > l.committed {
			l.committed = end
			l.life.release()
		}
	})
}

// answer sends replies now, or once what they tell of is committed.
func (life *simLife) answer(replies []Reply, hard bool) {
	l := life.log
	var later []Reply
	for _, r := range replies {
		if life.leads() && l.committed == len(l.entries) || life.frozen || !hard && !r.Stable {
			l.w.rules.early(life, life.calls[r.To], r.Resp)
			life.send(r.To, r.Resp)
		} else {
			later = append(later, r)
		}
	}
	if len(later) == 0 {
		return
	}
	life.held = append(life.held, simHeld{len(l.entries), later})
	l.w.after(simCommitTimeout, func() {
		for _, r := range later {
			if c := life.calls[r.To]; c != nil {
				l.w.mark("a commit takes too long")
				life.send(r.To, c.req.Refuse(protocol.CoordinatorNotAvailable))
			}
		}
	})
}

func (life *simLife) release() {
	for !life.dead && life.leads() && len(life.held) > 0 && life.held[0].end <= life.log.committed {
		h := life.held[0]
		life.held = life.held[1:]
		for _, r := range h.replies {
			if life.calls[r.To] != nil { // else it took too long
				life.send(r.To, r.Resp)
			}
		}
	}
}

func (life *simLife) send(t Ticket, resp Response) {
	c := life.calls[t]
	if c == nil {
		life.log.w.failf("ticket %d is answered with %T and was not asked, or twice", t, resp)
		return
	}
	delete(life.calls, t)
	life.log.w.rules.answered(life, c, resp)
	c.reply(resp)
}

// setAlarm sees to it that the machine is ticked when it wants to be.
func (life *simLife) setAlarm() {
	at := life.m.Deadline()
	if at.Equal(life.alarmAt) {
		return
	}
	life.alarmAt = at
	life.alarms++
	n := life.alarms
	w := life.log.w
	late := time.Duration(0)
	if w.chance(4) {
		late = w.some(5 * time.Millisecond)
	}
	w.after(at.Sub(life.clock())+late, func() {
		if life.alarms == n && !life.dead {
			life.tick()
		}
	})
}

func (life *simLife) tick() {
	w := life.log.w
	life.flush()
	if life.rushAt != w.now {
		life.rushAt, life.rush = w.now, 0
	}
	if life.rush++; life.rush > 1000 {
		w.failf("the machine of log %d wants to be ticked without end", life.log.partition)
		return
	}
	before := w.rules.before(life, nil)
	eff := life.m.Tick(life.clock())
	w.rules.ticked(life, before, eff)
	life.alarmAt = time.Time{}
	life.commit(eff)
	w.rules.overdue(life)
}

// generation of a group, or its epoch, as far as its coordinator knows.
func (life *simLife) generation(id string) int32 {
	if life.m != nil && life.m.groups[id] != nil {
		return life.m.groups[id].generation
	}
	if life.m != nil && life.m.consumers[id] != nil {
		return life.m.consumers[id].epoch
	}
	return -1
}

// members of a group, and those who have not come back with their id.
func (life *simLife) members(id string) int {
	if life.m != nil && life.m.groups[id] != nil {
		return len(life.m.groups[id].members) + len(life.m.groups[id].pending)
	}
	if life.m != nil && life.m.consumers[id] != nil {
		return len(life.m.consumers[id].members)
	}
	return 0
}

func (life *simLife) state(id string) State {
	switch {
	case life.m == nil:
		return Dead
	case life.m.groups[id] != nil:
		return life.m.groups[id].state
	case life.m.consumers[id] != nil:
		return life.m.consumers[id].state()
	}
	return Dead
}
