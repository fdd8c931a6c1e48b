package storage

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

func TestProgressSaysHowLongItTakes(t *testing.T) {
	f := func(opened, read, bytes int64, want string) {
		t.Helper()
		p := &progress{logger: slog.Default(), logs: 200, bytes: bytes << 20}
		p.opened.Store(opened)
		p.read.Store(read << 20)
		if got := strings.TrimSpace(fmt.Sprintln(p.attrs(10 * time.Second)...)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	f(50, 0, 0, "done 50 of 200 secondsLeft 30")
	f(50, 100, 1000, "done 50 of 200 readMiB 100 ofMiB 1000 secondsLeft 90")
	f(0, 0, 1000, "done 0 of 200 readMiB 0 ofMiB 1000")
	f(200, 2000, 1000, "done 200 of 200 readMiB 1000 ofMiB 1000 secondsLeft 0")
}

// TestTheLargestLogIsReadFirst kills a store with logs of several sizes, and looks in which order they are read again.
func TestTheLargestLogIsReadFirst(t *testing.T) {
	disk := vfs.NewMem()
	s, err := openIdle(disk, []string{"/data"}, testOptions(DefaultConfig()))
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range []int{3, 50, 1, 20} {
		l, err := s.Create(protocol.TopicPartition{Topic: fmt.Sprint("t", i)}, protocol.TopicID{1}, DefaultConfig())
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			mustAppend(t, l, records(t, 1, "value"))
		}
	}
	var order []string
	fs := vfs.WithFaults(disk.KillClone(), func(op vfs.Op) error {
		if op.Kind == "ReadAt" && strings.HasSuffix(op.Name, segment.LogSuffix) {
			order = append(order, op.Name[len("/data/"):][:2])
		}
		return nil
	})
	again, err := openIdle(fs, []string{"/data"}, testOptions(DefaultConfig()))
	if err != nil {
		t.Fatal(err)
	}
	defer again.unlock()
	if got := strings.Join(order, " "); got != "t1 t3 t0 t2" {
		t.Errorf("read in the order %s", got)
	}
}
