package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"moldau.io/moldau/cluster/link"
	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/cluster/quorum"
	"moldau.io/moldau/protocol"
)

const (
	// callsMax is how many commands wait for the metadata log to take them. More wait in their callers.
	callsMax = 256

	// inflightMax is how many entries wait for their commit before no more are made: commands then share entries.
	inflightMax = 64

	// entryRecords is how many records commands make together before they are too many for one entry.
	entryRecords = 1000

	inboxMax  = 1024
	ordersMax = 256

	// tickTime is Raft's tick; a quorum of one needs none, and its node only looks after the leases.
	tickTime     = 100 * time.Millisecond
	tickTimeSolo = 500 * time.Millisecond
)

// leader is who leads the quorum, as far as this node knows. It is replaced when that changes.
type leader struct {
	quorum  uint64 // 0: nobody
	term    uint64
	here    bool  // it is this node, and its controller takes commands
	broken  error // this node's metadata log is of no more use
	changed chan struct{}
}

// entry is one of the metadata log that is not committed yet, with the calls that wait for it.
type entry struct {
	index     int64
	term      uint64
	committed bool
	calls     []call
	results   []result
}

// read is answers that wait until it is certain that this node still leads.
type read struct {
	ticket uint64
	entry
}

// message is one of the quorum's from another member.
type message struct {
	from uint64
	addr string
	data []byte
}

// run drives the metadata log until the node is stopped. All commands that have come while one entry was being synced go
// into the next, so that any number of callers share a sync.
func (n *Node) run(ctx context.Context) {
	defer close(n.stopped)
	defer n.refuseAll()
	ticker := time.NewTicker(n.tickTime())
	defer ticker.Stop()
	for {
		every := n.tickTime()
		calls := n.calls
		if len(n.r.inflight) >= inflightMax {
			calls = nil
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			n.tick(time.Now())
		case m := <-n.inbox:
			n.step(m)
		case c := <-calls:
			n.take(n.waiting(c))
		case order := <-n.orders:
			order()
		}
		n.advance()
		if now := n.tickTime(); now != every {
			ticker.Reset(now)
		}
	}
}

// solo says that this node is all of the quorum, and knows of nobody else.
func (n *Node) solo() bool {
	m := n.r.members
	return len(m.Voters) == 1 && m.Voters[0] == n.self.Quorum && len(m.Learners) == 0
}

func (n *Node) tickTime() time.Duration {
	if n.solo() {
		return tickTimeSolo
	}
	return tickTime
}

// order has f executed by run.
func (n *Node) order(f func()) {
	select {
	case n.orders <- f:
	case <-n.stopped:
	}
}

// step takes a message, and those that wait behind it, so that they share a sync.
func (n *Node) step(m message) {
	for range inboxMax {
		n.peers.hear(m.from, m.addr)
		if err := n.r.log.Step(m.data); err != nil {
			n.cfg.Logger.Debug("message of the metadata quorum not taken", "from", m.addr, "err", err)
		}
		select {
		case m = <-n.inbox:
		default:
			return
		}
	}
}

