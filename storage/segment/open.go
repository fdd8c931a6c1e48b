package segment

import (
	"errors"
	"fmt"
	"io/fs"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
)

// Sizes are the sizes of a segment's files in bytes, -1 for one that does not exist.
type Sizes struct{ Log, Index, Time, Txn int64 }

// Known is what is known of a segment that is opened.
type Known struct {
	Sizes Sizes
	// Next is the offset at which the following segment begins, or -1 for the last one, whose end is then found from
	// the last index entry on.
	Next protocol.Offset
	// Unfinished says that the log was synced, and Finish was called, but that the indexes may have come to the disk as
	// they were before Finish.
	Unfinished bool
	Interval   int64
	// Fits says what else must be so of a batch, by its header, when it is first read.
	Fits func(head batch.Batch) error
}

// Open takes a segment as it is on disk, without reading its log: it was completed before, and nothing has happened to
// it since. Indexes that are missing or do not fit the log are made anew, which reads the log's headers.
func Open(d *Descriptors, dir string, base protocol.Offset, k Known) (*Segment, error) {
	sizes := k.Sizes
	s := newSegment(d, dir, base)
	s.offsets.open(sizes.Index)
	s.times.open(sizes.Time)
	s.txns.open(sizes.Txn)
	s.size.Store(sizes.Log)
	s.checks.opened.Store(sizes.Log)
	s.checks.fits = k.Fits
	s.timed.Store(false)
	if k.Unfinished {
		if err := s.unfinish(); err != nil {
			return nil, err
		}
	}
	sane, err := s.sane(sizes)
	switch {
	case err != nil:
		return nil, err
	case !sane:
		err = s.reindex(sizes.Log, k.Next, k.Interval)
	case k.Next < 0 || k.Unfinished:
		err = s.findEnd(sizes.Log)
		if lie := (*IndexError)(nil); errors.As(err, &lie) {
			err = s.reindex(sizes.Log, k.Next, k.Interval)
		}
	}
	if err == nil && k.Unfinished {
		err = s.Finish()
	}
	if k.Next >= 0 { // compaction may have taken the last batches
		s.next.Store(int64(k.Next))
	}
	return s, err
}

// unfinish takes away the entry of the time index that Finish added, which may be torn. It is known by its offset,
// which lies behind the last entry of the offset index: all others came together with one of those.
func (s *Segment) unfinish() error {
	n := s.times.kept
	if n == 0 {
		return nil
	}
	var e, before [timeEntryBytes]byte
	if err := s.times.entry(n-1, e[:]); err != nil {
		return ignoreMissing(err)
	}
	t, p := parseTimeEntry(e[:]), timeEntry{timestamp: NoTimestamp, relative: -1}
	if n > 1 {
		if err := s.times.entry(n-2, before[:]); err != nil {
			return ignoreMissing(err)
		}
		p = parseTimeEntry(before[:])
	}
	last := int32(-1)
	if m := s.offsets.kept; m > 0 {
		if err := s.offsets.entry(m-1, e[:]); err != nil {
			return ignoreMissing(err)
		}
		last = parseOffsetEntry(e[:]).relative
	}
	if t.relative > last || t.relative <= p.relative || t.timestamp <= p.timestamp {
		return s.times.trim(n - 1)
	}
	return nil
}

