package segment

import "sync/atomic"

// tipBatches is how many of the newest batches a tip knows. Consumers that keep up ask for one of them, and need
// neither index nor file to find it.
const tipBatches = 64

// tip is where the newest batches of the segment at the log's end lie: a ring that one goroutine writes and any number
// read without a lock. Entry i says where batch i ends, and so where batch i+1 begins.
type tip struct {
	start int64 // position at which batch 0 begins
	base  int64 // the lowest offset that batch 0 can hold

	count atomic.Uint64
	ends  [tipBatches]struct{ next, position atomic.Int64 }
}

func newTip(position, next int64) *tip { return &tip{start: position, base: next} }

func (t *tip) add(next, position int64) {
	n := t.count.Load()
	e := &t.ends[n%tipBatches]
	e.next.Store(next)
	e.position.Store(position)
	t.count.Store(n + 1)
}

// find gives the range of bytes of the first batch whose last offset is at least offset. ok is false where the tip does
// not reach back so far.
func (t *tip) find(offset int64) (from, to int64, ok bool) {
	n := t.count.Load()
	if n == 0 || offset < t.base {
		return 0, 0, false
	}
	i := n - 1 // a batch that ends after offset
	e := &t.ends[i%tipBatches]
	if e.next.Load() <= offset {
		return 0, 0, false
	}
	to = e.position.Load()
	for {
		if i == 0 {
			from = t.start
			break
		}
		if n-i >= tipBatches-1 {
			return 0, 0, false
		}
		e = &t.ends[(i-1)%tipBatches]
		if e.next.Load() <= offset {
			from = e.position.Load()
			i--
			break
		}
		to = e.position.Load()
		i--
	}
	// The writer may have come round meanwhile: the entry after the newest takes the place of the one tipBatches before
	// it.
	if t.count.Load() >= i+tipBatches {
		return 0, 0, false
	}
	return from, to, true
}
