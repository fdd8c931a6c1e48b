package segment

import (
	"encoding/binary"
	"fmt"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
)

// Resume takes the part of a segment that was flushed before a crash as it is: log, indexes and aborted transactions of the
// batches that end before from. Continue then reads what lies behind it. ok is false where that part is not as a flush
// leaves it; the whole segment is then to be read, by Recover.
func Resume(d *Descriptors, dir string, base, from protocol.Offset, k Known) (_ *Segment, ok bool, err error) {
	s := newSegment(d, dir, base)
	s.offsets.open(k.Sizes.Index)
	s.times.open(k.Sizes.Time)
	s.txns.open(k.Sizes.Txn)
	s.checks.fits = k.Fits
	s.timed.Store(false)

	// What came behind from was not synced: those entries may be torn, or what a crash left in their place. The ones before
	// it rise, and the first that does not ends them.
	last := offsetEntry{relative: -1}
	kept, err := s.offsets.prefix(func(b []byte) bool {
		e := parseOffsetEntry(b)
		good := e.relative > last.relative && e.position > last.position && at(base, e.relative) < from &&
			int64(e.position) < k.Sizes.Log
		if good {
			last = e
		}
		return good
	})
	if err != nil {
		return nil, false, ignoreMissing(err)
	}
	timed := timeEntry{timestamp: NoTimestamp, relative: -1}
	times, err := s.times.prefix(func(b []byte) bool {
		e := parseTimeEntry(b)
		good := e.timestamp > timed.timestamp && e.relative > timed.relative && e.relative <= last.relative
		if good {
			timed = e
		}
		return good
	})
	if err != nil {
		return nil, false, ignoreMissing(err)
	}
	if kept > 0 && times == 0 && s.times.kept == 0 && k.Sizes.Time < 0 {
		return nil, false, nil
	}
	s.maxTimestamp.Store(timed.timestamp)
	s.maxRelative.Store(int64(max(timed.relative, 0)))
	s.w.lastIndexTime = timed.timestamp
	if ok, err := s.resumeAt(last, from, k.Sizes.Log); !ok || err != nil {
		return nil, false, err
	}
	if err := s.dropBehind(kept, times, from); err != nil {
		return nil, false, err
	}
	return s, true, nil
}

// resumeAt finds where the batch ends that ends at from, going by headers from the last index entry on.
func (s *Segment) resumeAt(last offsetEntry, from protocol.Offset, size int64) (ok bool, err error) {
	start := int64(max(last.position, 0))
	next, end := s.base, start
	herr := s.heads(start, size, func(head batch.Batch, p Place) bool {
		if p.Position == start && last.relative >= 0 && head.LastOffset() != at(s.base, last.relative) ||
			head.LastOffset() >= from || p.Position > start && head.BaseOffset() < next {
			return false
		}
		next, end = head.LastOffset()+1, p.Position+p.Bytes
		if ts := head.MaxTimestamp(); ts > s.maxTimestamp.Load() {
			s.maxTimestamp.Store(ts)
			s.maxRelative.Store(int64(head.LastOffset() - s.base))
		}
		return true
	})
	if next != from { // whether or not headers could be read behind it does not matter
		return false, ignoreDamage(herr)
	}
	s.size.Store(end)
	s.next.Store(int64(next))
	s.checks.opened.Store(end)
	s.w.sinceIndex = end - start
	return true, nil
}

// ignoreDamage is for who reads what is damaged again in another way, which says so better.
func ignoreDamage(err error) error {
	switch err.(type) {
	case *DamageError, *IndexError:
		return nil
	}
	return err
}

// dropBehind cuts from the indexes what lies behind the flushed part.
func (s *Segment) dropBehind(offsets, times int, from protocol.Offset) error {
	if err := s.offsets.trim(offsets); err != nil {
		return err
	}
	if err := s.times.trim(times); err != nil {
		return err
	}
	size, err := s.flushedTxns(from)
	if err != nil {
		return err
	}
	return s.txns.cut(size)
}

// Continue is Recover for what lies behind the part that Resume took, up to size.
func (s *Segment) Continue(size, interval int64, r Recovery) (Found, error) {
	found, err := s.keepGood(size, interval, func(b batch.Batch) error { return r.Each(s, b) })
	if err != nil {
		return found, err
	}
	s.size.Store(found.Kept)
	s.next.Store(int64(found.Next))
	if found.Cut > 0 {
		if err := r.Cut(found); err != nil {
			return found, err
		}
		if err := s.truncateLog(found.Kept); err != nil {
			return found, err
		}
	}
	if err := s.Spill(); err != nil && !NoSpace(err) { // on a full disk the entries wait in memory
		return found, err
	}
	return found, nil
}

// prefix counts the entries in the file for which good is true, up to the first for which it is not.
func (x *index) prefix(good func(entry []byte) bool) (int, error) {
	if x.kept == 0 {
		return 0, nil
	}
	f, err := x.file.acquire()
	if err != nil {
		return 0, err
	}
	defer x.file.release()
	buf := x.file.d.buffers.get()
	defer x.file.d.buffers.put(buf)
	room := (*buf)[:blockBytes/x.entryBytes*x.entryBytes]
	for n := 0; n < x.kept; {
		block, err := x.readBlock(f, room, n*x.entryBytes/len(room), x.kept)
		if err != nil {
			return 0, err
		}
		for ; len(block) > 0; block = block[x.entryBytes:] {
			if !good(block[:x.entryBytes]) {
				return n, nil
			}
			n++
		}
	}
	return x.kept, nil
}

// flushedTxns is the bytes of the entries of transactions that ended before from: up to the first one of which the log
// has no marker. What a crash leaves behind those that were synced can look like an entry.
func (s *Segment) flushedTxns(from protocol.Offset) (int64, error) {
	x := &s.txns
	if x.size <= 0 {
		return 0, nil
	}
	f, err := x.file.acquire()
	if err != nil {
		return 0, ignoreMissing(err)
	}
	defer x.file.release()
	var e [txnEntryBytes]byte
	before, at := protocol.Offset(-1), int64(0)
	for ; at < x.size; at += txnEntryBytes {
		if n, err := f.ReadAt(e[:], at); n < len(e) {
			return 0, fmt.Errorf("read %s: %w", x.file.name(), err)
		}
		producer, last := int64(binary.BigEndian.Uint64(e[2:])), protocol.Offset(binary.BigEndian.Uint64(e[18:]))
		if binary.BigEndian.Uint16(e[:]) != 0 || last <= before || last >= from {
			break
		}
		if there, err := s.hasMarker(producer, last); err != nil || !there {
			return at, ignoreDamage(err)
		}
		before = last
	}
	return at, nil
}

// hasMarker says whether the batch that ends at offset is a producer's marker.
func (s *Segment) hasMarker(producer int64, offset protocol.Offset) (there bool, err error) {
	start, err := s.lookup(offset)
	if err != nil {
		return false, err
	}
	err = s.Heads(start.position, func(head batch.Batch, _ Place) bool {
		there = head.LastOffset() == offset && head.IsControl() && head.ProducerID() == producer
		return head.LastOffset() < offset
	})
	return there, err
}
