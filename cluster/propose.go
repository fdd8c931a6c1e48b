package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"moldau.io/moldau/cluster/link"
	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
)

var (
	// ErrClosed says that the node is closed. It wraps the code that makes a client ask another broker.
	ErrClosed = protocol.Errorf(protocol.NotController, "this broker is shutting down")

	// errNotTaken says that a command was certainly not executed, nor will be, so that it can be given to another.
	errNotTaken = errors.New("not taken by the controller")

	// errLost says that the answer to a command was lost. It may have been executed, or may be yet.
	errLost = errors.New("the answer was lost")

	// errExecuted says that a command has been executed, whose answer was lost with the controller that gave it.
	errExecuted = protocol.Errorf(protocol.RequestTimedOut,
		"the change was made, but the controller was lost before it could say how")

	// errUnknown says that a command may have been executed, or may be yet.
	errUnknown = protocol.Errorf(protocol.RequestTimedOut,
		"the controller was lost before it answered: whether the change was made is not known")
)

const (
	methodPropose = "propose"

	// proposeTimeMax bounds a command whose caller has no bound of his own.
	proposeTimeMax = time.Minute

	// proposeRetryEvery is how often a controller that cannot be reached is tried, while there is no news of another.
	proposeRetryEvery = 50 * time.Millisecond
)

// call is a command on its way to the controller, and where its answer goes.
type call struct {
	cmd  meta.Command
	id   uint64      // of one that must not be executed twice, once it has been given to another broker; else 0
	done chan result // has room for the one answer, so that giving it never waits

	// again says that an answer has been lost already, and floor is metadata that is older than any execution.
	again bool
	floor int64
}

// result is what became of a call. offset is that of the metadata which has its outcome.
type result struct {
	reply  meta.Reply
	err    error
	offset int64
}

// Propose has a command decided by the controller, wherever that is, and returns when what it changed is committed and in
// this node's Image. The error is either the controller's refusal, which wraps a protocol.Code, or says that the outcome is
// unknown: ctx has ended, the controller was lost with a command that must not be given twice, or the disk has failed.
func (n *Node) Propose(ctx context.Context, cmd meta.Command) (meta.Reply, error) {
	if err := ctx.Err(); err != nil {
		return nil, err // the select below may not look at it
	}
	ctx, cancel := context.WithTimeout(ctx, proposeTimeMax)
	defer cancel()
	c := call{cmd: cmd, floor: n.Image().Offset()}
	for {
		lead := n.lead.Load()
		r := n.proposeTo(ctx, lead, &c)
		if errors.Is(r.err, errLost) {
			c.again = true
		} else if !errors.Is(r.err, errNotTaken) {
			if err := n.awaitImage(ctx, r.offset); err != nil {
				return nil, err
			}
			return r.reply, r.err
		}
		select {
		case <-lead.changed:
		case <-time.After(proposeRetryEvery):
		case <-ctx.Done():
			return nil, fmt.Errorf("no controller has answered: %w", ctx.Err())
		case <-n.stopped:
			return nil, ErrClosed
		}
	}
}

// proposeTo gives a command to the leader of the quorum.
func (n *Node) proposeTo(ctx context.Context, lead *leader, c *call) result {
	switch {
	case lead.broken != nil:
		return result{err: lead.broken}
	case lead.here:
		return n.proposeHere(ctx, *c)
	case lead.quorum == 0 || lead.quorum == n.self.Quorum || n.addr == nil:
		return result{err: errNotTaken} // until there is one, and it is ready
	}
	addr := n.peers.addr(lead.quorum)
	if addr == "" {
		return result{err: errNotTaken}
	}
	if c.id == 0 && !repeatable(c.cmd) {
		c.id = rand.Uint64() | 1
	}
	return n.forward(ctx, lead, addr, *c)
}

// proposeHere gives a command to this node's own controller.
func (n *Node) proposeHere(ctx context.Context, c call) result {
	c.done = make(chan result, 1)
	select {
	case n.calls <- c:
	case <-ctx.Done():
		return result{err: ctx.Err()}
	case <-n.stopped:
		return result{err: ErrClosed}
	}
	select {
	case r := <-c.done:
		return r
	case <-ctx.Done():
		return result{err: ctx.Err()}
	case <-n.stopped:
	}
	select {
	case r := <-c.done: // it was the last to be answered
		return r
	default:
		return result{err: ErrClosed}
	}
}

