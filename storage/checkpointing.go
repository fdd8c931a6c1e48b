package storage

import (
	"errors"
	"maps"
	"path"
	"slices"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

// Checkpoint writes how far logs are durable and where they begin, and the high watermarks hw, where there are any.
// What has not changed is not written.
func (s *Store) Checkpoint(hw map[protocol.TopicPartition]protocol.Offset) error {
	var errs []error
	for _, d := range s.online() {
		err := s.checkpoint(d, hw)
		s.suspect(d, err)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (s *Store) checkpoint(d *dataDir, hw map[protocol.TopicPartition]protocol.Offset) error {
	var errs []error
	if hw != nil {
		errs = append(errs, d.write(s.fs, highWatermarkFile, func() offsets { return s.ofDir(d, hw) }))
	}
	errs = append(errs, d.write(s.fs, recoveryPointFile, func() offsets { return s.recoveryPoints(d) }))
	errs = append(errs, s.keepStarts(d, nil))
	errs = append(errs, d.write(s.fs, cleanerFile, func() offsets { return s.cleanedOf(d) }))
	return errors.Join(errs...)
}

// ofDir keeps the partitions whose log is in d.
func (s *Store) ofDir(d *dataDir, all map[protocol.TopicPartition]protocol.Offset) offsets {
	o := offsets{}
	for _, l := range s.logs() {
		at, ok := all[l.tp]
		if !ok && l.Failure() != nil { // the broker does not have it any more
			at, ok = l.HighWatermark(), true
		}
		if ok && path.Dir(l.Dir()) == d.path {
			o[l.tp] = at
		}
	}
	return o
}

// recoveryPoints are those of the open logs, and what was known of those that are offline.
func (s *Store) recoveryPoints(d *dataDir) offsets {
	o := s.offlineOf(d, recoveryPointFile)
	for _, l := range s.logs() {
		if path.Dir(l.Dir()) == d.path {
			o[l.tp] = protocol.Offset(l.synced.Load())
		}
	}
	return o
}

func (s *Store) offlineOf(d *dataDir, file string) offsets {
	o := offsets{}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for tp, f := range s.mu.failed {
		if at, ok := d.written[file][tp]; ok && path.Dir(f.Dir) == d.path {
			o[tp] = at
		}
	}
	return o
}

// keepStarts writes where logs begin. Kafka leaves those out that a segment's name says; here a removed segment may be
// back after a crash, and the name with it. must is in the file even when it is not in the store's list.
func (s *Store) keepStarts(d *dataDir, must *Log) error {
	return d.write(s.fs, logStartFile, func() offsets {
		o := s.offlineOf(d, logStartFile)
		logs := s.logs()
		if must != nil {
			logs = append(logs, must)
		}
		for _, l := range logs {
			start := protocol.Offset(l.start.Load())
			if path.Dir(l.Dir()) == d.path && start > 0 {
				o[l.tp] = start
			}
		}
		return o
	})
}

// write replaces a checkpoint, unless it says the same already. content is asked for under the folder's lock, so that
// of two writers the later one has the newer content.
func (d *dataDir) write(fsys vfs.FS, name string, content func() offsets) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	o := content()
	if o == nil {
		o = offsets{}
	}
	maps.Copy(o, d.arriving[name])
	if maps.Equal(o, d.written[name]) {
		return nil
	}
	return d.replace(fsys, name, o)
}

func (d *dataDir) replace(fsys vfs.FS, name string, o offsets) error {
	if err := vfs.WriteFile(fsys, path.Join(d.path, name), o.encode()); err != nil {
		return err
	}
	d.written[name] = o
	return nil
}

// forget removes from the checkpoints what they say of a former partition of that name: it would be taken for the new
// one's after a crash.
func (d *dataDir) forget(fsys vfs.FS, tp protocol.TopicPartition) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(d.written)) {
		o := d.written[name]
		if _, ok := o[tp]; !ok {
			continue
		}
		o = maps.Clone(o)
		delete(o, tp)
		if err := d.replace(fsys, name, o); err != nil {
			return err
		}
	}
	return nil
}

// keepStart implements keeper.
func (s *Store) keepStart(l *Log) error {
	d := s.folderOf(l)
	if d == nil || d.says(logStartFile, l.tp, protocol.Offset(l.start.Load())) {
		return nil // nearly always; to put the whole file together asks every log
	}
	return s.keepStarts(d, l)
}

// keepRecoveryPoint implements keeper.
func (s *Store) keepRecoveryPoint(l *Log) error {
	d := s.folderOf(l)
	if d == nil {
		return nil
	}
	return d.write(s.fs, recoveryPointFile, func() offsets { return s.recoveryPoints(d) })
}

// folderOf is the data folder that a log is in.
func (s *Store) folderOf(l *Log) *dataDir {
	for _, d := range s.dirs {
		if d.path == path.Dir(l.Dir()) {
			return d
		}
	}
	return nil
}

// says is whether a checkpoint, as it is on disk, has this offset for a partition; 0 may also be left out.
func (d *dataDir) says(name string, tp protocol.TopicPartition, at protocol.Offset) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.written[name][tp] == at
}
