//go:build bench

package storage

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"moldau.io/moldau/storage"
	"moldau.io/moldau/storage/vfs"
)

const segmentsEach = 3

// makeIdleFolder makes a folder of logs that were closed in order, of three segments each, with a producer and an epoch.
func makeIdleFolder(t testing.TB, dir string) {
	t.Helper()
	fsys := unsynced{vfs.OS()}
	s := openStore(t, fsys, dir)
	cfg := storage.DefaultConfig()
	cfg.SegmentBytes = 24 << 10
	for i := range *logs {
		fill(t, create(t, s, i, cfg), segmentsEach*3, 7<<10)
	}
	if n := s.All()[0].Segments(); n != segmentsEach {
		t.Fatalf("%d segments a log", n)
	}
	closeStore(t, s)
	if err := vfs.OS().SyncAll(dir); err != nil {
		t.Fatal(err)
	}
}

// measureOpen opens a folder of many logs after a clean stop, each time in a process of its own.
func measureOpen(t *testing.T) []row {
	dir := tempDir(t)
	makeIdleFolder(t, dir)
	rows := []row{openRow(t, dir, "warm")}
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
		t.Logf("opening with cold caches is not measured: %v", err)
		return rows
	}
	return append(rows, openRow(t, dir, "cold"))
}

// openRow opens dir a few times; before each time the caches are emptied when they are to be cold.
func openRow(t *testing.T, dir, caches string) row {
	var ms, rss, peak, heap []float64
	for range min(*rounds, 5) {
		if caches == "cold" {
			if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
				t.Fatal(err)
			}
		}
		f := runChild(t, "open", dir)
		if f.Logs != *logs {
			t.Fatalf("%d logs of %d are open", f.Logs, *logs)
		}
		ms, rss = append(ms, f.Millis), append(rss, float64(f.RSS)/(1<<20))
		peak, heap = append(peak, float64(f.Peak)/(1<<20)), append(heap, float64(f.Heap)/float64(*logs))
	}
	return row{
		what: fmt.Sprintf("open %d logs of %d segments after a clean stop, caches %s", *logs, segmentsEach, caches),
		ours: fmt.Sprintf("%.0f ms, %.0f MiB resident (peak %.0f), %.0f bytes a log",
			median(ms), median(rss), median(peak), median(heap)),
		aim: "< 1 s, < 150 MB",
	}
}

// openInChild opens the folder, prints what that took, and leaves in order.
func openInChild() error {
	began := time.Now()
	s, err := storage.OpenStore(vfs.OS(), []string{os.Getenv(folderVariable)}, options())
	if err != nil {
		return err
	}
	f := found{Millis: float64(time.Since(began).Microseconds()) / 1000, Logs: len(s.All())}
	rss, err1 := procRow("status", "VmRSS")
	peak, err2 := procRow("status", "VmHWM")
	read, err3 := procRow("io", "rchar")
	f.RSS, f.Peak, f.Read = rss<<10, peak<<10, read
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	f.Heap = int64(m.HeapAlloc)
	return errors.Join(err1, err2, err3, json.NewEncoder(os.Stdout).Encode(f), s.Close())
}
