//go:build compat

package settle

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// swarm is many groups of members on one broker.
type swarm struct {
	addr     string
	members  sync.WaitGroup
	dialled  sync.WaitGroup
	dialling chan struct{} // as many dial at a time as it has room for, so that no listener's backlog is too short
	start    chan struct{} // closed when all are connected

	mu        sync.Mutex
	groups    []*crowd
	at        int           // groups that are at rest now
	rest      chan struct{} // closed when all are
	disturbed int           // members that left a complete generation since
	failed    error
}

// crowd is one group as its members see it.
type crowd struct {
	name       string
	topic      string
	partitions int32
	size       int
	in         map[string]place // where each member is; missing: on its way
}

// place is what a member was told last.
type place struct {
	generation int32
	partitions []int32
}

func newSwarm(addr string) *swarm {
	return &swarm{addr: addr, rest: make(chan struct{}),
		dialling: make(chan struct{}, 32), start: make(chan struct{})}
}

// member is what both protocols have in common.
type member struct {
	s     *swarm
	crowd *crowd
	name  string
}

// add makes a group of so many members; each runs on its own connection until ctx ends.
func (s *swarm) add(ctx context.Context, name, topic string, partitions int32, size int, run func(context.Context, *member, *conn) error) {
	g := &crowd{name: name, topic: topic, partitions: partitions, size: size, in: map[string]place{}}
	s.mu.Lock()
	s.groups = append(s.groups, g)
	s.mu.Unlock()
	for i := range size {
		m := &member{s: s, crowd: g, name: fmt.Sprint(i)}
		s.members.Add(1)
		s.dialled.Add(1)
		go func() {
			defer s.members.Done()
			if err := m.live(ctx, run); err != nil && ctx.Err() == nil {
				s.fail(fmt.Errorf("member %s of %s: %w", m.name, name, err))
			}
		}()
	}
}

func (m *member) live(ctx context.Context, run func(context.Context, *member, *conn) error) error {
	m.s.dialling <- struct{}{}
	c, err := dial(m.s.addr)
	<-m.s.dialling
	m.s.dialled.Done()
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	<-m.s.start
	return run(ctx, m, c)
}

func (s *swarm) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = err
		select {
		case <-s.rest:
		default:
			close(s.rest)
		}
	}
}

// arrive says that m has these partitions in a generation.
func (m *member) arrive(generation int32, partitions []int32) {
	m.change(func(g *crowd) { g.in[m.name] = place{generation, partitions} })
}

// depart says that m was sent back to rejoin.
func (m *member) depart() { m.change(func(g *crowd) { delete(g.in, m.name) }) }

func (m *member) change(do func(*crowd)) {
	s := m.s
	s.mu.Lock()
	defer s.mu.Unlock()
	before := m.crowd.resting()
	do(m.crowd)
	switch after := m.crowd.resting(); {
	case before && !after:
		s.at--
		s.disturbed++
	case !before && after:
		s.at++
		if s.at == len(s.groups) && s.failed == nil {
			select {
			case <-s.rest:
			default:
				close(s.rest)
			}
		}
	}
}

// resting says that all members are in one generation and hold each partition once.
func (g *crowd) resting() bool {
	if len(g.in) != g.size {
		return false
	}
	generation, held := int32(-1), 0
	for _, p := range g.in {
		if generation >= 0 && p.generation != generation {
			return false
		}
		generation = p.generation
		held += len(p.partitions)
	}
	return held == int(g.partitions) && g.disjoint()
}

func (g *crowd) disjoint() bool {
	held := make([]bool, g.partitions)
	for _, p := range g.in {
		for _, i := range p.partitions {
			if held[i] {
				return false
			}
			held[i] = true
		}
	}
	return true
}

// settle waits until all groups are at rest.
func (s *swarm) settle(limit time.Duration) error {
	select {
	case <-s.rest:
	case <-time.After(limit):
		s.mu.Lock()
		defer s.mu.Unlock()
		return fmt.Errorf("%d of %d groups are at rest after %v", s.at, len(s.groups), limit)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disturbed = 0
	return s.failed
}

// undisturbed says that no group has moved since settle.
func (s *swarm) undisturbed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.disturbed > 0 {
		return errors.Join(s.failed, fmt.Errorf("%d groups at rest were disturbed", s.disturbed))
	}
	return s.failed
}

// begin lets all members go, when all are connected.
func (s *swarm) begin() time.Time {
	s.dialled.Wait()
	defer close(s.start)
	return time.Now()
}

// pulse is the time between the heartbeats of a member: short after it was assigned something, since others may still be
// on their way, then longer and longer. With the steady interval of a real client the brokers' work would not be seen.
type pulse struct{ next time.Duration }

const (
	pulseFirst = 20 * time.Millisecond
	pulseLast  = 3 * time.Second // heartbeat.interval.ms of a Java consumer
)

func (p *pulse) quicken() { p.next = pulseFirst }

// wait returns when the next heartbeat is due, or false when ctx ends.
func (p *pulse) wait(ctx context.Context) bool {
	t := time.NewTimer(p.next)
	defer t.Stop()
	p.next = min(p.next*5/4, pulseLast)
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
