package inspect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// The sizes of entries are drawn in storage/segment.
const (
	offsetEntryBytes = 8
	timeEntryBytes   = 12
	txnEntryBytes    = 34
)

// errNoBase says that an index file's name does not say what its entries count from.
var errNoBase = errors.New("an index is named by its segment's base offset in digits")

// OffsetEntry is one entry of an offset index.
type OffsetEntry struct {
	At       int64           // its own byte in the file
	Offset   protocol.Offset // the last offset of a batch
	Position int64           // where that batch begins in the log
}

// TimeEntry is one entry of a time index.
type TimeEntry struct {
	At        int64
	Timestamp int64
	Offset    protocol.Offset
}

// TxnEntry is one entry of the index of aborted transactions.
type TxnEntry struct {
	At      int64
	Version int16
	segment.AbortedTxn
}

// entries walks the entries of an index file.
type entries struct {
	w     *window
	size  int // of an entry
	base  protocol.Offset
	pos   int64
	torn  int64 // bytes behind the last whole entry; known at the end, as zeros is
	zeros int64 // that Kafka fills a file with that it still writes to
	some  int64 // a position up to which there is something behind zeros
}

func openEntries(fsys vfs.FS, name string, size int) (*entries, error) {
	base, _, ok := segment.ParseName(path.Base(name))
	if !ok {
		return nil, fmt.Errorf("%s: %w", name, errNoBase)
	}
	w, err := newWindow(fsys, name)
	if err != nil {
		return nil, err
	}
	return &entries{w: w, size: size, base: base}, nil
}

// next is the next entry's bytes and place, io.EOF after the last.
func (e *entries) next() ([]byte, int64, error) {
	if left := e.w.size - e.pos; left < int64(e.size) {
		e.torn = left
		return nil, 0, io.EOF
	}
	b, err := e.w.bytes(e.pos, e.size)
	if err != nil {
		return nil, 0, err
	}
	at := e.pos
	if at >= e.some && allZero(b) {
		if zeros, err := e.restIsZero(); err != nil || zeros {
			return nil, 0, errors.Join(err, io.EOF)
		}
		if b, err = e.w.bytes(e.pos, e.size); err != nil {
			return nil, 0, err
		}
	}
	e.pos += int64(e.size)
	return b, at, nil
}

func (e *entries) restIsZero() (bool, error) {
	for pos := e.pos; pos < e.w.size; {
		n := int(min(int64(len(e.w.buf)), e.w.size-pos))
		b, err := e.w.bytes(pos, n)
		if err != nil {
			return false, err
		}
		if !allZero(b) {
			e.some = pos
			return false, nil
		}
		pos += int64(n)
	}
	e.zeros = e.w.size - e.pos
	return true, nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// Close closes the file.
func (e *entries) Close() { e.w.close() }

// Rest is what follows the last entry, once Next has said io.EOF: zeros that a Kafka which still writes to the file has
// filled it with, and the bytes of a torn entry.
func (e *entries) Rest() (zeros, torn int64) { return e.zeros, e.torn }

// OffsetIndex walks an .index file.
type OffsetIndex struct{ entries }

// OpenOffsetIndex opens an .index file.
func OpenOffsetIndex(fsys vfs.FS, name string) (*OffsetIndex, error) {
	e, err := openEntries(fsys, name, offsetEntryBytes)
	if err != nil {
		return nil, err
	}
	return &OffsetIndex{*e}, nil
}

// Next is the next entry, io.EOF after the last.
func (x *OffsetIndex) Next() (OffsetEntry, error) {
	b, at, err := x.next()
	if err != nil {
		return OffsetEntry{}, err
	}
	relative, position := int32(binary.BigEndian.Uint32(b)), int32(binary.BigEndian.Uint32(b[4:]))
	return OffsetEntry{At: at, Offset: x.base + protocol.Offset(relative), Position: int64(position)}, nil
}

// TimeIndex walks a .timeindex file.
type TimeIndex struct{ entries }

// OpenTimeIndex opens a .timeindex file.
func OpenTimeIndex(fsys vfs.FS, name string) (*TimeIndex, error) {
	e, err := openEntries(fsys, name, timeEntryBytes)
	if err != nil {
		return nil, err
	}
	return &TimeIndex{*e}, nil
}

// Next is the next entry, io.EOF after the last.
func (x *TimeIndex) Next() (TimeEntry, error) {
	b, at, err := x.next()
	if err != nil {
		return TimeEntry{}, err
	}
	relative := int32(binary.BigEndian.Uint32(b[8:]))
	return TimeEntry{
		At: at, Timestamp: int64(binary.BigEndian.Uint64(b)), Offset: x.base + protocol.Offset(relative),
	}, nil
}

// TxnIndex walks a .txnindex file.
type TxnIndex struct{ entries }

// OpenTxnIndex opens a .txnindex file.
func OpenTxnIndex(fsys vfs.FS, name string) (*TxnIndex, error) {
	e, err := openEntries(fsys, name, txnEntryBytes)
	if err != nil {
		return nil, err
	}
	return &TxnIndex{*e}, nil
}

// Next is the next entry, io.EOF after the last.
func (x *TxnIndex) Next() (TxnEntry, error) {
	b, at, err := x.next()
	if err != nil {
		return TxnEntry{}, err
	}
	be := binary.BigEndian
	return TxnEntry{At: at, Version: int16(be.Uint16(b)), AbortedTxn: segment.AbortedTxn{
		ProducerID: int64(be.Uint64(b[2:])),
		First:      protocol.Offset(be.Uint64(b[10:])),
		Last:       protocol.Offset(be.Uint64(b[18:])),
		LastStable: protocol.Offset(be.Uint64(b[26:])),
	}}, nil
}
