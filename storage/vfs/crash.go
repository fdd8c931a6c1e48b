package vfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// CrashClone is the disk that a machine might find when it lost its power now. Whatever was synced is there. Of the
// rest, every sector and every change of a name is there with keepUnsyncedPercent in a hundred, each for itself and in
// no order: a sector that is not has what it had before, or zeros where there was nothing; a file whose size changed may
// have any size between. Only a file or folder that was renamed is never without a name: it has the old one, the new
// one, or both. Nobody holds a lock on it.
func (m *Mem) CrashClone(rng *rand.Rand, keepUnsyncedPercent int) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &crash{rng: rng, keep: keepUnsyncedPercent, to: NewMem(), files: map[*memFile]*memFile{},
		placed: map[memNode]bool{}}
	c.dir(m.root, c.to.root)
	for len(c.renamed) > 0 { // grows while folders are filled
		r := c.renamed[0]
		c.renamed = c.renamed[1:]
		if !c.placed[r.node] {
			c.place(r.into, r.name, r.node)
		}
	}
	return c.to
}

// KillClone is the file system after the process that used it was killed: everything is as it was, what was not synced
// still is not, and nobody holds a lock.
func (m *Mem) KillClone() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := &kill{to: NewMem(), files: map[*memFile]*memFile{}, dirs: map[*memDir]*memDir{}}
	k.to.root = k.dir(m.root)
	return k.to
}

type crash struct {
	rng     *rand.Rand
	keep    int
	to      *Mem
	files   map[*memFile]*memFile // a file that has two names after the crash is still one file
	placed  map[memNode]bool      // has a name after the crash
	renamed []renamed
}

// renamed is a new name that was lost, of something that may have lost the old one too.
type renamed struct {
	node memNode
	into *memDir // after the crash
	name string
}

func (c *crash) kept() bool { return c.rng.IntN(100) < c.keep }

func (c *crash) dir(d, out *memDir) {
	all := slices.Collect(maps.Keys(d.names))
	for name := range d.synced {
		if _, ok := d.names[name]; !ok {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	for _, name := range all {
		now, isNow := d.names[name]
		was, wasThere := d.synced[name]
		if now != was && !c.kept() {
			if isNow && now.named() {
				c.renamed = append(c.renamed, renamed{now, out, name})
			}
			now, isNow = was, wasThere
		}
		if isNow {
			c.place(out, name, now)
		}
	}
}

// named says whether a file or folder has ever been kept under a name.
func (n memNode) named() bool {
	if n.dir != nil {
		return n.dir.named
	}
	return n.file.named
}

func (c *crash) place(out *memDir, name string, from memNode) {
	if from.dir != nil && c.placed[from] {
		return // a folder cannot have two names
	}
	c.placed[from] = true
	n := memNode{}
	if from.dir != nil {
		n.dir = newMemDir()
		c.dir(from.dir, n.dir)
	} else {
		n.file = c.file(from.file)
	}
	out.names[name] = n
	out.keepName(name)
}

func (c *crash) file(f *memFile) *memFile {
	if done, ok := c.files[f]; ok {
		return done
	}
	var data []byte
	if f.differ {
		data = c.tear(f)
	} else {
		data = slices.Clone(f.data)
	}
	g := &memFile{fs: c.to, wrote: f.wrote, data: data, synced: data, shared: true}
	c.files[f] = g
	return g
}

func (c *crash) tear(f *memFile) []byte {
	size := len(f.data)
	if size != len(f.synced) && !c.kept() {
		lo, hi := min(len(f.synced), size), max(len(f.synced), size)
		size = []int{lo, hi, lo + c.rng.IntN(hi-lo+1)}[c.rng.IntN(3)]
	}
	out := make([]byte, size)
	copy(out, f.synced)
	for i := range sectors(size) {
		if i < len(f.dirty) && !f.dirty[i] || !c.kept() {
			continue
		}
		at, end := i*sectorBytes, min((i+1)*sectorBytes, size)
		clear(out[at:end])
		if at < len(f.data) {
			copy(out[at:end], f.data[at:])
		}
	}
	return out
}

type kill struct {
	to    *Mem
	files map[*memFile]*memFile
	dirs  map[*memDir]*memDir
}

func (k *kill) dir(d *memDir) *memDir {
	if done, ok := k.dirs[d]; ok {
		return done
	}
	out := newMemDir()
	out.named = d.named
	k.dirs[d] = out
	for name, n := range d.names {
		out.names[name] = k.node(n)
	}
	for name, n := range d.synced {
		out.synced[name] = k.node(n)
	}
	return out
}

func (k *kill) node(n memNode) memNode {
	if n.dir != nil {
		return memNode{dir: k.dir(n.dir)}
	}
	g, ok := k.files[n.file]
	if !ok {
		f := n.file
		g = &memFile{fs: k.to, data: slices.Clone(f.data), shared: f.shared, differ: f.differ, named: f.named,
			dirty: slices.Clone(f.dirty), wrote: f.wrote}
		g.synced = g.data
		if !f.shared {
			g.synced = slices.Clone(f.synced)
		}
		k.files[f] = g
	}
	return memNode{file: g}
}
