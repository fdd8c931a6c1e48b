package meta

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/protocol"
)

// A simWorld is a controller and the brokers that it looks after. Brokers are processes that crash and come back, with all they had
// or without; each sees the metadata as of some moment of its own, leads what it believes to lead, copies from whom it
// believes to be led by, and commits as a leader does. Entries of the metadata log are committed some time after they
// were appended, and lost when the controller moves before that. What was committed to a partition must be on every
// replica that may lead it.
type simWorld struct {
	random *rand.Rand
	opt    simOptions
	now    time.Time

	c         *Controller
	committed *Image
	index     int64
	pending   []simEntry
	log       [][]byte // committed entries, as they are on disk

	procs  []*simProc // by id, from 1
	parts  map[simPlace]*simPart
	names  int
	lives  byte
	forced map[protocol.TopicPartition]bool // somebody has asked for an unclean election
	epoch  map[protocol.BrokerID]int64      // the highest that each broker was given

	late  []func()                      // messages that are still on their way
	told  func(format string, a ...any) // what happens, where somebody wants to know
	marks map[string]int
	err   error
}

type simOptions struct {
	elr     bool
	brokers int
	steps   int
	fault   simFault
}

// simFault is a fault that is planted into the controller: it is told another command, or makes other records.
type simFault struct {
	wish    func(*Image, Command) Command
	records func(Command, []Record) []Record
	seed    uint64 // that finds it, so that nobody must wait; any of the thousands after it will do
}

// simEntry is an entry of the metadata log that is not committed yet.
type simEntry struct {
	recs []Record
	then []func() // answers that wait for it
}

// simProc is a broker.
type simProc struct {
	id      protocol.BrokerID
	up      bool
	life    protocol.TopicID
	epoch   int64 // -1: not registered in this life
	asked   bool  // its registration is under way
	clean   int64 // what it will say when it starts next
	lost    bool  // it has lost records, and has not registered since
	moves   int   // addresses that it has had
	view    *Image
	offered map[simPlace]simOffer
	acks    map[simPlace]map[protocol.BrokerID]simAck // of its followers, in the epoch that it leads in
}

// simOffer is a change of an in-sync set that a leader has asked for and not seen yet.
type simOffer struct {
	isr   ids
	epoch int32
}

type simAck struct {
	epoch protocol.Epoch // of the leader
	life  int64          // broker epoch of the follower
	end   int
}

type simPlace struct {
	topic     protocol.TopicID
	partition int32
}

// simPart is what the replicas of a partition hold, and what of it is committed.
type simPart struct {
	logs      map[protocol.BrokerID][]int32
	committed []int32
	since     protocol.Epoch // of the last election that may have lost something
	next      int32
	leaders   map[protocol.Epoch]protocol.BrokerID
}

func newSimWorld(seed uint64, fault simFault) *simWorld {
	w := &simWorld{
		random: rand.New(rand.NewPCG(seed, 6)), now: time.Unix(1_700_000_000, 0), committed: Empty(),
		forced: map[protocol.TopicPartition]bool{}, parts: map[simPlace]*simPart{}, epoch: map[protocol.BrokerID]int64{},
		marks: map[string]int{},
	}
	w.opt = simOptions{elr: seed%3 != 0, brokers: 2 + w.random.IntN(4), steps: 300, fault: fault}
	w.control()
	boot := Bootstrap{ClusterID: testCluster}
	if w.opt.elr {
		boot.Features = []Feature{{Name: eligibleLeaderReplicas, Level: 1}}
	}
	w.do(boot, nil)
	for i := range w.opt.brokers {
		w.procs = append(w.procs, &simProc{id: protocol.BrokerID(i + 1), clean: -1, view: Empty()})
		w.start(w.procs[i])
		w.commit(len(w.pending))
		w.heartbeat(w.procs[i], false)
	}
	w.commit(len(w.pending))
	return w
}

// control begins a controller at what is committed; what was not is lost.
func (w *simWorld) control() {
	for _, p := range w.procs {
		p.asked = false
	}
	w.pending = nil
	w.c = NewController(ControllerConfig{Random: w.random}, w.committed)
	w.append(w.c.Tick(w.now), nil)
}

func (w *simWorld) tell(format string, a ...any) {
	if w.told != nil {
		w.told(format, a...)
	}
}

func (w *simWorld) mark(what string) { w.marks[what]++ }

func (w *simWorld) fail(format string, a ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, a...)
	}
}

// do has a command decided, and then called with the answer once everything that it rests on is committed.
func (w *simWorld) do(cmd Command, then func(Reply, error)) {
	if w.opt.fault.wish != nil {
		cmd = w.opt.fault.wish(w.c.image, cmd)
	}
	recs, reply, err := w.c.Handle(w.now, cmd)
	if err != nil {
		recs = nil
	}
	if w.opt.fault.records != nil {
		recs = w.opt.fault.records(cmd, recs)
	}
	w.tell("%T%+v: %+v, %v, %+v", cmd, cmd, reply, err, recs)
	w.append(recs, func() {
		if then != nil {
			then(reply, err)
		}
	})
}

