package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"moldau.io/moldau/coordinator/group"
	"moldau.io/moldau/protocol"
)

const (
	queuedCalls   = 1024            // a full queue makes connections wait
	batchCallsMax = 256             // commits that share one batch
	batchBytesMax = 512 << 10       // of what shares a batch and need not; the topic takes 1 MiB
	commitTimeout = 5 * time.Second // offsets.commit.timeout.ms
	countInterval = time.Second     // how old metrics may be
	reloadDelay   = 100 * time.Millisecond
	reloadDelayUp = 10 * time.Second

	complaintInterval = 10 * time.Second

	keptRecords = 4096 // room for so many is kept for the next batch
)

// call is one request and where its answer goes.
type call struct {
	req   group.Request
	reply func(group.Response)
}

// shard drives the machine of one partition.
type shard struct {
	partition int32
	log       Log
	cfg       group.Config
	topics    group.Topics
	logger    *slog.Logger
	journal   *journal       // of all shards
	commits   *atomic.Uint64 // of all shards: see Counts

	calls  chan call
	done   chan struct{} // closed when run has returned
	cancel context.CancelFunc
	count  atomic.Pointer[group.Counts] // for metrics; nil while the machine is loaded

	// The rest is run's: no lock guards it because only that goroutine touches it.

	core      *group.Machine
	ticket    group.Ticket
	tickets   map[group.Ticket]call // parked in the machine, or waiting for a commit
	next      protocol.Offset       // all below was applied
	waiting   []waiting             // in the order of their offsets
	open      group.Effects         // commits that are not yet appended; see gather
	opened    int                   // calls in it
	openBytes int                   // about what it takes in a batch
	writer    writer
	counted   time.Time // when count was made
	stale     bool      // something happened since

	complained time.Time // see complain
	untold     int
}

// waiting is what will be answered once all below end is committed.
type waiting struct {
	end     protocol.Offset
	until   time.Time
	replies []group.Reply
}

func (s *shard) submit(c call) {
	select {
	case s.calls <- c:
		s.taken()
	case <-s.done:
		c.reply(c.req.Refuse(protocol.NotCoordinator))
	}
}

// taken follows every call that was queued: run may have ended meanwhile; then nobody would take the call, unless its last
// look does.
func (s *shard) taken() {
	select {
	case <-s.done:
		s.refuseQueued()
	default:
	}
}

// offer is submit for a call that can do without an answer of the machine: it is refused where the queue is full.
func (s *shard) offer(c call) {
	select {
	case s.calls <- c:
		s.taken()
	case <-s.done:
		c.reply(c.req.Refuse(protocol.NotCoordinator))
	default:
		c.reply(c.req.Refuse(protocol.CoordinatorLoadInProgress))
	}
}

func (s *shard) stop() {
	s.cancel()
	<-s.done
}

// run loads the machine and drives it until ctx ends. When the log refuses in a way that leaves open what it holds, the
// machine is thrown away and loaded again: it is never repaired.
func (s *shard) run(ctx context.Context) {
	defer s.refuseQueued()
	defer close(s.done)
	defer s.journal.forget(s.partition)
	delay := reloadDelay
	for ctx.Err() == nil {
		began := time.Now()
		err := s.load(ctx)
		if err == nil {
			err = s.drive(ctx)
		}
		s.failAll(protocol.NotCoordinator)
		if ctx.Err() != nil {
			return
		}
		s.logger.Error("group coordinator starts again from its log", "err", err)
		if time.Since(began) > reloadDelayUp {
			delay = reloadDelay
		}
		s.refuseFor(ctx, delay)
		delay = min(2*delay, reloadDelayUp)
	}
}

