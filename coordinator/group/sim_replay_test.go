package group

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
)

// applied looks at the machine after records were applied: what must hold at any time, and now and then whether a replay
// comes to the same.
func (r *simRules) applied(life *simLife) {
	if s := broken(life.m); s != "" {
		r.w.failf("%s", s)
	}
	if life.leads() {
		for _, g := range r.w.groups {
			if g.log == life.log {
				r.consumerModel(g.id, life.log.model.of(g.id))
			}
		}
	}
	if life.leads() && r.w.chance(40) {
		life.log.replayed()
	}
}

// replayed compares the leader's machine with one that is made from its log.
func (l *simLog) replayed() {
	if l.life.m == nil || l.w.err != nil {
		return
	}
	entries := l.entries
	if l.w.chance(2) {
		entries = l.compacted(l.w.rng.IntN(len(l.entries)+1), l.w.chance(2))
	}
	other := New(l.w.config(), l.life.broker, rand.New(rand.NewPCG(1, 1)))
	for _, e := range entries {
		other.Apply(e.clone())
	}
	if d := difference(l.life.m, other); d != "" {
		l.w.failf("%s", d)
	}
}

// difference says in what the hard state of a machine is not that of one which was made from its log.
func difference(live, other *Machine) string {
	settled := func(id string) bool {
		g, o := live.groups[id], other.groups[id]
		return g != nil && o != nil && (g.state == Stable || g.state == Empty && len(g.pending) == 0) && g.generation == o.generation
	}
	if is, replay := hard(live, settled), hard(other, settled); is != replay {
		return "the machine and a replay of its log differ\nlive:\n" + is + "\nreplay:\n" + replay
	}
	for _, id := range sortedKeys(live.groups) {
		if g := live.groups[id]; g.state == Stable && !settled(id) {
			return fmt.Sprintf("group %s is stable in generation %d and its log is not", id, g.generation)
		}
	}
	return ""
}

// hard is what a machine would tell of its groups after a replay, as text. Groups that rebalance are left out but for
// their offsets: what they are about to become is in no log.
func hard(m *Machine, settled func(id string) bool) string {
	var out bytes.Buffer
	for _, id := range slices.Sorted(maps.Keys(m.offsets)) {
		fmt.Fprintf(&out, "%s offsets %v\n", id, m.offsets[id].fetched())
	}
	for _, id := range slices.Sorted(maps.Keys(m.groups)) {
		g := m.groups[id]
		if !settled(id) {
			continue
		}
		fmt.Fprintf(&out, "%s %s %s generation %d leader %q protocol %q\n", id, g.state, g.kind, g.generation, g.leader, deref(g.protocol))
		for _, mem := range g.members {
			fmt.Fprintf(&out, "  %s %s %v %v %q %q\n", mem.id, deref(mem.instance), mem.session, mem.rebalance, mem.metadata(g.protocol), mem.assignment)
		}
	}
	for _, id := range sortedKeys(m.consumers) {
		hardConsumer(&out, m.consumers[id])
	}
	return out.String()
}

// hardConsumer is all that the records of a consumer group say. All of it is in the log at any time.
func hardConsumer(out *bytes.Buffer, g *consumerGroup) {
	fmt.Fprintf(out, "%s %s epoch %d of %x, target of %d at %d\n", g.id, g.state(), g.epoch, g.metadataHash, g.targetEpoch, g.targetTime)
	for _, id := range g.memberIDs() {
		mem := g.members[id]
		d, c := mem.desc, mem.cur
		fmt.Fprintf(out, "  %s %q %q %q %q %q %v %q %d %v: %d %d %d %v %v\n", id, deref(d.Instance), deref(d.Rack), d.ClientID, d.ClientHost,
			d.Topics, deref(d.Regex), deref(d.Assignor), d.RebalanceMillis, d.Classic, c.Epoch, c.PreviousEpoch, c.State, c.Assigned, c.Revoking)
	}
	for _, id := range sortedKeys(g.targets) {
		fmt.Fprintf(out, "  target of %s: %v\n", id, g.targets[id])
	}
	for _, re := range sortedKeys(g.regexes) {
		fmt.Fprintf(out, "  %q: %v\n", re, *g.regexes[re])
	}
}

// checkEmpty is called some time after everybody has gone.
func (l *simLog) checkEmpty() {
	w, m := l.w, l.life.m
	if len(l.life.calls) > 0 {
		for _, t := range simSorted(l.life.calls) {
			w.failf("a %T of ticket %d never got an answer", l.life.calls[t].req, t)
		}
	}
	if n := len(m.alarms.h); n > 0 {
		w.failf("%d alarms are set and nobody is there", n)
	}
	for id, g := range m.groups {
		if g.state != Empty || len(g.members)+len(g.byID)+len(g.static)+len(g.pending)+len(g.unsynced) > 0 || g.awaiting != 0 {
			w.failf("group %s is %s, its members have gone; left are %v %v %v %v", id, g.state, g.byID, g.static, g.pending, g.unsynced)
		}
	}
	for id, g := range m.consumers {
		if n := len(g.members) + len(g.targets) + len(g.static) + len(g.topics) + len(g.patterns) + len(g.regexes) + len(g.assignors) +
			len(g.owners) + len(g.alarms); n > 0 || g.settled+g.classic != 0 {
			w.failf("of group %s, whose members have gone, there is left: %+v", id, g)
		}
	}
	l.replayed()
}

// checkGone is called when all offsets have expired.
func (l *simLog) checkGone() {
	for id := range l.life.m.groups {
		l.w.failf("group %s is still there after its offsets expired", id)
	}
	for id := range l.life.m.consumers {
		l.w.failf("group %s is still there after its offsets expired", id)
	}
	for id := range l.life.m.offsets {
		l.w.failf("group %s still has offsets", id)
	}
	for id, g := range l.model.groups {
		if !g.empty() {
			l.w.failf("the log still has something of group %s: %+v", id, g)
		}
	}
}
