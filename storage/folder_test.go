package storage

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// unusable wants an UnusableError that says all of these.
func unusable(t *testing.T, err error, says ...string) {
	t.Helper()
	var u *UnusableError
	if !errors.As(err, &u) {
		t.Fatalf("got %v, want an *UnusableError", err)
	}
	for _, s := range says {
		if !strings.Contains(u.Error()+" "+u.Advice(), s) {
			t.Errorf("%q, %q does not say %q", u.Error(), u.Advice(), s)
		}
	}
}

func TestAFolderInUseIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, vfs.OS(), dir, options())
	_, err := OpenStore(vfs.OS(), []string{dir}, options())
	unusable(t, err, dir, fmt.Sprintf("process %d", os.Getpid()), "another data folder")
	closeStore(t, s)
	closeStore(t, openStore(t, vfs.OS(), dir, options()))
}

func TestAnothersFolderIsRefused(t *testing.T) {
	m := vfs.NewMem()
	s := openStore(t, m, "/data", options())
	id := s.Dirs()[0].ID
	closeStore(t, s)
	o := options()
	o.ClusterID = "other"
	_, err := OpenStore(m, []string{"/data"}, o)
	unusable(t, err, "/data/meta.properties", "cluster", "other")
	o = options()
	o.NodeID = 2
	_, err = OpenStore(m, []string{"/data"}, o)
	unusable(t, err, "node 1", "node.id=1")
	s = openStore(t, m, "/data", options())
	if s.Dirs()[0].ID != id || id == "" {
		t.Fatalf("the folder's id was %q and is %q", id, s.Dirs()[0].ID)
	}
	closeStore(t, s)
	if err := vfs.WriteFile(m, "/data/meta.properties", []byte("garbage")); err != nil {
		t.Fatal(err)
	}
	_, err = OpenStore(m, []string{"/data"}, options())
	unusable(t, err, "/data/meta.properties", "Restore")
}

// TestOpeningAfterAnOrderlyEndReadsNoLog counts the bytes that are read of log files.
func TestOpeningAfterAnOrderlyEndReadsNoLog(t *testing.T) {
	m := vfs.NewMem()
	s := openStore(t, m, "/data", options())
	l := create(t, s, DefaultConfig())
	big := sized(t, 16<<10)
	for range 200 {
		mustAppend(t, l, big)
	}
	read := 0
	counted := vfs.WithFaults(m, func(op vfs.Op) error {
		if op.Kind == "ReadAt" && strings.HasSuffix(op.Name, segment.LogSuffix) {
			read += op.Len
		}
		return nil
	})
	closeStore(t, s)
	s = openStore(t, counted, "/data", options())
	if read > 32<<10 {
		t.Errorf("%d bytes of logs were read after an orderly end", read)
	}
	if _, err := m.Stat("/data/" + cleanFile); err == nil {
		t.Error("the mark of an orderly end is still there while the store is open")
	}
	l, _ = s.Log(tp0)
	for range 50 {
		mustAppend(t, l, big)
	}
	s.abandon() // a kill
	read = 0
	s = openStore(t, counted, "/data", options())
	defer closeStore(t, s)
	if read < 50*len(big) || read > 60*len(big) {
		t.Errorf("%d bytes of logs were read after a kill, %d had not been flushed", read, 50*len(big))
	}
	if l, ok := s.Log(tp0); !ok || l.Bounds().End == 0 {
		t.Error("the log is gone", s.Failed(tp0))
	}
}

// abandon lets go of the locks and does nothing else: what a killed process does.
func (s *Store) abandon() {
	s.background.end()
	s.unlock()
}

