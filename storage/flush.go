package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// roll ends the active segment and begins one at base. What has to be read again when the machine crashes, the
// producers' state at that offset, is written beside it. Nothing is synced here: a flush is asked for. l.mu is held.
func (l *Log) roll(base protocol.Offset) error {
	if l.w.lowered {
		if err := l.keeper.keepRecoveryPoint(l); err != nil {
			return l.storageError("keep the recovery point", err)
		}
		l.w.lowered = false
	}
	old := l.active()
	if err := old.Finish(); err != nil {
		return l.storageError("finish a segment", err)
	}
	if err := l.writeSnapshot(base); err != nil {
		return l.storageError("write a producer snapshot", err)
	}
	if !l.named.Load() {
		// Once in a log's life: were the second segment's name durable and the first one's not, a crash would leave a
		// log that begins in the middle, and nothing would show it.
		if err := l.keepNames(); err != nil {
			return l.storageError("keep the names", err)
		}
	}
	next, err := segment.Create(l.files, l.Dir(), base)
	if err != nil {
		return l.storageError("begin a segment", err)
	}
	grown := append(slices.Clone(*l.segments.Load()), next)
	l.segments.Store(&grown)
	old.Closed()
	l.keeper.flushSoon(l, base)
	return nil
}

func (l *Log) storageError(what string, err error) error {
	l.keeper.trouble(l, err)
	return fmt.Errorf("%s of %v: %w: %w", what, l.tp, protocol.KafkaStorageError, err)
}

// writeSnapshot keeps the producers' state at the log's end, in Kafka's file. A torn one is known by its checksum, so
// that it needs no renaming into place.
func (l *Log) writeSnapshot(at protocol.Offset) error {
	if l.w.snapshot == at {
		return nil
	}
	name := path.Join(l.Dir(), segment.FileName(at, segment.SnapshotSuffix))
	f, err := l.files.FS().Create(name)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(l.w.producers.Snapshot(), 0)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		l.w.snapshot, l.w.unsnapped = at, 0
	}
	return err
}

// Flush makes durable everything that is in the log now, and moves the recovery point there.
func (l *Log) Flush() error { return l.flush(l.active().Next()) }

// flush makes the log durable up to upTo at least. What is synced, in order: the segments' files, the snapshots, the
// epochs, then the folder, and only then does the recovery point move.
func (l *Log) flush(upTo protocol.Offset) error { return l.flushTo(upTo, false) }

// flushBehind is flush for nobody who waits: it also keeps the producers' state now and then.
func (l *Log) flushBehind(upTo protocol.Offset) error { return l.flushTo(upTo, true) }

func (l *Log) flushTo(upTo protocol.Offset, snapshot bool) error {
	l.flushing.Lock()
	defer l.flushing.Unlock()
	if f := l.failure.Load(); f != nil && !f.readDamage() {
		return f
	}
	from := protocol.Offset(l.synced.Load())
	if upTo <= from && !l.unkept() {
		return nil
	}
	segs, reached, at, err := l.toFlush(from, upTo, snapshot)
	if err != nil {
		return err
	}
	if err := l.syncFiles(segs, at); err != nil {
		return l.syncFailed(err)
	}
	// Nothing of the log is in doubt when this fails, as it does on a full disk: the next flush tries again.
	if err := l.keepEpochs(vfs.WriteFile); err != nil {
		if l.isClosed() {
			return ErrClosed
		}
		return l.storageError("keep the leader epochs", err)
	}
	if err := l.keepNames(); err != nil {
		return l.syncFailed(err)
	}
	if reached > from {
		l.synced.Store(int64(reached))
	}
	if at >= 0 {
		l.behind.snapshots = append(l.behind.snapshots, at)
	}
	if len(l.behind.snapshots) > 0 {
		l.dropSnapshots()
	}
	return nil
}

// syncFailed takes the log offline: after a failed sync nobody knows what is on the disk.
func (l *Log) syncFailed(err error) error {
	if l.isClosed() { // deleted meanwhile: the files are not where they were
		return ErrClosed
	}
	return l.fail(err)
}

// syncFiles makes durable what is in the segments' files and in their snapshots, and the snapshot of an offset where that
// is not -1.
func (l *Log) syncFiles(segs []*segment.Segment, snapshot protocol.Offset) error {
	for _, s := range segs {
		if err := s.Sync(); err != nil && !errors.Is(err, segment.ErrRemoved) {
			return err
		}
		if err := l.syncFile(path.Join(l.Dir(), segment.FileName(s.Base(), segment.SnapshotSuffix))); err != nil {
			return err
		}
	}
	if snapshot >= 0 {
		if err := l.syncFile(path.Join(l.Dir(), segment.FileName(snapshot, segment.SnapshotSuffix))); err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.closed
}

// keepNames makes the names of the log's files durable; the first time also the folder's own.
func (l *Log) keepNames() error {
	fsys := l.files.FS()
	if err := fsys.SyncDir(l.Dir()); err != nil {
		return fmt.Errorf("sync %s: %w", l.Dir(), err)
	}
	if l.named.Load() {
		return nil
	}
	if err := l.syncFile(path.Join(l.Dir(), partitionFile)); err != nil {
		return fmt.Errorf("sync %s of %s: %w", partitionFile, l.Dir(), err)
	}
	if err := fsys.SyncDir(path.Dir(l.Dir())); err != nil {
		return fmt.Errorf("sync %s: %w", path.Dir(l.Dir()), err)
	}
	l.named.Store(true)
	return nil
}

// dueByTime says whether flush.ms asks for a flush.
func (l *Log) dueByTime(now time.Time) bool {
	interval := l.cfg.Load().FlushInterval
	if interval == math.MaxInt64 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.w.closed || l.w.unflushed == 0 || now.Sub(l.w.flushedAt) < interval {
		return false
	}
	l.w.unflushed, l.w.flushedAt = 0, now
	return true
}

// unkept says that there is something to flush besides records.
func (l *Log) unkept() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.epochsDirty || l.w.sealed && l.w.touched
}

