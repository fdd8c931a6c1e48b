package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// What may be wrong with a connection. Errors wrap these and say of which address, and what to do.
var (
	// ErrUnreachable: no connection could be made, so that a call was never sent.
	ErrUnreachable = errors.New("unreachable")
	// ErrRefused: nothing listens at the address; the process is not there.
	ErrRefused = errors.New("connection refused")
	// ErrLost: the connection broke while an answer was awaited; the call may have been executed.
	ErrLost = errors.New("connection lost")
	// ErrOtherCluster: the two ends belong to different clusters.
	ErrOtherCluster = errors.New("other cluster")
	// ErrKey: one end has no key or another one.
	ErrKey = errors.New("cluster key")
	// ErrNotMoldau: what answers is no cluster address.
	ErrNotMoldau = errors.New("not a cluster address")
	// ErrSelf: the address is this process's own.
	ErrSelf = errors.New("own address")
	// ErrClosed: this link is closed.
	ErrClosed = errors.New("link closed")
	// ErrTooLarge: a body is larger than BodyBytesMax.
	ErrTooLarge = errors.New("too large for one message")
	// ErrBusy: more is waiting for the peer than may.
	ErrBusy = errors.New("too much waits for this peer")
)

// dialError is the error of a connection that could not be made. Its text is for people; it is ErrUnreachable too.
type dialError struct {
	text string
	kind error
}

func (e *dialError) Error() string   { return e.text }
func (e *dialError) Unwrap() []error { return []error{ErrUnreachable, e.kind} }

func dialErrorf(kind error, format string, a ...any) error {
	return &dialError{text: fmt.Sprintf(format, a...), kind: kind}
}

// explainDial says what a dial's error means.
func explainDial(addr string, err error) error {
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return dialErrorf(ErrRefused, "%s refuses connections: no broker listens there "+
			"(its --cluster-listen address is wanted, not its Kafka port)", addr)
	case errors.As(err, &dns):
		return dialErrorf(err, "%s: the name %s is not known: %v", addr, dns.Name, dns)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return dialErrorf(context.DeadlineExceeded,
			"%s does not answer: the machine is off, frozen, or a firewall drops its packets", addr)
	}
	return dialErrorf(err, "%s cannot be reached: %v", addr, err)
}

// hangUp says whether err is that of an end that closed the connection.
func hangUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE)
}
