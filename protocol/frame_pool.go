package protocol

import (
	"math/bits"
	"sync"
)

// Buffers are pooled by size: four sizes to each power of two, so that at most a fifth of a buffer is idle.
const (
	poolMinShift = 9                                 // the smallest buffer is 512 bytes
	poolMaxShift = 22                                // 4 MiB; larger buffers are left to the collector
	poolClasses  = (poolMaxShift-poolMinShift)*4 + 1 // the largest class is 1<<poolMaxShift itself
	poolQuarter  = poolMinShift - 2
	poolNoClass  = -1
	poolMinBytes = 1 << poolMinShift
	poolMaxBytes = 1 << poolMaxShift
)

// framePools holds idle frame buffers of all connections, by class. Memory is the process's, and so is the pool.
var framePools [poolClasses]sync.Pool

// buffer is a pooled slice.
type buffer struct {
	b     []byte
	class int
}

// classOf is the smallest class that holds n bytes, and the size of its buffers. poolNoClass buffers have n bytes.
func classOf(n int) (class, size int) {
	switch {
	case n > poolMaxBytes:
		return poolNoClass, n
	case n <= poolMinBytes:
		return 0, poolMinBytes
	}
	shift := bits.Len(uint(n-1)) - 3 // four to eight units of 1<<shift hold n bytes
	units := (n + 1<<shift - 1) >> shift
	return (shift-poolQuarter)*4 + units - 4, units << shift
}

// takeBuffer is a buffer of at least n bytes with anything in it.
func takeBuffer(n int) *buffer {
	class, size := classOf(n)
	if class != poolNoClass {
		if b, ok := framePools[class].Get().(*buffer); ok {
			return b
		}
	}
	return &buffer{b: make([]byte, size), class: class}
}

// grow moves the content to a buffer of at least n bytes and releases b.
func (b *buffer) grow(n int) *buffer {
	larger := takeBuffer(n)
	copy(larger.b, b.b)
	b.release()
	return larger
}

func (b *buffer) release() {
	if b.class != poolNoClass {
		framePools[b.class].Put(b)
	}
}

// Frame is one request without its size. It lies in a pooled buffer: nothing may refer to Bytes after Release.
type Frame struct {
	Bytes []byte

	buf *buffer
}

// Release gives the buffer back. It must be called exactly once: the second time it panics, because the buffer may be
// another connection's by then.
func (f *Frame) Release() {
	if f.buf == nil {
		panic("protocol: frame released twice")
	}
	buf := f.buf
	f.Bytes, f.buf = nil, nil
	buf.release()
}
