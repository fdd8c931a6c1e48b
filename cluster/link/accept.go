package link

import (
	"context"
	"errors"
	"net"
	"time"
)

// accept takes connections until the link is closed.
func (l *Link) accept() {
	defer l.wg.Done()
	for {
		c, err := l.lis.Accept()
		if err != nil {
			if l.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			l.cfg.Logger.Warn("the cluster address could not take a connection", "addr", l.addr, "err", err)
			if !l.pause(100*time.Millisecond, nil) { // out of files, most likely
				return
			}
			continue
		}
		if l.pending.Load() >= handshakesMax || l.inbound.Load() >= inboundMax || !l.begin() {
			_ = c.Close()
			continue
		}
		l.pending.Add(1)
		go func() {
			defer l.wg.Done()
			l.serve(c)
		}()
	}
}

// serve shakes hands and does what the connection is for.
func (l *Link) serve(c net.Conn) {
	tune(c)
	untrack := l.track(c)
	defer untrack()
	_ = c.SetDeadline(time.Now().Add(handshakeTimeout))
	out, peer, err := welcome(c, l.psk, l.me(0))
	l.pending.Add(-1)
	if err != nil {
		l.turnAway(c, peer, err)
		return
	}
	_ = c.SetDeadline(time.Time{})
	l.clocks.compare(peer, l.cfg.Now(), peer.clock)
	l.inbound.Add(1)
	defer l.inbound.Add(-1)
	l.awake(peer.Addr)
	if peer.purpose == purposeStream {
		l.hand(out)
		return
	}
	_ = l.newConn(out, peer).run() // the dialer's callers are told
	if peer.Addr == "" || l.ctx.Err() != nil {
		return
	}
	if r, err := l.remote(peer.Addr); err == nil {
		r.check()
	}
}

// awake has what waits for a peer go to it at once, where it was not there before.
func (l *Link) awake(addr string) {
	l.mu.RLock()
	r := l.remotes[addr]
	l.mu.RUnlock()
	if r != nil {
		r.awake()
	}
}

// turnAway closes a connection whose handshake failed, and says so in the log.
func (l *Link) turnAway(c net.Conn, peer Peer, err error) {
	l.count.refused.Add(1)
	from := c.RemoteAddr().String()
	host, _, _ := net.SplitHostPort(from) // empty is as good
	var stranger *strangerError
	switch {
	case l.ctx.Err() != nil:
	case errors.As(err, &stranger):
		_, _ = c.Write(sendAway(stranger.began)) // it may be gone
		what := describeStranger(stranger.began)
		if l.first("stranger " + host + what) {
			l.cfg.Logger.Warn("something that is not a broker connected to the cluster address; "+
				"clients belong to the Kafka address (--listen)", "from", from, "what", what, "addr", l.addr)
		}
	case errors.Is(err, ErrKey), errors.Is(err, ErrOtherCluster):
		if l.first("refused " + host + err.Error()) {
			l.cfg.Logger.Warn("a broker was refused at the cluster address", "from", from, "peer", peer.Addr, "err", err)
		}
	case errors.Is(err, ErrSelf), hangUp(err):
	default:
		if l.first("handshake " + host) {
			l.cfg.Logger.Warn("a handshake at the cluster address failed", "from", from, "err", err)
		}
	}
	_ = c.Close()
}

// first says whether something has not been said for an hour.
func (l *Link) first(what string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if at, ok := l.said[what]; ok && now.Sub(at) < time.Hour {
		return false
	}
	if len(l.said) > 1000 {
		clear(l.said)
	}
	l.said[what] = now
	return true
}

// stream is a connection for gossip: it is done when its user has closed it.
type stream struct {
	net.Conn
	closed context.CancelFunc
}

func (s *stream) Close() error {
	defer s.closed()
	return s.Conn.Close()
}

// hand gives a stream to whoever takes Streams, and waits until it is closed.
func (l *Link) hand(c net.Conn) {
	ctx, closed := context.WithCancel(l.ctx)
	defer closed()
	timeout := time.NewTimer(handshakeTimeout)
	defer timeout.Stop()
	select {
	case l.streams <- &stream{Conn: c, closed: closed}:
		<-ctx.Done()
	case <-timeout.C: // nobody gossips here
	case <-l.ctx.Done():
	}
	_ = c.Close()
}

// Streams gives the streams that others have opened for gossip. Whoever takes one closes it.
func (l *Link) Streams() <-chan net.Conn { return l.streams }

// DialStream opens a stream for gossip to the broker at addr. It is closed when ctx ends.
func (l *Link) DialStream(ctx context.Context, addr string, timeout time.Duration) (net.Conn, error) {
	if !l.begin() {
		return nil, dialErrorf(ErrClosed, "this broker is closing")
	}
	defer l.wg.Done()
	d, err := l.connect(ctx, addr, purposeStream, timeout)
	if err != nil {
		return nil, err
	}
	ctx, closed := context.WithCancel(ctx)
	untrack := l.track(d.net)
	context.AfterFunc(ctx, func() {
		untrack()
		_ = d.net.Close()
	})
	return &stream{Conn: d.net, closed: closed}, nil
}

// Packets is the UDP side of the cluster address. It is closed with the link.
func (l *Link) Packets() net.PacketConn { return l.packets }
