package group

import (
	"fmt"
	"slices"
	"time"
)

// simGroup is a group as its clients know it.
type simGroup struct {
	w       *simWorld
	id      string
	log     *simLog
	kind    simKind
	eager   bool     // the classic members of a mixed group are
	topics  []string // that its members choose from
	members []simMember
	joined  int // members that took the place of others

	held map[simTP][]*simHold // who believes to own what
}

// simKind is what the members of a group speak.
type simKind int

const (
	simEager simKind = iota
	simCooperative
	simModern // KIP-848
	simMixed  // members of both, and what is restarted may change
	simKinds
)

// simActor is anything that talks to coordinators.
type simActor interface {
	peer() *simPeer
	retire() // go for good, politely
}

// simMember is a client that wants partitions.
type simMember interface {
	simActor
	start()
	kill()
	leave()             // and come back after a while
	wants() []string    // topics, as it knows them
	resting() string    // why it is not at rest; "" if it is
	memberID() string   // "" none
	instanceID() string // "" for dynamic members
	become(other simMember)
	generationNow() int32 // or member epoch
}

// simHold is the belief of one member that it owns a partition, from when it was told to when it let go.
type simHold struct {
	by     simMember
	life   int
	member string // id under which it was told
	group  int    // which life of the group it was
	// certain is false if it may have been told by a coordinator that is none any more.
	certain bool
	removed int // how often that member had been removed
}

func (w *simWorld) populate() {
	for i := range 1 + w.rng.IntN(3) {
		g := &simGroup{
			w: w, id: fmt.Sprintf("g%d", i), log: w.logs[w.rng.IntN(len(w.logs))], kind: simKind(w.rng.IntN(int(simKinds))),
			held: map[simTP][]*simHold{}, eager: w.chance(2),
		}
		g.topics = simTopicNames[:1+w.rng.IntN(len(simTopicNames))]
		w.groups = append(w.groups, g)
		for j := range 1 + w.rng.IntN(5) {
			g.join(fmt.Sprintf("%s.c%d", g.id, j), w.chance(3))
		}
		w.addCommitter(g)
	}
	w.addAdmin()
}

// join makes one more member and starts it.
func (g *simGroup) join(name string, static bool) simMember {
	p := simPeer{w: g.w, name: name, log: g.log}
	instance := ""
	if static {
		instance = "i-" + name
	}
	var m simMember
	if g.kind == simModern || g.kind == simMixed && g.w.chance(2) {
		m = newSimConsumer(g, p, instance)
	} else {
		m = newSimClassic(g, p, instance)
	}
	g.members = append(g.members, m)
	g.w.clients = append(g.w.clients, m)
	m.peer().at(g.w.some(3*time.Second), m.start)
	return m
}

// take and release keep the belief of members.
func (g *simGroup) take(m simMember, tp simTP) {
	g.w.rules.taken(g, m, tp)
	g.held[tp] = append(g.held[tp], &simHold{
		by: m, life: m.peer().life, member: m.memberID(), group: g.w.rules.lives[g.id], certain: g.w.rules.certain(),
		removed: g.w.rules.removed[g.id+"/"+m.memberID()],
	})
}

func (g *simGroup) release(m simMember, tp simTP) {
	g.held[tp] = slices.DeleteFunc(g.held[tp], func(h *simHold) bool { return h.by == m })
	if len(g.held[tp]) == 0 {
		delete(g.held, tp)
	}
}

// restless says what is missing: each member that lives is at rest, and each partition that somebody wants is owned by
// one of those that want it.
func (g *simGroup) restless() string {
	wanted := simSet{}
	here := 0
	for _, m := range g.members {
		p := m.peer()
		switch {
		case p.guest:
			continue
		case p.dead:
			return p.name + " is down"
		}
		here++
		if s := m.resting(); s != "" {
			return p.name + " " + s
		}
		for _, name := range m.wants() {
			t, _ := g.w.topics.now.Topic(name)
			for i := range t.Partitions {
				wanted[simTP{t.ID, int32(i)}] = true
			}
		}
	}
	if n := g.log.life.members(g.id); n != here {
		return fmt.Sprintf("has %d members, %d are there", n, here)
	}
	if s := g.log.life.state(g.id); s != Stable {
		return "is " + string(s)
	}
	if g.log.model.of(g.id).consumer() {
		if s := g.settledModel(); s != "" {
			return s
		}
	}
	for _, tp := range wanted.sorted() {
		if len(g.held[tp]) != 1 {
			return fmt.Sprintf("partition %v has %d owners", tp, len(g.held[tp]))
		}
	}
	for tp := range g.held {
		if !wanted[tp] {
			return fmt.Sprintf("partition %v is owned and nobody wants it", tp)
		}
	}
	return ""
}

// replace starts another process in the place of one that is dead, with its instance id and perhaps of the other protocol.
func (g *simGroup) replace(m simMember) {
	p := m.peer()
	p.guest = true
	p.life++ // nobody starts it again
	g.joined++
	next := g.join(fmt.Sprintf("%s.r%d", g.id, g.joined), m.instanceID() != "")
	next.become(m)
}

// subscription is what a new member of the group wants: mostly all of the group's topics.
func (g *simGroup) subscription() []string {
	if g.w.chance(3) {
		return g.topics[:1+g.w.rng.IntN(len(g.topics))]
	}
	return g.topics
}
