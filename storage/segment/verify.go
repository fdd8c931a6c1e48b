package segment

import (
	"fmt"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
)

// Verify reads a segment's log and indexes and says where they do not belong together: what kafka-dump-log checks, and
// that timestamps and offsets rise.
func Verify(s *Segment) error {
	ends := map[int64]protocol.Offset{} // position of a batch: its last offset
	latest := map[protocol.Offset]int64{}
	largest, last := NoTimestamp, s.base-1
	var bad error
	err := s.Heads(0, func(head batch.Batch, p Place) bool {
		if head.BaseOffset() <= last {
			bad = fmt.Errorf("the batch at byte %d begins at offset %d after %d", p.Position, head.BaseOffset(), last)
			return false
		}
		last = head.LastOffset()
		ends[p.Position] = last
		largest = max(largest, head.MaxTimestamp())
		latest[last] = largest
		return true
	})
	if err == nil {
		err = bad
	}
	if err == nil {
		err = s.verifyOffsets(ends)
	}
	if err == nil {
		err = s.verifyTimes(latest)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.log.name(), err)
	}
	if largest != s.MaxTimestamp() {
		return fmt.Errorf("%s: the largest timestamp is %d, not %d", s.log.name(), largest, s.MaxTimestamp())
	}
	return nil
}

func (s *Segment) verifyOffsets(ends map[int64]protocol.Offset) error {
	before := offsetEntry{position: -1}
	var e [indexEntryBytes]byte
	for i := range s.offsets.entries() {
		if err := s.offsets.entry(i, e[:]); err != nil {
			return err
		}
		o := parseOffsetEntry(e[:])
		if o.relative <= before.relative || o.position <= before.position {
			return fmt.Errorf("index entry %d (%+v) does not rise after %+v", i, o, before)
		}
		if end, ok := ends[int64(o.position)]; !ok || end != at(s.base, o.relative) {
			return fmt.Errorf("index entry %d says that a batch that ends at %d begins at byte %d; there is %d, %v", i,
				at(s.base, o.relative), o.position, end, ok)
		}
		before = o
	}
	return nil
}

func (s *Segment) verifyTimes(latest map[protocol.Offset]int64) error {
	before := timeEntry{timestamp: NoTimestamp, relative: -1}
	var e [timeEntryBytes]byte
	for i := range s.times.entries() {
		if err := s.times.entry(i, e[:]); err != nil {
			return err
		}
		t := parseTimeEntry(e[:])
		if t.relative <= before.relative || t.timestamp <= before.timestamp {
			return fmt.Errorf("time index entry %d (%+v) does not rise after %+v", i, t, before)
		}
		if ts, ok := latest[at(s.base, t.relative)]; !ok || ts != t.timestamp {
			return fmt.Errorf("time index entry %d says %d up to offset %d; it is %d, %v", i, t.timestamp,
				at(s.base, t.relative), ts, ok)
		}
		before = t
	}
	return nil
}
