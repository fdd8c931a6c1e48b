package vfs

import (
	"errors"
	"io"
	"unsafe"

	"golang.org/x/sys/unix"
)

// OpenUncached opens a file for one reader that goes through all of it once: what it reads comes from the disk, where the
// file system can do that, and does not push out of the page cache what others need. It is read front to back, by one
// goroutine, and not written.
func OpenUncached(fsys FS, name string) (File, error) {
	if u, ok := fsys.(uncached); ok {
		return u.openUncached(name)
	}
	return fsys.Open(name)
}

type uncached interface {
	openUncached(name string) (File, error)
}

func (x *faultFS) openUncached(name string) (File, error) {
	if err := x.ask(Op{Kind: "Open", Name: name}); err != nil {
		return nil, err
	}
	f, err := OpenUncached(x.fs, name)
	return x.file(name, f, err)
}

// openUncached reads with O_DIRECT. File systems that cannot are read as usual, and the pages dropped afterwards.
func (osFS) openUncached(name string) (File, error) {
	f, err := openAs(name, unix.O_RDONLY|unix.O_DIRECT)
	direct := err == nil
	if errors.Is(err, unix.EINVAL) {
		f, err = openAs(name, unix.O_RDONLY)
	}
	if err != nil {
		return nil, err
	}
	return &uncachedFile{osFile: f, direct: direct}, nil
}

const (
	uncachedBytes = 1 << 20 // what is read at a time
	uncachedAlign = 4096    // of memory, position and size; no file system asks for more
)

// uncachedFile reads through a window that begins and ends at multiples of the alignment.
type uncachedFile struct {
	*osFile
	direct bool
	buf    []byte
	at     int64
	n      int
}

// ReadAt is for one goroutine at a time.
func (u *uncachedFile) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		if pos := off + int64(n); pos < u.at || pos >= u.at+int64(u.n) {
			if err := u.fill(pos); err != nil {
				return n, err
			}
			if pos >= u.at+int64(u.n) {
				return n, io.EOF
			}
		}
		n += copy(p[n:], u.buf[off+int64(n)-u.at:u.n])
	}
	return n, nil
}

func (u *uncachedFile) fill(pos int64) error {
	if u.buf == nil {
		raw := make([]byte, uncachedBytes+uncachedAlign)
		skip := int(-uintptr(unsafe.Pointer(&raw[0])) & (uncachedAlign - 1))
		u.buf = raw[skip : skip+uncachedBytes]
	}
	u.at, u.n = pos&^(uncachedAlign-1), 0
	for {
		n, err := unix.Pread(u.fd, u.buf, u.at)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.EINVAL) && u.direct { // said too late that it cannot
			f, err := openAs(u.name, unix.O_RDONLY)
			if err != nil {
				return err
			}
			_ = u.Close()
			u.osFile, u.direct = f, false
			continue
		}
		if err != nil {
			return u.failed("read", err)
		}
		u.n = n
		break
	}
	if !u.direct {
		_ = unix.Fadvise(u.fd, u.at, int64(u.n), unix.FADV_DONTNEED) // a hint
	}
	return nil
}
