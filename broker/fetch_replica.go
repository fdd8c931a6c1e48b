package broker

import (
	"slices"
	"sync/atomic"
	"time"

	"moldau.io/moldau/cluster/replica"
	"moldau.io/moldau/protocol"
)

// The leader's side of replication: a Fetch of a broker that follows partitions led here.
//
// Where the follower is in a partition is what it acknowledges: the leader's core is told, and may move the high watermark.
// A fetch looks only at the partitions that it names and at those in which something has happened since the last one.

// replicaFetch is one such Fetch on its way.
type replicaFetch struct {
	b   *Broker
	r   *request
	req protocol.FetchRequest

	started  bool
	full     bool // every partition is answered: it begins the session, or has none
	s        *replicaSession
	deadline time.Time
	hurried  atomic.Bool // another request waits behind this one

	results []protocol.FetchResult
	parts   []*replicaPart // one for each result
	quiet   []*replicaPart // looked at, and nothing to wake the follower for
	got     int64

	timer *time.Timer
	wakes atomic.Pointer[request]
}

// replicaFetchVersion is the first version in which a follower says which of its registrations it is of (KIP-903).
const replicaFetchVersion = 15

// fromReplica says whether a Fetch is one of a broker of this cluster. Only such a one is believed: whoever plays a replica
// could say that records are where they are not (CVE-2018-1288).
func (b *Broker) fromReplica(req *protocol.FetchRequest) bool {
	if req.ReplicaID < 0 || req.Version < replicaFetchVersion {
		return false
	}
	br := b.image().Broker(req.ReplicaID)
	return br != nil && br.ID != b.nodeID() && br.Epoch == req.ReplicaEpoch
}

// handleReplicaFetch parks the request; resume does the work.
func handleReplicaFetch(b *Broker, r *request, req protocol.FetchRequest) {
	f, ok := b.replicaFetches.Get().(*replicaFetch)
	if !ok {
		f = &replicaFetch{b: b}
		f.timer = time.AfterFunc(time.Hour, func() {
			if r := f.wakes.Load(); r != nil {
				r.wake()
			}
		})
		f.timer.Stop()
	}
	f.r, f.req, f.started, f.full, f.s, f.got = r, req, false, false, nil, 0
	f.hurried.Store(false)
	f.wakes.Store(r)
	r.Park(f)
	r.conn.hurryReplica(r)
}

// hurryReplica has a fetch that waits at the head of the queue answered, since r has come behind it: the follower has
// something to say, and would have to wait until records come.
func (c *conn) hurryReplica(r *request) {
	c.mu.Lock()
	head := c.mu.queue.first()
	f, ok := head.parked.(*replicaFetch)
	c.mu.Unlock()
	if ok && head != r {
		f.hurried.Store(true)
		head.wake()
	}
}

// resume implements parked.
func (f *replicaFetch) resume(now time.Time, last bool) *protocol.Response {
	if !f.started {
		f.started = true
		if code := f.start(now); code != protocol.None {
			return f.refuse(code)
		}
	}
	f.s.waiting.Store(nil)
	enough := f.collect(now)
	if enough || last || f.full || f.hurried.Load() || !now.Before(f.deadline) {
		return f.answer()
	}
	f.putBack()
	f.timer.Reset(time.Until(f.deadline))
	f.s.waiting.Store(f.r)
	if f.s.news.Load() != nil || f.s.isEnded() || f.hurried.Load() {
		f.r.wake() // it came before anybody could see that this waits
	}
	return nil
}

func (s *replicaSession) isEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// start finds the session and takes in where the follower says that it is.
func (f *replicaFetch) start(now time.Time) protocol.Code {
	req := &f.req
	f.deadline = f.r.received.Add(time.Duration(max(0, req.MaxWaitMillis)) * time.Millisecond)
	ss := f.b.replicaSessions
	if req.SessionEpoch == sessionEpochFinal || req.SessionEpoch == sessionEpochFull {
		if req.SessionID != 0 {
			ss.remove(req.SessionID)
		}
		f.full = true
		f.s = &replicaSession{replica: req.ReplicaID, under: req.ReplicaEpoch, conn: f.r.conn, epoch: 1, parts: map[partID]*replicaPart{}}
		if req.SessionEpoch == sessionEpochFull {
			ss.begin(f.s, now)
		}
		f.s.mu.Lock()
		defer f.s.mu.Unlock()
		f.update()
		return protocol.None
	}
	s := ss.get(req.SessionID, now)
	if s == nil || s.replica != req.ReplicaID || s.under != req.ReplicaEpoch {
		return protocol.FetchSessionIDNotFound
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
		return protocol.FetchSessionIDNotFound
	case s.epoch != req.SessionEpoch:
		return protocol.InvalidFetchSessionEpoch
	}
	s.epoch = nextSessionEpoch(s.epoch)
	f.s = s
	f.update()
	return protocol.None
}

