package replica_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/cluster/replica"
	"moldau.io/moldau/internal/sim"
	"moldau.io/moldau/protocol"
)

// node is a broker's machine: what is left when the process ends, and the process.
type node struct {
	w    *world
	i    int
	id   protocol.BrokerID
	rng  *rand.Rand
	disk simDisk

	// On disk, beside the logs.
	applied    int   // the metadata that it has, as an index of the committed images
	cleanEpoch int64 // the epoch under which it ended in order; -1 where it did not

	// The process.
	run      int // how often it was started; 0 while it is down
	starts   int
	life     byte
	epoch    int64 // of its registration; -1 until it is known
	fenced   bool
	stopping bool
	frozen   bool
	inbox    []func() // what happens when it is thawed
	office   *office
	hint     int // whom it takes for the controller
	shells   []*shell

	lostSome bool // the last end was one that may have taken records
}

func newNode(w *world, i int) *node {
	n := &node{w: w, i: i, id: protocol.BrokerID(i + 1), rng: w.Rand(fmt.Sprint("node", i)), cleanEpoch: -1, epoch: -1}
	if w.o.real {
		n.disk = newRealDisk(w.Sim, fmt.Sprint(i), w.o.fsync)
	} else {
		n.disk = newModelDisk(w.Rand(fmt.Sprint("disk", i)), w.o.fsync)
	}
	return n
}

func (n *node) up() bool      { return n.run > 0 }
func (n *node) running() bool { return n.up() && !n.frozen }

// do has something happen in the process, or as soon as it is thawed.
func (n *node) do(run int, f func()) {
	switch {
	case n.run != run:
	case n.frozen:
		n.inbox = append(n.inbox, f)
	default:
		f()
	}
}

// after has something happen in the process as it is now.
func (n *node) after(d time.Duration, name string, f func()) sim.Timer {
	run := n.run
	return n.w.After(d, name, func() { n.do(run, f) })
}

func (n *node) every(d time.Duration, name string, f func() bool) {
	run, on := n.run, true
	n.w.Every(d, name, func() bool {
		n.do(run, func() { on = on && f() })
		return on && n.run == run
	})
}

// start begins a process.
func (n *node) start() {
	if n.up() {
		return
	}
	n.starts++
	n.run, n.epoch, n.fenced, n.stopping, n.frozen, n.inbox, n.office, n.shells = n.starts, -1, true, false, false, nil, nil, nil
	n.life++
	n.w.net.Up(n.i)
	n.w.Note("broker %d starts", n.id)
	if err := n.disk.open(); err != nil {
		n.w.Fail("broker %d: %v", n.id, err)
		return
	}
	clean := n.cleanEpoch
	n.cleanEpoch = -1
	if n.w.o.fault == "an unclean restart stays in sync" {
		if b := n.w.q.image().Broker(n.id); b != nil {
			clean = b.Epoch
		}
	}
	n.host()
	n.register(clean)
	n.every(500*time.Millisecond, "heartbeat", func() bool { n.heartbeat(); return true })
	n.every(200*time.Millisecond, "pull", func() bool { n.pull(n.i); return true })
	n.every(100*time.Millisecond, "leaders", func() bool {
		for _, sh := range n.shells {
			sh.tick()
		}
		return true
	})
	n.every(3*time.Second, "checkpoint", func() bool {
		if err := n.disk.checkpoint(); err != nil {
			n.w.Fail("broker %d: checkpoint: %v", n.id, err)
		}
		return true
	})
	n.every(2*time.Second, "flush", func() bool {
		for _, sh := range n.shells {
			if n.rng.IntN(3) == 0 && !n.w.o.fsync {
				sh.flush()
			}
		}
		return true
	})
}

// end is the end of the process; what becomes of the disk is the caller's.
func (n *node) end() {
	for _, sh := range n.shells {
		sh.retire()
	}
	n.w.q.gone(n)
	n.run, n.epoch, n.shells, n.office, n.inbox, n.frozen = 0, -1, nil, nil, nil, false
	n.w.net.Down(n.i)
}

// call asks whom it takes for the controller. done is told nothing where no answer came, which says nothing.
func (n *node) call(cmd meta.Command, done func(reply meta.Reply, err error, answered bool)) {
	w := n.w
	if l := w.q.leader; l >= 0 && !w.cutOff(n.i, l) && n.rng.IntN(4) > 0 {
		n.hint = l
	} else if n.hint < 0 || n.rng.IntN(8) == 0 {
		n.hint = n.rng.IntN(len(w.nodes))
	}
	if w.o.fault == "old controllers answer" && n.rng.IntN(2) == 0 {
		for _, o := range w.nodes {
			if o.running() && o.office != nil && o.office.stale {
				n.hint = o.i
			}
		}
	}
	over := false
	finish := func(r meta.Reply, err error, answered bool) {
		if !over {
			over = true
			done(r, err, answered)
		}
	}
	to, run := w.nodes[n.hint], n.run
	c := w.net.Dial(n.i, to.i, func() { n.do(run, func() { n.hint = -1; finish(nil, nil, false) }) })
	n.after(simRPC, "call timeout", func() {
		if !over {
			c.Close(0)
			finish(nil, nil, false)
		}
	})
	toRun := to.run
	c.Send(0, "call", func() {
		to.do(toRun, func() {
			answer := func(r meta.Reply, err error) {
				c.Send(1, "answer", func() { n.do(run, func() { c.Close(0); finish(r, err, true) }) })
			}
			if to.office == nil {
				answer(nil, protocol.NotController)
				return
			}
			to.office.handle(cmd, answer)
		})
	})
}

