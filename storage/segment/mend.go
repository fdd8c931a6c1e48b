package segment

import (
	"fmt"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
)

// Mend checks the whole log and makes the indexes anew from it, while readers go on: each of them sees the old entries or
// the new ones, and either way looks whether they lead to the right place. It is the writer's. finished says that the
// segment gets no more batches.
func (s *Segment) Mend(interval int64, finished bool) error {
	size, _ := s.Published()
	if err := s.Sure(0, size); err != nil { // an index made of damaged headers would be a lie again
		return err
	}
	n, _, err := s.indexed(size, interval, finished)
	if err != nil {
		return err
	}
	err = s.takeIndexes(n)
	s.timed.Store(true)
	s.mends.Add(1)
	if err != nil { // the entries are in memory, and good
		return &UnkeptError{Name: s.offsets.file.name(), Err: err}
	}
	return nil
}

// indexed makes the indexes of the first size bytes, in memory only. It also says where they end. finished completes them.
func (s *Segment) indexed(size, interval int64, finished bool) (n *Segment, end protocol.Offset, err error) {
	n, end = newSegment(s.log.d, s.log.dir, s.base), s.base
	n.offsets.held, n.times.held = true, true
	err = s.heads(0, size, func(head batch.Batch, p Place) bool {
		n.indexHead(head, p, interval)
		end = head.LastOffset() + 1
		return true
	})
	if finished {
		n.indexTime()
	}
	return n, end, err
}

// takeIndexes puts n's indexes in the place of the segment's own. They are good in memory also where that fails.
func (s *Segment) takeIndexes(n *Segment) error {
	s.w.sinceIndex, s.w.lastIndexTime = n.w.sinceIndex, n.w.lastIndexTime
	s.maxRelative.Store(n.maxRelative.Load())
	s.maxTimestamp.Store(n.maxTimestamp.Load())
	err := s.offsets.replace(n.offsets.tail)
	if terr := s.times.replace(n.times.tail); err == nil {
		err = terr
	}
	return err
}

// UnkeptError says that an index is right in memory and could not be written.
type UnkeptError struct {
	Name string
	Err  error
}

func (e *UnkeptError) Error() string {
	return fmt.Sprintf("%s cannot be written anew: %v", e.Name, e.Err)
}

// Unwrap is the cause.
func (e *UnkeptError) Unwrap() error { return e.Err }

// replace puts other entries in the place of all. They are in memory until they are in the file, durably.
func (x *index) replace(entries []byte) error {
	x.mu.Lock()
	x.kept, x.tail = 0, entries
	made := x.made
	x.mu.Unlock()
	if made {
		f, err := x.file.acquire()
		if err != nil {
			return err
		}
		err = f.Truncate(0)
		x.file.release()
		if err != nil {
			return fmt.Errorf("empty %s: %w", x.file.name(), err)
		}
	}
	if err := x.spill(); err != nil {
		return err
	}
	return x.sync()
}
