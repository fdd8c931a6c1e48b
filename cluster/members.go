package cluster

import (
	"context"
	"errors"
	"slices"
	"time"

	"moldau.io/moldau/cluster/link"
	"moldau.io/moldau/cluster/quorum"
	"moldau.io/moldau/protocol"
)

const (
	methodSeat = "seat"

	// seatEvery is how often a node that is no member of the quorum asks to become one.
	seatEvery    = 200 * time.Millisecond
	seatCallTime = 5 * time.Second

	// askedFor is how long one who has asked is remembered: for longer than he needs to register.
	askedFor = 30 * time.Second

	// membersEvery is how often the leader looks whether the members are the right ones.
	membersEvery = 250 * time.Millisecond
)

// seatAsk is a node's wish to be a member of the quorum.
type seatAsk struct {
	NodeID protocol.BrokerID
	Quorum uint64
	Addr   string
}

// asked is who wants to be a member.
type asked struct {
	node protocol.BrokerID
	at   time.Time
}

// seatAnswer names the leader, who alone can do something about it.
type seatAnswer struct {
	Taken  bool
	Leader string
}

func (n *Node) answerSeat(_ context.Context, _ link.Peer, body []byte) ([]byte, error) {
	var ask seatAsk
	if err := n.wire.decode(body, &ask); err != nil {
		return nil, err
	}
	lead := n.lead.Load()
	if !lead.here {
		return n.wire.encode(seatAnswer{Leader: n.peers.addr(lead.quorum)}), nil
	}
	n.order(func() {
		n.peers.hear(ask.Quorum, ask.Addr)
		n.r.asked[ask.Quorum] = asked{node: ask.NodeID, at: time.Now()}
		n.tendMembersNow(time.Now())
	})
	return n.wire.encode(seatAnswer{Taken: true}), nil
}

// keepSeat asks for a place in the quorum for as long as this node has none.
func (n *Node) keepSeat() {
	for {
		moved := n.moved.wait()
		if !n.member.Load() && n.mayAsk() {
			n.askForSeat()
		} else {
			select {
			case <-moved:
			case <-time.After(time.Second):
			case <-n.ctx.Done():
			}
		}
		select {
		case <-time.After(seatEvery):
		case <-n.ctx.Done():
			return
		}
	}
}

// mayAsk is false where the cluster has given this broker's id to another node since.
func (n *Node) mayAsk() bool {
	known, ok := n.Image().Node(n.cfg.NodeID)
	return !ok || known.Quorum == n.self.Quorum
}

func (n *Node) askForSeat() {
	addrs := n.otherAddrs()
	for i := 0; i < len(addrs) && i < 32; i++ {
		if slices.Contains(addrs[:i], addrs[i]) {
			continue
		}
		ctx, cancel := context.WithTimeout(n.ctx, seatCallTime)
		var answer seatAnswer
		err := n.addr.call(ctx, addrs[i], methodSeat,
			seatAsk{NodeID: n.cfg.NodeID, Quorum: n.self.Quorum, Addr: n.addr.String()}, &answer)
		cancel()
		switch {
		case n.ctx.Err() != nil || err == nil && answer.Taken:
			return
		case err == nil && answer.Leader != "":
			addrs = append(addrs, answer.Leader)
		}
	}
}

// membersAre takes notice of who the members are.
func (n *Node) membersAre(m quorum.Members) {
	before := n.r.members
	n.r.members = m
	n.alone.Store(n.solo())
	n.voters.Store(int32(len(m.Voters)))
	n.cfg.Logger.Debug("members of the metadata quorum", "voters", m.Voters, "learners", m.Learners)
	if n.lead.Load().here && !slices.Equal(before.Voters, m.Voters) {
		n.cfg.Logger.Info("brokers that vote on the metadata", "brokers", n.brokersOf(m.Voters))
	}
}

