package segment

import (
	"errors"
	"fmt"
	"io"
	"syscall"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

// Slice is a range of a segment's file. It begins at a batch; the last batch in it may be cut. It is a
// protocol.Section. It keeps the file open until Release, also when the segment is removed meanwhile. The zero Slice is
// empty.
//
// It has one pointer, so that putting it into an interface allocates nothing.
type Slice struct{ r *run }

type run struct {
	h     *handle
	f     vfs.File
	first protocol.Offset
	pos   int64
	n     int64

	send sending
}

// Slice takes n bytes from pos on. first is what FirstOffset will say.
func (s *Segment) Slice(pos, n int64, first protocol.Offset) (Slice, error) {
	f, err := s.log.acquire()
	if err != nil {
		return Slice{}, err
	}
	d := s.log.d
	r, ok := d.runs.Get().(*run)
	if !ok {
		r = &run{}
		r.send.step = r.sendfile
	}
	r.h, r.f, r.first, r.pos, r.n = &s.log, f, first, pos, n
	return Slice{r: r}, nil
}

// Len is the number of bytes.
func (s Slice) Len() int64 {
	if s.r == nil {
		return 0
	}
	return s.r.n
}

// FirstOffset is the base offset of the slice's first batch where that is known, else the offset that was asked for.
func (s Slice) FirstOffset() protocol.Offset {
	if s.r == nil {
		return -1
	}
	return s.r.first
}

// Position is where the slice begins in the segment's file.
func (s Slice) Position() int64 {
	if s.r == nil {
		return 0
	}
	return s.r.pos
}

// Release lets go of the file. It must be called exactly once.
func (s Slice) Release() {
	r := s.r
	if r == nil {
		return
	}
	h := r.h
	h.release()
	r.h, r.f = nil, nil
	h.d.runs.Put(r)
}

// Bytes reads the slice into memory, into buf where that is large enough.
func (s Slice) Bytes(buf []byte) ([]byte, error) {
	if s.r == nil {
		return buf[:0], nil
	}
	if int64(cap(buf)) < s.r.n {
		buf = make([]byte, s.r.n)
	}
	buf = buf[:s.r.n]
	if n, err := s.r.f.ReadAt(buf, s.r.pos); n < len(buf) {
		return nil, fmt.Errorf("read %s at byte %d: %w", s.r.h.name(), s.r.pos, err)
	}
	return buf, nil
}

// ReadAt reads from the slice, whose first byte is at 0. It is an io.ReaderAt.
func (s Slice) ReadAt(p []byte, off int64) (int, error) {
	if s.r == nil || off >= s.r.n {
		return 0, io.EOF
	}
	short := false
	if int64(len(p)) > s.r.n-off {
		p, short = p[:s.r.n-off], true
	}
	n, err := s.r.f.ReadAt(p, s.r.pos+off)
	if err == nil && short {
		err = io.EOF
	}
	return n, err
}

// WriteTo sends the slice to w: by sendfile(2) where w is a socket and the range is large, else by reading and writing.
// See sendfileMin.
func (s Slice) WriteTo(w io.Writer) (int64, error) {
	if s.r == nil {
		return 0, nil
	}
	if s.r.n >= sendfileMin {
		if conn, ok := w.(syscall.Conn); ok {
			if file, ok := s.r.f.(interface{ Fd() int }); ok {
				return s.r.sendTo(conn, file.Fd())
			}
		}
	}
	return s.r.copyTo(w)
}

// Sendfile sends the slice by sendfile(2) whatever its size, where the file is a real one.
func (s Slice) Sendfile(conn syscall.Conn) (int64, error) {
	if s.r == nil {
		return 0, nil
	}
	if file, ok := s.r.f.(interface{ Fd() int }); ok {
		return s.r.sendTo(conn, file.Fd())
	}
	return 0, errors.ErrUnsupported
}

// copyTo sends the range through a buffer.
func (r *run) copyTo(w io.Writer) (sent int64, err error) {
	buf := r.h.d.copies.get()
	defer r.h.d.copies.put(buf)
	for sent < r.n {
		p := (*buf)[:min(int64(len(*buf)), r.n-sent)]
		if n, err := r.f.ReadAt(p, r.pos+sent); n < len(p) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return sent, fmt.Errorf("read %s at byte %d: %w", r.h.name(), r.pos+sent, err)
		}
		n, err := w.Write(p)
		sent += int64(n)
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}
