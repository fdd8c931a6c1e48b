package compress

import (
	"github.com/klauspost/compress/gzip"
	"github.com/pierrec/lz4/v4"
)

// gzipReader reads gzip members one after the other, as Java's GZIPInputStream does.
type gzipReader struct{ z gzip.Reader }

func (g *gzipReader) reset(src *source) error          { return g.z.Reset(src) }
func (g *gzipReader) Read(p []byte) (n int, err error) { return g.z.Read(p) }

// lz4Reader reads LZ4 frames.
type lz4Reader struct{ z *lz4.Reader }

func (l *lz4Reader) reset(src *source) {
	if l.z == nil {
		l.z = lz4.NewReader(nil)
		// One goroutine: the caller's. The default is one too, but it is a variable that others may set.
		if err := l.z.Apply(lz4.ConcurrencyOption(1)); err != nil {
			panic(err) // a constant option on a new reader
		}
	}
	l.z.Reset(src)
}

func (l *lz4Reader) Read(p []byte) (n int, err error) { return l.z.Read(p) }
