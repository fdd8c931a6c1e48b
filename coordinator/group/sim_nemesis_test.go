package group

import (
	"slices"
	"time"
)

// config is what all machines of a world are made with.
func (w *simWorld) config() Config {
	c := DefaultConfig()
	c.NewMemberJoinTimeout = 4 * simSession
	c.OffsetsRetention = simRetention
	c.ConsumerOf = func(string) ConsumerConfig {
		return ConsumerConfig{Session: w.session, Heartbeat: 2 * time.Second, AssignmentInterval: time.Second}
	}
	if w.opt.retention && w.storm {
		c.OffsetsRetention, c.RetentionCheck = 15*time.Second, 5*time.Second
	}
	if w.opt.sizeLimit && w.storm {
		c.MaxSize, c.ConsumerMaxSize = 3, 3
	}
	return c
}

const simRetention = 24 * time.Hour

// nemesis does harm, again and again while the storm lasts.
func (w *simWorld) nemesis() {
	if !w.storm {
		return
	}
	w.after(100*time.Millisecond+w.some(4*time.Second), w.nemesis)
	l := w.logs[w.rng.IntN(len(w.logs))]
	switch w.rng.IntN(10) {
	case 0:
		if w.opt.moves {
			l.move()
		}
	case 1:
		if w.opt.refusals {
			l.refusing = true
			w.after(w.some(3*time.Second), func() { l.refusing = false })
		}
	case 2:
		if w.opt.jumps {
			b := w.brokers[w.rng.IntN(len(w.brokers))]
			b.skew += int64(w.some(time.Hour) - 30*time.Minute)
			w.note("the wall clock of broker %d jumps", b.id)
			w.mark("a wall clock jumps")
		}
	case 4:
		if w.opt.configs {
			w.session = []time.Duration{simSession, 2 * simSession}[w.rng.IntN(2)]
			w.note("consumers may be silent for %v", w.session)
			w.mark("the session of consumers changes")
		}
	case 3:
		if w.opt.topicChanges {
			w.topics.change()
		}
	default:
		g := w.groups[w.rng.IntN(len(w.groups))]
		w.harm(g, g.members[w.rng.IntN(len(g.members))])
	}
}

// harm does something to one member.
func (w *simWorld) harm(g *simGroup, m simMember) {
	p := m.peer()
	if p.dead {
		return
	}
	switch w.rng.IntN(5) {
	case 0, 1:
		if w.opt.cuts && p.conn != nil {
			w.note("the connection of %s breaks", p.name)
			p.conn.cut()
		}
	case 2:
		if w.opt.pauses {
			d := w.some(2 * simSession)
			if w.chance(4) {
				d = w.some(4 * simSession)
			}
			w.note("%s stands still for %v", p.name, d)
			p.pause(d)
		}
	case 3:
		if w.opt.kills {
			m.kill()
			w.restart(g, m, w.some(2*simSession))
		}
	case 4:
		switch {
		case w.opt.twins && m.instanceID() != "" && w.chance(3):
			w.twin(g, m)
		case w.opt.leaves:
			m.leave()
			w.restart(g, m, w.some(simSession))
		}
	}
}

// restart starts a member's process anew, in mixed groups perhaps with another version of its program.
func (w *simWorld) restart(g *simGroup, m simMember, after time.Duration) {
	if g.kind == simMixed && w.chance(2) && !m.peer().guest {
		w.after(after, func() {
			if w.storm && m.peer().dead {
				g.replace(m)
			}
		})
		return
	}
	w.revive(m, after)
}

// revive starts a member's process anew.
func (w *simWorld) revive(m simMember, after time.Duration) {
	life := m.peer().life
	w.after(after, func() {
		if p := m.peer(); p.dead && p.life == life && (w.storm || !p.guest) {
			m.start()
		}
	})
}

// twin starts a second process with the instance id of the first, as a careless operator does. It ends with the storm, if
// it was not fenced before.
func (w *simWorld) twin(g *simGroup, m simMember) {
	w.note("%s is started twice", m.peer().name)
	w.mark("a static member is started twice")
	twin := g.join(m.peer().name+"'", true)
	twin.become(m)
	twin.peer().guest = true
}

// heal ends the storm: whoever is dead is started, unless it is one too many.
func (w *simWorld) heal() {
	w.note("the storm is over")
	w.storm, w.session = false, simSession
	for _, l := range w.logs {
		l.refusing = false
		for _, life := range l.lives {
			if life.m != nil {
				life.m.cfg = w.config()
			}
		}
	}
	for _, g := range w.groups {
		for _, m := range g.members {
			p := m.peer()
			p.paused = 0
			p.resume()
			switch {
			case p.guest && !p.dead:
				m.kill()
			case p.dead && !p.guest:
				w.revive(m, w.some(2*time.Second))
			}
		}
		if slices.ContainsFunc(g.members, func(m simMember) bool { return m.instanceID() != "" }) {
			// A static member that comes back may find a half-done rebalance that nobody ends, and a static leader does not
			// watch its topics, in Kafka neither: what changed while it was away is seen by the next rebalance.
			g.join(g.id+".late", false)
		}
	}
	w.tend()
}

// tend starts whoever gave up, as an operator does.
func (w *simWorld) tend() {
	if w.parting {
		return
	}
	for _, g := range w.groups {
		for _, m := range g.members {
			if m.peer().dead && !m.peer().guest {
				w.revive(m, time.Second)
			}
		}
	}
	w.after(3*time.Second, w.tend)
}
