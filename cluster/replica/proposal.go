package replica

import (
	"slices"
	"time"

	"moldau.io/moldau/protocol"
)

const (
	// resendAfter is how long a leader waits before it sends a proposal again that the controller did not answer.
	resendAfter = 100 * time.Millisecond
	// holdAfter is how long it waits, after the controller has refused one, before it makes another.
	holdAfter = 100 * time.Millisecond
	// settleAfter is how long it waits for the metadata after the controller has said that it is out of date, before it asks
	// again: a change that is under way and never heard of would keep it from any other.
	settleAfter = 2 * time.Second
)

// ISRChange is a proposal to the controller: AlterPartition of one partition.
type ISRChange struct {
	LeaderEpoch    protocol.Epoch
	PartitionEpoch int32 // that the change starts from
	ISR            []Member
	Recovered      bool // an uncleanly elected leader has recovered: every change says so
}

// Member is a replica that is to be in sync, and the registration under which it has caught up (KIP-903).
type Member struct {
	ID    protocol.BrokerID
	Epoch int64 // -1: not known
}

// proposal is the one change that may be under way.
type proposal struct {
	open   bool
	change ISRChange
	retry  time.Time // when it is sent again; zero: when the answer has come
}

func (p *proposal) has(id protocol.BrokerID) bool {
	return slices.ContainsFunc(p.change.ISR, func(m Member) bool { return m.ID == id })
}

// again says that a proposal is to be sent another time, now.
func (p *proposal) again(now time.Time) bool {
	if p.retry.IsZero() || now.Before(p.retry) {
		return false
	}
	p.retry = time.Time{}
	return true
}

// Proposal is what the controller is to be asked, and false where nothing is under way. It stays the same until it is
// settled: by Assigned with a newer partition epoch, or by Refused with a code that is a clear no.
func (l *Leader) Proposal() (ISRChange, bool) { return l.proposal.change, l.proposal.open }

// mayPropose says that nothing is under way and the controller has not just refused.
func (l *Leader) mayPropose() bool { return !l.proposal.open && !l.now.Before(l.hold) }

// propose begins a proposal of the followers that are in. Until it is settled the high watermark waits for the members of
// both sets, the old and the new.
func (l *Leader) propose(in func(*follower) bool) {
	own := Member{ID: l.a.Local, Epoch: l.a.candidate(l.a.Local).Epoch}
	c := ISRChange{LeaderEpoch: l.a.Epoch, PartitionEpoch: l.a.PartitionEpoch, Recovered: l.a.Recovering}
	for _, id := range l.a.ISR {
		i := l.index(id)
		switch {
		case id == own.ID:
			c.ISR = append(c.ISR, own)
		case i >= 0 && in(&l.followers[i]):
			c.ISR = append(c.ISR, l.followers[i].member())
		}
	}
	for i := range l.followers {
		r := &l.followers[i]
		if r.proposed = in(r); r.proposed && !r.inISR {
			c.ISR = append(c.ISR, r.member())
		}
	}
	l.proposal = proposal{open: true, change: c}
}

func (r *follower) member() Member { return Member{ID: r.id, Epoch: r.brokerEpoch} }

// Refused says how the controller answered the proposal, or with which code it did not. None says that it was taken: the
// metadata is about to say so too.
//
// Only a code that says for sure that no attempt has had an effect, or will have, ends the wait for those who would be
// added: an answer may be to a second attempt, the first having been taken.
func (l *Leader) Refused(now time.Time, code protocol.Code) Effects {
	l.now = later(l.now, now)
	if !l.proposal.open {
		return Effects{HighWatermark: l.hw}
	}
	switch code {
	case protocol.OperationNotAttempted, protocol.IneligibleReplica:
		l.proposal, l.hold = proposal{}, now.Add(holdAfter)
		for i := range l.followers {
			l.followers[i].proposed = false
		}
	case protocol.None, protocol.UnknownTopicOrPartition, protocol.UnknownTopicID, protocol.FencedLeaderEpoch,
		protocol.InvalidUpdateVersion, protocol.InvalidRequest, protocol.NewLeaderElected:
		l.proposal.retry = now.Add(settleAfter)
	default:
		l.proposal.retry = now.Add(resendAfter)
	}
	return l.advance()
}
