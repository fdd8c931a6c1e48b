package storage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/protocol/compress"
	"moldau.io/moldau/storage/vfs"
)

// flipConfig makes three or four segments of what fillLog appends, with an index entry for most batches.
func flipConfig() Config {
	cfg := DefaultConfig()
	cfg.SegmentBytes = 800
	cfg.IndexInterval = 100
	return cfg
}

// fillLog appends of everything: plain and compressed batches, timestamps that do not rise, epochs, transactions that
// commit, abort, lie across segments and stay open. Some records at the front are deleted, in the middle of a batch.
func fillLog(t *testing.T, l *Log) {
	t.Helper()
	ts := int64(1_700_000_000_000)
	seqs := map[int64]int32{}
	add := func(e protocol.Epoch, id int64, o batch.BuilderOptions, values ...string) {
		t.Helper()
		if id >= 0 {
			o.Producer = &batch.Producer{ID: id, Epoch: 0, Sequence: seqs[id]}
			seqs[id] += int32(len(values))
		}
		b := batch.NewBuilder(o)
		for i, v := range values {
			b.Add(ts+int64(i*37%50), []byte("key"), []byte(v))
		}
		ts += 10
		if _, err := l.Append(testNow, e, b.Build()); err != nil {
			t.Fatal(err)
		}
	}
	end := func(e protocol.Epoch, id int64, commit bool) {
		t.Helper()
		b := batch.NewBuilder(batch.BuilderOptions{
			Producer: &batch.Producer{ID: id, Epoch: 0, Sequence: -1}, Transactional: true, Control: true,
		})
		key := []byte{0, 0, 0, 0}
		if commit {
			key[3] = 1
		}
		b.Add(ts, key, []byte{0, 0, 0, 0, 0, 5})
		if _, err := l.Append(testNow, e, b.Build()); err != nil {
			t.Fatal(err)
		}
	}
	plain, txn := batch.BuilderOptions{}, batch.BuilderOptions{Transactional: true}
	add(1, -1, plain, "first", "second", "third", "fourth")
	add(1, 5, plain, "idempotent")
	add(1, -1, batch.BuilderOptions{Codec: compress.LZ4}, strings.Repeat("lz4 ", 20), "x")
	add(1, 7, txn, "aborted later")
	add(2, 8, txn, "committed")
	add(2, -1, batch.BuilderOptions{Codec: compress.Zstd}, strings.Repeat("zstd ", 20), "y")
	ts += 500
	add(2, -1, plain, "the latest")
	ts -= 400
	end(2, 8, true)
	add(2, 7, txn, "aborted soon")
	end(2, 7, false)
	for i := range 4 {
		add(2, 9, txn, fmt.Sprint("long ", i))
	}
	add(4, 7, txn, "aborted, too")
	end(4, 7, false)
	end(4, 9, false)
	add(4, -1, batch.BuilderOptions{Codec: compress.Gzip}, strings.Repeat("gzip ", 20), "z")
	add(4, -1, plain, "plain")
	add(5, 8, txn, "stays open")
	add(5, -1, plain, "last")
	l.SetHighWatermark(l.Bounds().End)
	if err := l.Advance(2); err != nil {
		t.Fatal(err)
	}
}

// picture is what readers can see of a log.
type picture struct {
	bounds  Bounds
	raw     []byte                        // all batches
	aborted map[[2]protocol.Offset]string // by range
	times   map[int64]string              // by timestamp
	epochs  map[protocol.Epoch]string     // what OffsetForLeaderEpoch says
	open    string                        // the producers
	at      map[protocol.Offset]int       // where in raw the batch begins that holds an offset
}

// takePicture reads everything in every way. An error of any way is its error.
func takePicture(l *Log) (p picture, err error) {
	p.bounds = l.Bounds()
	p.aborted = map[[2]protocol.Offset]string{}
	p.times, p.epochs = map[int64]string{}, map[protocol.Epoch]string{}
	p.at = map[protocol.Offset]int{}
	b := p.bounds
	if b.End-b.Start > 100 {
		return p, wrongError{fmt.Errorf("bounds %+v", b)}
	}
	for from := b.Start; from < b.End; {
		slice, err := l.Read(from, b.End, 300, true)
		if err != nil {
			return p, err
		}
		raw, err := slice.Bytes(nil)
		slice.Release()
		if err != nil {
			return p, err
		}
		got := wholePrefix(raw)
		if len(got) == 0 {
			return p, fmt.Errorf("nothing whole at offset %d", from)
		}
		for rest := got; len(rest) > 0; {
			bytes := int(binary.BigEndian.Uint32(rest[8:])) + 12
			head := batch.Batch(rest[:bytes])
			for ; from <= head.LastOffset(); from++ {
				p.at[from] = len(p.raw)
			}
			p.raw = append(p.raw, head...)
			rest = rest[bytes:]
		}
	}
	for from := b.Start; from < b.End; from++ {
		to := min(from+7, b.End)
		found, err := l.Aborted(from, to)
		if err != nil {
			return p, err
		}
		p.aborted[[2]protocol.Offset{from, to}] = fmt.Sprint(found)
	}
	for ts := int64(1_700_000_000_000 - 5); ts < 1_700_000_000_900; ts += 19 {
		found, ok, err := l.OffsetAt(ts, b.End)
		if err != nil {
			return p, err
		}
		p.times[ts] = fmt.Sprint(found, ok)
	}
	found, ok, err := l.MaxTimestamp()
	if err != nil {
		return p, err
	}
	p.times[-3] = fmt.Sprint(found, ok)
	for e := range protocol.Epoch(7) {
		epoch, end := l.EpochEnd(e)
		p.epochs[e] = fmt.Sprint(epoch, end)
	}
	p.open = fmt.Sprint(l.Producers())
	return p, l.Failure()
}

