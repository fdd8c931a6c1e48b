package vfs

import "math/rand/v2"

// sectorBytes is the unit in which a disk keeps or loses what was written and not synced.
const sectorBytes = 512

// part gives data and synced memory of their own.
func (f *memFile) part() {
	if f.shared {
		f.data = append([]byte(nil), f.data...)
		f.shared = false
	}
	f.differ = true
}

// write is WriteAt; m.mu is held for this and the following.
func (f *memFile) write(p []byte, off int) {
	f.part()
	if end := off + len(p); end > len(f.data) {
		f.grow(end)
	}
	copy(f.data[off:], p)
	f.mark(off, off+len(p))
}

func (f *memFile) grow(size int) {
	f.part()
	old := len(f.data)
	f.data = append(f.data, make([]byte, size-old)...)
	f.mark(old, size)
}

func (f *memFile) cut(size int) {
	f.part()
	f.data = f.data[:size:size]
	f.dirty = f.dirty[:min(len(f.dirty), sectors(size))]
	if size%sectorBytes > 0 {
		f.mark(size-1, size)
	}
}

func sectors(bytes int) int { return (bytes + sectorBytes - 1) / sectorBytes }

// mark notes that the bytes from..to have changed.
func (f *memFile) mark(from, to int) {
	if from == to {
		return
	}
	for len(f.dirty) < sectors(to) {
		f.dirty = append(f.dirty, false)
	}
	for i := from / sectorBytes; i < sectors(to); i++ {
		f.dirty[i] = true
	}
}

// keep is Sync: the size and every dirty sector.
func (f *memFile) keep() {
	if f.shared {
		return
	}
	if n := len(f.data); n <= len(f.synced) {
		f.synced = f.synced[:n:n]
	} else {
		f.synced = append(f.synced, make([]byte, n-len(f.synced))...)
	}
	for i, dirty := range f.dirty {
		if dirty {
			f.keepSector(i)
		}
	}
}

// keepSector brings one sector into synced, which gets at least as long as that needs.
func (f *memFile) keepSector(i int) {
	at, end := i*sectorBytes, min((i+1)*sectorBytes, len(f.data))
	if at < end {
		if end > len(f.synced) {
			f.synced = append(f.synced, make([]byte, end-len(f.synced))...)
		}
		copy(f.synced[at:end], f.data[at:end])
	}
	f.dirty[i] = false
}

// writeback is the kernel's: it brings things to the disk when it likes, so that a crash may find a state between the
// last sync and the end.
type writeback struct {
	rng     *rand.Rand // nil for never
	percent int
}

// WriteBack has the file system keep parts of what is not synced, at random: after each change with so many in a hundred,
// half of the changed file's dirty sectors, or the changed name. A crash then may find a file as it was between two
// syncs. The generator is the file system's own from now on.
func (m *Mem) WriteBack(rng *rand.Rand, percent int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.early = writeback{rng, percent}
}

func (w writeback) due() bool { return w.rng != nil && w.rng.IntN(100) < w.percent }

func (w writeback) file(f *memFile) {
	if !w.due() {
		return
	}
	f.part()
	for i, dirty := range f.dirty {
		if dirty && w.rng.IntN(2) == 0 {
			f.keepSector(i)
		}
	}
}

func (w writeback) name(d *memDir, name string) {
	if w.due() {
		d.keepName(name)
	}
}

// renamed keeps both names or none: a journal has them in one transaction.
func (w writeback) renamed(fd *memDir, from string, td *memDir, to string) {
	if w.due() {
		fd.keepName(from)
		td.keepName(to)
	}
}

func (d *memDir) keepName(name string) {
	n, ok := d.names[name]
	switch {
	case !ok:
		delete(d.synced, name)
		return
	case n.dir != nil:
		n.dir.named = true
	default:
		n.file.named = true
	}
	d.synced[name] = n
}
