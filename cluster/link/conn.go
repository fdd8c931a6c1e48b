package link

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"moldau.io/moldau/protocol"
)

// clockInterval is how often two ends of a connection tell each other the time.
const clockInterval = time.Minute

// conn is one connection after its handshake. The dialer sends calls and messages on it, the other end answers.
type conn struct {
	link *Link
	net  net.Conn
	peer Peer
	out  *outbox
	done chan struct{} // closed when it is of no use any more

	mu    sync.Mutex
	err   error
	last  uint64
	calls map[uint64]chan answer             // that wait for their answer; the dialer's
	tasks map[uint64]context.CancelCauseFunc // calls that are being executed; the other end's
}

type answer struct {
	body []byte
	err  error
}

func (l *Link) newConn(c net.Conn, peer Peer) *conn {
	return &conn{
		link: l, net: c, peer: peer, out: newOutbox(), done: make(chan struct{}),
		calls: map[uint64]chan answer{}, tasks: map[uint64]context.CancelCauseFunc{},
	}
}

// run serves the connection until it breaks or is closed, and says why.
func (c *conn) run() error {
	var wg sync.WaitGroup
	wg.Go(c.write)
	c.close(c.read())
	wg.Wait()
	return c.err
}

// close ends the connection, and everything that waits on it. The first reason counts.
func (c *conn) close(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	close(c.done)
	_ = c.net.Close()
	c.out.close()
	for _, cancel := range c.tasks {
		cancel(ErrLost)
	}
}

func (c *conn) write() {
	ticker := time.NewTicker(clockInterval)
	defer ticker.Stop()
	var buf []byte
	for {
		select {
		case <-c.out.more:
		case <-ticker.C:
			c.out.put(clockFrame(framePing, c.link.cfg.Now().UnixMilli()))
			continue
		case <-c.done:
			return
		}
		for {
			if buf = c.out.take(buf[:0]); len(buf) == 0 {
				break
			}
			if _, err := c.net.Write(buf); err != nil {
				c.close(err)
				return
			}
			c.link.count.out.Add(int64(len(buf)))
		}
		if cap(buf) > batchBytes/4 {
			buf = nil // connections are idle for most of their time
		}
	}
}

func (c *conn) read() error {
	in := inbox{r: bufio.NewReaderSize(c.net, 4<<10), budget: &c.link.large}
	defer in.release()
	for {
		kind, rest, err := in.next()
		if err != nil {
			return err
		}
		c.link.count.in.Add(int64(len(rest)) + 5)
		if err := c.take(kind, rest); err != nil {
			return err
		}
	}
}

// take does what a frame asks for. Its error ends the connection.
func (c *conn) take(kind byte, rest []byte) error {
	if kind == frameMessage {
		name, body, err := named(rest)
		if err == nil {
			c.link.deliver(c.peer, name, body)
		}
		return err
	}
	if len(rest) < 8 {
		return fmt.Errorf("frame %d has only %d bytes", kind, len(rest))
	}
	id := binary.BigEndian.Uint64(rest)
	rest = rest[8:]
	switch kind {
	case frameCall:
		method, body, err := named(rest)
		if err == nil {
			c.execute(id, method, body)
		}
		return err
	case frameReply:
		c.answer(id, answer{body: rest})
	case frameFailure:
		if len(rest) < 2 {
			return fmt.Errorf("a failure without a code")
		}
		code := protocol.Code(int16(binary.BigEndian.Uint16(rest)))
		c.answer(id, answer{err: protocol.Errorf(code, "%s", printable(rest[2:]))})
	case frameCancel:
		c.mu.Lock()
		cancel := c.tasks[id]
		c.mu.Unlock()
		if cancel != nil {
			cancel(context.Canceled)
		}
	case framePing:
		c.link.clocks.compare(c.peer, c.link.cfg.Now(), time.UnixMilli(int64(id)))
		c.out.put(clockFrame(framePong, c.link.cfg.Now().UnixMilli()))
	case framePong:
		c.link.clocks.compare(c.peer, c.link.cfg.Now(), time.UnixMilli(int64(id)))
	default: // of a later build
	}
	return nil
}

