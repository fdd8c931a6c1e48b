package journal

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

// rescuedFolder stands in a rescue file for the data folder's id: a log may be moved to another one.
const rescuedFolder = "-"

// scanBytesMax is more than a file of a journal has.
const scanBytesMax = 1 << 30

// Entry says where in a journal's file a log's batches are.
type Entry struct {
	From, End protocol.Offset // the log's end before and after the batches

	file string
	at   int64
	size int64
}

// Found is a journal as it was left.
type Found struct {
	Entries map[Name][]Entry // of each log, in the order in which they were written
	Damage  []string         // what is missing that had been durable, a sentence each

	fs    vfs.FS
	files map[string]uint64 // the journals they are of, by name
	names []string          // the oldest first
}

// ForeignError says that a file is not this data folder's.
type ForeignError struct {
	Name string
	Err  error
}

func (e *ForeignError) Error() string { return fmt.Sprintf("%s: %v", e.Name, e.Err) }

// Unwrap is the cause.
func (e *ForeignError) Unwrap() error { return e.Err }

// Find reads the journal in dir. There need not be one. A file that does not belong to the cluster and the data folder is
// a *ForeignError.
func Find(fsys vfs.FS, dir, cluster, folder string) (*Found, error) {
	f := &Found{fs: fsys, Entries: map[Name][]Entry{}, files: map[string]uint64{}}
	list, err := fsys.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, err
	}
	var runs []run
	for _, e := range list {
		name := path.Join(dir, e.Name)
		if e.Dir {
			continue
		}
		if strings.HasSuffix(e.Name, tmpSuffix) { // its making was cut short
			if err := fsys.Remove(name); err != nil {
				return nil, err
			}
			continue
		}
		of, err := f.scanFile(name, cluster, folder)
		if err != nil {
			return nil, err
		}
		runs = append(runs, of...)
	}
	f.collect(runs)
	return f, nil
}

// FindRescued reads a file that Rescue wrote. There need not be one.
func FindRescued(fsys vfs.FS, name, cluster string) (*Found, error) {
	f := &Found{fs: fsys, Entries: map[Name][]Entry{}, files: map[string]uint64{}}
	runs, err := f.scanFile(name, cluster, rescuedFolder)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	f.collect(runs)
	return f, err
}

// Names are the logs that have entries, in order.
func (f *Found) Names() []Name {
	names := slices.Collect(maps.Keys(f.Entries))
	slices.SortFunc(names, compareNames)
	return names
}

func compareNames(a, b Name) int {
	return cmp.Or(strings.Compare(a.Partition.Topic, b.Partition.Topic),
		cmp.Compare(a.Partition.Partition, b.Partition.Partition), bytes.Compare(a.ID[:], b.ID[:]))
}

func (f *Found) scanFile(name, cluster, folder string) ([]run, error) {
	b, err := vfs.ReadFile(f.fs, name, scanBytesMax)
	if err != nil {
		return nil, err
	}
	h, err := parseHeader(b)
	if err != nil {
		return nil, &ForeignError{Name: name, Err: err}
	}
	if h.cluster != cluster || h.folder != folder {
		return nil, &ForeignError{Name: name, Err: fmt.Errorf("belongs to the cluster %.60q and the data folder %.60q, not %q "+
			"and %q", h.cluster, h.folder, cluster, folder)}
	}
	f.files[name] = h.journal
	f.names = append(f.names, name)
	return scan(name, b, h.journal), nil
}

// run is entries of one file that follow each other.
type run struct {
	file     string
	headless bool // something does not check out at the file's beginning, before the entries
	entries  []scanned
}

type scanned struct {
	entry
	at int64
}

// scan finds the runs of a file: the first one begins behind the header, and another one where an entry says that what is
// missing before it had been durable.
func scan(name string, b []byte, journal uint64) (runs []run) {
	r := run{file: name}
	last := uint64(0) // sequence
	at := int64(headerBytes)
	for at < int64(len(b)) {
		e, ok := parseEntry(b[at:], journal)
		if !ok || e.sequence <= last {
			if at = resync(b, at, journal, last); at < 0 {
				break
			}
			if len(r.entries) > 0 {
				runs = append(runs, r)
			}
			r = run{file: name, headless: len(runs) == 0}
			continue
		}
		e.batches = nil // the file is not kept in memory
		size := e.bytes
		r.entries = append(r.entries, scanned{entry: e, at: at})
		last = e.sequence
		at += size
		if e.last {
			at = alignUp(at, pieceAlign)
		}
	}
	if len(r.entries) > 0 {
		runs = append(runs, r)
	}
	return runs
}