// proposeAsk is a forwarded command.
type proposeAsk struct {
	Command []byte
	ID      uint64
	Again   bool
	Floor   int64
}

// proposeAnswer is what a forwarded command is answered with.
type proposeAnswer struct {
	NotTaken bool
	Outcome  meta.Outcome
	Offset   int64
	Reply    []byte // empty where Outcome is a refusal
}

// forward gives a command to another broker's controller. It does not wait longer than that leads.
func (n *Node) forward(ctx context.Context, lead *leader, addr string, c call) result {
	outer := ctx
	ctx, cancel := context.WithCancel(outer)
	defer cancel()
	go func() { // ends with the call
		select {
		case <-lead.changed:
		case <-ctx.Done():
		case <-n.stopped:
		}
		cancel()
	}()
	ask := proposeAsk{Command: n.wire.encodeCommand(c.cmd), ID: c.id, Again: c.again, Floor: c.floor}
	b, err := n.addr.link.Call(ctx, addr, methodPropose, n.wire.encode(ask))
	if err != nil {
		return result{err: n.unanswered(outer, c.cmd, err)}
	}
	var answer proposeAnswer
	if err := n.wire.decode(b, &answer); err != nil {
		return result{err: fmt.Errorf("the controller at %s: %w", addr, err)}
	}
	if answer.NotTaken {
		return result{err: errNotTaken}
	}
	if err := answer.Outcome.Err(); err != nil {
		return result{err: err, offset: answer.Offset}
	}
	reply, err := n.wire.decodeReply(answer.Reply)
	if err != nil {
		err = fmt.Errorf("the controller at %s: %w", addr, err)
	}
	return result{reply: reply, err: err, offset: answer.Offset}
}

// unanswered says what is known of a command that the controller's broker did not answer.
func (n *Node) unanswered(ctx context.Context, cmd meta.Command, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, link.ErrClosed):
		return ErrClosed
	case errors.Is(err, link.ErrUnreachable), errors.Is(err, link.ErrBusy), repeatable(cmd),
		errors.Is(err, protocol.BrokerNotAvailable), errors.Is(err, protocol.ThrottlingQuotaExceeded): // the link's: not begun
		return errNotTaken
	case errors.Is(err, link.ErrLost), errors.Is(err, context.Canceled), errors.Is(err, protocol.NotController):
		return errLost
	}
	return err
}

// repeatable says that giving a command twice does what giving it once does, so that one whose outcome is unknown can be
// given again without a number. A repeated change of the ISR is refused for its partition epoch, which its leader understands.
func repeatable(cmd meta.Command) bool {
	switch cmd.(type) {
	case meta.RegisterBroker, meta.BrokerHeartbeat, meta.BrokerGone, meta.AdmitNode, meta.DrainBroker, meta.AlterPartition,
		meta.AllocateProducerIDs:
		return true
	}
	return false
}

// answerPropose takes a command from another broker. It is not passed on: a broker that has asked the wrong one hears so,
// and looks for the leader again.
func (n *Node) answerPropose(ctx context.Context, _ link.Peer, body []byte) ([]byte, error) {
	var ask proposeAsk
	if err := n.wire.decode(body, &ask); err != nil {
		return nil, err
	}
	cmd, err := n.wire.decodeCommand(ask.Command)
	if err != nil {
		return n.wire.encode(proposeAnswer{Outcome: meta.OutcomeOf(protocol.Errorf(protocol.UnsupportedVersion,
			"the controller's broker does not know this command: %v", err))}), nil
	}
	if !n.lead.Load().here {
		return n.wire.encode(proposeAnswer{NotTaken: true}), nil
	}
	r := n.proposeHere(ctx, call{cmd: cmd, id: ask.ID, again: ask.Again, floor: ask.Floor})
	answer := proposeAnswer{Offset: r.offset}
	switch {
	case errors.Is(r.err, ErrClosed):
		return nil, r.err // it may have been executed, so the asker must not hear that it was not
	case errors.Is(r.err, errNotTaken):
		answer.NotTaken = true
	case r.err != nil:
		answer.Outcome = meta.OutcomeOf(r.err)
	default:
		answer.Reply = n.wire.encodeReply(r.reply)
	}
	return n.wire.encode(answer), nil
}

// awaitImage returns when the image at offset, or a newer one, is here.
func (n *Node) awaitImage(ctx context.Context, offset int64) error {
	for {
		moved := n.moved.wait()
		if n.Image().Offset() >= offset {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		case <-n.stopped:
			return ErrClosed
		}
	}
}