// brokersOf is the brokers with these ids in the quorum, for people.
func (n *Node) brokersOf(members []uint64) []protocol.BrokerID {
	var ids []protocol.BrokerID
	for _, q := range members {
		id := n.brokerOf(q)
		for _, known := range n.Image().Nodes() {
			if id < 0 && known.Quorum == q { // admitted, and not registered yet
				id = known.ID
			}
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// tendMembers has the leader look after the members, now and then.
func (n *Node) tendMembers(now time.Time) {
	if n.r.controller != nil && now.Sub(n.r.tended) >= membersEvery {
		n.tendMembersNow(now)
	}
}

func (n *Node) tendMembersNow(now time.Time) {
	if n.r.controller == nil {
		return
	}
	n.r.tended = now
	for q, a := range n.r.asked {
		known, ok := n.Image().Node(a.node)
		if now.Sub(a.at) > askedFor || ok && known.Quorum != q { // another has its id by now
			delete(n.r.asked, q)
		}
	}
	if n.solo() && len(n.r.asked) == 0 && len(n.Image().Brokers()) <= 1 && len(n.Image().Nodes()) <= 1 {
		return
	}
	change := planMembers(n.seats(now), n.self.Quorum, n.votersMax(), n.cfg.VoterPatience)
	if change.empty() {
		return
	}
	err := n.r.log.Change(quorum.MemberChange{
		AddLearners: change.add, Promote: change.promote, Demote: change.demote, Remove: change.remove,
	})
	switch {
	case err == nil:
		n.cfg.Logger.Debug("changing the members of the metadata quorum", "learners", change.add, "promote", change.promote,
			"demote", change.demote, "remove", change.remove)
	case !errors.Is(err, quorum.ErrChanging) && !errors.Is(err, quorum.ErrNotLeader) && !errors.Is(err, quorum.ErrBusy):
		n.cfg.Logger.Warn("members of the metadata quorum not changed", "err", err)
	}
}

func (n *Node) votersMax() int {
	return int(n.cfg.Static.Int("moldau.quorum.voters"))
}

// seats is everybody who is a member of the quorum or should be, as the leader knows them.
func (n *Node) seats(now time.Time) []seat {
	st := n.r.log.Status()
	seats := map[uint64]*seat{}
	at := func(q uint64) *seat {
		s := seats[q]
		if s == nil {
			s = &seat{quorum: q, broker: -1}
			seats[q] = s
		}
		return s
	}
	for _, q := range n.r.members.Voters {
		at(q).voter = true
	}
	for _, q := range n.r.members.Learners {
		at(q).learner = true
	}
	for q := range n.r.asked {
		at(q).asked = true
	}
	im := n.Image()
	for _, known := range im.Nodes() { // admitted; it may not have registered yet
		if known.Quorum != 0 {
			at(known.Quorum).broker = known.ID
		}
	}
	for _, b := range im.Brokers() {
		if known, ok := im.Node(b.ID); b.Quorum == 0 || ok && known.Quorum != b.Quorum {
			continue // it comes back with a new folder
		}
		delete(n.r.asked, b.Quorum) // it has what it asked for, and would be kept for nothing once it is unregistered
		s := at(b.Quorum)
		s.broker, s.rack, s.alive = b.ID, b.Rack, !b.Fenced
	}
	for _, p := range st.Progress {
		if s := seats[p.ID]; s != nil {
			s.caughtUp = p.Active && !p.Snapshot && p.Match+caughtUpEntries >= st.Commit
		}
	}
	out := make([]seat, 0, len(seats))
	for q, s := range seats {
		if s.alive || q == n.self.Quorum {
			delete(n.r.silent, q)
		} else if since, ok := n.r.silent[q]; ok {
			s.silent = now.Sub(since)
		} else {
			n.r.silent[q] = now
		}
		out = append(out, *s)
	}
	for q := range n.r.silent {
		if seats[q] == nil {
			delete(n.r.silent, q)
		}
	}
	slices.SortFunc(out, bySeat)
	return out
}
