package broker

import (
	"bytes"
	"cmp"
	"container/list"
	"encoding/binary"
	"io"
	"slices"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage"
)

// Fetch, versions 4 to 18.
//
// A Fetch is parked from the start, and the rest runs when it is the next to be answered: a request that was sent behind
// another one sees the session as the other has left it, and reads no sooner than it can be answered. Most often that is
// at once, on the connection's reading goroutine.

const (
	fetchSessions   = 7  // the first version with sessions
	fetchTopicIDs   = 13 // the first version with topic ids
	readUncommitted = 0
)

// fetch is one Fetch request on its way. It is used again, by the next request that comes: what may still look at it later
// is only the timer and an append that has just been watching, and these do no more than wake a request without cause.
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

// readState is what was found of a partition when it was last read.
type readState struct {
	p     *Partition
	limit protocol.Offset // where a read had to stop
	bytes int64
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
	s.epoch = nextSessionEpoch(s.epoch)
	ss.touch(s, now, len(s.parts))
	f.session, f.full = s, false
	for e := s.order.Front(); e != nil; e = e.Next() {
		f.parts = append(f.parts, e.Value.(*sessionPart))
	}
	return protocol.None
}

// part is the entry that a cursor stands on.
func (f *fetch) part(c *protocol.FetchCursor) sessionPart {
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
		p.topic = string(c.Topic)
	}
	p.key.topic = p.topic
	return p
}

// takeGiven reads what the request names, without a session.
func (f *fetch) takeGiven() {
	for c := f.req.Cursor(); c.Next(); {
		f.given = append(f.given, f.part(&c))
	}
	for i := range f.given {
		f.parts = append(f.parts, &f.given[i])
	}
}

// newSession prepares a session of what the request names. It gets its id with the answer, if there is room for it.
func (f *fetch) newSession() {
	s := &session{byTopic: f.req.Version < fetchTopicIDs, follower: f.req.ReplicaID >= 0,
		parts: make(map[partKey]*list.Element, f.req.Partitions), order: list.New()}
	for c := f.req.Cursor(); c.Next(); {
		s.put(f.part(&c))
	}
	for e := s.order.Front(); e != nil; e = e.Next() {
		f.parts = append(f.parts, e.Value.(*sessionPart))
	}
	f.session = s
}

// update brings a session up to date with an incremental request.
func (f *fetch) update(s *session) {
	for c := f.req.Cursor(); c.Next(); {
		s.put(f.part(&c))
	}
	for c := f.req.ForgottenCursor(); c.Next(); {
		s.forget(partKey{topic: string(c.Topic), id: c.TopicID, partition: c.Partition})
	}
}

// readAll reads the partitions in their order until maxBytes is used up (rules 60, 61). enough says that the answer must
// not wait whatever was read: a partition could not be read, or there is none to wait for (rule 62).
func (f *fetch) readAll() (got int64, enough bool) {
	f.results, f.state = f.results[:0], f.state[:0]
	limit, valid := f.maxBytes, false
	for _, part := range f.parts {
		f.results = append(f.results, protocol.FetchResult{
			Topic: part.topic, TopicID: part.key.id, Partition: part.key.partition,
			HighWatermark: -1, LastStable: -1, LogStart: -1, PreferredReadReplica: -1,
		})
		f.state = append(f.state, readState{})
		res, st := &f.results[len(f.results)-1], &f.state[len(f.state)-1]
		p, code := f.find(part)
		if code != protocol.None {
			res.Code = code // no reason to hurry, as in Kafka
			res.Aborted = noneAborted
			continue
		}
		valid = true
		st.p = p
		if err := f.read(p, part, res, st, limit, got == 0); err != nil {
			f.failed(p, res, err)
			enough = true
			continue
		}
		if res.Diverging != nil {
			enough = true
		}
		got += st.bytes
		limit = max(0, limit-int(st.bytes))
	}
	return got, enough || !valid
}

// find is the partition of an entry, or the code for there being none.
func (f *fetch) find(part *sessionPart) (*Partition, protocol.Code) {
	byID := f.req.Version >= fetchTopicIDs
	var t *hosted
	if byID {
		t = f.b.partitions.topicByID(part.key.id)
		if t != nil {
			part.topic = t.name
		}
	} else {
		t = f.b.partitions.topic(part.topic)
	}
	switch {
	case t == nil && byID && part.topic == "":
		return nil, protocol.UnknownTopicID
	case t == nil && byID:
		return nil, f.goneTopic(part)
	case t == nil || !t.has(part.key.partition):
		return nil, protocol.UnknownTopicOrPartition
	case t.at(part.key.partition) == nil:
		return nil, protocol.KafkaStorageError
	}
	return t.at(part.key.partition), protocol.None
}

// goneTopic is the code for a topic that was known under its id once: it is deleted, or another one has its name now. Only
// a session remembers; to a request without one the id is as unknown as any (rule 66).
func (f *fetch) goneTopic(part *sessionPart) protocol.Code {
	switch {
	case f.full:
		return protocol.UnknownTopicID
	case f.b.partitions.topic(part.topic) != nil:
		return protocol.InconsistentTopicID
	}
	return protocol.UnknownTopicOrPartition
}

