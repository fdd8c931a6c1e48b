package storage

import (
	"errors"
	"io/fs"
	"path"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

// future is a folder of a move that had not come to its end when the broker did.
type future struct {
	d    *dataDir
	tp   protocol.TopicPartition
	path string
}

// settle decides between two folders of one partition. A crash at the end of a move leaves two, and the mark in one says
// that it is the log. winner is nil where there is no such mark.
func (s *Store) settle(a, b found) (winner *found, err error) {
	loser := b
	switch newer, err := s.cameFrom(a, b.d); {
	case err != nil:
		return nil, err
	case newer:
		winner = &a
	default:
		if newer, err = s.cameFrom(b, a.d); err != nil || !newer {
			return nil, err
		}
		winner, loser = &b, a
	}
	gone := path.Join(loser.d.path, deletedDir(loser.tp, s.o.NewID()))
	if err := s.fs.Rename(loser.path, gone); err != nil {
		return nil, err
	}
	if err := s.fs.SyncDir(loser.d.path); err != nil {
		return nil, err
	}
	s.background.removal.add(true, s.o.Now(), gone)
	s.logger.Info("a move that a crash had interrupted at its end is completed", "topic", winner.tp.Topic,
		"partition", winner.tp.Partition, "from", loser.d.path, "to", winner.d.path)
	return winner, vfs.RemoveIfThere(s.fs, path.Join(winner.path, movedFile))
}

// cameFrom says whether the folder's mark names d.
func (s *Store) cameFrom(f found, d *dataDir) (bool, error) {
	b, err := vfs.ReadFile(s.fs, path.Join(f.path, movedFile), smallFileMax)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && d.meta.DirectoryID != "" && string(b) == d.meta.DirectoryID, err
}

// resumeMoves begins again with the moves that the last run did not end, under the same names.
func (s *Store) resumeMoves(futures []future) {
	for _, f := range futures {
		l := s.mu.logs[f.tp]
		switch {
		case l == nil:
			s.logger.Warn("a folder of a move is left alone, its partition has no log here that could be opened", "dir", f.path)
		case path.Dir(l.Dir()) == f.d.path || s.moves.of(f.tp) != nil:
			s.background.removal.add(true, s.o.Now(), f.path)
		default:
			s.moves.add(newMove(l, f.d, f.path))
		}
	}
}
