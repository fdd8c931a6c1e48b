package vfs

import (
	"math"
	"syscall"
	"time"
)

// volume is what a Mem pretends of its disk.
type volume struct {
	capacity int64 // bytes; 0 for no bound
	clock    func() time.Time
}

func (v volume) now() time.Time {
	if v.clock == nil {
		return time.Now()
	}
	return v.clock()
}

// SetCapacity bounds the bytes in all files together. A write past it writes what fits and fails with ENOSPC, as the
// real one does. 0 is no bound.
func (m *Mem) SetCapacity(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.disk.capacity = bytes
}

// SetClock is where the files' times come from. Default: time.Now.
func (m *Mem) SetClock(now func() time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.disk.clock = now
}

// Space implements FS.
func (m *Mem) Space(dir string) (Space, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.dir("statfs", dir); err != nil {
		return Space{}, err
	}
	total := m.disk.capacity
	if total == 0 {
		total = math.MaxInt64
	}
	return Space{Total: total, Free: max(0, total-m.root.bytes())}, nil
}

// room is how many of n bytes at off can be written, with the error for the others.
func (m *Mem) room(f *memFile, off int64, n int) (int, error) {
	if m.disk.capacity == 0 {
		return n, nil
	}
	more := max(0, off+int64(n)-int64(len(f.data)))
	free := max(0, m.disk.capacity-m.root.bytes())
	if more <= free {
		return n, nil
	}
	return max(0, n-int(more-free)), syscall.ENOSPC
}

func (d *memDir) bytes() int64 {
	var n int64
	for _, x := range d.names {
		if x.dir != nil {
			n += x.dir.bytes()
		} else {
			n += int64(len(x.file.data))
		}
	}
	return n
}
