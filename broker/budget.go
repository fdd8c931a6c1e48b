package broker

import (
	"net"
	"slices"
	"sync"
)

// budget bounds the bytes of requests in flight over all connections (queued.max.request.bytes). At the limit
// connections wait their turn, first come first served, and are not read from; a request larger than the whole budget
// is let in alone.
type budget struct {
	limit int64

	mu struct {
		sync.Mutex
		used   int64           // all of it
		large  int64           // the part that reserve gave out
		frames []*budgetWaiter // in the middle of a large frame; they hold a small buffer, so they go first
		idle   []*budgetWaiter // between two frames; they hold nothing
	}
}

type budgetWaiter struct {
	n       int64
	granted chan struct{}
}

func newBudget(limit int64) *budget { return &budget{limit: limit} }

// charge takes n bytes without waiting: the small buffer that a readable connection is given.
func (b *budget) charge(n int64) {
	b.mu.Lock()
	b.mu.used += n
	b.mu.Unlock()
}

// wait returns once the budget is not exhausted, or with net.ErrClosed when gone is closed first.
func (b *budget) wait(gone <-chan struct{}) error {
	b.mu.Lock()
	if b.mu.used < b.limit && len(b.mu.frames) == 0 {
		b.mu.Unlock()
		return nil
	}
	return b.queue(&b.mu.idle, 0, gone)
}

// reserve takes n bytes once there is room for them, or returns net.ErrClosed when gone is closed first.
func (b *budget) reserve(n int64, gone <-chan struct{}) error {
	b.mu.Lock()
	if len(b.mu.frames) == 0 && b.fits(n) {
		b.mu.used += n
		b.mu.large += n
		b.mu.Unlock()
		return nil
	}
	return b.queue(&b.mu.frames, n, gone)
}

// queue waits in line. It is called with the lock held and returns without it.
func (b *budget) queue(line *[]*budgetWaiter, n int64, gone <-chan struct{}) error {
	w := &budgetWaiter{n: n, granted: make(chan struct{})}
	*line = append(*line, w)
	b.mu.Unlock()
	select {
	case <-w.granted:
		return nil
	case <-gone:
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(*line, w); i >= 0 {
		*line = slices.Delete(*line, i, i+1)
	} else { // granted meanwhile
		b.mu.used -= n
		b.mu.large -= n
	}
	b.grant()
	return net.ErrClosed
}

// fits says whether a large frame may take n more bytes. Those who wait for it hold a small buffer each, so "alone"
// means that no other large frame is in flight, not that nothing is.
func (b *budget) fits(n int64) bool {
	return b.mu.used+n <= b.limit || b.mu.large == 0
}

// release gives back small bytes taken by charge and large ones taken by reserve.
func (b *budget) release(small, large int64) {
	b.mu.Lock()
	b.mu.used -= small + large
	b.mu.large -= large
	b.grant()
	b.mu.Unlock()
}

// grant lets in whom it can, in order.
func (b *budget) grant() {
	for len(b.mu.frames) > 0 && b.fits(b.mu.frames[0].n) {
		w := b.mu.frames[0]
		b.mu.frames = b.mu.frames[1:]
		b.mu.used += w.n
		b.mu.large += w.n
		close(w.granted)
	}
	if len(b.mu.idle) == 0 || len(b.mu.frames) > 0 || b.mu.used >= b.limit {
		return
	}
	for _, w := range b.mu.idle { // each takes a small buffer only once its client has sent something
		close(w.granted)
	}
	b.mu.idle = nil
}

func (b *budget) inUse() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.used
}
