//go:build !linux

package link

import (
	"net"
	"time"
)

// silenceMax is how long a peer may be silent before its connection is given up.
const silenceMax = 2 * time.Second

// tune makes the kernel notice soon that a peer cannot be reached any more.
func tune(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 2})
	}
}
