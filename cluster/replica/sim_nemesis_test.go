package replica_test

import (
	"slices"
	"time"

	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
)

// trouble has one thing after the other go wrong.
func (w *world) trouble() {
	var kinds []string
	for _, k := range simKinds {
		if w.o.on[k] {
			kinds = append(kinds, k)
		}
	}
	if w.o.on["drain"] {
		kinds = append(kinds, "drain")
	}
	if len(kinds) == 0 {
		return
	}
	var next func()
	next = func() {
		if w.quiet {
			return
		}
		w.wrong(kinds[w.rng.IntN(len(kinds))])
		w.After(time.Duration(w.rng.Int64N(int64(2*w.o.gap))), "nemesis", next)
	}
	w.After(2*time.Second, "nemesis", next)
}

// wrong has one thing go wrong.
func (w *world) wrong(kind string) {
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	d := time.Duration(50+w.rng.IntN(6000)) * time.Millisecond
	switch kind {
	case "kill", "power cut":
		w.crash(n, kind == "power cut", d)
	case "stop":
		if n.running() && !n.stopping {
			n.stop()
			w.After(d+4*time.Second, "start", n.start)
		}
	case "freeze":
		if n.running() {
			w.Note("broker %d freezes for %v", n.id, d)
			n.frozen = true
			run := n.run
			w.After(d, "thaw", func() { n.thaw(run) })
		}
	case "cut", "one-way cut":
		w.cut(kind == "cut", d)
	case "break":
		w.net.BreakSome(30)
	case "slow":
		a, b := n.i, w.rng.IntN(len(w.nodes))
		w.net.Slow(a, b, time.Duration(w.rng.IntN(800))*time.Millisecond)
		w.After(d, "fast", func() { w.net.Slow(a, b, 0) })
	case "move the controller":
		w.q.elect()
	case "delete a topic":
		if w.rng.IntN(4) == 0 && len(w.q.image().Topics()) > 1 {
			t := w.q.image().Topics()[w.rng.IntN(len(w.q.image().Topics()))]
			w.Note("delete %s", t.Name)
			w.q.ask(meta.DeleteTopics{Topics: []meta.TopicRef{{ID: t.ID}}})
			of := w.o.topics[slices.IndexFunc(w.o.topics, func(o simTopic) bool { return o.name == t.Name })]
			w.After(d, "create", func() {
				if !w.quiet {
					w.create(of)
				}
			})
		}
	case "drain":
		w.Note("drain broker %d", n.id)
		w.q.ask(meta.DrainBroker{ID: n.id, Drain: true})
		w.After(2*d, "drained", func() { w.q.ask(meta.DrainBroker{ID: n.id}) })
	case "elect":
		w.q.ask(meta.ElectLeaders{All: true})
	case "reassign":
		w.reassign()
	}
}

// crash ends a process, and perhaps its machine.
func (w *world) crash(n *node, power bool, d time.Duration) {
	if !n.up() || !w.mayCrash(n, false) {
		return
	}
	power = power && w.mayCrash(n, true)
	keep := []int{0, 50, 100}[w.rng.IntN(3)]
	for _, p := range w.parts {
		if now := p.now(); now != nil && slices.Contains(now.Replicas, n.id) {
			p.unclean++
			if power {
				p.lossy++
			}
			p.dirty = true
		}
	}
	epoch := n.epoch
	n.end()
	n.lostSome = power
	if power {
		w.Note("broker %d loses its power", n.id)
		w.Mark("a power cut")
		n.disk.powerCut(keep)
	} else {
		w.Note("broker %d is killed", n.id)
		w.Mark("a kill")
		n.disk.kill()
	}
	if w.rng.IntN(3) == 0 { // a supervisor that starts it again at once
		d = time.Duration(w.rng.IntN(100)) * time.Millisecond
	}
	w.After(d, "start", n.start)
	if w.o.on["peers tell of the dead"] {
		for _, peer := range w.nodes {
			if peer.running() && !w.cutOff(peer.i, n.i) {
				peer.after(time.Duration(w.rng.IntN(200))*time.Millisecond, "gone", func() {
					peer.call(meta.BrokerGone{ID: n.id, Epoch: epoch}, func(meta.Reply, error, bool) {})
				})
			}
		}
	}
}

