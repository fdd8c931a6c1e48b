package vfs

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"
)

func TestTheKilledWriteNothing(t *testing.T) {
	for name, fsys := range map[string]FS{"memory": NewMem(), "disk": OS()} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.ToSlash(t.TempDir())
			m := NewMortal(fsys)
			if err := m.MkdirAll(dir + "/d"); err != nil {
				t.Fatal(err)
			}
			lock, err := m.Lock(dir + "/lock")
			if err != nil {
				t.Fatal(err)
			}
			f, err := m.Create(dir + "/d/f")
			if err != nil {
				t.Fatal(err)
			}
			write(t, f, 0, "before")
			if _, ok := f.(interface{ Fd() int }); ok != (name == "disk") {
				t.Error("its descriptor is hidden, or there is none")
			}
			m.Kill()
			_, wrote := f.WriteAt([]byte("after"), 0)
			_, created := m.Create(dir + "/d/g")
			_, locked := m.Lock(dir + "/other")
			for what, err := range map[string]error{
				"WriteAt": wrote, "Truncate": f.Truncate(1), "Sync": f.Sync(), "Create": created, "Lock": locked,
				"Remove": m.Remove(dir + "/d/f"), "Rename": m.Rename(dir+"/d/f", dir+"/d/g"), "Mkdir": m.Mkdir(dir + "/e"),
				"MkdirAll": m.MkdirAll(dir + "/e/e"),
			} {
				if !errors.Is(err, fs.ErrClosed) {
					t.Errorf("%s after the end: %v", what, err)
				}
			}
			if err := errors.Join(f.Close(), lock.Close()); err != nil {
				t.Fatal(err)
			}
			next := NewMortal(fsys)
			if lock, err = next.Lock(dir + "/lock"); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = lock.Close() }()
			if b, err := ReadFile(next, dir+"/d/f", 100); string(b) != "before" || err != nil {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
}
