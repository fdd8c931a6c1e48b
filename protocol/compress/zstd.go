package compress

import (
	"encoding/binary"
	"io"

	"github.com/klauspost/compress/zstd"
)

const (
	// zstdWindowBytes is the window that a pooled decoder may allocate. Levels up to 19 use no more.
	zstdWindowBytes = 8 << 20
	// zstdWindowMax is what Kafka's own decoder accepts: level 22 asks for 128 MiB, whatever the size of its input.
	zstdWindowMax = 128 << 20

	zstdFrameMagic    = 0xfd2fb528
	zstdSkippable     = 0x184d2a50 // and the next 15
	zstdSingleSegment = 1 << 5     // of a frame's descriptor: no window byte
	zstdChecksum      = 1 << 2     // which is also its size in bytes
)

// zstdLarge admits one reader with a window above zstdWindowBytes at a time, so that a few bytes that ask for 128 MiB
// cannot be sent often enough to fill the memory.
var zstdLarge = make(chan struct{}, 1)

// zstdReader reads Zstandard frames, one after the other.
//
// A frame's header asks for a window, and the library allocates it at once. The window is of no use beyond the size of the
// output, so it is lowered to zstdWindowBytes. Only where data then refers further back than that, which shows as an error
// after that much output, is the input read once more with the windows that it asks for.
type zstdReader struct {
	z    *zstd.Decoder
	src  zstdSource
	all  []byte // the input, to read it again
	done int64  // output so far

	large *zstd.Decoder // in use instead of z, while not nil
}

// zstdSource is the input with the windows of its frames lowered. It is not a bytes.Reader: the library decodes those whole.
type zstdSource struct {
	b      []byte
	at     int // bytes read
	window int // the position of the next frame's window byte, beyond b where there is none
}

func (s *zstdSource) Read(p []byte) (int, error) {
	if s.at == len(s.b) {
		return 0, io.EOF
	}
	if s.at == s.window && len(p) > 0 {
		p[0] = min(s.b[s.at], zstdWindowByte)
		s.at++
		s.window = zstdNextWindow(s.b, s.at)
		return 1, nil
	}
	n := copy(p, s.b[s.at:min(len(s.b), max(s.window, s.at))])
	s.at += n
	return n, nil
}

// set makes src the input, with its windows lowered or not.
func (s *zstdSource) set(src []byte, lower bool) {
	*s = zstdSource{b: src, window: len(src)}
	if lower {
		s.window = zstdFirstWindow(src, 0)
	}
}

// zstdWindowByte asks for zstdWindowBytes: five bits exponent less 10, three bits mantissa (RFC 8878, 3.1.1.1.2).
const zstdWindowByte = (23 - 10) << 3

// zstdFirstWindow is the position of the window byte of the frame that begins at position at, or of a later one where that
// frame has none; len(b) where there is none, or where b is not what it should be, which the library will say.
//
//	+-------+------------+--------+------------+--------------+-------------------+----------+
//	| magic | descriptor | window | dictionary | content size | blocks            | checksum |
//	+-------+------------+--------+------------+--------------+-------------------+----------+
//	  4       1            0 or 1   0 to 4       0 to 8         3 bytes and content  0 or 4
func zstdFirstWindow(b []byte, at int) int {
	for at+6 <= len(b) {
		magic := binary.LittleEndian.Uint32(b[at:])
		switch {
		case magic&^0xf == zstdSkippable && at+8 <= len(b):
			at += 8 + int(binary.LittleEndian.Uint32(b[at+4:]))
		case magic != zstdFrameMagic:
			return len(b)
		case b[at+4]&zstdSingleSegment == 0:
			return at + 5
		default:
			at = zstdFrameEnd(b, at+5, b[at+4])
		}
	}
	return len(b)
}

// zstdNextWindow is the position of the window byte after the one that has just been read, at being the position after it.
func zstdNextWindow(b []byte, at int) int {
	return zstdFirstWindow(b, zstdFrameEnd(b, at, b[at-2]))
}

// zstdFrameEnd is the end of a frame whose dictionary field begins at position at; len(b) where b ends before.
func zstdFrameEnd(b []byte, at int, descriptor byte) int {
	at += int([...]byte{0, 1, 2, 4}[descriptor&3])
	size := descriptor >> 6
	if size > 0 || descriptor&zstdSingleSegment != 0 {
		at += 1 << size
	}
	for at+3 <= len(b) {
		header := uint32(b[at]) | uint32(b[at+1])<<8 | uint32(b[at+2])<<16
		at += 3
		if kind := header >> 1 & 3; kind == 1 { // one byte, repeated
			at++
		} else {
			at += int(header >> 3)
		}
		if header&1 != 0 {
			return at + int(descriptor&zstdChecksum)
		}
	}
	return len(b)
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
	z.all, z.src.b = nil, nil
	z.src.at = 0
}
