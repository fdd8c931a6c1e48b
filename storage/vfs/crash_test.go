package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func write(t *testing.T, f File, at int64, b string) {
	t.Helper()
	if _, err := f.WriteAt([]byte(b), at); err != nil {
		t.Fatal(err)
	}
}

// script is the disk of one file that was written three times in the same sector, with a sync after the first.
func script(t *testing.T, rng *rand.Rand, percent int) *Mem {
	t.Helper()
	m := NewMem()
	m.WriteBack(rng, percent)
	f, err := m.Create("/f")
	if err != nil {
		t.Fatal(err)
	}
	write(t, f, 0, "one")
	if err := errors.Join(f.Sync(), m.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	write(t, f, 3, "two")
	write(t, f, 6, "six")
	return m
}

// TestACrashMayFindAnyState lists what a crash leaves of a sector that was written several times: with write-back also
// what was there between two syncs.
func TestACrashMayFindAnyState(t *testing.T) {
	for percent, want := range map[int]string{
		0:  "[one one\x00\x00\x00 one\x00\x00\x00\x00\x00\x00 onetwo onetwosix]",
		50: "[one one\x00\x00\x00 one\x00\x00\x00\x00\x00\x00 onetwo onetwo\x00\x00\x00 onetwosix]",
	} {
		found := map[string]bool{}
		for seed := range uint64(2000) {
			rng := rand.New(rand.NewPCG(seed, 3))
			b, err := ReadFile(script(t, rng, percent).CrashClone(rng, 50), "/f", 100)
			if err != nil || len(b) < 3 || string(b[:3]) != "one" {
				t.Fatalf("%q, %v", b, err)
			}
			if len(b) == 3 || len(b) == 6 || len(b) == 9 {
				found[string(b)] = true
			}
		}
		if got := fmt.Sprintf("%q", sortedKeys(found)); got != fmt.Sprintf("%q", fields(want)) {
			t.Errorf("write-back %d %%: got %s", percent, got)
		}
	}
}

func TestAFailedSyncDropsWhatItShouldHaveKept(t *testing.T) {
	m := NewMem()
	boom := errors.New("boom")
	fail := false
	fsys := WithFaults(m, func(op Op) error {
		if fail && op.Kind == "Sync" {
			return boom
		}
		return nil
	})
	if err := WriteFile(fsys, "/f", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	f, err := fsys.Open("/f")
	if err != nil {
		t.Fatal(err)
	}
	write(t, f, 0, "gone")
	fail = true
	if err := f.Sync(); !errors.Is(err, boom) {
		t.Fatal(err)
	}
	fail = false
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if b, _ := ReadFile(m, "/f", 100); string(b) != "gone" {
		t.Errorf("a reader sees %q before the crash", b)
	}
	c := m.CrashClone(rand.New(rand.NewPCG(1, 1)), 0)
	if b, _ := ReadFile(c, "/f", 100); string(b) != "kept" {
		t.Errorf("after the crash there is %q", b)
	}
	write(t, f, 0, "G")
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if b, _ := ReadFile(m.CrashClone(rand.New(rand.NewPCG(1, 1)), 0), "/f", 100); string(b) != "Gone" {
		t.Errorf("a sector that was written again is %q", b)
	}
}

// TestARenamedFileIsNeverWithoutAName renames a file and a folder and crashes: each is there under one of its names.
func TestARenamedFileIsNeverWithoutAName(t *testing.T) {
	states := map[string]bool{}
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 5))
		m := NewMem()
		if err := errors.Join(m.MkdirAll("/a/dir"), m.MkdirAll("/b")); err != nil {
			t.Fatal(err)
		}
		if err := WriteFile(m, "/a/dir/x", []byte("x")); err != nil {
			t.Fatal(err)
		}
		if seed%2 == 0 {
			m.WriteBack(rng, 30)
		}
		err := errors.Join(m.Rename("/a/dir/x", "/a/dir/y"), m.Rename("/a/dir/y", "/a/dir/z"), m.Rename("/a/dir", "/b/moved"))
		if err != nil {
			t.Fatal(err)
		}
		c := m.CrashClone(rng, 50)
		n, state := 0, ""
		for _, dir := range []string{"/a/dir", "/b/moved"} {
			entries, err := c.List(dir)
			if err != nil {
				continue
			}
			n++
			state += dir
			if len(entries) == 0 {
				t.Fatalf("seed %d: the file is gone\n%v", seed, c)
			}
			for _, e := range entries {
				state += " " + e.Name
			}
		}
		if n != 1 {
			t.Fatalf("seed %d: the folder is there %d times\n%v", seed, n, c)
		}
		states[state] = true
	}
	if len(states) < 6 {
		t.Errorf("only these states were found: %q", sortedKeys(states))
	}
}