func (w *simWorld) append(recs []Record, then func()) {
	if then == nil {
		then = func() {}
	}
	if len(recs) == 0 {
		if len(w.pending) == 0 {
			then()
			return
		}
		last := &w.pending[len(w.pending)-1]
		last.then = append(last.then, then)
		return
	}
	if err := w.c.Apply(recs...); err != nil {
		w.fail("the controller's own records cannot be applied: %v\n%+v", err, recs)
		return
	}
	w.pending = append(w.pending, simEntry{recs: recs, then: []func(){then}})
	w.c.Logged(w.index + int64(len(w.pending)))
	w.sound(w.c.image)
}

// commit commits the first n entries that are pending.
func (w *simWorld) commit(n int) {
	for range n {
		if w.err != nil || len(w.pending) == 0 {
			return
		}
		e := w.pending[0]
		w.pending = w.pending[1:]
		w.index++
		b := AppendRecords(nil, e.recs)
		w.log = append(w.log, b)
		recs, err := DecodeRecords(b)
		if err != nil {
			w.fail("%+v does not come back: %v", e.recs, err)
			return
		}
		before := w.committed
		if w.committed, err = before.With(w.index, recs...); err != nil {
			w.fail("a committed entry cannot be applied: %v", err)
			return
		}
		w.changed(before, w.committed)
		for _, then := range e.then {
			then()
		}
	}
}

// start begins a process, which asks to be registered.
func (w *simWorld) start(p *simProc) {
	w.lives++
	p.up, p.epoch, p.life = true, -1, protocol.TopicID{14: byte(len(w.log)), 15: w.lives}
	p.offered, p.acks = map[simPlace]simOffer{}, map[simPlace]map[protocol.BrokerID]simAck{}
	if w.random.IntN(4) == 0 {
		p.moves++
	}
	w.register(p)
}

func (w *simWorld) register(p *simProc) {
	life := p.life
	p.asked = true
	w.do(RegisterBroker{
		ID: p.id, Incarnation: life, CleanEpoch: p.clean, Quorum: uint64(100 + p.id), Cluster: fmt.Sprint(p.id, "@", p.moves),
		Rack: fmt.Sprint("r", p.id%2),
	}, func(r Reply, err error) {
		if p.life != life || !p.up {
			return
		}
		p.asked = false
		if err != nil {
			w.mark("a registration is refused")
			return
		}
		p.epoch, p.lost, p.clean = r.(RegisterBrokerReply).Epoch, false, -1
		w.see(p)
	})
}

// crash ends a process. In order it loses nothing, and says so when it comes back.
func (w *simWorld) crash(p *simProc, inOrder bool) {
	p.up = false
	if inOrder {
		p.clean = p.epoch
		return
	}
	p.clean = -1
	if !w.opt.elr {
		return // without an ELR the loss of the last replica in sync goes unnoticed, by design
	}
	p.lost = true
	for _, at := range w.places() {
		part := w.parts[at]
		if log := part.logs[p.id]; len(log) > 0 && w.random.IntN(2) == 0 {
			part.logs[p.id] = log[:w.random.IntN(len(log))]
			w.mark("a crash takes records")
			w.tell("%d keeps %v of %v", p.id, part.logs[p.id], at)
		}
	}
}

func (w *simWorld) heartbeat(p *simProc, stop bool) {
	life := p.life
	w.do(BrokerHeartbeat{ID: p.id, Epoch: p.epoch, Offset: p.view.Offset(), WantShutdown: stop}, func(r Reply, err error) {
		if p.life != life || !p.up {
			return
		}
		if err != nil {
			p.epoch = -1 // it was forgotten, and registers anew
			return
		}
		if got := r.(BrokerHeartbeatReply); stop && got.Shutdown {
			w.mark("a broker stops in order")
			w.crash(p, true)
		}
	})
}

// see brings a broker's view of the metadata up to what is committed. What it is no replica of any more it deletes.
func (w *simWorld) see(p *simProc) {
	p.view = w.committed
	for _, t := range p.view.Topics() {
		for i := range t.Partitions {
			if !slices.Contains(t.Partitions[i].Replicas, p.id) {
				delete(w.parts[simPlace{t.ID, int32(i)}].logs, p.id)
			}
		}
	}
}

func (w *simWorld) places() []simPlace {
	var all []simPlace
	for _, t := range w.committed.Topics() {
		for i := range t.Partitions {
			all = append(all, simPlace{t.ID, int32(i)})
		}
	}
	return all
}

// anyPlace is a partition as a broker sees it.
func (w *simWorld) anyPlace(im *Image) (simPlace, *Topic, *Partition) {
	ts := im.Topics()
	if len(ts) == 0 {
		return simPlace{}, nil, nil
	}
	t := ts[w.random.IntN(len(ts))]
	i := w.random.IntN(len(t.Partitions))
	return simPlace{t.ID, int32(i)}, t, &t.Partitions[i]
}

