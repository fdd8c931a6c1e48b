package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"sync/atomic"
)

// Mortal is a file system whose user can be killed while the process lives on: from then on nothing that it does reaches the
// disk, as after a kill -9. What was written before stays, synced or not. Files can still be closed and locks given back, so
// that another takes over the folder.
type Mortal struct {
	FS
	dead atomic.Bool
}

// NewMortal wraps a file system.
func NewMortal(fsys FS) *Mortal { return &Mortal{FS: fsys} }

// Kill ends the writing.
func (m *Mortal) Kill() { m.dead.Store(true) }

func (m *Mortal) alive(op, name string) error {
	if m.dead.Load() {
		return fmt.Errorf("%s %s: its broker was killed: %w", op, name, fs.ErrClosed)
	}
	return nil
}

func (m *Mortal) file(f File, name string, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	mf := &mortalFile{File: f, m: m, name: name}
	if d, ok := f.(interface{ Fd() int }); ok {
		return &mortalDescriptor{mortalFile: mf, fd: d}, nil
	}
	return mf, nil
}

// Create implements FS.
func (m *Mortal) Create(name string) (File, error) {
	if err := m.alive("create", name); err != nil {
		return nil, err
	}
	f, err := m.FS.Create(name)
	return m.file(f, name, err)
}

// Open implements FS.
func (m *Mortal) Open(name string) (File, error) {
	f, err := m.FS.Open(name)
	return m.file(f, name, err)
}

// MkdirAll implements FS.
func (m *Mortal) MkdirAll(dir string) error {
	if err := m.alive("create", dir); err != nil {
		return err
	}
	return m.FS.MkdirAll(dir)
}

// Mkdir implements FS.
func (m *Mortal) Mkdir(dir string) error {
	if err := m.alive("create", dir); err != nil {
		return err
	}
	return m.FS.Mkdir(dir)
}

// Rename implements FS.
func (m *Mortal) Rename(from, to string) error {
	if err := m.alive("rename", from); err != nil {
		return err
	}
	return m.FS.Rename(from, to)
}

// Remove implements FS.
func (m *Mortal) Remove(name string) error {
	if err := m.alive("remove", name); err != nil {
		return err
	}
	return m.FS.Remove(name)
}

// Lock implements FS.
func (m *Mortal) Lock(name string) (io.Closer, error) {
	if err := m.alive("lock", name); err != nil {
		return nil, err
	}
	return m.FS.Lock(name)
}

type mortalFile struct {
	File
	m    *Mortal
	name string
}

func (f *mortalFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.m.alive("write", f.name); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f *mortalFile) Truncate(size int64) error {
	if err := f.m.alive("truncate", f.name); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *mortalFile) Sync() error {
	if err := f.m.alive("sync", f.name); err != nil {
		return err
	}
	return f.File.Sync()
}

// mortalDescriptor is a file that the kernel can send from.
type mortalDescriptor struct {
	*mortalFile
	fd interface{ Fd() int }
}

func (f *mortalDescriptor) Fd() int { return f.fd.Fd() }
