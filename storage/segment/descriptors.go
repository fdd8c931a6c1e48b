package segment

import (
	"errors"
	"path"
	"sync"
	"sync/atomic"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

// ErrRemoved says that a segment's files are gone: retention, DeleteRecords or the topic's deletion took them between
// the moment its log was asked and the moment it was read.
var ErrRemoved = errors.New("the segment has been removed")

// Descriptors opens files when they are used and closes those that are used least, so that a log without traffic holds
// no file descriptor. It has no more than its limit open, apart from those in use at that moment.
//
// Eviction is the clock algorithm: acquiring a file that is open takes no lock, only one atomic increment.
type Descriptors struct {
	fs    vfs.FS
	limit int

	buffers  bufferPool // small ones, that lookups read into
	copies   bufferPool // larger ones, through which file ranges are copied on their way to a socket
	runs     sync.Pool  // of *run
	checkers sync.Pool  // of *checker

	mu   sync.Mutex
	open []*handle // the clock's face
	hand int
}

// NewDescriptors opens at most limit files at a time.
func NewDescriptors(fs vfs.FS, limit int) *Descriptors {
	return &Descriptors{
		fs:      fs,
		limit:   max(limit, 1),
		buffers: bufferPool{size: scanBytes},
		copies:  bufferPool{size: copyBytes},
	}
}

// FS is where the files are.
func (d *Descriptors) FS() vfs.FS { return d.fs }

// Open is the number of open files.
func (d *Descriptors) Open() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.open)
}

// handle is one file that may be open.
type handle struct {
	d      *Descriptors
	dir    string
	suffix string
	base   protocol.Offset
	extra  string // the name's ending after suffix; see Cleaned

	// refs is 0 for closed, 1 for open and idle, more for in use. Only under d.mu does it leave 0, or come back to it by
	// eviction.
	refs atomic.Int64
	used atomic.Bool // since the clock's hand came by
	file vfs.File    // valid while refs > 0

	slot int  // in d.open; under d.mu
	dead bool // under d.mu: removed, never opened again
}

func (h *handle) name() string { return path.Join(h.dir, FileName(h.base, h.suffix)+h.extra) }

// acquire gives the open file; release must follow.
func (h *handle) acquire() (vfs.File, error) {
	for {
		n := h.refs.Load()
		if n == 0 {
			return h.reopen(h.d.fs.Open)
		}
		if h.refs.CompareAndSwap(n, n+1) {
			if !h.used.Load() {
				h.used.Store(true)
			}
			return h.file, nil
		}
	}
}

// create makes the file anew and leaves it open and idle.
func (h *handle) create() error {
	if _, err := h.reopen(h.d.fs.Create); err != nil {
		return err
	}
	h.release()
	return nil
}

func (h *handle) reopen(open func(string) (vfs.File, error)) (vfs.File, error) {
	f, err := open(h.name())
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if err == nil && (h.dead || h.refs.Load() > 0) { // removed, or somebody else was faster
		_ = f.Close()
	}
	switch {
	case h.dead:
		return nil, ErrRemoved
	case h.refs.Load() > 0:
		h.refs.Add(1)
		return h.file, nil
	case err != nil:
		return nil, err
	}
	h.d.makeRoom()
	h.file = f
	h.slot = len(h.d.open)
	h.d.open = append(h.d.open, h)
	h.used.Store(true)
	h.refs.Store(2)
	return f, nil
}

func (h *handle) release() {
	f := h.file
	if h.refs.Add(-1) == 0 { // drop gave up the idle reference while this one was out
		_ = f.Close()
	}
}

// makeRoom closes idle files until there is room for one more; d.mu is held. It goes round twice at most: the first
// time only takes the marks of use away.
func (d *Descriptors) makeRoom() {
	for range 2 * len(d.open) {
		if len(d.open) < d.limit {
			return
		}
		d.hand %= len(d.open)
		h := d.open[d.hand]
		if h.used.Swap(false) || !h.refs.CompareAndSwap(1, 0) {
			d.hand++
			continue
		}
		_ = h.file.Close()
		d.forget(h)
	}
}

func (d *Descriptors) forget(h *handle) {
	last := d.open[len(d.open)-1]
	d.open[h.slot] = last
	last.slot = h.slot
	d.open[len(d.open)-1] = nil
	d.open = d.open[:len(d.open)-1]
	h.slot = -1
}

// drop closes the file, now or when its last reader is done. It is not opened again.
func (h *handle) drop() {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if h.dead {
		return
	}
	h.dead = true
	if h.refs.Load() == 0 {
		return
	}
	h.d.forget(h)
	h.release()
}
