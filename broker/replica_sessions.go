package broker

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"moldau.io/moldau/protocol"
)

// replicaSessionsMax is how many sessions one follower may have here. It has one for each of its num.replica.fetchers; the
// least recently used goes where there are more.
const replicaSessionsMax = 64

// replicaSessions are the fetch sessions of the brokers that follow partitions led here. They have no slots among those of
// consumers: there are few of them, and a cluster must replicate whatever its consumers do.
type replicaSessions struct {
	mu   sync.Mutex
	byID map[int32]*replicaSession
}

// replicaSession is what one fetcher of one follower follows here (KIP-227). It knows which of its partitions have
// something for the follower, so that neither a fetch nor an append costs more where there are many.
//
// Lock order: a session's lock is taken before that of a partition. What happens in a partition reaches the session without
// its lock, by tell.
type replicaSession struct {
	id      int32
	replica protocol.BrokerID
	under   int64 // the registration of the broker: under another it has to say again where it is in all partitions
	conn    *conn // by which it was begun

	news    atomic.Pointer[replicaPart] // a stack of those that something has happened in
	waiting atomic.Pointer[request]     // the fetch that waits for it

	mu    sync.Mutex
	epoch int32 // the next one expected
	ended bool
	parts map[partID]*replicaPart
	ready []*replicaPart // to be looked at, in order
	spare []*replicaPart // room for the next ready

	used time.Time // guarded by replicaSessions.mu
}

// partID names a partition for good: another topic of the same name has another.
type partID struct {
	topic     protocol.TopicID
	partition int32
}

// replicaPart is one partition of a session: where the follower is in it, and what it was told last.
type replicaPart struct {
	s   *replicaSession
	key partID

	// Guarded by the session's lock.

	p           *Partition // that tells it of what happens; nil where the partition is not here
	offset      protocol.Offset
	leaderEpoch protocol.Epoch
	lastEpoch   protocol.Epoch
	logStart    protocol.Offset
	maxBytes    int32
	heardStart  protocol.Offset // the logStart that the leader was told of last
	named       bool            // the leader has not been told of offset
	inSync      bool            // the follower was, when it was looked at
	isReady     bool            // it is in the session's list
	sentHW      protocol.Offset
	sentStart   protocol.Offset

	queued atomic.Bool  // it is on the session's stack
	below  *replicaPart // on the stack; set by who pushes, read by who takes
}

// tell says that something has happened in the partition; hurry, that a waiting fetch is to be answered for it. It may be
// called with any lock held.
func (x *replicaPart) tell(hurry bool) {
	if !x.queued.Swap(true) {
		for {
			x.below = x.s.news.Load()
			if x.s.news.CompareAndSwap(x.below, x) {
				break
			}
		}
	}
	if hurry {
		if r := x.s.waiting.Load(); r != nil {
			r.wake()
		}
	}
}

// take moves what has news to the list. The session's lock is held.
func (s *replicaSession) take() {
	from := len(s.ready)
	for x := s.news.Swap(nil); x != nil; {
		below := x.below
		x.below = nil
		x.queued.Store(false) // from here on it may be pushed again
		s.look(x)
		x = below
	}
	slices.Reverse(s.ready[from:]) // the stack has the newest on top
}

// look has a partition looked at. The session's lock is held.
func (s *replicaSession) look(x *replicaPart) {
	if !x.isReady {
		x.isReady = true
		s.ready = append(s.ready, x)
	}
}

// put adds a partition or changes where the follower is in it, and has it looked at. The session's lock is held.
func (s *replicaSession) put(c *protocol.FetchCursor) {
	key := partID{c.TopicID, c.Partition}
	x := s.parts[key]
	if x == nil {
		x = &replicaPart{s: s, key: key, heardStart: -1, sentHW: -1, sentStart: -1}
		s.parts[key] = x
	}
	x.offset, x.leaderEpoch, x.lastEpoch = c.FetchOffset, c.CurrentLeaderEpoch, c.LastFetchedEpoch
	x.logStart, x.maxBytes, x.named = c.LogStart, c.MaxBytes, true
	s.look(x)
}

