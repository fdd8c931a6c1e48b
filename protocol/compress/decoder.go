package compress

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// ErrLimit says that the output is longer than the caller allowed.
var ErrLimit = errors.New("decompressed data is longer than allowed")

// CorruptError says that bytes are not what Codec's format asks for.
type CorruptError struct {
	Codec Codec
	Err   error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s data does not decompress: %v", e.Codec, e.Err)
}
func (e *CorruptError) Unwrap() error { return e.Err }

// Decoder is a stream of decompressed bytes. It keeps what each codec allocated, so that decompressing many small batches
// with one Decoder allocates nothing once warm. It is used by one goroutine at a time and starts none.
//
// Memory, per codec that was used: gzip about 50 KiB; snappy the largest chunk (Xerial writers use 32 KiB; a raw block is
// whole, and at most 22 times its compressed bytes); LZ4 one block, at most 4 MiB; zstd a window, at most 8 MiB for data
// of up to that size.
type Decoder struct {
	codec Codec
	src   source
	left  int64 // output bytes that the caller still allows
	in    io.Reader
	err   error // sticky

	gzip   *gzipReader
	snappy *snappyReader
	lz4    *lz4Reader
	zstd   *zstdReader
}

// decoders are idle, warm decoders of the whole process: a decoder's tables and windows cost more than most batches.
var decoders = sync.Pool{New: func() any { return NewDecoder() }}

// NewDecoder makes a decoder that reads nothing until Reset.
func NewDecoder() *Decoder { return &Decoder{err: io.EOF} }

// TakeDecoder is a decoder from the process's pool. Give it back with Release.
func TakeDecoder() *Decoder { return decoders.Get().(*Decoder) }

// Release drops the input and puts d into the process's pool. Nothing may use d afterwards.
func (d *Decoder) Release() {
	d.src = source{}
	d.in, d.err = nil, io.EOF
	if d.zstd != nil {
		d.zstd.shrink()
	}
	if d.snappy != nil {
		d.snappy.shrink()
	}
	decoders.Put(d)
}

// Reset begins to decompress src, of which at most limit bytes come out: Read then fails with ErrLimit. src must not change
// while d reads it. A codec that does not exist is reported here, everything else by Read.
func (d *Decoder) Reset(c Codec, src []byte, limit int64) error {
	d.codec, d.left, d.err = c, limit, nil
	d.src = source{b: src}
	if !c.Valid() {
		d.err = &CorruptError{c, errors.New("no codec has this number")}
		return d.err
	}
	if len(src) == 0 && (c == Gzip || c == Snappy || c == LZ4) { // their output has a header even where it is empty
		d.err = &CorruptError{c, io.ErrUnexpectedEOF}
		return d.err
	}
	if d.err = d.guard(d.open); d.err == io.EOF { // in the header
		d.err = &CorruptError{c, io.ErrUnexpectedEOF}
	}
	return d.err
}

func (d *Decoder) open() (err error) {
	switch d.codec {
	case None:
		d.in = &d.src
	case Gzip:
		if d.gzip == nil {
			d.gzip = &gzipReader{}
		}
		err, d.in = d.gzip.reset(&d.src), d.gzip
	case Snappy:
		if d.snappy == nil {
			d.snappy = &snappyReader{}
		}
		d.snappy.reset(d.src.b, d.left)
		d.in = d.snappy
	case LZ4:
		if d.lz4 == nil {
			d.lz4 = &lz4Reader{}
		}
		d.lz4.reset(&d.src)
		d.in = d.lz4
	case Zstd:
		if d.zstd == nil {
			d.zstd = &zstdReader{}
		}
		err, d.in = d.zstd.reset(d.src.b), d.zstd
	}
	return err
}

// Read is io.Reader. Its errors are io.EOF, ErrLimit and *CorruptError; they stay.
func (d *Decoder) Read(p []byte) (n int, err error) {
	if d.err != nil {
		return 0, d.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	// One byte more than is allowed tells output that ends at the limit from output that goes on.
	ask := p[:min(int64(len(p)), d.left+1)]
	d.err = d.guard(func() (err error) {
		for n == 0 && err == nil {
			n, err = d.in.Read(ask)
		}
		return err
	})
	if int64(n) > d.left {
		n, d.err = int(d.left), ErrLimit
	}
	d.left -= int64(n)
	if n > 0 {
		return n, nil // an error is told by the next call
	}
	return 0, d.err
}

// guard calls f. The codecs are other people's code and their input is a stranger's, so a panic of theirs is corrupt
// input; the codec that panicked is dropped, since nobody knows what state it is in.
func (d *Decoder) guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			if d.zstd != nil {
				d.zstd.abandon()
			}
			d.gzip, d.snappy, d.lz4, d.zstd = nil, nil, nil, nil
			err = &CorruptError{d.codec, fmt.Errorf("the codec panicked: %v", r)}
		}
	}()
	if err = f(); err == nil || err == io.EOF {
		return err
	}
	return d.corrupt(err)
}

// corrupt puts err into the form in which a Decoder fails.
func (d *Decoder) corrupt(err error) error {
	var already *CorruptError
	if errors.Is(err, ErrLimit) || errors.As(err, &already) {
		return err
	}
	return &CorruptError{d.codec, err}
}

// source reads bytes in memory. It is not a bytes.Reader because some codecs do clever things with those.
type source struct{ b []byte }

func (s *source) Read(p []byte) (int, error) {
	if len(s.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.b)
	s.b = s.b[n:]
	return n, nil
}

// ReadByte is io.ByteReader, which keeps gzip from wrapping the source in a buffer.
func (s *source) ReadByte() (byte, error) {
	if len(s.b) == 0 {
		return 0, io.EOF
	}
	c := s.b[0]
	s.b = s.b[1:]
	return c, nil
}
