package link

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Config is what a Link needs to know.
type Config struct {
	// Network is where it listens and dials. Default: OS.
	Network Network

	// Addr is where it listens, host:port; port 0 takes a free one. Advertise is what others dial. Default: where it listens,
	// or, if that is all addresses, the first of this machine.
	Addr, Advertise string

	// Key is the cluster's key (16, 24 or 32 bytes), or nil. All brokers of a cluster have the same.
	Key []byte

	// ClusterID is the cluster that this broker belongs to, empty while it does not. It is asked at each handshake.
	ClusterID func() string

	// Name says which broker this is, for the other's logs. It may be nil, and may say "".
	Name func() string

	// Build is this build's version.
	Build string

	// Now is the wall clock. Default: time.Now.
	Now func() time.Time

	Logger *slog.Logger
}

const (
	handshakeTimeout = 5 * time.Second
	handshakesMax    = 128  // connections at once that have not shown what they are
	inboundMax       = 4096 // connections at once that others have dialed
	tasksMax         = 1024 // calls at once of one peer
	peersMax         = 4096
	largeBudget      = 256 << 20
)

// Handler executes a call. The body is the handler's own. An error reaches the caller as its protocol.Code and its text.
type Handler func(ctx context.Context, from Peer, body []byte) ([]byte, error)

// Link is one broker's end of all connections between brokers.
type Link struct {
	cfg     Config // set in Listen, never changed
	psk     []byte
	process int64
	addr    string
	lis     net.Listener
	packets net.PacketConn

	ctx     context.Context // ends when the link is closed
	stop    context.CancelFunc
	wg      sync.WaitGroup
	clocks  clocks
	large   atomic.Int64 // what is left of largeBudget
	pending atomic.Int64 // handshakes of others under way
	inbound atomic.Int64
	streams chan net.Conn
	count   struct{ in, out, dropped, refused atomic.Int64 }

	mu       sync.RWMutex
	closed   bool
	handlers map[string]Handler
	messages map[string]func(Peer, []byte)
	downs    []func(addr string, refused bool)
	remotes  map[string]*remote
	open     map[net.Conn]struct{} // to be closed with the link
	said     map[string]time.Time  // what has been logged, and when
}

// Listen opens the cluster address and serves it until Close.
func Listen(ctx context.Context, cfg Config) (*Link, error) {
	if cfg.Network == nil {
		cfg.Network = OS()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	l := &Link{
		cfg: cfg, handlers: map[string]Handler{}, messages: map[string]func(Peer, []byte){}, remotes: map[string]*remote{},
		open: map[net.Conn]struct{}{}, said: map[string]time.Time{}, streams: make(chan net.Conn),
		clocks: clocks{log: cfg.Logger, said: map[string]time.Duration{}},
	}
	l.large.Store(largeBudget)
	if err := checkKey(cfg.Key); err != nil {
		return nil, fmt.Errorf("the cluster key must have 16, 24 or 32 bytes: %w", err)
	}
	if len(cfg.Key) > 0 {
		psk, err := presharedKey(cfg.Key)
		if err != nil {
			return nil, fmt.Errorf("cluster key: %w", err)
		}
		l.psk = psk
	}
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, err
	}
	l.process = int64(binary.BigEndian.Uint64(random[:]) >> 1)
	if err := l.listen(ctx); err != nil {
		return nil, err
	}
	l.ctx, l.stop = context.WithCancel(context.Background())
	l.wg.Add(1)
	go l.accept()
	return l, nil
}

