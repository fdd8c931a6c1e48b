package replica_test

import (
	"fmt"
	"slices"

	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
)

// truth is what has been committed of one partition, as nobody in the cluster knows it, and the checks against it.
type truth struct {
	w     *world
	of    simTopic
	tp    protocol.TopicPartition
	id    protocol.TopicID
	dirty bool
	gone  bool // the topic is deleted

	hw        protocol.Offset // the highest that was ever committed
	committed []simBatch      // without gaps
	at        map[uint32]protocol.Offset
	sent      map[uint32]bool
	acked     []simBatch // to producers who wanted all
	leaders   map[protocol.Epoch]*shell
	unsafe    bool // the operator has allowed that records are lost, and somebody who lacks some was elected

	// Since all replicas were last in sync: how many ends were not in order, and how many of them took records. While
	// fewer than min.insync.replicas take some, and no more are not in order, nothing may be lost.
	unclean, lossy int

	producers []*producer
}

func newTruth(w *world, of simTopic, t *meta.Topic, partition int32) *truth {
	return &truth{
		w: w, of: of, tp: protocol.TopicPartition{Topic: t.Name, Partition: partition}, id: t.ID,
		at: map[uint32]protocol.Offset{}, sent: map[uint32]bool{}, leaders: map[protocol.Epoch]*shell{},
	}
}

// now is the partition as the newest committed metadata has it, nil for none.
func (t *truth) now() *meta.Partition {
	topic := t.w.q.image().TopicByID(t.id)
	if topic == nil {
		return nil
	}
	return &topic.Partitions[t.tp.Partition]
}

func (t *truth) fail(rule, format string, args ...any) {
	if !t.gone {
		t.w.Fail("%s %v: %s", rule, t.tp, fmt.Sprintf(format, args...))
	}
}

// leads is told of every leader that begins.
func (t *truth) leads(sh *shell) {
	t.w.Mark("a leader begins")
	if other := t.leaders[sh.a.Epoch]; other != nil && other != sh {
		t.fail("I-18", "brokers %d and %d both lead in epoch %d", other.n.id, sh.n.id, sh.a.Epoch)
	}
	t.leaders[sh.a.Epoch] = sh
}

func (t *truth) appended(*shell) {}

// commits is told of every high watermark that a leader comes to.
func (t *truth) commits(sh *shell, hw protocol.Offset) {
	if t.unsafe || hw <= t.hw {
		return // what is below is compared by check
	}
	for _, b := range sh.log.batches(max(t.hw, sh.log.start())) {
		switch {
		case b.last >= hw:
			t.fail("I-09", "the high watermark %d of broker %d lies in the batch %v", hw, sh.n.id, b)
			return
		case b.last < t.hw:
			continue
		case b.base != t.hw:
			t.fail("I-06", "broker %d commits %v behind %d", sh.n.id, b, t.hw)
			return
		case !t.sent[b.crc]:
			t.fail("I-05", "broker %d commits %v, which nobody has sent", sh.n.id, b)
			return
		}
		if at, twice := t.at[b.crc]; twice {
			t.fail("I-04", "the batch at %d is committed again as %v", at, b)
			return
		}
		t.at[b.crc] = b.base
		t.committed = append(t.committed, b)
		t.hw = b.last + 1
		if t.hw >= hw {
			break
		}
	}
	if t.hw != hw {
		t.fail("I-15", "broker %d commits up to %d and has up to %d", sh.n.id, hw, t.hw)
	}
	t.dirty = true
}

// acknowledged is told before a producer that wants all is.
func (t *truth) acknowledged(sh *shell, end protocol.Offset) {
	p := t.now()
	if t.unsafe || p == nil {
		return
	}
	for _, id := range p.ISR {
		if m := t.member(id); m != nil && (m.log.end() < end || t.w.o.fsync && m.log.durable() < min(end, m.log.end())) {
			t.fail("I-19", "broker %d acknowledges up to %d, broker %d in sync has %d, durable %d", sh.n.id, end, id, m.log.end(),
				m.log.durable())
		}
	}
}

