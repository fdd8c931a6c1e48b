package link

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// silenceMax is how long a peer's kernel may be silent before its connection is given up.
const silenceMax = 1500 * time.Millisecond

// tune makes the kernel notice within one or two seconds that a peer cannot be reached any more, whether or not something is
// being sent. Where an option cannot be set, the kernel's default holds.
func tune(c net.Conn) {
	tcp, ok := c.(interface {
		SetKeepAliveConfig(net.KeepAliveConfig) error
		SyscallConn() (syscall.RawConn, error)
	})
	if !ok {
		return
	}
	_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 2})
	if raw, err := tcp.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silenceMax.Milliseconds()))
		})
	}
}
