package compress

import (
	"io"

	"github.com/klauspost/compress/zstd"
)

const (
	// zstdWindowBytes is the window that a pooled decoder may allocate. Levels up to 19 use no more.
	zstdWindowBytes = 8 << 20
	// zstdWindowMax is what Kafka's own decoder accepts: level 22 asks for 128 MiB, whatever the size of its input.
	zstdWindowMax  = 128 << 20
	zstdFrameMagic = "\x28\xb5\x2f\xfd"
)

// zstdLarge admits one reader with a window above zstdWindowBytes at a time, so that a few bytes that ask for 128 MiB
// cannot be sent often enough to fill the memory.
var zstdLarge = make(chan struct{}, 1)

// zstdReader reads Zstandard frames, one after the other.
//
// A frame's header asks for a window, and the library allocates it at once. The window is of no use beyond the size of the
// output, so the first frame's is lowered to zstdWindowBytes. Only where data then refers further back than that, which
// shows as an error after that much output, is the input read once more with the window that it asks for.
type zstdReader struct {
	z    *zstd.Decoder
	src  zstdSource
	all  []byte // the input, to read it again
	done int64  // output so far

	large *zstd.Decoder // in use instead of z, while not nil
}

// zstdSource is the input with its first bytes replaced. It is not a bytes.Reader: the library decodes those whole.
type zstdSource struct {
	head [6]byte
	used int // of head
	rest []byte
}

func (s *zstdSource) Read(p []byte) (int, error) {
	if s.used < len(s.head) {
		n := copy(p, s.head[s.used:])
		s.used += n
		return n, nil
	}
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// set makes src the input. With lower, the window of its first frame is lowered where it is above zstdWindowBytes.
//
// A frame: 4 bytes magic, 1 byte descriptor, and unless descriptor bit 5 (single segment) is set 1 byte window: 5 bits
// exponent less 10, 3 bits mantissa in eighths (RFC 8878, 3.1.1.1).
func (s *zstdSource) set(src []byte, lower bool) {
	*s = zstdSource{rest: src, used: len(s.head)}
	if len(src) < len(s.head) || string(src[:4]) != zstdFrameMagic {
		return
	}
	copy(s.head[:], src)
	s.used, s.rest = 0, src[len(s.head):]
	const eightMiB = 13 << 3 // 1 << (10+13)
	if lower && s.head[4]&(1<<5) == 0 && s.head[5] > eightMiB {
		s.head[5] = eightMiB
	}
}

func (z *zstdReader) reset(src []byte) (err error) {
	z.close()
	z.all, z.done = src, 0
	z.src.set(src, true)
	if z.z == nil {
		z.z, err = newZstd(zstdWindowBytes)
		if err != nil {
			return err
		}
	}
	return z.z.Reset(&z.src)
}

func newZstd(window uint64) (*zstd.Decoder, error) {
	return zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1), // in the caller's goroutine
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(window), // of a single-segment frame, which has no window but its size
		zstd.WithDecoderMaxWindow(window),
		zstd.WithDecodeBuffersBelow(0), // never the whole output at once
	)
}

func (z *zstdReader) Read(p []byte) (n int, err error) {
	if z.large != nil {
		return z.large.Read(p)
	}
	n, err = z.z.Read(p)
	z.done += int64(n)
	if err == nil || err == io.EOF || n > 0 {
		return n, err
	}
	if err != zstd.ErrWindowSizeExceeded && err != zstd.ErrDecoderSizeExceeded && z.done < zstdWindowBytes {
		return 0, err
	}
	if err := z.enlarge(); err != nil {
		return 0, err
	}
	return z.large.Read(p)
}

// enlarge begins again with the window that the input asks for, and goes to where z is.
func (z *zstdReader) enlarge() error {
	zstdLarge <- struct{}{}
	large, err := newZstd(zstdWindowMax)
	if err != nil {
		<-zstdLarge
		return err
	}
	z.large = large
	z.src.set(z.all, false)
	if err := z.large.Reset(&z.src); err != nil {
		return err
	}
	_, err = io.CopyN(io.Discard, z.large, z.done)
	return err
}

// close gives up the large window.
func (z *zstdReader) close() {
	if large := z.large; large != nil {
		z.abandon()
		large.Close()
	}
}

// abandon is close without touching the library's reader.
func (z *zstdReader) abandon() {
	if z.large != nil {
		z.large = nil
		<-zstdLarge
	}
}

// shrink lets go of the input.
func (z *zstdReader) shrink() {
	z.close()
	z.all, z.src.rest = nil, nil
}
