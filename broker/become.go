package broker

import (
	"errors"
	"slices"
	"time"

	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/cluster/replica"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
)

// How a partition takes the place that the metadata gives this broker in it, and what it does as a follower.

// placed is what the metadata last said of a partition, as far as it tells whether anything has changed.
type placed struct {
	leader      protocol.BrokerID
	leaderEpoch protocol.Epoch
	epoch       int32
}

func placedBy(part *meta.Partition) placed {
	return placed{leader: part.Leader, leaderEpoch: part.LeaderEpoch, epoch: part.Epoch}
}

// lead takes the leadership, or what has changed within it.
func (p *Partition) lead(now time.Time, a replica.Assignment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.follower = nil
	if p.mu.leader != nil && p.mu.leader.Epoch() == a.Epoch {
		p.effects(p.mu.leader.Assigned(now, a))
		p.mu.waits.all() // who waits for more replicas in sync than there are has an answer
		return
	}
	// The epoch begins where the log ends now, also if nothing is ever appended in it (KIP-101).
	if err := p.log.AssignEpoch(a.Epoch); err != nil {
		p.b.log.Error("cannot begin a leader epoch", "topic", p.id.Topic, "partition", p.id.Partition,
			"epoch", a.Epoch, "err", err)
	}
	p.mu.counted, p.mu.uncommitted = 0, nil
	p.mu.counted, p.mu.noted = p.ownEnd(), p.log.Bounds().End
	p.mu.leader = replica.NewLeader(p.b.replication, now, a, p.mu.counted, p.highWatermark())
	if p.log.AcksDurable() {
		p.log.Secure() // a former run, or another configuration, may have left more
	}
	p.log.SetHighWatermark(p.mu.leader.HighWatermark())
	p.short.Store(!p.mu.leader.EnoughInSyncStill(a.MinInSync))
	p.began.Store(int64(p.mu.leader.EpochStart()))
	p.epoch.Store(int32(a.Epoch))
	p.known.Store(int32(a.Epoch))
	p.changed()
}

// followLeader follows another broker, or what has changed while this one does.
func (p *Partition) followLeader(a replica.Assignment) {
	p.followsInSync.Store(slices.Contains(a.ISR, a.Local))
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.follower != nil && p.mu.follower.Epoch() == a.Epoch {
		p.mu.follower.Assigned(a)
		return
	}
	p.stepDown()
	p.log.EpochEnd(notLeader) // has it compare the epochs that it knows with its batches, before the leader is told of them
	p.mu.follower = replica.NewFollower(a, p.followerLog(), p.highWatermark())
	p.known.Store(int32(a.Epoch))
}

// rest neither leads nor follows: there is no leader.
func (p *Partition) rest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stepDown()
	p.mu.follower = nil
	p.known.Store(notLeader)
}

// stepDown ends the leadership, if there is one. The lock is held.
func (p *Partition) stepDown() {
	p.mu.leader = nil
	p.epoch.Store(notLeader)
	p.changed()
}

// changed wakes everybody who waits for the partition: it is not what it was. The lock is held.
func (p *Partition) changed() {
	p.signal()
	p.mu.waits.all()
	p.tellFollowers(true)
}

func (p *Partition) followerLog() replica.FollowerLog {
	b := p.log.Bounds()
	return replica.FollowerLog{Start: b.Start, End: b.End, Epochs: p.log.Epochs()}
}

// errNotFollowing says that the partition does not follow in that epoch any more.
var errNotFollowing = errors.New("the partition is not followed in this epoch")

// nextFetch is what to ask the leader of an epoch next, false where that is not followed any more.
func (p *Partition) nextFetch(epoch protocol.Epoch) (replica.FetchPlan, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := p.mu.follower; f != nil && f.Epoch() == epoch {
		return f.Next(), true
	}
	return replica.FetchPlan{}, false
}

// fetched takes in what the leader of an epoch has answered. Nothing is to be asked before wait is over. The error says what
// could not be used, or was not taken by the log.
func (p *Partition) fetched(now time.Time, epoch protocol.Epoch, got *protocol.FetchedPartition) (wait time.Duration,
	err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.mu.follower
	if f == nil || f.Epoch() != epoch {
		return 0, errNotFollowing
	}
	r := replica.FetchResult{
		Code: got.Code, Diverges: got.Diverges,
		Diverging:     replica.EpochEnd{Epoch: got.Diverging.Epoch, End: got.Diverging.EndOffset},
		HighWatermark: got.HighWatermark, LogStart: got.LogStart,
	}
	records := boundsOf(got.Records, &r)
	e, err := f.Fetched(r)
	if err != nil {
		return e.Backoff, err
	}
	return p.obey(now, f, e, records)
}

// boundsOf notes what whole batches raw holds, and returns them.
func boundsOf(raw []byte, r *replica.FetchResult) []byte {
	rest := raw
	for len(rest) > 0 {
		b, next, err := batch.Next(rest)
		if err != nil {
			break // a part of a batch, or what the log will say that it is
		}
		if r.Bytes == 0 {
			r.First = b.BaseOffset()
		}
		r.Bytes += len(b)
		r.Next = b.LastOffset() + 1
		rest = next
	}
	return raw[:r.Bytes]
}

// bounded takes in where the leader's log begins and ends.
func (p *Partition) bounded(now time.Time, epoch protocol.Epoch, start, end protocol.Offset) (wait time.Duration, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.mu.follower
	if f == nil || f.Epoch() != epoch {
		return 0, errNotFollowing
	}
	return p.obey(now, f, f.Bounds(start, end), nil)
}

