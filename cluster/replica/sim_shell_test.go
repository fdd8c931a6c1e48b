package replica_test

import (
	"slices"
	"time"

	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/cluster/replica"
	"moldau.io/moldau/internal/sim"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/epoch"
)

// shell is one replica in a process: its log and whichever core it has. It does what the broker's partition and fetcher do.
type shell struct {
	n     *node
	tp    protocol.TopicPartition
	id    protocol.TopicID
	log   simLog
	truth *truth

	a        replica.Assignment
	leader   *replica.Leader
	follower *replica.Follower
	waits    []wait
	syncing  bool

	conn     *sim.Conn // to the leader
	asking   bool
	answered bool // and what came is being made durable
	asked    int  // questions, so that a late answer is not taken for another one
	pause    sim.Timer
	retired  bool

	verified protocol.Offset // everything below it is what was committed, see checkLog
}

// wait is a producer that waits for its records.
type wait struct {
	end   protocol.Offset
	all   bool
	reply func(protocol.Code, protocol.Offset)
}

// become takes the place that the metadata gives the replica.
func (sh *shell) become(a replica.Assignment) {
	w, now := sh.n.w, sh.n.w.Now()
	sh.touched()
	same := a.Epoch == sh.a.Epoch && sh.a.Replicas != nil
	led := sh.leader != nil
	sh.a = a
	switch {
	case a.Leader == sh.n.id && same && led:
		sh.publish(sh.leader.Assigned(now, a))
	case a.Leader == sh.n.id:
		sh.unfollow()
		if err := sh.log.assign(a.Epoch); err != nil {
			w.Fail("%v at broker %d: %v", sh.tp, sh.n.id, err)
			return
		}
		w.Note("broker %d leads %v in epoch %d from %d, high watermark %d, in sync %v, eligible %v", sh.n.id, sh.tp, a.Epoch,
			sh.log.end(), sh.log.hw(), a.ISR, a.ELR)
		sh.leader = replica.NewLeader(replica.Config{LagTime: w.o.lag}, now, a, sh.counts(), sh.log.hw())
		sh.truth.leads(sh)
		sh.log.setHW(max(sh.leader.HighWatermark(), sh.log.start()))
		sh.refuseAll()
		sh.publish(replica.Effects{HighWatermark: sh.leader.HighWatermark(), Advanced: true})
		sh.syncSoon()
	case sh.follower != nil && same:
		sh.follower.Assigned(a)
	default:
		sh.leader = nil
		sh.refuseAll()
		sh.unfollow()
		if w.o.fault == "a follower truncates to its high watermark" {
			sh.cut(min(sh.log.hw(), sh.log.end()))
		}
		if w.o.fsync {
			sh.flush() // its first question says that it has all of its log
		}
		if a.Leader >= 0 {
			sh.follower = replica.NewFollower(a, sh.logNow(), sh.log.hw())
			sh.follow()
		}
	}
}

// counts is how far the leader's own log counts.
func (sh *shell) counts() protocol.Offset {
	return max(sh.log.durable(), min(sh.log.hw(), sh.log.end()))
}

func (sh *shell) logNow() replica.FollowerLog {
	return replica.FollowerLog{Start: sh.log.start(), End: sh.log.end(), Epochs: sh.log.epochs()}
}

func (sh *shell) touched() { sh.truth.dirty = true }

func (sh *shell) retire() {
	sh.leader, sh.retired = nil, true
	sh.refuseAll()
	sh.unfollow()
	sh.touched()
}

func (sh *shell) refuseAll() {
	waits := sh.waits
	sh.waits = nil
	for _, x := range waits {
		x.reply(protocol.NotLeaderOrFollower, -1)
	}
}

// publish does what a leader's step asks for.
func (sh *shell) publish(e replica.Effects) {
	sh.touched()
	if e.Advanced {
		sh.log.setHW(e.HighWatermark)
		sh.truth.commits(sh, e.HighWatermark)
	}
	var rest []wait
	for _, x := range sh.waits {
		switch {
		case !x.all && sh.counts() >= x.end:
			x.reply(protocol.None, x.end-1)
		case x.all && sh.leader.HighWatermark() >= x.end && !sh.leader.EnoughInSyncStill(sh.a.MinInSync):
			x.reply(protocol.NotEnoughReplicasAfterAppend, -1)
		case x.all && sh.leader.HighWatermark() >= x.end:
			sh.truth.acknowledged(sh, x.end)
			x.reply(protocol.None, x.end-1)
		default:
			rest = append(rest, x)
		}
	}
	sh.waits = rest
	if e.Propose {
		sh.propose()
	}
}

