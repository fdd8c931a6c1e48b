package broker

import (
	"io"

	"moldau.io/moldau/protocol"
)

const (
	// sendBytes is the size of the pooled buffer in which an answer that is not one piece is put together: small answers
	// leave in one write.
	sendBytes = 256 << 10
	// kernelBytes is the size from which on a section is left to the kernel. From here on sendfile(2) costs the broker
	// about half of what reading and writing costs, on loopback too: 0.17 s of CPU for a GiB in place of 0.31 s. Below it
	// the call itself outweighs the copy that is saved.
	kernelBytes = 32 << 10
)

// sender writes answers to a connection. It is used by one goroutine at a time.
type sender struct {
	c      *conn
	kernel *kernelSocket // nil where the connection is no socket

	buf *buffer // held while an answer with sections is written
	n   int     // buf.b[:n] waits to be written
	out int64   // bytes written of this answer
}

// send writes one answer and returns how many bytes of it left.
func (s *sender) send(resp *protocol.Response) (int64, error) {
	s.out = 0
	if len(resp.Splices) == 0 {
		err := s.write(resp.Head)
		return s.out, err
	}
	s.buf, s.n = s.c.b.buffers.get(sendBytes), 0
	err := s.sendSpliced(resp)
	s.c.b.buffers.put(s.buf)
	s.buf = nil
	return s.out, err
}

func (s *sender) sendSpliced(resp *protocol.Response) error {
	at := 0
	for _, splice := range resp.Splices {
		if _, err := s.Write(resp.Head[at:splice.At]); err != nil {
			return err
		}
		at = splice.At
		if err := s.section(splice.Section); err != nil {
			return err
		}
	}
	if _, err := s.Write(resp.Head[at:]); err != nil {
		return err
	}
	return s.flush()
}

// section writes a run of bytes that lies outside the head.
func (s *sender) section(sec protocol.Section) error {
	want := sec.Len()
	var n int64
	var err error
	at, readable := sec.(io.ReaderAt)
	switch {
	case readable && (want < kernelBytes || s.kernel == nil):
		n, err = s.readSection(at, want)
	case s.kernel != nil:
		// The kernel moves a large range from the file to the socket by itself. What comes before it must not leave in a
		// packet of its own.
		pending := s.buf.b[:s.n]
		s.n = 0
		if err = s.kernel.writeMore(pending); err != nil {
			return err
		}
		s.out += int64(len(pending))
		n, err = sec.WriteTo(s.kernel)
		s.out += n
	default:
		n, err = sec.WriteTo(s)
	}
	if err == nil && n != want {
		// The size of the answer has been promised already, so nothing that follows could be understood.
		err = io.ErrShortWrite
	}
	return err
}

// Write gathers small pieces and writes large ones through.
func (s *sender) Write(p []byte) (int, error) {
	if s.n+len(p) > len(s.buf.b) {
		if err := s.flush(); err != nil {
			return 0, err
		}
	}
	if len(p) >= len(s.buf.b) {
		if err := s.write(p); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	s.n += copy(s.buf.b[s.n:], p)
	return len(p), nil
}

// readSection reads a section into the buffer itself, which saves the copy that Write would make.
func (s *sender) readSection(r io.ReaderAt, want int64) (int64, error) {
	var done int64
	for done < want {
		if s.n == len(s.buf.b) {
			if err := s.flush(); err != nil {
				return done, err
			}
		}
		room := s.buf.b[s.n:min(int64(len(s.buf.b)), int64(s.n)+want-done)]
		n, err := r.ReadAt(room, done)
		s.n += n
		done += int64(n)
		if err != nil && (err != io.EOF || n == 0) {
			return done, err
		}
	}
	return done, nil
}

func (s *sender) flush() error {
	p := s.buf.b[:s.n]
	s.n = 0
	return s.write(p)
}

// write writes p whole. A large one goes in steps, so that the sweep sees it move.
func (s *sender) write(p []byte) error {
	for len(p) > 0 {
		step := p[:min(len(p), 1<<20)]
		n, err := s.c.nc.Write(step)
		s.out += int64(n)
		s.c.sentBytes.Store(s.out)
		if err != nil {
			return err
		}
		p = p[len(step):]
	}
	return nil
}
