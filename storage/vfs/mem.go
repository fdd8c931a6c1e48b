package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

// Mem is a file system in memory. It knows what has been synced, so that CrashClone can show what a machine might find
// after losing its power.
type Mem struct {
	mu    sync.Mutex
	root  *memDir
	locks map[string]bool
	early writeback
	disk  volume
}

type memDir struct {
	names  map[string]memNode // as the process sees it
	synced map[string]memNode // as of the last SyncDir, or kept earlier
	named  bool               // has been in some folder's synced
}

type memNode struct { // one of the two
	dir  *memDir
	file *memFile
}

type memFile struct {
	fs     *Mem
	data   []byte // as the process sees it
	synced []byte // what the disk surely has: as of the last Sync, or kept earlier
	shared bool   // data and synced are the same bytes in memory; to be parted before either changes
	differ bool   // data and synced may differ
	dirty  []bool // by sector: what the next Sync has to bring into synced
	named  bool   // has been in some folder's synced
	wrote  time.Time
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
	n.file.cut(0)
	n.file.wrote = m.disk.now()
	m.early.name(d, base)
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
	return Entry{Name: name, Size: int64(len(n.file.data)), ModTime: n.file.wrote}
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
			d.keepName(part)
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
	m.early.name(d, base)
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
	m.early.renamed(fd, fb, td, tb)
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
	m.early.name(d, base)
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
	for name := range d.names {
		d.keepName(name)
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
		d.keepName(name)
		if n.dir != nil {
			n.dir.syncAll()
		} else {
			n.file.keep()
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
	n, err := h.fs.room(h.memFile, off, len(p))
	h.write(p[:n], int(off))
	h.wrote = h.fs.disk.now()
	h.fs.early.file(h.memFile)
	return n, err
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
		h.cut(int(size))
	} else {
		h.grow(int(size)) // a hole, which takes no space
	}
	h.wrote = h.fs.disk.now()
	h.fs.early.file(h.memFile)
	return nil
}

func (h *memHandle) Sync() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.check(); err != nil {
		return err
	}
	h.keep()
	return nil
}

// failSync is what a kernel does when a sync fails: what was to be written is forgotten to be dirty. Readers go on to
// see it, but no later sync brings it to the disk.
func (h *memHandle) failSync() {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	clear(h.dirty)
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
