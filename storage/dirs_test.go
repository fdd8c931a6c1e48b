package storage

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

// failing is a file system of which a part can be made to fail.
type failing struct {
	vfs.FS
	mem   *vfs.Mem
	fault atomic.Pointer[func(vfs.Op) error]
}

func newFailing() *failing {
	f := &failing{mem: vfs.NewMem()}
	f.FS = vfs.WithFaults(f.mem, func(op vfs.Op) error {
		if fault := f.fault.Load(); fault != nil {
			return (*fault)(op)
		}
		return nil
	})
	return f
}

// breaks lets every operation below prefix fail; with EROFS, those that change something.
func (f *failing) breaks(prefix string, err error) {
	fault := func(op vfs.Op) error {
		if !strings.HasPrefix(op.Name+"/", prefix+"/") {
			return nil
		}
		reads := slices.Contains([]string{"ReadAt", "Stat", "List", "Open", "Lock"}, op.Kind)
		if reads && errors.Is(err, syscall.EROFS) {
			return nil
		}
		return err
	}
	f.fault.Store(&fault)
}

func (f *failing) heal() { f.fault.Store(nil) }

// spread makes logs until each folder has n.
func spread(t *testing.T, s *Store, n int) map[string][]*Log {
	t.Helper()
	in := map[string][]*Log{}
	for i := range n * len(s.dirs) {
		l, err := s.Create(protocol.TopicPartition{Topic: "t", Partition: int32(i)}, protocol.TopicID{1}, movedConfig())
		if err != nil {
			t.Fatal(err)
		}
		mustAppend(t, l, records(t, 1, "a", "b"))
		in[path.Dir(l.Dir())] = append(in[path.Dir(l.Dir())], l)
	}
	for d, logs := range in {
		if len(logs) != n {
			t.Fatalf("%d logs in %s, want %d", len(logs), d, n)
		}
	}
	return in
}

// TestAFailingFolderTakesItsOwnLogs breaks one of two folders in every way that a disk does, by whatever the broker comes
// upon first.
func TestAFailingFolderTakesItsOwnLogs(t *testing.T) {
	meets := map[string]func(s *Store, l *Log) error{
		"append": func(s *Store, l *Log) error {
			_, err := l.Append(testNow, 0, records(t, 1, "c"))
			return err
		},
		"flush":      func(s *Store, l *Log) error { return l.Flush() },
		"checkpoint": func(s *Store, l *Log) error { return s.Checkpoint(nil) },
		"create": func(s *Store, l *Log) error {
			for i := range int32(2) {
				if _, err := s.Create(protocol.TopicPartition{Topic: "u", Partition: i}, protocol.TopicID{2}, movedConfig()); err != nil {
					return err
				}
			}
			return nil
		},
		"delete": func(s *Store, l *Log) error { return s.Delete(l.Partition()) },
		"move":   func(s *Store, l *Log) error { return s.Move(tp0, other(mustLog(t, s, tp0))) },
	}
	for name, meet := range meets {
		for _, errno := range []syscall.Errno{syscall.EIO, syscall.EROFS} {
			t.Run(fmt.Sprintf("%s %v", name, errno), func(t *testing.T) {
				f, told := newFailing(), 0
				o := testOptions(movedConfig())
				o.OnOffline = func() { told++ }
				s, err := openIdle(f, twoDirs, o)
				if err != nil {
					t.Fatal(err)
				}
				in := spread(t, s, 2)
				broken := "/b"
				if name == "move" {
					broken = other(mustLog(t, s, tp0))
				}
				whole := other(in[broken][0])
				if broken == whole {
					t.Fatal(broken)
				}
				f.breaks(broken, errno)
				err = meet(s, in[broken][0])
				if err == nil {
					t.Fatal("nothing failed")
				}
				if code := protocol.CodeOf(err); name != "checkpoint" && code != protocol.KafkaStorageError {
					t.Errorf("%v: %v", code, err)
				}
				s.probeSuspects(testNow)
				for _, d := range s.Dirs() {
					if bad := d.Offline != nil; bad != (d.Path == broken) {
						t.Errorf("%s: offline %v", d.Path, d.Offline)
					}
				}
				if told == 0 {
					t.Error("nobody was told")
				}
				for _, l := range in[broken] {
					if _, err := l.Append(testNow, 0, records(t, 1, "x")); protocol.CodeOf(err) != protocol.KafkaStorageError && !errors.Is(err, ErrClosed) {
						t.Errorf("append to %v: %v", l.Partition(), err)
					}
				}
				for _, l := range in[whole] {
					mustAppend(t, l, records(t, 1, "c"))
				}
				for i := range int32(3) {
					l, err := s.Create(protocol.TopicPartition{Topic: "v", Partition: i}, protocol.TopicID{3}, movedConfig())
					if err != nil || path.Dir(l.Dir()) != whole {
						t.Fatalf("a new log: %v", err)
					}
				}
				if err := s.Move(in[whole][0].Partition(), broken); protocol.CodeOf(err) != protocol.KafkaStorageError {
					t.Errorf("a move there: %v", err)
				}
				if err := s.Checkpoint(nil); err != nil {
					t.Errorf("checkpoint: %v", err)
				}
				if err := s.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
				if _, err := f.mem.Stat(path.Join(broken, cleanFile)); err == nil {
					t.Error("the failed folder is marked as left in order")
				}
				f.heal()
				s, err = openIdle(f, twoDirs, testOptions(movedConfig()))
				if err != nil {
					t.Fatal(err)
				}
				for _, l := range append(in[whole], in[broken]...) {
					again, ok := s.Log(l.Partition())
					if name == "delete" && l == in[broken][0] {
						continue
					}
					if !ok || again.Bounds().End < 2 {
						t.Errorf("%v: %v after the repair", l.Partition(), ok)
					}
				}
				closeStore(t, s)
			})
		}
	}
}

