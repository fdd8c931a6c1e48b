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
		return l.confirm(damage.Segment, damage.Segment.CheckAll)
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
func (l *Log) confirm(s *segment.Segment, check func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.readable(); err != nil {
		return err
	}
	if !slices.Contains(*l.segments.Load(), s) {
		return nil
	}
	err := check()
	if e := (*epochError)(nil); errors.As(err, &e) {
		if herr := l.mendEpochs(e); herr == nil {
			err = check()
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

// fits compares a batch with the leader epochs.
func (l *Log) fits(head batch.Batch) error {
	if h := l.epochs.Load(); h != nil {
		// The start is looked at after the epochs: it is raised before they are cut.
		return fitsEpochs(h, protocol.Offset(l.start.Load()), head)
	}
	return nil
}

// fitsEpochs says whether a batch lies within its leader's epoch. Epochs that ended before the log's start are forgotten,
// and records from before there were epochs have -1.
func fitsEpochs(h *epoch.History, start protocol.Offset, head batch.Batch) error {
	e, last := head.LeaderEpoch(), head.LastOffset()
	if e == epoch.Unknown || last < start {
		return nil
	}
	for _, offset := range [...]protocol.Offset{max(head.BaseOffset(), start), last} {
		if want := h.At(offset); e != want {
			return &epochError{offset: head.BaseOffset(), batch: e, history: want}
		}
	}
	return nil
}

// sureEpochs compares the history's entries, which no checksum covers, with the batches around them. That is done once,
// when the history is first asked.
func (l *Log) sureEpochs() error {
	if l.epochsSure.Load() {
		return nil
	}
	for {
		if f := l.failure.Load(); f != nil {
			return f
		}
		segs := l.segments.Load()
		err := l.findEpochs(*segs)
		if err == nil {
			l.epochsSure.Store(true)
			return nil
		}
		if again, err := l.lookAgain(segs, err); !again {
			return err
		}
	}
}

// findEpochs finds the batches on both sides of where each epoch begins. To find one is to check it.
func (l *Log) findEpochs(segs []*segment.Segment) error {
	start := protocol.Offset(l.start.Load())
	for _, e := range l.epochs.Load().Entries() {
		for _, offset := range [...]protocol.Offset{e.Start - 1, e.Start} {
			if offset < start {
				continue
			}
			for i := holder(segs, offset); i < len(segs); i++ {
				_, ok, err := segs[i].Find(offset)
				if err != nil {
					return err
				}
				if ok {
					break
				}
			}
		}
	}
	return nil
}

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
			if len(at) < 2 && fitsEpochs(old, protocol.Offset(l.start.Load()), head) != nil {
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
