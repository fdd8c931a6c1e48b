package journal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"strings"
	"syscall"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/vfs"
)

// fakeLog is a log that notes what it is told.
type fakeLog struct {
	name      Name
	committed protocol.Offset
	synced    protocol.Offset // in its own files
	lost      error
	bad       error // SyncData fails with it
}

func (l *fakeLog) Name() Name                     { return l.name }
func (l *fakeLog) Committed(upTo protocol.Offset) { l.committed = max(l.committed, upTo) }
func (l *fakeLog) Lost(err error)                 { l.lost = err }
func (l *fakeLog) Settled(upTo protocol.Offset) bool {
	return l.synced >= upTo
}

func (l *fakeLog) RescueFile() string {
	if l.lost == nil {
		return ""
	}
	return "/rescued"
}

func (l *fakeLog) SyncData(upTo protocol.Offset) error {
	if l.bad == nil {
		l.synced = max(l.synced, upTo)
	}
	return l.bad
}

func newLog(partition int32) *fakeLog {
	return &fakeLog{name: Name{ID: protocol.TopicID{7}, Partition: protocol.TopicPartition{Topic: "t", Partition: partition}}}
}

func open(fsys vfs.FS, file, direct int64) *Journal {
	return New(Config{
		FS: fsys, Dir: "/j", Cluster: "cluster", Folder: "folder", ID: 42, FileBytes: file, Files: 2, DirectBytes: direct,
		Broken: func(error) {}, Logger: slog.New(slog.DiscardHandler), Now: time.Now,
	})
}

// add appends one batch of so many bytes that begins at an offset and has one record.
func add(m *Member, at protocol.Offset, size int) []byte {
	b := bytes.Repeat([]byte{byte('a' + at%26)}, size)
	m.j.Admit(int64(size))
	m.Add(at, at+1, []batch.Batch{b}, int64(size), false)
	return b
}