// update brings the session up to date with the request. Its lock is held.
func (f *replicaFetch) update() {
	for c := f.req.ForgottenCursor(); c.Next(); {
		f.s.forget(partID{c.TopicID, c.Partition})
	}
	for c := f.req.Cursor(); c.Next(); {
		f.s.put(&c)
	}
}

// collect looks at the partitions that have something for the follower until the answer is full. It says whether the
// answer is worth to be sent.
func (f *replicaFetch) collect(now time.Time) (enough bool) {
	s := f.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return true
	}
	s.take()
	due := s.ready
	s.ready, s.spare = s.spare[:0], nil
	for _, x := range due {
		x.isReady = false
		limit := int64(f.req.MaxBytes) - f.got
		if f.got > 0 && limit <= 0 && !f.full {
			s.look(x) // for the next fetch
			continue
		}
		res, bytes := f.look(now, x, int(max(0, limit)))
		f.got += bytes
		switch {
		case bytes > 0, res.Code != protocol.None, res.Diverging != nil, x.sentStart >= 0 && res.LogStart > x.sentStart:
			enough = enough || bytes == 0
			fallthrough
		case f.full:
			f.results, f.parts = append(f.results, res), append(f.parts, x)
		default:
			f.quiet = append(f.quiet, x)
		}
	}
	clear(due)
	s.spare = due[:0]
	return enough || f.got > 0 && f.got >= min(int64(f.req.MinBytes), int64(f.req.MaxBytes))
}

// putBack gives up what was collected: the request goes on waiting.
func (f *replicaFetch) putBack() {
	if len(f.results) == 0 {
		return
	}
	f.releaseRecords()
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	for _, x := range f.parts {
		f.s.look(x)
	}
	f.results, f.parts, f.got = f.results[:0], f.parts[:0], 0
}

// look is what one partition has for the follower.
func (f *replicaFetch) look(now time.Time, x *replicaPart, limit int) (protocol.FetchResult, int64) {
	res := protocol.FetchResult{
		TopicID: x.key.topic, Partition: x.key.partition,
		HighWatermark: -1, LastStable: -1, LogStart: -1, PreferredReadReplica: -1,
	}
	p, code := f.find(x)
	if code != protocol.None {
		res.Code = code
		return res, 0
	}
	x.bind(p)
	end, err := p.followed(now, f.req.ReplicaID, f.req.ReplicaEpoch, x, &res)
	if err != nil {
		f.failed(p, &res, err)
		return res, 0
	}
	if res.Diverging != nil || x.offset >= end {
		return res, 0
	}
	throttled := p.throttledHere(true)
	if throttled && !x.inSync && f.b.leaderRate.wait(now) > 0 {
		f.s.look(x) // when the follower comes again
		return res, 0
	}
	minOne := f.got == 0
	limit = max(0, min(int(x.maxBytes), limit))
	slice, err := p.log.Read(x.offset, end, limit, minOne)
	if err != nil {
		f.failed(p, &res, err)
		return res, 0
	}
	whole := slice.Len() > 0
	if whole && !minOne && slice.Len() >= int64(limit) { // else it ends where the log or a segment does
		whole, err = firstIsWhole(slice)
	}
	if err != nil || !whole {
		slice.Release()
		f.s.look(x) // for the next fetch
		return res, 0
	}
	res.Records = slice
	if throttled {
		f.b.leaderRate.count(now, int(slice.Len()))
	}
	f.b.metrics.replicationOut.Add(uint64(slice.Len()))
	return res, slice.Len()
}

// find is the partition of an entry, or the code for there being none.
func (f *replicaFetch) find(x *replicaPart) (*Partition, protocol.Code) {
	t := f.b.partitions.topicByID(x.key.topic)
	switch {
	case t == nil:
		x.unbind()
		return nil, protocol.UnknownTopicID
	case !t.has(x.key.partition):
		return nil, protocol.UnknownTopicOrPartition
	case t.at(x.key.partition) == nil:
		x.unbind()
		return nil, t.absent(x.key.partition)
	}
	return t.at(x.key.partition), protocol.None
}

