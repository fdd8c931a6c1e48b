package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

// tailEntries is how many entries wait in memory before they are written in one go. An index needs no write an append:
// what a crash takes from it is rebuilt from the log, which has to be scanned there anyway.
const tailEntries = 128

// blockBytes is how much of an index file is read at a time.
const blockBytes = 4096

// index is a file of entries of one size in rising order, the newest of which may still be in memory. The entries in
// the file never change.
type index struct {
	file       handle
	entryBytes int
	held       bool // all entries stay in memory

	mu   sync.Mutex // held for a few instructions, never across a read or write
	made bool       // the file exists
	kept int        // entries in the file
	tail []byte     // entries after those

	near atomic.Int32 // the block of the file in which the last lookup ended; the next one is likely to, too
}

// open looks at the size that the file has on disk, -1 where there is none. A size that is no multiple of an entry is
// torn: what is left of the last entry is not counted and will be written over.
func (x *index) open(size int64) {
	x.made = size >= 0
	x.kept = int(max(size, 0)) / x.entryBytes
}

func (x *index) entries() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.kept + len(x.tail)/x.entryBytes
}

// append adds an entry. Only the writer calls it. Where the file cannot be written the entries stay in memory and the
// next append tries again; who needs them on disk calls spill and is told.
func (x *index) append(entry []byte) {
	x.mu.Lock()
	if x.tail == nil {
		x.tail = make([]byte, 0, 16*x.entryBytes)
	}
	x.tail = append(x.tail, entry...)
	full := len(x.tail) >= tailEntries*x.entryBytes && !x.held
	x.mu.Unlock()
	if full {
		_ = x.spill()
	}
}

// spill writes the entries in memory to the file. It keeps the memory for the next ones. Only the writer calls it.
func (x *index) spill() error {
	x.mu.Lock()
	at, tail, made := x.kept, x.tail, x.made // only the writer changes them, so that they stay while it writes
	x.mu.Unlock()
	if made && len(tail) == 0 {
		return nil
	}
	if !made {
		if err := x.file.create(); err != nil {
			return err
		}
	}
	if len(tail) > 0 {
		if err := x.write(tail, int64(at)*int64(x.entryBytes)); err != nil {
			return err
		}
	}
	x.mu.Lock()
	x.made = true
	x.kept += len(tail) / x.entryBytes
	x.tail = x.tail[:0]
	x.mu.Unlock()
	return nil
}

func (x *index) write(b []byte, at int64) error {
	f, err := x.file.acquire()
	if err != nil {
		return err
	}
	defer x.file.release()
	if _, err := f.WriteAt(b, at); err != nil {
		return fmt.Errorf("write %s: %w", x.file.name(), err)
	}
	return nil
}

// finish spills and gives the memory back; the segment gets no more entries.
func (x *index) finish() error {
	if err := x.spill(); err != nil {
		return err
	}
	x.mu.Lock()
	x.tail = nil
	x.mu.Unlock()
	return nil
}

// sync makes durable what has been spilled.
func (x *index) sync() error {
	x.mu.Lock()
	made := x.made
	x.mu.Unlock()
	if !made {
		return nil
	}
	f, err := x.file.acquire()
	if err != nil {
		return err
	}
	defer x.file.release()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", x.file.name(), err)
	}
	return nil
}

// reset empties the index, in memory and on disk.
func (x *index) reset() error {
	f, err := x.file.acquire()
	x.mu.Lock()
	x.kept, x.tail, x.made = 0, nil, err == nil
	x.mu.Unlock()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer x.file.release()
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("empty %s: %w", x.file.name(), err)
	}
	return nil
}

// forget keeps at most n of the entries in the file, and none in memory. The file stays as it is.
func (x *index) forget(n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.kept, x.tail = min(x.kept, n), nil
}

// trim cuts the file to whole entries and at most n of them.
func (x *index) trim(n int) error {
	x.forget(n)
	x.mu.Lock()
	made, size := x.made, int64(x.kept)*int64(x.entryBytes)
	x.mu.Unlock()
	if !made {
		return nil
	}
	f, err := x.file.acquire()
	if err != nil {
		return err
	}
	defer x.file.release()
	if err := f.Truncate(size); err != nil {
		return fmt.Errorf("trim %s: %w", x.file.name(), err)
	}
	return nil
}

// entry reads entry i into buf, which has room for one.
func (x *index) entry(i int, buf []byte) error {
	x.mu.Lock()
	kept := x.kept
	if i >= kept {
		n := copy(buf[:x.entryBytes], x.tail[min((i-kept)*x.entryBytes, len(x.tail)):])
		x.mu.Unlock()
		if n < x.entryBytes {
			return fmt.Errorf("%s has no entry %d: %w", x.file.name(), i, io.ErrUnexpectedEOF)
		}
		return nil
	}
	x.mu.Unlock()
	f, err := x.file.acquire()
	if err != nil {
		return err
	}
	defer x.file.release()
	return x.read(f, buf[:x.entryBytes], int64(i)*int64(x.entryBytes))
}

