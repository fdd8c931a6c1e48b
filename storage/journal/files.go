package journal

import (
	"errors"
	"fmt"
	"path"
	"slices"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

const tmpSuffix = ".tmp"

// errNoRoom says that every file holds entries that are still needed, or that a file could not be made.
var errNoRoom = errors.New("the journal has no room")

// file is one file of a journal.
type file struct {
	name    string
	f       vfs.File
	at      int64                       // where the next piece goes
	members map[*Member]protocol.Offset // up to where the logs have entries here; under fileMu
}

// room is the active file, with room for an entry of so many bytes at least.
func (j *Journal) room(bytes int64) (*file, error) {
	if f := j.c.active; f != nil {
		if f.at+bytes <= j.cfg.FileBytes {
			return f, nil
		}
		j.fileMu.Lock()
		j.fileMu.sealed = append(j.fileMu.sealed, f)
		j.fileMu.Unlock()
		j.c.active = nil
		nudge(j.full)
	}
	f, err := j.unused()
	if err != nil {
		return nil, err
	}
	j.c.active = f
	return f, nil
}

// unused is a file to go on with. One that was used before comes first: the order in which files are used again is that in
// which they were filled, so that what is left of old entries is always the end of the sequence.
func (j *Journal) unused() (*file, error) {
	if f := j.takeFree(); f != nil {
		return f, nil
	}
	j.fileMu.Lock()
	count := j.fileMu.count
	j.fileMu.Unlock()
	var err error
	if count < j.cfg.Files && !j.cfg.Now().Before(j.c.retryAt) {
		f, merr := j.make(count)
		if merr == nil {
			return f, nil
		}
		j.c.retryAt = j.cfg.Now().Add(retryInterval)
		j.cfg.Logger.Warn("a file of the journal cannot be made", "dir", j.cfg.Dir, "err", merr)
		err = merr
	}
	if count == 0 {
		return nil, errors.Join(errNoRoom, err)
	}
	j.Reclaim()
	if f := j.takeFree(); f != nil {
		return f, nil
	}
	return nil, errors.Join(errNoRoom, err)
}

func (j *Journal) takeFree() *file {
	j.fileMu.Lock()
	defer j.fileMu.Unlock()
	if len(j.fileMu.free) == 0 {
		return nil
	}
	f := j.fileMu.free[0]
	j.fileMu.free = append(j.fileMu.free[:0], j.fileMu.free[1:]...)
	clear(f.members)
	f.at = headerBytes
	return f
}

// make makes a file, full of zeros and durable before it gets its name.
func (j *Journal) make(i int) (_ *file, err error) {
	fsys := j.cfg.FS
	if !j.fileMu.named { // committing is held
		if err := fsys.MkdirAll(j.cfg.Dir); err != nil {
			return nil, err
		}
		j.fileMu.named = true
	}
	name := j.fileName(i)
	f, err := fsys.Create(name + tmpSuffix)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = vfs.RemoveIfThere(fsys, name+tmpSuffix)
		}
	}()
	if err := j.fill(f); err != nil {
		return nil, fmt.Errorf("fill %s: %w", name, err)
	}
	if err := f.Sync(); err != nil {
		return nil, fmt.Errorf("sync %s: %w", name, err)
	}
	if err := fsys.Rename(name+tmpSuffix, name); err != nil {
		return nil, err
	}
	if err := fsys.SyncDir(j.cfg.Dir); err != nil {
		return nil, fmt.Errorf("sync %s: %w", path.Dir(name), err)
	}
	j.fileMu.Lock()
	j.fileMu.count++
	j.fileMu.Unlock()
	return &file{name: name, f: f, at: headerBytes, members: map[*Member]protocol.Offset{}}, nil
}

func (j *Journal) fill(f vfs.File) error {
	h := header{journal: j.id, cluster: j.cfg.Cluster, folder: j.cfg.Folder}
	if _, err := f.WriteAt(h.encode(), 0); err != nil {
		return err
	}
	zeros := make([]byte, min(1<<20, j.cfg.FileBytes-headerBytes))
	for at := int64(headerBytes); at < j.cfg.FileBytes; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), j.cfg.FileBytes-at)], at); err != nil {
			return err
		}
	}
	return nil
}

