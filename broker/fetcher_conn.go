package broker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"moldau.io/moldau/protocol"
)

const (
	// fetchBytesSmall is the size of a connection's buffer while there is little to fetch.
	fetchBytesSmall = 16 << 10
	// fetchBytesMax bounds an answer: replica.fetch.response.max.bytes, and one batch of any size above it.
	fetchBytesMax = 1 << 30
	// fetchQuietMax is how many answers in a row must fit into the small buffer before a larger one is given up.
	fetchQuietMax = 16
)

// errInterrupted says that a read was ended by interrupt. Nothing is lost: the next one goes on.
var errInterrupted = errors.New("interrupted")

// fetchConn is a follower's connection to a leader. Answers are read where they are taken in: records go from the buffer to
// the file.
type fetchConn struct {
	nc    net.Conn
	out   []byte
	buf   []byte
	have  int // bytes in buf
	used  int // of those, the answer that was returned last
	quiet int // answers in a row that would have fitted into a small buffer

	deadline time.Time
}

func newFetchConn(nc net.Conn) *fetchConn {
	return &fetchConn{nc: nc, buf: make([]byte, fetchBytesSmall)}
}

func (c *fetchConn) close() { _ = c.nc.Close() }

// send writes a request.
func (c *fetchConn) send(q *protocol.ReplicaFetch) error {
	c.out = q.Append(c.out[:0])
	return c.write(c.out)
}

func (c *fetchConn) write(b []byte) error {
	_ = c.nc.SetWriteDeadline(time.Now().Add(frameTime))
	_, err := c.nc.Write(b)
	return err
}

// limit sets how long the next read may take.
func (c *fetchConn) limit(d time.Duration) {
	c.deadline = time.Now().Add(d)
	_ = c.nc.SetReadDeadline(c.deadline)
}

// interrupt ends a read that is under way. It may be called by anyone.
func (c *fetchConn) interrupt() { _ = c.nc.SetReadDeadline(time.Unix(1, 0)) }

// read returns the next answer without its size. It is valid until the next read.
func (c *fetchConn) read() ([]byte, error) {
	if c.used > 0 {
		c.have = copy(c.buf, c.buf[c.used:c.have])
		c.used = 0
		c.shrink()
	}
	for {
		if c.have >= 4 {
			size := int(binary.BigEndian.Uint32(c.buf)) + 4
			if size < 8 || size > fetchBytesMax {
				return nil, fmt.Errorf("an answer of %d bytes", size-4)
			}
			if c.have >= size {
				c.used = size
				return c.buf[4:size], nil
			}
			if size > len(c.buf) {
				c.buf = append(c.buf[:c.have], make([]byte, size-c.have)...)
			}
		}
		n, err := c.nc.Read(c.buf[c.have:])
		c.have += n
		if err != nil && n == 0 {
			if errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(c.deadline) {
				return nil, errInterrupted
			}
			return nil, err
		}
	}
}

// shrink gives up a large buffer after a while without large answers.
func (c *fetchConn) shrink() {
	if len(c.buf) == fetchBytesSmall || c.have > fetchBytesSmall/2 {
		c.quiet = 0
		return
	}
	if c.quiet++; c.quiet > fetchQuietMax {
		small := make([]byte, fetchBytesSmall)
		copy(small, c.buf[:c.have])
		c.buf, c.quiet = small, 0
	}
}
