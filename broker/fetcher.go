package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"moldau.io/moldau/cluster/replica"
	"moldau.io/moldau/protocol"
)

// fetcher copies partitions from one leader over one connection. One request is under way at a time; where the metadata
// changes meanwhile, a second one tells the leader, which then answers the first at once.
//
// The session of the connection knows where each partition is fetched from, so a request names only those that have moved.
type fetcher struct {
	b   *Broker
	key fetcherKey
	cfg fetcherConfig

	wake chan struct{} // one token: there is mail, or the leader may be reached again

	mail struct {
		sync.Mutex
		changes []change
		conn    *fetchConn // that is read from
	}

	// run's own.

	conn     *fetchConn
	backoff  time.Duration // after the next failure
	parts    map[partID]*following
	moved    []*following // to be named in the next request
	idle     []*following // in a back-off
	lost     []*following // out of the leader's range
	asked    uint64       // requests sent
	answered uint64
	session  struct {
		id    int32
		epoch int32
	}
	ask       protocol.ReplicaFetch
	forgotten []protocol.ForgottenPartition
	appended  []*Partition // since the last request
	asks      int32        // questions other than fetches
}

// fetcherConfig is what an operator sets.
type fetcherConfig struct {
	wait           time.Duration
	backoff        time.Duration
	timeout        time.Duration
	minBytes       int32
	maxBytes       int32
	partitionBytes int32
}

// following is one partition of a fetcher.
type following struct {
	p     *Partition
	key   partID
	epoch protocol.Epoch

	told     replica.FetchPlan // what the leader's session knows
	toldIn   uint64            // the request that said so; 0: it is not in the session
	hasMoved bool              // it is in moved: told is out of date
	until    time.Time         // the end of the back-off; zero for none
	failed   bool              // this was said
}

func newFetcher(b *Broker, key fetcherKey) *fetcher {
	f := &fetcher{b: b, key: key, wake: make(chan struct{}, 1), parts: map[partID]*following{}}
	f.cfg = fetcherConfig{
		wait:           b.static.Millis("replica.fetch.wait.max.ms"),
		backoff:        b.static.Millis("replica.fetch.backoff.ms"),
		timeout:        b.static.Millis("replica.socket.timeout.ms"),
		minBytes:       int32(b.static.Int("replica.fetch.min.bytes")),
		maxBytes:       int32(b.static.Int("replica.fetch.response.max.bytes")),
		partitionBytes: int32(b.static.Int("replica.fetch.max.bytes")),
	}
	return f
}

// post hands over changes.
func (f *fetcher) post(changes []change) {
	f.mail.Lock()
	f.mail.changes = append(f.mail.changes, changes...)
	f.mail.Unlock()
	f.interrupt()
}

// interrupt has the fetcher look at its mail, also where it waits for an answer.
func (f *fetcher) interrupt() {
	f.retry()
	f.mail.Lock()
	defer f.mail.Unlock()
	if f.mail.conn != nil {
		f.mail.conn.interrupt()
	}
}

// retry ends the wait after a failure.
func (f *fetcher) retry() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// run fetches until ctx ends.
func (f *fetcher) run(ctx context.Context) {
	defer f.disconnect()
	for ctx.Err() == nil {
		f.takeMail()
		if len(f.parts) == 0 {
			f.disconnect() // which ends the session
			f.sleep(ctx, 0)
			continue
		}
		if err := f.exchange(ctx); err != nil && ctx.Err() == nil {
			f.disconnect()
			f.b.firsts.warn(f.b.log, fmt.Sprint("fetch from ", f.key.leader), "cannot fetch from a leader",
				"leader", f.key.leader, "partitions", len(f.parts), "err", err)
			f.backoff = min(max(2*f.backoff, 20*time.Millisecond), f.cfg.backoff)
			f.sleep(ctx, f.backoff)
		}
	}
}

// sleep waits for mail, or for as long as d where d is not 0.
func (f *fetcher) sleep(ctx context.Context, d time.Duration) {
	var over <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		over = t.C
	}
	select {
	case <-f.wake:
	case <-over:
	case <-ctx.Done():
	}
}

// takeMail takes in what is to be followed from now on.
func (f *fetcher) takeMail() {
	f.mail.Lock()
	changes := f.mail.changes
	f.mail.changes = nil
	f.mail.Unlock()
	for _, c := range changes {
		key := partID{c.p.topicID, c.p.id.Partition}
		if x := f.parts[key]; x != nil {
			f.forget(x)
			f.b.fetchers.cured(x.p)
		}
		if c.follow {
			x := &following{p: c.p, key: key, epoch: c.epoch}
			f.parts[key] = x
			f.name(x)
			if c.p.log.AcksDurable() && c.p.log.Durable() < c.p.log.Bounds().End {
				f.appended = append(f.appended, c.p) // in another life
			}
		}
	}
}