// TestABadFileTakesOneLog: the folder is probed, and works.
func TestABadFileTakesOneLog(t *testing.T) {
	f := newFailing()
	s, err := openIdle(f, twoDirs, testOptions(movedConfig()))
	if err != nil {
		t.Fatal(err)
	}
	in := spread(t, s, 2)
	bad := in["/a"][0]
	fault := func(op vfs.Op) error {
		if op.Kind == "Sync" && strings.HasPrefix(op.Name, bad.Dir()+"/") {
			return syscall.EIO
		}
		return nil
	}
	f.fault.Store(&fault)
	if err := bad.Flush(); protocol.CodeOf(err) != protocol.KafkaStorageError || bad.Failure() == nil {
		t.Fatalf("flush: %v", err)
	}
	s.probeSuspects(testNow)
	mustAppend(t, in["/a"][1], records(t, 1, "c"))
	for _, d := range s.Dirs() {
		if d.Offline != nil {
			t.Errorf("%s: %v", d.Path, d.Offline)
		}
	}
	if _, err := f.mem.Stat("/a/" + probeFile); err == nil {
		t.Error("the probe's file is still there")
	}
}

// TestAFullDiskIsNoFailingFolder, nor is a process that is short of descriptors.
func TestAFullDiskIsNoFailingFolder(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EMFILE, syscall.ENFILE} {
		f := newFailing()
		s, err := openIdle(f, twoDirs, testOptions(movedConfig()))
		if err != nil {
			t.Fatal(err)
		}
		l := create(t, s, movedConfig())
		f.breaks(path.Dir(l.Dir()), errno)
		if _, err := l.Append(testNow, 0, records(t, 1, "c")); err == nil {
			t.Fatal("nothing failed")
		}
		empty := errors.New("something else")
		s.suspect(s.folderOf(l), empty)
		s.probeSuspects(testNow)
		if err := s.folderOf(l).offline(); err != nil {
			t.Errorf("%v: %v", errno, err)
		}
	}
}