// read reads one partition into its result.
func (f *fetch) read(p *Partition, part *sessionPart, res *protocol.FetchResult, st *readState, limit int, minOne bool) error {
	if err := p.fence(part.leaderEpoch); err != nil {
		return err
	}
	if f.req.ReplicaID >= 0 {
		return protocol.NotLeaderOrFollower // no replica but this broker's own is assigned (rule 73)
	}
	hw := p.highWatermark()
	bounds := p.log.Bounds()
	stable := min(bounds.LastStable, hw)
	st.limit = hw
	if f.req.IsolationLevel != readUncommitted {
		st.limit = stable
	}
	if part.lastEpoch >= 0 {
		if d, err := diverges(p, part); err != nil || d != nil {
			res.Diverging, res.HighWatermark, res.LastStable, res.LogStart = d, hw, stable, bounds.Start
			return err
		}
	}
	if part.offset < bounds.Start || part.offset > bounds.End {
		return protocol.OffsetOutOfRange
	}
	res.HighWatermark, res.LastStable, res.LogStart = hw, stable, bounds.Start
	if f.req.IsolationLevel != readUncommitted {
		res.Aborted = noneAborted
	}
	if part.offset >= st.limit {
		return nil
	}
	slice, err := p.log.Read(part.offset, st.limit, max(0, min(int(part.maxBytes), limit)), minOne)
	if err != nil {
		return err
	}
	whole, err := minOne, error(nil)
	if !minOne {
		whole, err = firstIsWhole(slice)
	}
	if err != nil || !whole {
		slice.Release()
		return err
	}
	st.bytes = slice.Len()
	res.Records = slice
	if f.req.IsolationLevel != readUncommitted {
		res.Aborted, err = abortedIn(p, part.offset, st.limit, slice)
	}
	return err
}

// firstIsWhole says whether a slice holds all of its first batch. One that does not is not sent: clients of these versions
// get the first batch of the answer whole, so that they need no fragment to see that they must ask for more.
func firstIsWhole(s storage.Slice) (bool, error) {
	var head [12]byte
	if s.Len() < int64(len(head)) {
		return false, nil
	}
	if _, err := s.ReadAt(head[:], 0); err != nil && err != io.EOF {
		return false, err
	}
	return int64(binary.BigEndian.Uint32(head[8:]))+int64(len(head)) <= s.Len(), nil
}

// noneAborted is sent to a read_committed consumer as an empty list; read_uncommitted gets null.
var noneAborted = []protocol.AbortedTransaction{}

// abortedIn is the aborted transactions that a slice, read from an offset on, touches.
func abortedIn(p *Partition, from, limit protocol.Offset, s storage.Slice) ([]protocol.AbortedTransaction, error) {
	all, err := p.log.Aborted(from, limit)
	if err != nil || len(all) == 0 {
		return noneAborted, err
	}
	end, err := endOf(s)
	if err != nil {
		return noneAborted, err
	}
	out := make([]protocol.AbortedTransaction, 0, len(all))
	for _, t := range all {
		if t.First < end {
			out = append(out, protocol.AbortedTransaction{ProducerID: t.ProducerID, FirstOffset: t.First})
		}
	}
	slices.SortStableFunc(out, func(a, b protocol.AbortedTransaction) int { // clients rely on the order (C59)
		return cmp.Compare(a.FirstOffset, b.FirstOffset)
	})
	return out, nil
}

// endOf is the offset behind the last batch of a slice; one that is cut off at the end counts.
func endOf(s storage.Slice) (protocol.Offset, error) {
	var head [batch.HeaderBytes]byte
	end := s.FirstOffset()
	for at := int64(0); at+batch.HeaderBytes <= s.Len(); {
		if _, err := s.ReadAt(head[:], at); err != nil && err != io.EOF {
			return end, err
		}
		b := batch.Batch(head[:])
		end = b.LastOffset() + 1
		at += int64(binary.BigEndian.Uint32(head[8:])) + 12 // the length does not count itself and the offset
	}
	return end, nil
}

// diverges compares a reader's last epoch with the log: where they part is what it is told (KIP-595, rule 65).
func diverges(p *Partition, part *sessionPart) (*protocol.DivergingEpoch, error) {
	epoch, end := p.log.EpochEnd(part.lastEpoch)
	switch {
	case epoch < 0 || end < 0:
		return nil, protocol.OffsetOutOfRange
	case epoch < part.lastEpoch || end < part.offset:
		return &protocol.DivergingEpoch{Epoch: epoch, EndOffset: end}, nil
	}
	return nil, nil
}

// failed settles a partition that could not be read. Clients know few codes here, and the Java one dies of the others
// (C55), so that whatever has no code of its own is KAFKA_STORAGE_ERROR.
func (f *fetch) failed(p *Partition, res *protocol.FetchResult, err error) {
	code := protocol.CodeOf(err)
	switch code {
	case protocol.OffsetOutOfRange, protocol.NotLeaderOrFollower, protocol.FencedLeaderEpoch,
		protocol.UnknownLeaderEpoch, protocol.CorruptMessage, protocol.OffsetNotAvailable:
	default:
		f.b.firsts.warn(f.b.log, "read "+p.id.String(), "cannot read", "topic", p.id.Topic, "partition", p.id.Partition,
			"err", err)
		code = protocol.KafkaStorageError
	}
	if res.Records != nil {
		res.Records.Release()
	}
	*res = protocol.FetchResult{
		Topic: res.Topic, TopicID: res.TopicID, Partition: res.Partition, Code: code,
		HighWatermark: -1, LastStable: -1, LogStart: -1, PreferredReadReplica: -1,
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
		if code := resp.Results[i].Code; code != protocol.None {
			f.r.stats.note(f.r, code, resp.Results[i].Topic)
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
	f.b.fetches.Put(f)
}
