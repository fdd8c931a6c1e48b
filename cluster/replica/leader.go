package replica

import (
	"slices"
	"time"

	"moldau.io/moldau/internal/invariant"
	"moldau.io/moldau/protocol"
)

// Config is what an operator sets for all partitions of a broker.
type Config struct {
	// LagTime is how long a follower may not have caught up with the leader's end before it is taken out of the in-sync set.
	// Default 30 s (replica.lag.time.max.ms).
	LagTime time.Duration
}

// Leader is the leading replica of one partition, for one leader epoch.
type Leader struct {
	cfg        Config
	a          Assignment
	followers  []follower      // of all replicas but this one, in their order
	end        protocol.Offset // of the leader's own log, as it counts
	epochStart protocol.Offset // where it ended when the epoch began
	hw         protocol.Offset
	now        time.Time // the latest that was heard of
	proposal   proposal
	hold       time.Time // nothing is proposed before: the controller has just refused
}

// follower is what a leader knows of another replica.
type follower struct {
	id       protocol.BrokerID
	inISR    bool // in the committed in-sync set
	proposed bool // in the one that is proposed

	alive      bool  // as the metadata says
	registered int64 // the broker epoch that the metadata knows

	// As its fetches say.
	end         protocol.Offset // unknown until the first fetch in this epoch
	start       protocol.Offset
	brokerEpoch int64

	caughtUp  time.Time       // when it last had everything that the leader had
	fetched   time.Time       // when its last fetch came
	leaderEnd protocol.Offset // where the leader ended then
}

// Effects is what a leader's step leads to. It is a value, so that the way of a produced batch allocates nothing.
type Effects struct {
	HighWatermark protocol.Offset // the offset below which every record is committed
	Advanced      bool            // it has risen
	Propose       bool            // Proposal is to be sent to the controller
}

// NewLeader begins an epoch of leadership over a log that ends at logEnd. highWatermark is what this replica last
// knew of it; it is never above logEnd, as a crash may have taken records that were not on disk.
func NewLeader(cfg Config, now time.Time, a Assignment, logEnd, highWatermark protocol.Offset) *Leader {
	l := &Leader{cfg: cfg, now: now, end: logEnd, epochStart: logEnd, hw: min(highWatermark, logEnd)}
	l.assign(now, a)
	l.advance()
	return l
}

// Epoch is the leader epoch, which every batch appended under this leadership carries.
func (l *Leader) Epoch() protocol.Epoch { return l.a.Epoch }

// EpochStart is where the log ended when the epoch began. While the high watermark is below it, records that an earlier
// leader has shown to consumers may lie above the high watermark (KIP-207).
func (l *Leader) EpochStart() protocol.Offset { return l.epochStart }

// HighWatermark is the offset below which every record is committed.
func (l *Leader) HighWatermark() protocol.Offset { return l.hw }

// ISR is the committed in-sync set. It must not be changed.
func (l *Leader) ISR() []protocol.BrokerID { return l.a.ISR }

// Appended says that the leader's own log now ends at logEnd. Whoever had everything until now has had it until now: a
// follower of an idle partition need not say so again and again.
func (l *Leader) Appended(now time.Time, logEnd protocol.Offset) Effects {
	if logEnd < l.end { // asked here, because handing over the numbers would allocate on every append
		invariant.That(false, "log end fell from %d to %d", l.end, logEnd)
	}
	l.now = later(l.now, now)
	if logEnd > l.end {
		for i := range l.followers {
			if r := &l.followers[i]; r.end >= l.end {
				r.caughtUp = later(r.caughtUp, now)
			}
		}
	}
	l.end = logEnd
	return l.advance()
}

// FollowerFetch is a follower's fetch that was found to fit the leader's log: the leader epoch is the leader's, the offset
// lies in the log and what comes before it does not diverge.
type FollowerFetch struct {
	Replica     protocol.BrokerID
	BrokerEpoch int64           // under which it is registered; -1 where it does not say
	Offset      protocol.Offset // it has everything below
	LogStart    protocol.Offset // of its log
}

