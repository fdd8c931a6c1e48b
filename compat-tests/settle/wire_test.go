//go:build compat

package settle

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// answerLimit is how long an answer may take: JoinGroup waits for the others.
const answerLimit = 3 * time.Minute

// conn is the connection of one member.
type conn struct {
	net.Conn
	r           *bufio.Reader
	formatter   *kmsg.RequestFormatter
	correlation int32
	buf         []byte
}

func dial(addr string) (*conn, error) {
	c, err := net.DialTimeout("tcp", addr, time.Minute)
	if err != nil {
		return nil, err
	}
	return &conn{
		Conn: c, r: bufio.NewReaderSize(c, 512), formatter: kmsg.NewRequestFormatter(kmsg.FormatterClientID("settle")),
	}, nil
}

// ask sends req and reads its answer.
func (c *conn) ask(req kmsg.Request) (kmsg.Response, error) {
	c.correlation++
	c.buf = c.formatter.AppendRequest(c.buf[:0], req, c.correlation)
	if _, err := c.Write(c.buf); err != nil {
		return nil, err
	}
	if err := c.SetReadDeadline(time.Now().Add(answerLimit)); err != nil {
		return nil, err
	}
	var head [4]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return nil, fmt.Errorf("%T: %w", req, err)
	}
	body := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(c.r, body); err != nil {
		return nil, fmt.Errorf("%T: %w", req, err)
	}
	body = body[4:]
	if req.IsFlexible() && req.Key() != 18 {
		body = body[1:]
	}
	resp := req.ResponseKind()
	if err := resp.ReadFrom(body); err != nil {
		return nil, fmt.Errorf("%T: %w", resp, err)
	}
	return resp, nil
}
