package broker

import "sync/atomic"

// gather calls back when a number of answers have come, from whichever goroutine brings the last one.
type gather struct {
	missing atomic.Int64
	then    func()
}

// newGather waits for n answers, and for start.
func newGather(n int, then func()) *gather {
	g := &gather{then: then}
	g.missing.Store(int64(n) + 1)
	return g
}

// start says that all have been asked: with none to ask for, that is all there is.
func (g *gather) start() { g.done() }

// done counts one answer. What was written before it is seen by then.
func (g *gather) done() {
	if g.missing.Add(-1) == 0 {
		g.then()
	}
}
