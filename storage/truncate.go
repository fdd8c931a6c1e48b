package storage

import (
	"fmt"
	"path"
	"slices"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/epoch"
	"moldau.io/moldau/storage/producers"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// Truncate takes away every batch that holds to or lies behind it: a follower whose leader went on from there does so
// (KIP-101). The log then ends where its last batch does, at to or before it. Nothing that was cut off comes back once
// it has returned, whatever crashes. Where nothing would be left it is TruncateFully; where nothing lies behind to, only
// epochs that began there are forgotten.
//
// Who reads below to meanwhile is not disturbed. Who reads behind it, above the high watermark, gets what was there, an
// error, or what is written there next.
func (l *Log) Truncate(to protocol.Offset) error {
	// A flush that is under way would raise the recovery point again, and the journal bring back what is cut off.
	if err := l.lockToCut(); err != nil {
		return err
	}
	defer l.unlockCut()
	if err := l.usable(); err != nil {
		return err
	}
	start := protocol.Offset(l.start.Load())
	if to < start {
		return l.truncateFully(to)
	}
	segs := *l.segments.Load()
	i := holder(segs, to)
	cut, err := segs[i].PrepareCut(to)
	if err != nil {
		return l.storageError("truncate the log", err)
	}
	end := cut.Next()
	if end < start { // the start lies in a batch that has to go
		return l.truncateFully(start)
	}
	if cut.Empty() && i == len(segs)-1 {
		l.truncateEpochs(end)
		return l.keepCutEpochs()
	}
	state, snapshot, err := l.producersAt(segs[:i+1], end)
	if err == nil {
		err = l.lowerRecoveryPoint(end)
	}
	if err != nil {
		return l.storageError("truncate the log", err)
	}

	l.w.cuts++
	// From here on the log is shorter. Readers are told first, so that one that fails looks again; files go from the
	// last one on, so that a crash leaves no hole.
	kept, gone := slices.Clone(segs[:i+1]), segs[i+1:]
	cut.Publish()
	l.segments.Store(&kept)
	if l.hw.Load() > int64(end) {
		l.hw.Store(int64(end))
	}
	l.truncateEpochs(end)
	l.w.producers, l.w.snapshot = state, snapshot
	l.w.firstKnown, l.w.touched = false, true
	l.publishUnstable()
	l.dropEndedFrom(end)
	if err := l.removeNow(gone, end); err != nil {
		return l.fail(err)
	}
	if err := cut.Apply(); err != nil {
		return l.fail(err)
	}
	return l.keepCutEpochs()
}

// TruncateFully takes away everything and begins anew at start, which may lie anywhere: a follower does so whose leader
// has deleted what the follower would need next.
func (l *Log) TruncateFully(start protocol.Offset) error {
	if err := l.lockToCut(); err != nil {
		return err
	}
	defer l.unlockCut()
	if err := l.usable(); err != nil {
		return err
	}
	return l.truncateFully(start)
}

// truncateFully: a crash on the way leaves the beginning of the old log, or an empty one. A start that rises is durable
// before anything goes, one that falls after everything has: otherwise records below the old start could be back.
func (l *Log) truncateFully(start protocol.Offset) error {
	if start < 0 {
		return fmt.Errorf("a log cannot begin at offset %d", start)
	}
	return l.beginAnew(start, start)
}

// beginAnew is truncateFully with a first segment that may begin before the log does.
func (l *Log) beginAnew(base, start protocol.Offset) error {
	segs := *l.segments.Load()
	// To the very beginning: a crash may bring back the names of segments that were deleted before, and nothing else.
	if err := l.lowerRecoveryPoint(0); err != nil {
		return l.storageError("truncate the log", err)
	}
	before := l.start.Load()
	rises := int64(start) > before
	if rises {
		l.start.Store(int64(start))
		if err := l.keeper.keepStart(l); err != nil {
			l.start.Store(before)
			return l.storageError("truncate the log", err)
		}
	}
	l.w.cuts++
	if err := l.removeNow(segs, -1); err != nil {
		return l.fail(err)
	}
	l.epochs.Store(&epoch.History{})
	name := path.Join(l.Dir(), epochFile)
	err := vfs.WriteFile(l.files.FS(), name, l.epochs.Load().Encode())
	l.w.epochsDirty = err != nil // then the next flush writes it
	empty, err := segment.Create(l.files, l.Dir(), base)
	if err == nil {
		err = l.keepNames()
	}
	if err != nil {
		return l.fail(err)
	}
	l.segments.Store(&[]*segment.Segment{empty})
	l.start.Store(int64(start))
	l.synced.Store(int64(base))
	l.hw.Store(int64(start))
	l.w.producers, l.w.snapshot = producers.New(), -1
	l.w.producers.SetEnd(base)
	l.w.firstKnown, l.w.touched, l.w.unflushed = false, true, 0
	l.publishUnstable()
	l.dropEndedFrom(base)
	if rises {
		return nil
	}
	if err := l.keeper.keepStart(l); err != nil { // a crash may find an empty log at the old start
		return l.storageError("keep the start", err)
	}
	return nil
}

// lowerRecoveryPoint makes durable that nothing at to or behind it may be expected to be there. flushing is held.
func (l *Log) lowerRecoveryPoint(to protocol.Offset) error {
	if err := l.cut(to); err != nil {
		return err
	}
	if l.synced.Load() > int64(to) {
		l.synced.Store(int64(to))
	}
	return l.keeper.keepRecoveryPoint(l)
}

func (l *Log) truncateEpochs(end protocol.Offset) {
	if h, changed := l.epochs.Load().TruncateEnd(end); changed {
		l.epochs.Store(&h)
		l.w.epochsDirty = true
	}
}

// keepCutEpochs makes durable that epochs were cut off. What a follower gets next may begin behind a gap, and a recovery that
// found the old file would take it that an epoch which was cut off reaches up to there.
func (l *Log) keepCutEpochs() error {
	if !l.w.epochsDirty {
		return nil
	}
	err := l.keeper.keepStart(l) // as in keepEpochs
	if err == nil {
		err = vfs.WriteFile(l.files.FS(), path.Join(l.Dir(), epochFile), l.epochs.Load().Encode())
	}
	if err != nil {
		return l.storageError("truncate the log", err)
	}
	l.w.epochsDirty = false
	return nil
}

// removeNow removes segments from the last one on, and the snapshots of producers behind end: a later one at the same
// offset would be of other records. What it removed is durably gone when it returns.
func (l *Log) removeNow(gone []*segment.Segment, end protocol.Offset) error {
	fsys := l.files.FS()
	for i, s := range slices.Backward(gone) {
		if i == 0 && end < 0 && len(gone) > 1 { // a crash that took the first one's name only would leave the end of a log
			if err := fsys.SyncDir(l.Dir()); err != nil {
				return err
			}
		}
		for _, name := range s.Names() {
			if err := vfs.RemoveIfThere(fsys, name); err != nil {
				return err
			}
		}
		s.Drop()
	}
	snapshots, err := l.snapshots()
	if err != nil {
		return err
	}
	for _, at := range snapshots {
		if at <= end {
			continue
		}
		if err := vfs.RemoveIfThere(fsys, path.Join(l.Dir(), segment.FileName(at, segment.SnapshotSuffix))); err != nil {
			return err
		}
	}
	return fsys.SyncDir(l.Dir())
}

// snapshots are the offsets of the producer snapshots in the log's folder, in order.
func (l *Log) snapshots() ([]protocol.Offset, error) {
	entries, err := l.files.FS().List(l.Dir())
	var out []protocol.Offset
	for _, e := range entries {
		if at, suffix, ok := segment.ParseName(e.Name); ok && suffix == segment.SnapshotSuffix {
			out = append(out, at)
		}
	}
	return out, err
}

// producersAt is the producers' state as it was when the log ended at end, and the offset of the snapshot that it was
// made from, -1 where there was none: the newest snapshot that is not ahead, and the batches behind it.
func (l *Log) producersAt(segs []*segment.Segment, end protocol.Offset) (*producers.State, protocol.Offset, error) {
	snapshots, err := l.snapshots()
	if err != nil {
		return nil, 0, err
	}
	state, from := producers.New(), protocol.Offset(-1)
	state.SetEnd(segs[0].Base())
	for _, at := range slices.Backward(snapshots) {
		if at > end || at < segs[0].Base() {
			continue
		}
		b, err := vfs.ReadFile(l.files.FS(), path.Join(l.Dir(), segment.FileName(at, segment.SnapshotSuffix)), smallFileMax)
		if err != nil {
			return nil, 0, err
		}
		if loaded, err := producers.Load(b, at); err == nil { // a torn one is of no use
			state, from = loaded, at
			break
		}
	}
	// When they were used last is known from the state that is given up; those that it has forgotten are not needed.
	if err := replay(state, segs, end, time.UnixMilli(0)); err != nil {
		return nil, 0, err
	}
	state.TakeUse(l.w.producers)
	return state, from, nil
}

// replay applies the batches of segs that state does not know yet and that end before end.
func replay(state *producers.State, segs []*segment.Segment, end protocol.Offset, now time.Time) error {
	from := state.End()
	var buf []byte
	for _, s := range segs {
		if s.Next() <= from {
			continue
		}
		var inner error
		err := s.Heads(0, func(head batch.Batch, p segment.Place) bool {
			if head.LastOffset() >= end {
				return false
			}
			if head.LastOffset() < from || head.ProducerID() < 0 {
				return true
			}
			if buf, inner = s.ReadBatch(p, buf); inner != nil {
				return false
			}
			state.Apply(buf, now)
			return true
		})
		if inner != nil {
			return inner
		}
		if err != nil {
			return err
		}
	}
	state.SetEnd(end)
	return nil
}