// propose sends the leader's proposal to the controller.
func (sh *shell) propose() {
	l := sh.leader
	ch, ok := l.Proposal()
	if !ok {
		return
	}
	w := sh.n.w
	change := meta.ISRChange{Topic: sh.id, Partition: sh.tp.Partition, LeaderEpoch: ch.LeaderEpoch, Epoch: ch.PartitionEpoch,
		Recovered: ch.Recovered}
	for _, m := range ch.ISR {
		e := m.Epoch
		if w.o.fault == "an old broker epoch is taken" {
			e = -1
		}
		change.ISR = append(change.ISR, meta.ISRMember{ID: m.ID, Epoch: e})
	}
	w.Note("broker %d asks for %v of %v to be in sync, partition epoch %d", sh.n.id, ch.ISR, sh.tp, ch.PartitionEpoch)
	if w.o.fault == "the high watermark goes before the in-sync set is committed" {
		sh.early(ch)
	}
	cmd := meta.AlterPartition{Broker: sh.n.id, BrokerEpoch: sh.n.epoch, Partitions: []meta.ISRChange{change}}
	sh.n.call(cmd, func(r meta.Reply, err error, answered bool) {
		if sh.leader != l {
			return
		}
		code := protocol.RequestTimedOut
		if answered {
			code = protocol.CodeOf(err)
			if r, ok := r.(meta.AlterPartitionReply); ok && err == nil {
				code = r.Partitions[0].Code
			}
			w.Note("broker %d is told %v about %v", sh.n.id, code, sh.tp)
			w.Mark("an in-sync set is answered with " + codeName(code))
		}
		sh.publish(l.Refused(w.Now(), code))
	})
}

func codeName(c protocol.Code) string {
	if c == protocol.None {
		return "NONE"
	}
	return c.Error()
}

// early plants a fault: the leader goes by what it has proposed.
func (sh *shell) early(ch replica.ISRChange) {
	a := sh.a
	a.ISR = nil
	for _, m := range ch.ISR {
		a.ISR = append(a.ISR, m.ID)
	}
	a.PartitionEpoch++
	e := sh.leader.Assigned(sh.n.w.Now(), a)
	e.Propose = false
	sh.publish(e)
}

func (sh *shell) tick() {
	if sh.leader != nil {
		sh.publish(sh.leader.Tick(sh.n.w.Now()))
	}
}

// flush makes durable what is there.
func (sh *shell) flush() {
	if err := sh.log.sync(); err != nil {
		sh.n.w.Fail("%v at broker %d: %v", sh.tp, sh.n.id, err)
	}
}

// syncSoon makes durable what was appended, where that is asked for, and counts it then.
func (sh *shell) syncSoon() {
	if !sh.n.w.o.fsync || sh.syncing || sh.log.durable() >= sh.log.end() {
		return
	}
	sh.syncing = true
	sh.n.after(sh.n.syncTime(), "synced", func() {
		sh.syncing = false
		if sh.retired {
			return
		}
		sh.flush()
		if sh.leader != nil {
			sh.publish(sh.leader.Appended(sh.n.w.Now(), sh.counts()))
		}
		sh.syncSoon()
	})
}

func (n *node) syncTime() time.Duration {
	if n.w.o.on["slow disk"] && n.rng.IntN(10) == 0 {
		return time.Duration(n.rng.IntN(1500)) * time.Millisecond
	}
	return time.Duration(1+n.rng.IntN(8)) * time.Millisecond
}

// produce appends a client's batch.
func (sh *shell) produce(b batch.Batch, all bool, reply func(protocol.Code, protocol.Offset)) {
	w, l := sh.n.w, sh.leader
	switch {
	case l == nil:
		reply(protocol.NotLeaderOrFollower, -1)
		return
	case all && !l.EnoughInSync(sh.a.MinInSync):
		reply(protocol.NotEnoughReplicas, -1)
		return
	}
	last, duplicate, err := sh.log.append(w.Now(), l.Epoch(), b)
	if err != nil {
		reply(protocol.CodeOf(err), -1)
		return
	}
	sh.touched()
	sh.truth.appended(sh)
	if duplicate {
		w.Mark("a batch comes again")
	}
	sh.waits = append(sh.waits, wait{end: last + 1, all: all, reply: reply})
	sh.publish(l.Appended(w.Now(), max(sh.counts(), l.HighWatermark())))
	sh.syncSoon()
}

