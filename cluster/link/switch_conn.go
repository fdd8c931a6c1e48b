package link

import (
	"bytes"
	"context"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

var errSilence error = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ETIMEDOUT}

// switched is the dialing end of a connection between two brokers. Both directions pass through it, so that the other end can
// be an ordinary one.
type switched struct {
	net.Conn
	s        *Switch
	port     *Port
	from, to string
	timer    *time.Timer // s.mu's; runs while it is cut

	once sync.Once
	done chan struct{} // closed when it is closed
	why  error         // set before done is closed; nil: closed by its user

	mu     sync.Mutex
	limits [2]time.Time  // deadlines of reading and writing
	moved  chan struct{} // closed when a deadline has changed

	reading sync.Mutex
	held    []byte // read while it was cut
	heldErr error
}

// Which of the limits.
const (
	limitRead  = 0
	limitWrite = 1
)

// Read waits while the direction is cut. What came in before that was noticed is kept until it is healed.
func (c *switched) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	for {
		if err := c.wait(c.to, c.from, limitRead); err != nil {
			return 0, err
		}
		if len(c.held) > 0 {
			n := copy(p, c.held)
			c.held = c.held[n:]
			return n, nil
		}
		if err := c.heldErr; err != nil {
			c.heldErr = nil
			return 0, err
		}
		n, err := c.Conn.Read(p)
		if c.open(c.to, c.from) {
			return n, c.explain(err)
		}
		c.held, c.heldErr = bytes.Clone(p[:n]), c.explain(err)
	}
}

func (c *switched) Write(p []byte) (int, error) {
	if err := c.wait(c.from, c.to, limitWrite); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(p)
	return n, c.explain(err)
}

func (c *switched) open(from, to string) bool {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return c.s.passes(from, to)
}

// explain prefers the reason for which the connection was broken.
func (c *switched) explain(err error) error {
	if err == nil {
		return nil
	}
	select {
	case <-c.done:
		if c.why != nil {
			return c.why
		}
	default:
	}
	return err
}

// wait returns when bytes pass from one end to the other.
func (c *switched) wait(from, to string, limit int) error {
	for {
		c.s.mu.Lock()
		passes, changed := c.s.passes(from, to), c.s.changed
		c.s.mu.Unlock()
		if passes {
			return nil
		}
		if err := c.waitChange(changed, limit); err != nil {
			return err
		}
	}
}

func (c *switched) waitChange(changed chan struct{}, limit int) error {
	c.mu.Lock()
	deadline := c.limits[limit]
	if c.moved == nil {
		c.moved = make(chan struct{})
	}
	moved := c.moved
	c.mu.Unlock()
	ctx, cancel := context.Background(), context.CancelFunc(func() {})
	if !deadline.IsZero() {
		ctx, cancel = context.WithDeadline(ctx, deadline)
	}
	defer cancel()
	select {
	case <-changed:
	case <-moved:
	case <-ctx.Done():
		return &net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded}
	case <-c.done:
		if c.why != nil {
			return c.why
		}
		return net.ErrClosed
	}
	return nil
}

func (c *switched) SetDeadline(t time.Time) error {
	c.limit(t, limitRead, limitWrite)
	return c.Conn.SetDeadline(t)
}

func (c *switched) SetReadDeadline(t time.Time) error {
	c.limit(t, limitRead)
	return c.Conn.SetReadDeadline(t)
}

func (c *switched) SetWriteDeadline(t time.Time) error {
	c.limit(t, limitWrite)
	return c.Conn.SetWriteDeadline(t)
}

func (c *switched) limit(t time.Time, which ...int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, i := range which {
		c.limits[i] = t
	}
	if c.moved != nil {
		close(c.moved)
		c.moved = nil
	}
}

// reset breaks the connection for both ends.
func (c *switched) reset(why error) {
	c.once.Do(func() {
		c.why = why
		close(c.done)
		if tcp, ok := c.Conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Conn.Close()
		c.leave()
	})
}

// Close ends the connection. Over a cut the other end would not hear of it, but break of itself before long.
func (c *switched) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		close(c.done)
		err = c.Conn.Close()
		c.leave()
	})
	return err
}

func (c *switched) leave() {
	c.port.forget(c)
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	delete(c.s.conns, c)
	if c.timer != nil {
		c.timer.Stop()
	}
}

// ListenPacket opens a real socket whose packets to other brokers obey the switch.
func (p *Port) ListenPacket(ctx context.Context, addr string) (net.PacketConn, error) {
	c, err := OS().ListenPacket(ctx, addr)
	if err != nil {
		return nil, err
	}
	out := &packetConn{PacketConn: c, port: p}
	if err := p.keep(out, func() { _ = c.Close() }); err != nil {
		_ = c.Close()
		return nil, err
	}
	p.s.own(c.LocalAddr(), p.name)
	return out, nil
}

type packetConn struct {
	net.PacketConn
	port *Port
}

func (c *packetConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	s, from := c.port.s, c.port.name
	to := s.owner(addr.String())
	s.mu.Lock()
	reaches, passes := s.reaches(from, to), s.passes(from, to)
	if reaches && !passes && len(s.held[direction{from, to}]) < heldMax {
		b := bytes.Clone(b)
		s.held[direction{from, to}] = append(s.held[direction{from, to}], func() { _, _ = c.PacketConn.WriteTo(b, addr) })
	}
	s.mu.Unlock()
	if !passes {
		return len(b), nil // a packet that is lost is no error
	}
	return c.PacketConn.WriteTo(b, addr)
}

func (c *packetConn) Close() error {
	c.port.forget(c)
	return c.PacketConn.Close()
}
