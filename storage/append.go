package storage

import (
	"errors"
	"math/rand/v2"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/journal"
	"moldau.io/moldau/storage/producers"
	"moldau.io/moldau/storage/segment"
)

// Appended is where batches went.
type Appended struct {
	Base         protocol.Offset // of the first record
	Last         protocol.Offset // of the last record
	MaxTimestamp int64           // the largest of the batches, in milliseconds
	LogStart     protocol.Offset

	// Duplicate says that the batch had been appended before: Base and Last are where, and nothing was written.
	Duplicate          bool
	DuplicateTimestamp int64 // the largest timestamp of the batch in the log, in milliseconds
	Rolled             bool  // a new segment was begun
}

// Append checks, stamps, writes, indexes and publishes bs, in this order: readers see nothing before it is written, and
// an error means that nothing was appended. It syncs only where flush.messages says so, and waits until the batches are
// durable only where the configuration says so; an error then may also mean that they are appended, but not durable, and
// the log is offline. The batches are the caller's, with offsets and leader epoch written into them.
//
// Errors that carry a protocol.Code are the client's: those of idempotence (OUT_OF_ORDER_SEQUENCE_NUMBER,
// INVALID_PRODUCER_EPOCH, INVALID_TXN_STATE) and RECORD_LIST_TOO_LARGE for a batch larger than a segment.
// KAFKA_STORAGE_ERROR says that the log is offline, or, as a *FullError, that only the reserve is left of its disk.
func (l *Log) Append(now time.Time, epoch protocol.Epoch, bs ...batch.Batch) (Appended, error) {
	a, err := l.Submit(now, epoch, bs...)
	if err == nil && l.AcksDurable() {
		err = l.Await(a.Last + 1)
	}
	return a, err
}

// append is Append without the flush, and says whether one is due. Where there is a journal the batches are queued there.
func (l *Log) append(now time.Time, epoch protocol.Epoch, bs []batch.Batch, j *journal.Journal) (_ Appended, due bool,
	_ error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return Appended{}, false, err
	}
	cfg := l.cfg.Load()
	if l.journalFor(cfg) != j {
		return Appended{}, false, errOtherJournal
	}
	verdict, size, err := l.check(cfg, bs)
	if err != nil {
		return Appended{}, false, err
	}
	if verdict.Duplicate {
		return Appended{
			Base:               verdict.Base,
			Last:               verdict.Last,
			MaxTimestamp:       verdict.Timestamp,
			LogStart:           protocol.Offset(l.start.Load()),
			Duplicate:          true,
			DuplicateTimestamp: verdict.Timestamp,
		}, false, nil
	}
	if err := l.keeper.admit(l, size, cfg.Internal || bs[0].IsControl()); err != nil {
		return Appended{}, false, err
	}
	if err := l.settle(); err != nil {
		return Appended{}, false, err
	}
	a := l.stamp(epoch, bs)
	if a.Rolled, err = l.makeRoom(now, cfg, size, a); err != nil {
		return Appended{}, false, err
	}
	if err := l.write(cfg, bs); err != nil {
		return Appended{}, false, err
	}
	l.w.touched = true
	l.assign(epoch, a.Base)
	l.applied(now, bs)
	due = l.countUnflushed(now, cfg, a, size)
	if j == nil {
		l.w.connected = false
		return a, due, nil
	}
	l.queue(j, a, bs)
	return a, false, nil
}

// check asks the producers' state about every batch, and adds up the sizes.
func (l *Log) check(cfg *Config, bs []batch.Batch) (producers.Verdict, int64, error) {
	if len(bs) == 0 {
		return producers.Verdict{}, 0, errors.New("append of no batch")
	}
	var size int64
	var prev batch.Batch
	for _, b := range bs {
		v, err := l.w.producers.Check(b, prev)
		if err != nil {
			return v, 0, err
		}
		if v.Duplicate {
			if len(bs) > 1 {
				return v, 0, protocol.Errorf(protocol.InvalidRecord, "one of %d batches is in the log already", len(bs))
			}
			return v, 0, nil
		}
		size += int64(len(b))
		prev = b
	}
	if size > cfg.SegmentBytes {
		return producers.Verdict{}, 0, protocol.Errorf(protocol.RecordListTooLarge,
			"%d bytes do not fit into a segment of %d bytes", size, cfg.SegmentBytes)
	}
	return producers.Verdict{}, size, nil
}

// stamp gives the batches their offsets.
func (l *Log) stamp(epoch protocol.Epoch, bs []batch.Batch) Appended {
	a := Appended{Base: l.active().Next(), MaxTimestamp: noTimestamp, LogStart: protocol.Offset(l.start.Load())}
	next := a.Base
	for _, b := range bs {
		b.Stamp(next, epoch)
		a.Last = b.LastOffset()
		a.MaxTimestamp = max(a.MaxTimestamp, b.MaxTimestamp())
		next = a.Last + 1
	}
	return a
}

