package replica_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/internal/sim"
	"moldau.io/moldau/protocol"
)

const (
	simTrouble  = 40 * time.Second // of virtual time
	simPeace    = 40 * time.Second // after it: then everything must be whole
	simRPC      = time.Second      // after which a caller gives up
	simLease    = 2 * time.Second
	simFetchMax = 600 // bytes of one answer
)

// simOptions are what a seed is about. Half of the kinds of trouble are left out of each.
type simOptions struct {
	brokers int
	real    bool // the store's logs, not models of them
	fsync   bool // records count when they are on disk
	elr     bool // the feature
	lag     time.Duration
	gap     time.Duration // between two faults, on average
	on      map[string]bool
	topics  []simTopic
	fault   string // that is planted
}

type simTopic struct {
	name       string
	factor     int
	partitions int
	minISR     int
	unclean    bool
	born       time.Duration // when it is created
}

// simKinds are the kinds of trouble.
var simKinds = []string{"kill", "power cut", "stop", "freeze", "cut", "one-way cut", "break", "slow", "move the controller",
	"old controllers", "peers tell of the dead", "delete records", "delete a topic", "slow disk", "elect", "reassign"}

func newOptions(s *sim.Sim, fault string) simOptions {
	rng := s.Rand("options")
	o := simOptions{
		brokers: 3 + rng.IntN(3), real: rng.IntN(16) == 0, fsync: rng.IntN(4) == 0, elr: rng.IntN(4) > 0, fault: fault,
		lag: time.Duration(1+rng.IntN(4)) * time.Second, gap: time.Duration(300+rng.IntN(4000)) * time.Millisecond,
		on: sim.Swarm(rng, simKinds...),
	}
	o.on["drain"] = s.Rand("drain").IntN(3) == 0
	for i := range 1 + rng.IntN(3) {
		t := simTopic{name: fmt.Sprintf("t%d", i), factor: min(o.brokers, []int{3, 3, 3, 2, 1, 4}[rng.IntN(6)])}
		t.partitions = 1 + rng.IntN(2)
		t.minISR = 1 + rng.IntN(min(t.factor, 2))
		t.unclean = rng.IntN(6) == 0
		if i > 0 {
			t.born = time.Duration(rng.Int64N(int64(simTrouble / 2)))
		}
		o.topics = append(o.topics, t)
	}
	return o
}

// world is a cluster. Everything in it happens in one goroutine.
type world struct {
	*sim.Sim
	o     simOptions
	net   *sim.Net
	rng   *rand.Rand // of the nemesis
	crng  *rand.Rand // of the clients
	q     *quorum
	nodes []*node
	parts []*truth // in the order in which they were created
	pids  int64
	quiet bool // no more trouble, and no new records
}

// play is one seed.
func play(fault string, tune func(*simOptions)) func(s *sim.Sim) {
	return func(s *sim.Sim) {
		w := &world{Sim: s, o: newOptions(s, fault), rng: s.Rand("nemesis"), crng: s.Rand("clients")}
		if tune != nil {
			tune(&w.o)
		}
		w.begin()
		w.trouble()
		end := s.Now().Add(simTrouble)
		for s.Now().Before(end) && w.step() {
		}
		w.heal()
		end = s.Now().Add(simPeace)
		for s.Now().Before(end) && w.step() {
			if s.Steps()%1000 == 0 && w.whole() == "" {
				break
			}
		}
		if s.Err() == nil {
			w.final()
		}
	}
}

// step is one event and the checks of whatever it has touched.
func (w *world) step() bool {
	if !w.Step() {
		return false
	}
	w.checkDirty()
	return w.Err() == nil
}

func (w *world) begin() {
	w.net = sim.NewNet(w.Sim, sim.NetConfig{
		DelayMin: 100 * time.Microsecond, DelayMax: 5 * time.Millisecond, Notice: 50 * time.Millisecond,
	})
	w.Note("%+v", w.o)
	w.q = newQuorum(w)
	for i := range w.o.brokers {
		w.nodes = append(w.nodes, newNode(w, i))
	}
	w.q.bootstrap()
	for _, n := range w.nodes {
		n.start()
	}
	for _, t := range w.o.topics {
		w.After(500*time.Millisecond+t.born, "create", func() { w.create(t) })
	}
}

// create makes a topic, as soon as enough brokers are there.
func (w *world) create(t simTopic) {
	minISR, unclean := strconv.Itoa(t.minISR), strconv.FormatBool(t.unclean)
	cmd := meta.CreateTopics{Topics: []meta.NewTopic{{
		Name: t.name, Partitions: int32(t.partitions), ReplicationFactor: int16(t.factor), Configs: []meta.ConfigPair{
			{Key: "min.insync.replicas", Value: &minISR}, {Key: "unclean.leader.election.enable", Value: &unclean},
		},
	}}}
	if w.q.image().Topic(t.name) != nil {
		return
	}
	w.After(time.Second, "create again", func() { w.create(t) })
	w.q.ask(cmd)
}

