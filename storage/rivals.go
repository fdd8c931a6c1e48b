package storage

import (
	"path"
	"slices"

	"moldau.io/moldau/protocol"
)

// A topic that is deleted while a data folder is offline leaves its logs there. When the folder is back, and the name was
// given to another topic meanwhile, there are two folders of one partition, with different topic ids. Who knows the ids says
// which is the log.

// rivals notes that b is a second folder of a's partition. It is false where their ids do not tell them apart.
func (s *Store) rivals(a, b found) (bool, error) {
	one, err := s.readPartition(a.path)
	if err != nil {
		return false, err
	}
	two, err := s.readPartition(b.path)
	if err != nil || one.IsZero() || two.IsZero() || one == two {
		return false, err
	}
	s.logger.Warn("there are two folders of a partition, of different topics", "topic", a.tp.Topic, "partition", a.tp.Partition,
		"one", a.path, "id", one, "other", b.path, "otherID", two)
	s.rival[a.tp] = append(s.rival[a.tp], rival{found: b, id: two})
	return true, nil
}

type rival struct {
	found
	id protocol.TopicID
}

// Claim says that the topic has this id: of several folders of the partition the one of this topic is the log, and the others
// are deleted. Where there is one folder it does nothing.
func (s *Store) Claim(tp protocol.TopicPartition, id protocol.TopicID) error {
	s.changes.Lock()
	others := s.rival[tp]
	delete(s.rival, tp)
	s.changes.Unlock()
	if len(others) == 0 {
		return nil
	}
	if l, ok := s.Log(tp); ok && l.TopicID() != id {
		if err := s.Delete(tp); err != nil {
			return err
		}
		if i := slices.IndexFunc(others, func(r rival) bool { return r.id == id }); i >= 0 {
			s.openFound(others[i].found, nil)
			if err := s.keepLowered(); err != nil {
				return err
			}
			others = slices.Delete(others, i, i+1)
		}
	}
	for _, r := range others {
		gone := path.Join(r.d.path, deletedDir(tp, s.o.NewID()))
		if err := s.fs.Rename(r.path, gone); err != nil {
			return err
		}
		if err := s.fs.SyncDir(r.d.path); err != nil {
			return err
		}
		s.background.removal.add(true, s.o.Now(), gone)
	}
	return nil
}
