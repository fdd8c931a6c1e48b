package quorum

import (
	"cmp"
	"maps"
	"slices"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

// Status is what this node knows of the quorum.
type Status struct {
	ID uint64 // raft id of this node
	Leadership
	Commit, Applied, Last int64
	Members               Members

	Removed bool // as in Ready

	// Progress is how far the members are, by id; nil where this node does not lead.
	Progress []Progress
}

// Progress is how far one member is, as its leader sees it. What happened before this node led it does not know.
type Progress struct {
	ID            uint64
	Learner       bool
	Match         int64 // the last entry that it has on stable storage for certain
	ContactTicks  int64 // since it was heard of; -1: never
	CaughtUpTicks int64 // since it had all entries that there were; -1: never
	Active        bool  // heard of within electionTicks
	Snapshot      bool  // gets a snapshot at present
}

// contact is when a member was heard of.
type contact struct {
	at, caughtUp int64 // ticks
	end          uint64
}

// Status describes the quorum. It is not for every request: it walks over all members.
func (l *Log) Status() Status {
	s := Status{ID: l.self.raft, Leadership: l.leader, Applied: int64(l.applied), Last: int64(l.last)}
	s.Members = membersOf(l.conf())
	s.Removed = l.isRemoved()
	l.guard(func() {
		st := l.raft.BasicStatus()
		s.Commit = int64(st.GetCommit())
		if st.RaftState == raft.StateLeader {
			s.Progress = l.progress()
		}
	})
	return s
}

func (l *Log) isRemoved() bool {
	c := l.conf()
	return l.removed || len(c.GetVoters()) > 0 && !contains(c, l.self.raft)
}

func (l *Log) progress() []Progress {
	var out []Progress
	l.raft.WithProgress(func(id uint64, typ raft.ProgressType, pr tracker.Progress) {
		p := Progress{
			ID: id, Learner: typ == raft.ProgressTypeLearner, Match: int64(pr.Match), Active: true,
			Snapshot: pr.State == tracker.StateSnapshot,
		}
		if id != l.self.raft {
			p.ContactTicks, p.CaughtUpTicks, p.Active = -1, -1, false
			if c, ok := l.contacts[id]; ok {
				p.ContactTicks, p.Active = l.now-c.at, l.now-c.at < electionTicks
				if c.caughtUp >= 0 {
					p.CaughtUpTicks = l.now - c.caughtUp
				}
			}
		}
		out = append(out, p)
	})
	slices.SortFunc(out, func(a, b Progress) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// contact notes an answer to this leader. A member that has now what was there at its last answer had all of it then.
func (l *Log) contact(m *pb.Message) {
	st := l.raft.BasicStatus()
	if st.RaftState != raft.StateLeader || st.GetTerm() != m.GetTerm() {
		return
	}
	id := m.GetFrom()
	var match uint64
	known := false
	l.raft.WithProgress(func(of uint64, _ raft.ProgressType, pr tracker.Progress) {
		if of == id {
			match, known = pr.Match, true
		}
	})
	if !known {
		return
	}
	if m.GetType() == pb.MsgAppResp && !m.GetReject() {
		match = max(match, m.GetIndex())
	}
	c, ok := l.contacts[id]
	if !ok {
		c.caughtUp = -1
	}
	if ok && match >= c.end {
		c.caughtUp = max(c.caughtUp, c.at)
	}
	if match >= l.tail {
		c.caughtUp = l.now
	}
	c.at, c.end = l.now, l.tail
	l.contacts[id] = c
}

func sortedKeys[V any](m map[uint64]V) []uint64 { return slices.Sorted(maps.Keys(m)) }
