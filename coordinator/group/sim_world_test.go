package group

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// The simulation of groups. One seed is one history: a few brokers that hold the partitions of __consumer_offsets in turn,
// a network, topics that come and go, and clients that behave as real ones do, driven by one goroutine in virtual time.
// While the storm lasts, things break: coordinators move and take what was not committed with them or not, writes are
// refused, connections break with answers on them, clients stop and come back as zombies, wall clocks jump. Then all is
// well again, and every group must come to rest with everything that somebody wants owned by one member. In the end all
// clients go, and nothing may be left of them.
//
// What is checked stands in sim_rules_test.go; sim_test.go runs it all and says which faults it was seen to find.
type simWorld struct {
	seed uint64
	rng  *rand.Rand
	opt  simOptions

	now    int64 // ns since the world began
	queue  []simEvent
	events uint64
	hash   uint64 // of all that happened, in order

	brokers []*simBroker
	logs    []*simLog
	topics  *simTopics
	clients []simActor
	groups  []*simGroup
	rules   *simRules

	storm   bool
	session time.Duration // of consumers
	parting bool          // everybody has been told to go
	marks   map[string]int
	err     error
	record  bool
	history []string
}

// simOptions are the faults of one seed, and what it has of everything. Each seed has about half of the faults.
type simOptions struct {
	brokers, logs int
	moves         bool // coordinators move, and lose what was not committed
	zombies       bool // an old coordinator goes on for a while
	refusals      bool // the log refuses writes
	cuts          bool // connections break
	late          bool // what was sent on a broken connection may arrive after what came on the next one
	pauses        bool // clients stop for a while
	slow          bool // clients take long to give partitions up
	kills         bool // clients die without a word, and others take their place
	leaves        bool
	jumps         bool // of wall clocks
	twins         bool // a static member is started twice
	slowCommits   bool
	splits        bool // several decisions are more than one batch
	topicChanges  bool
	resubscribes  bool // members change what they subscribe to
	admin         bool
	sizeLimit     bool
	configs       bool // the sessions of consumer groups change
	retention     bool // offsets expire while the world runs
}

const (
	simCalm      = 4 * time.Minute  // in which groups must have come to rest
	simQuiet     = 30 * time.Second // that they must stay so
	simSession   = 10 * time.Second
	simRebalance = 25 * time.Second
	simEpoch     = int64(1_700_000_000_000) * int64(time.Millisecond) // wall clock at which worlds begin
)

type simEvent struct {
	at  int64
	seq uint64
	do  func()
}

// simBroker is a process with two clocks.
type simBroker struct {
	id       int
	began    int64 // its monotonic clock counts from here
	skew     int64 // of its wall clock
	metadata simMetadata
}

func (b *simBroker) clock(now int64) time.Time { return simTime(simEpoch+now+b.skew, now-b.began) }

func (w *simWorld) begin(seed uint64, record bool) {
	w.seed, w.record, w.storm = seed, record, true
	w.rng, w.marks = rand.New(rand.NewPCG(seed, 7)), map[string]int{}
	w.rules, w.session = newSimRules(w), simSession
	w.opt = w.chooseOptions()
	w.topics = newSimTopics(w)
	for i := range w.opt.brokers {
		w.brokers = append(w.brokers, &simBroker{id: i, began: -int64(i+1) * int64(time.Hour), metadata: w.topics.now})
	}
	for p := range w.opt.logs {
		l := &simLog{w: w, partition: p}
		w.logs = append(w.logs, l)
		l.lead(w.rng.IntN(len(w.brokers)))
	}
	w.populate()
}

func (w *simWorld) chooseOptions() simOptions {
	o := simOptions{brokers: 2 + w.rng.IntN(2), logs: 1 + w.rng.IntN(2)}
	flags := []*bool{
		&o.moves, &o.zombies, &o.refusals, &o.cuts, &o.late, &o.pauses, &o.slow, &o.kills, &o.leaves, &o.jumps, &o.twins,
		&o.slowCommits, &o.splits, &o.topicChanges, &o.resubscribes, &o.admin, &o.configs, &o.sizeLimit, &o.retention,
	}
	for _, f := range flags {
		*f = w.rng.IntN(2) == 0
	}
	o.late = o.late && o.cuts && w.rng.IntN(3) == 0 // it weakens what may be demanded
	o.sizeLimit = o.sizeLimit && w.rng.IntN(3) == 0
	o.retention = o.retention && w.rng.IntN(2) == 0
	if w.seed%16 == 0 { // nothing breaks
		return simOptions{brokers: o.brokers, logs: o.logs}
	}
	return o
}