// forget removes a partition. The session's lock is held.
func (s *replicaSession) forget(key partID) {
	x := s.parts[key]
	if x == nil {
		return
	}
	delete(s.parts, key)
	x.unbind()
	if x.isReady {
		s.ready = slices.DeleteFunc(s.ready, func(o *replicaPart) bool { return o == x })
	}
}

// end takes the session apart: no partition knows it any more.
func (s *replicaSession) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for _, x := range s.parts {
		x.unbind()
	}
	clear(s.parts)
	s.ready, s.spare = nil, nil
}

// bind has the partition tell of what happens in it.
func (x *replicaPart) bind(p *Partition) {
	if x.p == p {
		return
	}
	x.unbind()
	x.p = p
	p.mu.Lock()
	p.mu.followers = append(p.mu.followers, x)
	p.mu.Unlock()
}

func (x *replicaPart) unbind() {
	if x.p == nil {
		return
	}
	p := x.p
	x.p = nil
	p.mu.Lock()
	p.mu.followers = slices.DeleteFunc(p.mu.followers, func(o *replicaPart) bool { return o == x })
	p.mu.Unlock()
}

// get is a session by id, or nil.
func (ss *replicaSessions) get(id int32, now time.Time) *replicaSession {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s := ss.byID[id]
	if s != nil {
		s.used = now
	}
	return s
}

// has says whether a session of that id is a follower's.
func (ss *replicaSessions) has(id int32) bool {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.byID[id] != nil
}

// remove ends a session.
func (ss *replicaSessions) remove(id int32) {
	ss.mu.Lock()
	s := ss.byID[id]
	delete(ss.byID, id)
	ss.mu.Unlock()
	if s != nil {
		s.end()
	}
}

// begin gives a session an id. Those of the same follower whose connection is gone end, and the least recently used of
// too many.
func (ss *replicaSessions) begin(s *replicaSession, now time.Time) {
	var over []*replicaSession
	ss.mu.Lock()
	var mine []*replicaSession
	for _, o := range ss.byID {
		switch {
		case o.replica != s.replica:
		case o.conn.ctx.Err() != nil:
			over = append(over, o)
		default:
			mine = append(mine, o)
		}
	}
	slices.SortFunc(mine, func(a, b *replicaSession) int { return a.used.Compare(b.used) })
	if n := len(mine) - replicaSessionsMax + 1; n > 0 {
		over = append(over, mine[:n]...)
	}
	for _, o := range over {
		delete(ss.byID, o.id)
	}
	for s.id == 0 || ss.byID[s.id] != nil {
		s.id = rand.Int32N(1<<31-1) + 1
	}
	s.used = now
	ss.byID[s.id] = s
	ss.mu.Unlock()
	for _, o := range over {
		o.end()
	}
}

// sweep ends sessions whose follower has gone.
func (ss *replicaSessions) sweep(now time.Time) {
	var over []*replicaSession
	ss.mu.Lock()
	for id, s := range ss.byID {
		if s.conn.ctx.Err() != nil || now.Sub(s.used) > sessionIdle {
			over = append(over, s)
			delete(ss.byID, id)
		}
	}
	ss.mu.Unlock()
	for _, s := range over {
		s.end()
	}
}

// counts are for the metrics.
func (ss *replicaSessions) counts() (sessions, parts int) {
	ss.mu.Lock()
	all := make([]*replicaSession, 0, len(ss.byID))
	for _, s := range ss.byID {
		all = append(all, s)
	}
	ss.mu.Unlock()
	for _, s := range all {
		s.mu.Lock()
		parts += len(s.parts)
		s.mu.Unlock()
	}
	return len(all), parts
}
