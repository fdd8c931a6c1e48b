package storage

import (
	"moldau.io/moldau/protocol"
)

// cleanerFile says for each log that was compacted the first offset that was not, in Kafka's format.
const cleanerFile = "cleaner-offset-checkpoint"

// cleanedTo notes that a log has been cleaned up to an offset, unless it was truncated meanwhile.
func (s *Store) cleanedTo(l *Log, end protocol.Offset, cuts int) error {
	l.mu.Lock()
	if l.w.cuts != cuts {
		l.mu.Unlock()
		return errGivenUp
	}
	l.cleaned.Store(int64(end))
	l.mu.Unlock()
	return s.keepCleaned(l)
}

// cut notes that records from to on are going away. What comes in their place has not been cleaned. l.mu is held.
func (l *Log) cut(to protocol.Offset) error {
	if l.cleaned.Load() <= int64(to) {
		return nil
	}
	l.cleaned.Store(int64(to))
	return l.keeper.keepCleaned(l)
}

// keepCleaned implements keeper.
func (s *Store) keepCleaned(l *Log) error {
	d := s.folderOf(l)
	if d == nil {
		return nil
	}
	return d.write(s.fs, cleanerFile, func() offsets { return s.cleanedOf(d) })
}

func (s *Store) cleanedOf(d *dataDir) offsets {
	o := s.offlineOf(d, cleanerFile)
	for _, l := range s.logs() {
		if at := l.cleaned.Load(); at > 0 && s.folderOf(l) == d {
			o[l.tp] = protocol.Offset(at)
		}
	}
	return o
}