// followed takes in where a follower is, and says how far it may read: to the end of the log. What is so of the partition
// is put into res. The session's lock is held.
func (p *Partition) followed(now time.Time, id protocol.BrokerID, brokerEpoch int64, x *replicaPart,
	res *protocol.FetchResult) (protocol.Offset, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	leader := p.mu.leader
	if leader == nil {
		return 0, p.notLeading()
	}
	if err := p.fence(x.leaderEpoch); err != nil {
		return 0, err
	}
	bounds := p.log.Bounds()
	res.HighWatermark, res.LogStart = leader.HighWatermark(), bounds.Start
	res.LastStable = min(p.log.LastStable(), res.HighWatermark)
	if x.lastEpoch >= 0 {
		part := sessionPart{offset: x.offset, lastEpoch: x.lastEpoch}
		if d, err := diverges(p, &part); err != nil || d != nil {
			res.Diverging = d
			return 0, err
		}
	}
	if x.offset < bounds.Start || x.offset > bounds.End {
		return 0, protocol.OffsetOutOfRange
	}
	x.inSync = leader.InSync(id)
	if x.named {
		e, err := leader.Fetched(now, replica.FollowerFetch{
			Replica: id, BrokerEpoch: brokerEpoch, Offset: x.offset, LogStart: x.logStart,
		})
		if err != nil {
			return 0, err
		}
		x.named = false
		p.effects(e)
		if x.logStart != x.heardStart {
			x.heardStart = x.logStart
			p.mu.waits.moved(0) // who deletes records waits for the starts of all replicas
		}
		res.HighWatermark = e.HighWatermark
	}
	return bounds.End, nil
}

// failed settles a partition that could not be read. A follower that is out of range is told where the log is all the
// same: it need not ask.
func (f *replicaFetch) failed(p *Partition, res *protocol.FetchResult, err error) {
	res.Code = protocol.CodeOf(err)
	switch res.Code {
	case protocol.OffsetOutOfRange:
		return
	case protocol.NotLeaderOrFollower, protocol.FencedLeaderEpoch, protocol.UnknownLeaderEpoch:
	default:
		f.b.firsts.warn(f.b.log, "replicate "+p.id.String(), "cannot read for a follower", "topic", p.id.Topic,
			"partition", p.id.Partition, "follower", f.req.ReplicaID, "err", err)
		res.Code = protocol.KafkaStorageError
	}
	res.HighWatermark, res.LastStable, res.LogStart = -1, -1, -1
}

// answer encodes what was collected and keeps in the session what the follower is told.
func (f *replicaFetch) answer() *protocol.Response {
	s := f.s
	s.mu.Lock()
	for _, x := range f.quiet {
		if s.parts[x.key] == x {
			f.addQuiet(x)
		}
	}
	for i := range f.results {
		x, res := f.parts[i], &f.results[i]
		x.sentHW, x.sentStart = res.HighWatermark, res.LogStart
		if res.Code != protocol.None {
			x.sentHW = -1
		}
		if !s.ended && (res.Records != nil || res.Code != protocol.None || res.Diverging != nil) {
			s.look(x) // until the follower says that it has it, it is sent again (rule 71)
		}
	}
	s.mu.Unlock()
	resp := protocol.FetchResponse{Results: f.results, SessionID: s.id}
	for i := range f.results {
		res := &f.results[i]
		if res.Code != protocol.None {
			f.r.stats.count(res.Code) // metadata that comes to one broker sooner than to another; what lasts the follower says
		}
	}
	out := protocol.EncodeFetchResponse(f.r.header, &resp)
	for i := range f.results {
		f.results[i].Records = nil // the response releases them
	}
	if s.id == 0 {
		s.end()
	}
	f.release()
	return out
}

// addQuiet answers for a partition of which only the high watermark or the start may be new.
func (f *replicaFetch) addQuiet(x *replicaPart) {
	if x.p == nil || slices.Contains(f.parts, x) {
		return
	}
	bounds, hw := x.p.log.Bounds(), x.p.highWatermark()
	if hw == x.sentHW && bounds.Start == x.sentStart || !x.p.leads() {
		return
	}
	f.parts = append(f.parts, x)
	f.results = append(f.results, protocol.FetchResult{
		TopicID: x.key.topic, Partition: x.key.partition,
		HighWatermark: hw, LastStable: min(x.p.log.LastStable(), hw), LogStart: bounds.Start, PreferredReadReplica: -1,
	})
}

// refuse answers with an error of the whole request.
func (f *replicaFetch) refuse(code protocol.Code) *protocol.Response {
	f.r.stats.count(code)
	out := protocol.EncodeFetchResponse(f.r.header, &protocol.FetchResponse{Code: code})
	f.release()
	return out
}

// drop implements parked.
func (f *replicaFetch) drop() {
	if f.s != nil {
		f.s.waiting.Store(nil)
		f.putBack()
		if f.s.id == 0 {
			f.s.end()
		}
	}
	f.release()
}

func (f *replicaFetch) releaseRecords() {
	for i := range f.results {
		if s := f.results[i].Records; s != nil {
			s.Release()
			f.results[i].Records = nil
		}
	}
}

// release gives f back for another request.
func (f *replicaFetch) release() {
	f.timer.Stop()
	f.wakes.Store(nil)
	clear(f.results)
	clear(f.parts)
	clear(f.quiet)
	f.results, f.parts, f.quiet = f.results[:0], f.parts[:0], f.quiet[:0]
	f.r, f.s, f.req = nil, nil, protocol.FetchRequest{}
	if cap(f.results) <= keptMax && cap(f.quiet) <= keptMax {
		f.b.replicaFetches.Put(f)
	}
}
