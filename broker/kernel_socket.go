package broker

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// kernelSocket is a connection's socket for what the kernel moves by itself. It notes each time that the socket has become
// writable again, which is how the server's sweep tells a slow client from one that does not read at all. Its closures are
// made once, so that sending allocates nothing. It is used by whoever sends the connection's answers, one at a time.
type kernelSocket struct {
	c    *conn
	raw  syscall.RawConn
	step func(fd uintptr) bool // what the present Write runs

	watched func(fd uintptr) bool // notes progress and runs step
	more    func(fd uintptr) bool // sends pending
	pending []byte
	err     error
}

// newKernelSocket is nil where nc is no socket, as in tests.
func newKernelSocket(c *conn, nc net.Conn) *kernelSocket {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	k := &kernelSocket{c: c, raw: raw}
	k.watched = func(fd uintptr) bool {
		c.sendSince.Store(c.srv.clock())
		return k.step(fd)
	}
	k.more = k.sendMore
	return k
}

// writeMore writes p and tells the kernel that more follows at once, so that no packet is sent that is not full.
func (k *kernelSocket) writeMore(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	k.pending, k.err = p, nil
	err := (*kernelRaw)(k).Write(k.more)
	k.pending = nil
	return errors.Join(err, k.err)
}

func (k *kernelSocket) sendMore(fd uintptr) bool {
	for len(k.pending) > 0 {
		n, err := unix.SendmsgN(int(fd), k.pending, nil, nil, unix.MSG_MORE|unix.MSG_NOSIGNAL)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return false
		case err != nil:
			k.err = err
			return true
		default:
			k.pending = k.pending[n:]
		}
	}
	return true
}

// Write writes p as any connection does: what a section does that finds no file behind itself.
func (k *kernelSocket) Write(p []byte) (int, error) {
	n, err := k.c.nc.Write(p)
	k.c.sendSince.Store(k.c.srv.clock())
	return n, err
}

// SyscallConn gives the socket to a section that moves itself by sendfile(2).
func (k *kernelSocket) SyscallConn() (syscall.RawConn, error) { return (*kernelRaw)(k), nil }

// kernelRaw is the same socket as a syscall.RawConn, whose Write is another one than an io.Writer's.
type kernelRaw kernelSocket

func (k *kernelRaw) Control(f func(fd uintptr)) error   { return k.raw.Control(f) }
func (k *kernelRaw) Read(f func(fd uintptr) bool) error { return k.raw.Read(f) }
func (k *kernelRaw) Write(f func(fd uintptr) bool) error {
	k.step = f
	return k.raw.Write(k.watched)
}
