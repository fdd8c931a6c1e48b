package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
)

// sectorBytes is the unit in which a crash keeps or loses what was written and not synced.
const sectorBytes = 512

// Mem is a file system in memory. It knows what has been synced, so that CrashClone can show what a machine might find
// after losing its power.
type Mem struct {
	mu    sync.Mutex
	root  *memDir
	locks map[string]bool
}

type memDir struct {
	names  map[string]memNode // as the process sees it
	synced map[string]memNode // as of the last SyncDir
}

type memNode struct { // one of the two
	dir  *memDir
	file *memFile
}

type memFile struct {
	fs     *Mem
	data   []byte // as the process sees it
	synced []byte // as of the last Sync
	dirty  bool   // data may differ from synced
}

// NewMem is an empty file system.
func NewMem() *Mem { return &Mem{root: newMemDir(), locks: map[string]bool{}} }

func newMemDir() *memDir { return &memDir{names: map[string]memNode{}, synced: map[string]memNode{}} }

func split(name string) []string {
	name = strings.Trim(path.Clean("/"+name), "/")
	if name == "" {
		return nil
	}
	return strings.Split(name, "/")
}

// dir finds a directory; m.mu is held.
func (m *Mem) dir(op, name string) (*memDir, error) {
	d := m.root
	for _, part := range split(name) {
		n, ok := d.names[part]
		if !ok || n.dir == nil {
			return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
		}
		d = n.dir
	}
	return d, nil
}

func (m *Mem) parent(op, name string) (*memDir, string, error) {
	d, err := m.dir(op, path.Dir(path.Clean(name)))
	return d, path.Base(path.Clean(name)), err
}

// Create implements FS.
func (m *Mem) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, base, err := m.parent("create", name)
	if err != nil {
		return nil, err
	}
	n, ok := d.names[base]
	if ok && n.file == nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrInvalid}
	}
	if !ok {
		n = memNode{file: &memFile{fs: m}}
		d.names[base] = n
	}
	n.file.data, n.file.dirty = nil, true
	return &memHandle{memFile: n.file}, nil
}

// Open implements FS.
func (m *Mem) Open(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, base, err := m.parent("open", name)
	if err != nil {
		return nil, err
	}
	n := d.names[base]
	if n.file == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &memHandle{memFile: n.file}, nil
}

// List implements FS.
func (m *Mem) List(dir string) ([]Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, err := m.dir("list", dir)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(d.names))
	for name, n := range d.names {
		entries = append(entries, n.entry(name))
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}

func (n memNode) entry(name string) Entry {
	if n.dir != nil {
		return Entry{Name: name, Dir: true}
	}
	return Entry{Name: name, Size: int64(len(n.file.data))}
}

// Stat implements FS.
func (m *Mem) Stat(name string) (Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(split(name)) == 0 {
		return Entry{Name: "/", Dir: true}, nil
	}
	d, base, err := m.parent("stat", name)
	if err != nil {
		return Entry{}, err
	}
	n, ok := d.names[base]
	if !ok {
		return Entry{}, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	return n.entry(base), nil
}

// MkdirAll implements FS.
func (m *Mem) MkdirAll(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.root
	for _, part := range split(dir) {
		n, ok := d.names[part]
		if ok && n.dir == nil {
			return &fs.PathError{Op: "mkdir", Path: dir, Err: fs.ErrExist}
		}
		if !ok {
			n = memNode{dir: newMemDir()}
			d.names[part] = n
			d.synced[part] = n
		}
		d = n.dir
	}
	return nil
}

// Mkdir implements FS.
func (m *Mem) Mkdir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, base, err := m.parent("mkdir", dir)
	if err != nil {
		return err
	}
	if _, ok := d.names[base]; ok {
		return &fs.PathError{Op: "mkdir", Path: dir, Err: fs.ErrExist}
	}
	d.names[base] = memNode{dir: newMemDir()}
	return nil
}

// Rename implements FS.
func (m *Mem) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	fd, fb, err := m.parent("rename", from)
	if err != nil {
		return err
	}
	td, tb, err := m.parent("rename", to)
	if err != nil {
		return err
	}
	n, ok := fd.names[fb]
	if !ok {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	delete(fd.names, fb)
	td.names[tb] = n
	return nil
}

// Remove implements FS.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, base, err := m.parent("remove", name)
	if err != nil {
		return err
	}
	n, ok := d.names[base]
	if !ok {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	if n.dir != nil && len(n.dir.names) > 0 {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrInvalid}
	}
	delete(d.names, base)
	return nil
}

// SyncDir implements FS.
func (m *Mem) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, err := m.dir("sync", dir)
	if err != nil {
		return err
	}
	clear(d.synced)
	for name, n := range d.names {
		d.synced[name] = n
	}
	return nil
}

// SyncAll implements FS.
func (m *Mem) SyncAll(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, err := m.dir("sync", dir)
	if err != nil {
		return err
	}
	d.syncAll()
	return nil
}

