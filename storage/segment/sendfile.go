package segment

import (
	"errors"
	"fmt"
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

// sendfileMin is the size from which on a range is sent by sendfile(2). From here on that costs the sender less than
// reading and writing do, on loopback too; on a network card it copies nothing at all.
const sendfileMin = 8 << 10

// sendfileMax is what one call is asked to send.
const sendfileMax = 1 << 30

// sending is the state of one sendfile, kept in the run so that it allocates nothing.
type sending struct {
	step func(fd uintptr) bool // the run's sendfile, bound once
	in   int
	off  int64
	end  int64
	err  error
}

// sendTo sends the range with sendfile at explicit offsets. The file's own position is not used: other slices share the
// descriptor.
func (r *run) sendTo(conn syscall.Conn, file int) (int64, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	x := &r.send
	x.in, x.off, x.end, x.err = file, r.pos, r.pos+r.n, nil
	if err = raw.Write(x.step); err == nil {
		err = x.err
	}
	if err != nil {
		return x.off - r.pos, fmt.Errorf("send %s: %w", r.h.name(), err)
	}
	return r.n, nil
}

// sendfile sends what the socket takes; false means that it must become writable first.
func (r *run) sendfile(fd uintptr) bool {
	x := &r.send
	for x.off < x.end {
		n, err := unix.Sendfile(int(fd), x.in, &x.off, int(min(x.end-x.off, sendfileMax)))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return false
		case err != nil:
			x.err = err
			return true
		case n == 0:
			x.err = io.ErrUnexpectedEOF // the file is shorter than it was
			return true
		}
	}
	return true
}
