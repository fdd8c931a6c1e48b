package broker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"

	"moldau.io/moldau/protocol"
)

const (
	// bufferBytesMin is the size of the buffers that nearly every frame fits in, and the step in which a larger frame's
	// memory grows while its bytes arrive.
	bufferBytesMin = 64 << 10
	// bufferClasses is the number of pooled sizes, each twice the one before. Larger buffers are left to the collector.
	bufferClasses = 9
	// trustedBytesMax bounds the memory that a client gets at once because it has sent a frame of that size before.
	trustedBytesMax = bufferBytesMin << (bufferClasses - 1)
	// frameHeadBytes is what is looked at before more of a frame is read: size, API key, version.
	frameHeadBytes = 8
	// firstFrameBytesMax bounds the one request that is read whatever its version is.
	firstFrameBytesMax = 64 << 10
)

// frameError says that what a client sent is no request of this protocol.
type frameError struct{ what string }

func (e *frameError) Error() string { return e.what }

func frameErrorf(format string, a ...any) error { return &frameError{what: fmt.Sprintf(format, a...)} }

// buffers are pools of read buffers by size class.
type buffers struct {
	classes [bufferClasses]sync.Pool
}

// buffer is a slice with the class it goes back to, -1 for none.
type buffer struct {
	b     []byte
	class int
}

// get returns a buffer of at least n bytes.
func (p *buffers) get(n int) *buffer {
	for class := range p.classes {
		size := bufferBytesMin << class
		if n > size {
			continue
		}
		if b, ok := p.classes[class].Get().(*buffer); ok {
			return b
		}
		return &buffer{b: make([]byte, size), class: class}
	}
	return &buffer{b: make([]byte, n), class: -1}
}

func (p *buffers) put(b *buffer) {
	if b.class >= 0 {
		p.classes[b.class].Put(b)
	}
}

// inbound cuts a connection's bytes into frames. A frame is valid until the next call of next: whoever keeps bytes of
// it copies them. While nothing has arrived, no buffer is held, so an idle connection costs no read memory.
type inbound struct {
	c   *conn
	raw syscall.RawConn // nil when the connection is not a plain socket; then a buffer is held while waiting
	max int             // socket.request.max.bytes

	buf     *buffer
	r, w    int   // buf.b[r:w] is unread
	frame   int   // bytes of the frame handed out last, with its size field
	largest int   // largest frame so far: a guess at the next
	charged bool  // share is not empty
	share   share // of the memory budget

	try    func(fd uintptr) bool // reads once without blocking; made once, so that waiting allocates nothing
	tryN   int
	tryErr error
}

func newInbound(c *conn, max int) inbound {
	in := inbound{c: c, max: max}
	if sc, ok := c.nc.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			in.raw = raw
		}
	}
	return in
}

// next returns the next frame without its size field. The error is a *frameError when the bytes are not a request.
func (in *inbound) next() ([]byte, error) {
	in.finish()
	if in.w > in.r {
		in.note() // a part of this frame may have come with the one before
	}
	for in.w-in.r < frameHeadBytes {
		if in.w-in.r >= 4 {
			if _, err := in.size(); err != nil {
				return nil, err
			}
		}
		if err := in.fill(frameHeadBytes); err != nil {
			return nil, in.cut(err)
		}
	}
	size, err := in.size()
	if err != nil {
		return nil, err
	}
	head := in.buf.b[in.r:]
	if err := checkStart(head, size); err != nil {
		return nil, err
	}
	for in.w-in.r < size+4 {
		if err := in.fill(size + 4); err != nil {
			return nil, in.cut(err)
		}
	}
	in.frame = size + 4
	in.largest = max(in.largest, in.frame)
	in.c.frameSince.Store(0)
	return in.buf.b[in.r+4 : in.r+in.frame], nil
}

// checkStart looks at key and version as soon as they are there: what cannot become a request is not waited for, and
// takes no memory.
func checkStart(head []byte, size int) error {
	key, version := int16(binary.BigEndian.Uint16(head[4:])), int16(binary.BigEndian.Uint16(head[6:]))
	api, ok := protocol.Lookup(key)
	switch {
	case !ok:
		return frameErrorf("a frame of %d bytes with the API key %d, version %d: no such API here", size, key, version)
	case key == keyAPIVersions && size > firstFrameBytesMax:
		return frameErrorf("an ApiVersions request of %d bytes", size)
	case key != keyAPIVersions && !api.Supports(version):
		return frameErrorf("a %s request of version %d, supported are %d to %d", api.Name, version, api.Min, api.Max)
	}
	return nil
}

// size is the size that the frame at the front declares.
func (in *inbound) size() (int, error) {
	raw := in.buf.b[in.r:]
	size := int(int32(binary.BigEndian.Uint32(raw)))
	switch {
	case size < 8: // key, version and correlation id
		return 0, frameErrorf("a frame of %d bytes%s", size, lookalike(raw))
	case size > in.max:
		return 0, frameErrorf("a frame of %d bytes, the limit is %d (socket.request.max.bytes)%s", size, in.max, lookalike(raw))
	}
	return size, nil
}

