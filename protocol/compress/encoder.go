package compress

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// DefaultLevel asks for each codec's usual level.
const DefaultLevel = -1 << 31

// Encoder compresses one run of bytes at a time, in the forms that Kafka's Java client writes: snappy in the Xerial
// framing, LZ4 in frames of independent 64 KiB blocks without checksums of the content. It is used by one goroutine at a
// time and starts none.
type Encoder struct {
	out   appender
	level int

	w      io.WriteCloser
	gzip   *gzip.Writer
	snappy *xerialWriter
	lz4    *lz4.Writer
	zstd   *zstd.Encoder
	levels [Zstd + 1]int // what the writers above were made for
}

// NewEncoder makes an encoder that takes nothing until Reset.
func NewEncoder() *Encoder { return &Encoder{} }

// encoders are idle, warm encoders of the whole process: a level's tables cost more than most batches.
var encoders = sync.Pool{New: func() any { return NewEncoder() }}

// TakeEncoder is an encoder from the process's pool. Give it back with Release.
func TakeEncoder() *Encoder { return encoders.Get().(*Encoder) }

// Release puts e into the process's pool. Nothing may use e afterwards.
func (e *Encoder) Release() {
	e.w, e.out.b = nil, nil
	encoders.Put(e)
}

// Reset begins to compress onto the end of dst. The level is Kafka's for the codec (compression.gzip.level 1 to 9,
// compression.lz4.level 1 to 17, compression.zstd.level -131072 to 22) or DefaultLevel; snappy has none. Levels are
// mapped to the nearest that the library here has.
func (e *Encoder) Reset(dst []byte, c Codec, level int) error {
	e.out.b = dst
	e.w = nil
	switch c {
	case None:
		e.w = &e.out
	case Gzip:
		return e.resetGzip(level)
	case Snappy:
		if e.snappy == nil {
			e.snappy = &xerialWriter{}
		}
		e.snappy.reset(&e.out)
		e.w = e.snappy
	case LZ4:
		return e.resetLZ4(level)
	case Zstd:
		return e.resetZstd(level)
	default:
		return fmt.Errorf("%v: no codec has this number", c)
	}
	return nil
}

func (e *Encoder) resetGzip(level int) error {
	if level == DefaultLevel || level < gzip.BestSpeed || level > gzip.BestCompression {
		level = gzip.DefaultCompression
	}
	if e.gzip == nil || e.levels[Gzip] != level {
		w, err := gzip.NewWriterLevel(&e.out, level)
		if err != nil {
			return err
		}
		e.gzip, e.levels[Gzip] = w, level
	}
	e.gzip.Reset(&e.out)
	e.w = e.gzip
	return nil
}

// lz4HighLevelFrom is the first of Kafka's LZ4 levels that is worth a slower search: its default, 9, is for speed.
const lz4HighLevelFrom = 10

var lz4HighLevels = [...]lz4.CompressionLevel{
	lz4.Level1, lz4.Level2, lz4.Level3, lz4.Level4, lz4.Level5, lz4.Level6, lz4.Level7, lz4.Level8, lz4.Level9,
}

func (e *Encoder) resetLZ4(level int) error {
	speed := lz4.Fast
	if level >= lz4HighLevelFrom {
		speed = lz4HighLevels[min(level-lz4HighLevelFrom, len(lz4HighLevels)-1)]
	}
	if e.lz4 == nil {
		e.lz4 = lz4.NewWriter(nil)
	}
	e.lz4.Reset(&e.out)
	e.w = e.lz4
	return e.lz4.Apply(lz4.ConcurrencyOption(1), lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(false),
		lz4.CompressionLevelOption(speed))
}

func (e *Encoder) resetZstd(level int) error {
	speed := zstd.SpeedDefault
	if level != DefaultLevel {
		speed = zstd.EncoderLevelFromZstd(level)
	}
	if e.zstd == nil || e.levels[Zstd] != int(speed) {
		w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(speed),
			zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<20), zstd.WithEncoderCRC(false))
		if err != nil {
			return err
		}
		e.zstd, e.levels[Zstd] = w, int(speed)
	}
	e.zstd.Reset(&e.out)
	e.w = e.zstd
	return nil
}

// Write is io.Writer. It fails only when used without Reset.
func (e *Encoder) Write(p []byte) (int, error) {
	if e.w == nil {
		return 0, io.ErrClosedPipe
	}
	return e.w.Write(p)
}

// Close ends the run and is dst with the compressed bytes appended.
func (e *Encoder) Close() ([]byte, error) {
	if e.w == nil {
		return nil, io.ErrClosedPipe
	}
	err := e.w.Close()
	b := e.out.b
	e.w, e.out.b = nil, nil
	return b, err
}

// appender collects what is written.
type appender struct{ b []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.b = append(a.b, p...)
	return len(p), nil
}

func (a *appender) Close() error { return nil }

// xerialWriter writes the framing drawn at xerialMagic.
type xerialWriter struct {
	out    *appender
	chunk  []byte // not yet compressed, less than xerialChunkBytes
	packed []byte
}

func (x *xerialWriter) reset(out *appender) {
	x.out, x.chunk = out, x.chunk[:0]
	out.b = append(out.b, xerialMagic...)
	out.b = append(out.b, 0, 0, 0, 1, 0, 0, 0, 1)
}

func (x *xerialWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		take := min(len(p), xerialChunkBytes-len(x.chunk))
		x.chunk = append(x.chunk, p[:take]...)
		p = p[take:]
		if len(x.chunk) == xerialChunkBytes {
			x.flush()
		}
	}
	return n, nil
}

func (x *xerialWriter) flush() {
	if len(x.chunk) == 0 {
		return
	}
	x.packed = s2.EncodeSnappy(x.packed[:cap(x.packed)], x.chunk)
	x.out.b = binary.BigEndian.AppendUint32(x.out.b, uint32(len(x.packed)))
	x.out.b = append(x.out.b, x.packed...)
	x.chunk = x.chunk[:0]
}

func (x *xerialWriter) Close() error {
	x.flush()
	return nil
}
