package vfs

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"path/filepath"
	"testing"
)

func TestUncachedFilesReadTheSame(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, dir := range []string{t.TempDir(), "/dev/shm"} { // one of the two most likely knows no O_DIRECT
		for _, size := range []int{0, 1, 4095, 4096, 4097, 1 << 20, 1<<20 + 1, 3<<20 + 12345} {
			want := make([]byte, size)
			for i := range want {
				want[i] = byte(rng.Uint32())
			}
			name := filepath.Join(dir, "moldau-uncached-test")
			if err := WriteFile(OS(), name, want); err != nil {
				continue // there is no such folder here
			}
			f, err := OpenUncached(OS(), name)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, size)
			for at := 0; at < size; {
				n := min(1+rng.IntN(300_000), size-at)
				if m, err := f.ReadAt(got[at:at+n], int64(at)); m != n || err != nil {
					t.Fatalf("%s, %d bytes at %d of %d: %d, %v", dir, n, at, size, m, err)
				}
				at += n
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s: %d bytes differ", dir, size)
			}
			if n, err := f.ReadAt(make([]byte, 10), int64(size)); n != 0 || !errors.Is(err, io.EOF) {
				t.Errorf("behind the end: %d, %v", n, err)
			}
			if n, err := f.ReadAt(make([]byte, 10), max(int64(size)-5, 0)); n != min(size, 5) || !errors.Is(err, io.EOF) {
				t.Errorf("over the end: %d, %v", n, err)
			}
			if err := errors.Join(f.Close(), OS().Remove(name)); err != nil {
				t.Fatal(err)
			}
		}
	}
}
