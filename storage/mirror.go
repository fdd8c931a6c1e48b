package storage

import (
	"errors"
	"fmt"
	"io"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/epoch"
	"moldau.io/moldau/storage/journal"
	"moldau.io/moldau/storage/segment"
)

// Mirror is a follower's append: raw is whole batches as they are in the leader's log, and so they are in this one, byte
// by byte. What remains of a batch at the end, where the leader's answer was cut, is left out. Batches that fit into one
// segment are one write; segments may begin elsewhere than the leader's.
//
// Everything is checked before anything is written: that the batches are whole and have their checksums, that offsets go
// on where the log ends, or behind that where compaction has left a gap, and that leader epochs do not go back. An error
// with CORRUPT_MESSAGE or INVALID_RECORD says that it is not so. Sequence numbers are not looked at: the leader has.
//
// With another error a part may have been appended: Bounds says what. Like Submit it does not wait until the batches are
// durable, where the configuration asks for that: until Await has said so the follower must not let the leader know that
// it has them.
func (l *Log) Mirror(now time.Time, raw []byte) (Appended, error) {
	bs, size, err := l.parse(raw)
	if err != nil {
		return Appended{}, err
	}
	if far := l.firstFar(bs); far >= 0 {
		return l.mirrorFar(now, raw[:size], bs, far)
	}
	for {
		a, err := l.submitMirror(now, raw[:size], bs, l.journalFor(l.cfg.Load()))
		var inside *beginsInsideError
		switch {
		case errors.As(err, &inside):
			if err := l.beginInside(inside.base); err != nil {
				return Appended{}, err
			}
		case err != errOtherJournal:
			return a, err
		}
	}
}

// firstFar is the first batch that ends too far behind where the log ends before it, to be in a segment that begins there; -1
// for none. Of a compacted log all early records may be gone.
func (l *Log) firstFar(bs []batch.Batch) int {
	end := l.active().Next()
	for i, b := range bs {
		if b.LastOffset()-end > segment.LargestRelative {
			return i
		}
		end = b.LastOffset() + 1
	}
	return -1
}

// mirrorFar is Mirror of batches of which the one at far needs a segment that begins with it.
func (l *Log) mirrorFar(now time.Time, raw []byte, bs []batch.Batch, far int) (Appended, error) {
	var before Appended
	n := bytesOf(bs[:far])
	if far > 0 {
		var err error
		if before, err = l.Mirror(now, raw[:n]); err != nil {
			return before, err
		}
	}
	if err := l.jump(bs[far].BaseOffset()); err != nil {
		return before, err
	}
	a, err := l.Mirror(now, raw[n:])
	if far > 0 {
		a.Base, a.MaxTimestamp = before.Base, max(a.MaxTimestamp, before.MaxTimestamp)
	}
	return a, err
}

// jump begins a segment at base, behind the log's end. Above the recovery point a segment that does not begin where the one
// before ends is taken for what a crash has left, so that the recovery point comes along, durably.
func (l *Log) jump(base protocol.Offset) error {
	err := func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if err := l.usable(); err != nil || l.active().Next() >= base {
			return err
		}
		l.w.firstKnown, l.w.touched = false, true
		return l.roll(base)
	}()
	if err == nil {
		err = l.flush(base)
	}
	if err != nil {
		return err
	}
	l.flushing.Lock()
	defer l.flushing.Unlock()
	if err := l.keeper.keepRecoveryPoint(l); err != nil {
		return l.storageError("keep the recovery point", err)
	}
	return nil
}

// parse splits raw into its batches, and says how long they are.
func (l *Log) parse(raw []byte) ([]batch.Batch, int, error) {
	var bs []batch.Batch
	size := 0
	for rest := raw; len(rest) > 0; {
		b, after, err := batch.Next(rest)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return nil, 0, fmt.Errorf("batch %d from the leader of %v: %w", len(bs), l.tp, err)
		}
		if !b.CheckCRC() {
			return nil, 0, protocol.Errorf(protocol.CorruptMessage, "batch %d from the leader of %v, at offset %d, has the "+
				"checksum %08x and says %08x", len(bs), l.tp, b.BaseOffset(), b.ComputeCRC(), b.CRC())
		}
		if n := len(bs); n > 0 {
			if err := l.inOrder(b, bs[n-1].LastOffset()+1, bs[n-1].LeaderEpoch()); err != nil {
				return nil, 0, err
			}
		}
		bs, size, rest = append(bs, b), size+len(b), after
	}
	if len(bs) == 0 {
		return nil, 0, protocol.Errorf(protocol.CorruptMessage, "the leader of %v sent %d bytes without a whole batch", l.tp,
			len(raw))
	}
	return bs, size, nil
}

// inOrder says whether b may come where the next offset is from, and newest the epoch so far.
func (l *Log) inOrder(b batch.Batch, from protocol.Offset, newest protocol.Epoch) error {
	if b.BaseOffset() < from || b.LastOffsetDelta() < 0 {
		return protocol.Errorf(protocol.InvalidRecord, "the leader of %v sent a batch with the offsets %d to %d for %d", l.tp,
			b.BaseOffset(), b.LastOffset(), from)
	}
	if b.LeaderEpoch() < newest {
		return protocol.Errorf(protocol.InvalidRecord, "the leader of %v sent a batch of epoch %d at offset %d after epoch %d",
			l.tp, b.LeaderEpoch(), b.BaseOffset(), newest)
	}
	return nil
}

