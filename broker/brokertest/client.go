// Package brokertest runs brokers in the test's own process and speaks to them in raw requests, so that a test sees
// every field of an answer, and may send what no client library would.
//
// Invariant: nothing that it starts outlives the test.
package brokertest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/protocol"
)

// patience is how long a test waits for an answer, or for a connection to be closed.
const patience = 20 * time.Second

// Client is one connection. It is used by one goroutine at a time, but one may send while another receives.
type Client struct {
	T    testing.TB
	ID   string // client id; "test" unless changed
	Conn net.Conn

	r    *bufio.Reader
	next int32
}

// Dial connects. The connection is closed with the test.
func Dial(t testing.TB, addr string) *Client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return &Client{T: t, ID: "test", Conn: nc, r: bufio.NewReader(nc)}
}

// Encode makes the bytes of a request at the version that is set in it, with its size. Requests made by kmsg.NewPtr…
// without a version are at version 0: see Latest.
func (c *Client) Encode(req kmsg.Request) []byte {
	c.next++
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID(c.ID)).AppendRequest(nil, req, c.next)
}

// Latest sets a request to the highest version that the broker answers.
func Latest[R kmsg.Request](req R) R {
	api, _ := protocol.Lookup(req.Key())
	req.SetVersion(api.Max)
	return req
}

// At sets a request to a version.
func At[R kmsg.Request](version int16, req R) R {
	req.SetVersion(version)
	return req
}

// Send sends bytes as they are.
func (c *Client) Send(b []byte) {
	c.T.Helper()
	if _, err := c.Conn.Write(b); err != nil {
		c.T.Fatalf("send: %v", err)
	}
}

// Recv receives one answer without its size: header and body.
func (c *Client) Recv() []byte {
	c.T.Helper()
	b, err := c.TryRecv(patience)
	if err != nil {
		c.T.Fatalf("receive: %v", err)
	}
	return b
}

// TryRecv is Recv for a test that does not know whether an answer comes.
func (c *Client) TryRecv(within time.Duration) ([]byte, error) {
	_ = c.Conn.SetReadDeadline(time.Now().Add(within))
	var size [4]byte
	if _, err := io.ReadFull(c.r, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(c.r, b)
	return b, err
}

// Decode decodes an answer to req, and returns its correlation id.
func Decode(req kmsg.Request, raw []byte) (kmsg.Response, int32, error) {
	if len(raw) < 4 {
		return nil, 0, errors.New("an answer without a header")
	}
	resp := req.ResponseKind()
	body := raw[4:]
	if resp.IsFlexible() && req.Key() != 18 {
		if len(body) == 0 || body[0] != 0 {
			return nil, 0, errors.New("no tagged fields in the header of a flexible answer")
		}
		body = body[1:]
	}
	if err := resp.ReadFrom(body); err != nil {
		return nil, 0, fmt.Errorf("answer to %T version %d: %w", req, req.GetVersion(), err)
	}
	return resp, int32(binary.BigEndian.Uint32(raw)), nil
}

// Do sends a request and returns the answer to it.
func (c *Client) Do(req kmsg.Request) kmsg.Response {
	c.T.Helper()
	c.Send(c.Encode(req))
	return c.Answer(req)
}

// Answer receives the answer to req, which was sent last.
func (c *Client) Answer(req kmsg.Request) kmsg.Response {
	c.T.Helper()
	resp, _, err := Decode(req, c.Recv())
	if err != nil {
		c.T.Fatal(err)
	}
	return resp
}

// Closed expects that the broker closes the connection and sends nothing more.
func (c *Client) Closed() {
	c.T.Helper()
	b, err := c.TryRecv(patience)
	var timeout net.Error
	switch {
	case err == nil:
		c.T.Fatalf("the broker sent %d bytes in place of closing the connection", len(b))
	case errors.As(err, &timeout) && timeout.Timeout():
		c.T.Fatal("the connection is still open")
	}
}