// listen takes one port for TCP and UDP.
func (l *Link) listen(ctx context.Context) error {
	host, port, err := net.SplitHostPort(l.cfg.Addr)
	if err != nil {
		return fmt.Errorf("cluster address %q: %w (host:port is wanted, such as 127.0.0.1:9190)", l.cfg.Addr, err)
	}
	for attempt := 0; ; attempt++ {
		lis, err := l.cfg.Network.Listen(ctx, l.cfg.Addr)
		if err != nil {
			return fmt.Errorf("listen on cluster address %s (--cluster-listen): %w", l.cfg.Addr, err)
		}
		_, got, err := net.SplitHostPort(lis.Addr().String())
		if err != nil {
			_ = lis.Close()
			return fmt.Errorf("cluster address: %w", err)
		}
		packets, err := l.cfg.Network.ListenPacket(ctx, net.JoinHostPort(host, got))
		if err != nil {
			_ = lis.Close()
			if port == "0" && attempt < 20 { // somebody else has that one for UDP
				continue
			}
			return fmt.Errorf("listen on cluster address %s, UDP (--cluster-listen): %w", l.cfg.Addr, err)
		}
		l.lis, l.packets = lis, packets
		l.addr = l.cfg.Advertise
		if l.addr == "" {
			l.addr = net.JoinHostPort(reachable(host), got)
		} else if h, p, err := net.SplitHostPort(l.addr); err == nil && p == "0" {
			l.addr = net.JoinHostPort(h, got)
		}
		return nil
	}
}

// reachable is host, or for "all addresses" one of this machine's that others can reach: IPv4 before IPv6, and loopback only
// where there is nothing else.
func reachable(host string) string {
	ip := net.ParseIP(host)
	if host != "" && (ip == nil || !ip.IsUnspecified()) {
		return host
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "127.0.0.1"
	}
	six := ""
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		switch {
		case !ok || !n.IP.IsGlobalUnicast():
		case n.IP.To4() != nil:
			return n.IP.String()
		case six == "":
			six = n.IP.String()
		}
	}
	if six != "" {
		return six
	}
	return "127.0.0.1"
}

// Addr is what others dial.
func (l *Link) Addr() string { return l.addr }

// Bound is where the link listens, which differs from Addr where another address is advertised.
func (l *Link) Bound() string { return l.lis.Addr().String() }

// Key is the cluster's key, or nil.
func (l *Link) Key() []byte { return l.cfg.Key }

// Handle has calls of a method executed by h, each in a goroutine of its own.
func (l *Link) Handle(method string, h Handler) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.handlers[method] = h
}

// OnMessage has messages of a kind given to h, one after the other as they were sent, the small ones (64 KiB) and the large
// ones each among themselves. While h works nothing else is read from that peer, so it must not wait for long. The body is h's.
func (l *Link) OnMessage(kind string, h func(from Peer, body []byte)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.messages[kind] = h
}

// OnDown has f told when a connection with a peer broke and could not be made again at once. refused: the fresh dial was
// refused, so nothing listens there: the process is dead. Otherwise nobody answered, and it may be alive behind a cut.
func (l *Link) OnDown(f func(addr string, refused bool)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.downs = append(l.downs, f)
}

func (l *Link) handler(method string) Handler {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.handlers[method]
}

func (l *Link) deliver(from Peer, kind string, body []byte) {
	l.mu.RLock()
	h := l.messages[kind]
	l.mu.RUnlock()
	if h != nil {
		h(from, body)
	}
}

func (l *Link) down(addr string, refused bool) {
	l.mu.RLock()
	downs := l.downs
	l.mu.RUnlock()
	for _, f := range downs {
		f(addr, refused)
	}
}

// Call has a method executed by the broker at addr. An error that wraps ErrUnreachable says that the call was never sent;
// one that wraps ErrLost, or ctx's, that the outcome is unknown; any other is the handler's, with its protocol.Code.
func (l *Link) Call(ctx context.Context, addr, method string, body []byte) ([]byte, error) {
	if len(body) > BodyBytesMax || len(method) > nameBytesMax {
		return nil, dialErrorf(ErrTooLarge, "call %s at %s: %d bytes, more than %d", method, addr, len(body), BodyBytesMax)
	}
	r, err := l.remote(addr)
	if err != nil {
		return nil, err
	}
	c, err := r.connected(ctx)
	if err != nil {
		return nil, err
	}
	return c.call(ctx, addr, method, body)
}

// Send queues a one-way message and never waits. It says whether the message was queued: that is no promise that it
// arrives. The body must not be changed afterwards.
func (l *Link) Send(addr, kind string, body []byte) bool {
	ok := false
	if r, err := l.remote(addr); err == nil && len(body) <= BodyBytesMax && len(kind) <= nameBytesMax {
		ok = r.send(messageFrame(kind, body))
	}
	if !ok {
		l.count.dropped.Add(1)
	}
	return ok
}