// name has the next request name a partition.
func (f *fetcher) name(x *following) {
	if !x.hasMoved {
		x.hasMoved = true
		f.moved = append(f.moved, x)
	}
}

// forget takes a partition out.
func (f *fetcher) forget(x *following) {
	f.rest(x)
	delete(f.parts, x.key)
	f.idle = without(f.idle, x)
	f.lost = without(f.lost, x)
}

// rest takes a partition out of the session.
func (f *fetcher) rest(x *following) {
	if x.toldIn > 0 {
		f.forgotten = append(f.forgotten, protocol.ForgottenPartition{TopicID: x.key.topic, Partition: x.key.partition})
		x.toldIn = 0
	}
	if x.hasMoved {
		x.hasMoved = false
		f.moved = without(f.moved, x)
	}
}

func without(list []*following, x *following) []*following {
	return slices.DeleteFunc(list, func(o *following) bool { return o == x })
}

// exchange connects where there is no connection, asks, and takes in one answer. An error costs the connection.
func (f *fetcher) exchange(ctx context.Context) error {
	if f.conn == nil {
		if err := f.connect(ctx); err != nil {
			return err
		}
	}
	if f.asked == f.answered {
		if len(f.lost) > 0 {
			if err := f.askBounds(); err != nil {
				return err
			}
		}
		if err := f.request(time.Now()); err != nil {
			return err
		}
	}
	frame, err := f.receive()
	for errors.Is(err, errInterrupted) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f.takeMail()
		// Not before the session is there: a second one would not have the partitions of the first that have nothing new.
		if f.session.epoch > 0 && f.asked-f.answered < 2 && len(f.moved)+len(f.forgotten) > 0 {
			if err := f.request(time.Now()); err != nil {
				return err
			}
		}
		frame, err = f.receive()
	}
	if err != nil {
		return err
	}
	return f.take(frame)
}

// receive waits for the next answer, or for mail.
func (f *fetcher) receive() ([]byte, error) {
	f.mail.Lock()
	if len(f.mail.changes) > 0 && f.asked-f.answered < 2 {
		f.mail.Unlock()
		return nil, errInterrupted
	}
	f.conn.limit(f.cfg.wait + f.cfg.timeout)
	f.mail.Unlock()
	return f.conn.read()
}

func (f *fetcher) connect(ctx context.Context) error {
	nc, err := f.b.dialLeader(ctx, f.key.leader)
	if err != nil {
		return err
	}
	f.conn = newFetchConn(nc)
	f.mail.Lock()
	f.mail.conn = f.conn
	f.mail.Unlock()
	return nil
}

// disconnect ends the connection, and with it the session.
func (f *fetcher) disconnect() {
	f.newSession()
	f.answered = f.asked
	if f.conn == nil {
		return
	}
	f.mail.Lock()
	f.mail.conn = nil
	f.mail.Unlock()
	f.conn.close()
	f.conn = nil
}

// newSession has the next request name everything.
func (f *fetcher) newSession() {
	f.session.id, f.session.epoch = 0, 0
	f.forgotten = f.forgotten[:0]
	for _, x := range f.parts {
		x.toldIn = 0
		if x.until.IsZero() && !slices.Contains(f.lost, x) {
			f.name(x)
		}
	}
}

// request sends the next request.
func (f *fetcher) request(now time.Time) error {
	if err := f.secure(); err != nil {
		return err
	}
	wait := f.cfg.wait
	for _, x := range f.idle {
		if left := x.until.Sub(now); left <= 0 {
			x.until = time.Time{}
			f.name(x)
		} else {
			wait = min(wait, left+time.Millisecond)
		}
	}
	f.idle = slices.DeleteFunc(f.idle, func(x *following) bool { return x.until.IsZero() })
	if f.session.epoch == 0 { // a topic has one entry only where its partitions stand together
		slices.SortFunc(f.moved, func(a, b *following) int {
			return cmp.Or(slices.Compare(a.key.topic[:], b.key.topic[:]), cmp.Compare(a.key.partition, b.key.partition))
		})
	}
	f.asked++
	q := &f.ask
	*q = protocol.ReplicaFetch{
		CorrelationID: int32(f.asked), ClientID: f.clientID(), Replica: f.b.nodeID(), ReplicaEpoch: f.b.brokerEpoch(),
		MaxWaitMillis: int32(wait.Milliseconds()), MinBytes: f.cfg.minBytes, MaxBytes: f.cfg.maxBytes,
		SessionID: f.session.id, SessionEpoch: f.session.epoch,
		Partitions: q.Partitions[:0], Forgotten: f.forgotten,
	}
	if f.session.epoch == 0 {
		q.Forgotten = nil
	}
	f.nameMoved(now)
	err := f.conn.send(q)
	f.forgotten = f.forgotten[:0]
	if f.session.id != 0 {
		f.session.epoch = nextSessionEpoch(f.session.epoch)
	}
	return err
}

