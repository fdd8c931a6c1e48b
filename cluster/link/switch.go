package link

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
	"weak"
)

// Switch is a set of networks in one process, one for each broker, whose links are cut and healed by name. Its networks use
// the machine's sockets, so that clients need nothing special; only what a broker's network dials or sends to another's
// address goes through the switch. A cut behaves as one of a wire: what is under way waits, dials are not answered, and
// connections that stay cut break as the kernel would break them.
type Switch struct {
	mu      sync.Mutex
	owners  map[string]string  // broker by address
	cuts    map[direction]bool // that were cut one by one
	alone   map[string]bool    // brokers that are isolated from all others
	frozen  map[string]bool
	conns   map[*switched]struct{}
	held    map[direction][]func() // packets of the frozen
	changed chan struct{}          // closed, and replaced, with each change
}

type direction struct{ from, to string }

// heldMax is how many packets are kept for, or of, a frozen broker.
const heldMax = 128

// NewSwitch returns a switch in which every broker reaches every other.
func NewSwitch() *Switch {
	return &Switch{
		owners: map[string]string{}, cuts: map[direction]bool{}, alone: map[string]bool{}, frozen: map[string]bool{},
		conns: map[*switched]struct{}{}, held: map[direction][]func(){}, changed: make(chan struct{}),
	}
}

// Of is a new network of the broker with this name. A broker that was killed gets a new one when it starts again.
func (s *Switch) Of(name string) *Port {
	return &Port{
		s: s, name: name, closers: map[any]func(){}, accepted: map[weak.Pointer[net.TCPConn]]struct{}{},
	}
}

// Cut cuts both directions between a and b.
func (s *Switch) Cut(a, b string) {
	s.change(func() { s.cuts[direction{a, b}], s.cuts[direction{b, a}] = true, true })
}

// CutOneWay loses what from sends to to.
func (s *Switch) CutOneWay(from, to string) {
	s.change(func() { s.cuts[direction{from, to}] = true })
}

// Heal lets a and b reach each other again, as far as neither is isolated.
func (s *Switch) Heal(a, b string) {
	s.change(func() {
		delete(s.cuts, direction{a, b})
		delete(s.cuts, direction{b, a})
	})
}

// Isolate cuts a off from all others, also from those that come later.
func (s *Switch) Isolate(a string) { s.change(func() { s.alone[a] = true }) }

// Rejoin ends Isolate.
func (s *Switch) Rejoin(a string) { s.change(func() { delete(s.alone, a) }) }

// HealAll ends all cuts and isolations. Frozen brokers stay so.
func (s *Switch) HealAll() {
	s.change(func() {
		clear(s.cuts)
		clear(s.alone)
	})
}

// Freeze holds everything that goes to and from a, as if its process were stopped: connections stay, and are taken, but
// nothing moves on them.
func (s *Switch) Freeze(a string) { s.change(func() { s.frozen[a] = true }) }

// Thaw lets what Freeze has held go on.
func (s *Switch) Thaw(a string) {
	var due []func()
	s.change(func() {
		delete(s.frozen, a)
		for d, packets := range s.held {
			if !s.frozen[d.from] && !s.frozen[d.to] {
				due = append(due, packets...)
				delete(s.held, d)
			}
		}
	})
	for _, f := range due {
		f()
	}
}

// Cuts lists what does not reach its end: "a->b" for a cut direction, "a" for an isolated broker, "a frozen".
func (s *Switch) Cuts() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for d := range s.cuts {
		out = append(out, d.from+"->"+d.to)
	}
	for a := range s.alone {
		out = append(out, a)
	}
	for a := range s.frozen {
		out = append(out, a+" frozen")
	}
	slices.Sort(out)
	return out
}

// String is Cuts on one line.
func (s *Switch) String() string {
	if cuts := s.Cuts(); len(cuts) > 0 {
		return "cut: " + strings.Join(cuts, ", ")
	}
	return "whole"
}

// change makes a change, wakes all who wait, and has connections broken that are still cut after a while.
func (s *Switch) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
	for c := range s.conns {
		cut := s.cut(c.from, c.to)
		switch {
		case cut && c.timer == nil:
			c.timer = time.AfterFunc(silenceMax, func() { c.reset(errSilence) })
		case !cut && c.timer != nil:
			c.timer.Stop()
			c.timer = nil
		}
	}
}

