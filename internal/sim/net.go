package sim

import (
	"math/rand/v2"
	"time"
)

// Net is connections between nodes, which are numbers. A connection keeps the order of its messages; two of them do not
// know of each other, so that what was sent on an old one may arrive after what was sent on a new one.
type Net struct {
	s    *Sim
	rng  *rand.Rand
	cfg  NetConfig
	cuts map[[2]int]bool // directed
	slow map[[2]int]time.Duration
	runs map[int]int // of each node: how often it was started; 0 for one that is down
	last int

	conns []*Conn // in the order in which they were made; broken ones are swept
}

// NetConfig is how a network behaves where nothing is wrong.
type NetConfig struct {
	DelayMin, DelayMax time.Duration // of a message
	Notice             time.Duration // at most so long after a node's end the others know that connections are broken
}

// NewNet makes a network whose nodes are all down.
func NewNet(s *Sim, cfg NetConfig) *Net {
	return &Net{s: s, rng: s.Rand("net"), cfg: cfg, cuts: map[[2]int]bool{}, slow: map[[2]int]time.Duration{}, runs: map[int]int{}}
}

// Up starts a node.
func (n *Net) Up(node int) {
	n.last++
	n.runs[node] = n.last
}

// Down ends a node: what is on the way to it is lost, and so is what it would have heard. Those at the other ends are told
// that their connections are broken, unless they are cut off.
func (n *Net) Down(node int) {
	n.runs[node] = 0
	for _, c := range n.conns {
		if c.ends[0].node != node && c.ends[1].node != node {
			continue
		}
		side := 0
		if c.ends[0].node == node {
			side = 1
		}
		c.ends[1-side].gone = true
		if !n.cuts[[2]int{node, c.ends[side].node}] {
			n.s.After(n.upTo(n.cfg.Notice), "notice", func() { c.broke(side) })
		}
	}
	n.sweep()
}

// Cut has nothing arrive at b that a sends, until Heal. Connections do not break by that.
func (n *Net) Cut(a, b int) { n.cuts[[2]int{a, b}] = true }

// IsCut says whether what a sends does not arrive at b.
func (n *Net) IsCut(a, b int) bool { return n.cuts[[2]int{a, b}] }

// Slow makes messages from a to b take so much longer; 0 ends that.
func (n *Net) Slow(a, b int, by time.Duration) { n.slow[[2]int{a, b}] = by }

// Heal ends all cuts and slowness. What was held up arrives.
func (n *Net) Heal() {
	clear(n.cuts)
	clear(n.slow)
	for _, c := range n.conns {
		c.resume()
	}
}

// HealOne ends the cut from a to b.
func (n *Net) HealOne(a, b int) {
	delete(n.cuts, [2]int{a, b})
	for _, c := range n.conns {
		c.resume()
	}
}

func (n *Net) upTo(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(n.rng.Int64N(int64(d)))
}

func (n *Net) delay(from, to int) time.Duration {
	return n.cfg.DelayMin + n.upTo(n.cfg.DelayMax-n.cfg.DelayMin) + n.slow[[2]int{from, to}]
}

func (n *Net) sweep() {
	live := n.conns[:0]
	for _, c := range n.conns {
		if !c.ends[0].gone || !c.ends[1].gone {
			live = append(live, c)
		}
	}
	clear(n.conns[len(live):])
	n.conns = live
}

// Conn is a connection. Its sides are 0, who made it, and 1.
type Conn struct {
	n    *Net
	ends [2]connEnd
}

type connEnd struct {
	node    int
	run     int       // of the node, when the connection was made
	gone    bool      // closed, broken or the node's end: nothing arrives here any more
	arrives time.Time // the last message to this side
	held    []message // to this side, cut off; in order
	onBreak func()
}

type message struct {
	name string
	do   func()
}

// Dial makes a connection. broken is called once if it breaks, not if side 0 closes it. Where the other node is down, it
// breaks.
func (n *Net) Dial(from, to int, broken func()) *Conn {
	c := &Conn{n: n}
	c.ends[0] = connEnd{node: from, run: n.runs[from], onBreak: broken}
	c.ends[1] = connEnd{node: to, run: n.runs[to]}
	n.conns = append(n.conns, c)
	if n.runs[to] == 0 {
		c.ends[1].gone = true
		if !n.cuts[[2]int{from, to}] && !n.cuts[[2]int{to, from}] {
			n.s.After(n.delay(from, to), "refused", func() { c.broke(0) })
		}
	}
	if len(n.conns)%64 == 0 {
		n.sweep()
	}
	return c
}

// OnBreak has broken called once if the connection breaks for side 1.
func (c *Conn) OnBreak(broken func()) { c.ends[1].onBreak = broken }

// Open says whether a side can be heard from still, as far as it knows.
func (c *Conn) Open(side int) bool { return c != nil && !c.ends[side].gone }

// To is the node of side 1.
func (c *Conn) To() int { return c.ends[1].node }

// Send has do happen at the other side, after what was sent there before. It may get lost with the connection.
func (c *Conn) Send(side int, name string, do func()) {
	if c.ends[side].gone {
		return
	}
	to := &c.ends[1-side]
	at := c.n.s.Now().Add(c.n.delay(c.ends[side].node, to.node))
	if at.Before(to.arrives) {
		at = to.arrives
	}
	to.arrives = at.Add(1) // nothing overtakes it
	c.n.s.At(at, name, func() { c.arrive(1-side, message{name, do}) })
}

// arrive brings a message to a side, or holds it up where the link is cut.
func (c *Conn) arrive(side int, m message) {
	to, from := &c.ends[side], &c.ends[1-side]
	switch {
	case to.gone || c.n.runs[to.node] != to.run:
		return
	case c.n.cuts[[2]int{from.node, to.node}] || len(to.held) > 0:
		to.held = append(to.held, m)
		return
	}
	m.do()
}

// resume brings what was held up.
func (c *Conn) resume() {
	for side := range c.ends {
		to := &c.ends[side]
		if len(to.held) == 0 || c.n.cuts[[2]int{c.ends[1-side].node, to.node}] {
			continue
		}
		held := to.held
		to.held = nil
		for _, m := range held {
			at := c.n.s.Now().Add(c.n.delay(c.ends[1-side].node, to.node))
			if at.Before(to.arrives) {
				at = to.arrives
			}
			to.arrives = at.Add(1)
			c.n.s.At(at, m.name, func() { c.arrive(side, m) })
		}
	}
}

// Close ends a side. What it has sent may still arrive; the other side learns of it after that.
func (c *Conn) Close(side int) {
	if c == nil || c.ends[side].gone {
		return
	}
	c.ends[side].onBreak = nil
	c.Send(side, "close", func() { c.broke(1 - side) })
	c.ends[side].gone = true
}

// Break breaks a connection for both sides, as a middlebox does: what is on the way is lost.
func (c *Conn) Break() {
	for side := range c.ends {
		c.n.s.After(c.n.upTo(c.n.cfg.Notice), "broken", func() { c.broke(side) })
	}
}

// BreakSome breaks each connection with a chance of percent in a hundred.
func (n *Net) BreakSome(percent int) {
	for _, c := range n.conns {
		if n.rng.IntN(100) < percent {
			c.Break()
		}
	}
}

// broke tells a side, where its node still runs.
func (c *Conn) broke(side int) {
	e := &c.ends[side]
	if e.gone || c.n.runs[e.node] != e.run {
		e.gone = true
		return
	}
	e.gone = true
	if e.onBreak != nil {
		e.onBreak()
	}
}