// Fetched notes how far a follower is. It may propose that the follower is in sync. The error, a protocol.Code with a
// text, is for the follower: it is no replica, or an older process of one.
func (l *Leader) Fetched(now time.Time, f FollowerFetch) (Effects, error) {
	l.now = later(l.now, now)
	i := l.index(f.Replica)
	if i < 0 {
		return Effects{HighWatermark: l.hw}, protocol.Errorf(protocol.UnknownLeaderEpoch,
			"broker %d is no replica in leader epoch %d, partition epoch %d", f.Replica, l.a.Epoch, l.a.PartitionEpoch)
	}
	r := &l.followers[i]
	if f.BrokerEpoch >= 0 && f.BrokerEpoch < max(r.registered, r.brokerEpoch) {
		return Effects{HighWatermark: l.hw}, protocol.Errorf(protocol.NotLeaderOrFollower,
			"broker %d fetches under the broker epoch %d, it has %d", f.Replica, f.BrokerEpoch, max(r.registered, r.brokerEpoch))
	}
	switch {
	case f.Offset >= l.end:
		r.caughtUp = later(r.caughtUp, now)
	case r.leaderEnd >= 0 && f.Offset >= r.leaderEnd: // it has what was there when it fetched before
		r.caughtUp = later(r.caughtUp, r.fetched)
	}
	r.end, r.start, r.brokerEpoch = f.Offset, f.LogStart, f.BrokerEpoch
	r.fetched, r.leaderEnd = now, l.end
	e := l.advance()
	e.Propose = l.mayPropose() && l.joins(r)
	if e.Propose {
		l.propose(func(m *follower) bool { return m.inISR || m == r })
	}
	return e, nil
}

// joins says that a follower outside of the in-sync set has all that it takes to be in it: it has what is committed, and
// whatever may have been committed before this epoch, and it is the process that the controller knows and lets live.
func (l *Leader) joins(r *follower) bool {
	return !r.inISR && l.eligible(r) && r.end >= l.hw && r.end >= l.epochStart
}

// eligible says that the controller would take a follower, as far as the metadata is known here (KIP-841, KIP-903).
func (l *Leader) eligible(r *follower) bool {
	return r.alive && r.brokerEpoch >= 0 && r.brokerEpoch == r.registered
}

// caughtUp says that a follower has not lagged for too long.
func (l *Leader) caughtUp(r *follower) bool {
	return r.end >= l.end || l.now.Before(r.caughtUp.Add(l.cfg.LagTime))
}

// Tick takes followers out of the in-sync set that have not caught up for too long, and sends again what the controller
// did not answer.
func (l *Leader) Tick(now time.Time) Effects {
	l.now = later(l.now, now)
	e := l.advance() // a follower that was waited for may have lagged too long
	if l.proposal.open {
		e.Propose = l.proposal.again(now)
		return e
	}
	lags := func(r *follower) bool { return r.inISR && !l.caughtUp(r) }
	if l.mayPropose() && slices.ContainsFunc(l.followers, func(r follower) bool { return lags(&r) }) {
		l.propose(func(r *follower) bool { return r.inISR && !lags(r) })
		e.Propose = true
		return e
	}
	e.Propose = l.proposeIdle()
	return e
}

// Deadline is when Tick has something to do at the latest if nothing else happens; zero for never.
func (l *Leader) Deadline() time.Time {
	if l.proposal.open {
		return l.proposal.retry
	}
	var at time.Time
	for i := range l.followers {
		r := &l.followers[i]
		if due := later(l.now, l.hold); l.idles(r) && (at.IsZero() || due.Before(at)) {
			at = due
		}
		if !r.inISR && !l.eligible(r) || r.end >= l.end {
			continue
		}
		due := later(r.caughtUp.Add(l.cfg.LagTime), l.hold)
		if !r.inISR && !due.After(l.now) { // it is waited for no more, and there is nobody to take out
			continue
		}
		if at.IsZero() || due.Before(at) {
			at = due
		}
	}
	return at
}

// Assigned says that the metadata has changed within the epoch. Where the partition has changed, a proposal that was under
// way is settled: either it is what the partition has become, or it has become something else, and the controller will
// refuse the proposal.
func (l *Leader) Assigned(now time.Time, a Assignment) Effects {
	invariant.That(a.Epoch == l.a.Epoch, "epoch %d became %d without an election", l.a.Epoch, a.Epoch)
	l.now = later(l.now, now)
	if a.PartitionEpoch < l.a.PartitionEpoch { // older than what is known; not so the brokers
		a = Assignment{
			Local: l.a.Local, Leader: l.a.Leader, Epoch: l.a.Epoch, PartitionEpoch: l.a.PartitionEpoch, Replicas: l.a.Replicas,
			ISR: l.a.ISR, ELR: l.a.ELR, Recovering: l.a.Recovering, Candidates: a.Candidates, MinInSync: a.MinInSync,
		}
	}
	if a.PartitionEpoch > l.a.PartitionEpoch {
		l.proposal, l.hold = proposal{}, time.Time{}
	}
	l.assign(now, a)
	e := l.advance()
	e.Propose = l.proposeIdle()
	return e
}

// proposeIdle proposes those that have everything and are not in sync. They do not ask again while nothing is appended, and may
// have fetched for the last time before the metadata said that their broker is alive, or before the controller refused.
func (l *Leader) proposeIdle() bool {
	if !l.mayPropose() || !slices.ContainsFunc(l.followers, func(r follower) bool { return l.idles(&r) }) {
		return false
	}
	l.propose(func(r *follower) bool { return r.inISR || l.idles(r) })
	return true
}

