package compress

import (
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/pierrec/lz4/v4"
)

// gzipReader reads gzip members one after the other, and ignores what follows them, as Java's GZIPInputStream does.
type gzipReader struct {
	z   gzip.Reader
	src *source
}

func (g *gzipReader) reset(src *source) error {
	g.src = src
	return g.member()
}

func (g *gzipReader) member() error {
	err := g.z.Reset(g.src)
	g.z.Multistream(false)
	return err
}

func (g *gzipReader) Read(p []byte) (n int, err error) {
	n, err = g.z.Read(p)
	if err == io.EOF && len(g.src.b) > 0 && g.member() == nil {
		err = nil
	}
	return n, err
}

// lz4Reader reads LZ4 frames and ignores what follows them, as Kafka's Lz4BlockInputStream does.
type lz4Reader struct {
	z       *lz4.Reader
	started bool // a frame has been read from
}

func (l *lz4Reader) reset(src *source) {
	if l.z == nil {
		l.z = lz4.NewReader(nil)
		// One goroutine: the caller's. The default is one too, but it is a variable that others may set.
		if err := l.z.Apply(lz4.ConcurrencyOption(1)); err != nil {
			panic(err) // a constant option on a new reader
		}
	}
	l.z.Reset(src)
	l.started = false
}

func (l *lz4Reader) Read(p []byte) (n int, err error) {
	n, err = l.z.Read(p)
	l.started = l.started || n > 0
	if l.started && errors.Is(err, lz4.ErrInvalidFrame) {
		err = io.EOF
	}
	return n, err
}