// nameMoved puts what has moved into the request.
func (f *fetcher) nameMoved(now time.Time) {
	for _, x := range f.moved {
		x.hasMoved = false
		plan, ok := x.p.nextFetch(x.epoch)
		if !ok { // the metadata has moved on, and mail about it is under way
			f.rest(x)
			continue
		}
		if plan.AskBounds {
			f.rest(x)
			f.lost = append(f.lost, x)
			continue
		}
		if wait := x.p.heldUp(now); wait > 0 {
			f.rest(x)
			x.until = now.Add(min(wait, f.cfg.wait)) // the rate may change
			f.idle = append(f.idle, x)
			continue
		}
		x.told, x.toldIn = plan, f.asked
		f.ask.Partitions = append(f.ask.Partitions, protocol.FetchPartition{
			TopicID: x.key.topic, Partition: x.key.partition, CurrentLeaderEpoch: plan.LeaderEpoch, FetchOffset: plan.Offset,
			LastFetchedEpoch: plan.LastFetchedEpoch, LogStart: plan.LogStart, MaxBytes: f.cfg.partitionBytes,
			HighWatermark: protocol.HighWatermarkUnknown,
		})
	}
	f.moved = f.moved[:0]
}

func (f *fetcher) clientID() string {
	return fmt.Sprintf("broker-%d-fetcher-%d", f.b.nodeID(), f.key.thread)
}

// take takes in an answer.
func (f *fetcher) take(frame []byte) error {
	now := time.Now()
	a, err := protocol.ParseReplicaAnswer(frame)
	if err != nil {
		return err
	}
	f.answered++
	if a.CorrelationID != int32(f.answered) {
		return fmt.Errorf("the answer %d came for the request %d", a.CorrelationID, int32(f.answered))
	}
	switch a.Code {
	case protocol.None:
	case protocol.FetchSessionIDNotFound, protocol.InvalidFetchSessionEpoch, protocol.FetchSessionTopicIDError:
		if f.asked == f.answered { // else the one behind it fails too, and that is when to begin anew
			f.newSession()
		}
		return nil
	default:
		return fmt.Errorf("the leader refuses to be fetched from: %w", a.Code)
	}
	f.backoff = 0
	if f.session.epoch == 0 && f.asked == f.answered {
		f.session.id = a.SessionID
		if a.SessionID != 0 {
			f.session.epoch = 1
		}
	}
	for c := a.Cursor(); c.Next(); {
		x := f.parts[partID{c.TopicID, c.Partition}]
		if x == nil || x.hasMoved || x.toldIn == 0 || x.toldIn > f.answered {
			continue // it is about where the partition was before
		}
		f.takePart(now, x, &c.FetchedPartition)
	}
	if f.session.id == 0 {
		f.newSession()
	}
	return nil
}

// takePart takes in what an answer says of one partition.
func (f *fetcher) takePart(now time.Time, x *following, got *protocol.FetchedPartition) {
	wait, err := x.p.fetched(now, x.epoch, got)
	if err == nil && x.failed && got.Code == protocol.None {
		x.failed = false
		f.b.fetchers.cured(x.p)
	}
	if len(got.Records) > 0 {
		f.appended = append(f.appended, x.p)
		f.b.metrics.replicationIn.Add(uint64(len(got.Records)))
		if x.p.throttledHere(false) {
			f.b.followerRate.count(now, len(got.Records))
		}
	}
	f.goOn(now, x, wait, err)
}

// goOn has the partition fetched on from where it is now, after a while where there was trouble.
func (f *fetcher) goOn(now time.Time, x *following, wait time.Duration, err error) {
	switch {
	case errors.Is(err, errNotFollowing):
		f.rest(x) // mail about it is under way
		return
	case err != nil:
		x.failed = true
		f.b.fetchers.fails(x.p)
		f.b.firsts.warn(f.b.log, "follow "+x.p.id.String(), "cannot follow a leader", "topic", x.p.id.Topic,
			"partition", x.p.id.Partition, "leader", f.key.leader, "epoch", x.epoch, "err", err)
	}
	if wait > 0 {
		f.rest(x)
		x.until = now.Add(wait)
		f.idle = append(f.idle, x)
		return
	}
	if plan, ok := x.p.nextFetch(x.epoch); ok && (plan != x.told || x.toldIn == 0) {
		f.name(x)
	}
}

// secure waits until what was appended is on stable storage, where that is what an acknowledgement means: the next request
// says that it is here.
func (f *fetcher) secure() error {
	for _, p := range f.appended {
		if p.log.AcksDurable() {
			p.log.Secure()
		}
	}
	for _, p := range f.appended {
		if !p.log.AcksDurable() || p.log.Failure() != nil {
			continue
		}
		if err := p.log.Await(p.log.Bounds().End); err != nil && p.log.Failure() == nil {
			return err
		}
	}
	clear(f.appended)
	f.appended = f.appended[:0]
	return nil
}
