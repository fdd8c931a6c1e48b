package broker

import (
	"context"
	"sync"
	"time"

	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
)

// The in-sync sets of the partitions led here: what the leaders' cores propose is sent to the controller, all that waits in
// one command, one command at a time. One timer serves all cores.

// alterTimeout bounds one command. The controller may be on its way from one broker to another; a core sends its proposal
// again.
const alterTimeout = 5 * time.Second

// alterMax is how many partitions go into one command.
const alterMax = 5000

// inSync collects proposals.
type inSync struct {
	b     *Broker
	ready chan struct{} // one token: there are proposals

	mu     sync.Mutex
	waits  []*Partition
	shrank uint64
	grew   uint64
	failed uint64
}

func newInSync(b *Broker) *inSync { return &inSync{b: b, ready: make(chan struct{}, 1)} }

// propose has the partition's proposal sent. The lock is held.
func (p *Partition) propose() {
	if p.mu.asked {
		return // it is looked up when it is sent
	}
	p.mu.asked = true
	s := p.b.inSync
	s.mu.Lock()
	s.waits = append(s.waits, p)
	s.mu.Unlock()
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// take is what waits, at most alterMax of it.
func (s *inSync) take() []*Partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	ps := s.waits
	s.waits = nil
	if len(ps) > alterMax {
		s.waits = append(s.waits, ps[alterMax:]...)
		ps = ps[:alterMax]
	}
	return ps
}

// run sends proposals until ctx ends.
func (s *inSync) run(ctx context.Context) {
	for {
		select {
		case <-s.ready:
		case <-ctx.Done():
			return
		}
		for ps := s.take(); len(ps) > 0 && ctx.Err() == nil; ps = s.take() {
			s.send(ctx, ps)
		}
	}
}

// send asks the controller and tells the cores what it says.
func (s *inSync) send(ctx context.Context, ps []*Partition) {
	cmd := meta.AlterPartition{Broker: s.b.nodeID(), BrokerEpoch: s.b.brokerEpoch()}
	asked, before := ps[:0], make([]int, 0, len(ps))
	for _, p := range ps {
		if c, members, ok := p.proposal(); ok {
			cmd.Partitions = append(cmd.Partitions, c)
			asked, before = append(asked, p), append(before, members)
		}
	}
	if len(asked) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, alterTimeout)
	defer cancel()
	reply, err := s.b.node.Propose(ctx, cmd)
	if err != nil {
		s.b.firsts.warn(s.b.log, "alter partition", "the controller did not answer about in-sync sets", "partitions",
			len(asked), "err", err)
		code := protocol.CodeOf(err)
		if code == protocol.None || code == protocol.OperationNotAttempted || code == protocol.IneligibleReplica {
			code = protocol.UnknownServerError // those are about one partition
		}
		s.mu.Lock()
		s.failed += uint64(len(asked))
		s.mu.Unlock()
		for i, p := range asked {
			p.answered(&cmd.Partitions[i], code)
		}
		return
	}
	changed := reply.(meta.AlterPartitionReply).Partitions
	for i, p := range asked {
		code := protocol.UnknownServerError // no answer
		if i < len(changed) {
			code = changed[i].Code
		}
		s.count(code, before[i], len(cmd.Partitions[i].ISR))
		p.answered(&cmd.Partitions[i], code)
	}
}

// count is for the metrics: whether the set became smaller or larger.
func (s *inSync) count(code protocol.Code, before, after int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case code != protocol.None:
		s.failed++
	case after < before:
		s.shrank++
	default:
		s.grew++
	}
}

// counts are for the metrics.
func (s *inSync) counts() (shrank, grew, failed uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shrank, s.grew, s.failed
}

// proposal is what the controller is to be asked about the partition, if there is anything, and how many replicas are in sync
// now.
func (p *Partition) proposal() (c meta.ISRChange, members int, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.asked = false
	if p.mu.leader == nil {
		return meta.ISRChange{}, 0, false
	}
	change, open := p.mu.leader.Proposal()
	if !open {
		return meta.ISRChange{}, 0, false
	}
	c = meta.ISRChange{
		Topic: p.topicID, Partition: p.id.Partition, LeaderEpoch: change.LeaderEpoch, Epoch: change.PartitionEpoch,
		Recovered: change.Recovered, ISR: make([]meta.ISRMember, len(change.ISR)),
	}
	for i, m := range change.ISR {
		c.ISR[i] = meta.ISRMember(m)
	}
	return c, len(p.mu.leader.ISR()), true
}

// answered tells the core what became of what was sent, if that is what it still waits for. The metadata says what the
// partition has become.
func (p *Partition) answered(sent *meta.ISRChange, code protocol.Code) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.leader == nil {
		return
	}
	c, open := p.mu.leader.Proposal()
	if !open || c.LeaderEpoch != sent.LeaderEpoch || c.PartitionEpoch != sent.Epoch {
		return // a later one may be under way, which nobody has refused
	}
	p.effects(p.mu.leader.Refused(time.Now(), code))
	p.b.tickSoon()
}

// tick has the core do what has become due, and says when that is again; zero for never.
func (p *Partition) tick(now time.Time) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	leader := p.mu.leader
	if leader == nil {
		return time.Time{}
	}
	if at := leader.Deadline(); at.IsZero() || now.Before(at) {
		return at
	}
	p.effects(leader.Tick(now))
	return leader.Deadline()
}

// tickSoon has the cores looked at before the timer would.
func (b *Broker) tickSoon() {
	select {
	case b.ticks <- struct{}{}:
	default:
	}
}

const (
	// tickMax is how often the cores are looked at at least, as a part of replica.lag.time.max.ms (as Kafka's isr-expiration).
	tickMax = 2
	// tickMin is the shortest time between two looks.
	tickMin = 50 * time.Millisecond
)

// keepInSync looks at the cores of all partitions that are led here when the first of them has something to do.
func (b *Broker) keepInSync(ctx context.Context) {
	longest := max(tickMin, b.replication.LagTime/tickMax)
	t := time.NewTimer(longest)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-b.ticks:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		next := now.Add(longest)
		for _, p := range b.partitions.all() {
			if !p.leads() {
				continue
			}
			if at := p.tick(now); !at.IsZero() && at.Before(next) {
				next = at
			}
		}
		b.replicaSessions.sweep(now)
		t.Reset(max(tickMin, next.Sub(now)))
	}
}
