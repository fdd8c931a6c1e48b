package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
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
	size int64       // bytes; -1 when there is no file. The writer's
	some atomic.Bool // there are entries
}

func (x *txnIndex) append(a AbortedTxn) error {
	if x.size < 0 {
		if err := x.file.create(); err != nil {
			return err
		}
		x.size = 0
	}
	var e [txnEntryBytes]byte
	binary.BigEndian.PutUint64(e[2:], uint64(a.ProducerID))
	binary.BigEndian.PutUint64(e[10:], uint64(a.First))
	binary.BigEndian.PutUint64(e[18:], uint64(a.Last))
	binary.BigEndian.PutUint64(e[26:], uint64(a.LastStable))
	f, err := x.file.acquire()
	if err != nil {
		return err
	}
	defer x.file.release()
	if _, err := f.WriteAt(e[:], x.size); err != nil {
		return fmt.Errorf("write %s: %w", x.file.name(), err)
	}
	x.size += txnEntryBytes
	x.some.Store(true)
	return nil
}

// read appends the entries to into. A torn entry at the end is left out.
func (x *txnIndex) read(into []AbortedTxn) ([]AbortedTxn, error) {
	if !x.some.Load() {
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
	size, err := f.Size()
	if err != nil {
		return into, err
	}
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

// open looks at the size that the file has on disk, -1 where there is none.
func (x *txnIndex) open(size int64) {
	x.size = size
	if size >= 0 {
		x.size = size / txnEntryBytes * txnEntryBytes
	}
	x.some.Store(size >= txnEntryBytes)
}

func (x *txnIndex) reset() error {
	x.some.Store(false)
	f, err := x.file.acquire()
	if errors.Is(err, fs.ErrNotExist) {
		x.size = -1
		return nil
	}
	if err != nil {
		return err
	}
	defer x.file.release()
	x.size = 0
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
func (s *Segment) Abort(a AbortedTxn) error { return s.txns.append(a) }

// Aborted appends to into the aborted transactions whose markers are in this segment.
func (s *Segment) Aborted(into []AbortedTxn) ([]AbortedTxn, error) { return s.txns.read(into) }