func (d *memDir) syncAll() {
	clear(d.synced)
	for name, n := range d.names {
		d.synced[name] = n
		if n.dir != nil {
			n.dir.syncAll()
		} else {
			n.file.synced, n.file.dirty = slices.Clone(n.file.data), false
		}
	}
}

// Lock implements FS.
func (m *Mem) Lock(name string) (io.Closer, error) {
	f, err := m.Create(name)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	name = path.Clean(name)
	if m.locks[name] {
		return nil, &LockedError{Name: name}
	}
	m.locks[name] = true
	return &memLock{File: f, m: m, name: name}, nil
}

type memLock struct {
	File
	m    *Mem
	name string
}

func (l *memLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	delete(l.m.locks, l.name)
	return nil
}

// memHandle is one open of a file.
type memHandle struct {
	*memFile
	closed bool
}

func (h *memHandle) check() error {
	if h.closed {
		return fs.ErrClosed
	}
	return nil
}

func (h *memHandle) ReadAt(p []byte, off int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.check(); err != nil {
		return 0, err
	}
	if off >= int64(len(h.data)) {
		return 0, io.EOF
	}
	n := copy(p, h.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *memHandle) WriteAt(p []byte, off int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.check(); err != nil {
		return 0, err
	}
	if end := off + int64(len(p)); end > int64(len(h.data)) {
		h.data = append(h.data, make([]byte, end-int64(len(h.data)))...)
	}
	copy(h.data[off:], p)
	h.dirty = true
	return len(p), nil
}

func (h *memHandle) Size() (int64, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	return int64(len(h.data)), h.check()
}

func (h *memHandle) Truncate(size int64) error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.check(); err != nil {
		return err
	}
	if size < 0 {
		return fs.ErrInvalid
	}
	if size <= int64(len(h.data)) {
		h.data = h.data[:size:size]
	} else {
		h.data = append(h.data, make([]byte, size-int64(len(h.data)))...)
	}
	h.dirty = true
	return nil
}

func (h *memHandle) Sync() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.check(); err != nil {
		return err
	}
	h.synced, h.dirty = slices.Clone(h.data), false
	return nil
}

func (h *memHandle) Close() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.check(); err != nil {
		return err
	}
	h.closed = true
	return nil
}

// CrashClone is the disk that a machine might find when it lost its power now. Whatever was synced is there. Of the
// rest, every sector and every change of a name is there with keepUnsyncedPercent in a hundred, each for itself; a file
// whose size changed may have any size between, with zeros where nothing arrived. Nobody holds a lock on it.
func (m *Mem) CrashClone(rng *rand.Rand, keepUnsyncedPercent int) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &crash{rng: rng, keep: keepUnsyncedPercent, to: NewMem(), files: map[*memFile]*memFile{}}
	c.to.root = c.dir(m.root)
	return c.to
}

type crash struct {
	rng   *rand.Rand
	keep  int
	to    *Mem
	files map[*memFile]*memFile // a file that has two names after the crash is still one file
}

func (c *crash) kept() bool { return c.rng.IntN(100) < c.keep }

func (c *crash) dir(d *memDir) *memDir {
	all := map[string]bool{}
	for name := range d.names {
		all[name] = true
	}
	for name := range d.synced {
		all[name] = true
	}
	sorted := make([]string, 0, len(all))
	for name := range all {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	out := newMemDir()
	for _, name := range sorted {
		now, isNow := d.names[name]
		was, wasThere := d.synced[name]
		if now != was && !c.kept() {
			now, isNow = was, wasThere
		}
		if !isNow {
			continue
		}
		n := memNode{}
		if now.dir != nil {
			n.dir = c.dir(now.dir)
		} else {
			n.file = c.file(now.file)
		}
		out.names[name], out.synced[name] = n, n
	}
	return out
}

func (c *crash) file(f *memFile) *memFile {
	if done, ok := c.files[f]; ok {
		return done
	}
	data := f.data
	if f.dirty {
		data = c.tear(f)
	}
	g := &memFile{fs: c.to, data: slices.Clone(data), synced: slices.Clone(data)}
	c.files[f] = g
	return g
}

func (c *crash) tear(f *memFile) []byte {
	size := len(f.data)
	if !c.kept() {
		lo, hi := min(len(f.synced), size), max(len(f.synced), size)
		size = []int{lo, hi, lo + c.rng.IntN(hi-lo+1)}[c.rng.IntN(3)]
	}
	out := make([]byte, size)
	for at := 0; at < size; at += sectorBytes {
		from := f.synced
		if c.kept() {
			from = f.data
		}
		if at < len(from) {
			copy(out[at:min(at+sectorBytes, size)], from[at:])
		}
	}
	return out
}

// String lists the files, for the messages of tests.
func (m *Mem) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var b strings.Builder
	m.root.print(&b, "")
	return b.String()
}

func (d *memDir) print(b *strings.Builder, prefix string) {
	names := make([]string, 0, len(d.names))
	for name := range d.names {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		n := d.names[name]
		if n.dir != nil {
			n.dir.print(b, prefix+name+"/")
			continue
		}
		fmt.Fprintf(b, "%s%s %d\n", prefix, name, len(n.file.data))
	}
}
