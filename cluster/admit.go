package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"moldau.io/moldau/cluster/link"
	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
)

// JoinConfig is what a newcomer asks for.
type JoinConfig struct {
	Addrs     []string          // cluster addresses of any members
	Asked     protocol.BrokerID // the id that it wants; -1: any
	ClusterID string            // the cluster that it must be; empty: any

	// Progress is told in words why it takes longer. It may be nil.
	Progress func(string)

	// Patience is for how long members that do not answer are asked again. Default 60 s.
	Patience time.Duration

	// Begin is how many brokers are to form a cluster together, of which this one is to begin it. It does so when a majority
	// of them, itself included, wait to join: who has lost its disk must not begin a second cluster beside the first. 0: it
	// never does.
	Begin int

	young bool // it has not been asked for long
}

// ErrBegin says that there is no cluster to join yet, and that this broker is the one to begin it.
var ErrBegin = errors.New("this broker begins the cluster")

// ErrJoin says that no cluster has taken this broker in.
var ErrJoin = errors.New("cannot join")

const (
	methodAdmit = "admit"

	joinPatience   = time.Minute
	joinRetryEvery = 250 * time.Millisecond
	joinSayEvery   = 5 * time.Second
	joinCallTime   = 10 * time.Second

	// takenPatience is how long an id that is in use is asked for again: its owner may be this broker's last life.
	takenPatience = 5 * time.Second
)

// admitAsk is sent to any member, which passes it to the controller.
type admitAsk struct {
	Asked  protocol.BrokerID
	Addr   string
	Quorum uint64
}

type admitAnswer struct {
	Outcome   meta.Outcome
	NodeID    protocol.BrokerID
	ClusterID string
	Members   []string // cluster addresses
}

// Admit asks the members at cfg.Addrs who this broker is to be, until one answers or all refuse. It returns addresses of
// members, too, which may be more than were known.
func (a *Address) Admit(ctx context.Context, cfg JoinConfig) (Identity, []string, error) {
	if cfg.Patience <= 0 {
		cfg.Patience = joinPatience
	}
	if cfg.Progress == nil {
		cfg.Progress = func(string) {}
	}
	id := Identity{ClusterID: cfg.ClusterID, NodeID: cfg.Asked, Quorum: NewQuorumID()}
	start := time.Now()
	said := time.Time{}
	for {
		cfg.young = time.Since(start) < takenPatience
		answer, faults, err := a.askAll(ctx, cfg, id)
		if err != nil {
			return Identity{}, nil, err
		}
		if answer != nil {
			id.ClusterID, id.NodeID = answer.ClusterID, answer.NodeID
			a.Identify(id)
			return id, append(answer.Members, cfg.Addrs...), nil
		}
		if cfg.Begin > 0 && 1+a.waiting(ctx, cfg.Addrs) > cfg.Begin/2 {
			return Identity{}, nil, ErrBegin
		}
		if time.Since(start) >= cfg.Patience {
			return Identity{}, nil, fmt.Errorf("%w: no member has answered for %s: %s; see that one runs and that its "+
				"cluster address (--cluster-listen) can be reached from here, and name that with --join",
				ErrJoin, cfg.Patience, strings.Join(faults, "; "))
		}
		if time.Since(said) >= joinSayEvery {
			said = time.Now()
			cfg.Progress(fmt.Sprintf("waiting to join: %s; asking again for %s", strings.Join(faults, "; "),
				(cfg.Patience - time.Since(start)).Round(time.Second)))
		}
		select {
		case <-time.After(joinRetryEvery):
		case <-ctx.Done():
			return Identity{}, nil, ctx.Err()
		}
	}
}

// waiting counts the brokers at addrs that wait to join a cluster.
func (a *Address) waiting(ctx context.Context, addrs []string) (n int) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for _, addr := range addrs {
		var who whoAnswer
		if err := a.call(ctx, addr, methodWho, struct{}{}, &who); err == nil && who.ClusterID == "" {
			n++
		}
	}
	return n
}

// askAll asks one member after the other. faults say of each that did not answer why; the error is that nothing will come of
// asking again.
func (a *Address) askAll(ctx context.Context, cfg JoinConfig, id Identity) (*admitAnswer, []string, error) {
	var faults []string
	hope := false
	for _, addr := range cfg.Addrs {
		answer, again, err := a.askOne(ctx, addr, cfg, id)
		switch {
		case err == nil:
			return answer, nil, nil
		case ctx.Err() != nil:
			return nil, nil, ctx.Err()
		}
		hope = hope || again
		faults = append(faults, err.Error())
	}
	if !hope {
		return nil, nil, fmt.Errorf("%w: %s", ErrJoin, strings.Join(faults, "; "))
	}
	return nil, faults, nil
}

// askOne asks one member. again says that it may answer otherwise later.
func (a *Address) askOne(ctx context.Context, addr string, cfg JoinConfig, id Identity) (answer *admitAnswer, again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, joinCallTime)
	defer cancel()
	answer = new(admitAnswer)
	err = a.call(ctx, addr, methodAdmit, admitAsk{Asked: cfg.Asked, Addr: a.String(), Quorum: id.Quorum}, answer)
	switch {
	case errors.Is(err, link.ErrSelf):
		return nil, false, fmt.Errorf("%s is this broker's own address; name another member with --join, or start the first "+
			"broker of a cluster without it", addr)
	case errors.Is(err, link.ErrOtherCluster), errors.Is(err, link.ErrKey), errors.Is(err, link.ErrNotMoldau):
		return nil, false, err
	case err != nil:
		return nil, true, err
	}
	if err := answer.Outcome.Err(); err != nil {
		again := protocol.CodeOf(err).Retriable() || cfg.young && errors.Is(err, protocol.DuplicateBrokerRegistration)
		return nil, again, fmt.Errorf("%s: %w", addr, err)
	}
	if cfg.ClusterID != "" && answer.ClusterID != cfg.ClusterID {
		return nil, false, fmt.Errorf("%w: %s is in cluster %s, this broker belongs to %s; name a member of that with --join, or "+
			"start with an empty data folder", ErrOtherCluster, addr, answer.ClusterID, cfg.ClusterID)
	}
	return answer, false, nil
}

// answerAdmit has the controller decide who a newcomer is.
func (n *Node) answerAdmit(ctx context.Context, _ link.Peer, body []byte) ([]byte, error) {
	var ask admitAsk
	if err := n.wire.decode(body, &ask); err != nil {
		return nil, err
	}
	reply, err := n.Propose(ctx, meta.AdmitNode{Asked: ask.Asked, Cluster: ask.Addr, Quorum: ask.Quorum})
	if err != nil {
		if protocol.CodeOf(err) == protocol.UnknownServerError {
			err = protocol.Errorf(protocol.RequestTimedOut, "the cluster has no controller at the moment: %v", err)
		}
		return n.wire.encode(admitAnswer{Outcome: meta.OutcomeOf(err)}), nil
	}
	r := reply.(meta.AdmitNodeReply)
	return n.wire.encode(admitAnswer{NodeID: r.ID, ClusterID: r.ClusterID, Members: n.memberAddrs()}), nil
}
