package broker

import (
	"io"
	"net"

	"moldau.io/moldau/protocol"
)

// sendBytes is the size of the pooled buffer in which an answer that is not one piece is put together: small answers leave
// in one write.
const sendBytes = 64 << 10

// sender writes answers to a connection. It is used by one goroutine at a time.
type sender struct {
	c   *conn
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
	n, err := sec.WriteTo(s)
	if err != nil {
		return err
	}
	if n != want {
		// The size of the answer has been promised already, so nothing that follows could be understood.
		return io.ErrShortWrite
	}
	return nil
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

// ReadFrom reads a section from its file into the buffer itself, which saves the copy that Write would make.
func (s *sender) ReadFrom(r io.Reader) (int64, error) {
	var total int64
	for {
		if s.n == len(s.buf.b) {
			if err := s.flush(); err != nil {
				return total, err
			}
		}
		n, err := r.Read(s.buf.b[s.n:])
		s.n += n
		total += int64(n)
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// ReadSectionAt has the next n bytes of the answer read from r at off, in as few reads and writes as the buffer allows.
func (s *sender) ReadSectionAt(r io.ReaderAt, off, n int64) (int64, error) {
	var total int64
	for total < n {
		if s.n == len(s.buf.b) {
			if err := s.flush(); err != nil {
				return total, err
			}
		}
		room := s.buf.b[s.n:min(int64(len(s.buf.b)), int64(s.n)+n-total)]
		m, err := r.ReadAt(room, off+total)
		s.n += m
		total += int64(m)
		if err != nil && (err != io.EOF || total < n) {
			return total, err
		}
	}
	return total, nil
}

// Conn is the socket, once everything before has been written to it: for sections that the kernel can move by itself.
func (s *sender) Conn() (net.Conn, error) { return s.c.nc, s.flush() }

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
