package segment

import (
	"cmp"
	"errors"
	"fmt"
	"io"

	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/vfs"
)

// Scrub reads all of the segment's log from the disk, past the page cache, and checks every batch, and the indexes
// against them. pace is told how many bytes are about to be read; its error ends the scrub. A *DamageError says that the
// log is damaged, an *IndexError that an index is.
func (s *Segment) Scrub(pace func(bytes int) error) error {
	f, err := vfs.OpenUncached(s.log.d.fs, s.log.name())
	if err != nil {
		return err
	}
	defer f.Close()
	c := s.log.d.checker(s, f, 0)
	defer s.log.d.checkers.Put(c)
	x := against{s: s, largest: NoTimestamp, offsets: entries{x: &s.offsets}, times: entries{x: &s.times}}
	c.pace = pace
	var lie error
	c.each = func(head batch.Batch, p Place) error {
		if lie == nil { // the batches are what counts: they are read to the end
			lie = x.batch(head, p)
		}
		return nil
	}
	end, err := c.run(c.size)
	if end > 0 {
		s.checks.add(span{0, end})
	}
	if err == nil {
		err = lie
	}
	if err == nil {
		err = x.end(c.size)
	}
	if err == nil {
		s.maxSure.Store(true)
	}
	return err
}

// against compares the indexes with the batches, which come in order.
type against struct {
	s       *Segment
	offsets entries
	times   entries
	largest int64
}

// batch looks at the entries for a batch.
func (x *against) batch(head batch.Batch, p Place) error {
	x.largest = max(x.largest, head.MaxTimestamp())
	e, err := x.offsets.next()
	if err != nil {
		return x.s.offsetsLie(err)
	}
	if e != nil {
		switch o := parseOffsetEntry(e); {
		case int64(o.position) > p.Position:
		case int64(o.position) < p.Position:
			return x.s.offsetsLie(fmt.Errorf("no batch begins at byte %d", o.position))
		case at(x.s.base, o.relative) != head.LastOffset():
			return x.s.offsetsLie(fmt.Errorf("the batch at byte %d ends at offset %d, not %d", o.position, head.LastOffset(),
				at(x.s.base, o.relative)))
		default:
			x.offsets.taken()
		}
	}
	if e, err = x.times.next(); err != nil {
		return x.s.timesLie(err)
	}
	if e != nil {
		switch t := parseTimeEntry(e); {
		case at(x.s.base, t.relative) > head.LastOffset():
		case t.timestamp != x.largest || at(x.s.base, t.relative) < head.BaseOffset():
			return x.s.timesLie(fmt.Errorf("up to offset %d the largest timestamp is %d, not %d", at(x.s.base, t.relative),
				x.largest, t.timestamp))
		default:
			x.times.taken()
		}
	}
	return nil
}

// end looks whether there are entries behind the last of size bytes of batches. Where more was appended meanwhile there
// may be.
func (x *against) end(size int64) error {
	if x.s.Size() != size {
		return nil
	}
	if e, err := x.offsets.next(); err != nil || e != nil {
		return x.s.offsetsLie(cmp.Or(err, errNoBatch))
	}
	if e, err := x.times.next(); err != nil || e != nil {
		return x.s.timesLie(cmp.Or(err, errNoBatch))
	}
	if said := x.s.MaxTimestamp(); said != x.largest {
		return x.s.timesLie(fmt.Errorf("the largest timestamp is %d, not %d", x.largest, said))
	}
	return nil
}

var errNoBatch = errors.New("it has an entry that belongs to no batch")

// entries goes through an index, a block at a time.
type entries struct {
	x   *index
	i   int // the next entry
	buf []byte
	at  int // which entry is first in buf
}

// next is the next entry, nil at the end.
func (r *entries) next() ([]byte, error) {
	size := r.x.entryBytes
	if k := (r.i - r.at) * size; r.buf != nil && k >= 0 && k+size <= len(r.buf) {
		return r.buf[k : k+size], nil
	}
	block, err := r.x.block(r.i, r.buf[:0])
	if err != nil || len(block) == 0 {
		return nil, err
	}
	r.buf, r.at = block, r.i
	return block[:size], nil
}

func (r *entries) taken() { r.i++ }

// block is some entries from the i-th on, none where there are no more.
func (x *index) block(i int, buf []byte) ([]byte, error) {
	x.mu.Lock()
	kept := x.kept
	if i >= kept {
		buf = append(buf, x.tail[min((i-kept)*x.entryBytes, len(x.tail)):]...)
		x.mu.Unlock()
		return buf, nil
	}
	x.mu.Unlock()
	n := min(kept-i, blockBytes/x.entryBytes) * x.entryBytes
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	f, err := x.file.acquire()
	if err != nil {
		return nil, err
	}
	defer x.file.release()
	if got, err := f.ReadAt(buf, int64(i)*int64(x.entryBytes)); got < n {
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read %s: %w", x.file.name(), err)
	}
	return buf, nil
}