// beginsInsideError says that an empty log begins inside of the first batch: the records before were deleted from the
// leader's log too, but not the batch.
type beginsInsideError struct{ base protocol.Offset }

func (e *beginsInsideError) Error() string {
	return fmt.Sprintf("the log begins inside of the batch at offset %d", e.base)
}

// beginInside replaces the empty segment at the log's start by one that begins at base, before it.
func (l *Log) beginInside(base protocol.Offset) error {
	if err := l.lockToCut(); err != nil {
		return err
	}
	defer l.unlockCut()
	if err := l.usable(); err != nil {
		return err
	}
	start := protocol.Offset(l.start.Load())
	if l.active().Next() != start { // it is not empty any more
		return nil
	}
	return l.beginAnew(base, start)
}

func (l *Log) submitMirror(now time.Time, raw []byte, bs []batch.Batch, j *journal.Journal) (Appended, error) {
	size := int64(len(raw))
	if j != nil {
		j.Admit(size) // outside of mu, which a flush needs that makes room
	}
	a, queued, due, err := l.mirror(now, raw, bs, j)
	if j != nil && !queued {
		j.Release(size)
	}
	if due && err == nil {
		err = l.flush(a.Last + 1) // outside of mu
	}
	return a, err
}

// mirror appends the batches, and says whether they were queued in the journal and whether a flush is due.
func (l *Log) mirror(now time.Time, raw []byte, bs []batch.Batch, j *journal.Journal) (a Appended, queued, due bool,
	_ error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return a, false, false, err
	}
	cfg := l.cfg.Load()
	if l.journalFor(cfg) != j {
		return a, false, false, errOtherJournal
	}
	end, first := l.active().Next(), bs[0]
	if first.BaseOffset() < end && end <= first.LastOffset() && end == protocol.Offset(l.start.Load()) {
		return a, false, false, &beginsInsideError{base: first.BaseOffset()}
	}
	if err := l.inOrder(first, end, l.epochs.Load().Latest()); err != nil {
		return a, false, false, err
	}
	if err := l.keeper.admit(l, int64(len(raw)), cfg.Internal || first.IsControl()); err != nil {
		return a, false, false, err
	}
	if err := l.settle(); err != nil {
		return a, false, false, err
	}
	done, err := l.mirrorAll(now, cfg, raw, bs)
	if done == 0 {
		return a, false, false, err
	}
	a = l.mirrored(bs[:done])
	due = l.countUnflushed(now, cfg, a, bytesOf(bs[:done]))
	if j == nil || err != nil {
		l.w.connected = false
		return a, false, due, err
	}
	// From where the log ended, also where there is a gap: the journal's entries go on from one another.
	l.queue(j, Appended{Base: end, Last: a.Last}, bs)
	return a, true, false, nil
}

// mirrorAll writes the batches, in as many segments as it takes, and says how many it has written.
func (l *Log) mirrorAll(now time.Time, cfg *Config, raw []byte, bs []batch.Batch) (int, error) {
	done := 0
	for done < len(bs) {
		one := l.mirrored(bs[done : done+1])
		if _, err := l.makeRoom(now, cfg, int64(len(bs[done])), one); err != nil {
			return done, err
		}
		run := l.fitting(cfg, bs[done:])
		size := bytesOf(run)
		if err := l.writeRaw(cfg, raw[:size], run); err != nil {
			return done, err
		}
		for _, b := range run {
			l.assign(b.LeaderEpoch(), l.epochStart(b))
		}
		l.w.touched = true
		l.applied(now, run)
		done, raw = done+len(run), raw[size:]
	}
	return done, nil
}

// epochStart is where an epoch begins that b is the first batch of. Epochs begin where the log does, also where its first
// batch comes later.
func (l *Log) epochStart(b batch.Batch) protocol.Offset {
	if l.epochs.Load().Latest() == epoch.Unknown {
		return protocol.Offset(l.start.Load())
	}
	return b.BaseOffset()
}

// fitting is as many of bs, the first one at least, as fit into the active segment.
func (l *Log) fitting(cfg *Config, bs []batch.Batch) []batch.Batch {
	s := l.active()
	size := s.Size() + int64(len(bs[0]))
	for i, b := range bs[1:] {
		if size += int64(len(b)); size > cfg.SegmentBytes || !s.Fits(b.LastOffset(), cfg.IndexBytes) {
			return bs[:i+1]
		}
	}
	return bs
}

// mirrored is where batches are that carry their offsets.
func (l *Log) mirrored(bs []batch.Batch) Appended {
	a := Appended{
		Base:         bs[0].BaseOffset(),
		Last:         bs[len(bs)-1].LastOffset(),
		MaxTimestamp: segment.NoTimestamp,
		LogStart:     protocol.Offset(l.start.Load()),
	}
	for _, b := range bs {
		a.MaxTimestamp = max(a.MaxTimestamp, b.MaxTimestamp())
	}
	return a
}