func TestDamageTakesOneLogOffline(t *testing.T) {
	m := vfs.NewMem()
	s := openStore(t, m, "/data", options())
	l := create(t, s, DefaultConfig())
	other, err := s.Create(protocol.TopicPartition{Topic: "u"}, protocol.TopicID{2}, DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		mustAppend(t, l, records(t, 1, "one"))
		mustAppend(t, other, records(t, 1, "two"))
	}
	if err := errors.Join(l.Flush(), other.Flush(), s.Checkpoint(nil)); err != nil {
		t.Fatal(err)
	}
	s.abandon()
	name := path.Join(l.Dir(), segment.FileName(0, segment.LogSuffix))
	f, err := m.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	// The magic number: what recovery reads of a flushed batch is its header.
	if _, err := f.WriteAt([]byte{0xff}, 16); err != nil {
		t.Fatal(err)
	}
	before, _ := f.Size()
	s = openStore(t, m, "/data", options())
	defer closeStore(t, s)
	var damaged *DamagedError
	if err := s.Failed(tp0); !errors.As(err, &damaged) || protocol.CodeOf(err) != protocol.KafkaStorageError ||
		damaged.Flushed != 10 || !strings.Contains(err.Error(), "moldau log repair") {
		t.Fatalf("got %v", err)
	}
	if after, _ := f.Size(); after != before {
		t.Error("flushed records were cut off")
	}
	if _, ok := s.Log(tp0); ok {
		t.Error("a damaged log is served")
	}
	if _, err := s.Create(tp0, protocol.TopicID{1}, DefaultConfig()); protocol.CodeOf(err) != protocol.KafkaStorageError {
		t.Errorf("a damaged log was made anew: %v", err)
	}
	if got := readAll(t, mustLog(t, s, protocol.TopicPartition{Topic: "u"}), 0); len(got) != 10 {
		t.Errorf("the other log has %v", got)
	}
}

func mustLog(t *testing.T, s *Store, tp protocol.TopicPartition) *Log {
	t.Helper()
	l, ok := s.Log(tp)
	if !ok {
		t.Fatalf("no log of %v: %v", tp, s.Failed(tp))
	}
	return l
}

func TestDeleteAndCreateAgain(t *testing.T) {
	m := vfs.NewMem()
	s := openStore(t, m, "/data", options())
	cfg := DefaultConfig()
	cfg.DeleteDelay = time.Hour
	l := create(t, s, cfg)
	for range 10 {
		mustAppend(t, l, records(t, 1, "old"))
	}
	if err := errors.Join(l.Flush(), l.Advance(5), s.Checkpoint(map[protocol.TopicPartition]protocol.Offset{tp0: 10})); err != nil {
		t.Fatal(err)
	}
	slice, err := l.Read(5, 10, 1000, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(tp0); err != nil {
		t.Fatal(err)
	}
	if _, err := slice.Bytes(nil); err != nil {
		t.Errorf("a slice of a deleted log: %v", err)
	}
	slice.Release()
	if _, err := l.Append(testNow, 0, records(t, 1, "late")); !errors.Is(err, ErrClosed) {
		t.Errorf("append to a deleted log: %v", err)
	}
	if _, err := l.Read(5, 10, 1000, true); protocol.CodeOf(err) != protocol.NotLeaderOrFollower {
		t.Errorf("read of a deleted log: %v", err)
	}
	if got := deletedDirs(t, m); len(got) != 1 || !strings.HasPrefix(got[0], "t-0.") {
		t.Errorf("folders %v", got)
	}
	l, err = s.Create(tp0, protocol.TopicID{9}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if b := l.Bounds(); b != (Bounds{}) {
		t.Errorf("the new log has %+v", b)
	}
	mustAppend(t, l, records(t, 1, "new"))
	s.abandon() // the old one's recovery point must not be taken for the new one's
	s = openStore(t, m, "/data", options())
	l = mustLog(t, s, tp0)
	if got := readAll(t, l, 0); fmt.Sprint(got) != "[0=new]" || l.TopicID() != (protocol.TopicID{9}) {
		t.Errorf("%v of %v", got, l.TopicID())
	}
	if _, ok := s.HighWatermark(tp0); ok {
		t.Error("the new log has the old one's high watermark")
	}
	if _, err := s.Create(tp0, protocol.TopicID{8}, cfg); protocol.CodeOf(err) != protocol.InconsistentTopicID {
		t.Errorf("another topic of that name: %v", err)
	}
	closeStore(t, s) // what was left of the old one goes when a store is opened
	if got := deletedDirs(t, m); len(got) != 0 {
		t.Errorf("folders %v", got)
	}
}

func deletedDirs(t *testing.T, m *vfs.Mem) (out []string) {
	t.Helper()
	entries, err := m.List("/data")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name, deletedDirSuffix) {
			out = append(out, e.Name)
		}
	}
	return out
}