func (l *Link) remote(addr string) (*remote, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.remotes[addr]
	switch {
	case l.closed:
		return nil, dialErrorf(ErrClosed, "this broker is closing")
	case r != nil:
		return r, nil
	case len(l.remotes) >= peersMax:
		return nil, dialErrorf(ErrBusy, "%s: more than %d other addresses are in use", addr, peersMax)
	}
	if _, port, err := net.SplitHostPort(addr); err != nil {
		return nil, dialErrorf(err, "cluster address %q: host:port is wanted, such as broker-1:9190", addr)
	} else if n, err := strconv.Atoi(port); err == nil && (n <= 0 || n > 65535) {
		return nil, dialErrorf(ErrRefused, "cluster address %q: there is no port %d", addr, n)
	}
	r = &remote{link: l, addr: addr}
	l.remotes[addr] = r
	return r, nil
}

// begin says whether something more may be started, for which wg.Done must be called.
func (l *Link) begin() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return false
	}
	l.wg.Add(1)
	return true
}

// pause ends before its time when wake is closed. It is false when the link was closed meanwhile.
func (l *Link) pause(d time.Duration, wake <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-wake:
		return true
	case <-l.ctx.Done():
		return false
	}
}

func (l *Link) me(purpose byte) Peer {
	p := Peer{Addr: l.addr, Build: l.cfg.Build, Process: l.process, purpose: purpose, clock: l.cfg.Now()}
	if l.cfg.ClusterID != nil {
		p.ClusterID = l.cfg.ClusterID()
	}
	if l.cfg.Name != nil {
		p.Name = l.cfg.Name()
	}
	return p
}

// dialed is a connection after its handshake.
type dialed struct {
	net  net.Conn
	peer Peer
}

// connect dials addr and shakes hands, within timeout.
func (l *Link) connect(ctx context.Context, addr string, purpose byte, timeout time.Duration) (*dialed, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	c, err := l.cfg.Network.Dial(ctx, addr)
	if err != nil {
		if l.ctx.Err() != nil {
			return nil, dialErrorf(ErrClosed, "this broker is closing")
		}
		return nil, explainDial(addr, err)
	}
	interrupted := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	out, peer, err := hail(c, addr, l.psk, l.me(purpose))
	if !interrupted() && err == nil { // its time ended just now
		err = explainHail(addr, ctx.Err())
	}
	if err != nil {
		_ = c.Close()
		if l.ctx.Err() != nil {
			return nil, dialErrorf(ErrClosed, "this broker is closing")
		}
		return nil, err
	}
	l.clocks.compare(peer, l.cfg.Now(), peer.clock)
	return &dialed{net: out, peer: peer}, nil
}

// track has c closed with the link, until what it returns is called.
func (l *Link) track(c net.Conn) (untrack func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = c.Close()
		return func() {}
	}
	l.open[c] = struct{}{}
	return func() {
		l.mu.Lock()
		delete(l.open, c)
		l.mu.Unlock()
	}
}

// Close ends all connections and returns when nothing of the link runs any more.
func (l *Link) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		l.wg.Wait()
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	// Nothing listens any more before the first connection ends: a peer that dials afresh is refused, and so knows.
	err := errors.Join(l.lis.Close(), l.packets.Close())
	l.stop()
	l.mu.Lock()
	for c := range l.open {
		_ = c.Close()
	}
	l.mu.Unlock()
	l.wg.Wait()
	return err
}

// Stats are counts since the link was opened, and what is there now.
type Stats struct {
	BytesIn, BytesOut int64
	Dropped           int64 // messages that could not be queued or sent
	Refused           int64 // connections whose handshake failed here
	Outbound, Inbound int   // connections
}

// Stats counts.
func (l *Link) Stats() Stats {
	s := Stats{
		BytesIn: l.count.in.Load(), BytesOut: l.count.out.Load(), Dropped: l.count.dropped.Load(),
		Refused: l.count.refused.Load(), Inbound: int(l.inbound.Load()),
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, r := range l.remotes {
		r.mu.Lock()
		if r.conn != nil {
			s.Outbound++
		}
		r.mu.Unlock()
	}
	return s
}

// Process is what tells this process from every other, also from an earlier one of the same broker.
func (l *Link) Process() int64 { return l.process }
