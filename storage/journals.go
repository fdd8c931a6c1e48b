package storage

import (
	"errors"
	"fmt"
	"hash/fnv"
	"path"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/journal"
)

const (
	// journalDir holds a data folder's journal while a broker runs. Kafka refuses to start on a folder that has it, as its
	// name is no partition's: without what it holds, acknowledged records would be missing.
	journalDir = "moldau.journal"
	// rescueFile is in the folder of a log that is offline: what the journal had of it.
	rescueFile = "moldau.rescued"
)

// openJournal reads what a former run has left of the folder's journal, and begins a new one, which has no files yet.
func (s *Store) openJournal(d *dataDir) error {
	dir := path.Join(d.path, journalDir)
	found, err := journal.Find(s.fs, dir, s.o.ClusterID, d.meta.DirectoryID)
	if foreign := (*journal.ForeignError)(nil); errors.As(err, &foreign) {
		return &UnusableError{
			Path: foreign.Name, What: "is not this folder's journal", Err: foreign.Err,
			Do: "Put back the file that was there; or move it away, and what was acknowledged and is only in it is lost.",
		}
	}
	if err != nil {
		return &UnusableError{Path: dir, What: "cannot be read", Do: "Check the disk and the folder's rights.", Err: err}
	}
	for _, what := range found.Damage {
		s.logger.Error("the journal is damaged", "dir", dir, "what", what)
	}
	d.found = found
	d.journal = journal.New(journal.Config{
		FS: s.fs, Dir: dir, Cluster: s.o.ClusterID, Folder: d.meta.DirectoryID,
		ID: journalID(s.o.NewID()), FileBytes: s.o.Journal.FileBytes, Files: s.o.Journal.Files,
		DirectBytes: s.o.Journal.DirectBytes,
		Threads:     s.o.CloseThreads, Logger: s.logger, Now: s.o.Now,
		Broken: func(err error) { s.journalBroken(d, err) },
	})
	return nil
}

// journalBroken takes the logs offline that count on a journal which cannot be written any more: the disk has lost
// something that it had taken. Logs that count on the page cache go on, until their own files fail.
func (s *Store) journalBroken(d *dataDir, err error) {
	for _, l := range s.logs() {
		if path.Dir(l.Dir()) == d.path && l.AcksDurable() {
			_ = l.fail(fmt.Errorf("the journal of %s is broken: %w", d.path, err))
			s.tell(l)
		}
	}
}

// replays is what the journal, and before it the rescue file, have of a partition that is opened.
func (s *Store) replays(f found, id protocol.TopicID) (from []source, rescued bool, err error) {
	name := journal.Name{ID: id, Partition: f.tp}
	kept, err := journal.FindRescued(s.fs, path.Join(f.path, rescueFile), s.o.ClusterID)
	if err != nil {
		return nil, false, fmt.Errorf("what was kept of the journal: %w; remove the file to go on without it", err)
	}
	for _, found := range []*journal.Found{kept, f.d.found} {
		if entries := found.Entries[name]; len(entries) > 0 {
			from = append(from, source{found: found, entries: entries})
		}
	}
	return from, !kept.Empty(), nil
}

// source is entries of one log.
type source struct {
	found   *journal.Found
	entries []journal.Entry
}

// endJournals makes what was replayed durable in the logs' own files, and then removes what former runs have left of their
// journals. It comes before anything is appended.
func (s *Store) endJournals() error {
	for _, d := range s.dirs {
		if d.found.Empty() && len(d.replayed) == 0 {
			continue
		}
		err := s.endJournal(d)
		if err != nil && DiskFailed(err) && len(s.dirs) > 1 {
			// Its logs are offline until the next start, which finds the journal as it was left.
			s.takeOffline(d, &DirError{Dir: d.path, Op: "end the journal in", Err: err})
			continue
		}
		if err != nil {
			return &UnusableError{Path: d.journal.Dir(), What: "cannot be brought to its end", Err: err,
				Do: "Check disk and rights; nothing of it is lost."}
		}
	}
	return nil
}

func (s *Store) endJournal(d *dataDir) error {
	var flush []*Log
	kept, gone := 0, 0
	for _, name := range d.found.Names() {
		entries := d.found.Entries[name]
		l, ok := s.Log(name.Partition)
		switch {
		case ok && path.Dir(l.Dir()) == d.path && l.id == name.ID:
			flush = append(flush, l)
		case s.offlineIn(d, name):
			kept++
			file := path.Join(d.path, name.Partition.String(), rescueFile)
			if err := d.found.Rescue(name, entries, file, s.o.ClusterID); err != nil {
				return err
			}
		default:
			gone++ // deleted since
		}
	}
	for _, l := range d.replayed { // from their rescue files
		if _, twice := d.found.Entries[l.name()]; !twice {
			flush = append(flush, l)
		}
	}
	var failed error
	forEach(s.o.CloseThreads, flush, func(l *Log) {
		if err := l.Flush(); err != nil {
			s.logger.Error("flush", "topic", l.tp.Topic, "partition", l.tp.Partition, "err", err)
		}
	})
	for _, l := range flush {
		if err := l.Failure(); err != nil { // it is offline, but in its folder; what it needs stays with it
			file := path.Join(l.Dir(), rescueFile)
			failed = errors.Join(failed, d.found.Rescue(l.name(), d.found.Entries[l.name()], file, s.o.ClusterID))
			continue
		}
		failed = errors.Join(failed, s.dropRescued(l))
	}
	if failed != nil {
		return failed
	}
	s.logger.Info("the journal was replayed", "dir", d.path, "logs", len(flush), "offline", kept, "deleted", gone)
	d.replayed = nil
	return d.found.Remove()
}

// offlineIn says whether the partition's log is in the folder and could not be opened.
func (s *Store) offlineIn(d *dataDir, name journal.Name) bool {
	s.mu.RLock()
	f := s.mu.failed[name.Partition]
	s.mu.RUnlock()
	if f == nil || path.Dir(f.Dir) != d.path {
		return false
	}
	id, err := s.readPartition(f.Dir)
	return err != nil || id.IsZero() || id == name.ID
}

// dropRescued removes a log's rescue file, whose entries have been flushed.
func (s *Store) dropRescued(l *Log) error {
	name := path.Join(l.Dir(), rescueFile)
	if _, err := s.fs.Stat(name); err != nil {
		return nil
	}
	if err := s.fs.Remove(name); err != nil {
		return err
	}
	return s.fs.SyncDir(l.Dir())
}

// JournalCounts are what the journals of all folders have done.
func (s *Store) JournalCounts() (c journal.Counts, replayed uint64) {
	for _, d := range s.dirs {
		c.Add(d.journal.Counts())
	}
	return c, s.replayedBatches.Load()
}

// journalID makes a number of an id.
func journalID(id string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id))
	return h.Sum64()
}

// commit makes durable what was queued, and tells who waits for it.
func (s *Store) commit() {
	for _, d := range s.dirs {
		d.journal.Commit()
	}
	s.tellAll()
}
