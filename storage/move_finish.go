package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// movedFile lies in the folder of a log that was moved, until the folder that it came from is gone. It holds the
// directory.id of the data folder that the log came from. Of two folders of one partition, the one that names the other's
// data folder is the log: it was whole, and durable, before it got its name, and nothing was written to the other one
// afterwards.
const movedFile = "moldau.moved"

// finishMove lets writers wait, copies the rest, and has the log go on in the target. done is false when there is more
// left to copy than writers should wait for.
//
// What is durable, in order: the files of the copy and their names, the mark, the target's checkpoints; then the
// folder's final name, by which it becomes the log; then the old folder's new name; then the mark goes.
func (s *Store) finishMove(m *move) (done bool, err error) {
	s.changes.Lock()
	defer s.changes.Unlock()
	if err := m.wanted(s); err != nil {
		return false, err
	}
	l, from := m.l, s.dirAt(path.Dir(m.l.Dir()))
	if err := m.to.journal.Forget(l.name()); err != nil { // from when it was in that folder before
		return false, err
	}
	l.flushing.Lock()
	defer l.flushing.Unlock()
	if err := m.mark(s, from); err != nil {
		return false, err
	}
	old := l.Dir()
	if done, err = s.takeOver(m, from); !done || err != nil {
		return false, err
	}
	s.tell(l) // what was on its way in the old journal is durable too
	s.moves.forget(m)
	from.health.logs.Add(-1)
	m.to.health.logs.Add(1)
	s.leave(l, from, old)
	return true, nil
}

// mark writes what says that the copy is a log, and what its data folder must know of it.
func (m *move) mark(s *Store, from *dataDir) error {
	if err := m.writeSmall(s, movedFile, []byte(from.meta.DirectoryID)); err != nil {
		return err
	}
	if err := m.writeSmall(s, partitionFile, encodePartition(m.l.id)); err != nil {
		return err
	}
	return s.announce(m, from)
}

// announce writes the log's lines into the checkpoints of the target. They stay there while the log is not, whoever
// writes a checkpoint.
func (s *Store) announce(m *move, from *dataDir) error {
	tp, b := m.l.tp, m.l.Bounds()
	lines := map[string]protocol.Offset{recoveryPointFile: b.Synced, highWatermarkFile: m.l.HighWatermark()}
	if b.Start > 0 {
		lines[logStartFile] = b.Start
	}
	from.mu.Lock()
	for _, name := range slices.Sorted(maps.Keys(from.written)) {
		if _, have := lines[name]; !have && name != logStartFile {
			if at, ok := from.written[name][tp]; ok {
				lines[name] = at
			}
		}
	}
	from.mu.Unlock()
	m.to.mu.Lock()
	files := slices.Sorted(maps.Keys(m.to.written))
	m.to.mu.Unlock()
	for _, name := range files {
		at, ok := lines[name]
		if err := m.to.announce(s.fs, name, tp, at, ok); err != nil {
			return err
		}
	}
	return nil
}

// announce adds the line of a partition that is about to come. Without one, what an earlier move has left goes.
func (d *dataDir) announce(fsys vfs.FS, name string, tp protocol.TopicPartition, at protocol.Offset, ok bool) error {
	d.mu.Lock()
	if d.arriving[name] == nil {
		d.arriving[name] = offsets{}
	}
	if delete(d.arriving[name], tp); ok {
		d.arriving[name][tp] = at
	}
	d.mu.Unlock()
	return d.write(fsys, name, func() offsets {
		o := maps.Clone(d.written[name])
		delete(o, tp)
		return o
	})
}

// arrived forgets what was announced.
func (d *dataDir) arrived(tp protocol.TopicPartition) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, o := range d.arriving {
		delete(o, tp)
	}
}

// takeOver is the part for which writers wait. l.flushing and Store.changes are held.
func (s *Store) takeOver(m *move, from *dataDir) (done bool, err error) {
	l := m.l
	l.mu.Lock()
	defer l.mu.Unlock()
	defer m.to.arrived(l.tp)
	p, err := m.plan()
	if errors.Is(err, errCut) {
		left, err := m.again(s)
		return left < 0, err
	}
	if err != nil || p.left > m.hold {
		return false, err
	}
	if err := m.bring(s, p, func(int64) error { return nil }); err != nil {
		return false, err
	}
	if err := m.writeSmall(s, epochFile, l.epochs.Load().Encode()); err != nil {
		return false, err
	}
	if err := s.fs.SyncDir(m.folder); err != nil {
		return false, err
	}
	if err := s.announce(m, from); err != nil { // the start may have moved
		return false, err
	}
	final := path.Join(m.to.path, l.tp.String())
	if err := s.rename(m, final); err != nil {
		return false, err
	}
	before := *l.segments.Load()
	after := make([]*segment.Segment, len(before))
	for i, seg := range before {
		after[i] = seg.In(final)
	}
	l.leaveJournal()
	l.journal.Store(m.to.journal)
	l.folder.Store(&final)
	l.segments.Store(&after)
	l.synced.Store(int64(l.active().Next()))
	l.w.epochsDirty = false
	l.w.touched = true
	l.named.Store(true)
	for _, seg := range before {
		seg.Drop()
	}
	return true, nil
}

// rename gives the copy its final name. Where it cannot be known whether the disk has that name, the log goes offline:
// the next start takes the copy for the log if it is there, and nothing may have been written to the other one since.
func (s *Store) rename(m *move, final string) error {
	if _, err := s.fs.Stat(final); err == nil {
		return fmt.Errorf("%s is there already: move it away", final)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := s.fs.Rename(m.folder, final)
	if err == nil {
		err = s.fs.SyncDir(m.to.path)
	}
	if err == nil {
		return nil
	}
	return m.l.fail(fmt.Errorf("its move to %s may have reached the disk or not: %w", final, err))
}

// leave has the folder removed that a log was in. It is not the log any more; what goes wrong costs space only, until the
// next start sees the mark.
func (s *Store) leave(l *Log, from *dataDir, old string) {
	gone := path.Join(from.path, deletedDir(l.tp, s.o.NewID()))
	err := s.fs.Rename(old, gone)
	if err == nil {
		err = s.fs.SyncDir(from.path)
	}
	if err != nil {
		s.logger.Warn("the folder that a log was moved from cannot be removed, the next start tries again", "dir", old,
			"err", err)
		return
	}
	s.background.removal.add(true, s.o.Now().Add(l.Config().DeleteDelay), gone)
	if err := vfs.RemoveIfThere(s.fs, path.Join(l.Dir(), movedFile)); err != nil {
		s.logger.Warn("the mark of a move cannot be removed", "dir", l.Dir(), "err", err)
	}
}