func find(t *testing.T, fsys vfs.FS) *Found {
	t.Helper()
	f, err := Find(fsys, "/j", "cluster", "folder")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// offsets are where the entries of a log begin.
func offsets(f *Found, l *fakeLog) string {
	var out []string
	for _, e := range f.Entries[l.name] {
		out = append(out, fmt.Sprint(e.From))
	}
	return strings.Join(out, " ")
}

func TestEntriesAreFoundAgain(t *testing.T) {
	mem := vfs.NewMem()
	j := open(mem, 64<<10, 4000)
	a, b := newLog(0), newLog(1)
	ma, mb := j.Join(a), j.Join(b)
	want := add(ma, 0, 100)
	add(mb, 5, 3000)
	add(ma, 1, 1)
	if a.committed != 0 {
		t.Fatal("committed before the commit")
	}
	j.Commit()
	add(ma, 2, 10)
	j.Commit()
	if a.committed != 3 || b.committed != 6 || a.synced != 0 {
		t.Fatalf("committed %d and %d, synced %d", a.committed, b.committed, a.synced)
	}
	f := find(t, mem)
	if got := offsets(f, a); got != "0 1 2" || len(f.Damage) > 0 {
		t.Errorf("%q, %v", got, f.Damage)
	}
	if got, err := f.Batches(f.Entries[a.name][0], nil); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	if c := j.Counts(); c.Syncs != 2 || c.Batches != 4 || c.Rounds != 2 {
		t.Errorf("%+v", c)
	}
	if err := j.Forget(a.name); err != nil {
		t.Fatal(err)
	}
	add(ma, 1, 10)
	j.Commit()
	if got := offsets(find(t, mem), a); got != "1" {
		t.Errorf("after Forget: %q", got)
	}
	if err := j.Remove(); err != nil {
		t.Fatal(err)
	}
	if f := find(t, mem); !f.Empty() || len(f.Entries) > 0 {
		t.Errorf("after Remove: %v", mem)
	}
}

func TestManyBytesOfOneLogAreNotCopied(t *testing.T) {
	mem := vfs.NewMem()
	j := open(mem, 64<<10, 1000)
	a := newLog(0)
	m := j.Join(a)
	add(m, 0, 600)
	add(m, 1, 600)
	j.Commit()
	if a.committed != 2 || a.synced != 2 || j.Counts().Bytes != 0 {
		t.Errorf("committed %d, synced %d, %d bytes in the journal", a.committed, a.synced, j.Counts().Bytes)
	}
}

// TestFilesAreUsedAgain fills files for long: those whose entries are needed no more are overwritten, what is left of their
// former use is not taken for entries, and the oldest that are needed are still there.
func TestFilesAreUsedAgain(t *testing.T) {
	mem := vfs.NewMem()
	j := open(mem, 5*4096, 3000)
	a := newLog(0)
	m := j.Join(a)
	for at := range protocol.Offset(200) {
		add(m, at, 1+int(at*37)%2900)
		j.Commit()
		f := find(t, mem)
		es := f.Entries[a.name]
		if len(f.Damage) > 0 || a.committed != at+1 || len(es) == 0 || es[len(es)-1].End != at+1 || es[0].From > a.synced {
			t.Fatalf("at %d: %+v, %v; committed %d, synced %d", at, es, f.Damage, a.committed, a.synced)
		}
		for i, e := range es {
			if i > 0 && e.From != es[i-1].End {
				t.Fatalf("at %d: a hole in %+v", at, es)
			}
		}
	}
	if n, _ := mem.List("/j"); len(n) != 2 {
		t.Errorf("files: %v", n)
	}
}

// TestABrokenByte breaks each byte of a journal, one at a time: what was written before it is there, nothing wrong is, and
// what lay behind it is only there where the loss is reported.
func TestABrokenByte(t *testing.T) {
	mem := vfs.NewMem()
	j := open(mem, 64<<10, 4000)
	a := newLog(0)
	m := j.Join(a)
	for at := range protocol.Offset(4) {
		add(m, at, 50)
		j.Commit()
	}
	whole, err := vfs.ReadFile(mem, "/j/000", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	damaged, cut := 0, 0
	for i := headerBytes; i < headerBytes+4*pieceAlign; i++ {
		b := bytes.Clone(whole)
		b[i] ^= 1 << (i % 8)
		f := &Found{fs: mem, Entries: map[Name][]Entry{}, files: map[string]uint64{}}
		f.collect(scan("/j/000", b, 42))
		got, piece := offsets(f, a), (i-headerBytes)/pieceAlign
		switch want := []string{"1 2 3", "0 2 3", "0 1 3", "0 1 2"}[piece]; {
		case got == "0 1 2 3": // a byte that nothing depends on
		case got != want:
			t.Fatalf("byte %d: %q", i, got)
		case piece > 0 && piece < 3 && len(f.Damage) == 0:
			t.Fatalf("byte %d: %q, and nothing is reported", i, got)
		case piece < 3:
			damaged++
		default:
			cut++
		}
	}
	if damaged < 300 || cut < 100 {
		t.Errorf("%d bytes were damage, %d a torn tail", damaged, cut)
	}
}

// TestATornPieceEndsAtItsFirstGap: what was written in one go and not synced may be there in any part. Nothing of it was
// committed, and an entry behind a missing one of the same log must not be found, nor be called damage.
func TestATornPieceEndsAtItsFirstGap(t *testing.T) {
	mem := vfs.NewMem()
	j := open(mem, 64<<10, 4000)
	a, b := newLog(0), newLog(1)
	ma, mb := j.Join(a), j.Join(b)
	add(mb, 0, 50)
	j.Commit()
	for at := range protocol.Offset(3) {
		add(ma, at, 50)
	}
	j.Commit()
	whole, err := vfs.ReadFile(mem, "/j/000", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	entry := int(alignUp(entryBytes+1+50, entryAlign))
	for i, want := range []string{"", "0", "0 1"} {
		torn := bytes.Clone(whole)
		torn[headerBytes+pieceAlign+i*entry+entryBytes] ^= 1
		f := &Found{fs: mem, Entries: map[Name][]Entry{}, files: map[string]uint64{}}
		f.collect(scan("/j/000", torn, 42))
		if got := offsets(f, a); got != want || offsets(f, b) != "0" || len(f.Damage) > 0 {
			t.Errorf("without entry %d: %q, want %q; %v", i, got, want, f.Damage)
		}
	}
}

func TestAnothersJournalIsRefused(t *testing.T) {
	mem := vfs.NewMem()
	j := open(mem, 64<<10, 4000)
	add(j.Join(newLog(0)), 0, 10)
	j.Commit()
	for _, whose := range [][2]string{{"other", "folder"}, {"cluster", "other"}} {
		_, err := Find(mem, "/j", whose[0], whose[1])
		if foreign := (*ForeignError)(nil); !errors.As(err, &foreign) || foreign.Name != "/j/000" {
			t.Errorf("%v: %v", whose, err)
		}
	}
	f, err := mem.Create("/j/001")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("something else"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := Find(mem, "/j", "cluster", "folder"); err == nil {
		t.Error("a file that is no journal's was taken for one")
	}
}

// TestI32_AFailedSyncEndsTheJournal: nothing is committed by it, nor by a later one that succeeds.
func TestI32_AFailedSyncEndsTheJournal(t *testing.T) {
	bad := errors.New("the disk says no")
	failing := false
	mem := vfs.NewMem()
	j := open(vfs.WithFaults(mem, func(op vfs.Op) error {
		if failing && op.Kind == "Sync" {
			return bad
		}
		return nil
	}), 64<<10, 4000)
	a, b := newLog(0), newLog(1)
	ma, mb := j.Join(a), j.Join(b)
	add(ma, 0, 10)
	j.Commit()
	failing = true
	add(ma, 1, 10)
	j.Commit()
	failing = false
	add(mb, 0, 10)
	j.Commit()
	if a.committed != 1 || a.lost == nil || b.committed != 0 || b.lost == nil || j.Broken() == nil {
		t.Errorf("%+v, %+v, %v", a, b, j.Broken())
	}
}

// TestAFullDiskHasLogsSyncTheirOwnFiles, and the journal is tried again.
func TestAFullDiskHasLogsSyncTheirOwnFiles(t *testing.T) {
	full := true
	mem := vfs.NewMem()
	now := time.Unix(0, 0)
	j := open(vfs.WithFaults(mem, func(op vfs.Op) error {
		if full && op.Kind == "WriteAt" {
			return syscall.ENOSPC
		}
		return nil
	}), 64<<10, 4000)
	j.cfg.Now = func() time.Time { return now }
	a := newLog(0)
	m := j.Join(a)
	for at := range protocol.Offset(3) {
		add(m, at, 10)
		j.Commit()
		if a.committed != at+1 || a.synced != at+1 || a.lost != nil {
			t.Fatalf("%+v", a)
		}
	}
	full, now = false, now.Add(retryInterval)
	add(m, 3, 10)
	j.Commit()
	if a.committed != 4 || a.synced != 3 || j.Broken() != nil {
		t.Errorf("%+v, %v", a, j.Broken())
	}
	full = true
	add(m, 4, 10)
	j.Commit()
	full = false
	add(m, 5, 10)
	j.Commit()
	if f := find(t, mem); offsets(f, a) != "3 5" || a.committed != 6 || len(f.Damage) > 0 {
		t.Errorf("%q, %v, %+v", offsets(f, a), f.Damage, a)
	}
}

// TestALogInTroubleKeepsItsEntries beside itself when the journal's files are needed.
func TestALogInTroubleKeepsItsEntries(t *testing.T) {
	mem := vfs.NewMem()
	j := open(mem, 5*4096, 3000)
	a, b := newLog(0), newLog(1)
	ma, mb := j.Join(a), j.Join(b)
	for at := range protocol.Offset(3) {
		add(ma, at, 100)
		j.Commit()
	}
	a.bad = errors.New("its file says no")
	for at := range protocol.Offset(40) {
		add(mb, at, 100)
		j.Commit()
	}
	if b.committed != 40 || a.lost == nil {
		t.Fatalf("%+v, %+v", a, b)
	}
	f, err := FindRescued(mem, "/rescued", "cluster")
	if err != nil || offsets(f, a) != "0 1 2" || len(f.Entries) != 1 {
		t.Errorf("%+v, %v", f, err)
	}
	if err := f.Rescue(a.name, f.Entries[a.name], path.Join("/", "rescued"), "cluster"); err != nil {
		t.Fatal(err)
	}
	if f, err = FindRescued(mem, "/rescued", "cluster"); err != nil || offsets(f, a) != "0 1 2" {
		t.Errorf("rescued twice: %+v, %v", f, err)
	}
}

// TestFormat holds the bytes of an entry against those that were written once.
func TestFormat(t *testing.T) {
	n := Name{ID: protocol.TopicID{1, 2}, Partition: protocol.TopicPartition{Topic: "orders", Partition: 3}}
	e := pad(append(frame(nil, 42, kindBatches, n, 5, 9, 4), "data"...))
	seal(e, 7, 6, flagLast)
	const want = "6d4a6e31" + "CRC" + "000000000000002a" + "0000000000000007" + "0000000000000006" + "01" + "06" + "0001" +
		"00000003" + "01020000000000000000000000000000" + "0000000000000005" + "0000000000000009" + "00000004" + "00000000" +
		"6f7264657273" + "64617461" + "000000000000"
	got := hex.EncodeToString(e)
	if got = got[:8] + "CRC" + got[16:]; got != want {
		t.Errorf("an entry is\n%s, want\n%s", got, want)
	}
	p, ok := parseEntry(e, 42)
	if !ok || p.name != n || p.from != 5 || p.end != 9 || string(p.batches) != "data" || p.bytes != int64(len(e)) || !p.last {
		t.Errorf("%+v, %v", p, ok)
	}
	if _, ok := parseEntry(e, 43); ok {
		t.Error("an entry of another journal is taken")
	}
	h := header{journal: 42, cluster: "c", folder: "f"}
	if got, err := parseHeader(h.encode()); err != nil || got != h {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestCommitAllocatesNothing(t *testing.T) {
	j := open(vfs.OS(), 1<<20, 4000)
	j.cfg.Dir = t.TempDir()
	defer j.Close()
	m := j.Join(newLog(0))
	data, at := []batch.Batch{make([]byte, 1000)}, protocol.Offset(0)
	one := func() {
		m.Add(at, at+1, data, 1000, false)
		at++
		j.Commit()
	}
	one()
	one()
	if n := testing.AllocsPerRun(50, one); n > 0.5 {
		t.Errorf("%v allocations an append", n)
	}
}

func FuzzScan(f *testing.F) {
	mem := vfs.NewMem()
	j := open(mem, 5*4096, 3000)
	m := j.Join(newLog(0))
	for at := range protocol.Offset(6) {
		add(m, at, 200)
		j.Commit()
	}
	b, err := vfs.ReadFile(mem, "/j/000", 1<<20)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[headerBytes : headerBytes+5000])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		file := append(header{journal: 42}.encode(), body...)
		if h, err := parseHeader(file); err != nil || h.journal != 42 {
			t.Fatal(err)
		}
		_, _ = parseHeader(append(bytes.Clone(body), make([]byte, headerBytes)...))
		last := uint64(0)
		for _, r := range scan("f", file, 42) {
			for _, e := range r.entries {
				if e.sequence <= last || e.at < headerBytes || e.at+entryBytes > int64(len(file)) {
					t.Fatalf("entry %+v after %d", e, last)
				}
				last = e.sequence
			}
		}
	})
}
