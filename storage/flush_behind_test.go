package storage

import (
	"math/rand/v2"
	"path"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/vfs"
)

// readCounter counts the bytes that are read from files.
type readCounter struct {
	vfs.FS
	bytes atomic.Int64
}

type countedFile struct {
	vfs.File
	c *readCounter
}

func (c *readCounter) Open(name string) (vfs.File, error) {
	f, err := c.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return countedFile{f, c}, nil
}

func (f countedFile) ReadAt(p []byte, at int64) (int, error) {
	n, err := f.File.ReadAt(p, at)
	f.c.bytes.Add(int64(n))
	return n, err
}

// numbered is an idempotent batch of about n bytes whose first record has the sequence number seq.
func numbered(n int, seq int32) batch.Batch {
	b := batch.NewBuilder(batch.BuilderOptions{Producer: &batch.Producer{ID: 9, Sequence: seq}})
	b.Add(1_700_000_000_000+int64(seq), nil, make([]byte, n-80))
	return b.Build()
}

// A crash costs what was not flushed, however large the segment is in which it lies.
func TestACrashIsReadFromTheRecoveryPointOn(t *testing.T) {
	mem := vfs.NewMem()
	s, err := openIdle(mem, []string{"/data"}, options())
	if err != nil {
		t.Fatal(err)
	}
	l := create(t, s, DefaultConfig())
	const size, flushed, behind = 16 << 10, 2000, 50 // of which 32 MB are flushed
	for seq := range int32(flushed) {
		mustAppend(t, l, numbered(size, seq))
	}
	s.flushSoon(l, l.Bounds().End)
	s.flushPending()
	s.keepPoints(time.Now())
	if at := l.Bounds().Synced; at != flushed {
		t.Fatalf("the recovery point is %d", at)
	}
	for seq := int32(flushed); seq < flushed+behind; seq++ {
		mustAppend(t, l, numbered(size, seq))
	}

	counter := &readCounter{FS: mem.CrashClone(rand.New(rand.NewPCG(1, 1)), 100)}
	again, err := openIdle(counter, []string{"/data"}, options())
	if err != nil {
		t.Fatal(err)
	}
	if read, most := counter.bytes.Load(), int64(behind*size*3/2+100<<10); read > most {
		t.Errorf("%d bytes were read where %d were not flushed", read, behind*size)
	}
	l, _ = again.Log(tp0)
	if end := l.Bounds().End; end != flushed+behind {
		t.Errorf("the log ends at %d", end)
	}
	a, err := l.Append(time.Now(), 0, numbered(size, flushed+behind-3))
	if err != nil || !a.Duplicate || a.Base != flushed+behind-3 {
		t.Errorf("a batch from before the crash, once more: %+v, %v", a, err)
	}
	checkLookups(t, l)
}

func checkLookups(t *testing.T, l *Log) {
	t.Helper()
	end := l.Bounds().End
	for at := protocol.Offset(0); at < end; at += max(end/97, 1) {
		sl, err := l.Read(at, end, 100, true)
		if err != nil {
			t.Fatal(err)
		}
		b, err := sl.Bytes(nil)
		sl.Release()
		if err != nil || batch.Batch(b).BaseOffset() != at {
			t.Fatalf("offset %d is looked up as %d, %v", at, batch.Batch(b).BaseOffset(), err)
		}
		found, ok, err := l.OffsetAt(1_700_000_000_000+int64(at), end)
		if err != nil || !ok || found.Offset != at {
			t.Fatalf("the time of offset %d is found at %+v, %v, %v", at, found, ok, err)
		}
	}
}

// What is appended does not wait for a segment to end before it is flushed: so much of it, or anything much that is old.
func TestMuchBehindTheRecoveryPointIsFlushed(t *testing.T) {
	mem := vfs.NewMem()
	s, err := openIdle(mem, []string{"/data"}, options())
	if err != nil {
		t.Fatal(err)
	}
	l := create(t, s, DefaultConfig())
	now := time.Now()
	seq := int32(0)
	grow := func(bytes int64) { // a small batch, counted as if it were of so many bytes
		l.behind.appended(now, max(bytes-1000, 0))
		l.w.unsnapped += bytes
		if _, err := l.Append(now, 0, numbered(1000, seq)); err != nil {
			t.Fatal(err)
		}
		seq++
	}
	round := func() protocol.Offset {
		s.flushByAge(now)
		s.flushPending()
		s.keepPoints(now)
		return l.Bounds().Synced
	}
	grow(behindBytes / 2)
	if at := round(); at != 0 {
		t.Fatalf("flushed up to %d too early", at)
	}
	grow(behindBytes/2 + 100)
	if at := round(); at != 0 {
		t.Fatalf("flushed up to %d though the last flush was a moment ago", at)
	}
	now = now.Add(behindPause)
	end := l.Bounds().End
	if at := round(); at != end {
		t.Fatalf("flushed up to %d of %d", at, end)
	}
	if kept := s.keptRecoveryPoint(l); kept != end {
		t.Fatalf("the recovery point on disk is %d, not %d", kept, end)
	}
	grow(behindLeast / 2)
	grow(behindLeast)
	now = now.Add(behindAge - time.Second)
	if at := round(); at != end {
		t.Fatal("flushed before its time")
	}
	now = now.Add(time.Second)
	if at := round(); at != l.Bounds().End {
		t.Fatal("not flushed when it was old")
	}
	for range 4 { // each flush keeps the producers; those of the flushes before the last two go
		grow(behindBytes)
		now = now.Add(pointInterval)
		round()
	}
	if n := len(snapshotFiles(t, mem, l.Dir())); n > 2 {
		t.Errorf("%d snapshots after five flushes", n)
	}
}

func snapshotFiles(t *testing.T, fsys vfs.FS, dir string) (names []string) {
	t.Helper()
	entries, err := fsys.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name, ".snapshot") {
			names = append(names, path.Join(dir, e.Name))
		}
	}
	return names
}
