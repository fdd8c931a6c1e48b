package storage

import (
	"fmt"
	"path"
	"slices"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/segment"
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
	l.start.Store(int64(start))
	if h, changed := l.epochs.Load().TruncateStart(start); changed {
		l.epochs.Store(&h)
		l.w.epochsDirty = true
	}
	return l.removeBelow(start)
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
	if err := l.keeper.keepStart(l); err != nil {
		return l.storageError("keep the start", err)
	}
	if err := l.keepNames(); err != nil { // for the segments that stay, of which the first one now begins the log
		return l.storageError("keep the names", err)
	}
	gone := segs[:n]
	rest := slices.Clone(segs[n:])
	l.segments.Store(&rest)
	return l.discard(gone)
}

// discard renames the files of segments that are no longer in the list, so that nobody takes them for the log's, and
// has them removed later. Those who read them meanwhile have them open.
func (l *Log) discard(segs []*segment.Segment) error {
	fsys := l.files.FS()
	var names []string
	for _, s := range segs {
		s.Drop()
		for _, name := range append(s.Names(), path.Join(l.Dir(), segment.FileName(s.Base(), segment.SnapshotSuffix))) {
			if _, err := fsys.Stat(name); err != nil {
				continue
			}
			if err := fsys.Rename(name, name+segment.DeletedSuffix); err != nil {
				return fmt.Errorf("rename %s: %w", name, err)
			}
			names = append(names, name+segment.DeletedSuffix)
		}
	}
	l.keeper.removeLater(names, l.cfg.Load().DeleteDelay)
	return nil
}