// TestAStartWithoutOneFolder: the others are opened. Where none can be the start is refused.
func TestAStartWithoutOneFolder(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EIO, syscall.EROFS} {
		f := newFailing()
		s, err := openIdle(f, twoDirs, testOptions(movedConfig()))
		if err != nil {
			t.Fatal(err)
		}
		in := spread(t, s, 2)
		s.abandon() // killed, so that the recovery points have to be written
		f.breaks("/a", errno)
		if s, err = openIdle(f, twoDirs, testOptions(movedConfig())); err != nil {
			t.Fatalf("%v: %v", errno, err)
		}
		for d, logs := range in {
			for _, l := range logs {
				if _, ok := s.Log(l.Partition()); ok != (d == "/b") {
					t.Errorf("%v: %v in %s: %v", errno, l.Partition(), d, ok)
				}
			}
		}
		if ds := s.Dirs(); len(ds) != 2 || slices.IndexFunc(ds, func(d Dir) bool { return d.Path == "/a" && d.Offline != nil }) < 0 {
			t.Errorf("%v: folders %+v", errno, ds)
		}
		if err := s.Move(in["/b"][0].Partition(), "/a"); protocol.CodeOf(err) != protocol.KafkaStorageError {
			t.Errorf("%v: a move to it: %v", errno, err)
		}
		closeStore(t, s)
		f.breaks("/", errno)
		fault := func(op vfs.Op) error { return errno }
		f.fault.Store(&fault)
		_, err = openIdle(f, twoDirs, testOptions(movedConfig()))
		if e := (*UnusableError)(nil); !errors.As(err, &e) {
			t.Errorf("%v: with none: %v", errno, err)
		}
	}
	// What is no failing disk refuses the start, though others could be used.
	f := newFailing()
	f.breaks("/a", syscall.EACCES)
	_, err := openIdle(f, twoDirs, testOptions(movedConfig()))
	if e := (*UnusableError)(nil); !errors.As(err, &e) || e.Path != "/a" {
		t.Errorf("no permission: %v", err)
	}
}

// TestLogsGoWhereThereIsRoom holds the order in which folders are taken.
func TestLogsGoWhereThereIsRoom(t *testing.T) {
	s, err := openIdle(vfs.NewMem(), []string{"/a", "/b", "/c"}, testOptions(movedConfig()))
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	const gb = 1 << 30
	cfg := DefaultConfig()
	for _, tc := range []struct {
		logs [3]int64
		free [3]int64
		want string
	}{
		{[3]int64{0, 0, 0}, [3]int64{50 * gb, 50 * gb, 50 * gb}, "/a"},
		{[3]int64{3, 2, 4}, [3]int64{50 * gb, 50 * gb, 50 * gb}, "/b"},
		{[3]int64{3, 2, 2}, [3]int64{50 * gb, 50 * gb, 90 * gb}, "/c"},
		{[3]int64{2, 2, 2}, [3]int64{50 * gb, 51 * gb, 50 * gb}, "/a"}, // as good as alike
		{[3]int64{9, 2, 7}, [3]int64{50 * gb, gb, 50 * gb}, "/c"},      // no room for a segment beside the reserve
		{[3]int64{9, 2, 7}, [3]int64{gb, gb, gb}, "/b"},
	} {
		for i, d := range s.dirs {
			d.health.logs.Store(tc.logs[i])
			d.space.seen.Store(&DirSpace{Path: d.path, Total: 100 * gb, Free: tc.free[i], Reserve: gb / 4})
		}
		d, err := s.place(tp0, cfg)
		if err != nil || d.path != tc.want {
			t.Errorf("%+v: %s, %v", tc, d.path, err)
		}
	}
}

// TestAProbeIsNotRepeatedWithoutEnd: errors that go on cost a probe a second.
func TestAProbeIsNotRepeatedWithoutEnd(t *testing.T) {
	f := newFailing()
	s, err := openIdle(f, twoDirs, testOptions(movedConfig()))
	if err != nil {
		t.Fatal(err)
	}
	probes := 0
	fault := func(op vfs.Op) error {
		if op.Kind == "Create" && path.Base(op.Name) == probeFile {
			probes++
		}
		return nil
	}
	f.fault.Store(&fault)
	for i := range 30 {
		s.suspect(s.dirs[0], syscall.EIO)
		s.probeSuspects(testNow.Add(time.Duration(i) * probeInterval / 10))
	}
	if probes != 3 {
		t.Errorf("%d probes, want 3", probes)
	}
}
