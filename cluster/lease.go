package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
)

const (
	// leaseDefault is how long a broker is taken for alive after its last heartbeat, where the operator has not said
	// (broker.session.timeout.ms). Kafka's 9 s would be most of a failover.
	leaseDefault = 2 * time.Second

	// beatDefault is how often a broker says that it is alive (broker.heartbeat.interval.ms).
	beatDefault = 500 * time.Millisecond

	// unfenceEvery is how often a broker that is fenced asks to be let in, while nothing else happens.
	unfenceEvery = 20 * time.Millisecond
)

// lease is this broker's registration and what keeps it.
type lease struct {
	mu       sync.Mutex
	cmd      meta.RegisterBroker // as it was given to Register
	epoch    int64               // 0: not registered
	answered time.Time           // when the newest heartbeat that was answered was sent
	leaving  bool                // Shutdown was called
	released bool                // the controller has let go
	running  bool

	kick  signal // the next heartbeat is due now
	freed signal // released has become true
}

// leaseTimes are how long a lease lasts and how often it is renewed.
func (n *Node) leaseTimes() (lasts, every time.Duration) {
	lasts, every = leaseDefault, beatDefault
	if _, ok := n.cfg.Static.Given("broker.session.timeout.ms"); ok {
		lasts = n.cfg.Static.Millis("broker.session.timeout.ms")
	}
	if _, ok := n.cfg.Static.Given("broker.heartbeat.interval.ms"); ok {
		every = n.cfg.Static.Millis("broker.heartbeat.interval.ms")
	}
	return lasts, min(every, lasts/2)
}

// Register tells the cluster that this broker is there, and keeps its lease from then on, until Close. It returns when the
// registration is in Image; the broker is fenced until it has applied the metadata up to there.
//
// Another process with this broker's id, whose lease has not run out, is waited for: it may be this broker's own life before
// a crash. One that lives on makes this one fail.
func (n *Node) Register(ctx context.Context, cmd meta.RegisterBroker) error {
	cmd.ID, cmd.Incarnation, cmd.Quorum = n.cfg.NodeID, n.incarnation, n.self.Quorum
	cmd.Version = n.cfg.Version
	if n.addr != nil {
		cmd.Cluster = n.addr.String()
	}
	if err := n.register(ctx, cmd); err != nil {
		return err
	}
	if n.gossip != nil {
		n.wg.Go(func() { _ = n.gossip.Update() }) // it waits until somebody has heard of it
	}
	n.lease.mu.Lock()
	defer n.lease.mu.Unlock()
	if !n.lease.running {
		n.lease.running = true
		n.wg.Go(n.beat)
	}
	return nil
}

