package segment

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sort"
	"sync/atomic"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/vfs"
)

// checks is which bytes of a segment's log are known to be what was written. What this process has appended is, and what
// it has read whole after a crash. What was there when the segment was opened as it is counts as checked once every batch
// of it has been read and found right: lengths that lead from header to header, checksums, rising offsets, and whatever
// else fits asks for. Bytes are checked when they are first asked for, and then no more.
type checks struct {
	opened atomic.Int64           // what lies below was there when the segment was opened; 0 once all of it is checked
	spans  atomic.Pointer[[]span] // what has been checked below opened: in order, apart from each other; never changed
	fits   func(head batch.Batch) error
}

// span is a range of bytes from the begin of one batch to the end of another.
type span struct{ from, to int64 }

// spansMax bounds how many ranges a segment remembers. With more, the shortest is forgotten and checked again when it is
// asked for.
const spansMax = 32

// sure says whether all batches that begin in from..to are checked.
func (c *checks) sure(from, to int64) bool {
	to = min(to, c.opened.Load())
	return from >= to || c.past(from) >= to
}

// past is the end of the span that holds pos, or pos.
func (c *checks) past(pos int64) int64 {
	spans := c.spans.Load()
	if spans == nil {
		return pos
	}
	i := sort.Search(len(*spans), func(i int) bool { return (*spans)[i].to > pos })
	if i < len(*spans) && (*spans)[i].from <= pos {
		return (*spans)[i].to
	}
	return pos
}

// add notes that a span is checked.
func (c *checks) add(x span) {
	x.to = min(x.to, c.opened.Load())
	if x.from >= x.to {
		return
	}
	for {
		old := c.spans.Load()
		var spans []span
		if old != nil {
			spans = *old
		}
		merged := merge(spans, x)
		if len(merged) == 1 && merged[0].from == 0 && merged[0].to >= c.opened.Load() {
			c.opened.Store(0)
			c.spans.Store(nil)
			return
		}
		if c.spans.CompareAndSwap(old, &merged) {
			return
		}
	}
}

// cut forgets what lies behind size, which is about to be taken away.
func (c *checks) cut(size int64) {
	if c.opened.Load() <= size {
		return
	}
	c.opened.Store(size)
	c.spans.Store(nil)
}

// merge is spans and x, without overlap.
func merge(spans []span, x span) []span {
	out := make([]span, 0, len(spans)+1)
	for _, s := range spans {
		if s.to < x.from || s.from > x.to {
			out = append(out, s)
			continue
		}
		x.from, x.to = min(x.from, s.from), max(x.to, s.to)
	}
	i := sort.Search(len(out), func(i int) bool { return out[i].from > x.from })
	out = slices.Insert(out, i, x)
	if len(out) > spansMax {
		shortest := 0
		for i, s := range out {
			if s.to-s.from < out[shortest].to-out[shortest].from {
				shortest = i
			}
		}
		out = slices.Delete(out, shortest, shortest+1)
	}
	return out
}

// Sure checks the batches that begin in n bytes from pos on, where a batch begins, unless they are checked already. An
// error that wraps a *DamageError says that they must not be used.
func (s *Segment) Sure(pos, n int64) error {
	if s.checks.sure(pos, pos+n) {
		return nil
	}
	f, err := s.log.acquire()
	if err != nil {
		return err
	}
	defer s.log.release()
	return s.checkRange(f, pos, pos+n)
}

// CheckAll checks every batch, also those that have been checked or written by this process.
func (s *Segment) CheckAll() error {
	f, err := s.log.acquire()
	if err != nil {
		return err
	}
	defer s.log.release()
	c := s.log.d.checker(s, f, 0)
	defer s.log.d.checkers.Put(c)
	end, err := c.run(c.size)
	if end > 0 {
		s.checks.add(span{0, end})
	}
	return err
}

// Unchecked is how many bytes of the segment nobody has checked since it was opened.
func (s *Segment) Unchecked() int64 {
	n := s.checks.opened.Load()
	if spans := s.checks.spans.Load(); spans != nil {
		for _, x := range *spans {
			n -= x.to - x.from
		}
	}
	return max(n, 0)
}

// checkRange is Sure once the file is open.
func (s *Segment) checkRange(f vfs.File, pos, to int64) error {
	size, _ := s.Published()
	to = min(to, size, s.checks.opened.Load())
	for pos < to {
		if next := s.checks.past(pos); next > pos {
			pos = next
			continue
		}
		c := s.log.d.checker(s, f, pos)
		end, err := c.run(to)
		s.log.d.checkers.Put(c)
		if end > pos {
			s.checks.add(span{pos, end})
		}
		if err != nil {
			return err
		}
		pos = end
	}
	return nil
}

