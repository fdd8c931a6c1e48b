package storage

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"sync"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

// background is the work of a store that nobody waits for: flushing, checkpoints, removing files.
type background struct {
	wg   sync.WaitGroup
	stop chan struct{}
	wake chan struct{} // holds at most one token

	mu      sync.Mutex
	flushes map[*Log]protocol.Offset
	removal []removal
}

// removal is a file or folder that is to go.
type removal struct {
	name string
	dir  bool
	due  time.Time
}

// tickInterval is how often due work is looked for, when nothing wakes the background.
const tickInterval = time.Second

func (b *background) init() {
	b.stop = make(chan struct{})
	b.wake = make(chan struct{}, 1)
	b.flushes = map[*Log]protocol.Offset{}
}

func (b *background) start(s *Store) {
	b.wg.Go(func() { s.keepHouse() })
}

func (b *background) nudge() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *background) removeDir(name string, due time.Time) {
	b.mu.Lock()
	b.removal = append(b.removal, removal{name: name, dir: true, due: due})
	b.mu.Unlock()
	b.nudge()
}

// flushSoon implements keeper.
func (s *Store) flushSoon(l *Log, upTo protocol.Offset) {
	b := &s.background
	b.mu.Lock()
	b.flushes[l] = max(b.flushes[l], upTo)
	b.mu.Unlock()
	b.nudge()
}

// removeLater implements keeper.
func (s *Store) removeLater(names []string, delay time.Duration) {
	b := &s.background
	due := s.o.Now().Add(delay)
	b.mu.Lock()
	for _, name := range names {
		b.removal = append(b.removal, removal{name: name, due: due})
	}
	b.mu.Unlock()
	b.nudge()
}

// keepStart implements keeper.
func (s *Store) keepStart(l *Log) error {
	for _, d := range s.dirs {
		if d.path == path.Dir(l.dir) {
			return s.keepStarts(d, l)
		}
	}
	return nil
}

// keepHouse runs until stop is closed.
func (s *Store) keepHouse() {
	b := &s.background
	ticker := time.NewTicker(tickInterval)
	defer ticker.Stop()
	checkpointed, expired := s.o.Now(), s.o.Now()
	for {
		select {
		case <-b.stop:
			return
		case <-b.wake:
		case <-ticker.C:
		}
		s.flushPending()
		s.removeDue(false)
		now := s.o.Now()
		if now.Sub(checkpointed) >= s.o.CheckpointInterval {
			checkpointed = now
			if err := s.Checkpoint(nil); err != nil {
				s.logger.Warn("checkpoints cannot be written", "err", err)
			}
		}
		if now.Sub(expired) >= s.o.ExpiryInterval {
			expired = now
			for _, l := range s.logs() {
				l.ExpireProducers(now)
			}
		}
		s.flushByTime(now)
	}
}

// flushPending flushes what has been asked for. A log that fails says so itself.
func (s *Store) flushPending() {
	b := &s.background
	b.mu.Lock()
	todo := b.flushes
	b.flushes = map[*Log]protocol.Offset{}
	b.mu.Unlock()
	for l, upTo := range todo {
		if err := l.flush(upTo); err != nil && !errors.Is(err, ErrClosed) {
			s.logger.Error("flush", "topic", l.tp.Topic, "partition", l.tp.Partition, "err", err)
		}
	}
}

// flushByTime asks for flushes of logs that flush.ms makes due and nobody appends to.
func (s *Store) flushByTime(now time.Time) {
	for _, l := range s.logs() {
		if l.dueByTime(now) {
			s.flushSoon(l, l.active().Next())
		}
	}
}

// removeDue removes files whose time has come, or all.
func (s *Store) removeDue(all bool) {
	b := &s.background
	now := s.o.Now()
	b.mu.Lock()
	var due, later []removal
	for _, r := range b.removal {
		if all || !r.due.After(now) {
			due = append(due, r)
		} else {
			later = append(later, r)
		}
	}
	b.removal = later
	b.mu.Unlock()
	for _, r := range due {
		remove := vfs.RemoveIfThere
		if r.dir {
			remove = vfs.RemoveAll
		}
		if err := remove(s.fs, r.name); err != nil {
			s.logger.Warn("a deleted file cannot be removed", "name", r.name, "err", err)
		}
	}
}