// fetched is a leader's answer to a follower.
type fetched struct {
	replica.FetchResult
	raw        []byte
	start, end protocol.Offset // the answer to AskBounds
}

// serve answers a follower.
func (sh *shell) serve(from protocol.BrokerID, brokerEpoch int64, q replica.FetchPlan) fetched {
	refuse := func(c protocol.Code) fetched { return fetched{FetchResult: replica.FetchResult{Code: c}} }
	w, l := sh.n.w, sh.leader
	switch {
	case q.LeaderEpoch < sh.a.Epoch:
		return refuse(protocol.FencedLeaderEpoch)
	case q.LeaderEpoch > sh.a.Epoch:
		return refuse(protocol.UnknownLeaderEpoch)
	case l == nil:
		return refuse(protocol.NotLeaderOrFollower)
	}
	start, end := sh.log.start(), sh.log.end()
	if q.AskBounds {
		return fetched{start: start, end: end}
	}
	res := fetched{FetchResult: replica.FetchResult{LogStart: start}}
	if q.LastFetchedEpoch >= 0 && w.o.fault != "a follower truncates to its high watermark" {
		switch e, at := sh.log.epochs().EndOf(q.LastFetchedEpoch, end); {
		case e == epoch.Unknown:
			return refuse(protocol.OffsetOutOfRange)
		case e < q.LastFetchedEpoch || at < q.Offset:
			res.Diverges, res.Diverging, res.HighWatermark = true, replica.EpochEnd{Epoch: e, End: at}, l.HighWatermark()
			return res
		}
	}
	if q.Offset < start || q.Offset > end {
		return refuse(protocol.OffsetOutOfRange)
	}
	if w.o.fault == "an old broker epoch is taken" {
		if i := slices.IndexFunc(sh.a.Candidates, func(c replica.Candidate) bool { return c.ID == from }); i >= 0 {
			brokerEpoch = max(brokerEpoch, sh.a.Candidates[i].Epoch)
		}
	}
	e, err := l.Fetched(w.Now(), replica.FollowerFetch{
		Replica: from, BrokerEpoch: brokerEpoch, Offset: sh.claimed(q.Offset), LogStart: q.LogStart,
	})
	if err != nil {
		return refuse(protocol.CodeOf(err))
	}
	sh.publish(e)
	raw, err := sh.log.read(q.Offset, end, simFetchMax)
	if err != nil {
		w.Fail("%v at broker %d: read %d of %d..%d: %v", sh.tp, sh.n.id, q.Offset, start, end, err)
	}
	res.raw, res.HighWatermark, res.Bytes = raw, l.HighWatermark(), len(raw)
	if len(raw) > 0 {
		res.First, res.Next = bounds(raw)
	}
	return res
}

// claimed plants a fault: whoever fetches is taken to have everything.
func (sh *shell) claimed(o protocol.Offset) protocol.Offset {
	if sh.n.w.o.fault == "who has not reached the high watermark joins" {
		return max(o, sh.leader.HighWatermark(), sh.leader.EpochStart())
	}
	return o
}

func bounds(raw []byte) (first, next protocol.Offset) {
	b, rest, _ := batch.Next(raw)
	first, next = b.BaseOffset(), b.LastOffset()+1
	for len(rest) > 0 {
		b, rest, _ = batch.Next(rest)
		next = b.LastOffset() + 1
	}
	return first, next
}

func (sh *shell) unfollow() {
	sh.follower, sh.asking = nil, false
	sh.pause.Stop()
	sh.conn.Close(0)
	sh.conn = nil
	sh.asked++
}

