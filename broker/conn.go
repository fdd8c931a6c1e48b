package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"moldau.io/moldau/protocol"
)

const (
	// inflightPerConn is how many requests of one connection may await their answers. At the limit the connection is not
	// read from.
	inflightPerConn = 64
	// queuedBytesMax is how many bytes of answers, without the sections that lie in files, may wait to be sent on one
	// connection before it is no longer read from.
	queuedBytesMax = 4 << 20
)

// conn is one client's connection. Its reading goroutine reads a frame, queues a slot and runs the handler; the
// answers leave in the order of the slots. Whoever finds the head of the queue answered sends it: the reader right
// after the handler, which costs no switch of goroutines and is the common case, else the writing goroutine, which is
// kicked when an answer comes from elsewhere, so that a slow client never blocks the one who answers it.
type conn struct {
	b        *Broker
	srv      *server
	nc       net.Conn
	listener string
	ip       string // without port
	remote   string // with port

	ctx    context.Context
	cancel context.CancelFunc
	kick   chan struct{} // one token: look at the head of the queue
	room   chan struct{} // one token: the queue has become shorter
	gone   chan struct{} // closed when the connection is closed
	out    sender        // used by whoever holds mu.sending

	in       inbound         // the reader's
	header   protocol.Header // the reader's: of the last request
	software string          // the reader's: the client's library and its version, from its ApiVersions; "" not known

	// Read by the server's sweep, as nanoseconds of the monotonic clock since the server started.
	lastActive atomic.Int64
	frameSince atomic.Int64 // when the frame being read began, 0 between frames
	frameBytes atomic.Int64 // bytes of it so far
	sendSince  atomic.Int64 // when the write in progress began, 0 when none is
	sentBytes  atomic.Int64 // bytes sent by the write in progress

	mu struct {
		sync.Mutex
		queue       queue
		queuedBytes int64
		sending     bool // somebody is sending the head of the queue
		writer      bool // the writing goroutine was started
		closed      bool
		draining    bool // the client sends no more; parked requests are answered with what there is
	}
}

// queue is a ring of slots in the order of their requests.
type queue struct {
	ring [inflightPerConn]*request
	head int
	n    int
}

func (q *queue) first() *request { return q.ring[q.head] }

func (q *queue) push(r *request) {
	q.ring[(q.head+q.n)%inflightPerConn] = r
	q.n++
}

func (q *queue) pop() *request {
	r := q.ring[q.head]
	q.ring[q.head] = nil
	q.head = (q.head + 1) % inflightPerConn
	q.n--
	return r
}

// serve reads and dispatches until the connection ends. It returns when nothing of the connection is left.
func (c *conn) serve() {
	var writers sync.WaitGroup
	defer func() {
		c.close()
		writers.Wait()
		c.dropQueue()
		c.in.release()
	}()
	writers.Go(c.writeLoop)
	for c.waitForRoom() {
		frame, err := c.in.next()
		if err != nil {
			c.ended(err)
			return
		}
		if !c.accept(frame) {
			c.drain(drainTime)
			return
		}
	}
}

// accept queues a slot for the frame and runs its handler. False means that nothing more is to be read.
func (c *conn) accept(frame []byte) bool {
	r, err := c.b.parse(c, frame)
	if err != nil {
		c.refuse(err)
		return false
	}
	c.mu.Lock()
	r.handler = true
	c.mu.queue.push(r)
	c.mu.Unlock()
	ok := c.handle(r)
	c.mu.Lock()
	defer c.mu.Unlock()
	r.handler = false
	hangup := r.state == slotHangup
	// In the same hold of the lock: where r is the next to be answered, its first look is this goroutine's, before it reads
	// over the frame that r may still refer to.
	c.flushLocked()
	return ok && !hangup
}

// handle runs the handler. A panic in it is our fault and costs this connection only.
func (c *conn) handle(r *request) (ok bool) {
	defer func() {
		if p := recover(); p != nil {
			c.panicked(r, p)
			ok = false
		}
	}()
	c.b.dispatch(r)
	return true
}

func (c *conn) panicked(r *request, p any) {
	c.b.log.Error("a handler panicked; its connection is closed", "api", r.stats.name, "version", r.header.Version,
		"client", r.client(), "address", c.remote, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	c.b.metrics.panics.Inc()
	c.close()
}

// flush sends the answers at the head of the queue, as far as there are any.
func (c *conn) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushLocked()
}

// flushLocked is flush with the lock held. It gives the lock up in between.
func (c *conn) flushLocked() {
	if c.mu.sending {
		return // whoever is sending looks at the queue again under the lock
	}
	c.mu.sending = true
	for c.mu.queue.n > 0 && !c.mu.closed {
		if !c.sendFirst() {
			break
		}
	}
	c.mu.sending = false
}

// sendFirst deals with the head of the queue. It is called with the lock held and returns with it held, but gives it
// up in between. False means that the head has no answer yet.
func (c *conn) sendFirst() bool {
	r := c.mu.queue.first()
	if r.handler {
		return false // the reader comes by when the handler has returned
	}
	switch r.state {
	case slotPending:
		return false
	case slotParked:
		return c.resumeFirst(r)
	case slotHangup:
		c.mu.Unlock()
		c.close()
		c.mu.Lock()
		return false
	}
	resp := r.resp
	if resp != nil {
		c.mu.Unlock()
		err := c.send(r, resp)
		c.mu.Lock()
		c.mu.queuedBytes -= int64(len(resp.Head))
		resp.Release()
		if err != nil {
			c.mu.Unlock()
			c.sendFailed(err)
			c.mu.Lock()
			return false
		}
	}
	c.mu.queue.pop()
	r.done()
	select {
	case c.room <- struct{}{}:
	default:
	}
	return true
}

