package storage

import (
	"sync"
	"time"

	"moldau.io/moldau/storage/vfs"
)

// removals are the files and folders that are to go.
type removals struct {
	mu   sync.Mutex
	todo []removal
}

type removal struct {
	name string
	dir  bool
	due  time.Time
}

func (r *removals) add(dir bool, due time.Time, names ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range names {
		r.todo = append(r.todo, removal{name: name, dir: dir, due: due})
	}
}

// take takes out what which says.
func (r *removals) take(which func(removal) bool) (out []removal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var later []removal
	for _, x := range r.todo {
		if which(x) {
			out = append(out, x)
		} else {
			later = append(later, x)
		}
	}
	r.todo = later
	return out
}

// removeLater implements keeper.
func (s *Store) removeLater(names []string, delay time.Duration) {
	s.background.removal.add(false, s.o.Now().Add(delay), names...)
}

// removeDue removes files whose time has come, or all.
func (s *Store) removeDue(all bool) {
	now := s.o.Now()
	s.remove(s.background.removal.take(func(r removal) bool { return all || !r.due.After(now) }))
}

// remove removes files and folders.
func (s *Store) remove(rs []removal) {
	for _, r := range rs {
		if d := s.dirAbove(r.name); d != nil && d.offline() != nil {
			continue // the next start finds it
		}
		remove := vfs.RemoveIfThere
		if r.dir {
			remove = vfs.RemoveAll
		}
		if err := remove(s.fs, r.name); err != nil {
			s.logger.Warn("a deleted file cannot be removed", "name", r.name, "err", err)
			s.suspect(s.dirAbove(r.name), err)
		}
	}
}