// member is the replica of a broker that the newest metadata knows as this process; nil where it is down, or not known yet.
func (t *truth) member(id protocol.BrokerID) *shell {
	n, b := t.w.node(id), t.w.q.image().Broker(id)
	if n == nil || b == nil || !n.up() || n.epoch != b.Epoch {
		return nil
	}
	return n.shell(t.id, t.tp.Partition)
}

// truncates is told before a replica cuts its log.
func (t *truth) truncates(sh *shell, to protocol.Offset, whole bool) {
	if sh.verified > to {
		sh.verified = to
	}
	if t.unsafe || whole || to >= sh.log.end() {
		return
	}
	p := t.now()
	if p == nil || to >= t.hw {
		return
	}
	// Somebody who is behind may have records below the high watermark that others have overwritten; what was committed is
	// not among them.
	for _, b := range sh.log.batches(to) {
		if b.base < t.hw && t.has(b) && b.base >= to {
			t.fail("I-21", "broker %d cuts to %d, and %v is committed", sh.n.id, to, b)
			return
		}
	}
}

// has says that a batch is committed.
func (t *truth) has(b simBatch) bool {
	i, ok := slices.BinarySearchFunc(t.committed, b.base, func(c simBatch, o protocol.Offset) int { return int(c.base - o) })
	return ok && t.committed[i] == b
}

// holds says that a log has everything that is committed.
func (t *truth) holds(sh *shell) bool {
	if sh.log.end() < t.hw {
		return false
	}
	for _, b := range sh.log.batches(sh.log.start()) {
		if b.base < t.hw && !t.has(b) {
			return false
		}
	}
	return true
}

// matches compares a log with what is committed, as far as to, from where it was compared before.
func (t *truth) matches(rule string, sh *shell, to protocol.Offset) bool {
	to = min(to, t.hw)
	if sh.verified >= to {
		return true
	}
	for _, b := range sh.log.batches(max(sh.verified, sh.log.start())) {
		if b.base >= to {
			break
		}
		if !t.has(b) {
			t.fail(rule, "broker %d has %v below %d, which is not what was committed", sh.n.id, b, to)
			return false
		}
	}
	sh.verified = to
	return true
}

// checkDirty checks what the last step has touched.
func (w *world) checkDirty() {
	for _, p := range w.parts {
		if p.dirty && w.Err() == nil {
			p.dirty = false
			p.check()
		}
	}
}

func (t *truth) check() {
	now := t.now()
	if now == nil || t.gone {
		t.gone = true
		return
	}
	for _, n := range t.w.nodes {
		sh := n.shell(t.id, t.tp.Partition)
		if !n.up() || sh == nil {
			continue
		}
		start, hw, end := sh.log.start(), sh.log.hw(), sh.log.end()
		if start > hw || hw > end || sh.log.durable() > end {
			t.fail("I-15", "broker %d: start %d, high watermark %d, end %d, durable %d", n.id, start, hw, end, sh.log.durable())
		}
		if t.unsafe {
			continue
		}
		if hw > t.hw {
			t.fail("I-16", "broker %d shows up to %d, committed is %d", n.id, hw, t.hw)
		}
		t.matches("I-09", sh, hw)
		if l := sh.leader; l != nil && l.Epoch() == now.LeaderEpoch {
			t.checkLeader(sh, now)
		}
	}
	if t.unsafe {
		return
	}
	for _, ids := range [2][]protocol.BrokerID{now.ISR, now.ELR} {
		for _, id := range ids {
			sh := t.member(id)
			if sh == nil {
				continue
			}
			if sh.log.end() < t.hw {
				t.fail("I-12", "broker %d may be elected (in sync %v, eligible %v) and ends at %d, committed is %d", id, now.ISR,
					now.ELR, sh.log.end(), t.hw)
				return
			}
			t.matches("I-12", sh, t.hw)
		}
	}
}

