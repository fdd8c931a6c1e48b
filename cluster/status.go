package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"moldau.io/moldau/cluster/link"
	"moldau.io/moldau/protocol"
)

// QuorumStatus is the state of the metadata quorum, as its leader sees it.
type QuorumStatus struct {
	Leader  protocol.BrokerID // -1: nobody, or no broker that is registered
	Term    int64
	Commit  int64 // offset up to which the metadata is committed
	Members []QuorumMember

	// Changing says that voters are being changed: until that is over, the old ones are needed as well as the new.
	Changing bool
}

// QuorumMember is one broker's part in the quorum.
type QuorumMember struct {
	Broker protocol.BrokerID // -1: not registered
	Quorum uint64            // its id in the quorum
	Addr   string            // its cluster address; empty where it is not known
	Voter  bool
	End    int64 // offset of the last entry that it has for certain; -1: not known

	// Heard and CaughtUp are when it was last heard of, and when it last had all entries; zero: not since this leader began.
	Heard, CaughtUp time.Time
}

const methodQuorum = "quorum"

// Controller is the broker whose node leads the quorum, as far as this node knows; -1 for none.
func (n *Node) Controller() protocol.BrokerID {
	return n.brokerOf(n.lead.Load().quorum)
}

// Voters is how many vote in the quorum, as far as this node knows. A voter that does not know yet that it is one cannot take
// over from a leader that dies.
func (n *Node) Voters() int { return int(n.voters.Load()) }

func (n *Node) brokerOf(quorum uint64) protocol.BrokerID {
	if quorum == n.self.Quorum {
		return n.cfg.NodeID
	}
	if quorum != 0 {
		for _, b := range n.Image().Brokers() {
			if b.Quorum == quorum {
				return b.ID
			}
		}
	}
	return -1
}

// Quorum asks the leader for the state of the quorum.
func (n *Node) Quorum(ctx context.Context) (QuorumStatus, error) {
	for {
		lead := n.lead.Load()
		switch addr := n.peers.addr(lead.quorum); {
		case lead.here:
			return n.quorumHere(ctx)
		case n.addr != nil && addr != "" && lead.quorum != n.self.Quorum:
			var st QuorumStatus
			if err := n.addr.call(ctx, addr, methodQuorum, struct{}{}, &st); err == nil {
				return st, nil
			}
		}
		select {
		case <-lead.changed:
		case <-time.After(proposeRetryEvery):
		case <-ctx.Done():
			return QuorumStatus{}, fmt.Errorf("no leader of the metadata quorum has answered: %w", ctx.Err())
		case <-n.stopped:
			return QuorumStatus{}, ErrClosed
		}
	}
}

// quorumHere describes the quorum as this node sees it.
func (n *Node) quorumHere(ctx context.Context) (QuorumStatus, error) {
	out := make(chan QuorumStatus, 1)
	n.order(func() { out <- n.describe(time.Now()) })
	select {
	case st := <-out:
		return st, nil
	case <-ctx.Done():
		return QuorumStatus{}, ctx.Err()
	case <-n.stopped:
		return QuorumStatus{}, ErrClosed
	}
}

func (n *Node) describe(now time.Time) QuorumStatus {
	st := n.r.log.Status()
	out := QuorumStatus{
		Leader: n.brokerOf(st.Leader), Term: int64(st.Term), Commit: st.Commit, Changing: len(st.Members.Outgoing) > 0,
	}
	ago := func(ticks int64) time.Time {
		if ticks < 0 {
			return time.Time{}
		}
		return now.Add(-time.Duration(ticks) * tickTime)
	}
	member := func(q uint64, voter bool) {
		m := QuorumMember{Broker: n.brokerOf(q), Quorum: q, Addr: n.peers.addr(q), Voter: voter, End: -1}
		for _, p := range st.Progress {
			if p.ID == q {
				m.End, m.Heard, m.CaughtUp = p.Match, ago(p.ContactTicks), ago(p.CaughtUpTicks)
			}
		}
		if q == n.self.Quorum {
			m.End, m.Heard, m.CaughtUp = st.Last, now, now
			if n.addr != nil {
				m.Addr = n.addr.String()
			}
		}
		out.Members = append(out.Members, m)
	}
	for _, q := range st.Members.Voters {
		member(q, true)
	}
	for _, q := range st.Members.Learners {
		member(q, false)
	}
	slices.SortFunc(out.Members, func(a, b QuorumMember) int {
		return bySeat(seat{broker: a.Broker, quorum: a.Quorum}, seat{broker: b.Broker, quorum: b.Quorum})
	})
	return out
}

func (n *Node) answerQuorum(ctx context.Context, _ link.Peer, _ []byte) ([]byte, error) {
	if !n.lead.Load().here {
		return nil, errors.New("this node does not lead the metadata quorum")
	}
	st, err := n.quorumHere(ctx)
	if err != nil {
		return nil, err
	}
	return n.wire.encode(st), nil
}