// makeRoom begins a new segment where the batches do not fit the old one, or that is too old (LogSegment.shouldRoll).
func (l *Log) makeRoom(now time.Time, cfg *Config, size int64, a Appended) (bool, error) {
	s := l.active()
	full := s.Size()+size > cfg.SegmentBytes || !s.Fits(a.Last, cfg.IndexBytes)
	if s.Size() == 0 {
		if a.Last-s.Base() > segment.LargestRelative {
			return false, protocol.Errorf(protocol.RecordListTooLarge, "%d offsets in one append", a.Last-a.Base+1)
		}
		l.begun(now, cfg, a.MaxTimestamp)
		return false, nil
	}
	old, err := l.tooOld(now, cfg, a.MaxTimestamp)
	if err != nil || !full && !old {
		return false, err
	}
	if err := l.roll(s.Next()); err != nil { // not at the batch: a segment begins where the one before ended
		return false, err
	}
	l.begun(now, cfg, a.MaxTimestamp)
	return true, nil
}

// begun notes when the active segment gets its first batch.
func (l *Log) begun(now time.Time, cfg *Config, timestamp int64) {
	l.w.jitter = 0
	if j := min(cfg.SegmentJitter, cfg.rollAge()); j > 0 {
		l.w.jitter = rand.N(j)
	}
	l.w.firstTime, l.w.firstKnown = timestamp, true
	l.w.rollAt = now.Add(cfg.rollAge() - l.w.jitter)
}

// tooOld goes by the records' time: how far timestamp is after the segment's first batch. Without timestamps it goes by
// the clock.
func (l *Log) tooOld(now time.Time, cfg *Config, timestamp int64) (bool, error) {
	if !l.w.firstKnown { // the segment was there when the log was opened
		first, err := firstTimestamp(l.active())
		if err != nil {
			return false, l.storageError("read the first batch of a segment", err)
		}
		l.w.firstTime, l.w.firstKnown = first, true
	}
	if l.w.firstTime >= 0 && timestamp >= 0 {
		return timestamp-l.w.firstTime > (cfg.rollAge() - l.w.jitter).Milliseconds(), nil
	}
	return now.After(l.w.rollAt), nil
}

// firstTimestamp is that of a segment's first batch, noTimestamp where it is empty.
func firstTimestamp(s *segment.Segment) (int64, error) {
	first := noTimestamp
	err := s.Heads(0, func(head batch.Batch, _ segment.Place) bool {
		first = head.MaxTimestamp()
		return false
	})
	return first, err
}

func (l *Log) write(cfg *Config, bs []batch.Batch) error {
	data := []byte(bs[0])
	if len(bs) > 1 {
		data = l.w.scratch[:0]
		for _, b := range bs {
			data = append(data, b...)
		}
		l.w.scratch = data[:0]
	}
	return l.writeRaw(cfg, data, bs)
}

// writeRaw writes data, which is the batches bs.
func (l *Log) writeRaw(cfg *Config, data []byte, bs []batch.Batch) error {
	err := l.active().Write(data, bs, cfg.IndexInterval)
	if err == nil {
		return nil
	}
	if torn := (*segment.TornError)(nil); errors.As(err, &torn) {
		return l.fail(err)
	}
	return l.storageError("append to the log", err)
}

// applied updates the producers' state, and with it the open transactions.
func (l *Log) applied(now time.Time, bs []batch.Batch) {
	for _, b := range bs {
		ended, ok := l.w.producers.Apply(b, now)
		if ok && ended.Aborted {
			l.active().Abort(abortedOf(ended))
		}
		if ok {
			l.transactionEnded(ended)
		}
	}
	l.publishUnstable()
}

func abortedOf(e producers.Ended) segment.AbortedTxn {
	return segment.AbortedTxn{ProducerID: e.ProducerID, First: e.First, Last: e.Last, LastStable: e.LastStable}
}

func (l *Log) publishUnstable() {
	first, ok := l.w.producers.FirstOpen()
	if !ok {
		first = protocol.Offset(noUnstable)
	}
	l.unstable.Store(int64(first))
}

// countUnflushed says whether flush.messages asks for a flush before the append is answered. What flush.ms asks for
// happens in the background.
func (l *Log) countUnflushed(now time.Time, cfg *Config, a Appended, size int64) bool {
	l.w.unsnapped += size
	l.behind.appended(now, size)
	l.w.unflushed += int64(a.Last - a.Base + 1)
	due := l.w.unflushed >= cfg.FlushMessages
	if due || now.Sub(l.w.flushedAt) >= cfg.FlushInterval {
		l.w.unflushed, l.w.flushedAt = 0, now
		if !due {
			l.keeper.flushSoon(l, a.Last+1)
		}
	}
	return due
}
