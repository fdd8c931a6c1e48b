package broker

import (
	"sync"
	"sync/atomic"
	"time"

	"moldau.io/moldau/cluster/replica"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage"
)

// Partition is one replica hosted here: a log, and the core that says what of it is committed. It leads, or it follows, or
// there is no leader.
//
// It satisfies coordinator.Log for the partitions that hold a coordinator's state.
type Partition struct {
	b       *Broker
	id      protocol.TopicPartition
	topicID protocol.TopicID
	log     *storage.Log

	rules atomic.Pointer[topicRules] // replaced when a configuration changes
	epoch atomic.Int32               // of the leader; notLeader where this broker is not
	known atomic.Int32               // of the leader, whoever that is; notLeader where there is none

	began         atomic.Int64 // the log's end when this broker began to lead
	toldStart     atomic.Int64 // the log's start when followers were last told of it by tellStart
	followsInSync atomic.Bool  // it follows, and the metadata says that it is in sync
	short         atomic.Bool  // fewer replicas are in sync than acks=all asks for

	notify chan struct{} // for the coordinator: one token when the high watermark has moved or the leadership is lost

	// The applying goroutine's.

	applied placed
	fetcher *fetcher // that copies it; nil where this broker does not follow

	mu struct { // held across a write to the log; never across a channel, a socket or a timer
		sync.Mutex
		leader    *replica.Leader   // nil where this broker does not lead
		follower  *replica.Follower // nil where it does not follow
		followers []*replicaPart    // sessions of those who follow this broker
		waits     waits
		gone      bool // the topic is deleted
		asked     bool // it is with the proposals, see alterPartition

		counted     protocol.Offset // the leader's own end, as it counts for the high watermark
		noted       protocol.Offset // where the log ended when this broker began to lead
		uncommitted []appended      // behind noted and the high watermark, in order
	}
}

// notLeader stands in Partition.epoch where this broker does not lead.
const notLeader = -1

func newPartition(b *Broker, tp protocol.TopicPartition, id protocol.TopicID, log *storage.Log) *Partition {
	p := &Partition{b: b, id: tp, topicID: id, log: log, notify: make(chan struct{}, 1)}
	p.epoch.Store(notLeader)
	p.known.Store(notLeader)
	p.applied = placed{leader: -1, leaderEpoch: -1, epoch: -1}
	log.OnDurable(p.durable)
	return p
}

// retire ends the partition: its topic is deleted, or the broker stops. Who waits for it is woken.
func (p *Partition) retire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.gone = true
	p.stepDown()
	p.known.Store(notLeader)
	p.mu.follower = nil
}

// leads says whether this broker leads the partition.
func (p *Partition) leads() bool { return p.epoch.Load() != notLeader }

// highWatermark is the offset below which every record is committed.
func (p *Partition) highWatermark() protocol.Offset { return p.log.HighWatermark() }

// lastStable is the offset below which every record is committed and no transaction is open.
func (p *Partition) lastStable() protocol.Offset {
	return p.log.LastStable()
}

// append writes a batch that has been validated. With acksAll it is refused before anything is written where too few
// replicas are in sync (rule 36, C50). Errors wrap a Code.
func (p *Partition) append(now time.Time, b batch.Batch, acksAll bool) (storage.Appended, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	leader := p.mu.leader
	if leader == nil {
		return storage.Appended{}, p.notLeading()
	}
	if minimum := p.rules.Load().minInsync; acksAll && !leader.EnoughInSync(minimum) {
		return storage.Appended{}, protocol.Errorf(protocol.NotEnoughReplicas,
			"too few replicas of %s are in sync for min.insync.replicas=%d", p.id, minimum)
	}
	if !acksAll && len(leader.ISR()) > 1 && p.b.node.Fenced() {
		// Another broker may lead by now. A write that waits for the others would show that; this one would be lost.
		return storage.Appended{}, protocol.NotLeaderOrFollower
	}
	a, err := p.log.Submit(now, leader.Epoch(), b)
	if err != nil || a.Duplicate {
		return a, err
	}
	p.tellFollowers(true)
	p.note(a.Last+1, int64(len(b)))
	p.count(now)
	return a, nil
}

// effects does what a leader's step asks for: it makes a new high watermark known to those who wait for it, and has the
// controller asked. The lock is held.
func (p *Partition) effects(e replica.Effects) {
	p.short.Store(!p.mu.leader.EnoughInSyncStill(p.rules.Load().minInsync)) // before anybody sees the high watermark
	if e.Advanced {
		before := p.highWatermark()
		p.log.SetHighWatermark(e.HighWatermark)
		p.signal()
		if bytes := p.commit(e.HighWatermark); before >= p.mu.noted {
			p.mu.waits.moved(bytes)
		} else {
			p.mu.waits.all() // records of before this leadership, of which nobody has kept the sizes
		}
		p.tellFollowers(p.b.followersServe)
	}
	if e.Propose {
		p.propose()
	}
}