// follow asks the leader the next question, unless one is under way.
func (sh *shell) follow() {
	f, n := sh.follower, sh.n
	if f == nil || sh.asking || n.epoch < 0 {
		return
	}
	w, leader := n.w, n.w.node(f.Leader())
	sh.pause.Stop()
	sh.asking, sh.answered = true, false
	sh.asked++
	number, run := sh.asked, n.run
	mine := func(do func()) func() {
		return func() {
			n.do(run, func() {
				if sh.asked == number && sh.follower == f {
					do()
				}
			})
		}
	}
	failed := mine(func() {
		sh.conn.Close(0)
		sh.conn = nil
		sh.done(f.Failed())
	})
	if !sh.conn.Open(0) {
		sh.conn = w.net.Dial(n.i, leader.i, func() { n.do(run, func() { sh.broken() }) })
	}
	n.after(simRPC, "fetch timeout", failed)
	conn, plan, broker, toRun := sh.conn, f.Next(), n.epoch, leader.run
	conn.Send(0, "fetch", func() {
		leader.do(toRun, func() {
			res := refusal(protocol.UnknownTopicID)
			if to := leader.shell(sh.id, sh.tp.Partition); to != nil {
				res = to.serve(n.id, broker, plan)
			}
			conn.Send(1, "fetched", mine(func() { sh.heard(plan, res) }))
		})
	})
}

func refusal(c protocol.Code) fetched { return fetched{FetchResult: replica.FetchResult{Code: c}} }

func (sh *shell) broken() {
	sh.conn = nil
	if sh.asking && !sh.answered && sh.follower != nil {
		sh.done(sh.follower.Failed())
	}
}

// done waits as long as the core says, and asks again.
func (sh *shell) done(e replica.FollowerEffects) {
	sh.asking = false
	sh.asked++
	sh.touched()
	if e.HighWatermark > sh.log.hw() {
		sh.log.setHW(e.HighWatermark)
	}
	if e.LogStart > sh.log.start() {
		if err := sh.log.advance(e.LogStart); err != nil {
			sh.n.w.Fail("%v at broker %d: advance: %v", sh.tp, sh.n.id, err)
		}
		sh.follower.Truncated(sh.logNow())
	}
	wait := e.Backoff
	if wait == 0 {
		wait = time.Duration(1+sh.n.rng.IntN(3)) * time.Millisecond
		if sh.follower.Lag() == 0 && sh.follower.Next().Offset == sh.log.hw() { // the leader has the answer wait
			wait = time.Duration(5+sh.n.rng.IntN(60)) * time.Millisecond
		}
	}
	sh.pause = sh.n.after(wait, "follow", sh.follow)
}

// heard does what the core makes of the leader's answer.
func (sh *shell) heard(plan replica.FetchPlan, res fetched) {
	w, f := sh.n.w, sh.follower
	var e replica.FollowerEffects
	var err error
	if plan.AskBounds && res.Code == protocol.None {
		e = f.Bounds(res.start, res.end)
		w.Mark("a follower has lost the leader's log")
	} else if e, err = f.Fetched(res.FetchResult); err != nil {
		w.Fail("%v at broker %d: %v; its log has %d..%d, %v; it asked %+v, and was told %+v", sh.tp, sh.n.id, err,
			sh.log.start(), sh.log.end(), sh.log.epochs(), plan, res.FetchResult)
		return
	}
	switch {
	case e.TruncateFully:
		w.Note("broker %d begins %v anew at %d, had %d..%d", sh.n.id, sh.tp, e.To, sh.log.start(), sh.log.end())
		w.Mark("a follower begins anew")
		sh.truth.truncates(sh, e.To, true)
		if err := sh.log.truncateFully(e.To); err != nil {
			w.Fail("%v at broker %d: %v", sh.tp, sh.n.id, err)
		}
		f.Truncated(sh.logNow())
	case e.Truncate:
		sh.cut(e.To)
		f.Truncated(sh.logNow())
	case e.Append:
		if err := sh.log.mirror(w.Now(), res.raw); err != nil {
			w.Fail("%v at broker %d: %v", sh.tp, sh.n.id, err)
			return
		}
		if w.o.fsync { // it counts when it is durable
			sh.asked++ // the question is answered
			number := sh.asked
			sh.answered = true
			sh.n.after(sh.n.syncTime(), "synced", func() {
				if sh.asked != number || sh.follower != f {
					return
				}
				sh.flush()
				sh.done(f.Appended(sh.logNow()))
			})
			return
		}
		e = f.Appended(sh.logNow())
	}
	sh.done(e)
}

func (sh *shell) cut(to protocol.Offset) {
	w := sh.n.w
	if to < sh.log.end() {
		w.Note("broker %d cuts %v from %d to %d, high watermark %d", sh.n.id, sh.tp, sh.log.end(), to, sh.log.hw())
		w.Mark("a follower truncates")
	}
	sh.truth.truncates(sh, to, false)
	if err := sh.log.truncate(to); err != nil {
		w.Fail("%v at broker %d: truncate: %v", sh.tp, sh.n.id, err)
	}
}
