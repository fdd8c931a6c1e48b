package broker

import (
	"container/list"
	"math/rand/v2"
	"sync"
	"time"

	"moldau.io/moldau/protocol"
)

const (
	// sessionIdle is how long a fetch session must be unused before any other may take its place, and how old one must be
	// before a larger one may (FetchSessionCache's evictionMs).
	sessionIdle = 2 * time.Minute

	// sessionPartsMax is how many partitions all sessions may hold together. Kafka bounds the number of sessions only, so
	// that a few clients could fill its memory with large ones.
	sessionPartsMax = 500_000

	sessionEpochFull  = 0  // a full fetch that asks for a session
	sessionEpochFinal = -1 // a full fetch without one
)

// sessions is the cache of incremental fetch sessions (KIP-227): what a client has asked for, so that it need not ask
// again, and what it was told last, so that it need not be told again.
type sessions struct {
	slots int // max.incremental.fetch.session.cache.slots

	mu      sync.Mutex
	byID    map[int32]*session
	parts   int // over all sessions
	evicted uint64
}

// session is one client's. Its requests come one at a time, on one connection mostly; the lock is for clients that do
// not keep to that.
type session struct {
	id       int32
	byTopic  bool // by name, as below version 13
	follower bool
	created  time.Time

	mu    sync.Mutex
	epoch int32 // the next one expected
	parts map[partKey]*list.Element
	order *list.List // of *sessionPart: those that gave data last stand at the end

	// Guarded by sessions.mu.

	used time.Time
	size int
}

// partKey names a partition within a session: by id from version 13 on, by name below.
type partKey struct {
	topic     string
	id        protocol.TopicID
	partition int32
}

// sessionPart is one partition of a session: what was asked for, and what was answered last.
type sessionPart struct {
	key   partKey
	topic string // the name, also where the key is an id; empty while the id is unknown

	offset      protocol.Offset
	maxBytes    int32
	leaderEpoch protocol.Epoch
	lastEpoch   protocol.Epoch

	sentHW    protocol.Offset // -1 before the first answer and after an error
	sentStart protocol.Offset
}

func newSessions(slots int) *sessions { return &sessions{slots: slots, byID: map[int32]*session{}} }

// get is a session by id, or nil.
func (ss *sessions) get(id int32) *session {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.byID[id]
}

// end removes a session.
func (ss *sessions) end(id int32) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.remove(ss.byID[id])
}

func (ss *sessions) remove(s *session) {
	if s == nil || ss.byID[s.id] != s {
		return
	}
	delete(ss.byID, s.id)
	ss.parts -= s.size
}

// touch notes that a session was used and how large it is. It is false where the session has ended, or has grown to more
// than there is room for and ends now.
func (ss *sessions) touch(s *session, now time.Time, size int) bool {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.byID[s.id] != s {
		return false
	}
	if size > s.size && ss.parts+size-s.size > sessionPartsMax {
		ss.remove(s)
		ss.evicted++
		return false
	}
	s.used = now
	ss.parts += size - s.size
	s.size = size
	return true
}

// begin gives a session an id and a slot. It is false where there is no slot for it: the client then goes on without.
func (ss *sessions) begin(s *session, now time.Time) bool {
	size := len(s.parts)
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.parts+size > sessionPartsMax || len(ss.byID) >= ss.slots && !ss.evict(s, now) {
		return false
	}
	for {
		s.id = rand.Int32N(1<<31 - 1)
		if _, taken := ss.byID[s.id]; s.id != 0 && !taken {
			break
		}
	}
	s.created, s.used, s.size, s.epoch = now, now, size, 1
	ss.byID[s.id] = s
	ss.parts += size
	return true
}

// evict makes room for s as Kafka does: a session that is idle for sessionIdle goes; else the least of those that may
// be pushed out, if it is less than s: followers count more than consumers, and then larger sessions more than
// smaller ones. A consumer may push out only what is older than sessionIdle; a follower, consumers of any age too.
func (ss *sessions) evict(s *session, now time.Time) bool {
	if ss.slots <= 0 {
		return false
	}
	var oldest, least *session
	for _, o := range ss.byID {
		if oldest == nil || o.used.Before(oldest.used) {
			oldest = o
		}
		old := now.Sub(o.created) > sessionIdle
		if (old || s.follower && !o.follower) && (least == nil || o.less(least)) {
			least = o
		}
	}
	victim := least
	switch {
	case oldest != nil && now.Sub(oldest.used) > sessionIdle:
		victim = oldest
	case least == nil:
		return false
	case !least.less(&session{follower: s.follower, size: len(s.parts)}):
		return false
	}
	ss.remove(victim)
	ss.evicted++
	return true
}

// less orders sessions by how much they are worth keeping.
func (s *session) less(o *session) bool {
	if s.follower != o.follower {
		return !s.follower
	}
	if s.size != o.size {
		return s.size < o.size
	}
	return s.id < o.id
}

// counts are for the metrics.
func (ss *sessions) counts() (sessions, parts int, evicted uint64) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return len(ss.byID), ss.parts, ss.evicted
}

// nextSessionEpoch is what follows an epoch: after the largest comes 1, as 0 asks for a new session.
func nextSessionEpoch(e int32) int32 {
	if e == 1<<31-1 {
		return 1
	}
	return max(e, 0) + 1
}

// put adds a partition at the end, or changes what is asked for it where it stands.
func (s *session) put(part sessionPart) *sessionPart {
	if e, ok := s.parts[part.key]; ok {
		have := e.Value.(*sessionPart)
		have.offset, have.maxBytes = part.offset, part.maxBytes
		have.leaderEpoch, have.lastEpoch = part.leaderEpoch, part.lastEpoch
		return have
	}
	p := &part
	p.sentHW, p.sentStart = -1, -1
	s.parts[p.key] = s.order.PushBack(p)
	return p
}

func (s *session) forget(k partKey) {
	if e, ok := s.parts[k]; ok {
		s.order.Remove(e)
		delete(s.parts, k)
	}
}

// answer decides whether a result of an incremental fetch has to be sent, and keeps what was sent (rule 69). A
// partition that gave records moves to the end, so that all get their turn (rule 61).
func (s *session) answer(part *sessionPart, res *protocol.FetchResult, hasRecords, rotate bool) bool {
	send := hasRecords
	if hasRecords && rotate {
		if e, ok := s.parts[part.key]; ok {
			s.order.MoveToBack(e)
		}
	}
	if res.HighWatermark != part.sentHW {
		part.sentHW = res.HighWatermark
		send = true
	}
	if res.LogStart != part.sentStart {
		part.sentStart = res.LogStart
		send = true
	}
	if res.PreferredReadReplica >= 0 || res.Diverging != nil {
		send = true
	}
	if res.Code != protocol.None {
		part.sentHW = -1 // so that the partition is in the first answer after the trouble
		send = true
	}
	return send
}
