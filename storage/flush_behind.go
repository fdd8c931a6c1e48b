package storage

import (
	"cmp"
	"path"
	"slices"
	"sync/atomic"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// After a crash a log is read from its recovery point on. So that this never is more than a few seconds' work, the end of a
// log is flushed in the background when there is much behind the recovery point, whatever flush.messages and flush.ms say.
const (
	// behindBytes is how much is flushed as soon as the first of it is older than behindPause: a log that is written as fast as
	// the disk goes is flushed every few seconds, and not all the time, which would slow its appends down.
	behindBytes = 64 << 20
	behindPause = 3 * time.Second
	// behindAge is after what time less is flushed, too, if it is at least behindLeast: to read that costs more than the
	// flush does.
	behindAge   = time.Minute
	behindLeast = 1 << 20
	// behindAtOnce is how many logs are flushed by age in one round, of which there is one a second.
	behindAtOnce = 16
	// snapshotBytes is after how many bytes the producers' state is kept again, which is otherwise made from the headers of
	// the batches behind the last snapshot.
	snapshotBytes = 16 << 20
	// pointInterval is how often, at most, recovery points are written because logs were flushed.
	pointInterval = 5 * time.Second
)

// behind is what lies behind a log's recovery point.
type behind struct {
	bytes atomic.Int64 // appended since the last flush of the log's end
	since atomic.Int64 // when the first of them were, in nanoseconds since 1970

	// Snapshots that flushes have made, in order; guarded by Log.flushing. The recovery point in its file may be older than
	// the newest.
	snapshots []protocol.Offset
}

func (b *behind) appended(now time.Time, bytes int64) {
	if b.bytes.Add(bytes) == bytes {
		b.since.Store(now.UnixNano())
	}
}

// due says whether there is enough to be flushed for its age.
func (b *behind) due(now time.Time) bool {
	bytes, age := b.bytes.Load(), time.Duration(now.UnixNano()-b.since.Load())
	return bytes >= behindBytes && age >= behindPause || bytes >= behindLeast && age >= behindAge
}

// flushByAge asks for flushes of logs that have had much, or something for long, to flush: those with the most first.
func (s *Store) flushByAge(now time.Time) {
	var due []*Log
	for _, l := range s.logs() {
		if l.behind.due(now) {
			due = append(due, l)
		}
	}
	if len(due) > behindAtOnce {
		slices.SortFunc(due, func(a, b *Log) int {
			return cmp.Or(cmp.Compare(b.behind.bytes.Load(), a.behind.bytes.Load()), byPartition(a, b))
		})
		due = due[:behindAtOnce]
	}
	for _, l := range due {
		s.flushSoon(l, l.active().Next())
	}
}

// keepPoints writes the recovery points to their files after logs were flushed: only there do they help.
func (s *Store) keepPoints(now time.Time) {
	f := &s.background.flusher
	if !f.flushed || now.Sub(f.kept) < pointInterval {
		return
	}
	f.flushed, f.kept = false, now
	for _, d := range s.dirs {
		if err := d.write(s.fs, recoveryPointFile, func() offsets { return s.recoveryPoints(d) }); err != nil {
			s.logger.Warn("recovery points cannot be written", "dir", d.path, "err", err)
		}
	}
}

// settle makes durable where the log ended when it was opened after a crash, before anything is written there: a kill may
// have come between the cutting of a file and its sync, and then a second crash would bring back what was cut off, behind
// what is written now. mu is held, once in such a log's life.
func (l *Log) settle() error {
	if !l.w.unsettled {
		return nil
	}
	if err := l.active().SyncLog(); err != nil {
		return l.fail(err)
	}
	l.w.unsettled = false
	return nil
}

// snapshotBehind keeps the producers' state at the log's end, where enough has been appended since the last time; -1 where
// that is not so. mu is held.
func (l *Log) snapshotBehind() (protocol.Offset, error) {
	end := l.active().Next()
	if l.w.unsnapped < snapshotBytes || l.w.snapshot == end {
		return -1, nil
	}
	return end, l.writeSnapshot(end)
}

// dropSnapshots removes snapshots of earlier flushes that no recovery will use: there is a newer one that is not ahead of
// the recovery point as it is in its file. flushing is held. A file that stays is removed when the log is opened.
func (l *Log) dropSnapshots() {
	b := &l.behind
	point := l.keeper.keptRecoveryPoint(l)
	n, _ := slices.BinarySearch(b.snapshots, point+1) // so many are not ahead
	if n < 2 {
		return
	}
	for _, at := range b.snapshots[:n-1] {
		if segs := *l.segments.Load(); segs[holder(segs, at)].Base() == at {
			continue // of a segment's begin
		}
		_ = vfs.RemoveIfThere(l.files.FS(), path.Join(l.Dir(), segment.FileName(at, segment.SnapshotSuffix)))
	}
	b.snapshots = slices.Clone(b.snapshots[n-1:])
}

// keptRecoveryPoint implements keeper.
func (s *Store) keptRecoveryPoint(l *Log) protocol.Offset {
	d := s.folderOf(l)
	if d == nil {
		return 0
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.written[recoveryPointFile][l.tp]
}
