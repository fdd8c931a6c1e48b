package sim

import (
	"container/heap"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// Sim is the time of a world, and what is going to happen in it.
type Sim struct {
	seed   uint64
	now    time.Time
	events events
	order  *rand.Rand // of events at one moment
	count  uint64     // events that were scheduled

	hash    uint64
	steps   int
	err     error
	record  bool
	history []string
	marks   map[string]int
}

// New begins a world. With record its Notes are kept.
func New(seed uint64, record bool) *Sim {
	s := &Sim{seed: seed, now: time.UnixMilli(1_700_000_000_000).UTC(), record: record, hash: seed, marks: map[string]int{}}
	s.order = s.Rand("order")
	return s
}

// Seed is the seed.
func (s *Sim) Seed() uint64 { return s.seed }

// Now is the virtual time.
func (s *Sim) Now() time.Time { return s.now }

// Steps is how many events have happened.
func (s *Sim) Steps() int { return s.steps }

// Rand is a generator of its own for a purpose.
func (s *Sim) Rand(purpose string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(purpose))
	return rand.New(rand.NewPCG(s.seed, h.Sum64()))
}

// event is something that will happen. Those of one moment happen in an order that is drawn.
type event struct {
	at    time.Time
	tie   uint64
	count uint64
	name  string
	do    func()
	index int // in the heap; -1 when it has happened or was stopped
}

// Timer is an event that can be stopped.
type Timer struct {
	s *Sim
	e *event
}

// Stop has the event not happen. It may be called at any time, also on the zero Timer.
func (t Timer) Stop() {
	if t.e != nil && t.e.index >= 0 {
		heap.Remove(&t.s.events, t.e.index)
	}
}

// After has do happen in d, or at once where d is not above 0.
func (s *Sim) After(d time.Duration, name string, do func()) Timer {
	return s.At(s.now.Add(d), name, do)
}

// At has do happen at a moment. The name goes into the hash.
func (s *Sim) At(at time.Time, name string, do func()) Timer {
	if at.Before(s.now) {
		at = s.now
	}
	s.count++
	e := &event{at: at, tie: s.order.Uint64(), count: s.count, name: name, do: do}
	heap.Push(&s.events, e)
	return Timer{s, e}
}

// Every has do happen again and again, first within d, until the Sim ends or do says false.
func (s *Sim) Every(d time.Duration, name string, do func() bool) {
	var again func()
	again = func() {
		if do() {
			s.After(d, name, again)
		}
	}
	s.After(time.Duration(s.order.Int64N(int64(d))), name, again)
}

// Step has the next event happen, and says whether there was one. After a failure there is none.
func (s *Sim) Step() bool {
	if s.err != nil || len(s.events) == 0 {
		return false
	}
	e := heap.Pop(&s.events).(*event)
	s.now = e.at
	s.steps++
	s.Trace(e.name, e.at.UnixNano())
	e.do()
	return s.err == nil
}

// Run has everything happen that is due within d.
func (s *Sim) Run(d time.Duration) { s.RunUntil(s.now.Add(d)) }

// RunUntil has everything happen that is due before a moment, which then is now.
func (s *Sim) RunUntil(end time.Time) {
	for len(s.events) > 0 && s.events[0].at.Before(end) {
		if !s.Step() {
			return
		}
	}
	if s.err == nil && s.now.Before(end) {
		s.now = end
	}
}

// Fail ends the world, with the first error that it is told.
func (s *Sim) Fail(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf("after %d steps, at %v: %w", s.steps, s.Elapsed(), fmt.Errorf(format, args...))
		s.Note("FAILED: %v", s.err)
	}
}

// Err is what the world failed with.
func (s *Sim) Err() error { return s.err }

// Elapsed is the virtual time since the world began.
func (s *Sim) Elapsed() time.Duration { return s.now.Sub(time.UnixMilli(1_700_000_000_000)) }

// Trace brings something that was done into the hash.
func (s *Sim) Trace(what string, numbers ...int64) {
	const prime = 1099511628211 // FNV-1a
	h := s.hash
	for i := range len(what) {
		h = (h ^ uint64(what[i])) * prime
	}
	for _, n := range numbers {
		h = (h ^ uint64(n)) * prime
		h ^= h >> 29
	}
	s.hash = h
}

// Hash says what has happened so far, in which order.
func (s *Sim) Hash() uint64 { return s.hash }

// Note keeps a line of the history, where that is recorded.
func (s *Sim) Note(format string, args ...any) {
	if s.record {
		s.history = append(s.history, fmt.Sprintf("%10.3fs %s", s.Elapsed().Seconds(), fmt.Sprintf(format, args...)))
	}
}

// Recording says that Notes are kept.
func (s *Sim) Recording() bool { return s.record }

// History is the Notes.
func (s *Sim) History() []string { return s.history }

// Mark counts something that the seeds of a test should come to somewhere.
func (s *Sim) Mark(name string) { s.marks[name]++ }

// Marked is how often Mark was called with a name.
func (s *Sim) Marked(name string) int { return s.marks[name] }

// events is a heap.
type events []*event

func (q events) Len() int { return len(q) }

func (q events) Less(i, j int) bool {
	a, b := q[i], q[j]
	if !a.at.Equal(b.at) {
		return a.at.Before(b.at)
	}
	if a.tie != b.tie {
		return a.tie < b.tie
	}
	return a.count < b.count
}

func (q events) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push implements heap.Interface.
func (q *events) Push(x any) {
	e := x.(*event)
	e.index = len(*q)
	*q = append(*q, e)
}

// Pop implements heap.Interface.
func (q *events) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	e.index = -1
	return e
}