func (n *node) register(clean int64) {
	cmd := meta.RegisterBroker{
		ID: n.id, Incarnation: protocol.TopicID{0: byte(n.id), 15: n.life}, CleanEpoch: clean,
		Cluster: fmt.Sprint("c", n.id), Quorum: uint64(n.id) << 33,
	}
	n.call(cmd, func(r meta.Reply, err error, answered bool) {
		if reg, ok := r.(meta.RegisterBrokerReply); ok && err == nil {
			n.epoch = reg.Epoch
			n.heartbeat()
			n.host()
			for _, sh := range n.shells {
				sh.follow()
			}
			return
		}
		if n.epoch < 0 {
			n.after(200*time.Millisecond, "register", func() { n.register(clean) })
		}
	})
}

func (n *node) heartbeat() {
	if n.epoch < 0 {
		return
	}
	cmd := meta.BrokerHeartbeat{ID: n.id, Epoch: n.epoch, Offset: int64(n.applied), WantShutdown: n.stopping}
	n.call(cmd, func(r meta.Reply, err error, _ bool) {
		if protocol.CodeOf(err) == protocol.StaleBrokerEpoch && n.epoch == cmd.Epoch { // it is not known, or was forgotten
			n.epoch = -1
			n.register(-1)
			return
		}
		if b, ok := r.(meta.BrokerHeartbeatReply); ok {
			n.fenced = b.Fenced
			if n.stopping && b.Shutdown {
				n.stopped()
			}
		}
	})
}

// stop begins a controlled shutdown, which ends in order also when the controller does not answer.
func (n *node) stop() {
	n.stopping = true
	n.w.Note("broker %d stops", n.id)
	n.every(100*time.Millisecond, "let go", func() bool { n.heartbeat(); return true })
	n.after(4*time.Second, "stop", n.stopped)
}

func (n *node) stopped() {
	if !n.stopping {
		return
	}
	n.w.Note("broker %d has stopped", n.id)
	epoch := n.epoch
	n.end()
	if err := n.disk.close(); err != nil {
		n.w.Fail("broker %d: close: %v", n.id, err)
	}
	if d, ok := n.disk.(*modelDisk); ok {
		d.kill()
	}
	n.cleanEpoch, n.lostSome = epoch, false
	n.w.Mark("a broker ends in order")
}

// pull applies what is committed of the metadata, or a beginning of it, where the leader can be heard.
func (n *node) pull(int) {
	w := n.w
	if w.q.leader < 0 || w.cutOff(n.i, w.q.leader) || !w.nodes[w.q.leader].running() {
		return
	}
	last := len(w.q.images) - 1
	if n.applied >= last {
		return
	}
	to := last
	if n.rng.IntN(3) == 0 {
		to = n.applied + 1 + n.rng.IntN(last-n.applied)
	}
	n.catchUp(to)
}

func (n *node) catchUp(to int) {
	if n.applied >= to {
		return
	}
	n.applied = to
	n.host()
}

func (n *node) image() *meta.Image { return n.w.q.images[n.applied] }

// host has the process hold the replicas that the metadata gives it, from when that knows the process on: what is older may
// say that it leads, which was so for a process whose log perhaps had more.
func (n *node) host() {
	im := n.image()
	if b := im.Broker(n.id); (n.epoch < 0 || b == nil || b.Epoch != n.epoch) && n.w.o.fault != "a process leads before it is registered" {
		return
	}
	var keep []*shell
	for _, sh := range n.shells {
		t := im.TopicByID(sh.id)
		if t != nil && int(sh.tp.Partition) < len(t.Partitions) && slices.Contains(t.Partitions[sh.tp.Partition].Replicas, n.id) {
			keep = append(keep, sh)
			continue
		}
		sh.retire()
		if err := n.disk.remove(sh.tp); err != nil {
			n.w.Fail("broker %d: %v", n.id, err)
		}
	}
	n.shells = keep
	for _, t := range im.Topics() {
		for i := range t.Partitions {
			p := &t.Partitions[i]
			if !slices.Contains(p.Replicas, n.id) {
				continue
			}
			sh := n.shell(t.ID, int32(i))
			if sh == nil {
				tp := protocol.TopicPartition{Topic: t.Name, Partition: int32(i)}
				log, err := n.disk.log(tp, t.ID)
				if err != nil {
					n.w.Fail("broker %d: %v", n.id, err)
					return
				}
				sh = &shell{n: n, tp: tp, id: t.ID, log: log, truth: n.w.truthOf(t.ID, int32(i))}
				n.shells = append(n.shells, sh)
			}
			sh.become(n.assignment(im, t, p))
		}
	}
}

func (n *node) shell(id protocol.TopicID, partition int32) *shell {
	for _, sh := range n.shells {
		if sh.id == id && sh.tp.Partition == partition {
			return sh
		}
	}
	return nil
}

// assignment is what a replica is told.
func (n *node) assignment(im *meta.Image, t *meta.Topic, p *meta.Partition) replica.Assignment {
	a := replica.Assignment{
		Local: n.id, Leader: p.Leader, Epoch: p.LeaderEpoch, PartitionEpoch: p.Epoch, Replicas: p.Replicas, ISR: p.ISR, ELR: p.ELR,
		Recovering: p.Recovering,
	}
	for _, o := range n.w.o.topics {
		if o.name == t.Name {
			a.MinInSync = o.minISR
		}
	}
	for _, id := range p.Replicas {
		if b := im.Broker(id); b != nil {
			a.Candidates = append(a.Candidates, replica.Candidate{ID: id, Epoch: b.Epoch, Alive: !b.Fenced && !b.Stopping})
		}
	}
	return a
}
