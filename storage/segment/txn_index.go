package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"

	"moldau.io/moldau/protocol"
)

// AbortedTxn is an aborted transaction, as the index of a segment that holds its marker says it.
type AbortedTxn struct {
	ProducerID int64
	First      protocol.Offset // of the transaction's first record
	Last       protocol.Offset // of its abort marker
	LastStable protocol.Offset // the last stable offset once this transaction was decided
}

// txnIndex is the file of a segment's aborted transactions. Most segments have none.
type txnIndex struct {
	file handle
	some atomic.Bool // there are entries
	sure atomic.Bool // they were made by this process, or have been compared with the log

	mu      sync.Mutex   // held for a few instructions; the writer, who alone changes these, reads them without
	size    int64        // bytes of entries in the file; -1 when there is none
	waiting []AbortedTxn // not in the file, since that could not be written
}

// append adds an entry. Where it cannot be written it stays in memory, and the next spill tries again.
func (x *txnIndex) append(a AbortedTxn) {
	x.set(x.size, append(x.waiting, a))
	_ = x.spill()
}

func (x *txnIndex) set(size int64, waiting []AbortedTxn) {
	x.mu.Lock()
	x.size, x.waiting = size, waiting
	x.mu.Unlock()
	x.some.Store(size > 0 || len(waiting) > 0)
}

// spill writes the entries in memory to the file. The writer's.
func (x *txnIndex) spill() error {
	if len(x.waiting) == 0 {
		return nil
	}
	if x.size < 0 {
		if err := x.file.create(); err != nil {
			return err
		}
		x.set(0, x.waiting)
	}
	b := make([]byte, 0, len(x.waiting)*txnEntryBytes)
	for _, a := range x.waiting {
		b = binary.BigEndian.AppendUint16(b, 0)
		b = binary.BigEndian.AppendUint64(b, uint64(a.ProducerID))
		b = binary.BigEndian.AppendUint64(b, uint64(a.First))
		b = binary.BigEndian.AppendUint64(b, uint64(a.Last))
		b = binary.BigEndian.AppendUint64(b, uint64(a.LastStable))
	}
	f, err := x.file.acquire()
	if err != nil {
		return err
	}
	defer x.file.release()
	if _, err := f.WriteAt(b, x.size); err != nil {
		return fmt.Errorf("write %s: %w", x.file.name(), err)
	}
	x.set(x.size+int64(len(b)), nil)
	return nil
}

// read appends the entries to into.
func (x *txnIndex) read(into []AbortedTxn) ([]AbortedTxn, error) {
	if !x.some.Load() {
		return into, nil
	}
	x.mu.Lock()
	size, waiting := x.size, x.waiting // together: what is written meanwhile is in one of the two
	x.mu.Unlock()
	into, err := x.readFile(into, size)
	return append(into, waiting...), err
}

func (x *txnIndex) readFile(into []AbortedTxn, size int64) ([]AbortedTxn, error) {
	if size <= 0 {
		return into, nil
	}
	f, err := x.file.acquire()
	if errors.Is(err, fs.ErrNotExist) {
		return into, nil
	}
	if err != nil {
		return into, err
	}
	defer x.file.release()
	var e [txnEntryBytes]byte
	for at := int64(0); at+txnEntryBytes <= size; at += txnEntryBytes {
		if n, err := f.ReadAt(e[:], at); n < len(e) {
			return into, fmt.Errorf("read %s: %w", x.file.name(), err)
		}
		if v := binary.BigEndian.Uint16(e[:]); v != 0 {
			return into, fmt.Errorf("%s has an entry of version %d at byte %d, only 0 is known", x.file.name(), v, at)
		}
		into = append(into, AbortedTxn{
			ProducerID: int64(binary.BigEndian.Uint64(e[2:])),
			First:      protocol.Offset(binary.BigEndian.Uint64(e[10:])),
			Last:       protocol.Offset(binary.BigEndian.Uint64(e[18:])),
			LastStable: protocol.Offset(binary.BigEndian.Uint64(e[26:])),
		})
	}
	return into, nil
}

// open looks at the size that the file has on disk, -1 where there is none. A torn entry at the end is left out.
func (x *txnIndex) open(size int64) {
	if size > 0 {
		size -= size % txnEntryBytes
	}
	x.set(size, nil)
	x.sure.Store(!x.some.Load())
}

func (x *txnIndex) reset() error {
	f, err := x.file.acquire()
	if errors.Is(err, fs.ErrNotExist) {
		x.set(-1, nil)
		return nil
	}
	if err != nil {
		return err
	}
	defer x.file.release()
	x.set(0, nil)
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("empty %s: %w", x.file.name(), err)
	}
	// sync leaves an empty index alone: entries of records that are gone must not be back after the next crash.
	return f.Sync()
}

func (x *txnIndex) sync() error {
	if !x.some.Load() {
		return nil
	}
	f, err := x.file.acquire()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer x.file.release()
	return f.Sync()
}

// Abort notes an aborted transaction whose marker is in this segment. The writer's.
func (s *Segment) Abort(a AbortedTxn) { s.txns.append(a) }

// Aborted appends to into the aborted transactions whose markers are in this segment.
func (s *Segment) Aborted(into []AbortedTxn) ([]AbortedTxn, error) { return s.txns.read(into) }

// AbortedSure says that Aborted can be believed: this process has made the index, or SureAborted was called.
func (s *Segment) AbortedSure() bool { return s.txns.sure.Load() }

// SureAborted notes that the index has been compared with the log.
func (s *Segment) SureAborted() { s.txns.sure.Store(true) }

// MendAborted replaces the index. The writer's; nobody reads it before it is sure.
func (s *Segment) MendAborted(all []AbortedTxn) error {
	if err := s.txns.reset(); err != nil {
		return err
	}
	s.txns.set(s.txns.size, slices.Clone(all))
	if err := s.txns.spill(); err != nil {
		return err
	}
	if err := s.txns.sync(); err != nil {
		return err
	}
	s.SureAborted()
	return nil
}

// HasAborted says that there are such transactions.
func (s *Segment) HasAborted() bool { return s.txns.some.Load() }
