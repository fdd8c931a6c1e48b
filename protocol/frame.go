package protocol

import (
	"encoding/binary"
	"fmt"
	"io"
)

const (
	frameSizeBytes = 4        // the int32 before each frame
	readAheadBytes = 4 << 10  // the buffer that even an idle connection holds
	frameStepBytes = 64 << 10 // what a frame may take before it has sent a byte
	frameTrustMax  = 1<<20 + 1<<16
	emptyReadsMax  = 100
)

// FrameSizeError says that the size before a frame cannot be right. Kafka closes the connection on it.
type FrameSizeError struct {
	Size int32
	Max  int
}

func (e *FrameSizeError) Error() string {
	return fmt.Sprintf("frame of %d bytes, 1 to %d are allowed%s", e.Size, e.Max, e.hint())
}

func (e *FrameSizeError) Unwrap() error { return InvalidRequest }

// hint says what the client seems to speak instead of Kafka's protocol.
func (e *FrameSizeError) hint() string {
	raw := string(binary.BigEndian.AppendUint32(nil, uint32(e.Size)))
	switch {
	case raw[0] == 0x16 && raw[1] == 3:
		return "; it looks like the start of TLS, and this listener is not encrypted"
	case raw == "GET " || raw == "POST" || raw == "HEAD" || raw == "PUT ":
		return "; it looks like HTTP, and this is a Kafka listener"
	}
	return ""
}

// ErrFrameCut says that the connection ended inside a frame. It wraps io.ErrUnexpectedEOF.
var ErrFrameCut = fmt.Errorf("connection ended inside a frame: %w", io.ErrUnexpectedEOF)

// FrameReader cuts a connection into frames. It belongs to one goroutine.
//
// Memory follows the bytes that have arrived, never the size that a frame declares: a frame starts with at most 64 KiB,
// and its buffer doubles each time it is full. Only a connection that has sent a whole frame of some size is given as
// much at once the next time, up to 1 MiB, so that the requests of a busy producer are not copied from buffer to buffer.
type FrameReader struct {
	// OnRead, if set, is called before each read of the connection, with how many bytes of the current frame are here (0
	// between frames) and how many it has in all (0 while that is unknown); both count the four bytes of the size. Here a
	// connection sets its deadline: to wait for a frame, for it to be complete, or for it to move on. An error ends Next.
	OnRead func(received, total int) error

	r        io.Reader
	ahead    [readAheadBytes]byte
	from, to int // ahead[from:to] has been read and not been used
	trusted  int // bytes that a frame of this connection may take at once
}

// NewFrameReader reads frames from r.
func NewFrameReader(r io.Reader) *FrameReader {
	return &FrameReader{r: r, trusted: frameStepBytes}
}

// Next reads one frame of 1 to maxBytes bytes. The caller releases it.
//
// It returns io.EOF where the connection ends between two frames, ErrFrameCut where it ends inside one, a
// *FrameSizeError for a size that is not allowed, and else what the connection or OnRead returned. After an error the
// connection cannot be read on.
func (f *FrameReader) Next(maxBytes int) (*Frame, error) {
	for f.to-f.from < frameSizeBytes {
		if err := f.fill(f.to-f.from, 0); err != nil {
			return nil, err
		}
	}
	size := int32(binary.BigEndian.Uint32(f.ahead[f.from:]))
	if size <= 0 || int64(size) > int64(maxBytes) {
		return nil, &FrameSizeError{Size: size, Max: maxBytes}
	}
	f.from += frameSizeBytes
	frame, err := f.body(int(size))
	if err != nil {
		return nil, err
	}
	f.trusted = max(f.trusted, min(int(size), frameTrustMax))
	return frame, nil
}

// Buffered is the number of bytes that have been read beyond the last frame. When it is 0, Next has to wait for the
// connection.
func (f *FrameReader) Buffered() int { return f.to - f.from }

// body reads the size bytes of a frame.
func (f *FrameReader) body(size int) (*Frame, error) {
	buf := takeBuffer(min(size, f.trusted))
	have := 0
	for have < size {
		if have == len(buf.b) {
			buf = buf.grow(min(size, 2*have))
		}
		room := buf.b[have:min(len(buf.b), size)]
		if f.from < f.to {
			n := copy(room, f.ahead[f.from:f.to])
			f.from += n
			have += n
			continue
		}
		var err error
		if received, total := frameSizeBytes+have, frameSizeBytes+size; size-have < readAheadBytes {
			err = f.fill(received, total) // what is behind this frame comes with the same read
		} else {
			var n int
			n, err = f.read(room, received, total)
			have += n
		}
		if err != nil {
			buf.release()
			return nil, err
		}
	}
	return &Frame{Bytes: buf.b[:size:size], buf: buf}, nil
}

// fill reads into ahead, behind what is there.
func (f *FrameReader) fill(received, total int) error {
	if f.from > 0 {
		f.to = copy(f.ahead[:], f.ahead[f.from:f.to])
		f.from = 0
	}
	n, err := f.read(f.ahead[f.to:], received, total)
	f.to += n
	return err
}

// read reads at least one byte into p.
func (f *FrameReader) read(p []byte, received, total int) (int, error) {
	for range emptyReadsMax {
		if f.OnRead != nil {
			if err := f.OnRead(received, total); err != nil {
				return 0, err
			}
		}
		n, err := f.r.Read(p)
		if n > 0 {
			return n, nil // an error that came with bytes comes again without them
		}
		if err == io.EOF && received > 0 {
			return 0, ErrFrameCut
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, io.ErrNoProgress
}
