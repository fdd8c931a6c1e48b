package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/cluster/quorum"
	"moldau.io/moldau/protocol"
)

// ErrClosed says that the node is closed. It wraps the code that makes a client ask another broker.
var ErrClosed = protocol.Errorf(protocol.NotController, "this broker is shutting down")

// call is a command on its way to the controller, and where its answer goes.
type call struct {
	cmd  meta.Command
	done chan result // has room for the one answer, so that giving it never waits
}

type result struct {
	reply meta.Reply
	err   error
}

// Propose has a command decided, and returns when what it changed is committed and in Image. The error is either the
// controller's refusal, which wraps a protocol.Code, or says that the outcome is unknown: ctx has ended, or the disk has
// failed.
func (n *Node) Propose(ctx context.Context, cmd meta.Command) (meta.Reply, error) {
	if err := ctx.Err(); err != nil {
		return nil, err // the select below may not look at it
	}
	c := call{cmd: cmd, done: make(chan result, 1)}
	select {
	case n.calls <- c:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-n.stopped:
		return nil, ErrClosed
	}
	select {
	case r := <-c.done:
		return r.reply, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-n.stopped:
	}
	select {
	case r := <-c.done: // it was the last to be answered
		return r.reply, r.err
	default:
		return nil, ErrClosed
	}
}

// run takes commands until the node is stopped. All that have come while one entry was being synced go into the next, so
// that any number of callers share a sync.
func (n *Node) run(ctx context.Context) {
	defer close(n.stopped)
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-n.calls:
			n.process(n.waiting(c))
		}
	}
}

func (n *Node) waiting(first call) []call {
	calls := []call{first}
	for len(calls) < callsMax {
		select {
		case c := <-n.calls:
			calls = append(calls, c)
		default:
			return calls
		}
	}
	return calls
}

// process decides calls, puts their records into the log as one entry, publishes, and answers, in this order.
func (n *Node) process(calls []call) {
	results := make([]result, len(calls))
	var recs []meta.Record
	for i, c := range calls {
		made, reply, err := n.controller.Handle(time.Now(), c.cmd)
		if err == nil {
			err = n.controller.Apply(made...)
		}
		results[i] = result{reply: reply, err: err}
		if err == nil {
			recs = append(recs, made...)
		}
	}
	if err := n.commit(recs); err != nil {
		n.cfg.Logger.Error("metadata log failed; no more changes are taken until this broker is restarted", "err", err)
		if n.cfg.Failed != nil {
			n.cfg.Failed(err)
		}
		for i := range results {
			results[i] = result{err: errors.Join(protocol.Errorf(protocol.KafkaStorageError, "%v", err), err)}
		}
	}
	for i, c := range calls {
		c.done <- results[i]
	}
}

func (n *Node) commit(recs []meta.Record) error {
	if len(recs) > 0 {
		if _, _, err := n.log.Append(meta.AppendRecords(nil, recs)); err != nil {
			return err
		}
	}
	rd, err := n.log.Process()
	if err != nil {
		return err
	}
	if err := n.apply(rd.Entries); err != nil {
		return err
	}
	return n.compact()
}

// apply publishes what has been committed.
func (n *Node) apply(entries []quorum.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	im := n.Image()
	for _, e := range entries {
		recs, err := meta.DecodeRecords(e.Data)
		if err != nil {
			return fmt.Errorf("read metadata entry %d: %w", e.Index, err)
		}
		if im, err = im.With(e.Index, recs...); err != nil {
			return fmt.Errorf("apply metadata entry %d: %w", e.Index, err)
		}
	}
	n.image.Store(im)
	select {
	case n.changes <- struct{}{}:
	default: // a token is waiting already; its reader will find this image too
	}
	return nil
}

// compact replaces the log by a snapshot once it has grown large, and large next to the snapshot, so that the bytes
// written for snapshots stay in proportion to those written to the log.
func (n *Node) compact() error {
	log, snapshot := n.log.Bytes()
	if log < n.cfg.SnapshotBytes || log < 2*snapshot {
		return nil
	}
	im := n.Image()
	return n.log.SaveSnapshot(im.Offset(), meta.AppendRecords(nil, im.Records()))
}