// checkLeader is for the leader that the newest metadata names.
func (t *truth) checkLeader(sh *shell, now *meta.Partition) {
	if sh.log.end() < t.hw {
		t.fail("I-11", "broker %d leads in epoch %d and ends at %d, committed is %d", sh.n.id, sh.a.Epoch, sh.log.end(), t.hw)
		return
	}
	t.matches("I-11", sh, t.hw)
	if sh.leader.EnoughInSync(t.of.minISR) {
		maximal := slices.Clone(sh.leader.ISR())
		if ch, open := sh.leader.Proposal(); open {
			for _, m := range ch.ISR {
				maximal = append(maximal, m.ID)
			}
		}
		for _, id := range now.ISR {
			if !slices.Contains(maximal, id) && sh.a.PartitionEpoch <= now.Epoch {
				t.fail("I-13", "broker %d is in sync, and the leader, broker %d, does not wait for it: %v", id, sh.n.id, maximal)
			}
		}
	}
}

// checkMetadata looks at everything that an entry has changed.
func (w *world) checkMetadata(before, im *meta.Image) {
	d := im.Since(before)
	for _, t := range d.Removed {
		for _, p := range w.parts {
			if p.id == t.ID {
				p.gone = true
			}
		}
	}
	for _, t := range d.Topics {
		if before.TopicByID(t.ID) == nil {
			w.created(t)
			continue
		}
		old := before.TopicByID(t.ID)
		for i := range old.Partitions {
			was, is := &old.Partitions[i], &t.Partitions[i]
			p := w.truthOf(t.ID, int32(i))
			p.changed(was, is)
			p.dirty = true
		}
	}
	for _, b := range im.Brokers() {
		old := before.Broker(b.ID)
		if b.Fenced && (old == nil || !old.Fenced) {
			w.Mark("a broker is fenced")
		}
	}
	for _, p := range w.parts {
		if now := p.now(); now != nil && !p.gone {
			p.checkBrokers(im, now)
			if len(now.ISR) == len(now.Replicas) && !slices.ContainsFunc(now.ISR, func(id protocol.BrokerID) bool {
				return p.member(id) == nil
			}) {
				p.unclean, p.lossy = 0, 0
			}
		}
	}
}

// changed compares a partition with what it was.
func (t *truth) changed(was, is *meta.Partition) {
	t.w.Note("%v is %+v", t.tp, *is)
	if is.Epoch < was.Epoch || is.LeaderEpoch < was.LeaderEpoch {
		t.fail("I-20", "partition epoch %d to %d, leader epoch %d to %d", was.Epoch, is.Epoch, was.LeaderEpoch, is.LeaderEpoch)
	}
	if is.Leader != was.Leader && is.LeaderEpoch == was.LeaderEpoch {
		t.fail("I-20", "the leader changes from %d to %d in epoch %d", was.Leader, is.Leader, is.LeaderEpoch)
	}
	if is.Epoch == was.Epoch && (!slices.Equal(is.ISR, was.ISR) || is.Leader != was.Leader || !slices.Equal(is.ELR, was.ELR)) {
		t.fail("I-20", "it changes in the partition epoch %d", is.Epoch)
	}
	if is.Leader >= 0 && !slices.Contains(is.ISR, is.Leader) {
		t.fail("LeaderInIsr", "broker %d leads, in sync is %v", is.Leader, is.ISR)
	}
	if need := min(t.of.minISR, len(is.Replicas)); !slices.Equal(is.Replicas, was.Replicas) && len(is.ISR) < need &&
		len(was.ISR) >= min(t.of.minISR, len(was.Replicas)) {
		t.fail("I-46", "a move leaves too few in sync: %+v, then %+v", *was, *is)
	}
	if len(was.Adding)+len(was.Removing) > 0 && len(is.Adding)+len(is.Removing) == 0 {
		t.w.Mark("a move ends")
	}
	for _, id := range slices.Concat(is.ISR, is.ELR) {
		if !slices.Contains(is.Replicas, id) {
			t.fail("I-46", "broker %d is in sync or eligible, and no replica: %+v", id, *is)
		}
	}
	switch {
	case len(is.ISR) > len(was.ISR):
		t.w.Mark("an in-sync set grows")
	case len(is.ISR) < len(was.ISR):
		t.w.Mark("an in-sync set shrinks")
	}
	if len(is.ELR) > 0 {
		t.w.Mark("a replica is eligible")
	}
	if is.Leader < 0 {
		t.w.Mark("a partition has no leader")
	}
	if is.Leader >= 0 && is.Leader != was.Leader && slices.Contains(was.ELR, is.Leader) {
		t.w.Mark("an eligible replica is elected")
	}
	if is.Recovering && is.LeaderEpoch > was.LeaderEpoch {
		t.w.Mark("an unclean election")
		if sh := t.member(is.Leader); t.of.unclean {
			if sh == nil || !t.holds(sh) {
				t.w.Mark("an unclean leader lacks something")
			}
			t.unsafe = true // the one before may commit alone until it hears of it
		}
	}
}

