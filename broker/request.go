package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/protocol"
)

// request is one request of a connection, from the moment its header is read until its answer has been handed to the
// connection.
type request struct {
	ctx context.Context // ends with the connection
	key int16
	ver int16

	correlation int32
	clientID    *string

	msg kmsg.Request // decoded body; nil for Produce and Fetch, which parse body in place

	answer func(*protocol.Response) // fills the request's slot in the connection's queue
}

// version is the request's API version.
func (r *request) version() int16 { return r.ver }

// Reply answers r. It may be called from any goroutine, once.
func (r *request) Reply(resp kmsg.Response) {
	resp.SetVersion(r.ver)
	_ = resp
	panic("not wired yet")
}