// tellFollowers says to those who follow this broker that there is something new; hurry, that they are to hear of it at
// once. The lock is held.
func (p *Partition) tellFollowers(hurry bool) {
	for _, x := range p.mu.followers {
		x.tell(hurry)
	}
}

func (p *Partition) signal() {
	select {
	case p.notify <- struct{}{}:
	default:
	}
}

// committed says whether the records below end are committed. It is false, and the error says why, where this broker
// stopped leading meanwhile.
func (p *Partition) committed(end protocol.Offset, epoch protocol.Epoch) (bool, error) {
	if protocol.Epoch(p.epoch.Load()) != epoch {
		return false, p.notLeading()
	}
	return p.highWatermark() >= end, nil
}

// notLeading is what a client is told of a partition that this broker does not lead, or no more: who comes upon it while
// its log goes offline is told that.
func (p *Partition) notLeading() protocol.Code {
	if p.log.Failure() != nil {
		return protocol.KafkaStorageError
	}
	return protocol.NotLeaderOrFollower
}

// fence compares the leader epoch that a client believes in with the one that is so; -1 means that it does not care
// (KIP-320).
func (p *Partition) fence(clients protocol.Epoch) error {
	mine := protocol.Epoch(p.epoch.Load())
	switch known := protocol.Epoch(p.known.Load()); {
	case mine == notLeader && known != notLeader && clients > known:
		return protocol.UnknownLeaderEpoch // this broker may lead by then
	case mine == notLeader && clients >= 0 && clients < known:
		return protocol.FencedLeaderEpoch
	case mine == notLeader:
		return p.notLeading()
	case clients < 0 || clients == mine:
		return nil
	case clients > mine:
		return protocol.UnknownLeaderEpoch
	}
	return protocol.FencedLeaderEpoch
}

// catchesUp says that this broker leads, but that the high watermark is not yet where it may have been under the leader
// before.
func (p *Partition) catchesUp() bool { return p.highWatermark() < protocol.Offset(p.began.Load()) }

// fenceReader is fence for a consumer, who may read from a follower too where its version knows that there are such
// (KIP-392).
func (p *Partition) fenceReader(clients protocol.Epoch, followers bool) (follows bool, err error) {
	if p.leads() || !followers {
		return false, p.fence(clients)
	}
	mine := protocol.Epoch(p.known.Load())
	switch {
	case mine == notLeader:
		return false, p.notLeading()
	case clients < 0 || clients == mine:
		return true, nil
	case clients > mine:
		return false, protocol.UnknownLeaderEpoch
	}
	return false, protocol.FencedLeaderEpoch
}

// Append writes one batch of a coordinator's records, made by batch.Builder.
func (p *Partition) Append(records []byte) (last protocol.Offset, err error) {
	b, _, err := batch.Next(records)
	if err != nil {
		return 0, err
	}
	if limit := p.rules.Load().batch.MaxBytes; len(b) > limit {
		return 0, protocol.Errorf(protocol.MessageTooLarge,
			"a batch of %d bytes for %s, whose max.message.bytes is %d", len(b), p.id, limit)
	}
	a, err := p.append(time.Now(), b, true)
	return a.Last, err
}

// Committed is the high watermark.
func (p *Partition) Committed() protocol.Offset { return p.highWatermark() }

// Notify has a token after Committed has moved or the leadership was lost. It has one reader, the coordinator.
func (p *Partition) Notify() <-chan struct{} { return p.notify }

// Bounds are the first offset of the log and the one behind its last.
func (p *Partition) Bounds() (start, end protocol.Offset) {
	b := p.log.Bounds()
	return b.Start, b.End
}

// Read reads whole batches from the one that holds from into buf[:0], or into a larger slice where the first batch does
// not fit. It returns an empty slice at the end of the log.
func (p *Partition) Read(from protocol.Offset, buf []byte) ([]byte, error) {
	end := p.log.Bounds().End
	if from >= end {
		return buf[:0], nil
	}
	s, err := p.log.Read(from, end, max(cap(buf), batch.HeaderBytes), true)
	if err != nil {
		return nil, err
	}
	defer s.Release()
	raw, err := s.Bytes(buf)
	if err != nil {
		return nil, err
	}
	return wholeBatches(raw), nil
}

// wholeBatches is raw without the fragment of a batch that may stand at its end.
func wholeBatches(raw []byte) []byte {
	rest := raw
	for {
		_, next, err := batch.Next(rest)
		if err != nil {
			return raw[:len(raw)-len(rest)]
		}
		rest = next
	}
}
