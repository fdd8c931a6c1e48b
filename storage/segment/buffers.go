package segment

import "sync"

const (
	// scanBytes is how much of a log file is read at a time when looking for a batch. It covers an index interval.
	scanBytes = 8 << 10
	// copyBytes is how much of a log file is copied to a connection at a time.
	copyBytes = 128 << 10
)

// bufferPool hands out buffers of one size. Pointers go in and out, because putting a slice would allocate.
type bufferPool struct {
	size int
	pool sync.Pool
}

func (p *bufferPool) get() *[]byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, p.size)
	return &b
}

func (p *bufferPool) put(b *[]byte) { p.pool.Put(b) }
