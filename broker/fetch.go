package broker

import (
	"bytes"
	"container/list"
	"time"

	"moldau.io/moldau/protocol"
)

// Fetch, versions 4 to 18.
//
// A Fetch is parked from the start, and the rest runs when it is the next to be answered: a request that was sent
// behind another one sees the session as the other has left it, and reads no sooner than it can be answered. Most
// often that is at once, on the connection's reading goroutine.

const (
	fetchSessions   = 7  // the first version with sessions
	fetchFollowers  = 11 // the first version in which consumers read from followers (KIP-392)
	fetchTopicIDs   = 13 // the first version with topic ids
	readUncommitted = 0
)

// partitionsMax is how many partitions one Produce or Fetch may name. Each takes a few hundred bytes while the request is
// worked on, many times what it takes in the request, and no client comes near it.
const partitionsMax = 100_000

// keptMax is how many partitions a Produce or Fetch may have had for its memory to be kept for the next one.
const keptMax = 4096

// fetch is one Fetch request on its way. It is used again, by the next request that comes: what may still look at it
// later is only the timer and an append that has just been watching, and these do no more than wake a request without
// cause.
type fetch struct {
	b   *Broker
	r   *request
	req protocol.FetchRequest

	started  bool
	session  *session // nil without one
	full     bool     // every partition is answered; with a session, it is a new one
	deadline time.Time
	maxBytes int
	minBytes int64

	given   []sessionPart // of a request without a session
	parts   []*sessionPart
	results []protocol.FetchResult // one for each of parts
	sent    []protocol.FetchResult // those of an incremental answer
	state   []readState            // one for each of parts

	timer *time.Timer
	wait  wait
}

// handleFetch parks the request; resume does the work.
func handleFetch(b *Broker, r *request) {
	body := r.body
	if !r.next() {
		body = bytes.Clone(body) // the connection's buffer is used for other frames before this one's turn comes
	}
	req, err := protocol.ParseFetch(r.version(), body)
	if err != nil {
		r.Hangup(err.Error())
		return
	}
	if req.Partitions+req.Forgotten > partitionsMax {
		r.Hangup("a Fetch that names too many partitions")
		return
	}
	if b.fromReplica(&req) {
		handleReplicaFetch(b, r, req)
		return
	}
	f, ok := b.fetches.Get().(*fetch)
	if !ok {
		f = &fetch{b: b}
		f.timer = time.AfterFunc(time.Hour, f.wait.wake)
		f.timer.Stop()
	}
	f.r, f.req, f.started = r, req, false
	f.wait.r.Store(r)
	r.Park(f)
}

// resume implements parked: it reads, and answers if there is enough or the time is over.
func (f *fetch) resume(now time.Time, last bool) *protocol.Response {
	if !f.started {
		f.started = true
		if code := f.start(now); code != protocol.None {
			return f.refuse(code)
		}
	}
	f.wait.got.Store(0) // what comes from here on may be missed by the read
	got, enough := f.readAll()
	if enough || got >= f.minBytes || last || !now.Before(f.deadline) {
		return f.answer(now)
	}
	f.releaseRecords()
	if cap(f.results) > keptMax {
		f.results = nil // made anew when it is woken
	}
	f.wait.need.Store(f.minBytes - got)
	if len(f.wait.watched) == 0 {
		f.watchAll()
		f.timer.Reset(time.Until(f.deadline))
	} else if f.wait.got.Load() >= f.wait.need.Load() {
		f.r.wake()
	}
	return nil
}

// start finds what is to be read: what the request names, or the session it belongs to (FetchManager.newContext).
func (f *fetch) start(now time.Time) protocol.Code {
	req := &f.req
	f.maxBytes = int(min(req.MaxBytes, f.b.fetchMaxBytes))
	f.minBytes = int64(min(int(req.MinBytes), f.maxBytes))
	f.deadline = f.r.received.Add(time.Duration(max(0, req.MaxWaitMillis)) * time.Millisecond)
	f.full = true
	ss := f.b.sessions
	if f.req.Version < fetchSessions || req.SessionEpoch == sessionEpochFinal || req.SessionEpoch == sessionEpochFull {
		if req.SessionID != 0 {
			ss.end(req.SessionID) // a full fetch ends the session that it names
		}
		if f.req.Version >= fetchSessions && req.SessionEpoch == sessionEpochFull {
			f.newSession()
			return protocol.None
		}
		f.takeGiven()
		return protocol.None
	}
	s := ss.get(req.SessionID)
	if s == nil {
		return protocol.FetchSessionIDNotFound
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.epoch != req.SessionEpoch:
		return protocol.InvalidFetchSessionEpoch
	case s.byTopic != (req.Version < fetchTopicIDs):
		return protocol.FetchSessionTopicIDError
	}
	f.update(s)
	if s.order.Len() == 0 { // the last partition was forgotten: the session is over (rule 70)
		ss.end(s.id)
		f.takeGiven()
		return protocol.None
	}
	if !ss.touch(s, now, len(s.parts)) {
		return protocol.FetchSessionIDNotFound // the client begins another one
	}
	s.epoch = nextSessionEpoch(s.epoch)
	f.session, f.full = s, false
	for e := s.order.Front(); e != nil; e = e.Next() {
		f.parts = append(f.parts, e.Value.(*sessionPart))
	}
	return protocol.None
}