// cut says whether a and b cannot hold a connection. s.mu is held here and in passes.
func (s *Switch) cut(a, b string) bool { return !s.reaches(a, b) || !s.reaches(b, a) }

func (s *Switch) reaches(from, to string) bool {
	return from == to || to == "" || !s.cuts[direction{from, to}] && !s.alone[from] && !s.alone[to]
}

func (s *Switch) passes(from, to string) bool {
	return from == to || to == "" || s.reaches(from, to) && !s.frozen[from] && !s.frozen[to]
}

// owner is the broker that listens, or last listened, at an address; empty: none of this switch.
func (s *Switch) owner(addr string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owners[addr]
}

func (s *Switch) own(addr net.Addr, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owners[addr.String()] = name
	if _, port, err := net.SplitHostPort(addr.String()); err == nil { // a listener on all addresses is reached by loopback
		for _, host := range []string{"127.0.0.1", "::1"} {
			if key := net.JoinHostPort(host, port); s.owners[key] == "" {
				s.owners[key] = name
			}
		}
	}
}

// Port is one broker's network in a Switch.
type Port struct {
	s    *Switch
	name string

	mu       sync.Mutex
	killed   bool
	closers  map[any]func() // of what is open, besides accepted
	accepted map[weak.Pointer[net.TCPConn]]struct{}
}

// Kill takes the network from the broker as the end of its process would: nothing listens any more, connections are reset,
// and it cannot open new ones.
func (p *Port) Kill() {
	p.mu.Lock()
	p.killed = true
	closers, accepted := p.closers, p.accepted
	p.closers, p.accepted = map[any]func(){}, nil
	p.mu.Unlock()
	for _, f := range closers {
		f()
	}
	for w := range accepted {
		if c := w.Value(); c != nil {
			_ = c.SetLinger(0)
			_ = c.Close()
		}
	}
}

// keep registers what Kill closes. Its error is that of a killed network.
func (p *Port) keep(key any, closer func()) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.killed {
		return fmt.Errorf("broker %s was killed: %w", p.name, net.ErrClosed)
	}
	p.closers[key] = closer
	return nil
}

func (p *Port) forget(key any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.closers, key)
}

// Listen opens a real listener.
func (p *Port) Listen(ctx context.Context, addr string) (net.Listener, error) {
	l, err := OS().Listen(ctx, addr)
	if err != nil {
		return nil, err
	}
	out := &listener{Listener: l, port: p}
	if err := p.keep(out, func() { _ = l.Close() }); err != nil {
		_ = l.Close()
		return nil, err
	}
	p.s.own(l.Addr(), p.name)
	return out, nil
}

// listener remembers what it has accepted, and hands it out as it is: brokers send files through it.
type listener struct {
	net.Listener
	port *Port
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return c, nil
	}
	p, w := l.port, weak.Make(tcp)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.killed {
		_ = tcp.SetLinger(0)
		_ = tcp.Close()
		return nil, net.ErrClosed
	}
	p.accepted[w] = struct{}{}
	runtime.AddCleanup(tcp, func(w weak.Pointer[net.TCPConn]) {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.accepted, w)
	}, w)
	return tcp, nil
}

func (l *listener) Close() error {
	l.port.forget(l)
	return l.Listener.Close()
}

// Dial opens a connection that obeys the switch.
func (p *Port) Dial(ctx context.Context, addr string) (net.Conn, error) {
	to := ""
	if tcp, err := net.ResolveTCPAddr("tcp", addr); err == nil {
		to = p.s.owner(tcp.String())
	}
	for {
		p.s.mu.Lock()
		cut, changed := p.s.cut(p.name, to), p.s.changed
		p.s.mu.Unlock()
		if !cut {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("dial %s: %w", addr, ctx.Err())
		}
	}
	c, err := OS().Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	out := &switched{Conn: c, s: p.s, port: p, from: p.name, to: to, done: make(chan struct{})}
	if err := p.keep(out, func() { out.reset(net.ErrClosed) }); err != nil {
		_ = c.Close()
		return nil, err
	}
	p.s.mu.Lock()
	p.s.conns[out] = struct{}{}
	p.s.mu.Unlock()
	p.s.change(func() {}) // it may have been cut since
	return out, nil
}
