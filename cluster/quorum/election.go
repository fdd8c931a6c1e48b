package quorum

import (
	"encoding/binary"
	"slices"

	"go.etcd.io/raft/v3"
)

// seek makes this node look for votes when its turn has come. Where two have begun in the same tick they split the votes, and
// would wait for an election time more; so they try once more, soon, and one after another.
func (l *Log) seek() {
	st := l.raft.BasicStatus()
	if st.Lead != raft.None {
		l.campaignIn, l.retried = 0, false
		return
	}
	if !l.retried && (st.RaftState == raft.StateCandidate || st.RaftState == raft.StatePreCandidate) {
		l.campaignIn, l.retried = 3+2*l.rank(st.Lead), true
		return
	}
	if l.campaignIn > 0 {
		if l.campaignIn--; l.campaignIn == 0 {
			_ = l.raft.Campaign() // what it has to say comes with Process
		}
	}
}

// rank is how many voters come before this one, not counting one that is dead.
func (l *Log) rank(dead uint64) int {
	rank := 0
	for _, v := range l.conf().GetVoters() {
		if v < l.self.raft && v != dead {
			rank++
		}
	}
	return rank
}

// Campaign makes this node look for votes now, if it is a voter.
func (l *Log) Campaign() {
	l.guard(func() { _ = l.raft.Campaign() }) // what it has to say comes with Process
}

// ForgetLeader says that the process of member id is known to be dead. If that was the leader, nobody waits for it any
// longer: the voters look for a new one, each after another so that their votes do not part.
func (l *Log) ForgetLeader(id uint64) {
	l.guard(func() {
		st := l.raft.BasicStatus()
		if id == 0 || st.Lead != id || st.RaftState == raft.StateLeader {
			return
		}
		_ = l.raft.ForgetLeader() // it cannot fail for a follower
		if slices.Contains(l.conf().GetVoters(), l.self.raft) {
			l.campaignIn = 1 + 2*l.rank(id)
		}
	})
}

// Transfer makes this node hand the lead to a voter, if it has it. It takes nothing from Append until that has happened, or
// for electionTicks at most.
func (l *Log) Transfer(to uint64) {
	l.guard(func() { l.raft.TransferLeader(to) })
}

// Confirm asks a majority whether this node still leads. When Ready.Confirmed has reached the ticket it did, after Confirm was
// called: no other leader can have committed anything before. So an answer that makes no entry may be given then, if what it
// was made of is committed. If this node stops leading, the ticket is never reached.
func (l *Log) Confirm() (ticket uint64, err error) {
	switch {
	case l.broken != nil:
		return 0, l.broken
	case !l.leads():
		return 0, ErrNotLeader
	}
	l.tickets++
	l.guard(func() { l.raft.ReadIndex(binary.AppendUvarint(nil, l.tickets)) })
	return l.tickets, l.broken
}
