package segment

import (
	"fmt"
	"math"
	"path"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
)

// Cleaned is a segment that compaction writes. Its files have the names of the segment with an ending more,
// CleanedSuffix and then SwapSuffix, until they take the places of what they were made from. All of them stay open
// meanwhile, so that nobody needs the names to read them. It is used by one goroutine.
type Cleaned struct {
	s        *Segment
	interval int64
	buf      []byte
	size     int64 // written and in buf
	pinned   []*handle
	ending   string // of the files' names
}

// CreateCleaned begins a segment. buf is what it collects bytes in before it writes them.
func CreateCleaned(d *Descriptors, dir string, base protocol.Offset, interval int64, buf []byte) (*Cleaned, error) {
	c := &Cleaned{s: newSegment(d, dir, base), interval: interval, buf: buf[:0], ending: CleanedSuffix}
	for _, h := range c.s.handles() {
		h.extra = CleanedSuffix
	}
	if err := c.s.log.create(); err != nil {
		return nil, err
	}
	return c, c.pin(&c.s.log)
}

func (s *Segment) handles() [4]*handle {
	return [4]*handle{&s.log, &s.offsets.file, &s.times.file, &s.txns.file}
}

func (c *Cleaned) pin(h *handle) error {
	if _, err := h.acquire(); err != nil {
		return err
	}
	c.pinned = append(c.pinned, h)
	return nil
}

// Size is the bytes of log so far.
func (c *Cleaned) Size() int64 { return c.size }

// Append adds a batch, which keeps its offsets.
func (c *Cleaned) Append(b batch.Batch) error {
	if c.size+int64(len(b)) > math.MaxInt32 {
		return fmt.Errorf("%s would have more than 2 GiB", c.s.log.name())
	}
	c.s.indexBatch(b, c.size, c.interval)
	c.size += int64(len(b))
	if len(c.buf)+len(b) > cap(c.buf) {
		if err := c.write(c.buf); err != nil {
			return err
		}
		c.buf = c.buf[:0]
		if len(b) > cap(c.buf) {
			return c.write(b)
		}
	}
	c.buf = append(c.buf, b...)
	return nil
}

func (c *Cleaned) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if _, err := c.s.log.file.WriteAt(b, c.s.size.Load()); err != nil {
		return fmt.Errorf("write %s: %w", c.s.log.name(), err)
	}
	c.s.size.Add(int64(len(b)))
	return nil
}

// Abort notes an aborted transaction whose marker is in the segment.
func (c *Cleaned) Abort(a AbortedTxn) error {
	c.s.Abort(a)
	return c.s.txns.spill()
}

// Finish ends the writing: the segment goes to next, where the following one begins, and its files are durable, though
// their names may not be.
func (c *Cleaned) Finish(next protocol.Offset) error {
	if err := c.write(c.buf); err != nil {
		return err
	}
	c.buf = nil
	c.s.next.Store(int64(next))
	if err := c.s.Finish(); err != nil {
		return err
	}
	for _, h := range []*handle{&c.s.offsets.file, &c.s.times.file} {
		if err := c.pin(h); err != nil {
			return err
		}
	}
	if c.s.txns.size >= 0 {
		if err := c.pin(&c.s.txns.file); err != nil {
			return err
		}
	}
	return c.s.Sync()
}

// Swap gives the files their second ending. It is durable when the caller has synced the folder; from then on they, and
// not what they were made from, are the log.
func (c *Cleaned) Swap() error {
	for _, h := range c.pinned {
		if err := c.rename(h, SwapSuffix); err != nil {
			return err
		}
	}
	c.ending = SwapSuffix
	return nil
}

func (c *Cleaned) rename(h *handle, ending string) error {
	name := plainName(h)
	if err := h.d.fs.Rename(name+c.ending, name+ending); err != nil {
		return fmt.Errorf("rename %s: %w", name+c.ending, err)
	}
	return nil
}

func plainName(h *handle) string { return path.Join(h.dir, FileName(h.base, h.suffix)) }

// Segment is the segment itself, to be published. It can be read from now on, and takes its files to have their final
// names.
func (c *Cleaned) Segment() *Segment {
	for _, h := range c.s.handles() {
		h.extra = ""
	}
	return c.s
}

// PlaceLog gives the log file its final name, and PlaceIndexes the others theirs. The folder is to be synced after
// each: as long as the log's old name is there, everything that has a final name belongs to what was replaced;
// afterwards nothing does.
func (c *Cleaned) PlaceLog() error { return c.rename(&c.s.log, "") }

// PlaceIndexes comes after PlaceLog. The files need not stay open any more.
func (c *Cleaned) PlaceIndexes() error {
	for _, h := range c.pinned[1:] {
		if err := c.rename(h, ""); err != nil {
			return err
		}
	}
	c.unpin()
	return nil
}

func (c *Cleaned) unpin() {
	for _, h := range c.pinned {
		h.release()
	}
	c.pinned = nil
}

// Discard gives the segment up. It must not have been published. At no moment does the folder look as if a swap were to
// be completed: as long as there is a file with the first ending, nothing with the second one counts.
func (c *Cleaned) Discard() error {
	c.s.Drop()
	c.unpin()
	fsys, name := c.s.log.d.fs, plainName(&c.s.log)
	if err := ignoreMissing(fsys.Rename(name+SwapSuffix, name+CleanedSuffix)); err != nil {
		return err
	}
	for _, ending := range []string{SwapSuffix, CleanedSuffix} {
		if err := ignoreMissing(fsys.SyncDir(c.s.log.dir)); err != nil {
			return err
		}
		for _, h := range c.s.handles() {
			if err := ignoreMissing(fsys.Remove(plainName(h) + ending)); err != nil {
				return err
			}
		}
	}
	return nil
}

// NextOf is the offset after the last batch in a log file that is called like a segment's with an ending more; base
// where it has none.
func NextOf(d *Descriptors, dir string, base protocol.Offset, ending string, size int64) (protocol.Offset, error) {
	s := newSegment(d, dir, base)
	s.log.extra = ending
	defer s.Drop()
	next := base
	err := s.heads(0, size, func(head batch.Batch, _ Place) bool {
		next = head.LastOffset() + 1
		return true
	})
	return next, err
}