func (n *Node) register(ctx context.Context, cmd meta.RegisterBroker) error {
	lasts, _ := n.leaseTimes()
	patience := time.Now().Add(3 * lasts)
	for {
		sent := time.Now()
		reply, err := n.Propose(ctx, cmd)
		if err == nil {
			n.lease.mu.Lock()
			defer n.lease.mu.Unlock()
			n.lease.cmd, n.lease.epoch, n.lease.answered = cmd, reply.(meta.RegisterBrokerReply).Epoch, sent
			return nil
		}
		if !errors.Is(err, protocol.DuplicateBrokerRegistration) || time.Now().After(patience) {
			return err
		}
		select {
		case <-n.moved.wait(): // it may have been fenced
		case <-time.After(lasts / 20):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// BrokerEpoch is the epoch under which this broker is registered; -1 before it is.
func (n *Node) BrokerEpoch() int64 {
	n.lease.mu.Lock()
	defer n.lease.mu.Unlock()
	if n.lease.epoch == 0 {
		return -1
	}
	return n.lease.epoch
}

// Fenced says that others may have taken over what this broker leads: the metadata says so, or the controller has not
// answered for as long as a lease lasts. A broker that is all of its cluster is not fenced by time.
func (n *Node) Fenced() bool {
	n.lease.mu.Lock()
	epoch, answered := n.lease.epoch, n.lease.answered
	n.lease.mu.Unlock()
	b := n.Image().Broker(n.cfg.NodeID)
	if epoch == 0 || b == nil || b.Fenced || b.Epoch != epoch {
		return true
	}
	lasts, _ := n.leaseTimes()
	return !n.alone.Load() && time.Since(answered) > lasts
}

// beat renews the lease until the node is closed, or the controller has let go.
func (n *Node) beat() {
	_, every := n.leaseTimes()
	for {
		kicked := n.lease.kick.wait()
		moved := n.moved.wait()
		wait := every
		released, err := n.heartbeat()
		if released {
			return
		}
		if n.ctx.Err() != nil {
			return
		}
		if err != nil {
			n.cfg.Logger.Debug("heartbeat not answered", "err", err)
			moved, wait = nil, every/5
		} else if b := n.Image().Broker(n.cfg.NodeID); b != nil && b.Fenced {
			wait = unfenceEvery
		} else {
			moved = nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-kicked:
		case <-moved:
		case <-n.ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// heartbeat says once that this broker is alive. It registers again where the controller does not know it any more.
func (n *Node) heartbeat() (released bool, err error) {
	lasts, _ := n.leaseTimes()
	ctx, cancel := context.WithTimeout(n.ctx, lasts)
	defer cancel()
	sent := time.Now()
	reply, err := n.Propose(ctx, n.heartbeatCommand())
	switch protocol.CodeOf(err) {
	case protocol.None:
	case protocol.StaleBrokerEpoch, protocol.BrokerIDNotRegistered:
		n.lease.mu.Lock()
		cmd, leaving := n.lease.cmd, n.lease.leaving
		n.lease.mu.Unlock()
		if leaving {
			n.release()
			return true, nil
		}
		if b := n.Image().Broker(n.cfg.NodeID); b != nil && b.Incarnation != n.incarnation {
			n.cfg.Logger.Error("another process has registered with the id of this broker, which stays fenced; stop one of the two",
				"id", n.cfg.NodeID, "other", b.Cluster)
		}
		cmd.SameEpochs, cmd.CleanEpoch = true, n.BrokerEpoch()
		if err := n.register(ctx, cmd); err != nil {
			return false, fmt.Errorf("register again: %w", err)
		}
		return false, nil
	default:
		return false, err
	}
	r := reply.(meta.BrokerHeartbeatReply)
	n.lease.mu.Lock()
	n.lease.answered = sent
	leaving := n.lease.leaving
	n.lease.mu.Unlock()
	if leaving && r.Shutdown {
		n.release()
		return true, nil
	}
	return false, nil
}

func (n *Node) heartbeatCommand() meta.BrokerHeartbeat {
	n.lease.mu.Lock()
	defer n.lease.mu.Unlock()
	offset := n.Image().Offset()
	if n.cfg.Served != nil {
		offset = n.cfg.Served()
	}
	return meta.BrokerHeartbeat{
		ID: n.cfg.NodeID, Epoch: n.lease.epoch, Offset: offset, WantShutdown: n.lease.leaving,
	}
}

func (n *Node) release() {
	n.lease.mu.Lock()
	n.lease.released = true
	n.lease.mu.Unlock()
	n.lease.freed.fire()
}

// AwaitUnfenced returns when the cluster counts on this broker.
func (n *Node) AwaitUnfenced(ctx context.Context) error {
	for {
		moved := n.moved.wait()
		if !n.Fenced() {
			return nil
		}
		select {
		case <-moved:
		case <-time.After(unfenceEvery):
		case <-ctx.Done():
			return ctx.Err()
		case <-n.stopped:
			return ErrClosed
		}
	}
}

// Shutdown is a controlled shutdown: it asks the controller to have others lead what this broker leads, and returns when
// that is done, or ctx ends. The broker goes on serving meanwhile. A broker that is all of its cluster has nobody to hand
// over to.
func (n *Node) Shutdown(ctx context.Context) error {
	if n.alone.Load() || n.dropped.Load() {
		return nil
	}
	n.lease.mu.Lock()
	running := n.lease.running
	n.lease.leaving = true
	n.lease.mu.Unlock()
	if !running {
		return nil
	}
	n.lease.kick.fire()
	for {
		freed := n.lease.freed.wait()
		n.lease.mu.Lock()
		released := n.lease.released
		n.lease.mu.Unlock()
		if released {
			return nil
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return ctx.Err()
		case <-n.stopped:
			return ErrClosed
		}
	}
}

// tendLeases has the controller look at the leases. The broker that it runs in is alive, whatever its heartbeats say: they
// may wait behind this very call.
func (n *Node) tendLeases(now time.Time) {
	if n.r.controller == nil {
		return
	}
	var made []meta.Record
	if cmd := n.heartbeatCommand(); cmd.Epoch != 0 {
		if recs, _, err := n.r.controller.Handle(now, cmd); err == nil && n.r.controller.Apply(recs...) == nil {
			made = append(made, recs...)
		}
	}
	recs := n.r.controller.Tick(now)
	if err := n.r.controller.Apply(recs...); err != nil {
		n.cfg.Logger.Error("the controller has made records that it does not take; it begins anew", "err", err)
		n.r.controller = nil
		return
	}
	if made = append(made, recs...); len(made) > 0 {
		n.put(made, entry{})
	}
}
