package storage

import (
	"errors"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/segment"
)

// Slice is a range of a log's bytes; see segment.Slice.
type Slice = segment.Slice

// Read gives the bytes from the batch that holds from on: at most max, and nothing at or past limit. The last batch may
// be cut, as Kafka's. With minOne the first batch is whole, whatever its size. The slice ends at the latest where its
// segment does. It is empty when from is the log's end, or not below limit; an empty one may be released, too.
//
// Bytes that were in the log when it was opened are checked when they are first read; damage takes the log offline. The
// error carries OFFSET_OUT_OF_RANGE when from lies outside of the log. Read takes no lock and allocates nothing.
func (l *Log) Read(from, limit protocol.Offset, max int, minOne bool) (Slice, error) {
	if f := l.failure.Load(); f != nil {
		return Slice{}, f
	}
	for {
		segs := l.segments.Load()
		s, err := l.readIn(*segs, from, limit, int64(max), minOne)
		if err == nil {
			return s, nil
		}
		if again, err := l.lookAgain(segs, err); !again {
			return Slice{}, err
		}
	}
}

// lookAgain says what to do about an error of reading in segs: where the list has changed meanwhile, segments were
// removed or cut, and looking again helps; as it does where an index has been made anew.
func (l *Log) lookAgain(segs *[]*segment.Segment, err error) (bool, error) {
	switch {
	case protocol.CodeOf(err) == protocol.OffsetOutOfRange: // that was about the bounds, not about files
		return false, err
	case l.segments.Load() != segs:
		return true, nil
	case errors.Is(err, segment.ErrRemoved):
		return false, ErrClosed
	}
	err = l.mend(err)
	return err == nil, err
}

func (l *Log) readIn(segs []*segment.Segment, from, limit protocol.Offset, max int64, minOne bool) (Slice, error) {
	end := segs[len(segs)-1].Next()
	if start := protocol.Offset(l.start.Load()); from < start || from > end {
		return Slice{}, protocol.Errorf(protocol.OffsetOutOfRange, "offset %d is not in %d..%d", from, start, end)
	}
	if from == end || from >= limit {
		return Slice{}, nil
	}
	for i := holder(segs, from); i < len(segs); i++ {
		s := segs[i]
		size, next := s.Published()
		first, ok, err := s.Find(from)
		if err != nil {
			return Slice{}, err
		}
		if !ok {
			continue // compaction has removed the segment's last records
		}
		if next > limit { // the limit is in this segment: stop before the first batch that reaches it
			cut, ok, err := s.Find(limit)
			if err != nil {
				return Slice{}, err
			}
			if ok {
				size = min(size, cut.Position)
			}
		}
		n := min(size-first.Position, max)
		if minOne && n < first.Bytes {
			n = min(size-first.Position, first.Bytes)
		}
		if n <= 0 {
			return Slice{}, nil
		}
		if err := s.Sure(first.Position, n); err != nil {
			return Slice{}, err
		}
		return s.Slice(first.Position, n, from)
	}
	return Slice{}, nil
}

// holder is the index of the segment that holds offset, or would.
func holder(segs []*segment.Segment, offset protocol.Offset) int {
	lo, hi := 0, len(segs)
	for hi-lo > 1 {
		mid := (lo + hi) / 2
		if segs[mid].Base() <= offset {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// Aborted are the aborted transactions that a reader of the records in from..to must leave out, to not included. The index
// of a segment that was there when the log was opened is compared with the records when it is first used.
func (l *Log) Aborted(from, to protocol.Offset) ([]segment.AbortedTxn, error) {
	for {
		if f := l.failure.Load(); f != nil {
			return nil, f
		}
		segs := l.segments.Load()
		out, err := l.abortedIn(*segs, from, to)
		if err == nil {
			return out, nil
		}
		if again, err := l.lookAgain(segs, err); !again {
			return nil, err
		}
	}
}

func (l *Log) abortedIn(segs []*segment.Segment, from, to protocol.Offset) ([]segment.AbortedTxn, error) {
	var out, found []segment.AbortedTxn
	for i := holder(segs, from); i < len(segs); i++ {
		s := segs[i]
		if !s.AbortedSure() {
			if err := l.sureAborted(segs, i); err != nil {
				return nil, err
			}
		}
		var err error
		if found, err = s.Aborted(found[:0]); err != nil {
			return nil, err
		}
		for _, a := range found {
			if a.Last >= from && a.First < to {
				out = append(out, a)
			}
			if a.LastStable >= to { // what is decided after it begins at to or later
				return out, nil
			}
		}
	}
	return out, nil
}
