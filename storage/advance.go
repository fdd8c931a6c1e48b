package storage

import (
	"errors"
	"fmt"
	"path"
	"slices"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// Advance raises the log's start, which may lie inside of a batch: DeleteRecords. Segments that lie wholly below it are
// removed; the last one stays, however little of it is left. A start that is not above the present one changes nothing.
//
// The error carries OFFSET_OUT_OF_RANGE when start is above the log's end.
func (l *Log) Advance(start protocol.Offset) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	end := l.active().Next()
	if start > end {
		return protocol.Errorf(protocol.OffsetOutOfRange, "offset %d is above the log's end %d", start, end)
	}
	if int64(start) <= l.start.Load() {
		return nil
	}
	l.raiseStart(start)
	return l.removeBelow(start)
}

// raiseStart changes what readers see; no file. l.mu is held.
func (l *Log) raiseStart(start protocol.Offset) {
	if int64(start) <= l.start.Load() {
		return
	}
	l.start.Store(int64(start))
	if h, changed := l.epochs.Load().TruncateStart(start); changed {
		l.epochs.Store(&h)
		l.w.epochsDirty = true
	}
}

// removeBelow removes segments that end at start or before it. The new start is made durable first: were the files to
// go before it, a crash could bring some of them back and leave a hole.
func (l *Log) removeBelow(start protocol.Offset) error {
	segs := *l.segments.Load()
	n := 0
	for n < len(segs)-1 && segs[n+1].Base() <= start {
		n++
	}
	if n == 0 {
		return nil
	}
	err := l.keeper.keepStart(l)
	full := segment.NoSpace(err)
	if err != nil && !full {
		return l.storageError("keep the start", err)
	}
	if err := l.keepNames(); err != nil { // for the segments that stay, of which the first one now begins the log
		return l.storageError("keep the names", err)
	}
	gone := segs[:n]
	rest := slices.Clone(segs[n:])
	l.segments.Store(&rest)
	if full {
		return l.removeInOrder(gone)
	}
	return l.discard(gone)
}

// removeInOrder is for a disk that is too full to keep the start: the files go at once, and the oldest first, durably one
// after another, so that whatever a crash brings back has no hole.
func (l *Log) removeInOrder(gone []*segment.Segment) error {
	fsys := l.files.FS()
	var errs []error
	for _, s := range gone {
		s.Drop()
		for _, name := range append(s.Names(), path.Join(l.Dir(), segment.FileName(s.Base(), segment.SnapshotSuffix))) {
			errs = append(errs, vfs.RemoveIfThere(fsys, name))
		}
		if err := errors.Join(append(errs, fsys.SyncDir(l.Dir()))...); err != nil {
			return l.storageError("delete segments", err)
		}
	}
	return nil
}

// discard renames the files of segments that are no longer in the list, so that nobody takes them for the log's, and
// has them removed later. Those who read them meanwhile have them open.
func (l *Log) discard(segs []*segment.Segment) error {
	fsys := l.files.FS()
	var names []string
	var errs []error
	for _, s := range segs {
		s.Drop()
		for _, name := range append(s.Names(), path.Join(l.Dir(), segment.FileName(s.Base(), segment.SnapshotSuffix))) {
			if _, err := fsys.Stat(name); err != nil {
				continue
			}
			if err := fsys.Rename(name, name+segment.DeletedSuffix); err == nil {
				names = append(names, name+segment.DeletedSuffix)
			} else if rerr := vfs.RemoveIfThere(fsys, name); rerr != nil { // the next opening finds it below the start
				errs = append(errs, fmt.Errorf("delete %s: %w, %w", name, err, rerr))
			}
		}
	}
	l.keeper.removeLater(names, l.cfg.Load().DeleteDelay)
	return errors.Join(errs...)
}