func TestSeveralFolders(t *testing.T) {
	m := vfs.NewMem()
	dirs := []string{"/a", "/b"}
	s, err := OpenStore(m, dirs, options())
	if err != nil {
		t.Fatal(err)
	}
	for p := range int32(6) {
		if _, err := s.Create(protocol.TopicPartition{Topic: "t", Partition: p}, protocol.TopicID{1}, DefaultConfig()); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range dirs {
		n := 0
		for _, l := range s.All() {
			if path.Dir(l.Dir()) == dir {
				n++
			}
		}
		if n != 3 {
			t.Errorf("%s has %d logs", dir, n)
		}
	}
	closeStore(t, s)
	s, err = OpenStore(m, dirs, options())
	if err != nil || len(s.All()) != 6 {
		t.Fatal(err, len(s.All()))
	}
	closeStore(t, s)
	for _, dir := range dirs {
		if err := m.MkdirAll(dir + "/t-0"); err != nil {
			t.Fatal(err)
		}
	}
	_, err = OpenStore(m, dirs, options())
	unusable(t, err, "/b/t-0", "/a/t-0", "Move")
}

func TestRule046_ProducersSurviveARestart(t *testing.T) {
	for _, end := range []string{"orderly", "kill"} {
		t.Run(end, func(t *testing.T) {
			m := vfs.NewMem()
			s := openStore(t, m, "/data", options())
			cfg := DefaultConfig()
			cfg.SegmentBytes = 600
			l := create(t, s, cfg)
			var last []batch.Batch
			for i := range int32(9) {
				b := batch.NewBuilder(batch.BuilderOptions{Producer: &batch.Producer{ID: 4, Sequence: 2 * i}})
				b.Add(int64(i), nil, []byte("a"))
				b.Add(int64(i), nil, []byte("b"))
				last = append(last, b.Build())
				mustAppend(t, l, last[i])
			}
			if end == "orderly" {
				closeStore(t, s)
			} else {
				s.abandon()
			}
			s = openStore(t, m, "/data", options())
			defer closeStore(t, s)
			l = mustLog(t, s, tp0)
			for i := 4; i < 9; i++ { // the window of five, not only the last
				if a := mustAppend(t, l, last[i]); !a.Duplicate || a.Base != protocol.Offset(2*i) || a.DuplicateTimestamp != int64(i) {
					t.Fatalf("batch %d again: %+v", i, a)
				}
			}
			if _, err := l.Append(testNow, 0, last[3]); protocol.CodeOf(err) != protocol.OutOfOrderSequenceNumber {
				t.Fatalf("an older batch again: %v", err)
			}
			if l.Bounds().End != 18 {
				t.Fatalf("the log ends at %d", l.Bounds().End)
			}
		})
	}
}

func FuzzParseOffsets(f *testing.F) {
	f.Add([]byte("0\n1\nt 0 15\n"))
	f.Add([]byte("0\n0\n"))
	f.Add([]byte(""))
	f.Add([]byte("0\n2\nt 0 15\nt 0 16\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := parseOffsets(b)
		if err != nil {
			return
		}
		again, err := parseOffsets(o.encode())
		if err != nil || len(again) != len(o) {
			t.Fatalf("%v, %v; want %v", again, err, o)
		}
	})
}

func FuzzParseMeta(f *testing.F) {
	f.Add(Meta{ClusterID: "c", NodeID: 3, DirectoryID: "d"}.encode())
	f.Add([]byte("#\n#Sat Nov 21 11:37:15 UTC 2026\nnode.id=1\nversion=1\ncluster.id=4L6g3nShT-eMCtK--X86sw\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMeta(b)
		if err != nil {
			return
		}
		if m.ClusterID == "" || m.NodeID < -1 {
			t.Fatalf("%+v", m)
		}
		_, _ = parsePartition(b)
		_, _ = parseDir(string(b))
	})
}

func TestOtherFoldersAreLeftAlone(t *testing.T) {
	m := vfs.NewMem()
	others := []string{"__cluster_metadata-0", "quorum", "t-x", "t-01", "t--1", "-3", "t-0.0123-stray", "lost+found"}
	for _, name := range others {
		if err := m.MkdirAll("/data/" + name); err != nil {
			t.Fatal(err)
		}
		if err := vfs.WriteFile(m, "/data/"+name+"/00000000000000000000.log", []byte("something")); err != nil {
			t.Fatal(err)
		}
	}
	s := openStore(t, m, "/data", options())
	if n := len(s.All()) + len(s.mu.failed); n != 1 { // "t--1" is the partition 1 of the topic "t-"
		t.Errorf("%d logs", n)
	}
	closeStore(t, s)
	for _, name := range others {
		if b, err := vfs.ReadFile(m, "/data/"+name+"/00000000000000000000.log", 100); err != nil ||
			name != "t--1" && string(b) != "something" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
}