// wholePrefix is the whole batches at the front, as a client takes them that checks nothing but the length.
func wholePrefix(raw []byte) []byte {
	n := 0
	for len(raw)-n >= batch.HeaderBytes {
		bytes := int(int32(binary.BigEndian.Uint32(raw[n+8:]))) + 12
		if bytes < batch.HeaderBytes || bytes > len(raw)-n {
			break
		}
		n += bytes
	}
	return raw[:n]
}

// compare says in what a picture differs.
func (p picture) compare(want picture) error {
	switch {
	case p.bounds.Start != want.bounds.Start || p.bounds.End != want.bounds.End ||
		p.bounds.LastStable != want.bounds.LastStable:
		return fmt.Errorf("bounds %+v, want %+v", p.bounds, want.bounds)
	case !bytes.Equal(p.raw, want.raw):
		return fmt.Errorf("%d bytes read, want %d, or they differ", len(p.raw), len(want.raw))
	case !maps.Equal(p.aborted, want.aborted):
		return fmt.Errorf("aborted transactions %v, want %v", p.aborted, want.aborted)
	case !maps.Equal(p.times, want.times):
		return fmt.Errorf("times %v, want %v", p.times, want.times)
	case !maps.Equal(p.epochs, want.epochs):
		return fmt.Errorf("epochs %v, want %v", p.epochs, want.epochs)
	case p.open != want.open:
		return fmt.Errorf("producers %v, want %v", p.open, want.open)
	}
	return nil
}

// flipDisk is a folder with one log in it, left in order or by a kill after everything had been flushed.
func flipDisk(t *testing.T, clean bool) (*vfs.Mem, picture) {
	t.Helper()
	disk := vfs.NewMem()
	s, err := openIdle(disk, []string{"/data"}, testOptions(flipConfig()))
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Create(tp0, protocol.TopicID{1}, flipConfig())
	if err != nil {
		t.Fatal(err)
	}
	fillLog(t, l)
	if l.Segments() < 3 || l.Segments() > 4 {
		t.Fatalf("%d segments", l.Segments())
	}
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	hw := map[protocol.TopicPartition]protocol.Offset{tp0: l.Bounds().End}
	if err := s.Checkpoint(hw); err != nil {
		t.Fatal(err)
	}
	want, err := takePicture(l)
	if err != nil {
		t.Fatal(err)
	}
	if !clean {
		return disk.KillClone(), want
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return disk.KillClone(), want
}

// TestI30_FlippedBitsAreReportedOrHarmless flips bits of every byte of every file in a small folder, one byte at a time.
// What is read afterwards is what was written, or there is an error.
func TestI30_FlippedBitsAreReportedOrHarmless(t *testing.T) {
	masks := []byte{0x01, 0x04, 0x80, 0xff}
	if testing.Short() {
		masks = masks[:1]
	}
	for _, clean := range []bool{true, false} {
		t.Run(fmt.Sprint("clean=", clean), func(t *testing.T) {
			disk, want := flipDisk(t, clean)
			if err := openFlipped(disk.KillClone(), want); err != nil {
				t.Fatal("without a flip: ", err)
			}
			for _, name := range filesBelow(t, disk, "/data") {
				t.Run(path.Base(name), func(t *testing.T) {
					reported := 0
					size := fileSize(t, disk, name)
					for at := range size {
						for _, mask := range masks {
							broken := disk.KillClone()
							flip(t, broken, name, at, mask)
							err := openFlipped(broken, want)
							if wrong, ok := err.(wrongError); ok {
								t.Fatalf("byte %d ^ %02x: %v", at, mask, wrong)
							}
							if err != nil {
								reported++
							}
						}
					}
					t.Logf("%d of %d flips were reported, the others harmless", reported, int(size)*len(masks))
				})
			}
		})
	}
}

// wrongError says that what is read is not what was written, without an error.
type wrongError struct{ error }

// openFlipped opens the folder and compares; an error that is no wrongError is a report.
func openFlipped(disk vfs.FS, want picture) error {
	s, err := openIdle(disk, []string{"/data"}, testOptions(flipConfig()))
	if err != nil {
		return err
	}
	defer s.unlock()
	l, ok := s.Log(tp0)
	if !ok {
		if err := s.Failed(tp0); err != nil {
			return err
		}
		return wrongError{fmt.Errorf("the partition is gone")}
	}
	got, err := takePicture(l)
	if err != nil {
		return err
	}
	if b := got.bounds; !l.keeper.(*Store).dirs[0].clean && b.Start > want.bounds.Start && b.End == want.bounds.End {
		// After a crash a start may be newer than the leader epochs. Who asks for what lies below is told so.
		if !bytes.HasSuffix(want.raw, got.raw) {
			return wrongError{fmt.Errorf("%d bytes from offset %d on", len(got.raw), b.Start)}
		}
		_, err := l.Read(want.bounds.Start, b.End, 1, true)
		return err
	}
	if err := got.compare(want); err != nil {
		return wrongError{err}
	}
	return nil
}

func filesBelow(t *testing.T, disk vfs.FS, dir string) (names []string) {
	t.Helper()
	entries, err := disk.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name)
		if e.Dir {
			names = append(names, filesBelow(t, disk, name)...)
		} else {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func fileSize(t *testing.T, disk vfs.FS, name string) int64 {
	t.Helper()
	e, err := disk.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return e.Size
}

func flip(t *testing.T, disk vfs.FS, name string, at int64, mask byte) {
	t.Helper()
	f, err := disk.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= mask
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}
