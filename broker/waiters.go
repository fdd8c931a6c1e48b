package broker

import "sync/atomic"

// wait is a parked request that is to be woken when a number of bytes has been committed in the partitions it watches
// together. It costs nothing while it waits, and an append that is not enough costs one addition.
type wait struct {
	r    atomic.Pointer[request]
	need atomic.Int64 // bytes that must come
	got  atomic.Int64 // bytes that have come

	watched []watch // one for each partition; the slice is never moved while any of them is in a list
}

// watch is one wait in the list of one partition.
type watch struct {
	w  *wait
	p  *Partition
	at int // index in the partition's list, -1 while in none; guarded by the partition's lock
}

// arrived counts bytes and wakes the request when there are enough. It never blocks.
func (w *wait) arrived(bytes int64) {
	if w.got.Add(bytes) >= w.need.Load() {
		w.wake()
	}
}

func (w *wait) wake() {
	if r := w.r.Load(); r != nil {
		r.wake()
	}
}

// waits is who watches a partition. It is guarded by the partition's lock.
type waits struct {
	list []*watch
}

// moved tells everyone that bytes have been committed.
func (ws *waits) moved(bytes int64) {
	for _, x := range ws.list {
		x.w.arrived(bytes)
	}
}

// all wakes everyone: the partition is no longer what it was.
func (ws *waits) all() {
	for _, x := range ws.list {
		x.w.wake()
	}
}

func (ws *waits) add(x *watch) {
	x.at = len(ws.list)
	ws.list = append(ws.list, x)
}

func (ws *waits) remove(x *watch) {
	last := len(ws.list) - 1
	moved := ws.list[last]
	ws.list[x.at] = moved
	moved.at = x.at
	ws.list[last] = nil
	ws.list = ws.list[:last]
	x.at = -1
}

// watch has w woken by p. What was committed before is not counted: look at the partition again after this.
func (p *Partition) watch(x *watch) {
	p.mu.Lock()
	p.mu.waits.add(x)
	gone := p.mu.gone
	p.mu.Unlock()
	if gone {
		x.w.wake()
	}
}

// unwatch ends all of w's watches.
func (w *wait) unwatch() {
	for i := range w.watched {
		x := &w.watched[i]
		x.p.mu.Lock()
		if x.at >= 0 {
			x.p.mu.waits.remove(x)
		}
		x.p.mu.Unlock()
	}
	clear(w.watched) // w may be kept for another request, and must not keep deleted partitions
	w.watched = w.watched[:0]
}
