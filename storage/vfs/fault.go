package vfs

import "io"

// Op is one call to a file system with faults.
type Op struct {
	Kind string // the method's name: "Create", "WriteAt", ...
	Name string // the file or directory
	Len  int    // bytes, of ReadAt and WriteAt
}

// WithFaults is fsys, where f is asked before each call; an error of f is the call's error, and the call is not made. A
// WriteAt that fails so writes the first half of its bytes, as a full disk would. A Sync that fails so on a Mem drops what
// it should have kept: a later Sync succeeds without it, as on Linux.
func WithFaults(fsys FS, f func(op Op) error) FS { return &faultFS{fs: fsys, ask: f} }

type faultFS struct {
	fs  FS
	ask func(Op) error
}

func (x *faultFS) file(name string, f File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return &faultFile{x: x, name: name, f: f}, nil
}

func (x *faultFS) Create(name string) (File, error) {
	if err := x.ask(Op{Kind: "Create", Name: name}); err != nil {
		return nil, err
	}
	f, err := x.fs.Create(name)
	return x.file(name, f, err)
}

func (x *faultFS) Open(name string) (File, error) {
	if err := x.ask(Op{Kind: "Open", Name: name}); err != nil {
		return nil, err
	}
	f, err := x.fs.Open(name)
	return x.file(name, f, err)
}

func (x *faultFS) List(dir string) ([]Entry, error) {
	if err := x.ask(Op{Kind: "List", Name: dir}); err != nil {
		return nil, err
	}
	return x.fs.List(dir)
}

func (x *faultFS) Stat(name string) (Entry, error) {
	if err := x.ask(Op{Kind: "Stat", Name: name}); err != nil {
		return Entry{}, err
	}
	return x.fs.Stat(name)
}

func (x *faultFS) MkdirAll(dir string) error {
	if err := x.ask(Op{Kind: "MkdirAll", Name: dir}); err != nil {
		return err
	}
	return x.fs.MkdirAll(dir)
}

func (x *faultFS) Mkdir(dir string) error {
	if err := x.ask(Op{Kind: "Mkdir", Name: dir}); err != nil {
		return err
	}
	return x.fs.Mkdir(dir)
}

func (x *faultFS) Rename(from, to string) error {
	if err := x.ask(Op{Kind: "Rename", Name: to}); err != nil {
		return err
	}
	return x.fs.Rename(from, to)
}

func (x *faultFS) Remove(name string) error {
	if err := x.ask(Op{Kind: "Remove", Name: name}); err != nil {
		return err
	}
	return x.fs.Remove(name)
}

func (x *faultFS) SyncDir(dir string) error {
	if err := x.ask(Op{Kind: "SyncDir", Name: dir}); err != nil {
		return err
	}
	return x.fs.SyncDir(dir)
}

func (x *faultFS) SyncAll(dir string) error {
	if err := x.ask(Op{Kind: "SyncAll", Name: dir}); err != nil {
		return err
	}
	return x.fs.SyncAll(dir)
}

func (x *faultFS) Lock(name string) (io.Closer, error) {
	if err := x.ask(Op{Kind: "Lock", Name: name}); err != nil {
		return nil, err
	}
	return x.fs.Lock(name)
}

func (x *faultFS) Space(dir string) (Space, error) {
	if err := x.ask(Op{Kind: "Space", Name: dir}); err != nil {
		return Space{}, err
	}
	return x.fs.Space(dir)
}

type faultFile struct {
	x    *faultFS
	name string
	f    File
}

func (h *faultFile) ReadAt(p []byte, off int64) (int, error) {
	if err := h.x.ask(Op{Kind: "ReadAt", Name: h.name, Len: len(p)}); err != nil {
		return 0, err
	}
	return h.f.ReadAt(p, off)
}

func (h *faultFile) WriteAt(p []byte, off int64) (int, error) {
	if err := h.x.ask(Op{Kind: "WriteAt", Name: h.name, Len: len(p)}); err != nil {
		n, _ := h.f.WriteAt(p[:len(p)/2], off)
		return n, err
	}
	return h.f.WriteAt(p, off)
}

func (h *faultFile) Size() (int64, error) { return h.f.Size() }
func (h *faultFile) Close() error         { return h.f.Close() }

func (h *faultFile) Truncate(size int64) error {
	if err := h.x.ask(Op{Kind: "Truncate", Name: h.name}); err != nil {
		return err
	}
	return h.f.Truncate(size)
}

func (h *faultFile) Sync() error {
	if err := h.x.ask(Op{Kind: "Sync", Name: h.name}); err != nil {
		if m, ok := h.f.(*memHandle); ok {
			m.failSync()
		}
		return err
	}
	return h.f.Sync()
}
