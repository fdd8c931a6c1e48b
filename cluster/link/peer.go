package link

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	dialTimeout  = 2 * time.Second
	checkTimeout = time.Second // for a peer whose connection broke
	backoffMin   = 20 * time.Millisecond
	backoffMax   = time.Second
)

// remote is another broker as seen from here: the connection that this process dials, and what waits for it.
type remote struct {
	link *Link
	addr string

	mu      sync.Mutex
	conn    *conn         // nil: there is none
	dialing chan struct{} // closed when the dial under way has ended; nil: none
	failed  error         // of the last dial
	retryAt time.Time     // not before this is the next one
	backoff time.Duration
	waiting []frame       // messages for when the connection is there
	bytes   int           // of waiting
	checked bool          // check is under way
	pausing chan struct{} // closed to end the pause before a dial; nil: there is none
}

// connected returns the connection, and makes one if there is none.
func (r *remote) connected(ctx context.Context) (*conn, error) {
	r.mu.Lock()
	if r.conn != nil {
		defer r.mu.Unlock()
		return r.conn, nil
	}
	dialing := r.dial(dialTimeout)
	failed := r.failed
	r.mu.Unlock()
	select {
	case <-dialing:
	case <-ctx.Done():
		if failed == nil {
			failed = context.Cause(ctx)
		}
		return nil, dialErrorf(errors.Join(context.Cause(ctx), failed), "%s has not answered in time: %v", r.addr, failed)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conn == nil {
		if r.failed == nil {
			return nil, dialErrorf(ErrLost, "%s closed the connection at once", r.addr)
		}
		return nil, r.failed
	}
	return r.conn, nil
}

// dial sees that a dial is under way. r.mu is held.
func (r *remote) dial(timeout time.Duration) chan struct{} {
	if r.dialing != nil {
		return r.dialing
	}
	done := make(chan struct{})
	if !r.link.begin() {
		r.failed = dialErrorf(ErrClosed, "this broker is closing")
		close(done)
		return done
	}
	r.dialing = done
	wait := time.Until(r.retryAt)
	wake := make(chan struct{})
	r.pausing = wake
	go func() {
		defer r.link.wg.Done()
		if wait > 0 && !r.link.pause(wait, wake) {
			r.settle(nil, dialErrorf(ErrClosed, "this broker is closing"))
			return
		}
		c, err := r.link.connect(r.link.ctx, r.addr, purposeCalls, timeout)
		r.settle(c, err)
	}()
	return done
}

// awake is told that the peer is there: it has dialed this process. Nothing waits any longer for the next try.
func (r *remote) awake() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.retryAt, r.backoff = time.Time{}, 0
	if r.pausing != nil {
		close(r.pausing)
		r.pausing = nil
	}
}

// settle ends a dial.
func (r *remote) settle(c *dialed, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.dialing)
	r.dialing, r.pausing = nil, nil
	waiting := r.waiting
	r.waiting, r.bytes = nil, 0
	r.failed = err
	if err == nil && !r.link.begin() {
		_ = c.net.Close()
		r.failed = dialErrorf(ErrClosed, "this broker is closing")
		return
	}
	if err != nil {
		r.link.count.dropped.Add(int64(len(waiting)))
		r.backoff = min(max(2*r.backoff, backoffMin), backoffMax)
		r.retryAt = time.Now().Add(r.backoff/2 + rand.N(r.backoff/2))
		return
	}
	r.backoff = 0
	conn := r.link.newConn(c.net, c.peer)
	r.conn = conn
	for _, f := range waiting {
		conn.out.put(f)
	}
	go func() {
		defer r.link.wg.Done()
		untrack := r.link.track(conn.net)
		_ = conn.run() // its callers are told
		untrack()
		r.broke(conn)
	}()
}

// broke is told that a connection has ended.
func (r *remote) broke(c *conn) {
	r.mu.Lock()
	if r.conn == c {
		r.conn = nil
	}
	r.mu.Unlock()
	r.check()
}

// check finds out whether a peer, of which a connection broke, is still there, and tells those who asked (OnDown). A process
// that is being killed loses its sockets one after the other, so that a dial may still be taken by what is left of it:
// then it is tried again a few times.
func (r *remote) check() {
	r.mu.Lock()
	if r.checked {
		r.mu.Unlock()
		return
	}
	r.checked = true
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.checked = false
		r.mu.Unlock()
	}()
	pause := 2 * time.Millisecond
	for range 9 { // about a second
		r.mu.Lock()
		if r.conn != nil {
			r.mu.Unlock()
			return
		}
		r.retryAt = time.Time{}
		dialing := r.dial(checkTimeout)
		r.mu.Unlock()
		<-dialing
		r.mu.Lock()
		up, err := r.conn != nil, r.failed
		r.mu.Unlock()
		switch {
		case up || errors.Is(err, ErrClosed):
			return
		case errors.Is(err, ErrRefused):
			r.link.down(r.addr, true)
			return
		case err != nil && !hangUp(err):
			r.link.down(r.addr, false)
			return
		}
		if !r.link.pause(pause, nil) {
			return
		}
		pause *= 2
	}
	r.link.down(r.addr, false)
}

// send queues a message, for the connection that is there or for the one to come.
func (r *remote) send(f frame) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conn != nil {
		return r.conn.out.put(f)
	}
	if r.bytes+f.bytes() > outboxBytesMax && r.bytes > 0 || time.Now().Before(r.retryAt) {
		r.dial(dialTimeout)
		return false
	}
	r.waiting, r.bytes = append(r.waiting, f), r.bytes+f.bytes()
	r.dial(dialTimeout)
	return true
}