// part is the entry that a cursor stands on.
func (f *fetch) part(c *protocol.FetchCursor, unknown *topicName) sessionPart {
	p := sessionPart{
		key:    partKey{id: c.TopicID, partition: c.Partition},
		offset: c.FetchOffset, maxBytes: c.MaxBytes, leaderEpoch: c.CurrentLeaderEpoch, lastEpoch: c.LastFetchedEpoch,
		sentHW: -1, sentStart: -1,
	}
	if f.req.Version >= fetchTopicIDs {
		if t := f.b.partitions.topicByID(c.TopicID); t != nil {
			p.topic = t.name
		}
		return p
	}
	if t, _ := f.b.partitions.find(c.Topic, protocol.TopicID{}, 0); t != nil {
		p.topic = t.name
	} else {
		p.topic = unknown.of(c.Topic)
	}
	p.key.topic = p.topic
	return p
}

// takeGiven reads what the request names, without a session.
func (f *fetch) takeGiven() {
	var unknown topicName
	for c := f.req.Cursor(); c.Next(); {
		f.given = append(f.given, f.part(&c, &unknown))
	}
	for i := range f.given {
		f.parts = append(f.parts, &f.given[i])
	}
}

// newSession prepares a session of what the request names. It gets its id with the answer, if there is room for it.
func (f *fetch) newSession() {
	var unknown topicName
	s := &session{byTopic: f.req.Version < fetchTopicIDs, follower: f.req.ReplicaID >= 0,
		parts: make(map[partKey]*list.Element, f.req.Partitions), order: list.New()}
	for c := f.req.Cursor(); c.Next(); {
		s.put(f.part(&c, &unknown))
	}
	for e := s.order.Front(); e != nil; e = e.Next() {
		f.parts = append(f.parts, e.Value.(*sessionPart))
	}
	f.session = s
}

// update brings a session up to date with an incremental request.
func (f *fetch) update(s *session) {
	var unknown topicName
	for c := f.req.Cursor(); c.Next(); {
		s.put(f.part(&c, &unknown))
	}
	for c := f.req.ForgottenCursor(); c.Next(); {
		s.forget(partKey{topic: unknown.of(c.Topic), id: c.TopicID, partition: c.Partition})
	}
}

// watchAll has the request woken by the partitions that it waits for. What moved since they were read wakes it at once.
func (f *fetch) watchAll() {
	for i := range f.state {
		if p := f.state[i].p; p != nil {
			f.wait.watched = append(f.wait.watched, watch{w: &f.wait, p: p, at: -1})
		}
	}
	for i := range f.wait.watched {
		x := &f.wait.watched[i]
		x.p.watch(x)
	}
	for i := range f.state {
		if st := &f.state[i]; st.p != nil && st.p.limit(f.req.IsolationLevel) != st.limit {
			f.r.wake()
			return
		}
	}
}

// limit is where a consumer must stop reading.
func (p *Partition) limit(isolation int8) protocol.Offset {
	if isolation == readUncommitted {
		return p.highWatermark()
	}
	return p.lastStable()
}

// answer encodes what was read and keeps in the session what the client is told.
func (f *fetch) answer(now time.Time) *protocol.Response {
	resp := protocol.FetchResponse{Results: f.results}
	if s := f.session; s != nil {
		s.mu.Lock()
		f.sent = f.sent[:0]
		for i := range f.results {
			res := &f.results[i]
			if s.answer(f.parts[i], res, res.Records != nil, !f.full) || f.full {
				f.sent = append(f.sent, *res)
			}
		}
		if !f.full || f.b.sessions.begin(s, now) {
			resp.SessionID = s.id
		}
		s.mu.Unlock()
		resp.Results = f.sent
	}
	m := f.b.metrics
	for i := range resp.Results {
		res := &resp.Results[i]
		if res.Code != protocol.None {
			f.r.stats.note(f.r, res.Code, res.Topic)
		}
		moved := res.Code == protocol.NotLeaderOrFollower || res.Code == protocol.FencedLeaderEpoch
		if moved && f.req.Version >= fetchHints {
			res.Leader, resp.Nodes = f.b.leaderHint(f.r, res.Topic, res.Partition, resp.Nodes)
		}
	}
	for i := range f.state {
		m.recordBytesOut.Add(uint64(f.state[i].bytes))
	}
	out := protocol.EncodeFetchResponse(f.r.header, &resp)
	for i := range f.results {
		f.results[i].Records = nil // the response releases them
	}
	f.release()
	return out
}

// refuse answers with an error of the whole request.
func (f *fetch) refuse(code protocol.Code) *protocol.Response {
	f.r.stats.note(f.r, code, "")
	out := protocol.EncodeFetchResponse(f.r.header, &protocol.FetchResponse{Code: code})
	f.release()
	return out
}

// drop implements parked.
func (f *fetch) drop() {
	f.releaseRecords()
	f.release()
}

func (f *fetch) releaseRecords() {
	for i := range f.results {
		if s := f.results[i].Records; s != nil {
			s.Release()
			f.results[i].Records = nil
		}
	}
}

// release gives f back for another request.
func (f *fetch) release() {
	f.timer.Stop()
	f.wait.unwatch()
	clear(f.given)
	clear(f.parts)
	clear(f.results)
	clear(f.sent)
	clear(f.state)
	f.given, f.parts, f.results, f.sent, f.state = f.given[:0], f.parts[:0], f.results[:0], f.sent[:0], f.state[:0]
	f.r, f.session, f.req = nil, nil, protocol.FetchRequest{}
	if cap(f.results) <= keptMax {
		f.b.fetches.Put(f)
	}
}