// lead has a broker do what it does as a leader: take records, copy them to followers that believe in the same epoch, commit,
// and ask for another in-sync set.
func (w *simWorld) lead(p *simProc) {
	at, t, v := w.anyPlace(p.view)
	for range 4 {
		if v == nil || v.Leader == p.id {
			break
		}
		at, t, v = w.anyPlace(p.view)
	}
	part := w.parts[at]
	if v == nil || part == nil || v.Leader != p.id || p.epoch < 0 {
		return
	}
	if p.acks[at] == nil {
		p.acks[at] = map[protocol.BrokerID]simAck{}
	}
	switch w.random.IntN(4) {
	case 0:
		part.next++
		part.logs[p.id] = append(slices.Clip(part.logs[p.id]), part.next)
	case 1, 2:
		f := w.procs[v.Replicas[w.random.IntN(len(v.Replicas))]-1]
		_, ft := f.view.TopicByID(t.ID).Partition(at.partition)
		if f == p || !f.up || f.epoch < 0 || !ft {
			return
		}
		if fv := f.view.TopicByID(t.ID).Partitions[at.partition]; fv.LeaderEpoch != v.LeaderEpoch || fv.Leader != p.id {
			return
		}
		part.logs[f.id] = slices.Clone(part.logs[p.id])
		w.tell("%d copies %v from %d: %s %d", f.id, part.logs[f.id], p.id, t.Name, at.partition)
		p.acks[at][f.id] = simAck{epoch: v.LeaderEpoch, life: f.epoch, end: len(part.logs[p.id])}
	default:
		w.offer(p, at, v)
	}
	w.commitTo(p, at, t, v)
}

// commitTo advances the high watermark that the leader knows.
func (w *simWorld) commitTo(p *simProc, at simPlace, t *Topic, v *Partition) {
	part := w.parts[at]
	minISR := p.view.minISR(t.Name, len(v.Replicas))
	if w.opt.elr && len(v.ISR) < minISR || v.LeaderEpoch < part.since {
		return
	}
	end := len(part.logs[p.id])
	waits := v.ISR
	if o := p.offered[at]; o.isr != nil && o.epoch == v.Epoch {
		waits = append(slices.Clone(waits), o.isr...)
	}
	for _, id := range waits {
		if id == p.id {
			continue
		}
		a := p.acks[at][id]
		if a.epoch != v.LeaderEpoch {
			return
		}
		end = min(end, a.end)
	}
	if end > len(part.committed) {
		w.mark("records are committed")
		w.tell("%d commits %v of %s %d, knows %s", p.id, part.logs[p.id][:end], t.Name, at.partition, show(*v))
		part.committed = part.logs[p.id][:end]
	}
}

func (im *Image) minISR(topic string, replicas int) int {
	n := config.NewView(config.Empty(), im).TopicInt(im.Configs(config.TopicResource, topic), minISRKey)
	return min(int(n), replicas)
}

// offer asks for another in-sync set: without some, or with those that have all.
func (w *simWorld) offer(p *simProc, at simPlace, v *Partition) {
	if o, ok := p.offered[at]; ok && o.epoch == v.Epoch {
		return // one at a time
	}
	isr := ids{p.id}
	for _, id := range v.Replicas {
		a, part := p.acks[at][id], w.parts[at]
		full := a.epoch == v.LeaderEpoch && a.end == len(part.logs[p.id]) && a.end >= len(part.committed)
		if id != p.id && (slices.Contains(v.ISR, id) && w.random.IntN(3) > 0 || full && w.random.IntN(4) > 0) {
			isr = append(isr, id)
		}
	}
	if slices.Equal(isr, v.ISR) {
		return
	}
	p.offered[at] = simOffer{isr: isr, epoch: v.Epoch}
	ch := ISRChange{Topic: at.topic, Partition: at.partition, LeaderEpoch: v.LeaderEpoch, Epoch: v.Epoch, Recovered: true}
	for _, id := range isr {
		m := ISRMember{ID: id, Epoch: p.acks[at][id].life}
		if id == p.id || m.Epoch == 0 {
			m.Epoch = p.epoch
			if id != p.id {
				m.Epoch = -1 // in sync since before it led
			}
		}
		ch.ISR = append(ch.ISR, m)
	}
	life, epoch := p.life, p.epoch
	ask := func() {
		w.do(AlterPartition{Broker: p.id, BrokerEpoch: epoch, Partitions: []ISRChange{ch}}, func(r Reply, err error) {
			if p.life != life || err != nil || r.(AlterPartitionReply).Partitions[0].Code == protocol.None {
				return // what became of it the metadata says
			}
			code := r.(AlterPartitionReply).Partitions[0].Code
			w.mark("an in-sync set is refused: " + fmt.Sprint(code))
			if o := p.offered[at]; o.epoch == ch.Epoch && code == protocol.IneligibleReplica {
				delete(p.offered, at) // after any other answer an earlier copy may have been taken
			}
		})
	}
	if w.random.IntN(8) > 0 {
		ask()
	}
	if w.random.IntN(2) == 0 {
		w.late = append(w.late, func() {
			// Of two copies the later one is never judged first, so once one was refused for good no other is under way.
			if _, still := p.offered[at]; still || p.life != life {
				ask()
			}
		})
	}
}
