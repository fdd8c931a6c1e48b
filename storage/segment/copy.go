package segment

import "moldau.io/moldau/protocol"

// Files are the suffixes of a segment's files, in the order of Sizes.
var Files = [...]string{LogSuffix, IndexSuffix, TimeSuffix, TxnSuffix}

// List is the sizes in the order of Files.
func (z Sizes) List() [len(Files)]int64 { return [...]int64{z.Log, z.Index, z.Time, z.Txn} }

// Written spills the indexes and says how much of each file is the segment's: that much of it stays as it is for as
// long as the segment is not cut. It is for the writer.
func (s *Segment) Written() (Sizes, error) {
	if s.Size() > 0 { // an empty segment has no indexes
		if err := s.Spill(); err != nil {
			return Sizes{}, err
		}
	}
	return Sizes{Log: s.Size(), Index: s.offsets.written(), Time: s.times.written(), Txn: s.txns.size}, nil
}

// Mends is how often the indexes were made anew while they were in use: their files then begin with other entries.
func (s *Segment) Mends() int32 { return s.mends.Load() }

// written is the size of the entries in the file, -1 where there is no file.
func (x *index) written() int64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.made {
		return -1
	}
	return int64(x.kept) * int64(x.entryBytes)
}

// In is the segment as a copy of its files in another folder has it. The copy must be complete, and the writer goes on
// with one of the two.
func (s *Segment) In(dir string) *Segment {
	c := newSegment(s.log.d, dir, s.base)
	s.offsets.copyTo(&c.offsets)
	s.times.copyTo(&c.times)
	c.txns.set(s.txns.size, s.txns.waiting)
	c.txns.sure.Store(s.txns.sure.Load())
	size, next := s.Published()
	c.size.Store(size)
	c.next.Store(int64(next))
	c.tip.Store(s.tip.Load()) // follows is only a hint, and so is near of the indexes
	c.maxTimestamp.Store(s.maxTimestamp.Load())
	c.maxRelative.Store(s.maxRelative.Load())
	c.checks.opened.Store(s.checks.opened.Load()) // what was not checked before it was copied is not checked now
	c.checks.spans.Store(s.checks.spans.Load())
	c.checks.fits = s.checks.fits
	c.timed.Store(s.timed.Load())
	c.maxSure.Store(s.maxSure.Load())
	c.mends.Store(s.mends.Load())
	c.w = s.w
	return c
}

func (x *index) copyTo(c *index) {
	x.mu.Lock()
	defer x.mu.Unlock()
	c.made, c.kept = x.made, x.kept
	c.tail = append([]byte(nil), x.tail...)
}

// FileNames are the names of all files that a segment with this base can have, the producers' state at its begin
// included.
func FileNames(base protocol.Offset) []string {
	names := []string{FileName(base, SnapshotSuffix)}
	for _, suffix := range Files {
		names = append(names, FileName(base, suffix))
	}
	return names
}