// lookalike says of bytes that are no frame what they may be: the mistakes that people make with ports.
func lookalike(b []byte) string {
	switch start := string(b[:4]); {
	case b[0] == 0x16 && b[1] == 3:
		return "; it looks like the start of TLS, and this listener is not encrypted"
	case start == "GET " || start == "POST" || start == "HEAD" || start == "PUT ":
		return "; it looks like HTTP, and this is a Kafka listener"
	}
	return ""
}

// finish lets go of the frame handed out last.
func (in *inbound) finish() {
	if in.buf == nil {
		return
	}
	in.r += in.frame
	in.frame = 0
	if in.r == in.w {
		in.release()
	}
}

// release gives the buffer back.
func (in *inbound) release() {
	if in.buf != nil {
		in.c.b.buffers.put(in.buf)
		in.buf = nil
	}
	in.r, in.w, in.frame = 0, 0, 0
	if in.charged {
		in.c.b.budget.release(&in.share)
		in.charged = false
	}
}

// cut is the error for a connection that ended: in the middle of a frame, or between two.
func (in *inbound) cut(err error) error {
	if errors.Is(err, io.EOF) && in.w > in.r {
		return io.ErrUnexpectedEOF
	}
	return err
}

// fill reads more bytes of a frame that is want bytes long in all, as far as is known.
func (in *inbound) fill(want int) error {
	if err := in.makeRoom(want); err != nil {
		return err
	}
	n, err := in.read()
	if n > 0 {
		in.w += n
		in.c.b.metrics.bytesIn.Add(uint64(n))
		in.note()
		return nil // an error that came with them comes again
	}
	if err != nil {
		return err
	}
	if n == 0 {
		return io.EOF
	}
	return nil
}

// note keeps what the sweep looks at to find a frame that does not move.
func (in *inbound) note() {
	have := in.w - in.r
	if have >= 4 {
		if size := int(int32(binary.BigEndian.Uint32(in.buf.b[in.r:]))); have >= size+4 {
			return // complete: the common case stores nothing
		}
	}
	in.c.frameBytes.Store(int64(have))
	if in.c.frameSince.Load() == 0 {
		in.c.frameSince.Store(in.c.srv.clock())
	}
}

// makeRoom sees to it that there is room to read into, and that the frame fits the memory budget. The buffer grows as
// bytes arrive, at most to twice what has come, so a size that is only declared costs nothing.
func (in *inbound) makeRoom(want int) error {
	if in.buf == nil {
		// Between two frames: the buffer is taken by read, once there is something to be read.
		return in.c.b.budget.wait(in.c.gone)
	}
	if in.r+want <= len(in.buf.b) {
		return nil
	}
	if in.r > 0 {
		in.w = copy(in.buf.b, in.buf.b[in.r:in.w])
		in.r = 0
	}
	trusted := want <= min(in.largest, trustedBytesMax) // this client has sent as much before
	if want <= len(in.buf.b) || in.w < len(in.buf.b) && !trusted {
		return nil
	}
	size := min(want, 2*in.w)
	if trusted {
		size = want
	}
	if err := in.reserve(size); err != nil {
		return err
	}
	next := in.c.b.buffers.get(size)
	copy(next.b, in.buf.b[:in.w])
	in.c.b.buffers.put(in.buf)
	in.buf = next
	return nil
}

// reserve takes a larger buffer from the budget. Time that is spent waiting for it is the broker's and not the client's.
func (in *inbound) reserve(size int) error {
	since := in.c.frameSince.Swap(0)
	waited, err := in.c.b.budget.reserve(&in.share, int64(size-bufferBytesMin), in.c.gone)
	if waited {
		since = in.c.srv.clock()
	}
	in.c.frameSince.Store(since)
	return err
}

// read reads once, waiting for the client without holding a buffer where the connection allows it.
func (in *inbound) read() (int, error) {
	if in.raw == nil {
		if in.buf == nil {
			in.take()
		}
		return in.c.nc.Read(in.buf.b[in.w:])
	}
	if in.try == nil {
		in.try = in.tryRead
	}
	if err := in.raw.Read(in.try); err != nil {
		return 0, err
	}
	return in.tryN, in.tryErr
}

func (in *inbound) take() {
	in.buf = in.c.b.buffers.get(bufferBytesMin)
	in.r, in.w, in.frame = 0, 0, 0
	in.charged = true
	in.c.b.budget.charge(&in.share, int64(len(in.buf.b)))
}

func (in *inbound) tryRead(fd uintptr) bool {
	if in.buf == nil {
		in.take()
	}
	for {
		n, err := syscall.Read(int(fd), in.buf.b[in.w:])
		switch err {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			if in.r == in.w {
				in.release()
			}
			return false
		}
		in.tryN, in.tryErr = max(n, 0), err
		return true
	}
}
