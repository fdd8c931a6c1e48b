package storage

import (
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

// TestAFolderThatFailsWhileItsJournalIsReplayed costs its own logs only, and nothing of what was acknowledged: the next
// start, on a disk that works again, has it all.
func TestAFolderThatFailsWhileItsJournalIsReplayed(t *testing.T) {
	mem := vfs.NewMem()
	dirs := []string{"/a", "/b"}
	cfg := DefaultConfig()
	cfg.Fsync = true
	o := testOptions(cfg)
	s, err := openIdle(mem, dirs, o)
	if err != nil {
		t.Fatal(err)
	}
	tps := []protocol.TopicPartition{{Topic: "t", Partition: 0}, {Topic: "t", Partition: 1}}
	in := map[string]protocol.TopicPartition{}
	for _, tp := range tps {
		l, err := s.Create(tp, protocol.TopicID{1}, cfg)
		if err != nil {
			t.Fatal(err)
		}
		in[l.Dir()[:2]] = tp
		for i := range int64(5) {
			mustAppend(t, l, records(t, i, "value"))
		}
	}
	if len(in) != 2 {
		t.Fatalf("the logs are in %v", in)
	}
	disk := mem.CrashClone(rand.New(rand.NewPCG(1, 1)), 0)
	broken := vfs.WithFaults(disk, func(op vfs.Op) error {
		if strings.HasPrefix(op.Name, "/b/t-") && op.Kind == "Sync" || strings.HasSuffix(op.Name, rescueFile+".tmp") {
			return syscall.EIO
		}
		return nil
	})
	s, err = openIdle(broken, dirs, o)
	if err != nil {
		t.Fatal(err)
	}
	if l := mustLog(t, s, in["/a"]); l.Failure() != nil || l.Bounds().End != 5 {
		t.Errorf("the log in the folder that works: %+v, %v", l.Bounds(), l.Failure())
	}
	if l, ok := s.Log(in["/b"]); ok && l.Failure() == nil {
		t.Error("the log in the folder that does not work is not offline")
	}
	_ = s.Close()
	s, err = openIdle(disk.CrashClone(rand.New(rand.NewPCG(1, 2)), 0), dirs, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, tp := range tps {
		if l := mustLog(t, s, tp); l.Failure() != nil || l.Bounds().End != 5 {
			t.Errorf("%v: %+v, %v", tp, l.Bounds(), l.Failure())
		}
	}
}