// mayCrash says that nothing may be lost by it that the cluster has promised to keep: see truth.unclean.
func (w *world) mayCrash(n *node, lossy bool) bool {
	if w.o.fsync {
		return true
	}
	for _, p := range w.parts {
		now := p.now()
		if now == nil || p.gone || p.of.unclean || !slices.Contains(now.Replicas, n.id) {
			continue
		}
		if (p.lossy > 0 || lossy) && (p.unclean+1 > p.of.minISR-1 || !w.o.elr) {
			return false
		}
	}
	return true
}

func (n *node) thaw(run int) {
	if n.run != run || !n.frozen {
		return
	}
	n.w.Note("broker %d thaws", n.id)
	n.frozen = false
	inbox := n.inbox
	n.inbox = nil
	for _, f := range inbox {
		n.do(run, f)
	}
}

// cut parts the brokers for some time.
func (w *world) cut(both bool, d time.Duration) {
	var side []int
	for i := range w.nodes {
		if w.rng.IntN(2) == 0 {
			side = append(side, i)
		}
	}
	w.Note("cut %v off for %v, both ways %v", side, d, both)
	for _, a := range side {
		for b := range w.nodes {
			if slices.Contains(side, b) {
				continue
			}
			w.net.Cut(a, b)
			w.After(d, "heal", func() { w.net.HealOne(a, b) })
			if both {
				w.net.Cut(b, a)
				w.After(d, "heal", func() { w.net.HealOne(b, a) })
			}
		}
	}
}

// reassign moves a partition to other brokers, or takes that back.
func (w *world) reassign() {
	if len(w.parts) == 0 {
		return
	}
	p := w.parts[w.rng.IntN(len(w.parts))]
	if p.gone || p.now() == nil {
		return
	}
	r := meta.Reassignment{Partition: p.tp}
	if w.rng.IntN(4) > 0 {
		for _, i := range w.rng.Perm(len(w.nodes))[:max(1, len(p.now().Replicas)-len(p.now().Adding))] {
			r.Replicas = append(r.Replicas, protocol.BrokerID(i+1))
		}
	}
	w.Note("reassign %v to %v", p.tp, r.Replicas)
	w.q.ask(meta.AlterReassignments{Partitions: []meta.Reassignment{r}})
}

// heal ends all trouble.
func (w *world) heal() {
	w.Note("peace")
	w.quiet = true
	w.net.Heal()
	w.Every(time.Second, "take back", func() bool {
		for _, n := range w.nodes {
			n.start() // where it was to be started while it was still stopping
		}
		for _, b := range w.q.image().Brokers() {
			if b.Draining {
				w.q.ask(meta.DrainBroker{ID: b.ID})
			}
		}
		return true
	})
	for _, n := range w.nodes {
		n.thaw(n.run)
		if n.stopping {
			continue // it is started when it has stopped
		}
		n.start()
	}
}

// plantInRecords plants a fault: whoever lives is elected when a leader is gone.
func (w *world) plantInRecords(c *meta.Controller, recs []meta.Record) []meta.Record {
	if w.o.fault != "somebody outside of the in-sync set is elected" {
		return recs
	}
	out := slices.Clone(recs)
	for i, r := range out {
		ch, ok := r.(meta.PartitionChangesRecord)
		if !ok {
			continue
		}
		ch.Changes = slices.Clone(ch.Changes)
		for j := range ch.Changes {
			w.plantElection(&ch, j)
		}
		out[i] = ch
	}
	return out
}

func (w *world) plantElection(r *meta.PartitionChangesRecord, j int) {
	ch := &r.Changes[j]
	t := w.q.image().TopicByID(r.Topic)
	if ch.Fields&meta.FieldLeader == 0 || t == nil {
		return
	}
	p := t.Partitions[ch.Partition]
	for _, id := range p.Replicas {
		b := w.q.image().Broker(id)
		if b != nil && !b.Fenced && !slices.Contains(p.ISR, id) && id != ch.To.Leader {
			ch.To.Leader = id
			ch.Fields |= meta.FieldISR | meta.FieldELR
			ch.To.ISR, ch.To.ELR = []protocol.BrokerID{id}, nil
			return
		}
	}
}