// sane says whether the indexes can belong to the log, by looking at their ends only (sanityCheck of OffsetIndex and
// TimeIndex). It also takes the largest timestamp from the time index.
func (s *Segment) sane(z Sizes) (bool, error) {
	if z.Log == 0 {
		return max(z.Index, 0) == 0 && max(z.Time, 0) == 0, nil
	}
	// Kafka fills index files of the segment it writes with zeros, and cuts them when it stops: full sizes that are no
	// multiple, and entries of zeros at the end, come from a Kafka that was killed.
	if z.Time < timeEntryBytes || z.Time%timeEntryBytes != 0 || z.Index < 0 || z.Index%indexEntryBytes != 0 {
		return false, nil
	}
	if s.times.kept == 0 { // unfinish took it
		return s.offsets.kept == 0, nil
	}
	var e [timeEntryBytes]byte
	if err := s.times.entry(s.times.kept-1, e[:]); err != nil {
		return false, ignoreMissing(err)
	}
	t := parseTimeEntry(e[:])
	if t.relative < 0 || (t.timestamp == 0 && t.relative == 0 && s.times.kept > 1) {
		return false, nil
	}
	if s.offsets.kept > 0 {
		if err := s.offsets.entry(s.offsets.kept-1, e[:]); err != nil {
			return false, ignoreMissing(err)
		}
		o := parseOffsetEntry(e[:])
		if o.relative <= 0 || o.position <= 0 || int64(o.position) >= z.Log {
			return false, nil
		}
	}
	s.maxTimestamp.Store(t.timestamp)
	s.maxRelative.Store(int64(t.relative))
	s.w.lastIndexTime = t.timestamp
	return true, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// findEnd reads headers from the last index entry on, and sets where the segment ends.
func (s *Segment) findEnd(size int64) error {
	start, last, indexed := int64(0), protocol.Offset(-1), protocol.Offset(-1)
	if n := s.offsets.entries(); n > 0 {
		var e [indexEntryBytes]byte
		if err := s.offsets.entry(n-1, e[:]); err != nil {
			return err
		}
		o := parseOffsetEntry(e[:])
		start, indexed = int64(o.position), at(s.base, o.relative)
	}
	s.next.Store(int64(s.base))
	err := s.heads(start, size, func(head batch.Batch, p Place) bool {
		if p.Position == start && indexed >= 0 && head.LastOffset() != indexed {
			return false
		}
		last = head.LastOffset()
		if ts := head.MaxTimestamp(); ts > s.maxTimestamp.Load() {
			s.maxTimestamp.Store(ts)
			s.maxRelative.Store(int64(last - s.base))
		}
		return true
	})
	if indexed >= 0 && last < 0 { // the first header is none, or another one
		return s.offsetsLie(fmt.Errorf("no batch that ends at offset %d begins at byte %d", indexed, start))
	}
	if err != nil {
		return err
	}
	if last >= 0 {
		s.next.Store(int64(last) + 1)
	}
	s.w.sinceIndex = size - start
	return nil
}

// reindex makes both indexes from the headers of the log. Where the log is damaged they are left as they are.
func (s *Segment) reindex(size int64, next protocol.Offset, interval int64) error {
	n, end, err := s.indexed(size, interval, next >= 0)
	if err != nil {
		return fmt.Errorf("make the index of %s anew: %w", s.log.name(), err)
	}
	s.next.Store(int64(end))
	if next >= 0 {
		s.next.Store(int64(next))
	}
	if err := s.takeIndexes(n); err != nil {
		return err
	}
	return s.Sync() // what stands here is trusted after the next crash, too
}

// indexHead is indexBatch for a batch of which only the header is at hand.
func (s *Segment) indexHead(head batch.Batch, p Place, interval int64) {
	s.indexBatch(head, p.Position, interval)
	s.w.sinceIndex += p.Bytes - int64(len(head))
}

// Found is what Recover saw.
type Found struct {
	Kept    int64           // bytes that check out
	Cut     int64           // bytes cut off behind them
	Next    protocol.Offset // the offset after the last record kept
	Batches int
	Reason  error // why the first batch that was cut did not check out
}

// Recovery is what Recover asks of its caller.
type Recovery struct {
	// Each is called with every batch that is kept, in order; the batch is valid during the call only.
	Each func(s *Segment, b batch.Batch) error
	// Cut is called before bytes are cut off. An error keeps them.
	Cut func(found Found) error
}

// Recover reads a whole segment after a crash: it keeps batches up to the first one that does not check out (length,
// checksum, rising offsets), cuts the rest, and makes the indexes anew. A cut is durable when it returns, so that what
// was cut cannot come back behind what is written now.
func Recover(d *Descriptors, dir string, base protocol.Offset, size, interval int64, r Recovery) (
	*Segment, Found, error) {
	s := newSegment(d, dir, base)
	for _, reset := range []func() error{s.offsets.reset, s.times.reset, s.txns.reset} {
		if err := reset(); err != nil {
			return nil, Found{}, err
		}
	}
	found, err := s.Continue(size, interval, r)
	if err != nil {
		return nil, found, err
	}
	return s, found, nil
}

func (s *Segment) truncateLog(size int64) error {
	f, err := s.log.acquire()
	if err != nil {
		return err
	}
	defer s.log.release()
	if err := f.Truncate(size); err != nil {
		return fmt.Errorf("cut %s to %d bytes: %w", s.log.name(), size, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", s.log.name(), err)
	}
	return nil
}

// recoverChunk is how much is read at a time; a batch larger than it is read alone.
const recoverChunk = 1 << 20

// keepGood goes on where the segment ends so far.
func (s *Segment) keepGood(size, interval int64, each func(b batch.Batch) error) (Found, error) {
	found := Found{Kept: s.Size(), Next: s.Next()}
	f, err := s.log.acquire()
	if err != nil {
		return found, err
	}
	defer s.log.release()
	buf := make([]byte, min(recoverChunk, max(size-found.Kept, 0)))
	bufAt, n := found.Kept, 0
	for found.Kept < size {
		b, need, reason := goodBatch(buf[min(found.Kept-bufAt, int64(n)):n], size-found.Kept, s.base, found.Next)
		if need > 0 { // more bytes than are in the buffer
			if int64(len(buf)) < need {
				buf = make([]byte, need)
			}
			want := min(int64(len(buf)), size-found.Kept)
			bufAt = found.Kept
			if n, err = f.ReadAt(buf[:want], bufAt); int64(n) < want {
				return found, fmt.Errorf("read %s at byte %d: %w", s.log.name(), bufAt+int64(n), err)
			}
			continue
		}
		if reason != nil {
			found.Cut, found.Reason = size-found.Kept, reason
			return found, nil
		}
		if err := each(b); err != nil {
			return found, err
		}
		s.indexBatch(b, found.Kept, interval)
		found.Kept += int64(len(b))
		found.Next = b.LastOffset() + 1
		found.Batches++
	}
	return found, nil
}

// goodBatch is wholeBatch for a batch that must not begin below lowest, nor end too far from the segment's base.
func goodBatch(b []byte, left int64, base, lowest protocol.Offset) (good batch.Batch, need int64, reason error) {
	good, need, reason = wholeBatch(b, left)
	switch {
	case reason != nil || need > 0:
		return nil, need, reason
	case good.BaseOffset() < lowest:
		return nil, 0, fmt.Errorf("base offset %d where at least %d was expected", good.BaseOffset(), lowest)
	case good.LastOffset()-base > LargestRelative:
		return nil, 0, fmt.Errorf("last offset %d is too far from the segment's base %d", good.LastOffset(), base)
	}
	return good, 0, nil
}