// unanswered says that the leader could not be asked.
func (p *Partition) unanswered(epoch protocol.Epoch) (wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := p.mu.follower; f != nil && f.Epoch() == epoch {
		return f.Failed().Backoff
	}
	return 0
}

// obey does to the log what the follower's core asks for. The lock is held.
func (p *Partition) obey(now time.Time, f *replica.Follower, e replica.FollowerEffects, records []byte) (
	wait time.Duration, err error) {
	before := p.highWatermark()
	switch {
	case e.Truncate:
		p.b.log.Info("cutting off records that the leader does not have", "topic", p.id.Topic, "partition", p.id.Partition,
			"leader", f.Leader(), "epoch", f.Epoch(), "from", e.To, "end", p.log.Bounds().End)
		err = p.log.Truncate(e.To)
		f.Truncated(p.followerLog())
	case e.TruncateFully:
		p.b.log.Info("beginning a log anew where the leader's begins", "topic", p.id.Topic, "partition", p.id.Partition,
			"leader", f.Leader(), "epoch", f.Epoch(), "at", e.To, "end", p.log.Bounds().End)
		err = p.log.TruncateFully(e.To)
		f.Truncated(p.followerLog())
	case e.Append:
		_, err = p.log.Mirror(now, records)
		e = f.Appended(p.followerLog())
	}
	if err != nil {
		return f.Failed().Backoff, err
	}
	hw := f.HighWatermark()
	p.log.SetHighWatermark(hw)
	if e.LogStart > p.log.Bounds().Start {
		if err := p.log.Advance(e.LogStart); err != nil {
			return f.Failed().Backoff, err
		}
		f.Truncated(p.followerLog()) // its start is what the next fetch tells
	}
	if hw != before {
		p.signal()
		p.mu.waits.moved(int64(len(records))) // consumers may read here, too (KIP-392)
	}
	return e.Backoff, nil
}

// lag is how many committed records are not here.
func (p *Partition) lag() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := p.mu.follower; f != nil {
		return f.Lag()
	}
	return 0
}

// assignment is what the metadata says of a partition, for the core of its replica here.
func (ps *partitions) assignment(im *meta.Image, part *meta.Partition, rules *topicRules) replica.Assignment {
	a := replica.Assignment{
		Local: ps.b.nodeID(), Leader: part.Leader, Epoch: part.LeaderEpoch, PartitionEpoch: part.Epoch,
		Replicas: part.Replicas, ISR: part.ISR, ELR: part.ELR, Recovering: part.Recovering, MinInSync: rules.minInsync,
	}
	if len(part.Replicas) == 1 {
		return a // nobody else is asked about
	}
	a.Candidates = make([]replica.Candidate, 0, len(part.Replicas))
	for _, id := range part.Replicas {
		if br := im.Broker(id); br != nil {
			a.Candidates = append(a.Candidates, replica.Candidate{ID: id, Epoch: br.Epoch, Alive: !br.Fenced && !br.Stopping})
		}
	}
	return a
}

// place has a partition take the place that the metadata gives this broker.
func (ps *partitions) place(now time.Time, im *meta.Image, p *Partition, part *meta.Partition) {
	me, was := ps.b.nodeID(), p.applied
	if !ps.acts {
		return
	}
	p.applied = placedBy(part)
	a := ps.assignment(im, part, p.rules.Load())
	if was.leader == me && (part.Leader != me || part.LeaderEpoch > was.leaderEpoch+1) {
		ps.resigned(p) // somebody else may have led in between
		was.leader = -1
	}
	switch {
	case part.Leader == me:
		ps.b.fetchers.leave(p)
		p.lead(now, a)
		if was.leader != me {
			ps.led(p)
		}
	case part.Leader >= 0 && slices.Contains(part.Replicas, me):
		p.followLeader(a)
		if was.leader != part.Leader || was.leaderEpoch != part.LeaderEpoch || p.fetcher == nil {
			ps.b.fetchers.follow(p, part.Leader, part.LeaderEpoch)
		}
	default:
		ps.b.fetchers.leave(p)
		p.rest()
	}
}

// placeAll tells the cores which brokers there are now, and whether they are alive; or it has all partitions take their
// places for the first time.
func (ps *partitions) placeAll(im *meta.Image, first bool) {
	if first {
		for _, l := range ps.store.All() { // what has moved to other brokers while this one was away
			tp := l.Partition()
			part, ok := im.TopicByID(l.TopicID()).Partition(tp.Partition)
			if ok && !slices.Contains(part.Replicas, ps.b.nodeID()) {
				ps.leave(im.TopicByID(l.TopicID()), nil, tp.Partition)
			}
		}
	}
	now := time.Now()
	for _, p := range ps.all() {
		t := im.TopicByID(p.topicID)
		if t == nil || int(p.id.Partition) >= len(t.Partitions) {
			continue
		}
		if part := &t.Partitions[p.id.Partition]; first || len(part.Replicas) > 1 {
			ps.place(now, im, p, part)
		}
	}
}

// mayAct says whether the image is the first one with the registration of this process. Before that nothing is led and
// nothing is followed: an older image may say that this broker leads an epoch, which was so of the process before it. That
// one may have had records in the epoch that this one has lost, and others would cut them off to be like it.
func (ps *partitions) mayAct(im *meta.Image) (first bool) {
	me := im.Broker(ps.b.nodeID())
	if ps.acts || me == nil || me.Incarnation != ps.b.node.Incarnation() {
		return false
	}
	ps.acts = true
	return true
}
