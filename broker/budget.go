package broker

import (
	"net"
	"slices"
	"sync"
)

// budget bounds the bytes of requests in flight over all connections (queued.max.request.bytes). At the limit
// connections wait their turn, first come first served, and are not read from. A frame takes its bytes as they arrive,
// not as it declares them, so that declaring costs others nothing; and as several half-read frames would wait for each
// other for ever, one of them at a time, the elder, may go over the limit, which is also how a frame larger than the
// whole budget is let in.
type budget struct {
	limit int64

	mu struct {
		sync.Mutex
		used   int64           // all of it
		elder  *share          // the one frame that may go over the limit, nil while none has to
		frames []*budgetWaiter // in the middle of a large frame; they hold a small buffer, so they go first
		idle   []*budgetWaiter // between two frames; they hold nothing
	}
}

// share is what one connection has of the budget. It is guarded by the budget's lock.
type share struct {
	small int64 // the first buffer
	large int64 // what a frame needs beyond it
}

type budgetWaiter struct {
	s       *share // nil for one between two frames
	n       int64
	granted chan struct{}
}

func newBudget(limit int64) *budget { return &budget{limit: limit} }

// charge takes n bytes without waiting: the small buffer that a readable connection is given.
func (b *budget) charge(s *share, n int64) {
	b.mu.Lock()
	b.mu.used += n
	s.small += n
	b.mu.Unlock()
}

// wait returns once the budget is not exhausted, or with net.ErrClosed when gone is closed first.
func (b *budget) wait(gone <-chan struct{}) error {
	b.mu.Lock()
	if b.mu.used < b.limit && len(b.mu.frames) == 0 {
		b.mu.Unlock()
		return nil
	}
	return b.queue(&b.mu.idle, &budgetWaiter{granted: make(chan struct{})}, gone)
}

// reserve has s hold at least large bytes beside its small buffer, once there is room for them, or returns net.ErrClosed
// when gone is closed first. waited says that there was no room at once.
func (b *budget) reserve(s *share, large int64, gone <-chan struct{}) (waited bool, err error) {
	b.mu.Lock()
	n := large - s.large
	if n <= 0 {
		b.mu.Unlock()
		return false, nil
	}
	if b.mu.elder == s || len(b.mu.frames) == 0 && b.fits(n) {
		b.take(s, n)
		b.mu.Unlock()
		return false, nil
	}
	if b.mu.elder == nil && len(b.mu.frames) == 0 {
		b.mu.elder = s
		b.take(s, n)
		b.mu.Unlock()
		return false, nil
	}
	return true, b.queue(&b.mu.frames, &budgetWaiter{s: s, n: n, granted: make(chan struct{})}, gone)
}

// queue waits in line. It is called with the lock held and returns without it.
func (b *budget) queue(line *[]*budgetWaiter, w *budgetWaiter, gone <-chan struct{}) error {
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
	} // else it was granted meanwhile: the share's release gives it back
	b.grant()
	return net.ErrClosed
}

func (b *budget) take(s *share, n int64) {
	b.mu.used += n
	s.large += n
}

func (b *budget) fits(n int64) bool { return b.mu.used+n <= b.limit }

// release gives back all of a share.
func (b *budget) release(s *share) {
	b.mu.Lock()
	b.mu.used -= s.small + s.large
	s.small, s.large = 0, 0
	if b.mu.elder == s {
		b.mu.elder = nil
	}
	b.grant()
	b.mu.Unlock()
}

// grant lets in whom it can, in order.
func (b *budget) grant() {
	for len(b.mu.frames) > 0 {
		w := b.mu.frames[0]
		if !b.fits(w.n) {
			if b.mu.elder != nil {
				break
			}
			b.mu.elder = w.s
		}
		b.mu.frames = b.mu.frames[1:]
		b.take(w.s, w.n)
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
