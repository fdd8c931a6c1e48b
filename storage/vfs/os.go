package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// OS is the real file system.
func OS() FS { return osFS{} }

type osFS struct{}

// osFile is a descriptor, used without os.File: that asks the kernel for five more things when a file is opened, most of
// them about waiting for it, which nobody does for a file on disk.
type osFile struct {
	fd   int
	name string
}

func (o *osFile) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		m, err := unix.Pread(o.fd, p[n:], off+int64(n))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return n, o.failed("read", err)
		case m == 0:
			return n, io.EOF
		default:
			n += m
		}
	}
	return n, nil
}

func (o *osFile) WriteAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		m, err := unix.Pwrite(o.fd, p[n:], off+int64(n))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return n, o.failed("write", err)
		case m == 0:
			return n, o.failed("write", io.ErrShortWrite)
		default:
			n += m
		}
	}
	return n, nil
}

func (o *osFile) Close() error { return o.failed("close", unix.Close(o.fd)) }

func (o *osFile) Truncate(size int64) error {
	return o.failed("truncate", retried(func() error { return unix.Ftruncate(o.fd, size) }))
}

// Fd is the descriptor, for sendfile(2).
func (o *osFile) Fd() int { return o.fd }

func (o *osFile) Size() (int64, error) {
	var st unix.Stat_t
	if err := retried(func() error { return unix.Fstat(o.fd, &st) }); err != nil {
		return 0, o.failed("stat", err)
	}
	return st.Size, nil
}

// Sync is fdatasync: it writes the size too, and leaves only the times behind.
func (o *osFile) Sync() error { return retried(func() error { return unix.Fdatasync(o.fd) }) }

func (o *osFile) failed(op string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: o.name, Err: err}
}

// retried calls do until no signal interrupts it.
func retried(do func() error) error {
	for {
		if err := do(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func (osFS) Create(name string) (File, error) {
	return open(name, unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC)
}

func (osFS) Open(name string) (File, error) { return open(name, unix.O_RDWR) }

func open(name string, flags int) (File, error) {
	o, err := openAs(name, flags)
	if err != nil {
		return nil, err
	}
	return o, nil
}

func openAs(name string, flags int) (*osFile, error) {
	o := &osFile{name: name}
	err := retried(func() (err error) {
		o.fd, err = unix.Open(name, flags|unix.O_CLOEXEC, 0o644)
		return err
	})
	if err != nil {
		return nil, o.failed("open", err)
	}
	return o, nil
}

func (osFS) List(dir string) ([]Entry, error) {
	des, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(des))
	for _, de := range des {
		e := Entry{Name: de.Name(), Dir: de.IsDir(), Link: de.Type()&fs.ModeSymlink != 0}
		if !e.Dir {
			info, err := de.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue // removed since the folder was read
			}
			if err != nil {
				return nil, err
			}
			e.Size, e.ModTime = info.Size(), info.ModTime()
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func (osFS) Stat(name string) (Entry, error) {
	info, err := os.Stat(name)
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Name: info.Name(), Dir: info.IsDir()}
	if !e.Dir {
		e.Size, e.ModTime = info.Size(), info.ModTime()
	}
	return e, nil
}

func (o osFS) MkdirAll(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := o.MkdirAll(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return o.SyncDir(parent)
}

func (osFS) Mkdir(dir string) error       { return os.Mkdir(dir, 0o755) }
func (osFS) Rename(from, to string) error { return os.Rename(from, to) }
func (osFS) Remove(name string) error     { return os.Remove(name) }

func (osFS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}

// SyncAll is syncfs(2), which reports what could not be written since the last call (Linux 5.8).
func (osFS) SyncAll(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		err := unix.Syncfs(int(d.Fd()))
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Space is statfs(2).
func (osFS) Space(dir string) (Space, error) {
	var st unix.Statfs_t
	for {
		err := unix.Statfs(dir, &st)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return Space{}, &fs.PathError{Op: "statfs", Path: dir, Err: err}
		}
		block := st.Bsize
		if st.Frsize > 0 {
			block = st.Frsize
		}
		return Space{Total: int64(st.Blocks) * block, Free: int64(st.Bavail) * block}, nil
	}
}

// Lock uses an open-file-description lock: it excludes a JVM's lock on the same file (a POSIX one), another process of
// ours, and a second attempt in this process, which a POSIX lock would let through.
func (osFS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	lk := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lk); err != nil {
		defer f.Close()
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			return nil, &LockedError{Name: name, PID: lockHolder(f)}
		}
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	// The number is only for the message of those who are refused, so that failing to write it is no reason to fail.
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return &osLock{f: f}, nil
}

// lockHolder asks the kernel, which knows the holder of a POSIX lock, and else reads what the holder wrote.
func lockHolder(f *os.File) int {
	lk := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lk); err == nil && lk.Type != unix.F_UNLCK && lk.Pid > 0 {
		return int(lk.Pid)
	}
	var b [32]byte
	n, _ := f.ReadAt(b[:], 0)
	pid, err := strconv.Atoi(string(bytes.TrimSpace(b[:n])))
	if err != nil {
		return 0
	}
	return pid
}

// OpenMax is how many files this process may have open.
func OpenMax() int {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 1024
	}
	return int(min(l.Cur, 1<<30))
}

type osLock struct {
	once sync.Once
	f    *os.File
}

func (l *osLock) Close() (err error) {
	l.once.Do(func() {
		_ = l.f.Truncate(0)
		err = l.f.Close()
	})
	return err
}
