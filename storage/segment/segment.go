package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
)

// NoTimestamp is the timestamp of a segment without one.
const NoTimestamp = int64(-1)

// Segment is one segment. The writing methods (Write, Finish, Spill, Restore) are for one goroutine at a time; all
// others are for anyone.
type Segment struct {
	base protocol.Offset
	log  handle

	offsets index
	times   index
	txns    txnIndex

	// What readers may see. size and next belong together: seq is odd while they change.
	seq  atomic.Uint64
	size atomic.Int64 // bytes
	next atomic.Int64 // the offset after the last record
	tip  atomic.Pointer[tip]

	follows atomic.Pointer[follows] // never nil

	// The largest timestamp and the last offset of its batch; timed apart from size, since only lookups by time need
	// it.
	maxTimestamp atomic.Int64
	maxRelative  atomic.Int64

	checks  checks
	timed   atomic.Bool  // the time index was made by this process
	maxSure atomic.Bool  // maxTimestamp has been compared with the log
	mends   atomic.Int32 // how often the indexes were made anew while they were in use

	w struct { // the writer's
		sinceIndex    int64 // bytes appended since the last index entry
		lastIndexTime int64 // timestamp of the last entry of the time index
		scratch       [timeEntryBytes]byte
	}
}

func newSegment(d *Descriptors, dir string, base protocol.Offset) *Segment {
	s := &Segment{base: base}
	for _, h := range []struct {
		h      *handle
		suffix string
	}{{&s.log, LogSuffix}, {&s.offsets.file, IndexSuffix}, {&s.times.file, TimeSuffix}, {&s.txns.file, TxnSuffix}} {
		h.h.d, h.h.dir, h.h.base, h.h.suffix = d, dir, base, h.suffix
	}
	s.offsets.entryBytes = indexEntryBytes
	s.times.entryBytes = timeEntryBytes
	s.follows.Store(new(follows))
	s.next.Store(int64(base))
	s.txns.size = -1
	s.maxTimestamp.Store(NoTimestamp)
	s.w.lastIndexTime = NoTimestamp
	s.timed.Store(true)
	s.txns.sure.Store(true)
	return s
}

// Create makes an empty segment. Its indexes get their files with the first batch, so that a partition that nobody
// writes to is one empty file.
func Create(d *Descriptors, dir string, base protocol.Offset) (*Segment, error) {
	s := newSegment(d, dir, base)
	if err := s.log.create(); err != nil {
		return nil, err
	}
	return s, nil
}

// Base is the offset that names the segment: no record in it has a lower one.
func (s *Segment) Base() protocol.Offset { return s.base }

// Name is the name of the log file.
func (s *Segment) Name() string { return s.log.name() }

// Published is what readers may see: so many bytes, and the offset after the last record in them.
func (s *Segment) Published() (size int64, next protocol.Offset) {
	for {
		seq := s.seq.Load()
		if seq&1 == 0 {
			size, next := s.size.Load(), s.next.Load()
			if s.seq.Load() == seq {
				return size, protocol.Offset(next)
			}
		}
	}
}

// Size is the number of published bytes.
func (s *Segment) Size() int64 { return s.size.Load() }

// Next is the offset after the last published record.
func (s *Segment) Next() protocol.Offset { return protocol.Offset(s.next.Load()) }

// MaxTimestamp is the largest timestamp of the segment's batches, NoTimestamp when there is none.
func (s *Segment) MaxTimestamp() int64 { return s.maxTimestamp.Load() }

// Fits says whether a batch that ends at last can be in this segment as far as the indexes go: the distance can be said
// in them, and they have less than indexBytes bytes.
func (s *Segment) Fits(last protocol.Offset, indexBytes int64) bool {
	return last-s.base <= LargestRelative &&
		int64(s.offsets.entries()+1)*indexEntryBytes <= indexBytes &&
		int64(s.times.entries()+1)*timeEntryBytes <= indexBytes-timeEntryBytes // Finish needs one more
}

// Write appends whole batches, already stamped, in one write: data is all of them. An error means that nothing was
// published; what reached the file is cut off again, and when that fails too the segment must not be written any more:
// the error is then a *TornError.
func (s *Segment) Write(data []byte, bs []batch.Batch, interval int64) error {
	f, err := s.log.acquire()
	if err != nil {
		return err
	}
	defer s.log.release()
	start := s.size.Load()
	if _, err := f.WriteAt(data, start); err != nil {
		if terr := f.Truncate(start); terr != nil {
			return &TornError{Name: s.log.name(), Size: start, Err: fmt.Errorf("%w, then truncate: %w", err, terr)}
		}
		return fmt.Errorf("write %d bytes to %s at byte %d: %w", len(data), s.log.name(), start, err)
	}
	s.note(start, bs, interval)
	return nil
}

