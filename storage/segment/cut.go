package segment

import (
	"errors"
	"fmt"
	"io/fs"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
)

// Cut takes away the end of a segment, in three steps: PrepareCut, which may fail and changes nothing that is read;
// Publish, after which readers see the shorter segment; Apply, which cuts the files.
type Cut struct {
	s    *Segment
	size int64
	next protocol.Offset

	offsets, times int   // entries that stay
	txns           int64 // bytes that stay

	indexed      int64 // position of the last indexed batch that stays, else 0
	indexTime    int64 // of the last entry of the time index that stays
	maxTimestamp int64
	maxRelative  int64
}

// PrepareCut finds what has to go so that no batch is left that ends at to or after it. The writer's.
func (s *Segment) PrepareCut(to protocol.Offset) (*Cut, error) {
	if err := s.Spill(); err != nil {
		return nil, err
	}
	c := &Cut{s: s, next: s.base, maxTimestamp: NoTimestamp, indexTime: NoTimestamp}
	if err := c.indexes(to); err != nil {
		return nil, err
	}
	size, _ := s.Published()
	if size > 0 {
		err := s.heads(c.indexed, size, func(head batch.Batch, p Place) bool {
			if head.LastOffset() >= to {
				return false
			}
			c.size, c.next = p.Position+p.Bytes, head.LastOffset()+1
			if ts := head.MaxTimestamp(); ts > c.maxTimestamp {
				c.maxTimestamp, c.maxRelative = ts, int64(head.LastOffset()-s.base)
			}
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	return c, c.aborted()
}

// indexes finds the entries that stay, those of batches that end before to, and takes what they say.
func (c *Cut) indexes(to protocol.Offset) error {
	s := c.s
	var e [timeEntryBytes]byte
	keep := func(x *index, relative func([]byte) int32) (int, error) {
		lo, hi := 0, x.entries() // lo entries stay; hi and those after it go
		for lo < hi {
			mid := (lo + hi) / 2
			if err := x.entry(mid, e[:]); err != nil {
				return 0, err
			}
			if at(s.base, relative(e[:])) < to {
				lo = mid + 1
			} else {
				hi = mid
			}
		}
		if lo == 0 {
			return 0, nil
		}
		return lo, x.entry(lo-1, e[:])
	}
	var err error
	c.offsets, err = keep(&s.offsets, func(b []byte) int32 { return parseOffsetEntry(b).relative })
	if err != nil {
		return err
	}
	if c.offsets > 0 {
		c.indexed = int64(parseOffsetEntry(e[:]).position)
	}
	c.times, err = keep(&s.times, func(b []byte) int32 { return parseTimeEntry(b).relative })
	if err != nil {
		return err
	}
	if c.times > 0 {
		t := parseTimeEntry(e[:])
		c.indexTime, c.maxTimestamp, c.maxRelative = t.timestamp, t.timestamp, int64(t.relative)
	}
	return nil
}

// aborted counts the aborted transactions that stay: those whose marker does.
func (c *Cut) aborted() error {
	all, err := c.s.Aborted(nil)
	for _, a := range all {
		if a.Last < c.next {
			c.txns += txnEntryBytes
		}
	}
	return err
}

// Next is where the segment ends afterwards.
func (c *Cut) Next() protocol.Offset { return c.next }

// Empty says that there is nothing to cut.
func (c *Cut) Empty() bool { return c.size == c.s.Size() }

// Publish makes readers that come from now on see the shorter segment.
func (c *Cut) Publish() {
	s := c.s
	s.tip.Store(nil) // its positions may be written anew
	s.seq.Add(1)
	s.size.Store(c.size)
	s.next.Store(int64(c.next))
	s.seq.Add(1)
	s.checks.cut(c.size)
	s.maxSure.Store(false)
	s.follows.Store(new(follows))
	s.offsets.forget(c.offsets)
	s.times.forget(c.times)
	s.maxTimestamp.Store(c.maxTimestamp)
	s.maxRelative.Store(c.maxRelative)
	s.w.lastIndexTime = c.indexTime
	s.w.sinceIndex = c.size - c.indexed
}

// Apply cuts the files. What was cut off the log is durably gone when it returns, so that it cannot come back behind
// what is written now; of the indexes only those entries that nothing would notice are.
func (c *Cut) Apply() error {
	if err := c.s.txns.cut(c.txns); err != nil {
		return err
	}
	if err := c.s.truncateLog(c.size); err != nil {
		return err
	}
	if err := c.s.offsets.trim(c.offsets); err != nil {
		return err
	}
	return c.s.times.trim(c.times)
}

// cut keeps size bytes, durably.
func (x *txnIndex) cut(size int64) error {
	if x.size <= size {
		return nil
	}
	f, err := x.file.acquire()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer x.file.release()
	x.set(size, nil)
	if err := f.Truncate(size); err != nil {
		return fmt.Errorf("cut %s: %w", x.file.name(), err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", x.file.name(), err)
	}
	return nil
}