// toFlush picks the segments to sync and brings their indexes into their files. Where a snapshot is wanted, and one was
// made, it says for which offset, else -1.
func (l *Log) toFlush(from, upTo protocol.Offset, want bool) (_ []*segment.Segment, reached, snapshot protocol.Offset,
	_ error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.w.closed {
		return nil, 0, -1, ErrClosed
	}
	segs := *l.segments.Load()
	// A segment that ended at from was synced while it was written: its time index has got its last entry since.
	first, last := holder(segs, max(from-1, 0)), len(segs)-1
	if segs[last].Base() >= upTo {
		segs = segs[min(first, last):last]
		return segs, (*l.segments.Load())[last].Base(), -1, l.spill(segs)
	}
	reached = segs[last].Next()
	segs = segs[min(first, last+1) : last+1]
	if err := l.spill(segs); err != nil {
		return nil, 0, -1, err
	}
	l.behind.bytes.Store(0)
	snapshot = -1
	if want {
		var err error
		if snapshot, err = l.snapshotBehind(); err != nil {
			return nil, 0, -1, l.storageError("write a producer snapshot", err)
		}
	}
	return segs, reached, snapshot, nil
}

// spill brings the indexes into their files: nearly always that of the last segment only, but on a full disk those of
// others may have had to wait. l.mu is held.
func (l *Log) spill(segs []*segment.Segment) error {
	for _, s := range segs {
		if err := s.Spill(); err != nil {
			return l.storageError("write the index", err) // the entries stay in memory
		}
	}
	return nil
}

func (l *Log) syncFile(name string) error {
	f, err := l.files.FS().Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	err = f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// keepEpochs writes the leader-epoch history, by a function of vfs.
func (l *Log) keepEpochs(write func(vfs.FS, string, []byte) error) error {
	l.mu.Lock()
	h, dirty := *l.epochs.Load(), l.w.epochsDirty
	l.w.epochsDirty = false
	l.mu.Unlock()
	if !dirty {
		return nil
	}
	// The history begins at the log's start. Were it durable first, a crash would bring back records of no epoch.
	err := l.keeper.keepStart(l)
	if err == nil {
		err = write(l.files.FS(), path.Join(l.Dir(), epochFile), h.Encode())
	}
	if err != nil {
		l.mu.Lock()
		l.w.epochsDirty = true
		l.mu.Unlock()
	}
	return err
}

// changedSinceOpened says that closing the log has something to write.
func (l *Log) changedSinceOpened() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.touched || l.w.epochsDirty
}

// close ends the log: everything is durable, and the next opening needs to read nothing again.
func (l *Log) close() error {
	defer l.shut()
	if err := l.finish(); err != nil {
		return err
	}
	l.mu.Lock()
	end, touched := l.w.snapshot, l.w.touched
	l.mu.Unlock()
	if end >= 0 && touched {
		if err := l.syncFile(path.Join(l.Dir(), segment.FileName(end, segment.SnapshotSuffix))); err != nil {
			return err
		}
	}
	return l.Flush()
}

// closeUnsynced is close without a sync. The files must be synced by the caller, who then calls closedSynced.
func (l *Log) closeUnsynced() error {
	if err := l.finish(); err != nil {
		return err
	}
	return l.keepEpochs(vfs.WriteFileUnsynced)
}

// closedSynced ends what closeUnsynced began.
func (l *Log) closedSynced() {
	l.synced.Store(int64(l.active().Next()))
	l.shut()
}

// finish ends the writing.
func (l *Log) finish() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	// A log that is offline because old bytes are damaged is closed like others: what was written to it is in order.
	if err := l.usable(); err != nil && (l.w.sealed || l.w.closed || !l.failure.Load().readDamage()) {
		return err
	}
	l.w.sealed = true
	if err := l.settle(); err != nil {
		return err
	}
	if !l.w.touched && !l.w.epochsDirty {
		return nil
	}
	l.w.touched = true
	segs := *l.segments.Load()
	if err := l.spill(segs[holder(segs, max(protocol.Offset(l.synced.Load())-1, 0)):]); err != nil {
		return err
	}
	if err := l.active().Finish(); err != nil {
		return err
	}
	if l.w.producers.Len() == 0 && l.w.snapshot < 0 {
		return nil
	}
	return l.writeSnapshot(l.active().Next())
}

// shut lets go of the files. Slices that are out stay readable.
func (l *Log) shut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.w.closed = true
	for _, s := range *l.segments.Load() {
		s.Drop()
	}
}
