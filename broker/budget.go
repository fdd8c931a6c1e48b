package broker

import (
	"net"
	"sync"
)

// budget bounds the bytes of requests in flight over all connections (queued.max.request.bytes). At the limit connections
// wait their turn, first come first served, and are not read from; a request larger than the whole budget is let in alone.
type budget struct {
	limit int64

	mu struct {
		sync.Mutex
		used    int64 // all of it
		large   int64 // the part that reserve gave out
		waiters []*budgetWaiter
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
	if b.mu.used < b.limit && len(b.mu.waiters) == 0 {
		b.mu.Unlock()
		return nil
	}
	b.mu.Unlock()
	return b.reserve(0, gone)
}

// reserve takes n bytes once there is room for them, or returns net.ErrClosed when gone is closed first.
func (b *budget) reserve(n int64, gone <-chan struct{}) error {
	b.mu.Lock()
	if len(b.mu.waiters) == 0 && b.fits(n) {
		b.mu.used += n
		b.mu.large += n
		b.mu.Unlock()
		return nil
	}
	w := &budgetWaiter{n: n, granted: make(chan struct{})}
	b.mu.waiters = append(b.mu.waiters, w)
	b.mu.Unlock()
	select {
	case <-w.granted:
		return nil
	case <-gone:
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, o := range b.mu.waiters {
		if o == w {
			b.mu.waiters = append(b.mu.waiters[:i], b.mu.waiters[i+1:]...)
			b.grant()
			return net.ErrClosed
		}
	}
	b.mu.used -= n // granted meanwhile
	b.mu.large -= n
	b.grant()
	return net.ErrClosed
}

// fits says whether n more bytes may be taken. Those who wait for a large frame hold a small buffer each, so "alone" means
// that no other large frame is in flight, not that nothing is.
func (b *budget) fits(n int64) bool {
	if n == 0 {
		return b.mu.used < b.limit
	}
	return b.mu.used+n <= b.limit || b.mu.large == 0
}

// release gives back small bytes taken by charge and large ones taken by reserve.
func (b *budget) release(small, large int64) {
	b.mu.Lock()
	b.mu.used -= small + large
	b.mu.large -= large
	if len(b.mu.waiters) > 0 {
		b.grant()
	}
	b.mu.Unlock()
}

// grant lets in whom it can, in order.
func (b *budget) grant() {
	for len(b.mu.waiters) > 0 && b.fits(b.mu.waiters[0].n) {
		w := b.mu.waiters[0]
		b.mu.waiters = b.mu.waiters[1:]
		b.mu.used += w.n
		b.mu.large += w.n
		close(w.granted)
	}
}

func (b *budget) inUse() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.used
}
