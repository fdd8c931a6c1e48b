//go:build bench

package storage

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage"
	"moldau.io/moldau/storage/vfs"
)

// appendBytes is what each side writes in a round, to a file of its own that is gone afterwards.
const appendBytes = 256 << 20

// measureAppend appends to a log, and writes the same bytes in the same pieces to a file that grows in the same way.
func measureAppend(t *testing.T) []row {
	var rows []row
	for _, size := range []struct {
		name  string
		bytes int
	}{{"16 KB", 16 << 10}, {"1 MB", 1 << 20}} {
		data := sized(size.bytes, -1)
		var bare, ours speeds
		for round := range *rounds + 1 {
			var b, o speed
			if round%2 == 0 { // who comes first meets the colder memory
				b, o = bareAppend(t, data), logAppend(t, data)
			} else {
				o, b = logAppend(t, data), bareAppend(t, data)
			}
			if round > 0 {
				bare, ours = append(bare, b), append(ours, o)
			}
		}
		r := compare(fmt.Sprintf("append batches of %s, against pwrite", size.name), bare, ours, ">= 0.70")
		objects, bytes := appendAllocations(t, data)
		rows = append(rows, r, allocationRow(t, "append "+size.name, objects, bytes))
	}
	return rows
}

func logAppend(t testing.TB, data batch.Batch) speed {
	dir := tempDir(t)
	defer os.RemoveAll(dir)
	s := openStore(t, vfs.OS(), dir)
	l := create(t, s, 0, storage.DefaultConfig())
	n, now, bs := appendBytes/len(data), time.Now(), []batch.Batch{data}
	r := measure(t, n*len(data), func() error {
		for range n {
			if _, err := l.Append(now, 0, bs...); err != nil {
				return err
			}
		}
		return nil
	})
	if err := s.Delete(partition(0)); err != nil { // closing must not flush it
		t.Fatal(err)
	}
	closeStore(t, s)
	return r
}

func bareAppend(t testing.TB, data batch.Batch) speed {
	dir := tempDir(t)
	defer os.RemoveAll(dir)
	f, err := os.Create(filepath.Join(dir, "bare"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := appendBytes / len(data)
	return measure(t, n*len(data), func() error {
		for i := range n {
			if _, err := f.WriteAt(data, int64(i*len(data))); err != nil {
				return err
			}
		}
		return nil
	})
}

// appendAllocations is the allocations of an append, and their bytes. It appends a fixed amount: an hour of appends to find
// a steady state would fill the disk.
func appendAllocations(t testing.TB, data batch.Batch) (objects, bytes float64) {
	s := openStore(t, vfs.OS(), tempDir(t))
	defer closeStore(t, s)
	l := create(t, s, 0, storage.DefaultConfig())
	now, bs := time.Now(), []batch.Batch{data}
	return allocations(t, max(appendBytes/len(data), 300), func() error {
		_, err := l.Append(now, 0, bs...)
		return err
	})
}

// allocations is how many objects, and bytes, a call of work allocates.
func allocations(t testing.TB, calls int, work func() error) (objects, bytes float64) {
	t.Helper()
	var before, after runtime.MemStats
	for range 10 {
		if err := work(); err != nil {
			t.Fatal(err)
		}
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection would empty the pools
	runtime.ReadMemStats(&before)
	for range calls {
		if err := work(); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / float64(calls),
		float64(after.TotalAlloc-before.TotalAlloc) / float64(calls)
}

// allocationRow also fails the test where there is more than what the background of the process allocates.
func allocationRow(t testing.TB, what string, objects, bytes float64) row {
	t.Helper()
	if objects >= 0.5 || bytes >= 64 {
		t.Errorf("%s: %.2f allocations of %.0f bytes a call", what, objects, bytes)
	}
	return row{
		what: what + ": allocations",
		ours: fmt.Sprintf("%.2f objects, %.1f bytes a call", objects, bytes),
		aim:  "0",
	}
}