// idles says that a follower may join and has nothing to fetch that would say so.
func (l *Leader) idles(r *follower) bool { return l.joins(r) && r.end >= l.end }

// assign takes over what the metadata says.
func (l *Leader) assign(now time.Time, a Assignment) {
	known := l.followers
	l.a, l.followers = a, nil
	for _, id := range a.Replicas {
		if id == a.Local {
			continue
		}
		r := follower{id: id, end: unknown, start: unknown, leaderEnd: unknown, brokerEpoch: unknownBrokerEpoch}
		if i := slices.IndexFunc(known, func(k follower) bool { return k.id == id }); i >= 0 {
			r = known[i]
		}
		c := a.candidate(id)
		r.alive, r.registered = c.Alive, c.Epoch
		in := slices.Contains(a.ISR, id)
		if in && !r.inISR { // whoever comes in sync, or is so when the epoch begins, has all of the lag time
			r.caughtUp = later(r.caughtUp, now)
		}
		r.inISR = in
		r.proposed = l.proposal.open && l.proposal.has(id)
		l.followers = append(l.followers, r)
	}
}

// EnoughInSync says whether a write that must be on minimum replicas may be taken. No more can be asked for than there
// are replicas at all (Partition.effectiveMinIsr).
func (l *Leader) EnoughInSync(minimum int) bool {
	return len(l.a.ISR) >= min(minimum, len(l.a.Replicas))
}

// EnoughInSyncStill says the same of a write that is below the high watermark now: whoever is about to join counts too,
// since it was waited for.
func (l *Leader) EnoughInSyncStill(minimum int) bool {
	n := len(l.a.ISR)
	for i := range l.followers {
		if r := &l.followers[i]; r.proposed && !r.inISR {
			n++
		}
	}
	return n >= min(minimum, len(l.a.Replicas))
}

// LowWatermark is the offset below which no replica that is alive has records any more, of a leader whose log begins at
// own: DeleteRecords waits for it.
func (l *Leader) LowWatermark(own protocol.Offset) protocol.Offset {
	for i := range l.followers {
		if r := &l.followers[i]; r.alive {
			own = min(own, r.start)
		}
	}
	return own
}

// InSync says whether a replica is in the committed in-sync set.
func (l *Leader) InSync(id protocol.BrokerID) bool { return slices.Contains(l.a.ISR, id) }

// Follower is where another replica's log begins and ends, both -1 until it has fetched in this epoch; false where it is no
// replica.
func (l *Leader) Follower(id protocol.BrokerID) (start, end protocol.Offset, ok bool) {
	i := l.index(id)
	if i < 0 {
		return unknown, unknown, false
	}
	return l.followers[i].start, l.followers[i].end, true
}

// FollowerState is what a leader knows of a follower.
type FollowerState struct {
	ID       protocol.BrokerID
	InISR    bool
	Alive    bool
	End      protocol.Offset // -1 until it has fetched in this epoch
	LogStart protocol.Offset // -1 until it has fetched in this epoch
	CaughtUp time.Time       // when it last had everything; zero for never
	Fetched  time.Time       // when it last fetched; zero for never in this epoch
}

// Followers are the other replicas, in their order of preference.
func (l *Leader) Followers() []FollowerState {
	out := make([]FollowerState, 0, len(l.followers))
	for _, r := range l.followers {
		out = append(out, FollowerState{
			ID: r.id, InISR: r.inISR, Alive: r.alive, End: r.end, LogStart: r.start, CaughtUp: r.caughtUp, Fetched: r.fetched,
		})
	}
	return out
}

// Serves says whether a consumer that is at offset may be sent to a follower (KIP-392): one that is in sync and has the
// offset.
func (s FollowerState) Serves(offset protocol.Offset) bool {
	return s.InISR && s.Alive && s.End >= offset && s.LogStart >= 0 && s.LogStart <= offset
}

// advance raises the high watermark to the lowest end of the maximal in-sync set. It also waits for a follower that is
// about to come back in sync: it could otherwise chase a high watermark that it never reaches.
func (l *Leader) advance() Effects {
	if len(l.a.ISR) < min(l.a.MinInSync, len(l.a.Replicas)) {
		return Effects{HighWatermark: l.hw}
	}
	lowest := l.end
	for i := range l.followers {
		r := &l.followers[i]
		if r.end < lowest && (r.inISR || r.proposed || l.eligible(r) && l.caughtUp(r)) {
			lowest = r.end
		}
	}
	if lowest <= l.hw {
		return Effects{HighWatermark: l.hw}
	}
	l.hw = lowest
	return Effects{HighWatermark: l.hw, Advanced: true}
}

func (l *Leader) index(id protocol.BrokerID) int {
	for i := range l.followers {
		if l.followers[i].id == id {
			return i
		}
	}
	return -1
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