func named(b []byte) (name string, body []byte, err error) {
	if len(b) < 1 || len(b) < 1+int(b[0]) {
		return "", nil, fmt.Errorf("a name that ends early")
	}
	n := 1 + int(b[0])
	return string(b[1:n]), b[n:], nil
}

// execute runs a call's handler in a goroutine of its own.
func (c *conn) execute(id uint64, method string, body []byte) {
	h := c.link.handler(method)
	if h == nil {
		text := fmt.Sprintf("the broker at %s does not take %s calls (it may be just starting)", c.link.Addr(),
			printable([]byte(method)))
		c.out.put(failureFrame(id, int16(protocol.BrokerNotAvailable), text))
		return
	}
	ctx, cancel := context.WithCancelCause(c.link.ctx)
	c.mu.Lock()
	full := len(c.tasks) >= tasksMax || c.tasks[id] != nil
	if !full && c.err == nil {
		c.tasks[id] = cancel
	}
	gone := c.err != nil
	c.mu.Unlock()
	if full || gone || !c.link.begin() {
		cancel(ErrBusy)
		c.out.put(failureFrame(id, int16(protocol.ThrottlingQuotaExceeded), "too many calls at once"))
		return
	}
	go func() {
		defer c.link.wg.Done()
		f := c.perform(ctx, h, id, method, body)
		c.mu.Lock()
		delete(c.tasks, id)
		c.mu.Unlock()
		cancel(nil)
		if !c.out.putWithin(f, repliesBytesMax) {
			c.close(fmt.Errorf("%s does not read the answers to its calls", c.peer.Addr))
		}
	}()
}

// perform makes of a handler's result the frame that answers. A panic in a handler costs the call, not the process.
func (c *conn) perform(ctx context.Context, h Handler, id uint64, method string, body []byte) (f frame) {
	defer func() {
		if v := recover(); v != nil {
			c.link.cfg.Logger.Error("a call's handler panicked", "method", method, "peer", c.peer.Addr, "panic", v,
				"stack", string(debug.Stack()))
			f = failureFrame(id, int16(protocol.UnknownServerError), "the call's handler failed; its broker's log says how")
		}
	}()
	reply, err := h(ctx, c.peer, body)
	if err == nil && len(reply) > BodyBytesMax {
		err = protocol.Errorf(protocol.RecordListTooLarge, "the answer to %s has %d bytes, more than %d", method, len(reply),
			BodyBytesMax)
	}
	if err != nil {
		text := err.Error()
		return failureFrame(id, int16(protocol.CodeOf(err)), text[:min(len(text), frameBytesMax/2)])
	}
	return replyFrame(id, reply)
}

// answer hands an answer to the call that waits for it. One that nobody waits for any more is dropped.
func (c *conn) answer(id uint64, a answer) {
	c.mu.Lock()
	ch := c.calls[id]
	delete(c.calls, id)
	c.mu.Unlock()
	if ch != nil {
		ch <- a
	}
}

// call sends a call and waits for its answer.
func (c *conn) call(ctx context.Context, addr, method string, body []byte) ([]byte, error) {
	ch := make(chan answer, 1)
	c.mu.Lock()
	c.last++
	id := c.last
	c.calls[id] = ch
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.calls, id)
		c.mu.Unlock()
	}()
	if !c.out.put(callFrame(id, method, body)) {
		select {
		case <-c.done:
			return nil, c.lost(addr, method)
		default:
			return nil, dialErrorf(ErrBusy, "call %s at %s: more than %d bytes wait for it already", method, addr,
				outboxBytesMax)
		}
	}
	select {
	case a := <-ch:
		return a.body, a.err
	case <-ctx.Done():
		c.out.put(cancelFrame(id))
		return nil, fmt.Errorf("call %s at %s: %w", method, addr, context.Cause(ctx))
	case <-c.done:
	}
	select {
	case a := <-ch: // it came just before
		return a.body, a.err
	default:
		return nil, c.lost(addr, method)
	}
}

func (c *conn) lost(addr, method string) error {
	c.mu.Lock()
	err := c.err
	c.mu.Unlock()
	return fmt.Errorf("call %s at %s: %w: %v", method, addr, ErrLost, err)
}
