package link

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

// After the handshake both ends send frames:
//
//	0       4      5
//	+-------+------+------+
//	| bytes | kind | rest |   bytes: of kind and rest, at most frameBytesMax, big endian
//	+-------+------+------+
//
// by kind, the rest is
//
//	call     id (8), bytes of the method's name (1), the name, body
//	reply    id (8), body
//	failure  id (8), Kafka's code (2), text
//	cancel   id (8)
//	message  bytes of the kind's name (1), the name, body
//	ping     the sender's clock, milliseconds since 1970 (8)
//	pong     the same
//	part     a part of a frame that is larger than frameBytesMax, without its length
//	last     its last part
//
// Parts of one large frame follow in order, and those of another only then; small frames go between them, so that a
// heartbeat does not wait for a snapshot.
const (
	frameCall    = 1
	frameReply   = 2
	frameFailure = 3
	frameCancel  = 4
	frameMessage = 5
	framePing    = 6
	framePong    = 7
	framePart    = 8
	frameLast    = 9
)

const (
	frameBytesMax = 64 << 10
	partBytes     = 32 << 10

	// BodyBytesMax is the largest body of a call, a reply or a message.
	BodyBytesMax = 64 << 20
	nameBytesMax = 255
	largeMax     = BodyBytesMax + 512
)

// frame is one that waits to be sent: head begins with the kind, body is the caller's and is not changed.
type frame struct{ head, body []byte }

func (f frame) bytes() int { return len(f.head) + len(f.body) }

func callFrame(id uint64, method string, body []byte) frame {
	head := append(binary.BigEndian.AppendUint64([]byte{frameCall}, id), byte(len(method)))
	return frame{head: append(head, method...), body: body}
}

func replyFrame(id uint64, body []byte) frame {
	return frame{head: binary.BigEndian.AppendUint64([]byte{frameReply}, id), body: body}
}

func failureFrame(id uint64, code int16, text string) frame {
	head := binary.BigEndian.AppendUint64([]byte{frameFailure}, id)
	return frame{head: binary.BigEndian.AppendUint16(head, uint16(code)), body: []byte(text)}
}

func cancelFrame(id uint64) frame {
	return frame{head: binary.BigEndian.AppendUint64([]byte{frameCancel}, id)}
}

func messageFrame(kind string, body []byte) frame {
	return frame{head: append([]byte{frameMessage, byte(len(kind))}, kind...), body: body}
}

func clockFrame(kind byte, ms int64) frame {
	return frame{head: binary.BigEndian.AppendUint64([]byte{kind}, uint64(ms))}
}

// outbox holds the frames of one connection that wait to be sent, within bounds.
type outbox struct {
	mu     sync.Mutex
	more   chan struct{} // has a token when there is something to send
	small  []frame
	large  []frame
	sent   int    // bytes of large[0] that have been sent
	bytes  [2]int // of small and of large that wait
	closed bool
}

const (
	// outboxBytesMax is what may wait for a peer, small and large frames each; one frame may always.
	outboxBytesMax = 16 << 20
	// repliesBytesMax is what may wait for a peer that does not read the answers to its calls.
	repliesBytesMax = 4 * BodyBytesMax
	batchBytes      = 64 << 10
)

func newOutbox() *outbox { return &outbox{more: make(chan struct{}, 1)} }

// put says whether there was room.
func (o *outbox) put(f frame) bool {
	return o.putWithin(f, outboxBytesMax)
}

func (o *outbox) putWithin(f frame, bytesMax int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	lane, which := &o.small, 0
	if f.bytes() > frameBytesMax {
		lane, which = &o.large, 1
	}
	if o.closed || len(*lane) > 0 && o.bytes[which]+f.bytes() > bytesMax {
		return false
	}
	*lane = append(*lane, f)
	o.bytes[which] += f.bytes()
	select {
	case o.more <- struct{}{}:
	default:
	}
	return true
}

// take appends to b what is to be sent next: small frames that are there, and one part of a large one.
func (o *outbox) take(b []byte) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for n < len(o.small) && (n == 0 || len(b)+o.small[n].bytes() < batchBytes) {
		f := o.small[n]
		b = binary.BigEndian.AppendUint32(b, uint32(f.bytes()))
		b = append(append(b, f.head...), f.body...)
		o.bytes[0] -= f.bytes()
		o.small[n] = frame{}
		n++
	}
	if n == len(o.small) {
		o.small = o.small[:0]
	} else {
		o.small = o.small[n:]
	}
	if len(o.large) > 0 {
		b = o.takePart(b)
	}
	return b
}

func (o *outbox) takePart(b []byte) []byte {
	f := o.large[0]
	n := min(partBytes, f.bytes()-o.sent)
	kind := byte(framePart)
	if o.sent+n == f.bytes() {
		kind = frameLast
	}
	b = binary.BigEndian.AppendUint32(b, uint32(n+1))
	b = append(b, kind)
	from, to := o.sent, o.sent+n
	if from < len(f.head) {
		b = append(b, f.head[from:min(to, len(f.head))]...)
	}
	if to > len(f.head) {
		b = append(b, f.body[max(from-len(f.head), 0):to-len(f.head)]...)
	}
	o.sent = to
	o.bytes[1] -= n
	if kind == frameLast {
		o.large[0] = frame{}
		o.large, o.sent = o.large[1:], 0
	}
	return b
}

func (o *outbox) close() {
	o.mu.Lock()
	o.closed, o.small, o.large = true, nil, nil
	o.mu.Unlock()
}

// inbox reads frames and puts large ones together.
type inbox struct {
	r      *bufio.Reader
	large  []byte
	budget *atomic.Int64 // bytes of large frames that may yet be held by all connections
}

// next is the next whole frame: kind, and a body that is the caller's. Memory grows with what has come, not with what a
// length announces.
func (i *inbox) next() (kind byte, rest []byte, err error) {
	for {
		var head [5]byte
		if _, err := io.ReadFull(i.r, head[:]); err != nil {
			return 0, nil, err
		}
		n := int(binary.BigEndian.Uint32(head[:])) - 1
		kind = head[4]
		if n < 0 || n > frameBytesMax {
			return 0, nil, fmt.Errorf("a frame of %d bytes, more than %d", n+1, frameBytesMax)
		}
		if kind != framePart && kind != frameLast {
			rest = make([]byte, n)
			_, err := io.ReadFull(i.r, rest)
			return kind, rest, err
		}
		if err := i.part(n); err != nil {
			return 0, nil, err
		}
		if kind != frameLast {
			continue
		}
		whole := i.large
		i.release()
		if len(whole) == 0 || whole[0] == framePart || whole[0] == frameLast {
			return 0, nil, fmt.Errorf("a large frame of no kind")
		}
		return whole[0], whole[1:], nil
	}
}

func (i *inbox) part(n int) error {
	if len(i.large)+n > largeMax {
		return fmt.Errorf("a frame of more than %d bytes", largeMax)
	}
	if i.budget.Add(-int64(n)) < 0 {
		i.budget.Add(int64(n))
		return fmt.Errorf("large frames of all peers take more than %d bytes", int64(largeBudget))
	}
	at := len(i.large)
	i.large = append(i.large, make([]byte, n)...)
	_, err := io.ReadFull(i.r, i.large[at:])
	return err
}

// release gives back what the large frame took of the budget: whoever has it now answers for it.
func (i *inbox) release() {
	i.budget.Add(int64(len(i.large)))
	i.large = nil
}
