package storage

import (
	"fmt"
	"math/rand/v2"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/storagetest"
	"moldau.io/moldau/storage/vfs"
)

const (
	depthMax   = 4 // crashes in a row
	worldLogs  = 3
	dirsMax    = 3
	crashesTop = 14 // in a history
)

// world is a machine with its disks, from its start to a crash.
type world struct {
	sim   *simulation
	rng   *rand.Rand
	src   storagetest.Source
	mem   *vfs.Mem
	fs    vfs.FS
	dirs  []string
	depth int
	now   time.Time
	ids   int // that were given
	s     *Store
	parts []*part
	habit habit
	kinds []simStep

	ops     int // that change something
	next    int // the next crash is before this one
	crashes int // that are left
}

// habit is what a history does often and what not at all: the same for all worlds of a seed.
type habit struct {
	weights []int
	gap     int // the largest number of operations between two crashes
	early   int // write-back, in a hundred
}

// part is a partition and what it should hold.
type part struct {
	tp  protocol.TopicPartition
	cfg Config
	l   *Log // nil while there is none
	m   *storagetest.Model
	// What lies below cleaned may have been compacted; wasCleaned is its value before a cleaning that is under way.
	cleaned, wasCleaned protocol.Offset
	decided             protocol.Offset // what was below was committed or aborted when it was compacted

	anew   bool           // it is truncated wholly
	cut    bool           // it is truncated, also partly
	wanted bool           // the cluster says that it exists
	maybe  bool           // it is being made or deleted
	tail   protocol.Epoch // was assigned at the end, and nothing was appended since; 0 for none
}

func newWorld(s *simulation) *world {
	w := &world{sim: s, rng: rand.New(rand.NewPCG(s.seed, 1)), mem: vfs.NewMem(), now: time.UnixMilli(1_700_000_000_000),
		kinds: simSteps()}
	w.habit.gap = 1 + w.rng.IntN(1+w.rng.IntN(80))
	w.habit.early = []int{0, 0, 5, 30}[w.rng.IntN(4)]
	for i, st := range w.kinds {
		w.habit.weights = append(w.habit.weights, st.weight)
		if st.weight < appendWeight && w.rng.IntN(4) == 0 {
			w.habit.weights[i] = 0
		} else if w.rng.IntN(6) == 0 {
			w.habit.weights[i] *= 4
		}
	}
	w.crashes = crashesTop
	w.src = storagetest.Source{Rng: w.rng, Compressed: []int{0, 0, 0, 20}[w.rng.IntN(4)]}
	for i := range 1 + w.rng.IntN(dirsMax) {
		w.dirs = append(w.dirs, fmt.Sprintf("/data%d", i))
	}
	for i := range 1 + w.rng.IntN(worldLogs) {
		w.parts = append(w.parts, &part{tp: protocol.TopicPartition{Topic: fmt.Sprintf("t%d", i)}, cfg: w.config()})
	}
	w.begin()
	return w
}

// begin puts the counting of operations before the disk.
func (w *world) begin() {
	w.mem.WriteBack(rand.New(rand.NewPCG(w.rng.Uint64(), 2)), w.habit.early)
	w.mem.SetClock(func() time.Time { return w.now })
	w.fs = vfs.WithFaults(w.mem, w.before)
	w.next = 1 + w.rng.IntN(w.habit.gap)
}

func (w *world) config() Config {
	cfg := DefaultConfig()
	cfg.SegmentBytes = 1500 + w.rng.Int64N(6000)
	cfg.IndexInterval = w.rng.Int64N(600)
	if w.rng.IntN(8) == 0 {
		cfg.IndexBytes = 40
	}
	cfg.DeleteDelay = time.Duration(w.rng.IntN(2)) * time.Hour
	if w.rng.IntN(3) == 0 {
		cfg.SegmentAge = time.Minute
	}
	cfg.RetentionAge = []time.Duration{-1, time.Second, time.Minute, time.Hour}[w.rng.IntN(4)]
	cfg.RetentionBytes = []int64{-1, 2000, 10_000}[w.rng.IntN(3)]
	cfg.Compacts = w.rng.IntN(4) == 0
	cfg.Deletes = !cfg.Compacts || w.rng.IntN(2) == 0
	cfg.MinCleanableRatio = []float64{0, 0.5}[w.rng.IntN(2)]
	cfg.DeleteRetention = time.Duration(w.rng.IntN(2)) * time.Minute
	switch w.rng.IntN(8) {
	case 0:
		cfg.FlushMessages = 1
	case 1:
		cfg.FlushMessages = 20
	case 2:
		cfg.FlushInterval = time.Second
	case 3, 4:
		cfg.Fsync = true
	}
	return cfg
}