// checkBrokers looks at who is in sync.
func (t *truth) checkBrokers(im *meta.Image, p *meta.Partition) {
	for _, b := range im.Brokers() {
		if !b.Fenced {
			continue
		}
		if p.Leader == b.ID || slices.Contains(p.ISR, b.ID) && t.w.o.elr {
			t.fail("I-43", "broker %d is fenced: %+v", b.ID, *p)
		}
		n := t.w.node(b.ID)
		if t.w.o.elr && n.up() && n.epoch == b.Epoch && n.lostSome && slices.Contains(p.ELR, b.ID) && !t.unsafe {
			if sh := n.shell(t.id, t.tp.Partition); sh != nil && sh.log.end() < t.hw {
				t.fail("I-24", "broker %d has lost records and may be elected: %+v", b.ID, *p)
			}
		}
	}
}

// whole says what is not as it should be when nothing has been wrong for long.
func (w *world) whole() string {
	for _, n := range w.nodes {
		if !n.up() || n.fenced || n.epoch < 0 {
			return fmt.Sprintf("broker %d: up %v, fenced %v, epoch %d", n.id, n.up(), n.fenced, n.epoch)
		}
	}
	for _, p := range w.parts {
		now := p.now()
		if p.gone || now == nil {
			continue
		}
		if now.Leader < 0 || len(now.ISR) != len(now.Replicas) {
			return fmt.Sprintf("%v has the leader %d, in sync %v, eligible %v of %v", p.tp, now.Leader, now.ISR, now.ELR, now.Replicas)
		}
		if len(now.Adding)+len(now.Removing) > 0 {
			return fmt.Sprintf("%v is on the move: %+v", p.tp, *now)
		}
		for _, x := range p.producers {
			if x.open() {
				return fmt.Sprintf("a producer of %v waits for an answer", p.tp)
			}
		}
		lead := p.member(now.Leader)
		if lead == nil || lead.leader == nil {
			return fmt.Sprintf("broker %d does not lead %v", now.Leader, p.tp)
		}
		for _, id := range now.Replicas {
			sh := p.member(id)
			if sh == nil || sh.log.end() != lead.log.end() || sh.log.hw() != lead.log.end() {
				return fmt.Sprintf("broker %d does not have all of %v, which ends at %d", id, p.tp, lead.log.end())
			}
		}
	}
	return ""
}

// final is the end: all is whole, and all logs are the same.
func (w *world) final() {
	if wrong := w.whole(); wrong != "" {
		w.Fail("L-1 after %v of peace: %s", simPeace, wrong)
		return
	}
	for _, p := range w.parts {
		if now := p.now(); now != nil && !p.gone {
			p.finally(now)
		}
	}
}

func (t *truth) finally(now *meta.Partition) {
	lead := t.member(now.Leader)
	for _, id := range now.Replicas {
		sh := t.member(id)
		from := max(lead.log.start(), sh.log.start())
		if a, b := lead.log.batches(from), sh.log.batches(from); !slices.Equal(a, b) {
			t.fail("I-10", "broker %d has %v, the leader %v", id, b, a)
		}
	}
	if t.unsafe {
		return
	}
	if lead.log.end() < t.hw {
		t.fail("I-11", "it ends at %d, committed was %d", lead.log.end(), t.hw)
	}
	for _, b := range t.acked {
		if b.base >= lead.log.start() && !slices.Contains(lead.log.batches(b.base)[:1], b) {
			t.fail("I-01", "%v was acknowledged and is not there", b)
		}
	}
	t.w.Trace("ends", int64(lead.log.end()), int64(now.LeaderEpoch), int64(now.Epoch))
}