// castagnoli is the polynomial of the batches' checksums.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checker reads batches one after the other, through a buffer of fixed size, and checks each. It allocates nothing.
type checker struct {
	s    *Segment
	f    vfs.File
	fits func(head batch.Batch) error
	each func(head batch.Batch, p Place) error // may be nil
	pace func(bytes int) error                 // may be nil; told what is about to be read

	pos  int64           // where the next batch begins
	size int64           // where the last one ends
	last protocol.Offset // of the batch before; the segment's base less 1 where that is not known
	end  protocol.Offset // no batch ends here or behind

	head [batch.HeaderBytes]byte
	buf  *[]byte
	at   int64 // position of the buffer's first byte
	n    int   // bytes in it
}

// checker takes one out of the pool, for the batches from pos on. Put it back.
func (d *Descriptors) checker(s *Segment, f vfs.File, pos int64) *checker {
	c, ok := d.checkers.Get().(*checker)
	if !ok {
		c = &checker{}
	}
	size, next := s.Published()
	*c = checker{s: s, f: f, fits: s.checks.fits, pos: pos, size: size, last: s.base - 1, end: next}
	return c
}

// run checks the batches that begin before to. end is where the good ones end. It also looks at the header behind them:
// a batch is only as good as its place between its neighbours.
func (c *checker) run(to int64) (end int64, err error) {
	c.buf = c.s.log.d.copies.get()
	defer func() {
		c.s.log.d.copies.put(c.buf)
		c.buf = nil
	}()
	good := c.pos
	for c.pos < c.size {
		bytes, err := c.header()
		if err != nil {
			return good, err
		}
		good = c.pos // the batch before is good, now that what follows it is known
		if c.pos >= to {
			return good, nil
		}
		if err := c.body(bytes); err != nil {
			return good, err
		}
		if c.each != nil {
			if err := c.each(c.head[:], Place{Position: c.pos, Bytes: bytes}); err != nil {
				return good, err
			}
		}
		c.last = batch.Batch(c.head[:]).LastOffset()
		c.pos += bytes
	}
	return c.pos, nil
}

// header reads and checks the header at pos, and gives the size of its batch.
func (c *checker) header() (int64, error) {
	if left := c.size - c.pos; left < batch.HeaderBytes {
		return 0, c.damage(fmt.Errorf("%d bytes are left, too few for a batch", left))
	}
	p, err := c.window(c.pos, batch.HeaderBytes)
	if err != nil {
		return 0, err
	}
	copy(c.head[:], p)
	head := batch.Batch(c.head[:])
	bytes, err := checkHead(head)
	switch {
	case err != nil:
	case bytes > c.size-c.pos:
		err = fmt.Errorf("a batch of %d bytes with %d bytes left in the file", bytes, c.size-c.pos)
	case head.BaseOffset() <= c.last:
		err = fmt.Errorf("base offset %d where at least %d was expected", head.BaseOffset(), c.last+1)
	case head.LastOffset() >= c.end:
		err = fmt.Errorf("last offset %d in a segment that ends before %d", head.LastOffset(), c.end)
	case c.fits != nil:
		err = c.fits(head)
	}
	if err != nil {
		return 0, c.damage(err)
	}
	return bytes, nil
}

// crcFrom is where in a batch the bytes begin that its checksum covers.
const crcFrom = 21

// body reads the rest of a batch and compares the checksum.
func (c *checker) body(bytes int64) error {
	sum, pos, end := uint32(0), c.pos+crcFrom, c.pos+bytes
	for pos < end {
		p, err := c.window(pos, 1)
		if err != nil {
			return err
		}
		p = p[:min(int64(len(p)), end-pos)]
		sum = crc32.Update(sum, castagnoli, p)
		pos += int64(len(p))
	}
	if head := batch.Batch(c.head[:]); sum != head.CRC() {
		return c.damage(fmt.Errorf("the checksum of the batch at offset %d is wrong", head.BaseOffset()))
	}
	return nil
}

// window is the bytes from pos on, at least n of them and as many as are in the buffer.
func (c *checker) window(pos int64, n int) ([]byte, error) {
	if pos < c.at || pos+int64(n) > c.at+int64(c.n) {
		want := min(int64(len(*c.buf)), c.size-pos)
		if c.pace != nil {
			if err := c.pace(int(want)); err != nil {
				return nil, err
			}
		}
		got, err := c.f.ReadAt((*c.buf)[:want], pos)
		if got < n {
			if err == nil || errors.Is(err, io.EOF) {
				return nil, c.damage(fmt.Errorf("the file ends at byte %d, it had %d", pos+int64(got), c.size))
			}
			return nil, fmt.Errorf("read %s at byte %d: %w", c.s.log.name(), pos, err)
		}
		c.at, c.n = pos, got
	}
	return (*c.buf)[pos-c.at : c.n], nil
}

func (c *checker) damage(err error) error {
	return &DamageError{Segment: c.s, Name: c.s.log.name(), Position: c.pos, Offset: c.last + 1, Err: err}
}