// created is told of a new topic, when it is committed.
func (w *world) created(t *meta.Topic) {
	of := w.o.topics[slices.IndexFunc(w.o.topics, func(o simTopic) bool { return o.name == t.Name })]
	for i := range t.Partitions {
		p := newTruth(w, of, t, int32(i))
		w.parts = append(w.parts, p)
		p.drive()
	}
}

func (w *world) truthOf(id protocol.TopicID, partition int32) *truth {
	for _, p := range w.parts {
		if p.id == id && p.tp.Partition == partition {
			return p
		}
	}
	return nil
}

// node is the one with a broker id.
func (w *world) node(id protocol.BrokerID) *node {
	if id < 1 || int(id) > len(w.nodes) {
		return nil
	}
	return w.nodes[id-1]
}

// cutOff says that two nodes cannot talk with each other.
func (w *world) cutOff(a, b int) bool { return a != b && (w.net.IsCut(a, b) || w.net.IsCut(b, a)) }

// quorum is a model of the metadata log. It over-approximates raft: entries of a leader that loses its office may be
// kept or not, nobody is told; a leader that has lost it may not know.
type quorum struct {
	w      *world
	rng    *rand.Rand
	term   int
	leader int // index of the node, -1 while there is none
	images []*meta.Image
	lost   time.Time // since when the leader has had no majority; zero while it has

	orphans []entry // of a leader that is gone, in the log of whoever comes next
}

// office is what a node has that takes itself for the controller.
type office struct {
	n       *node
	term    int
	c       *meta.Controller
	pending []entry
	stale   bool // it has lost its office and does not know
	busy    bool // the first of the pending entries is on its way
}

type entry struct {
	recs []meta.Record
	done func()
}

func newQuorum(w *world) *quorum {
	return &quorum{w: w, rng: w.Rand("quorum"), leader: -1, images: []*meta.Image{}}
}

func (q *quorum) image() *meta.Image { return q.images[len(q.images)-1] }

// bootstrap begins the metadata log, and the watch over its leader.
func (q *quorum) bootstrap() {
	c := meta.NewController(q.config(), meta.Empty())
	cmd := meta.Bootstrap{ClusterID: "MkU3OEVBNTcwNTJENDM2Qg"}
	if q.w.o.elr {
		cmd.Features = []meta.Feature{{Name: "eligible.leader.replicas.version", Level: 1}}
	}
	recs, _, err := c.Handle(q.w.Now(), cmd)
	if err != nil {
		q.w.Fail("bootstrap: %v", err)
		return
	}
	im, err := meta.Empty().With(0, recs...)
	if err != nil {
		q.w.Fail("bootstrap: %v", err)
		return
	}
	q.images = append(q.images, im)
	q.w.Every(100*time.Millisecond, "quorum", func() bool { q.watch(); return true })
}

func (q *quorum) config() meta.ControllerConfig {
	return meta.ControllerConfig{
		Lease: simLease, Static: config.Empty(), Random: rand.New(rand.NewPCG(q.w.Seed(), uint64(q.term)+1)),
	}
}

// majority says that a node can commit.
func (q *quorum) majority(i int) bool {
	if i < 0 || !q.w.nodes[i].running() {
		return false
	}
	n := 0
	for j, other := range q.w.nodes {
		if other.running() && !q.w.cutOff(i, j) {
			n++
		}
	}
	return n > len(q.w.nodes)/2
}

// watch replaces a leader that cannot commit.
func (q *quorum) watch() {
	if q.majority(q.leader) {
		q.lost = time.Time{}
		return
	}
	if q.lost.IsZero() {
		q.lost = q.w.Now()
	}
	if wait := time.Duration(300+q.rng.IntN(1200)) * time.Millisecond; q.w.Now().Sub(q.lost) > wait {
		q.elect()
	}
}

// gone is told of a node's end. The next leader may have a beginning of what it had not committed.
func (q *quorum) gone(n *node) {
	if q.leader != n.i {
		return
	}
	if o := n.office; o != nil {
		o.stale = true
		q.orphans = o.pending[:q.rng.IntN(len(o.pending)+1)]
	}
	q.leader, q.lost = -1, q.w.Now()
}

