package storage

import (
	"errors"
	"fmt"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/segment"
)

// checkEnd compares the end of a log that was left in order with its recovery point, which is the same then. The offset
// of the last batch has no checksum, and no neighbour behind it that would show that it is wrong.
func (r *recovery) checkEnd() error {
	said := r.o.recovery
	if !r.o.clean || said == 0 || r.next == said {
		return nil
	}
	if r.next < said {
		return &DamagedError{Flushed: said, Good: r.next, Err: errors.New("the log ends there")}
	}
	s := r.segs[len(r.segs)-1]
	before, last, count := s.Base()-1, s.Base()-1, protocol.Offset(0)
	err := s.Heads(0, func(head batch.Batch, _ segment.Place) bool {
		before, last, count = last, head.LastOffset(), protocol.Offset(head.LastOffsetDelta())+1
		return true
	})
	if err != nil {
		return err
	}
	if err := s.CheckAll(); err != nil {
		return err
	}
	if before+count+1 == said {
		return &DamagedError{Flushed: said, Good: before + 1, Err: fmt.Errorf(
			"the last batch says that it ends at offset %d, and would end at %d behind the one before it", last, said-1)}
	}
	r.o.logger.Warn("a recovery point is not the end of its log, which was left in order; the log is taken as it is",
		"dir", r.o.dir, "recoveryPoint", said, "end", r.next)
	return nil
}

// checkGap looks at a batch that is read again. A gap in front of it that reaches over the recovery point is damage:
// what was flushed there is missing, or the batch's offset is wrong. It is not cut off like a torn tail.
func (r *recovery) checkGap(s *segment.Segment, b batch.Batch) error {
	expected := max(r.read, s.Base())
	r.read = b.LastOffset() + 1
	if b.BaseOffset() <= expected || expected >= r.o.recovery || b.LastOffset() < r.o.recovery {
		return nil
	}
	return &DamagedError{Flushed: r.o.recovery, Good: expected, Err: fmt.Errorf(
		"the batch behind it says that it begins at offset %d", b.BaseOffset())}
}

// checkEpoch compares the leader epoch of a flushed batch that is read again, which no checksum covers, with the history:
// that was flushed before the recovery point moved.
func (r *recovery) checkEpoch(b batch.Batch) error {
	if r.file == nil || r.kafkas || b.LastOffset() >= r.o.recovery {
		return nil
	}
	if err := fitsEpochs(r.file, r.o.start, b); err != nil {
		return &DamagedError{Flushed: r.o.recovery, Good: b.BaseOffset(), Err: err}
	}
	return nil
}
