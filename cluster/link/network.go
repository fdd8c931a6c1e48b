package link

import (
	"context"
	"net"
)

// Network is how a broker reaches others, and is reached. Implementations: OS, and Switch.Of, whose links can be cut.
type Network interface {
	Listen(ctx context.Context, addr string) (net.Listener, error)
	ListenPacket(ctx context.Context, addr string) (net.PacketConn, error)
	Dial(ctx context.Context, addr string) (net.Conn, error)
}

// OS is the network of the machine. A connection that it dials breaks a second or two after the other end, or the way to it,
// has gone silent.
func OS() Network { return osNetwork{} }

type osNetwork struct{}

func (osNetwork) Listen(ctx context.Context, addr string) (net.Listener, error) {
	var c net.ListenConfig
	return c.Listen(ctx, "tcp", addr)
}

func (osNetwork) ListenPacket(ctx context.Context, addr string) (net.PacketConn, error) {
	var c net.ListenConfig
	return c.ListenPacket(ctx, "udp", addr)
}

func (osNetwork) Dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err == nil {
		tune(c)
	}
	return c, err
}
