package storage

import (
	"errors"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/segment"
)

// TimestampOffset is a record that was looked for by time.
type TimestampOffset struct {
	Offset    protocol.Offset
	Timestamp int64 // milliseconds
	Epoch     protocol.Epoch
}

// OffsetAt is the first record, by offset, whose timestamp is at least ts, among those that are not deleted and lie
// below limit.
func (l *Log) OffsetAt(ts int64, limit protocol.Offset) (TimestampOffset, bool, error) {
	return l.byTime(func(segs []*segment.Segment, start protocol.Offset) (TimestampOffset, bool, error) {
		return firstAt(segs, ts, start, limit)
	})
}

// MaxTimestamp is the first record that has the largest timestamp in the log.
func (l *Log) MaxTimestamp() (TimestampOffset, bool, error) {
	return l.byTime(func(segs []*segment.Segment, start protocol.Offset) (TimestampOffset, bool, error) {
		largest := noTimestamp
		for _, s := range segs {
			ts, err := s.SureMaxTimestamp()
			if err != nil {
				return TimestampOffset{}, false, err
			}
			largest = max(largest, ts)
		}
		if largest == noTimestamp {
			return TimestampOffset{}, false, nil
		}
		found, ok, err := firstAt(segs, largest, start, segs[len(segs)-1].Next())
		if ok || err != nil {
			return found, ok, err
		}
		// The record with the largest timestamp has been deleted, though its segment is there for others: look at all.
		return largestFrom(segs, start)
	})
}

// byTime looks again when segments are removed meanwhile, or an index has been made anew.
func (l *Log) byTime(look func([]*segment.Segment, protocol.Offset) (TimestampOffset, bool, error)) (
	TimestampOffset, bool, error) {
	for {
		if f := l.failure.Load(); f != nil {
			return TimestampOffset{}, false, f
		}
		segs := l.segments.Load()
		found, ok, err := look(*segs, protocol.Offset(l.start.Load()))
		if err == nil {
			return found, ok, nil
		}
		if again, err := l.lookAgain(segs, err); !again {
			return TimestampOffset{}, false, err
		}
	}
}

func firstAt(segs []*segment.Segment, ts int64, start, limit protocol.Offset) (TimestampOffset, bool, error) {
	for _, s := range segs[holder(segs, start):] {
		if s.Size() == 0 {
			continue
		}
		largest, err := s.SureMaxTimestamp()
		if err != nil {
			return TimestampOffset{}, false, err
		}
		if largest < ts {
			continue
		}
		p, ok, err := s.FindTime(ts, start)
		for ; ok && err == nil; p, ok, err = s.NextTime(p, ts, start) {
			found, ok, err := firstInBatch(s, p, ts, start)
			if err != nil {
				return TimestampOffset{}, false, err
			}
			if ok {
				return found, found.Offset < limit, nil
			}
		}
		if err != nil {
			return TimestampOffset{}, false, err
		}
	}
	return TimestampOffset{}, false, nil
}

// firstInBatch reads the records of one batch: a batch's header knows its largest timestamp, not which record has it.
func firstInBatch(s *segment.Segment, p segment.Place, ts int64, start protocol.Offset) (TimestampOffset, bool, error) {
	b, err := s.ReadBatch(p, nil)
	if err != nil {
		return TimestampOffset{}, false, err
	}
	for r, err := range b.Records(nil) {
		if err != nil {
			return TimestampOffset{}, false, err
		}
		offset, at := b.BaseOffset()+protocol.Offset(r.OffsetDelta), timestampOf(b, r)
		if at >= ts && offset >= start {
			return TimestampOffset{Offset: offset, Timestamp: at, Epoch: b.LeaderEpoch()}, true, nil
		}
	}
	return TimestampOffset{}, false, nil
}

func timestampOf(b batch.Batch, r batch.Record) int64 {
	if b.IsLogAppendTime() {
		return b.MaxTimestamp()
	}
	return b.BaseTimestamp() + r.TimestampDelta
}

// largestFrom looks at every batch from start on.
func largestFrom(segs []*segment.Segment, start protocol.Offset) (TimestampOffset, bool, error) {
	var best TimestampOffset
	found := false
	for _, s := range segs[holder(segs, start):] {
		p, ok, err := s.Find(start)
		if err != nil {
			return best, false, err
		}
		if !ok {
			continue
		}
		var inner error
		err = s.Heads(p.Position, func(head batch.Batch, p segment.Place) bool {
			if found && head.MaxTimestamp() <= best.Timestamp {
				return true
			}
			inner = betterIn(s, p, start, &best, &found)
			return inner == nil
		})
		if err := errors.Join(err, inner); err != nil {
			return best, false, err
		}
	}
	return best, found, nil
}

func betterIn(s *segment.Segment, p segment.Place, start protocol.Offset, best *TimestampOffset, found *bool) error {
	b, err := s.ReadBatch(p, nil)
	if err != nil {
		return err
	}
	for r, err := range b.Records(nil) {
		if err != nil {
			return err
		}
		offset, at := b.BaseOffset()+protocol.Offset(r.OffsetDelta), timestampOf(b, r)
		if offset >= start && at != noTimestamp && (!*found || at > best.Timestamp) {
			*best, *found = TimestampOffset{Offset: offset, Timestamp: at, Epoch: b.LeaderEpoch()}, true
		}
	}
	return nil
}