// Checkpoint writes how far logs are durable and where they begin, and the high watermarks hw, where there are any.
// What has not changed is not written.
func (s *Store) Checkpoint(hw map[protocol.TopicPartition]protocol.Offset) error {
	var errs []error
	for _, d := range s.dirs {
		if hw != nil {
			errs = append(errs, d.write(s.fs, highWatermarkFile, func() offsets { return s.ofDir(d, hw) }))
		}
		errs = append(errs, d.write(s.fs, recoveryPointFile, func() offsets { return s.recoveryPoints(d) }))
		errs = append(errs, s.keepStarts(d, nil))
	}
	return errors.Join(errs...)
}

// ofDir keeps the partitions whose log is in d.
func (s *Store) ofDir(d *dataDir, all map[protocol.TopicPartition]protocol.Offset) offsets {
	o := offsets{}
	for _, l := range s.logs() {
		if at, ok := all[l.tp]; ok && path.Dir(l.dir) == d.path {
			o[l.tp] = at
		}
	}
	return o
}

// recoveryPoints are those of the open logs, and what was known of those that are offline.
func (s *Store) recoveryPoints(d *dataDir) offsets {
	o := s.offlineOf(d, recoveryPointFile)
	for _, l := range s.logs() {
		if path.Dir(l.dir) == d.path {
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
			if path.Dir(l.dir) == d.path && start > 0 {
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
	for name, o := range d.written {
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

// closeThreads is how many logs are flushed at a time when the store is closed: syncs wait for the disk, not for
// processors.
const closeThreads = 16

// Close flushes and closes every log, writes the checkpoints, and marks each folder as left in order, unless one of its
// logs could not be flushed. The folders are free afterwards.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.mu.closed {
		s.mu.Unlock()
		return nil
	}
	s.mu.closed = true
	brokerEpoch := s.mu.brokerEpoch
	s.mu.Unlock()
	close(s.background.stop)
	s.background.wg.Wait()
	s.removeDue(false)
	errs, torn := s.closeLogs()
	if err := s.Checkpoint(nil); err != nil {
		s.unlock()
		return errors.Join(append(errs, err)...)
	}
	for _, d := range s.dirs {
		if torn[d.path] {
			continue
		}
		mark := fmt.Appendf(nil, `{"version":0,"brokerEpoch":%d}`, brokerEpoch)
		errs = append(errs, vfs.WriteFile(s.fs, path.Join(d.path, cleanFile), mark))
	}
	s.unlock()
	return errors.Join(errs...)
}

// syncEachMax is up to how many changed logs are synced one by one when the store is closed. More are synced all at
// once.
const syncEachMax = 64

// closeLogs says which folders hold logs that could not be closed.
func (s *Store) closeLogs() (errs []error, torn map[string]bool) {
	var changed, others []*Log
	for _, l := range s.logs() {
		if l.Failure() == nil && l.changedSinceOpened() {
			changed = append(changed, l)
		} else {
			others = append(others, l)
		}
	}
	torn = map[string]bool{}
	var mu sync.Mutex
	failed := func(dir string, err error) {
		mu.Lock()
		defer mu.Unlock()
		torn[dir] = true
		errs = append(errs, err)
	}
	closing := func(do func(l *Log) error) func(l *Log) {
		return func(l *Log) {
			if err := do(l); err != nil {
				failed(path.Dir(l.dir), fmt.Errorf("close the log of %v: %w", l.tp, err))
			}
		}
	}
	forEach(others, closing((*Log).close))
	if len(changed) <= syncEachMax {
		forEach(changed, closing((*Log).close))
		return errs, torn
	}
	forEach(changed, closing((*Log).closeUnsynced))
	for _, d := range s.dirs {
		if err := s.fs.SyncAll(d.path); err != nil {
			failed(d.path, fmt.Errorf("sync %s: %w", d.path, err))
		}
	}
	for _, l := range changed {
		if torn[path.Dir(l.dir)] {
			l.shut()
		} else {
			l.closedSynced()
		}
	}
	return errs, torn
}

// forEach calls do for several logs at a time.
func forEach(logs []*Log, do func(l *Log)) {
	var wg sync.WaitGroup
	next := make(chan *Log)
	for range min(closeThreads, len(logs)) {
		wg.Go(func() {
			for l := range next {
				do(l)
			}
		})
	}
	for _, l := range logs {
		next <- l
	}
	close(next)
	wg.Wait()
}
