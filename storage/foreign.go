package storage

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// What people put into a data folder, by mistake or on purpose, is never removed and never taken for a log.

// foreignNamed is how many foreign names one warning lists.
const foreignNamed = 10

// isOurs says that a name in a log's folder is one that a broker gives, this one or Kafka's.
func isOurs(name string) bool {
	for _, suffix := range []string{".tmp", segment.DeletedSuffix, segment.CleanedSuffix, segment.SwapSuffix} {
		name = strings.TrimSuffix(name, suffix)
	}
	if name == epochFile || name == partitionFile || strings.HasPrefix(name, "moldau.") || strings.HasPrefix(name, ".") {
		return true
	}
	_, suffix, ok := segment.ParseName(name)
	switch suffix {
	case segment.LogSuffix, segment.IndexSuffix, segment.TimeSuffix, segment.TxnSuffix, segment.SnapshotSuffix:
		return ok
	}
	return false
}

// misplaced is why an entry of a log's folder that has a broker's name cannot be a broker's file.
func misplaced(name string, e vfs.Entry, ours bool) error {
	switch {
	case !ours:
		return nil
	case e.Link:
		return fmt.Errorf("%s is a symbolic link; put the file itself there while the broker is stopped. "+
			"(The data folder as a whole may be a link.)", name)
	case e.Dir:
		return fmt.Errorf("%s is a folder where a file should be; move it away while the broker is stopped", name)
	}
	return nil
}

// notAFolder notes a name that should be a partition's folder and is a file, or a link to a folder: what a link leads to
// would be emptied when the partition is deleted.
func (s *Store) notAFolder(f found, e vfs.Entry) {
	err := fmt.Errorf("%s is a file where the partition's folder should be; move it away while the broker is stopped", f.path)
	if e.Link {
		err = fmt.Errorf("%s is a symbolic link; put the folder itself there while the broker is stopped, or make the data "+
			"folder the link", f.path)
	}
	s.logger.Error("log is offline", "topic", f.tp.Topic, "partition", f.tp.Partition, "dir", f.d.path, "err", err)
	f.d.health.logs.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.failed[f.tp] = &OfflineError{Partition: f.tp, Dir: f.path, Err: err}
}

// isLink says that a name in a data folder is a symbolic link.
func (s *Store) isLink(d *dataDir, name string) bool {
	entries, err := s.fs.List(d.path)
	return err == nil && slices.ContainsFunc(entries, func(e vfs.Entry) bool {
		return e.Link && path.Join(d.path, e.Name) == name
	})
}