// TornError says that a file holds bytes after its last batch that could not be cut off.
type TornError struct {
	Name string
	Size int64 // where the good bytes end
	Err  error
}

func (e *TornError) Error() string {
	return fmt.Sprintf("%s is damaged after byte %d: %v", e.Name, e.Size, e.Err)
}

// Unwrap is the cause.
func (e *TornError) Unwrap() error { return e.Err }

// note indexes and publishes batches whose bytes are in the file from start on.
func (s *Segment) note(start int64, bs []batch.Batch, interval int64) {
	pos := start
	t := s.tip.Load()
	if t == nil {
		t = newTip(start, s.next.Load())
		s.tip.Store(t)
	}
	var next protocol.Offset
	for _, b := range bs {
		s.indexBatch(b, pos, interval)
		pos += int64(len(b))
		next = b.LastOffset() + 1
		t.add(int64(next), pos)
	}
	s.seq.Add(1)
	s.size.Store(pos)
	s.next.Store(int64(next))
	s.seq.Add(1)
}

// indexBatch does what LogSegment.append of Kafka does for each batch: an entry for the batch that comes after more
// than interval bytes without one.
func (s *Segment) indexBatch(b batch.Batch, pos, interval int64) {
	last := b.LastOffset() - s.base
	if ts := b.MaxTimestamp(); ts > s.maxTimestamp.Load() {
		s.maxRelative.Store(int64(last))
		s.maxTimestamp.Store(ts)
	}
	if s.w.sinceIndex > interval {
		e := s.w.scratch[:indexEntryBytes]
		binary.BigEndian.PutUint32(e, uint32(last))
		binary.BigEndian.PutUint32(e[4:], uint32(pos))
		s.offsets.append(e)
		s.indexTime()
		s.w.sinceIndex = 0
	}
	s.w.sinceIndex += int64(len(b))
}

// indexTime adds the largest timestamp so far to the time index, unless it is there.
func (s *Segment) indexTime() {
	ts := s.maxTimestamp.Load()
	if ts <= s.w.lastIndexTime {
		return
	}
	e := s.w.scratch[:timeEntryBytes]
	binary.BigEndian.PutUint64(e, uint64(ts))
	binary.BigEndian.PutUint32(e[8:], uint32(s.maxRelative.Load()))
	s.times.append(e)
	s.w.lastIndexTime = ts
}

// Spill writes to the index files what is only in memory.
func (s *Segment) Spill() error {
	if err := s.offsets.spill(); err != nil {
		return err
	}
	if err := s.times.spill(); err != nil {
		return err
	}
	return s.txns.spill()
}

// Finish ends the writing: the indexes are completed. The last entry of the time index is the largest timestamp, which
// is how a segment's age is known without reading it. It may be called again, and writing may go on after it.
func (s *Segment) Finish() error {
	s.indexTime()
	if err := s.offsets.finish(); err != nil {
		return err
	}
	if err := s.times.finish(); err != nil {
		return err
	}
	return s.txns.spill()
}

// NoSpace says that an error means a full disk: what could not be written may be tried again.
func NoSpace(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// Closed gives back the memory that only a segment at the log's end needs.
func (s *Segment) Closed() { s.tip.Store(nil) }

// Sync makes durable what has been written and spilled.
func (s *Segment) Sync() error {
	f, err := s.log.acquire()
	if err != nil {
		return err
	}
	err = f.Sync()
	s.log.release()
	if err != nil {
		return fmt.Errorf("sync %s: %w", s.log.name(), err)
	}
	if err := s.offsets.sync(); err != nil {
		return err
	}
	if err := s.times.sync(); err != nil {
		return err
	}
	return s.txns.sync()
}

// SyncLog makes durable the log only: opening makes indexes anew where they are not known to be durable.
func (s *Segment) SyncLog() error {
	f, err := s.log.acquire()
	if err != nil {
		return err
	}
	defer s.log.release()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", s.log.name(), err)
	}
	return nil
}

// Drop closes the files, each when its last reader is done. The segment can no longer be read, except through slices
// that were taken before.
func (s *Segment) Drop() {
	s.log.drop()
	s.offsets.file.drop()
	s.times.file.drop()
	s.txns.file.drop()
}

// Names are the names of the segment's files, of those that exist.
func (s *Segment) Names() []string {
	var names []string
	for _, h := range []*handle{&s.log, &s.offsets.file, &s.times.file, &s.txns.file} {
		if _, err := h.d.fs.Stat(h.name()); err == nil {
			names = append(names, h.name())
		}
	}
	return names
}

// IndexBytes are the sizes of the offset index and of the time index.
func (s *Segment) IndexBytes() (offsets, times int64) {
	return int64(s.offsets.entries()) * indexEntryBytes, int64(s.times.entries()) * timeEntryBytes
}