// resumeFirst asks a parked head for its answer.
func (c *conn) resumeFirst(r *request) bool {
	if !r.woken.Swap(false) && !c.mu.draining {
		return false
	}
	last := c.mu.draining
	p := r.parked
	c.mu.Unlock()
	resp, ok := c.resume(r, p, last)
	c.mu.Lock()
	if !ok {
		return false
	}
	if resp == nil {
		return r.woken.Load() && !c.mu.closed // woken meanwhile: once more
	}
	r.state, r.resp, r.parked = slotAnswered, resp, nil
	c.mu.queuedBytes += int64(len(resp.Head))
	return true
}

func (c *conn) resume(r *request, p parked, last bool) (resp *protocol.Response, ok bool) {
	defer func() {
		if v := recover(); v != nil {
			c.panicked(r, v)
			ok = false
		}
	}()
	return p.resume(time.Now(), last), true
}

// send writes one answer.
func (c *conn) send(r *request, resp *protocol.Response) error {
	c.sentBytes.Store(0)
	c.sendSince.Store(c.srv.clock())
	n, err := c.out.send(resp)
	c.sendSince.Store(0)
	c.b.metrics.bytesOut.Add(uint64(n))
	return err
}

// writeLoop sends answers that did not come from the reader's own handlers.
func (c *conn) writeLoop() {
	for {
		select {
		case <-c.kick:
			c.flush()
		case <-c.gone:
			return
		}
	}
}

func (c *conn) kickWriter() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// waitForRoom waits until another request may be queued. False means that the connection is closed.
func (c *conn) waitForRoom() bool {
	for {
		c.mu.Lock()
		closed := c.mu.closed
		full := c.mu.queue.n == inflightPerConn || c.mu.queue.n > 0 && c.mu.queuedBytes > queuedBytesMax
		c.mu.Unlock()
		if closed {
			return false
		}
		if !full {
			return true
		}
		select {
		case <-c.room:
		case <-c.gone:
			return false
		}
	}
}

// ended deals with the end of reading: the client is gone, sent something that is no frame, or is idle for too long.
func (c *conn) ended(err error) {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		// Requests that were read are answered if that can be done at once: a client may close its sending half first.
		c.drain(drainTime)
		return
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.drain(stopTime) // the broker stops: see finish
		return
	}
	var bad *frameError
	if errors.As(err, &bad) {
		c.refuse(err)
		c.drain(drainTime)
		return
	}
	c.b.log.Debug("a connection broke", "address", c.remote, "err", err)
}

// refuse queues a hang-up behind the answers that are still due, as Kafka closes a connection that sends what it cannot
// read: with nothing sent for the bad request, but with everything sent for the good ones before.
func (c *conn) refuse(err error) {
	c.b.metrics.refused.Inc()
	c.b.firsts.warn(c.b.log, "refused "+c.ip, "closing a connection that sent what cannot be read",
		"address", c.remote, "listener", c.listener, "err", err)
	r := &request{ctx: c.ctx, conn: c, state: slotHangup, stats: c.b.metrics.unknownAPI}
	c.mu.Lock()
	if c.mu.queue.n < inflightPerConn {
		c.mu.queue.push(r)
	}
	c.mu.Unlock()
	c.flush()
}

const (
	// drainTime is how long a connection that is read no more waits for the answers still due.
	drainTime = 2 * time.Second
	// stopTime is the same where the broker stops.
	stopTime = 500 * time.Millisecond
)

// finish has the connection end as soon as what was read is answered: a batch that was appended is acknowledged even if
// the broker is told to stop in that moment.
func (c *conn) finish() { _ = c.nc.SetReadDeadline(time.Unix(1, 0)) }

// drain waits until all that was read is answered, the connection is closed, or the time is over.
func (c *conn) drain(limit time.Duration) {
	c.mu.Lock()
	c.mu.draining = true
	c.mu.Unlock()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for {
		c.flush()
		c.mu.Lock()
		over := c.mu.queue.n == 0 || c.mu.closed
		c.mu.Unlock()
		if over {
			return
		}
		select {
		case <-c.room:
		case <-c.gone:
		case <-deadline.C:
			return
		}
	}
}

func (c *conn) hangups(r *request, reason string) {
	c.b.firsts.warn(c.b.log, "hangup "+r.stats.name+c.ip, "closing a connection in place of an answer",
		"api", r.stats.name, "version", r.header.Version, "client", r.client(), "address", c.remote, "reason", reason)
}

func (c *conn) sendFailed(err error) {
	c.b.log.Debug("an answer could not be sent", "address", c.remote, "err", err)
	c.close()
}

// close ends the connection. It may be called by anyone, more than once, and waits for nobody.
func (c *conn) close() {
	c.mu.Lock()
	already := c.mu.closed
	c.mu.closed = true
	c.mu.Unlock()
	if already {
		return
	}
	c.cancel()
	_ = c.nc.Close()
	close(c.gone)
}

// dropQueue lets go of what will not be sent. No goroutine of the connection runs any more.
func (c *conn) dropQueue() {
	for {
		c.mu.Lock()
		if c.mu.queue.n == 0 {
			c.mu.Unlock()
			return
		}
		r := c.mu.queue.pop()
		resp, p := r.resp, r.parked
		r.resp, r.parked = nil, nil
		if r.state == slotPending {
			r.state = slotSilent
		}
		c.mu.Unlock()
		if resp != nil {
			resp.Release()
		}
		if p != nil {
			p.drop()
		}
	}
}
