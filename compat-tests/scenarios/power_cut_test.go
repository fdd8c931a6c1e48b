//go:build compat

package scenarios

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"moldau.io/moldau/compat-tests/harness"
)

// TestAcknowledgedIsOnTheDisk cuts the power while a producer writes: the broker runs on an ext4 in a file, it is stopped
// in the middle of what it does, and a copy of that file is what a disk would hold then. A broker that starts on the copy
// must have every record that was acknowledged, where records are to be durable before that; where not, it must not, or
// the cut is none.
func TestAcknowledgedIsOnTheDisk(t *testing.T) {
	const records = 300
	for _, tc := range []struct {
		name, key, value string
		durable          bool
	}{
		{"moldau.durability=fsync", "moldau.durability", "fsync", true},
		{"log.flush.interval.messages=1", "log.flush.interval.messages", "1", true},
		{"neither", "log.flush.interval.messages", "1000000", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "disk.img")
			mustRun(t, "truncate", "-s", "192M", image)
			mustRun(t, "mkfs.ext4", "-q", "-F", image)
			disk := mountImage(t, image)
			b := harness.Start(t, harness.Config{Kind: harness.Moldau, DataDir: filepath.Join(disk, "data"),
				Properties: map[string]string{tc.key: tc.value, "log.segment.bytes": "1048576"}})
			createTopic(t, b.Addr, "one", 1)
			createTopic(t, b.Addr, "two", 1)
			one, two := startWriter(t, b.Addr, "one"), startWriter(t, b.Addr, "two")
			one.awaitAcked(t, records)
			two.awaitAcked(t, records)
			freeze(t, b.PID())
			acked := map[string]int64{"one": one.count(), "two": two.count()}
			cut := copyDisk(t, image)
			one.stop()
			two.stop()
			b.Kill(t)

			c := *b
			c.DataDir = filepath.Join(mountImage(t, cut), "data")
			c.Run(t)
			t.Cleanup(func() { c.Kill(t) })
			if tc.durable {
				readBack(t, c.Addr, "one", 0, acked["one"])
				readBack(t, c.Addr, "two", 0, acked["two"])
				c.Stop(t)
				return
			}
			ends, err := fullDiskAdmin(t, c.Addr).ListEndOffsets(t.Context(), "one", "two")
			if err != nil {
				t.Fatal(err)
			}
			first, _ := ends.Lookup("one", 0)
			second, _ := ends.Lookup("two", 0)
			if first.Offset >= acked["one"] && second.Offset >= acked["two"] {
				t.Errorf("nothing was synced, and nothing was lost: %v of %v", ends, acked)
			}
		})
	}
}

func mustRun(t *testing.T, argv ...string) {
	t.Helper()
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
}

// mountImage needs root. The file system's own commits are put off, so that nothing is kept that was not synced.
func mountImage(t *testing.T, image string) string {
	t.Helper()
	dir := t.TempDir()
	mustRun(t, "mount", "-o", "loop,commit=300", image, dir)
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// freeze stops a process wherever it is, and waits until it stands.
func freeze(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	pause := time.NewTicker(time.Millisecond)
	defer pause.Stop()
	for range 5000 {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		running := 0
		for _, name := range threads {
			stat, _ := os.ReadFile(name)
			_, rest, _ := bytes.Cut(stat, []byte(") "))
			if len(rest) > 0 && rest[0] != 'T' {
				running++
			}
		}
		if len(threads) > 0 && running == 0 {
			return
		}
		<-pause.C
	}
	t.Fatalf("process %d does not stand", pid)
}

// copyDisk copies the image until two copies in a row are the same: what the kernel wrote meanwhile would be of another
// moment.
func copyDisk(t *testing.T, image string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "cut.img")
	last := ""
	for range 20 {
		mustRun(t, "cp", "--sparse=always", image, to)
		f, err := os.Open(to)
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		sum := string(h.Sum(nil))
		if sum == last {
			return to
		}
		last = sum
	}
	t.Fatal("the disk is written all the time, though the broker stands")
	return ""
}
