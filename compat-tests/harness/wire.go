package harness

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Conn is a connection on which a test sends requests, whole or broken, and reads what comes back.
type Conn struct {
	net.Conn
	correlation int32
	formatter   *kmsg.RequestFormatter
}

// Dial connects to a broker.
func Dial(addr string) (*Conn, error) {
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: c, formatter: kmsg.NewRequestFormatter(kmsg.FormatterClientID("compat"))}, nil
}

// Frame is req as bytes with its size in front, under a new correlation id.
func (c *Conn) Frame(req kmsg.Request) (frame []byte, correlation int32) {
	c.correlation++
	return c.formatter.AppendRequest(nil, req, c.correlation), c.correlation
}

// Ask sends req and decodes the answer.
func (c *Conn) Ask(req kmsg.Request, limit time.Duration) (kmsg.Response, error) {
	frame, correlation := c.Frame(req)
	if _, err := c.Write(frame); err != nil {
		return nil, err
	}
	body, err := c.ReadFrame(limit)
	if err != nil {
		return nil, err
	}
	return Decode(req, correlation, body)
}

// ReadFrame reads one answer without its size. io.EOF (or a reset) means that the broker has closed the connection.
func (c *Conn) ReadFrame(limit time.Duration) ([]byte, error) {
	if err := c.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	n := int32(binary.BigEndian.Uint32(size[:]))
	if n < 4 || n > 256<<20 {
		return nil, fmt.Errorf("an answer of %d bytes", n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(c, body); err != nil {
		return nil, fmt.Errorf("an answer of %d bytes that breaks off: %w", n, err)
	}
	return body, nil
}

// Decode parses an answer to req. It is strict: the answer must be what its own fields encode to, byte for byte.
func Decode(req kmsg.Request, correlation int32, frame []byte) (kmsg.Response, error) {
	if got := int32(binary.BigEndian.Uint32(frame)); got != correlation {
		return nil, fmt.Errorf("correlation id %d, sent %d", got, correlation)
	}
	body := frame[4:]
	resp := req.ResponseKind()
	// Answers of ApiVersions have the old header, whatever the version, so that every client can read them.
	if req.IsFlexible() && req.Key() != 18 {
		if len(body) == 0 || body[0] != 0 {
			return nil, errors.New("the response header has tags")
		}
		body = body[1:]
	}
	if err := resp.ReadFrom(body); err != nil {
		return nil, fmt.Errorf("decode %T version %d from %x: %w", resp, resp.GetVersion(), body, err)
	}
	if again := resp.AppendTo(nil); len(again) != len(body) {
		return resp, &LengthError{Sent: len(body), Encoded: len(again)}
	}
	return resp, nil
}

// LengthError says that an answer has other bytes than its fields need.
type LengthError struct{ Sent, Encoded int }

func (e *LengthError) Error() string {
	return fmt.Sprintf("an answer of %d bytes whose fields need %d", e.Sent, e.Encoded)
}
