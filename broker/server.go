package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

const (
	// frameTime is how long a frame may take to arrive, and an answer to leave, unless it moves at movingRate.
	frameTime = 30 * time.Second
	// movingRate is the pace in bytes a second at which a frame or an answer may take as long as it likes.
	movingRate = 16 << 10
	// sweepInterval is how often connections are looked at for the limits on time.
	sweepInterval = time.Second
	// acceptPauseMax bounds the wait after an accept that failed, for want of file descriptors mostly.
	acceptPauseMax = time.Second
)

// server accepts connections and keeps the limits on their number and on their time.
type server struct {
	b     *Broker
	lim   limits // those on the number of connections change under mu (relimit)
	start time.Time

	conns sync.WaitGroup

	mu struct {
		sync.Mutex
		open    map[*conn]struct{}
		perIP   map[string]int
		tokens  float64 // of the connection rate
		refill  time.Time
		closing bool
	}
}

func newServer(b *Broker, lim limits) *server {
	s := &server{b: b, lim: lim, start: time.Now()}
	s.mu.open = map[*conn]struct{}{}
	s.mu.perIP = map[string]int{}
	s.mu.tokens, s.mu.refill = float64(lim.connectionRate), s.start
	return s
}

// clock is the time since the server started, in nanoseconds and never zero.
func (s *server) clock() int64 { return int64(time.Since(s.start)) + 1 }

// accept takes connections from ln until ctx ends or the listener is closed.
func (s *server) accept(ctx context.Context, ln net.Listener, name string) error {
	pause := 5 * time.Millisecond
	for {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			pause = 5 * time.Millisecond
			s.admit(ctx, nc, name)
			if err := s.paceAccept(ctx); err != nil {
				return nil
			}
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept on listener %s: %w", name, err)
		default:
			s.b.firsts.warn(s.b.log, "accept", "cannot accept connections", "listener", name, "err", err)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return nil
			}
			pause = min(2*pause, acceptPauseMax)
		}
	}
}

// paceAccept waits where connections come faster than max.connection.creation.rate; clients queue in the kernel
// meanwhile.
func (s *server) paceAccept(ctx context.Context) error {
	s.mu.Lock()
	now, rate := time.Now(), float64(s.lim.connectionRate)
	if rate <= 0 {
		s.mu.Unlock()
		return nil
	}
	s.mu.tokens = min(rate, s.mu.tokens+rate*now.Sub(s.mu.refill).Seconds()) - 1
	s.mu.refill = now
	wait := time.Duration(0)
	if s.mu.tokens < 0 {
		wait = time.Duration(-s.mu.tokens / rate * float64(time.Second))
	}
	s.mu.Unlock()
	if wait == 0 {
		return nil
	}
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// admit starts serving a connection, or closes it where there are too many.
func (s *server) admit(ctx context.Context, nc net.Conn, listener string) {
	remote := nc.RemoteAddr().String()
	ip, _, err := net.SplitHostPort(remote)
	if err != nil {
		ip = remote
	}
	if t, ok := nc.(*net.TCPConn); ok {
		_ = t.SetNoDelay(true)
	}
	c := &conn{
		b: s.b, srv: s, nc: nc, listener: listener, ip: ip, remote: remote,
		kick: make(chan struct{}, 1), room: make(chan struct{}, 1), gone: make(chan struct{}),
	}
	c.ctx, c.cancel = context.WithCancel(ctx)
	c.in = newInbound(c, s.lim.frameBytes)
	c.out.c, c.out.kernel = c, newKernelSocket(c, nc)
	c.lastActive.Store(s.clock())

	s.mu.Lock()
	reason := ""
	switch {
	case s.mu.closing:
		reason = "the broker is stopping"
	case s.lim.connections > 0 && len(s.mu.open) >= s.lim.connections:
		reason = "max.connections is reached"
	case s.lim.connectionsIP > 0 && s.mu.perIP[ip] >= s.lim.connectionsIP:
		reason = "max.connections.per.ip is reached"
	}
	if reason != "" {
		s.mu.Unlock()
		c.cancel()
		_ = nc.Close()
		s.b.metrics.connectionsRefused.Inc()
		s.b.firsts.warn(s.b.log, "connection limit "+reason, "closing a new connection",
			"address", remote, "listener", listener, "reason", reason)
		return
	}
	s.mu.open[c] = struct{}{}
	s.mu.perIP[ip]++
	s.conns.Add(1)
	s.mu.Unlock()

	go func() {
		defer s.conns.Done()
		defer s.forget(c)
		c.serve()
	}()
}

func (s *server) forget(c *conn) {
	s.mu.Lock()
	delete(s.mu.open, c)
	if s.mu.perIP[c.ip]--; s.mu.perIP[c.ip] <= 0 {
		delete(s.mu.perIP, c.ip)
	}
	s.mu.Unlock()
}

// count is the number of open connections.
func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mu.open)
}

