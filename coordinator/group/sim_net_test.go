package group

import (
	"slices"
	"time"

	"moldau.io/moldau/protocol"
)

// simPeer is what all clients are made of: a process with a connection to the coordinator of its group, which may stop for
// a while, or die and be started anew.
type simPeer struct {
	w       *simWorld
	name    string
	log     *simLog
	conn    *simConn
	life    int      // rises with every death; what was meant for an earlier one is void
	dead    bool     // and not started anew yet
	paused  int64    // it does nothing before
	stopped []func() // what it does then
	sent    int64    // when the last request on any connection arrives
	guest   bool     // it is one too many, and does not stay
}

// simConn is a connection. Requests arrive in their order, and so do answers.
type simConn struct {
	peer    *simPeer
	broker  *simBroker
	life    int // of the process that opened it
	open    bool
	arrives int64     // when the last answer does
	asks    []*simAsk // that the broker owes an answer
	all     []*simAsk // and those whose answer is on its way
}

type simAsk struct {
	req       Request
	answer    Response
	f         func(Response)
	delivered bool
	done      bool
}

// at runs f after d in the life of now, unless that ends before. A process that stands still does it when it goes on.
func (p *simPeer) at(d time.Duration, f func()) {
	life := p.life
	var step func()
	step = func() {
		switch {
		case p.life != life:
		case p.paused > p.w.now:
			p.stopped = append(p.stopped, step)
		default:
			f()
		}
	}
	p.w.after(d, step)
}

// pause lets the process stand still.
func (p *simPeer) pause(d time.Duration) {
	p.paused = p.w.now + int64(d)
	p.w.after(d, p.resume)
}

func (p *simPeer) resume() {
	if p.paused > p.w.now {
		return // it was stopped again meanwhile
	}
	steps := p.stopped
	p.stopped = nil
	for _, step := range steps {
		step()
	}
}

// ask sends a request and gives its answer to f: nil if there is none because the connection broke or limit passed.
func (p *simPeer) ask(req Request, limit time.Duration, f func(Response)) {
	if p.conn == nil {
		p.connect()
	}
	c, w := p.conn, p.w
	a := &simAsk{req: req, f: f}
	c.asks = append(c.asks, a)
	c.all = append(slices.DeleteFunc(c.all, func(o *simAsk) bool { return o.done }), a)
	p.sent = max(p.sent, w.now+int64(w.delay()))
	w.after(time.Duration(p.sent-w.now), func() { c.deliver(a) })
	p.at(limit, func() {
		if !a.done {
			w.mark("a request times out")
			c.cut()
		}
	})
}

// delay is the time that a message takes.
func (w *simWorld) delay() time.Duration {
	if w.storm && w.chance(20) {
		return w.some(2 * time.Second)
	}
	return w.some(4 * time.Millisecond)
}

// connect finds the coordinator, or somebody who was it or will be.
func (p *simPeer) connect() {
	b := p.log.life.broker
	if p.w.storm && p.w.chance(10) {
		b = p.w.brokers[p.w.rng.IntN(len(p.w.brokers))]
	}
	p.conn = &simConn{peer: p, broker: b, life: p.life, open: true}
}

// disconnect lets the next request go to whoever is the coordinator then.
func (p *simPeer) disconnect() {
	if p.conn != nil {
		p.conn.cut()
	}
}

// deliver brings a request to the machine.
func (c *simConn) deliver(a *simAsk) {
	if a.delivered {
		return
	}
	a.delivered = true
	w := c.peer.w
	var life *simLife
	for _, l := range c.peer.log.lives {
		if l.broker == c.broker {
			life = l
		}
	}
	if life == nil {
		c.answered(a, a.req.Refuse(protocol.NotCoordinator))
		return
	}
	w.trace(c.peer.name, int64(life.ticket))
	life.handle(&simCall{req: a.req, since: w.now, reply: func(r Response) { c.answered(a, r) }})
}

// answered sends answers back, each after those to earlier requests.
func (c *simConn) answered(a *simAsk, r Response) {
	a.answer = r
	w := c.peer.w
	for len(c.asks) > 0 && c.asks[0].answer != nil {
		first := c.asks[0]
		c.asks = c.asks[1:]
		if !c.open {
			continue
		}
		c.arrives = max(c.arrives, w.now+int64(w.delay()))
		c.peer.at(time.Duration(c.arrives-w.now), func() {
			if c.open && c.life == c.peer.life && !first.done {
				first.done = true
				first.f(first.answer)
			}
		})
	}
}

// cut breaks the connection. Requests on their way arrive or do not; answers do not.
func (c *simConn) cut() {
	if !c.open {
		return
	}
	c.open = false
	p, w := c.peer, c.peer.w
	if p.conn == c {
		p.conn = nil
	}
	for _, a := range c.asks {
		if !a.delivered {
			switch {
			case w.chance(2):
				a.delivered = true // it is lost
			case w.opt.late:
				w.mark("a request arrives after later ones")
				a.delivered = true
				late := &simAsk{req: a.req}
				w.after(w.some(15*time.Second), func() { c.deliver(late) })
			}
		}
	}
	for _, a := range c.all {
		c.fail(a)
	}
}

func (c *simConn) fail(a *simAsk) {
	c.peer.at(c.peer.w.some(time.Millisecond), func() {
		if !a.done && c.life == c.peer.life {
			a.done = true
			a.f(nil)
		}
	})
}

// breakConnections is what clients see of a broker that is gone.
func (w *simWorld) breakConnections(b *simBroker, l *simLog) {
	for _, c := range w.clients {
		p := c.peer()
		if p.log == l && p.conn != nil && p.conn.broker == b {
			p.conn.cut()
		}
	}
}

// die is kill -9. Nobody says a word, but the kernel closes the connection.
func (p *simPeer) die() {
	p.disconnect()
	p.life++
	p.dead = true
}
