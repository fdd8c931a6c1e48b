package storage

import (
	"errors"
	"fmt"
	"path"
	"slices"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/epoch"
	"moldau.io/moldau/storage/segment"
)

// What a segment's checks find when it is read, see segment.Segment.Sure, ends here: an index that lies is made anew, and
// damage takes the log offline.

// mend does about a failed read what can be done. nil says that reading again may succeed; an *OfflineError, that it
// will not.
func (l *Log) mend(err error) error {
	var index *segment.IndexError
	var damage *segment.DamageError
	switch {
	case errors.As(err, &index):
		return l.mendIndex(index)
	case errors.As(err, &damage):
		return l.confirm(damage.Segment)
	}
	l.keeper.trouble(l, err)
	return err
}

// mendIndex has a segment's indexes made anew.
func (l *Log) mendIndex(lie *segment.IndexError) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.readable(); err != nil {
		return err
	}
	segs := *l.segments.Load()
	if lie.Mended() || !slices.Contains(segs, lie.Segment) { // somebody else was faster
		return nil
	}
	l.logger.Warn("an index is made anew", "topic", l.tp.Topic, "partition", l.tp.Partition, "file", lie.Name,
		"reason", lie.Err)
	err := lie.Segment.Mend(l.cfg.Load().IndexInterval, lie.Segment != l.active())
	var damage *segment.DamageError
	var unkept *segment.UnkeptError
	switch {
	case errors.As(err, &unkept):
		l.logger.Warn("an index that was made anew is in memory only", "topic", l.tp.Topic, "partition", l.tp.Partition,
			"err", err)
		return nil
	case errors.As(err, &damage):
		return l.damaged(damage)
	}
	return err
}

// sureAges compares what the time indexes of the first n segments say with their records: nothing is deleted because an
// index lies about its age.
func (l *Log) sureAges(n int) error {
	for {
		segs := l.segments.Load()
		var err error
		for _, s := range (*segs)[:min(n, len(*segs))] {
			if _, err = s.SureMaxTimestamp(); err != nil {
				break
			}
		}
		if err == nil {
			return nil
		}
		if again, err := l.lookAgain(segs, err); !again {
			return err
		}
	}
}

// confirm reads again what seemed to be damaged while nobody writes: a reader may have seen a segment that was being cut.
func (l *Log) confirm(s *segment.Segment) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.readable(); err != nil {
		return err
	}
	if !slices.Contains(*l.segments.Load(), s) {
		return nil
	}
	err := s.CheckAll()
	if e := (*epochError)(nil); errors.As(err, &e) {
		if herr := l.mendEpochs(e); herr == nil {
			err = s.CheckAll()
		}
	}
	if damage := (*segment.DamageError)(nil); errors.As(err, &damage) {
		return l.damaged(damage)
	}
	return err
}

// readable says why the log cannot be read; mu is held.
func (l *Log) readable() error {
	if f := l.failure.Load(); f != nil {
		return f
	}
	if l.w.closed {
		return ErrClosed
	}
	return nil
}

// damaged takes the log offline: bytes that were durable are not what was written.
func (l *Log) damaged(d *segment.DamageError) error {
	good := d.Offset
	if good < 0 {
		good = d.Segment.Base()
	}
	return l.fail(&DamagedError{Flushed: protocol.Offset(l.synced.Load()), Good: good, Err: d})
}

// epochError says that a batch's leader epoch, which no checksum covers, is not the one that the history has for it.
type epochError struct {
	offset  protocol.Offset // the batch's first
	batch   protocol.Epoch
	history protocol.Epoch
}

func (e *epochError) Error() string {
	return fmt.Sprintf("the batch at offset %d has the leader epoch %d, %s says %d (if that file is wrong, delete it while "+
		"the broker is stopped: it is then made from the log)", e.offset, e.batch, epochFile, e.history)
}

// fits compares a batch with the leader epochs. Records from before there were epochs have -1.
func (l *Log) fits(head batch.Batch) error {
	h := l.epochs.Load()
	e := head.LeaderEpoch()
	if e == epoch.Unknown || h == nil {
		return nil
	}
	if want := h.At(head.LastOffset()); e != want && l.kept(head) {
		return &epochError{offset: head.BaseOffset(), batch: e, history: want}
	}
	return nil
}

// kept says that a batch has records that are not deleted. Epochs that ended before the log's start are forgotten. The
// start is looked at after the epochs: it is raised before they are cut.
func (l *Log) kept(head batch.Batch) bool { return int64(head.LastOffset()) >= l.start.Load() }

// mendEpochs finds out which of the two is wrong where a batch and the history of epochs disagree; mu is held. Epochs rise
// along a log, and the first batch of each one is where the history says that it begins. A damaged batch stands alone with
// what it says; a damaged history is at odds with a run of batches, or names an offset at which no batch begins. nil
// says that the history was wrong and has been made anew.
func (l *Log) mendEpochs(found *epochError) error {
	old := l.epochs.Load()
	var made epoch.History
	var at []protocol.Offset // where batches are at odds with the history; the first few
	begins := map[protocol.Offset]bool{}
	for _, e := range old.Entries() {
		begins[e.Start] = false
	}
	latest := protocol.Epoch(epoch.Unknown)
	var falls error
	for _, s := range *l.segments.Load() {
		err := s.Heads(0, func(head batch.Batch, _ segment.Place) bool {
			e, first := head.LeaderEpoch(), head.BaseOffset()
			if e == epoch.Unknown {
				return true
			}
			if e < latest {
				falls = fmt.Errorf("the leader epoch falls from %d to %d at offset %d", latest, e, first)
				return false
			}
			latest = e
			if _, ok := begins[first]; ok {
				begins[first] = true
			}
			if old.At(head.LastOffset()) != e && l.kept(head) && len(at) < 2 {
				at = append(at, first)
			}
			made, _ = made.Assign(e, first)
			return true
		})
		if err := errors.Join(err, falls); err != nil {
			return err
		}
	}
	if len(at) < 2 && !l.strayEntry(begins) {
		return found
	}
	made, _ = made.TruncateStart(protocol.Offset(l.start.Load()))
	l.logger.Warn("the leader epochs are taken from the log, their file is damaged", "topic", l.tp.Topic,
		"partition", l.tp.Partition, "file", path.Join(l.Dir(), epochFile), "reason", found)
	l.epochs.Store(&made)
	l.w.epochsDirty, l.w.touched = true, true
	l.keeper.flushSoon(l, l.active().Next())
	return nil
}

// strayEntry says that the history lets an epoch begin in the log where no batch begins.
func (l *Log) strayEntry(begins map[protocol.Offset]bool) bool {
	start, end := protocol.Offset(l.start.Load()), l.active().Next()
	for offset, is := range begins {
		if !is && offset > start && offset < end {
			return true
		}
	}
	return false
}