func (n *Node) tick(now time.Time) {
	if n.r.broken != nil {
		return
	}
	if !n.solo() {
		n.r.log.Tick()
	}
	n.tendLeases(now)
	n.tendMembers(now)
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

// take has calls decided, and puts their records into the log.
func (n *Node) take(calls []call) {
	now := time.Now()
	var e entry
	var made []meta.Record
	for _, c := range calls {
		if n.r.controller == nil {
			c.done <- result{err: n.noController()}
			continue
		}
		if err := n.twice(c, e); err != nil {
			c.done <- result{err: err}
			continue
		}
		recs, reply, err := n.r.controller.Handle(now, c.cmd)
		if err == nil {
			err = n.r.controller.Apply(recs...)
		}
		e.calls, e.results = append(e.calls, c), append(e.results, result{reply: reply, err: err})
		if err == nil {
			made = append(made, recs...)
		}
		if len(made) >= entryRecords {
			n.put(made, e)
			made, e = nil, entry{}
		}
	}
	n.put(made, e)
}

// twice says why a call must not be executed: it has been, as far as can be known.
func (n *Node) twice(c call, now entry) error {
	if c.id == 0 {
		return nil
	}
	same := func(other call) bool { return other.id == c.id }
	if n.r.executed.knows(c.id) || slices.ContainsFunc(now.calls, same) {
		return errExecuted
	}
	for _, e := range n.r.inflight {
		if slices.ContainsFunc(e.calls, same) {
			return errExecuted
		}
	}
	if c.again && c.floor < n.r.executed.since {
		return errUnknown
	}
	return nil
}

func (n *Node) noController() error {
	if err := n.r.broken; err != nil {
		return storageError(err)
	}
	return errNotTaken
}

func storageError(err error) error {
	return errors.Join(protocol.Errorf(protocol.KafkaStorageError, "%v", err), err)
}

// put appends an entry. Answers that need no entry of their own wait for the last one: what they say builds on it.
func (n *Node) put(recs []meta.Record, e entry) {
	if len(recs) == 0 {
		if last := len(n.r.inflight) - 1; last >= 0 {
			l := &n.r.inflight[last]
			l.calls, l.results = append(l.calls, e.calls...), append(l.results, e.results...)
			return
		}
		n.confirm(e)
		return
	}
	index, term, err := n.r.log.Append(encodeEntry(recs, e.numbers()))
	if err != nil {
		// The controller has run ahead of a log that did not follow.
		n.r.controller = nil
		if errors.Is(err, quorum.ErrNotLeader) || errors.Is(err, quorum.ErrBusy) {
			err = errNotTaken
		}
		e.answer(err, 0)
		return
	}
	n.r.controller.Logged(index)
	e.index, e.term = index, term
	n.r.inflight = append(n.r.inflight, e)
}

// confirm answers what needs no entry, once it is certain that no other node has come to lead meanwhile. Heartbeats need no
// certainty: what they are told is in the metadata, too.
func (n *Node) confirm(e entry) {
	if !slices.ContainsFunc(e.calls, func(c call) bool { _, beats := c.cmd.(meta.BrokerHeartbeat); return !beats }) {
		e.answer(nil, n.Image().Offset())
		return
	}
	ticket, err := n.r.log.Confirm()
	if err != nil {
		e.answer(errNotTaken, 0)
		return
	}
	n.r.reads = append(n.r.reads, read{ticket: ticket, entry: e})
}

// confirmed answers what has been waiting for certainty. Where this node leads no more another has to be asked.
func (n *Node) confirmed(rd quorum.Ready) {
	for len(n.r.reads) > 0 && (rd.Confirmed >= n.r.reads[0].ticket || !rd.Leadership.Leading) {
		var err error
		if rd.Confirmed < n.r.reads[0].ticket {
			err = errNotTaken
		}
		n.r.reads[0].answer(err, n.Image().Offset())
		n.r.reads = n.r.reads[1:]
	}
}

// numbers are those of the calls that must not be executed again.
func (e entry) numbers() (ids []uint64) {
	for i, c := range e.calls {
		if c.id != 0 && e.results[i].err == nil {
			ids = append(ids, c.id)
		}
	}
	return ids
}

// answer tells the callers; with err where that is not nil.
func (e entry) answer(err error, offset int64) {
	for i, c := range e.calls {
		r := e.results[i]
		r.offset = offset
		if err != nil {
			r = result{err: err}
		}
		c.done <- r
	}
}

// advance does what the log has become due for: messages leave, committed entries are published, callers are answered.
func (n *Node) advance() {
	if n.r.broken != nil {
		return
	}
	n.send(n.r.log.Early()) // so that all disks sync at the same time
	rd, err := n.r.log.Process()
	if err == nil {
		err = n.absorb(rd)
	}
	if err == nil {
		err = n.compact(rd.SnapshotWanted)
	}
	if err != nil {
		n.fail(err)
	}
}

func (n *Node) absorb(rd quorum.Ready) error {
	n.send(rd.Messages)
	if rd.Members != nil {
		n.membersAre(*rd.Members)
	}
	n.member.Store(n.r.members.Has(n.self.Quorum) && !rd.Removed)
	if err := n.apply(rd); err != nil {
		return err
	}
	n.settle(rd)
	n.confirmed(rd)
	return n.follow(rd.Leadership)
}

// fail ends this node's part in the quorum: its log could not be written, or makes no sense.
func (n *Node) fail(err error) {
	n.cfg.Logger.Error("metadata log failed; no more changes are taken until this broker is restarted", "err", err)
	n.r.broken = err
	n.r.controller = nil
	for _, e := range n.r.inflight {
		e.answer(storageError(err), 0)
	}
	for _, e := range n.r.reads {
		e.answer(storageError(err), 0)
	}
	n.r.inflight, n.r.reads = nil, nil
	n.setLeader(leader{broken: storageError(err)})
	if n.cfg.Failed != nil {
		n.cfg.Failed(err)
	}
}

// refuseAll answers what nobody will answer any more.
func (n *Node) refuseAll() {
	for _, e := range n.r.inflight {
		e.answer(ErrClosed, 0)
	}
	for _, e := range n.r.reads {
		e.answer(ErrClosed, 0)
	}
	n.r.inflight, n.r.reads = nil, nil
}

// follow takes notice of who leads.
func (n *Node) follow(l quorum.Leadership) error {
	now := n.lead.Load()
	if !l.Leading {
		n.r.controller = nil
	} else if n.r.controller == nil && len(n.r.inflight) == 0 {
		c, err := n.newController()
		if err != nil {
			return err
		}
		n.r.controller = c
	}
	here := n.r.controller != nil
	if now.quorum == l.Leader && now.term == l.Term && now.here == here {
		return nil
	}
	n.setLeader(leader{quorum: l.Leader, term: l.Term, here: here})
	return nil
}

func (n *Node) setLeader(l leader) {
	l.changed = make(chan struct{})
	before := n.lead.Swap(&l)
	if before != nil {
		close(before.changed)
		if l.quorum != before.quorum {
			n.cfg.Logger.Debug("the metadata quorum has another leader", "leader", l.quorum, "term", l.term, "here", l.here)
		}
	}
}

// apply publishes what has been committed.
func (n *Node) apply(rd quorum.Ready) error {
	im := n.Image()
	if rd.Snapshot != nil {
		recs, err := meta.DecodeRecords(rd.Snapshot.Data)
		if err != nil {
			return fmt.Errorf("read metadata snapshot: %w", err)
		}
		if im, err = meta.Empty().With(rd.Snapshot.Index, recs...); err != nil {
			return fmt.Errorf("read metadata snapshot: %w", err)
		}
		n.r.executed.begin(rd.Snapshot.Index)
	}
	for _, e := range rd.Entries {
		recs, calls, err := decodeEntry(e.Data)
		if err != nil {
			return fmt.Errorf("read metadata entry %d: %w", e.Index, err)
		}
		if im, err = im.With(e.Index, recs...); err != nil {
			return fmt.Errorf("apply metadata entry %d: %w", e.Index, err)
		}
		n.r.executed.add(e.Index, calls)
		n.committed(e)
	}
	if im != n.Image() {
		n.publish(im)
	}
	return nil
}

func (n *Node) publish(im *meta.Image) {
	n.image.Store(im)
	n.peers.register(im)
	n.moved.fire()
	select {
	case n.changes <- struct{}{}:
	default: // a token is waiting already; its reader will find this image too
	}
}

// committed takes note that an entry is in the log for good.
func (n *Node) committed(e quorum.Entry) {
	for i := range n.r.inflight {
		if f := &n.r.inflight[i]; f.index >= e.Index {
			f.committed = f.index == e.Index && f.term == e.Term
			return
		}
	}
}

// settle answers the callers of entries whose place in the log is decided.
func (n *Node) settle(rd quorum.Ready) {
	for len(n.r.inflight) > 0 && n.r.inflight[0].index <= rd.Applied {
		e := n.r.inflight[0]
		n.r.inflight = n.r.inflight[1:]
		switch {
		case e.committed:
			e.answer(nil, e.index)
		case rd.Snapshot != nil && e.index <= rd.Snapshot.Index:
			e.answer(errUnknown, 0)
		default:
			e.answer(errNotTaken, 0) // another leader's entry has taken its place
		}
	}
}

// compact replaces the log by a snapshot once it has grown large, and large next to the snapshot, so that the bytes
// written for snapshots stay in proportion to those written to the log; or when a member needs one.
func (n *Node) compact(wanted bool) error {
	log, snapshot := n.r.log.Bytes()
	if !wanted && (log < n.cfg.SnapshotBytes || log < 2*snapshot) {
		return nil
	}
	im := n.Image()
	if im.Offset() < 0 {
		return nil
	}
	return n.r.log.SaveSnapshot(im.Offset(), meta.AppendRecords(nil, im.Records()))
}

const kindQuorum = "quorum"

// send gives messages to the members that they are for.
func (n *Node) send(msgs []quorum.Message) {
	if n.addr == nil {
		return
	}
	for _, m := range msgs {
		sent := false
		for _, addr := range n.peers.addrs(m.To) {
			sent = n.addr.link.Send(addr, kindQuorum, n.sealMessage(m.Data)) || sent
		}
		if !sent {
			n.r.log.Unreachable(m.To)
		}
	}
}

// quorumMessage wraps a message of the quorum, so that its receiver learns where the sender is.
type quorumMessage struct {
	From uint64 `cbor:"1,keyasint"`
	Addr string `cbor:"2,keyasint"`
	Data []byte `cbor:"3,keyasint"`
}

func (n *Node) sealMessage(data []byte) []byte {
	return n.wire.encode(quorumMessage{From: n.self.Quorum, Addr: n.addr.String(), Data: data})
}

// receive queues a message of the quorum. What does not fit is dropped, as on a network: Raft sends it again.
func (n *Node) receive(_ link.Peer, body []byte) {
	var m quorumMessage
	if err := n.wire.decode(body, &m); err != nil {
		return
	}
	select {
	case n.inbox <- message{from: m.From, addr: m.Addr, data: m.Data}:
	default:
	}
}
