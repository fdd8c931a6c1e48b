package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// ReadOnly is the real file system for those who only look: files are opened for reading, so that neither a read-only
// mount nor missing rights are in the way, and whatever would change something is refused.
func ReadOnly() FS { return readOnlyFS{} }

type readOnlyFS struct{ osFS }

type readOnlyFile struct{ *osFile }

func refuse(what, name string) error {
	return fmt.Errorf("%s %s: opened for reading only: %w", what, name, fs.ErrPermission)
}

func (readOnlyFS) Open(name string) (File, error) {
	f, err := openAs(name, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	return readOnlyFile{f}, nil
}

func (readOnlyFS) Create(name string) (File, error)    { return nil, refuse("create", name) }
func (readOnlyFS) MkdirAll(dir string) error           { return refuse("make", dir) }
func (readOnlyFS) Mkdir(dir string) error              { return refuse("make", dir) }
func (readOnlyFS) Rename(from, _ string) error         { return refuse("rename", from) }
func (readOnlyFS) Remove(name string) error            { return refuse("remove", name) }
func (readOnlyFS) SyncDir(dir string) error            { return refuse("sync", dir) }
func (readOnlyFS) SyncAll(dir string) error            { return refuse("sync", dir) }
func (readOnlyFS) Lock(name string) (io.Closer, error) { return nil, refuse("lock", name) }

func (f readOnlyFile) WriteAt([]byte, int64) (int, error) { return 0, refuse("write", f.name) }
func (f readOnlyFile) Truncate(int64) error               { return refuse("cut", f.name) }
func (f readOnlyFile) Sync() error                        { return refuse("sync", f.name) }

// Holder says whether somebody holds a file's lock, and who, without taking it.
func (readOnlyFS) Holder(name string) (pid int, held bool) {
	f, err := os.Open(name)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	lk := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lk); err != nil || lk.Type == unix.F_UNLCK {
		return 0, false
	}
	return lockHolder(f), true
}