// Reclaim has the logs flushed that full files have entries of, so that the files can be used again.
func (j *Journal) Reclaim() {
	j.reclaiming.Lock()
	defer j.reclaiming.Unlock()
	for {
		j.fileMu.Lock()
		if len(j.fileMu.sealed) == 0 {
			j.fileMu.Unlock()
			return
		}
		f := j.fileMu.sealed[0]
		j.fileMu.Unlock()
		if err := j.settle(f); err != nil {
			j.cfg.Logger.Warn("a file of the journal cannot be used again yet", "file", f.name, "err", err)
			return
		}
		j.fileMu.Lock()
		j.fileMu.sealed = append(j.fileMu.sealed[:0], j.fileMu.sealed[1:]...)
		j.fileMu.free = append(j.fileMu.free, f)
		j.fileMu.Unlock()
	}
}

// settle makes the entries of a full file unnecessary. A log that is offline gets its own into its folder, so that it does
// not keep the file from all others.
func (j *Journal) settle(f *file) error {
	unsettled := j.unsettled(f)
	inParallel(j.cfg.Threads, unsettled, func(x need) {
		if err := x.m.log.SyncData(x.end); err != nil {
			x.m.log.Lost(err)
		}
	})
	unsettled = j.unsettled(f)
	if len(unsettled) == 0 {
		return nil
	}
	found := &Found{fs: j.cfg.FS, Entries: map[Name][]Entry{}, files: map[string]uint64{}}
	runs, err := found.scanFile(f.name, j.cfg.Cluster, j.cfg.Folder)
	if err != nil {
		return err
	}
	found.collect(runs)
	for _, x := range unsettled {
		m, file := x.m, x.m.log.RescueFile()
		if file == "" {
			return fmt.Errorf("%v is not flushed", m.name.Partition)
		}
		if err := found.Rescue(m.name, found.Entries[m.name], file, j.cfg.Cluster); err != nil {
			return fmt.Errorf("keep what %v needs: %w", m.name.Partition, err)
		}
	}
	return nil
}

// need is up to where a log needs a file.
type need struct {
	m   *Member
	end protocol.Offset
}

// unsettled are the logs that need a file, in order.
func (j *Journal) unsettled(f *file) (ms []need) {
	j.fileMu.Lock()
	for m, end := range f.members {
		if !m.log.Settled(end) {
			ms = append(ms, need{m, end})
		}
	}
	j.fileMu.Unlock()
	slices.SortFunc(ms, func(a, b need) int { return compareNames(a.m.name, b.m.name) })
	return ms
}

// Remove ends the journal and removes its files: every log that has entries has been flushed. It must not be used any more.
func (j *Journal) Remove() error {
	j.committing.Lock()
	defer j.committing.Unlock()
	j.reclaiming.Lock()
	defer j.reclaiming.Unlock()
	for _, f := range j.release() {
		if err := j.cfg.FS.Remove(f.name); err != nil {
			return err
		}
		// One by one, so that what a crash leaves is again the end of the sequence.
		if err := j.cfg.FS.SyncDir(j.cfg.Dir); err != nil {
			return err
		}
	}
	return vfs.RemoveIfThere(j.cfg.FS, j.cfg.Dir)
}

// Close lets go of the files and leaves them.
func (j *Journal) Close() {
	j.committing.Lock()
	defer j.committing.Unlock()
	j.reclaiming.Lock()
	defer j.reclaiming.Unlock()
	j.release()
}

// release closes all files; they are given oldest first.
func (j *Journal) release() []*file {
	j.fileMu.Lock()
	files := append(append([]*file(nil), j.fileMu.free...), j.fileMu.sealed...)
	j.fileMu.free, j.fileMu.sealed = nil, nil
	j.fileMu.Unlock()
	if j.c.active != nil {
		files = append(files, j.c.active)
		j.c.active = nil
	}
	for _, f := range files {
		_ = f.f.Close()
	}
	return files
}
