// Package vfs is the file system as storage needs it: positioned reads and writes, rename, and the two syncs. It owns
// no policy and knows nothing of logs. There is the real one (OS), one in memory that can crash (Mem), and a wrapper
// that makes calls fail (WithFaults).
//
// Invariant: what File.Sync returned success for, in a directory that SyncDir returned success for, survives a crash.
package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"time"
)

// FS is a tree of files. Names use forward slashes.
type FS interface {
	// Create makes an empty file, open for reading and writing; what had that name before is emptied.
	Create(name string) (File, error)
	// Open opens an existing file for reading and writing.
	Open(name string) (File, error)
	// List is what dir holds, sorted by name.
	List(dir string) ([]Entry, error)
	// Stat describes one name. The error wraps fs.ErrNotExist where there is none.
	Stat(name string) (Entry, error)
	// MkdirAll makes dir and its missing parents, and keeps them through a crash.
	MkdirAll(dir string) error
	// Mkdir makes dir, whose parent exists. SyncDir of the parent keeps it.
	Mkdir(dir string) error
	// Rename replaces what stood at to. A crash shows one of the two states once the directory is synced.
	Rename(from, to string) error
	// Remove deletes one file or one empty directory.
	Remove(name string) error
	// SyncDir keeps the names in dir through a crash: creations, renames and removals before it.
	SyncDir(dir string) error
	// SyncAll keeps everything below dir through a crash, in one go: for many files it is far cheaper than a Sync of
	// each.
	SyncAll(dir string) error
	// Lock takes the file's exclusive lock, and keeps it until the closer is closed or the process ends. When somebody
	// else holds it the error is a *LockedError.
	Lock(name string) (io.Closer, error)
	// Space is how large the file system is that dir lies in, and how much of it is free.
	Space(dir string) (Space, error)
}

// Space is a file system's size, in bytes.
type Space struct {
	Total int64
	Free  int64 // for a process without special rights
}

// File is one open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	Truncate(size int64) error
	// Sync keeps the file's bytes and size through a crash, but not its name: that is SyncDir's.
	Sync() error
}

// Entry is one name in a directory.
type Entry struct {
	Name string
	Dir  bool
	// Link says that the name is a symbolic link. List does not follow it: Dir is false and Size that of the link. Stat does.
	Link bool
	Size int64 // bytes; 0 for a directory
	// ModTime is when the file was written last; the zero time for a directory.
	ModTime time.Time
}

// LockedError says that another process holds a lock.
type LockedError struct {
	Name string
	PID  int // the holder; 0 when it cannot be known
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("%s is locked by another process", e.Name)
	}
	return fmt.Sprintf("%s is locked by process %d", e.Name, e.PID)
}

// ReadFile reads a whole file of at most max bytes.
func ReadFile(fsys FS, name string, max int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > max {
		return nil, fmt.Errorf("%s has %d bytes, more than the %d that such a file can have", name, size, max)
	}
	b := make([]byte, size)
	n, err := f.ReadAt(b, 0)
	if n < len(b) {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b, nil
}

// WriteFile replaces a file in one step: after a crash it holds the old bytes or the new ones. They are durable when it
// returns.
func WriteFile(fsys FS, name string, data []byte) error {
	if err := replace(fsys, name, data, File.Sync); err != nil {
		return err
	}
	if err := fsys.SyncDir(path.Dir(name)); err != nil {
		return fmt.Errorf("sync the folder of %s: %w", name, err)
	}
	return nil
}

// WriteFileUnsynced replaces a file in one step for those who read it meanwhile, but not for a crash: it may leave the
// file with neither the old nor the new bytes until it is synced.
func WriteFileUnsynced(fsys FS, name string, data []byte) error {
	return replace(fsys, name, data, func(File) error { return nil })
}

func replace(fsys FS, name string, data []byte, sync func(File) error) error {
	if err := writeTmp(fsys, name+".tmp", data, sync); err != nil {
		return err
	}
	if err := fsys.Rename(name+".tmp", name); err != nil {
		return fmt.Errorf("rename %s into place: %w", name, err)
	}
	return nil
}

func writeTmp(fsys FS, tmp string, data []byte, sync func(File) error) (err error) {
	f, err := fsys.Create(tmp)
	if err != nil {
		return fmt.Errorf("create %s: %w", tmp, err)
	}
	defer func() {
		if cerr := f.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("close %s: %w", tmp, cerr)
		}
	}()
	if _, err := f.WriteAt(data, 0); err != nil {
		return fmt.Errorf("write %s: %w", tmp, err)
	}
	if err := sync(f); err != nil {
		return fmt.Errorf("sync %s: %w", tmp, err)
	}
	return nil
}

// RemoveIfThere deletes a file, and is content when there is none.
func RemoveIfThere(fsys FS, name string) error {
	if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// RemoveAll deletes a directory and what is in it.
func RemoveAll(fsys FS, dir string) error {
	entries, err := fsys.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name)
		if e.Dir {
			err = RemoveAll(fsys, name)
		} else {
			err = RemoveIfThere(fsys, name)
		}
		if err != nil {
			return err
		}
	}
	return RemoveIfThere(fsys, dir)
}
