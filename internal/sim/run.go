package sim

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Flags are the flags of a test binary that has simulations.
type Flags struct {
	seed  *uint64
	seeds *uint64
	limit *time.Duration
}

// NewFlags defines -sim.seed, -sim.seeds and -sim.time, the latter two with these defaults. A test package does so once.
func NewFlags(seeds uint64, limit time.Duration) *Flags {
	return &Flags{
		seed:  flag.Uint64("sim.seed", 0, "run simulations with this seed only, and print its history"),
		seeds: flag.Uint64("sim.seeds", seeds, "run simulations with so many seeds, as long as -sim.time allows"),
		limit: flag.Duration("sim.time", limit, "stop a simulation after this time"),
	}
}

const (
	seedsShort = 30  // with -short
	runTwice   = 50  // one in so many seeds runs twice, and must do the same
	tailLines  = 60  // of the history, with a failure
	marksFrom  = 400 // seeds must come to the marks, if so many were played
)

// Run plays one world for each seed, on all processors, and fails the test with the first seed that fails. One seed in fifty
// is played twice, and must be the same history. Where enough seeds were played, marks are what they must have
// come to.
func (f *Flags) Run(t *testing.T, play func(s *Sim), marks ...string) {
	t.Helper()
	if *f.seed != 0 {
		s := guarded(*f.seed, true, play)
		t.Logf("seed %d, %d steps, %v, hash %x\n%s", s.seed, s.steps, s.Elapsed(), s.hash, strings.Join(s.history, "\n"))
		if s.err != nil {
			t.Fatal(s.err)
		}
		return
	}
	seeds := *f.seeds
	if testing.Short() {
		seeds = min(seeds, seedsShort)
	}
	r := runner{play: play, marks: map[string]int{}}
	began := time.Now()
	var next atomic.Uint64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for !t.Failed() && time.Since(began) < *f.limit {
				seed := next.Add(1)
				if seed > seeds {
					return
				}
				if text := r.one(seed); text != "" {
					t.Error(text)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d seeds, %d steps, %v of virtual time", r.seeds, r.steps, r.time.Round(time.Second))
	for _, name := range slices.Sorted(maps.Keys(r.marks)) {
		t.Logf("%8d  %s", r.marks[name], name)
	}
	if t.Failed() || testing.Short() || r.seeds < seeds && r.seeds < marksFrom {
		return
	}
	for _, m := range marks {
		if r.marks[m] == 0 {
			t.Errorf("no seed came to this: %s", m)
		}
	}
}

// runner adds up what the seeds did.
type runner struct {
	play func(*Sim)

	mu    sync.Mutex
	seeds uint64
	steps int
	time  time.Duration
	marks map[string]int
}

// one plays a seed, and says what was wrong.
func (r *runner) one(seed uint64) string {
	s := guarded(seed, false, r.play)
	r.mu.Lock()
	r.seeds++
	r.steps += s.steps
	r.time += s.Elapsed()
	for name, n := range s.marks {
		r.marks[name] += n
	}
	r.mu.Unlock()
	if s.err != nil {
		again := guarded(seed, true, r.play)
		tail := again.history[max(0, len(again.history)-tailLines):]
		return fmt.Sprintf("seed %d: %v\nrun again with -sim.seed=%d -v for all of this:\n%s", seed, s.err, seed,
			strings.Join(tail, "\n"))
	}
	if seed%runTwice == 0 {
		if again := guarded(seed, true, r.play); again.hash != s.hash {
			return fmt.Sprintf("seed %d: two runs are two histories: hash %x after %d steps, then %x after %d", seed, s.hash,
				s.steps, again.hash, again.steps)
		}
	}
	return ""
}

// guarded plays a seed. A panic fails it.
func guarded(seed uint64, record bool, play func(*Sim)) (s *Sim) {
	s = New(seed, record)
	defer func() {
		if x := recover(); x != nil {
			s.Fail("panic: %v\n%s", x, debug.Stack())
		}
	}()
	play(s)
	return s
}

// Play plays one seed.
func Play(seed uint64, play func(s *Sim)) error { return guarded(seed, false, play).err }

// Find plays seeds until one fails, for tests that plant a fault and want it found. It says which, and false where none of so
// many does.
func Find(seeds uint64, play func(s *Sim)) (seed uint64, err error, found bool) {
	for seed := uint64(1); seed <= seeds; seed++ {
		if s := guarded(seed, false, play); s.err != nil {
			return seed, s.err, true
		}
	}
	return 0, nil, false
}

// Swarm leaves out some of the kinds of trouble, each with a chance of one half: what happens rarely together with
// everything else may happen often alone.
func Swarm(rng *rand.Rand, kinds ...string) map[string]bool {
	on := map[string]bool{}
	for _, k := range kinds {
		on[k] = rng.IntN(2) == 0
	}
	return on
}
