package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"testing"
	"time"
)

// TestFileSystems holds both file systems to the same behaviour.
func TestFileSystems(t *testing.T) {
	for name, tc := range map[string]struct {
		fs  FS
		dir string
	}{
		"OS":     {OS(), t.TempDir()},
		"Mem":    {NewMem(), "/x"},
		"Faults": {WithFaults(NewMem(), func(Op) error { return nil }), "/x"},
	} {
		t.Run(name, func(t *testing.T) { behave(t, tc.fs, path.Join(tc.dir, "a/b")) })
	}
}

func behave(t *testing.T, f FS, dir string) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	absent := func(err error) {
		t.Helper()
		if !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("got %v, want an error of what does not exist", err)
		}
	}
	must(f.MkdirAll(dir))
	must(f.MkdirAll(dir))
	must(f.Mkdir(path.Join(dir, "sub")))
	if err := f.Mkdir(path.Join(dir, "sub")); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("got %v", err)
	}
	one, two := path.Join(dir, "one"), path.Join(dir, "two")
	_, err := f.Open(one)
	absent(err)
	_, err = f.Stat(one)
	absent(err)
	absent(f.Remove(one))
	absent(f.Rename(one, two))
	_, err = f.List(path.Join(dir, "none"))
	absent(err)

	h, err := f.Create(one)
	must(err)
	_, err = h.WriteAt([]byte("hello"), 3)
	must(err)
	b := make([]byte, 10)
	if n, err := h.ReadAt(b, 2); n != 6 || err != io.EOF || string(b[:n]) != "\x00hello" {
		t.Fatalf("read %q, %v", b[:n], err)
	}
	must(h.Truncate(5))
	must(h.Sync())
	if n, err := h.Size(); n != 5 || err != nil {
		t.Fatal(n, err)
	}
	must(f.Rename(one, two))
	must(f.SyncDir(dir))
	if n, err := h.ReadAt(b[:2], 3); n != 2 || err != nil || string(b[:2]) != "he" {
		t.Fatalf("read %q, %v after the renaming", b[:n], err)
	}
	must(h.Close())
	must(WriteFile(f, one, []byte("whole")))
	if got, err := ReadFile(f, one, 5); err != nil || string(got) != "whole" {
		t.Fatal(got, err)
	}
	if _, err := ReadFile(f, one, 4); err == nil {
		t.Fatal("a file over the limit was read")
	}
	got, err := f.List(dir)
	must(err)
	for i := range got {
		if got[i].ModTime.IsZero() != got[i].Dir {
			t.Fatalf("%+v", got[i])
		}
		got[i].ModTime = time.Time{}
	}
	want := []Entry{{Name: "one", Size: 5}, {Name: "sub", Dir: true}, {Name: "two", Size: 5}}
	if !slices.Equal(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
	lock, err := f.Lock(path.Join(dir, ".lock"))
	must(err)
	var held *LockedError
	if _, err := f.Lock(path.Join(dir, ".lock")); !errors.As(err, &held) {
		t.Fatalf("locked twice: %v", err)
	}
	must(lock.Close())
	lock, err = f.Lock(path.Join(dir, ".lock"))
	must(err)
	must(lock.Close())
	must(RemoveAll(f, dir))
	_, err = f.Stat(dir)
	absent(err)
}

func TestTheHolderOfALockIsNamed(t *testing.T) {
	name := path.Join(t.TempDir(), ".lock")
	l, err := OS().Lock(name)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var held *LockedError
	if _, err := OS().Lock(name); !errors.As(err, &held) || held.PID != os.Getpid() {
		t.Fatalf("%v, want the process %d", err, os.Getpid())
	}
}

// TestCrashKeepsWhatIsSynced says what a crash may take, and what not.
func TestCrashKeepsWhatIsSynced(t *testing.T) {
	lost := map[string]bool{}
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		m := NewMem()
		if err := m.MkdirAll("/d"); err != nil {
			t.Fatal(err)
		}
		if err := WriteFile(m, "/d/kept", make([]byte, 3000)); err != nil {
			t.Fatal(err)
		}
		f, err := m.Open("/d/kept")
		if err != nil {
			t.Fatal(err)
		}
		ones := make([]byte, 3000)
		for i := range ones {
			ones[i] = 1
		}
		if _, err := f.WriteAt(ones, 3000); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Create("/d/new"); err != nil {
			t.Fatal(err)
		}
		c := m.CrashClone(rng, []int{50, 95}[seed%2])
		got, err := ReadFile(c, "/d/kept", 1<<20)
		if err != nil || len(got) < 3000 || len(got) > 6000 {
			t.Fatalf("seed %d: %d bytes, %v", seed, len(got), err)
		}
		zeros := 0
		for i, b := range got {
			if i < 3000 && b != 0 {
				t.Fatalf("seed %d: byte %d changed", seed, i)
			}
			if i >= 3000 && b == 0 {
				zeros++
			}
		}
		_, err = c.Stat("/d/new")
		lost["name"] = lost["name"] || err != nil
		lost["bytes"] = lost["bytes"] || zeros > 0
		lost["size"] = lost["size"] || len(got) < 6000
		lost["nothing"] = lost["nothing"] || err == nil && zeros == 0 && len(got) == 6000
	}
	for _, what := range []string{"name", "bytes", "size", "nothing"} {
		if !lost[what] {
			t.Errorf("in 200 crashes none lost: %s", what)
		}
	}
}

func TestFaultsFailCallsAndTearWrites(t *testing.T) {
	boom := errors.New("boom")
	var calls []string
	fail := ""
	f := WithFaults(NewMem(), func(op Op) error {
		calls = append(calls, op.Kind)
		if op.Kind == fail {
			return boom
		}
		return nil
	})
	h, err := f.Create("/a")
	if err != nil {
		t.Fatal(err)
	}
	fail = "WriteAt"
	if n, err := h.WriteAt([]byte("12345678"), 0); n != 4 || !errors.Is(err, boom) {
		t.Fatal(n, err)
	}
	if n, _ := h.Size(); n != 4 {
		t.Fatalf("%d bytes were written", n)
	}
	fail = "Rename"
	if err := f.Rename("/a", "/b"); !errors.Is(err, boom) {
		t.Fatal(err)
	}
	if want := "[Create WriteAt Rename]"; fmt.Sprint(calls) != want {
		t.Fatalf("%v, want %s", calls, want)
	}
}