// snapshot is the open connections.
func (s *server) snapshot() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*conn, 0, len(s.mu.open))
	for c := range s.mu.open {
		all = append(all, c)
	}
	return all
}

// stop ends every connection and waits until none is left.
func (s *server) stop() {
	s.mu.Lock()
	s.mu.closing = true
	s.mu.Unlock()
	for _, c := range s.snapshot() {
		c.finish()
	}
	late := time.AfterFunc(2*stopTime, func() { // whoever is stuck in a handler or does not take its answers
		for _, c := range s.snapshot() {
			c.close()
		}
	})
	s.conns.Wait()
	late.Stop()
}

// sweep closes connections that are idle, stuck in the middle of a frame, or do not take their answers. One goroutine
// looks at all of them once a second, so that the way of a request sets no deadlines.
func (s *server) sweep(ctx context.Context) {
	t := time.NewTicker(sweepInterval)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		now := s.clock()
		for _, c := range s.snapshot() {
			if reason := c.overdue(now, s.lim.idle); reason != "" {
				s.b.log.Debug("closing a connection", "address", c.remote, "reason", reason)
				s.b.metrics.overdue(reason)
				c.close()
			}
		}
	}
}

// The reasons for which the sweep closes a connection; they are values of a metric's label.
const (
	overdueFrame = "slow_frame"
	overdueSend  = "slow_reader"
	overdueIdle  = "idle"
)

// overdue says why the connection should be closed, empty if it should not.
func (c *conn) overdue(now int64, idle time.Duration) string {
	if since := c.frameSince.Load(); since != 0 && tooSlow(now-since, c.frameBytes.Load()) {
		return overdueFrame
	}
	if since := c.sendSince.Load(); since != 0 && tooSlow(now-since, c.sentBytes.Load()) {
		return overdueSend
	}
	if idle <= 0 || now-c.lastActive.Load() < int64(idle) || c.frameSince.Load() != 0 {
		return ""
	}
	c.mu.Lock()
	waiting := c.mu.queue.n > 0
	c.mu.Unlock()
	if waiting {
		return ""
	}
	return overdueIdle
}

func tooSlow(nanos, bytes int64) bool {
	return nanos > int64(frameTime) && float64(bytes) < movingRate*time.Duration(nanos).Seconds()
}

// firsts lets the first event of a kind through to the log, and then one in firstsInterval.
type firsts struct {
	mu   sync.Mutex
	seen map[string]time.Time
}

const (
	firstsMax      = 1024 // kinds remembered; beyond it all are forgotten and may be logged again
	firstsInterval = 10 * time.Minute
)

func (f *firsts) warn(log *slog.Logger, kind, msg string, args ...any) {
	now := time.Now()
	f.mu.Lock()
	last, ok := f.seen[kind]
	if ok && now.Sub(last) < firstsInterval {
		f.mu.Unlock()
		return
	}
	if f.seen == nil || len(f.seen) >= firstsMax {
		f.seen = map[string]time.Time{}
	}
	f.seen[kind] = now
	f.mu.Unlock()
	log.Warn(msg, args...)
}
