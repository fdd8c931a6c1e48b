package storage

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

// A data folder that fails takes its own logs offline and no others. Whether it is the folder that fails or one file in
// it is found out by a probe: a small file is written, synced, read back and removed. A folder that is offline stays so
// until the broker is started again.

// DirError says that a data folder cannot be used any more, while others can.
type DirError struct {
	Dir string
	Op  string // what was tried
	Err error
}

func (e *DirError) Error() string {
	return fmt.Sprintf("the data folder %s is offline, %s: %v", e.Dir, e.Op, e.Err)
}

// Unwrap is the code and the cause.
func (e *DirError) Unwrap() []error { return []error{protocol.KafkaStorageError, e.Err} }

// health is what is known of a data folder's state.
type health struct {
	failure atomic.Pointer[DirError] // set once
	suspect atomic.Pointer[error]    // an error that the next probe is to explain
	probed  time.Time                // the chore's
	logs    atomic.Int64             // logs in the folder, and on their way to it
}

// probeFile is written to find out whether a folder works.
const (
	probeFile  = ".moldau.probe"
	probeBytes = 4096
)

// probeInterval is how often a folder is probed at most.
const probeInterval = time.Second

// DiskFailed says that an error is the disk's: what it was asked for is lost, and asking again will not help.
func DiskFailed(err error) bool {
	for _, errno := range []syscall.Errno{
		syscall.EIO, syscall.EROFS, syscall.ENXIO, syscall.ENODEV, syscall.ESTALE, syscall.EUCLEAN, syscall.EREMOTEIO,
		syscall.ENOMEDIUM, syscall.ENOTCONN, syscall.ESHUTDOWN, syscall.EHOSTDOWN,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// passes says that an error is not the folder's: the disk is full, or the process is short of something.
func passes(err error) bool {
	for _, errno := range []syscall.Errno{
		syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EINTR,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// trouble implements keeper.
func (s *Store) trouble(l *Log, err error) {
	if d := s.folderOf(l); d != nil {
		s.suspect(d, err)
	}
	if l.failure.Load() != nil {
		s.noticed()
	}
}

// Suspect has the folder that holds name probed, because of an error that was met elsewhere. Without a name all are.
func (s *Store) Suspect(name string, err error) {
	for _, d := range s.dirs {
		if name == "" || d.path == path.Clean(name) {
			s.suspect(d, err)
		}
	}
}

func (s *Store) suspect(d *dataDir, err error) {
	if d == nil || err == nil || passes(err) || d.health.failure.Load() != nil || !d.health.suspect.CompareAndSwap(nil, &err) {
		return
	}
	select {
	case s.background.probe <- struct{}{}:
	default:
	}
}

// probeSuspects is the chore.
func (s *Store) probeSuspects(now time.Time) {
	for _, d := range s.dirs {
		reason := d.health.suspect.Load()
		if reason == nil || now.Sub(d.health.probed) < probeInterval && now.After(d.health.probed) {
			continue
		}
		d.health.probed = now
		d.health.suspect.Store(nil)
		if err := probe(s.fs, d.path); err != nil {
			err.Err = fmt.Errorf("%w (after: %v)", err.Err, *reason)
			s.takeOffline(d, err)
		}
	}
}

// probe says what does not work in a folder, nil where everything does or it cannot be known.
func probe(fsys vfs.FS, dir string) *DirError {
	name := path.Join(dir, probeFile)
	fault := func(op string, err error) *DirError {
		if err == nil || passes(err) {
			return nil
		}
		return &DirError{Dir: dir, Op: op + " " + name, Err: err}
	}
	f, err := fsys.Create(name)
	if err != nil {
		return fault("create", err)
	}
	want, got := bytes.Repeat([]byte("moldau\r\n"), probeBytes/8), make([]byte, probeBytes)
	op := "write"
	_, err = f.WriteAt(want, 0)
	if err == nil {
		op, err = "sync", f.Sync()
	}
	if err == nil {
		op = "read"
		if _, err = f.ReadAt(got, 0); err == nil && !bytes.Equal(got, want) {
			err = errors.New("other bytes than were written")
		}
	}
	if cerr := f.Close(); err == nil {
		op, err = "close", cerr
	}
	if err != nil {
		_ = fsys.Remove(name)
		return fault(op, err)
	}
	if err := fsys.Remove(name); err != nil {
		return fault("remove", err)
	}
	_, err = fsys.List(dir)
	return fault("list", err)
}

// takeOffline ends the use of a folder: its logs go offline, moves from and to it end, nothing is written there any more.
func (s *Store) takeOffline(d *dataDir, err *DirError) {
	if !d.health.failure.CompareAndSwap(nil, err) {
		return
	}
	lost := 0
	for _, l := range s.logs() {
		if s.folderOf(l) == d {
			l.failure.CompareAndSwap(nil, &OfflineError{Partition: l.tp, Dir: l.Dir(), Err: err})
			s.tell(l)
			lost++
		}
	}
	s.logger.Error("a data folder is offline, and with it the partitions in it; others go on", "dir", d.path, "op", err.Op,
		"err", err.Err, "partitions", lost,
		"do", "repair or replace the disk, then start the broker again")
	for _, m := range s.moves.all() {
		if m.to == d || s.folderOf(m.l) == d {
			s.moves.forget(m)
		}
	}
	s.noticed()
}

// lose notes a folder that cannot be used from the start.
func (s *Store) lose(dir string, err error) {
	d := &dataDir{path: dir}
	d.health.failure.Store(&DirError{Dir: dir, Op: "open", Err: err})
	s.lost = append(s.lost, d)
	s.logger.Error("a data folder cannot be used: the broker starts without it, and the partitions in it are offline",
		"dir", dir, "err", err, "do", "repair or replace the disk, then start the broker again")
}

// noticed tells who wants to know that a log or a folder has gone offline.
func (s *Store) noticed() {
	if s.o.OnOffline != nil {
		s.o.OnOffline()
	}
}

// offline says why a folder is, nil where it is not.
func (d *dataDir) offline() error {
	if err := d.health.failure.Load(); err != nil {
		return err
	}
	return nil
}

// dirAbove is the data folder that a file lies in, nil for none.
func (s *Store) dirAbove(name string) *dataDir {
	for _, d := range s.dirs {
		if strings.HasPrefix(name, d.path+"/") {
			return d
		}
	}
	return nil
}

// online are the folders that can be used.
func (s *Store) online() (out []*dataDir) {
	for _, d := range s.dirs {
		if d.offline() == nil {
			out = append(out, d)
		}
	}
	return out
}

// all is every move.
func (m *moves) all() (out []*move) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, x := range m.byPartition {
		out = append(out, x)
	}
	return out
}
