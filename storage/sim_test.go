package storage

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The simulation. One seed is one history: a store over a few logs and folders in memory, driven by one goroutine with a
// clock that is set by hand, the background work called between the steps. At random file operations, also in the
// middle of a step, of a start or of a stop, the disk is cloned as a power cut or a kill might leave it; the clone is
// opened, held against the model, driven on, and crashed again, up to four times. See world for what is checked.
//
// That it finds what it is for was tried by leaving out one thing at a time. These are the seeds that failed then; histories
// have changed since, so that it may be other ones now:
//
//	the names of the first segment's files are synced before a second one is made (roll)        14
//	the start is kept before segments are removed (removeBelow)                                406
//	the names of those that stay are kept before segments are removed (removeBelow)            194
//	a truncation cuts the offset index (segment.Cut)                                           432
//	a truncation lowers the recovery point on disk (lowerRecoveryPoint)                          5
//	the removal of the mark of an orderly end is synced (dropCleanMark)                         11
//	a file that is replaced gets its folder synced (vfs.WriteFile)                               7
//	a deleted partition's new name is synced (Store.Delete)                                     12
//	what a move copied is synced, and the names of it                                           11
//	producers are forgotten where a log begins again behind its end (beginAgain)                16
//
// MOLDAU_SIM_SEEDS=n runs n seeds, MOLDAU_SIM_SEED=s runs one and prints its history.

// simSeeds is how many seeds a plain run has, as long as simTime allows: a busy machine has fewer. simTwice is that one in
// so many runs twice and must do the same.
const (
	simSeeds      = 2000
	simSeedsShort = 60
	simTime       = 75 * time.Second
	simTwice      = 50
)

// simulation is the run of one seed.
type simulation struct {
	seed       uint64
	record     bool // the history is wanted
	whole      bool // also of crashes that went well
	operations bool // with every operation on the disk
	history    []string
	hash       uint64 // of everything that was done, in order
	disks      int    // that a crash left
	deepest    int
	err        error // the first
}

// simFailure is what a world panics with.
type simFailure struct{ err error }

func (s *simulation) note(depth int, format string, a ...any) {
	if s.record {
		s.history = append(s.history, strings.Repeat("    ", depth)+fmt.Sprintf(format, a...))
	}
}

// trace brings something that was done into the hash, which is FNV-1a.
func (s *simulation) trace(depth int, what, of string, n int) {
	const prime = 1099511628211
	h := (s.hash ^ uint64(depth)) * prime
	for _, text := range []string{what, of} {
		for i := range len(text) {
			h = (h ^ uint64(text[i])) * prime
		}
	}
	s.hash = (h ^ uint64(n)) * prime
}

// guard runs do, and keeps the failure that it panics with.
func (s *simulation) guard(do func()) {
	defer func() {
		switch x := recover().(type) {
		case nil:
		case simFailure:
			s.fail(x.err)
		default:
			s.fail(fmt.Errorf("panic: %v\n%s", x, debug.Stack()))
		}
	}()
	do()
}

func (s *simulation) fail(err error) {
	if s.err == nil {
		s.err = err
		s.note(0, "FAILED: %v", err)
	}
}

func simulate(seed uint64, record, operations bool) *simulation {
	s := &simulation{seed: seed, record: record, operations: operations}
	s.guard(func() { newWorld(s).run() })
	return s
}

func envNumber(t *testing.T, name string, otherwise uint64) (uint64, bool) {
	v, ok := os.LookupEnv(name)
	if !ok {
		return otherwise, false
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		t.Fatalf("%s=%s: %v", name, v, err)
	}
	return n, true
}

// TestSimulation is the whole of it.
func TestSimulation(t *testing.T) {
	if seed, one := envNumber(t, "MOLDAU_SIM_SEED", 0); one {
		s := simulate(seed, true, true)
		t.Logf("seed %d, %d crashed disks, hash %x\n%s", seed, s.disks, s.hash, strings.Join(s.history, "\n"))
		if s.err != nil {
			t.Fatal(s.err)
		}
		return
	}
	seeds := uint64(simSeeds)
	if testing.Short() {
		seeds = simSeedsShort
	}
	seeds, wanted := envNumber(t, "MOLDAU_SIM_SEEDS", seeds)
	began := time.Now()
	var next, ran, disks, deepest atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for !t.Failed() {
				seed := uint64(next.Add(1) - 1)
				if seed >= seeds || !wanted && seed >= simSeedsShort && time.Since(began) > simTime {
					return
				}
				ran.Add(1)
				s := simulate(seed, false, false)
				disks.Add(int64(s.disks))
				deepest.Store(max(deepest.Load(), int64(s.deepest)))
				report(t, s)
			}
		})
	}
	wg.Wait()
	t.Logf("%d seeds, %d crashed disks, up to %d crashes in a row", ran.Load(), disks.Load(), deepest.Load())
	if seeds >= simSeedsShort && deepest.Load() < depthMax && !t.Failed() {
		t.Errorf("at most %d crashes in a row were reached, want %d", deepest.Load(), depthMax)
	}
}

// report fails the test where the seed failed, with the end of its history, and where a second run was another one.
func report(t *testing.T, s *simulation) {
	if s.err != nil {
		again := simulate(s.seed, true, false)
		h := again.history[max(0, len(again.history)-60):]
		t.Errorf("seed %d: %v\nMOLDAU_SIM_SEED=%d prints all of this:\n%s", s.seed, s.err, s.seed, strings.Join(h, "\n"))
		return
	}
	if s.seed%simTwice == 0 {
		if again := simulate(s.seed, false, false); again.hash != s.hash {
			t.Errorf("seed %d: the second run was another one\n%s", s.seed, firstDifference(s.seed))
		}
	}
}

// firstDifference runs a seed until two runs differ, and says where.
func firstDifference(seed uint64) string {
	run := func() []string {
		s := &simulation{seed: seed, record: true, operations: true, whole: true}
		s.guard(func() { newWorld(s).run() })
		return s.history
	}
	one := run()
	for range 20 {
		two := run()
		for i := range min(len(one), len(two)) {
			if one[i] != two[i] {
				return strings.Join(one[max(0, i-20):i], "\n") + "\nthen " + one[i] + "\nor " + two[i]
			}
		}
	}
	return "further runs were the same"
}