// resync is where the next entry stands behind from that proves that entries after last are missing, -1 where none does.
func resync(b []byte, from int64, journal, last uint64) int64 {
	for at := alignUp(from+1, entryAlign); at+entryBytes <= int64(len(b)); at += entryAlign {
		if b[at] != entryMagic>>24 {
			continue
		}
		if e, ok := parseEntry(b[at:], journal); ok && e.sequence > last && e.durable > last {
			return at
		}
	}
	return -1
}

// collect puts the runs of all files in order and sorts the entries by log.
func (f *Found) collect(runs []run) {
	slices.SortFunc(runs, func(a, b run) int { return cmp.Compare(a.entries[0].sequence, b.entries[0].sequence) })
	last := uint64(0)
	runs = withoutLeftovers(runs)
	for i, r := range runs {
		if i > 0 && r.entries[0].durable > last {
			f.Damage = append(f.Damage, fmt.Sprintf("entries %d to %d are missing before byte %d of %s", last+1,
				r.entries[0].durable, r.entries[0].at, r.file))
		}
		for _, e := range r.entries {
			if e.sequence <= last {
				continue
			}
			last = e.sequence
			switch e.kind {
			case kindVoid:
				delete(f.Entries, e.name)
			case kindBatches:
				f.Entries[e.name] = append(f.Entries[e.name], Entry{From: e.from, End: e.end, file: r.file, at: e.at, size: e.bytes})
			}
		}
	}
	first := map[string]uint64{}
	for _, r := range runs {
		if _, ok := first[r.file]; !ok {
			first[r.file] = r.entries[0].sequence
		}
	}
	slices.SortFunc(f.names, func(a, b string) int { return cmp.Compare(first[a], first[b]) })
}

// withoutLeftovers takes out what a file held before its last use, where a crash has torn the first piece of a new one: it
// is the end of the sequence's oldest part, or still older and then far from everything else.
func withoutLeftovers(runs []run) (kept []run) {
	for i, r := range runs {
		if r.headless && i+1 < len(runs) && runs[i+1].entries[0].durable > r.entries[len(r.entries)-1].sequence {
			continue
		}
		kept = append(kept, r)
	}
	return kept
}

// Batches reads an entry's batches into buf[:0], or into a larger slice.
func (f *Found) Batches(e Entry, buf []byte) ([]byte, error) {
	b, err := f.raw(e, buf)
	if err != nil {
		return nil, err
	}
	p, ok := parseEntry(b, f.files[e.file])
	if !ok {
		return nil, fmt.Errorf("%s: the entry at byte %d is no longer what it was", e.file, e.at)
	}
	return p.batches, nil
}

func (f *Found) raw(e Entry, buf []byte) ([]byte, error) {
	if int64(cap(buf)) < e.size {
		buf = make([]byte, e.size)
	}
	buf = buf[:e.size]
	file, err := f.fs.Open(e.file)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if n, err := file.ReadAt(buf, e.at); n < len(buf) {
		return nil, fmt.Errorf("read %s at byte %d: %w", e.file, e.at, err)
	}
	return buf, nil
}

// Empty says that there is nothing to remove.
func (f *Found) Empty() bool { return len(f.names) == 0 }

// Remove removes the files, the oldest first, so that what a crash leaves of them is again the end of a journal.
func (f *Found) Remove() error {
	for _, name := range f.names {
		if err := f.fs.Remove(name); err != nil {
			return err
		}
		if err := f.fs.SyncDir(path.Dir(name)); err != nil {
			return err
		}
	}
	f.names = nil
	return nil
}

// Rescue writes the batches of a log into a file of their own, after those that are in it already: whoever removes the
// journal's files leaves them there for a log that cannot take them now. They are durable when it returns.
func (f *Found) Rescue(n Name, entries []Entry, name, cluster string) error {
	if len(entries) == 0 {
		return nil
	}
	h := header{journal: 1, cluster: cluster, folder: rescuedFolder}
	out, seq := h.encode(), uint64(0)
	old, err := FindRescued(f.fs, name, cluster)
	if foreign := (*ForeignError)(nil); errors.As(err, &foreign) {
		err = f.fs.Rename(name, name+".bad") // nobody can read it; it is kept for whoever wants to try
	}
	if err != nil {
		return err
	}
	add := func(from *Found, e Entry) error {
		b, err := from.Batches(e, nil)
		if err != nil {
			return err
		}
		at := len(out)
		out = frame(out, h.journal, kindBatches, n, e.From, e.End, len(b))
		out = pad(append(out, b...))
		seq++
		seal(out[at:], seq, seq-1, 0)
		return nil
	}
	end := protocol.Offset(-1)
	for _, e := range old.Entries[n] {
		if err := add(old, e); err != nil {
			return err
		}
		end = e.End
	}
	for _, e := range entries {
		if e.End <= end { // rescued before
			continue
		}
		if err := add(f, e); err != nil {
			return err
		}
	}
	return vfs.WriteFile(f.fs, name, out)
}