// elect makes another node the leader. What the old one had not committed may be in the new one's log: a beginning of it.
func (q *quorum) elect() {
	var can []int
	for i := range q.w.nodes {
		if i != q.leader && q.majority(i) {
			can = append(can, i)
		}
	}
	if len(can) == 0 {
		return
	}
	for _, e := range q.orphans {
		q.w.Mark("an entry outlived its leader")
		q.commit(e.recs)
	}
	q.orphans = nil
	if q.leader >= 0 {
		if old := q.w.nodes[q.leader].office; old != nil && !old.stale {
			old.stale = true
			for _, e := range old.pending[:q.rng.IntN(len(old.pending)+1)] {
				q.w.Mark("an entry outlived its leader")
				q.commit(e.recs)
			}
			n, late := q.w.nodes[q.leader], time.Duration(0)
			if q.w.o.on["old controllers"] {
				late = time.Duration(q.rng.Int64N(int64(3 * time.Second)))
			}
			n.after(late, "resign", func() {
				if n.office == old {
					n.office = nil
				}
			})
		}
	}
	q.term++
	q.leader, q.lost = can[q.rng.IntN(len(can))], time.Time{}
	n := q.w.nodes[q.leader]
	q.w.Note("controller: broker %d, term %d", n.id, q.term)
	q.w.Trace("controller", int64(n.id), int64(q.term))
	n.catchUp(len(q.images) - 1)
	o := &office{n: n, term: q.term, c: meta.NewController(q.config(), q.image())}
	n.office = o
	n.every(100*time.Millisecond, "controller tick", func() bool {
		if n.office != o {
			return false
		}
		o.append(o.c.Tick(q.w.Now()), nil)
		return true
	})
}

// append puts records into the log and applies them ahead, as a controller must. done is called when they are committed.
func (o *office) append(recs []meta.Record, done func()) {
	if len(recs) == 0 {
		if done != nil {
			done()
		}
		return
	}
	w := o.n.w
	recs = w.plantInRecords(o.c, recs)
	if err := o.c.Apply(recs...); err != nil {
		w.Fail("the controller's own records: %v", err)
		return
	}
	o.pending = append(o.pending, entry{recs, done})
	o.c.Logged(int64(len(w.q.images) - 1 + len(o.pending)))
	o.push()
}

// push commits the first of the pending entries, in a while.
func (o *office) push() {
	if o.busy || len(o.pending) == 0 || o.stale {
		return
	}
	o.busy = true
	q := o.n.w.q
	delay := time.Duration(1+q.rng.IntN(10)) * time.Millisecond
	if q.rng.IntN(20) == 0 {
		delay = time.Duration(q.rng.IntN(300)) * time.Millisecond
	}
	o.n.w.After(delay, "commit", func() {
		o.busy = false
		if o.stale || q.term != o.term {
			return
		}
		if q.majority(q.leader) && len(o.pending) > 0 {
			e := o.pending[0]
			o.pending = o.pending[1:]
			q.commit(e.recs)
			o.n.catchUp(len(q.images) - 1)
			if e.done != nil {
				e.done()
			}
		}
		o.push()
	})
}

// commit is the point from which an entry is so.
func (q *quorum) commit(recs []meta.Record) {
	before := q.image()
	im, err := before.With(int64(len(q.images)), recs...)
	if err != nil {
		q.w.Fail("commit: %v", err)
		return
	}
	q.images = append(q.images, im)
	q.w.Trace("committed", int64(len(q.images)))
	q.w.checkMetadata(before, im)
	for i, n := range q.w.nodes {
		if n.running() {
			n.after(time.Duration(1+q.rng.IntN(8))*time.Millisecond, "metadata", func() { n.pull(i) })
		}
	}
}

// ask has the leader decide something for the harness, if there is one.
func (q *quorum) ask(cmd meta.Command) {
	if q.leader < 0 || q.w.nodes[q.leader].office == nil {
		return
	}
	q.w.nodes[q.leader].office.handle(cmd, func(meta.Reply, error) {})
}

// handle is a command at a node that takes itself for the controller. A reply that comes with records is given when they are
// committed; any other one only while the office is sure, which the real one asks the quorum for.
func (o *office) handle(cmd meta.Command, reply func(meta.Reply, error)) {
	w := o.n.w
	recs, r, err := o.c.Handle(w.Now(), cmd)
	if err != nil || len(recs) == 0 {
		_, beat := cmd.(meta.BrokerHeartbeat)
		if o.stale && !beat && w.o.fault != "old controllers answer" {
			return
		}
		if err == nil && !o.stale && len(o.pending) > 0 && !beat { // it was decided by what is not committed yet
			last := &o.pending[len(o.pending)-1]
			then := last.done
			last.done = func() {
				if then != nil {
					then()
				}
				reply(r, nil)
			}
			return
		}
		reply(r, err)
		return
	}
	o.append(recs, func() { reply(r, nil) })
}
