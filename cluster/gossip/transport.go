package gossip

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"moldau.io/moldau/cluster/link"
)

// transport lets memberlist use the link's port.
type transport struct {
	link    *link.Link
	ctx     context.Context // the gossip's
	streams chan net.Conn
	packets chan *memberlist.Packet

	mu     sync.Mutex
	failed map[string]error // of the last dial, by address: memberlist keeps only the text
}

func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	addr, err := resolve(context.Background(), t.link.Addr())
	if err != nil {
		return nil, 0, err
	}
	return addr.Addr().AsSlice(), int(addr.Port()), nil
}

func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return time.Time{}, err
	}
	_, err = t.link.Packets().WriteTo(b, net.UDPAddrFromAddrPort(to))
	return time.Now(), err
}

func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	c, err := t.link.DialStream(t.ctx, addr, timeout)
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.failed, addr)
	if err != nil && len(t.failed) < membersMax {
		t.failed[addr] = err
	}
	return c, err
}

// why is the error of the last dial to addr.
func (t *transport) why(addr string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed[addr]
}

func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }
func (t *transport) StreamCh() <-chan net.Conn           { return t.streams }

// Shutdown leaves the port to the link.
func (t *transport) Shutdown() error { return nil }

// resolve makes of host:port an address, IPv4 where there is one.
func resolve(ctx context.Context, addr string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddrPort(addr); err == nil {
		return a, nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return netip.AddrPort{}, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	for _, ip := range ips {
		if ip.Unmap().Is4() {
			return netip.AddrPortFrom(ip.Unmap(), uint16(n)), nil
		}
	}
	return netip.AddrPortFrom(ips[0], uint16(n)), nil
}