// drive is the life of a loaded machine.
func (s *shard) drive(ctx context.Context) error {
	alarm := time.NewTimer(time.Hour)
	defer alarm.Stop()
	for {
		s.recount()
		alarm.Reset(time.Until(s.deadline()))
		var err error
		select {
		case c := <-s.calls:
			s.stale = true
			err = s.handleAll(c)
		case <-alarm.C:
			s.stale = true
			err = s.tick(time.Now())
		case <-s.log.Notify():
		case <-ctx.Done():
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		s.release()
	}
}

func (s *shard) deadline() time.Time {
	at := s.core.Deadline()
	if fresh := s.counted.Add(countInterval); s.stale && fresh.Before(at) {
		at = fresh
	}
	if len(s.waiting) > 0 && s.waiting[0].until.Before(at) {
		at = s.waiting[0].until
	}
	return at
}

func (s *shard) tick(now time.Time) error {
	for len(s.waiting) > 0 && !now.Before(s.waiting[0].until) {
		for _, r := range s.waiting[0].replies {
			s.refuse(r.To, protocol.CoordinatorNotAvailable)
		}
		s.waiting = s.waiting[1:]
	}
	return s.commit(now, s.core.Tick(now))
}

// handleAll takes c and all calls that are already queued behind it. Commits that follow each other share one batch, so
// that many committers cost one append.
func (s *shard) handleAll(c call) error {
	now := time.Now()
	for {
		if err := s.handle(now, c); err != nil {
			return err
		}
		select {
		case c = <-s.calls:
		default:
			return s.flush(now)
		}
	}
}

func (s *shard) handle(now time.Time, c call) error {
	commit, isCommit := c.req.(*group.CommitOffsets)
	_, isHeartbeat := c.req.(*group.Heartbeat)
	size := 0
	if isCommit {
		size = roughSize(commit)
	}
	if s.opened >= batchCallsMax || !isCommit && !isHeartbeat || s.openBytes+size > batchBytesMax {
		// What comes now may depend on the commits before it; or it is so large that its batch might be refused, which must
		// not take others along.
		if err := s.flush(now); err != nil {
			return err
		}
	}
	s.ticket++
	s.tickets[s.ticket] = c
	eff := s.core.Handle(now, s.ticket, c.req)
	if !isCommit || len(eff.Records) == 0 {
		return s.commit(now, eff)
	}
	s.gather(eff, size)
	return nil
}

// gather keeps the effects of a commit for the next append. A commit depends on no other commit, so it may be decided
// before those in front of it are applied.
func (s *shard) gather(eff group.Effects, size int) {
	s.open.Records = append(s.open.Records, eff.Records...)
	s.open.Replies = append(s.open.Replies, eff.Replies...)
	s.open.Events = append(s.open.Events, eff.Events...)
	s.opened++
	s.openBytes += size
}

func (s *shard) flush(now time.Time) error {
	if s.opened == 0 {
		return nil
	}
	eff := s.open
	s.open, s.opened, s.openBytes = group.Effects{}, 0, 0
	err := s.commit(now, eff)
	if cap(eff.Records) <= keptRecords { // else a large commit would be held until the next one
		clear(eff.Records)
		clear(eff.Replies)
		clear(eff.Events)
		s.open = group.Effects{Records: eff.Records[:0], Replies: eff.Replies[:0], Events: eff.Events[:0]}
	}
	return err
}

// commit does what the machine asks: append, apply, and answer once that is committed. An error means that the log may
// hold anything.
func (s *shard) commit(now time.Time, eff group.Effects) error {
	for {
		s.tell(now, eff.Events, false)
		if len(eff.Records) == 0 {
			s.tell(now, eff.Events, true)
			s.answer(now, eff.Replies, false)
			clear(eff.Replies)
			return nil
		}
		rest, err := s.append(now, &eff)
		if err == nil {
			s.tell(now, eff.Events, true)
			s.answer(now, eff.Replies, true)
			clear(eff.Records) // they are the machine's, which may not be called again soon
			clear(eff.Replies)
			return nil
		}
		code := protocol.CodeOf(err)
		if !definite(code) {
			return fmt.Errorf("append to %s-%d: %w", GroupsTopic, s.partition, err)
		}
		s.complain(now, err)
		// What was appended and applied before the refusal stays; the answers do not claim it.
		eff.Records, eff.Cuts = rest, nil
		eff = s.core.Rejected(now, eff, code)
	}
}

// complain says that the log took no records, and no more than now and then: clients cause it by what they send.
func (s *shard) complain(now time.Time, err error) {
	if now.Sub(s.complained) < complaintInterval {
		s.untold++
		return
	}
	s.logger.Warn("records of groups were refused", "err", err, "untold", s.untold)
	s.complained, s.untold = now, 0
}

// tell puts events into the journal: those that are so whatever becomes of the records beside them, or the others.
func (s *shard) tell(now time.Time, events []group.Event, stored bool) {
	for i := range events {
		if events[i].Stored == stored {
			s.journal.note(now, s.partition, &events[i])
		}
	}
}

// definite says that an append that failed with c wrote nothing.
func definite(c protocol.Code) bool {
	switch c {
	case protocol.MessageTooLarge, protocol.RecordListTooLarge, protocol.InvalidRecord, protocol.CorruptMessage,
		protocol.NotEnoughReplicas, protocol.NotLeaderOrFollower, protocol.UnknownTopicOrPartition,
		protocol.FencedLeaderEpoch:
		return true
	}
	return false
}

// append writes and applies records, in one batch where they may not be parted. On an error it says which were not written.
func (s *shard) append(now time.Time, eff *group.Effects) (rest []group.Record, err error) {
	for start := 0; start < len(eff.Records); {
		end := s.writer.fitting(eff, start, batchBytesMax)
		last, err := s.log.Append(s.writer.batch(now.UnixMilli(), eff.Records[start:end]))
		if err != nil {
			return eff.Records[start:], err
		}
		commits := uint64(0)
		for _, r := range eff.Records[start:end] {
			s.core.Apply(r)
			if r.Kind == group.KindCommit && r.Value != nil {
				commits++
			}
		}
		s.commits.Add(commits)
		s.next = last + 1
		start = end
	}
	return nil, nil
}

// answer sends replies now, or once what they tell of is committed.
func (s *shard) answer(now time.Time, replies []group.Reply, hard bool) {
	committed := s.log.Committed() >= s.next
	var later []group.Reply
	for _, r := range replies {
		if committed || !hard && !r.Stable {
			s.send(r.To, r.Resp)
		} else {
			later = append(later, r)
		}
	}
	if len(later) > 0 {
		s.waiting = append(s.waiting, waiting{end: s.next, until: now.Add(commitTimeout), replies: later})
	}
}

// release answers what has been committed meanwhile.
func (s *shard) release() {
	if len(s.waiting) == 0 {
		return
	}
	committed := s.log.Committed()
	for len(s.waiting) > 0 && s.waiting[0].end <= committed {
		for _, r := range s.waiting[0].replies {
			s.send(r.To, r.Resp)
		}
		s.waiting = s.waiting[1:]
	}
}

func (s *shard) send(t group.Ticket, resp group.Response) {
	c, ok := s.tickets[t]
	if !ok {
		return
	}
	delete(s.tickets, t)
	c.reply(resp)
}

func (s *shard) refuse(t group.Ticket, code protocol.Code) {
	if c, ok := s.tickets[t]; ok {
		s.send(t, c.req.Refuse(code))
	}
}

// failAll refuses everything that the machine or a commit keeps waiting.
func (s *shard) failAll(code protocol.Code) {
	for _, c := range s.tickets {
		c.reply(c.req.Refuse(code))
	}
	clear(s.tickets)
	s.waiting, s.open, s.opened, s.openBytes = nil, group.Effects{}, 0, 0
	s.count.Store(nil)
}

// refuseFor refuses what is asked meanwhile.
func (s *shard) refuseFor(ctx context.Context, d time.Duration) {
	over := time.NewTimer(d)
	defer over.Stop()
	for {
		select {
		case c := <-s.calls:
			c.reply(c.req.Refuse(protocol.NotCoordinator))
		case <-over.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// refuseQueued answers calls that came too late.
func (s *shard) refuseQueued() {
	for {
		select {
		case c := <-s.calls:
			c.reply(c.req.Refuse(protocol.NotCoordinator))
		default:
			return
		}
	}
}

// recount refreshes the numbers for metrics, at most once in an interval.
func (s *shard) recount() {
	if !s.stale {
		return
	}
	if now := time.Now(); now.Sub(s.counted) >= countInterval {
		s.counted, s.stale = now, false
		n := s.core.Count()
		s.count.Store(&n)
	}
}

var errTruncated = errors.New("the log ends before its end offset")
