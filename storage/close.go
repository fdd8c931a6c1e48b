package storage

import (
	"errors"
	"fmt"
	"path"
	"sync"

	"moldau.io/moldau/storage/vfs"
)

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
	s.background.end()
	s.commit() // for those who still wait
	s.removeDue(false)
	errs, torn := s.closeLogs()
	if err := s.Checkpoint(nil); err != nil {
		s.unlock()
		return errors.Join(append(errs, err)...)
	}
	for _, d := range s.dirs {
		if torn[d.path] || d.offline() != nil {
			d.journal.Close() // what it has is needed when the folder is opened
			continue
		}
		errs = append(errs, d.journal.Remove())
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
	for _, l := range s.All() {
		if s.folderOf(l).offline() != nil {
			l.shut()
			continue
		}
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
				failed(path.Dir(l.Dir()), fmt.Errorf("close the log of %v: %w", l.tp, err))
			}
		}
	}
	forEach(s.o.CloseThreads, others, closing((*Log).close))
	if len(changed) <= syncEachMax {
		forEach(s.o.CloseThreads, changed, closing((*Log).close))
		return errs, torn
	}
	forEach(s.o.CloseThreads, changed, closing((*Log).closeUnsynced))
	for _, d := range s.online() {
		if err := s.fs.SyncAll(d.path); err != nil {
			failed(d.path, fmt.Errorf("sync %s: %w", d.path, err))
		}
	}
	for _, l := range changed {
		if torn[path.Dir(l.Dir())] {
			l.shut()
		} else {
			l.closedSynced()
		}
	}
	return errs, torn
}

// forEach calls do for several logs at a time.
func forEach(threads int, logs []*Log, do func(l *Log)) {
	var wg sync.WaitGroup
	next := make(chan *Log)
	for range min(threads, len(logs)) {
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