func (w *world) options() Options {
	o := options()
	o.Config = func(topic string) Config {
		for _, p := range w.parts {
			if p.tp.Topic == topic {
				return p.cfg
			}
		}
		return DefaultConfig()
	}
	o.RecoveryThreads, o.CloseThreads = 1, 1
	o.Journal = JournalOptions{FileBytes: 5 * 4096, DirectBytes: 900, Files: 3}
	o.Now = func() time.Time { return w.now }
	o.NewID = func() string {
		w.ids++
		return fmt.Sprintf("id-%d-%d-0123456789abcdef", w.depth, w.ids)
	}
	return o
}

func (w *world) fail(format string, a ...any) {
	panic(simFailure{fmt.Errorf(format, a...)})
}

func (w *world) must(err error) {
	if err != nil {
		panic(simFailure{err})
	}
}

func (w *world) open() {
	s, err := openIdle(w.fs, w.dirs, w.options())
	if err != nil {
		w.fail("open: %v\n%v", err, w.mem)
	}
	w.s = s
}

// run is a history without the crashes.
func (w *world) run() {
	w.open()
	for _, p := range w.parts {
		w.create(p, protocol.TopicID{1, byte(w.rng.IntN(256))})
	}
	w.steps(30 + w.rng.IntN(120))
}

func (w *world) steps(n int) {
	for range n {
		if w.sim.err != nil {
			return
		}
		w.step()
	}
	w.crashes = 0
	for _, p := range w.parts {
		w.check(p)
	}
}

// before is called before every operation on the disk.
func (w *world) before(op vfs.Op) error {
	switch op.Kind {
	case "ReadAt", "Stat", "List", "Open", "Lock", "Space": // how much is read at a time may depend on a pool's buffers
		return nil
	}
	w.sim.trace(w.depth, op.Kind, op.Name, op.Len)
	w.ops++
	if w.sim.operations {
		w.sim.note(w.depth, "  %d %s %s %d", w.ops, op.Kind, op.Name, op.Len)
	}
	if w.crashes > 0 && w.ops >= w.next && w.sim.err == nil {
		w.crashes--
		w.next = w.ops + 1 + w.rng.IntN(w.habit.gap)
		w.sim.guard(func() { w.crash(op) })
	}
	return nil
}

// crash lets the machine die before op, in a clone, and goes on there.
func (w *world) crash(op vfs.Op) {
	w.sim.disks++
	w.sim.deepest = max(w.sim.deepest, w.depth+1)
	killed, mark := w.rng.IntN(5) == 0, len(w.sim.history)
	c := &world{sim: w.sim, dirs: w.dirs, depth: w.depth + 1, now: w.now, habit: w.habit, kinds: w.kinds, ids: w.ids,
		rng: rand.New(rand.NewPCG(w.rng.Uint64(), 3))}
	c.src = w.src
	c.src.Rng = c.rng
	if killed {
		w.sim.note(w.depth, "KILL before operation %d, %v", w.ops, op)
		c.mem = w.mem.KillClone()
	} else {
		keep := []int{0, 50, 90, 100}[c.rng.IntN(4)]
		w.sim.note(w.depth, "POWER CUT before operation %d, %v, keeping %d %%", w.ops, op, keep)
		c.mem = w.mem.CrashClone(c.rng, keep)
	}
	if c.depth < depthMax {
		c.crashes = 1 + c.rng.IntN(2)
	}
	for _, p := range w.parts {
		c.parts = append(c.parts, p.fork(killed))
	}
	c.begin()
	c.open()
	for _, p := range c.parts {
		c.settle(p)
	}
	c.steps(c.rng.IntN(12))
	if w.sim.err == nil && !w.sim.whole {
		w.sim.history = w.sim.history[:mark] // it went well, and would hide what did not
	}
}

// fork is the partition as a crash finds it.
func (p *part) fork(killed bool) *part {
	q := *p
	q.l = nil
	if p.m == nil {
		return &q
	}
	q.m = p.m.Clone()
	if p.l != nil {
		b := p.l.Bounds()
		if !q.cut {
			q.m.Durable = max(q.m.Durable, p.l.Durable())
		}
		q.m.Start = max(q.m.Start, b.Start)
	}
	if !killed { // what was only acknowledged may be gone, also for a kill while the disk is opened
		q.m.Done = q.m.Durable
	}
	return &q
}