func (x *index) read(f vfs.File, buf []byte, at int64) error {
	if n, err := f.ReadAt(buf, at); n < len(buf) {
		return fmt.Errorf("read %s at byte %d: %w", x.file.name(), at, err)
	}
	return nil
}

// floor finds the last entry for which below says true; below is true for a run at the front and false after it. The
// entry is copied to out. ok is false when there is none. It allocates nothing.
func (x *index) floor(below func(entry []byte, key int64) bool, key int64, out []byte) (ok bool, err error) {
	x.mu.Lock()
	kept := x.kept
	if n := len(x.tail) / x.entryBytes; n > 0 && below(x.tail[:x.entryBytes], key) {
		lo := x.floorIn(x.tail, below, key)
		copy(out[:x.entryBytes], x.tail[lo*x.entryBytes:])
		x.mu.Unlock()
		return true, nil
	}
	x.mu.Unlock()
	if kept == 0 {
		return false, nil
	}
	return x.floorInFile(kept, below, key, out)
}

// floorInFile is floor among the entries in the file.
func (x *index) floorInFile(kept int, below func([]byte, int64) bool, key int64, out []byte) (ok bool, err error) {
	f, err := x.file.acquire()
	if err != nil {
		return false, err
	}
	defer x.file.release()
	buf := x.file.d.buffers.get()
	defer x.file.d.buffers.put(buf)
	room := (*buf)[:blockBytes/x.entryBytes*x.entryBytes]
	per := len(room) / x.entryBytes
	lo, hi := 0, (kept+per-1)/per // below(first of lo) is true or lo is 0; below(first of hi) is false

	// Who reads on from where it was finds the entry in the block of the time before.
	near := min(int(x.near.Load()), hi-1)
	block, err := x.readBlock(f, room, near, kept)
	if err != nil {
		return false, err
	}
	switch {
	case !below(block[:x.entryBytes], key):
		hi = max(near, 1)
	case near+1 < hi && below(block[len(block)-x.entryBytes:], key):
		lo = near // or a later one
	default:
		lo, hi = near, near+1
	}

	// Else first the block, by the first entry of each; then the entry in it.
	for hi-lo > 1 {
		mid := (lo + hi) / 2
		if err := x.read(f, room[:x.entryBytes], int64(mid)*int64(per)*int64(x.entryBytes)); err != nil {
			return false, err
		}
		if below(room[:x.entryBytes], key) {
			lo = mid
		} else {
			hi = mid
		}
		near = -1 // its bytes are gone
	}
	if lo != near {
		if block, err = x.readBlock(f, room, lo, kept); err != nil {
			return false, err
		}
		x.near.Store(int32(lo))
	}
	if !below(block[:x.entryBytes], key) {
		return false, nil
	}
	copy(out[:x.entryBytes], block[x.floorIn(block, below, key)*x.entryBytes:])
	return true, nil
}

// readBlock reads into room the i-th block of a file of kept entries.
func (x *index) readBlock(f vfs.File, room []byte, i, kept int) ([]byte, error) {
	per := len(room) / x.entryBytes
	block := room[:min(per, kept-i*per)*x.entryBytes]
	return block, x.read(f, block, int64(i)*int64(len(room)))
}

// floorIn is floor among entries in memory, the first of which is below.
func (x *index) floorIn(entries []byte, below func([]byte, int64) bool, key int64) int {
	lo, hi := 0, len(entries)/x.entryBytes
	for hi-lo > 1 {
		mid := (lo + hi) / 2
		if below(entries[mid*x.entryBytes:(mid+1)*x.entryBytes], key) {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// offsetEntry is one entry of the offset index.
type offsetEntry struct {
	relative int32
	position int32
}

func parseOffsetEntry(b []byte) offsetEntry {
	return offsetEntry{
		relative: int32(binary.BigEndian.Uint32(b)),
		position: int32(binary.BigEndian.Uint32(b[4:])),
	}
}

func offsetAtMost(entry []byte, relative int64) bool {
	return int64(int32(binary.BigEndian.Uint32(entry))) <= relative
}

// timeEntry is one entry of the time index.
type timeEntry struct {
	timestamp int64
	relative  int32
}

func parseTimeEntry(b []byte) timeEntry {
	return timeEntry{
		timestamp: int64(binary.BigEndian.Uint64(b)),
		relative:  int32(binary.BigEndian.Uint32(b[8:])),
	}
}

func timeBefore(entry []byte, timestamp int64) bool {
	return int64(binary.BigEndian.Uint64(entry)) < timestamp
}

// at is the absolute offset of an entry.
func at(base protocol.Offset, relative int32) protocol.Offset {
	return base + protocol.Offset(relative)
}