func TestAKilledProcessLeavesWhatItWrote(t *testing.T) {
	m := script(t, nil, 0)
	if _, err := m.Lock("/.lock"); err != nil {
		t.Fatal(err)
	}
	k := m.KillClone()
	if b, err := ReadFile(k, "/f", 100); err != nil || string(b) != "onetwosix" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := k.Lock("/.lock"); err != nil {
		t.Error(err)
	}
	if b, err := ReadFile(k.CrashClone(rand.New(rand.NewPCG(1, 1)), 0), "/f", 100); err != nil || strings.Trim(string(b), "\x00") != "one" {
		t.Errorf("what was not synced survived a crash after the kill: %q, %v", b, err)
	}
	f, err := k.Open("/f")
	if err != nil {
		t.Fatal(err)
	}
	write(t, f, 0, "ONE")
	if b, _ := ReadFile(m, "/f", 100); string(b) != "onetwosix" {
		t.Errorf("the clone shares memory: %q", b)
	}
}

// TestClonesShareNothing writes, cuts and syncs clones of clones next to a plain model of one file.
func TestClonesShareNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	type pair struct {
		m    *Mem
		want []byte
	}
	all := []pair{{m: NewMem()}}
	if err := WriteFile(all[0].m, "/f", nil); err != nil {
		t.Fatal(err)
	}
	for range 3000 {
		p := &all[rng.IntN(len(all))]
		f, err := p.m.Open("/f")
		if err != nil {
			t.Fatal(err)
		}
		switch rng.IntN(6) {
		case 0, 1:
			at, b := rng.IntN(2000), bytes.Repeat([]byte{byte(rng.IntN(256))}, rng.IntN(1500))
			write(t, f, int64(at), string(b))
			if need := at + len(b) - len(p.want); need > 0 {
				p.want = append(p.want, make([]byte, need)...)
			}
			copy(p.want[at:], b)
		case 2:
			n := rng.IntN(3000)
			if err := f.Truncate(int64(n)); err != nil {
				t.Fatal(err)
			}
			p.want = append(p.want, make([]byte, max(0, n-len(p.want)))...)[:n]
		case 3:
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
			if b, _ := ReadFile(p.m.CrashClone(rng, 0), "/f", 1<<20); !bytes.Equal(b, p.want) {
				t.Fatalf("%d bytes are not what was synced", len(b))
			}
		case 4:
			c := pair{p.m.KillClone(), bytes.Clone(p.want)}
			all[rng.IntN(len(all))] = c
		default:
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
			all = append(all, pair{p.m.CrashClone(rng, rng.IntN(101)), bytes.Clone(p.want)})
			all = all[max(0, len(all)-6):]
		}
		for i, p := range all {
			if b, _ := ReadFile(p.m, "/f", 1<<20); !bytes.Equal(b, p.want) {
				t.Fatalf("disk %d: %d bytes, want %d, or others", i, len(b), len(p.want))
			}
		}
	}
}

func sortedKeys(m map[string]bool) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func fields(s string) []string { return strings.Fields(strings.Trim(s, "[]")) }
