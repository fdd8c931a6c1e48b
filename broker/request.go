package broker

import (
	"context"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/protocol"
)

// request is one request of a connection, from the moment its frame is complete until its answer has been sent. It is
// also the slot that keeps the answer's place in the connection's queue.
type request struct {
	// Set before the handler runs, never changed after.

	ctx         context.Context // ends with the connection
	conn        *conn
	header      protocol.Header
	msg         kmsg.Request // decoded body; nil for Produce and Fetch, which parse body in place
	body        []byte       // Produce and Fetch: the body, valid until the handler returns
	unsupported bool         // an ApiVersions of a version that is not known here
	received    time.Time    // when the frame was complete
	stats       *apiStats

	// Guarded by conn.mu.

	state   slotState
	resp    *protocol.Response
	parked  parked
	handler bool // the handler has not returned yet, so its caller will look at the slot

	woken atomic.Bool // the parked request should be looked at again
}

// slotState says what the head of a connection's queue waits for.
type slotState int8

const (
	slotPending  slotState = iota // no answer yet
	slotAnswered                  // resp is to be sent
	slotSilent                    // done, and nothing is sent (acks=0)
	slotParked                    // parked decides, when woken
	slotHangup                    // the connection is closed in place of an answer
)

// parked is the rest of a request that waits for something: a Fetch for records, a Produce for its followers.
type parked interface {
	// resume returns the answer, or nil to go on waiting. It is called by the goroutine that sends this connection's
	// answers, once the request is the next to be answered: at once, and again after each wake. It must look at the clock
	// itself, for a wake may come without a cause. last says that the connection is going away, so waiting is over.
	resume(now time.Time, last bool) *protocol.Response
	// drop is called in place of another resume when the connection is closed.
	drop()
}

// version is the request's API version.
func (r *request) version() int16 { return r.header.Version }

// client is the request's client id, empty when it was null.
func (r *request) client() string {
	if r.header.ClientID == nil {
		return ""
	}
	return *r.header.ClientID
}

// listener is the name of the listener that the request came in by.
func (r *request) listener() string { return r.conn.listener }

// clientHost is the client's address as Kafka prints it: a slash and the IP, without a port.
func (r *request) clientHost() string { return "/" + r.conn.ip }

// localHost is the address, without a port, at which the client has reached this broker.
func (r *request) localHost() string {
	if a, ok := r.conn.nc.LocalAddr().(*net.TCPAddr); ok {
		return a.IP.String()
	}
	return "localhost"
}

// next says whether r is the next request to be answered on its connection.
func (r *request) next() bool {
	r.conn.mu.Lock()
	defer r.conn.mu.Unlock()
	return r.conn.mu.queue.first() == r
}

// log is the broker's logger with the client's name and address.
func (r *request) log() *slog.Logger {
	return r.conn.b.log.With("client", r.client(), "address", r.conn.remote, "api", r.stats.name)
}

// Reply answers r. It may be called from any goroutine, once.
func (r *request) Reply(resp kmsg.Response) {
	resp.SetVersion(r.header.Version)
	r.stats.noteErrors(r, resp)
	r.ReplyRaw(protocol.EncodeResponse(r.header, resp))
}

// ReplyRaw answers r with bytes that are encoded already. It may be called from any goroutine, once.
func (r *request) ReplyRaw(resp *protocol.Response) { r.settle(slotAnswered, resp, nil) }

// NoReply ends r without an answer: a Produce with acks 0.
func (r *request) NoReply() { r.settle(slotSilent, nil, nil) }

// Hangup closes the connection in place of an answer, once all earlier answers are sent. Nothing that came after r on
// the connection is looked at. The reason is logged.
func (r *request) Hangup(reason string) {
	r.conn.hangups(r, reason)
	r.settle(slotHangup, nil, nil)
}

// Park leaves the answer to p. It is the last thing a handler does with r.
func (r *request) Park(p parked) { r.settle(slotParked, nil, p) }

// wake has a parked request looked at again, soon, by the goroutine that sends its connection's answers. It is cheap,
// never blocks, and may be called too often.
func (r *request) wake() {
	if !r.woken.Swap(true) {
		r.conn.kickWriter()
	}
}

func (r *request) settle(s slotState, resp *protocol.Response, p parked) {
	c := r.conn
	c.mu.Lock()
	if r.state != slotPending || c.mu.closed {
		answered := r.state != slotPending
		c.mu.Unlock()
		if resp != nil {
			resp.Release()
		}
		if p != nil {
			p.drop()
		}
		if answered {
			c.b.log.Error("a request was answered twice", "api", r.stats.name, "address", c.remote)
		}
		return
	}
	r.state, r.resp, r.parked = s, resp, p
	if s == slotParked {
		r.woken.Store(true) // the first look is due at once
	}
	if resp != nil {
		c.mu.queuedBytes += int64(len(resp.Head))
	}
	inHandler := r.handler
	c.mu.Unlock()
	if !inHandler {
		c.kickWriter()
	}
}

// done is called by the sender of the answer, with the connection's lock held, when r has left the queue.
func (r *request) done() {
	r.stats.answered(time.Since(r.received))
}

// topicName makes strings of the topics in a request's body: one for each topic, however many partitions follow it. A name
// may be 32 KiB long and a partition a few bytes.
type topicName struct {
	raw  []byte
	name string
}

func (n *topicName) of(raw []byte) string {
	if len(raw) == 0 {
		return ""
	}
	if len(n.raw) != len(raw) || &n.raw[0] != &raw[0] {
		n.raw, n.name = raw, string(raw)
	}
	return n.name
}
