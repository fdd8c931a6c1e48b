package storage

import (
	"encoding/json"
	"path"

	"moldau.io/moldau/storage/vfs"
)

// readCleanMark reads what Close wrote, or Kafka.
func readCleanMark(fsys vfs.FS, name string) (clean bool, epoch int64) {
	if _, err := fsys.Stat(name); err != nil {
		return false, -1
	}
	var mark struct {
		BrokerEpoch *int64 `json:"brokerEpoch"`
	}
	b, err := vfs.ReadFile(fsys, name, 1<<10)
	if err != nil || json.Unmarshal(b, &mark) != nil || mark.BrokerEpoch == nil {
		return true, -1 // Kafka's were empty once
	}
	return true, *mark.BrokerEpoch
}

// cleanEpoch is the registration under which all folders were left in order, -1 where they were not. Until the broker is registered
// anew, an orderly end is still one of that registration: nothing has been written since.
func (s *Store) cleanEpoch() int64 {
	for _, d := range s.dirs {
		if d.cleanEpoch != s.dirs[0].cleanEpoch || len(s.lost) > 0 {
			return -1
		}
	}
	return s.dirs[0].cleanEpoch
}

// dropCleanMark removes the mark of an orderly end, durably: a crash from now on must not find it. Nothing that a log needs
// is changed before; and it stays where the folders are refused, so that the next start has nothing to read again. The folder
// is synced also where there is none: a process may have been killed before it came to that, and then a crash would bring
// back the mark, or a deleted partition in place of a new one of the same name.
func (d *dataDir) dropCleanMark(fsys vfs.FS) error {
	if d.clean {
		if err := fsys.Remove(path.Join(d.path, cleanFile)); err != nil {
			return err
		}
	}
	return fsys.SyncDir(d.path)
}

// SetBrokerEpoch says what is written into the mark of an orderly end, for the controller to see that this broker lost
// nothing (KIP-966).
func (s *Store) SetBrokerEpoch(e int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.brokerEpoch = e
}