// after runs do when d has passed.
func (w *simWorld) after(d time.Duration, do func()) {
	w.events++
	e := simEvent{at: w.now + max(int64(d), 0), seq: w.events, do: do}
	w.queue = append(w.queue, e)
	for i := len(w.queue) - 1; i > 0; {
		up := (i - 1) / 2
		if !w.queue[i].before(w.queue[up]) {
			break
		}
		w.queue[i], w.queue[up] = w.queue[up], w.queue[i]
		i = up
	}
}

func (e simEvent) before(o simEvent) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

func (w *simWorld) next() simEvent {
	e := w.queue[0]
	last := len(w.queue) - 1
	w.queue[0] = w.queue[last]
	w.queue[last] = simEvent{}
	w.queue = w.queue[:last]
	for i := 0; ; {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < last; c++ {
			if w.queue[c].before(w.queue[least]) {
				least = c
			}
		}
		if least == i {
			return e
		}
		w.queue[i], w.queue[least] = w.queue[least], w.queue[i]
		i = least
	}
}

// run lets d pass, or less if done says so.
func (w *simWorld) run(d time.Duration, done func() bool) bool {
	end := w.now + int64(d)
	for w.err == nil && len(w.queue) > 0 && w.queue[0].at <= end {
		e := w.next()
		w.now = e.at
		e.do()
		if done != nil && done() {
			return true
		}
	}
	w.now = max(w.now, end)
	return false
}

// some is a time of up to most.
func (w *simWorld) some(most time.Duration) time.Duration {
	return time.Duration(w.rng.Int64N(int64(most) + 1))
}

func (w *simWorld) chance(n int) bool { return w.rng.IntN(n) == 0 }

func (w *simWorld) failf(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
		w.note("FAILED: %v", w.err)
	}
}

// mark says that a state worth reaching was reached.
func (w *simWorld) mark(name string) { w.marks[name]++ }

func (w *simWorld) note(format string, args ...any) {
	if w.record {
		w.history = append(w.history, fmt.Sprintf("%9.3f  ", time.Duration(w.now).Seconds())+fmt.Sprintf(format, args...))
	}
}

// trace brings what happens into the hash, which is FNV-1a.
func (w *simWorld) trace(what string, n int64) {
	const prime = 1099511628211
	h := w.hash ^ uint64(w.now)
	for i := range len(what) {
		h = (h ^ uint64(what[i])) * prime
	}
	w.hash = (h ^ uint64(n)) * prime
}

// play is the whole history.
func (w *simWorld) play() {
	w.after(0, w.nemesis)
	w.run(time.Duration(90+w.rng.IntN(150))*time.Second, nil)
	w.heal()
	w.run(simSession, nil) // in which members hear that they are none any more
	// At rest is who has been so for a session: somebody may have a little time left that was given before.
	restless, next, since, before := "", w.now, w.now, ""
	calm := w.run(simCalm, func() bool {
		if w.now < next {
			return false
		}
		next = w.now + int64(500*time.Millisecond)
		restless = w.restless()
		if at := w.generations(); restless != "" || at != before {
			since, before = w.now, at
		}
		return w.now-since > int64(simSession+2*time.Second)
	})
	if w.err != nil {
		return
	}
	if !calm {
		w.failf("%v after the last fault there is no rest: %s", simCalm, restless)
		return
	}
	w.run(simQuiet, nil)
	if restless = w.restless(); restless != "" {
		w.failf("after it had come to rest: %s", restless)
	}
	if after := w.generations(); w.err == nil && before != after {
		w.failf("groups rebalance without a cause: %s, then %s", before, after)
	}
	w.farewell()
}

// restless says what is not yet as it must be when nothing breaks any more; "" if all is.
func (w *simWorld) restless() string {
	for _, g := range w.groups {
		if s := g.restless(); s != "" {
			return fmt.Sprintf("group %s: %s", g.id, s)
		}
	}
	for _, l := range w.logs {
		if l.life.m == nil {
			return fmt.Sprintf("log %d is being loaded", l.partition)
		}
	}
	return ""
}

func (w *simWorld) generations() (all string) {
	for _, g := range w.groups {
		all += fmt.Sprintf("%s=%d ", g.id, g.log.life.generation(g.id))
	}
	return all
}

// farewell lets everybody go and looks for what they leave behind.
func (w *simWorld) farewell() {
	w.parting = true
	for _, c := range w.clients {
		c.retire()
	}
	w.run(5*time.Minute, nil)
	for _, l := range w.logs {
		l.checkEmpty()
	}
	w.run(simRetention+2*time.Hour, nil)
	for _, l := range w.logs {
		l.checkGone()
	}
}

// groupOf finds a group by its id.
func (w *simWorld) groupOf(id string) *simGroup {
	i := slices.IndexFunc(w.groups, func(g *simGroup) bool { return g.id == id })
	if i < 0 {
		return nil
	}
	return w.groups[i]
}
