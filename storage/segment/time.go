package segment

import (
	"fmt"
	"math"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
)

// FindTime is the first batch that holds a record with a timestamp of at least ts and an offset of at least from, as
// far as batch headers tell: the batch's largest timestamp is at least ts, its last offset at least from. What it goes
// past is checked; see Find.
func (s *Segment) FindTime(ts int64, from protocol.Offset) (p Place, ok bool, err error) {
	size, _ := s.Published()
	start, err := s.lookupTime(ts, from)
	if err != nil {
		return Place{}, false, err
	}
	return s.walk(start, size, func(head batch.Batch) bool {
		return head.MaxTimestamp() >= ts && head.LastOffset() >= from
	})
}

// NextTime goes on after a batch that FindTime or NextTime found.
func (s *Segment) NextTime(after Place, ts int64, from protocol.Offset) (p Place, ok bool, err error) {
	size, _ := s.Published()
	return s.walk(landing{position: after.Position + after.Bytes, last: -1}, size, func(head batch.Batch) bool {
		return head.MaxTimestamp() >= ts && head.LastOffset() >= from
	})
}

// lookupTime is a place before which no record has both a timestamp of ts or more and an offset of from or more. The
// entry used is the last one whose timestamp lies before ts: it says that nothing up to its offset is as late as ts.
func (s *Segment) lookupTime(ts int64, from protocol.Offset) (landing, error) {
	e, ok, err := s.timeBefore(ts)
	if err != nil {
		return landing{}, err
	}
	if ok {
		if !s.timed.Load() {
			if _, err := s.checkTime(e); err != nil {
				return landing{}, err
			}
		}
		from = max(from, at(s.base, e.relative))
	}
	return s.lookup(from)
}

// timeBefore is the last entry of the time index with a timestamp before ts.
func (s *Segment) timeBefore(ts int64) (e timeEntry, ok bool, err error) {
	buf := s.log.d.buffers.get()
	defer s.log.d.buffers.put(buf)
	raw := (*buf)[:timeEntryBytes]
	if ok, err = s.times.floor(timeBefore, ts, raw); err != nil {
		return e, false, s.timesLie(err)
	}
	return parseTimeEntry(raw), ok, nil
}

// checkTime compares an entry of the time index with the log: its timestamp is that of the batch that holds its offset,
// and no batch since the entry before is later. Its place is the one behind that batch.
func (s *Segment) checkTime(e timeEntry) (behind int64, err error) {
	size, _ := s.Published()
	offset := at(s.base, e.relative)
	var start landing
	prev, ok, err := s.timeBefore(e.timestamp)
	if err == nil && ok {
		start, err = s.lookup(min(at(s.base, prev.relative), offset))
	} else {
		start.last = -1
	}
	if err != nil {
		return 0, err
	}
	var wrong error
	p, ok, err := s.walk(start, size, func(head batch.Batch) bool {
		ts, holds := head.MaxTimestamp(), head.LastOffset() >= offset
		switch {
		case ts > e.timestamp:
			wrong = fmt.Errorf("it says that nothing up to offset %d is later than %d, and %d is", offset, e.timestamp, ts)
		case holds && (ts != e.timestamp || head.BaseOffset() > offset):
			wrong = fmt.Errorf("it says that the batch with offset %d has the timestamp %d", offset, e.timestamp)
		}
		return wrong != nil || holds
	})
	switch {
	case err != nil:
		return 0, err
	case !ok:
		wrong = fmt.Errorf("it has an entry for offset %d, behind its log's end", offset)
	}
	if wrong != nil {
		return 0, s.timesLie(wrong)
	}
	return p.Position + p.Bytes, nil
}

// SureMaxTimestamp is MaxTimestamp, compared with the log: the index that says it may be damaged. That is done once.
func (s *Segment) SureMaxTimestamp() (int64, error) {
	if s.timed.Load() || s.maxSure.Load() {
		return s.MaxTimestamp(), nil
	}
	said := s.MaxTimestamp()
	size, _ := s.Published()
	largest, start := NoTimestamp, landing{last: -1}
	e, ok, err := s.timeBefore(math.MaxInt64)
	if err != nil {
		return 0, err
	}
	if ok {
		if start.position, err = s.checkTime(e); err != nil {
			return 0, err
		}
		largest = e.timestamp
	}
	_, _, err = s.walk(start, size, func(head batch.Batch) bool {
		largest = max(largest, head.MaxTimestamp())
		return false
	})
	if err != nil {
		return 0, err
	}
	if said > largest || s.MaxTimestamp() < largest {
		return 0, s.timesLie(fmt.Errorf("it says that the largest timestamp is %d, and it is %d", said, largest))
	}
	s.maxSure.Store(true)
	return s.MaxTimestamp(), nil
}
