package inspect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// Piece is a stretch of a log file: a batch, or bytes that hold none.
type Piece struct {
	Position int64
	Bytes    int64
	// Head is the batch's header, without its records. It is nil where no batch can be made out.
	Head batch.Batch
	// Damage says what is wrong: with the batch where there is a Head, else why there is none.
	Damage error
	// AtEnd says that the piece reaches to the end of the file.
	AtEnd bool
}

// Next is the offset after the piece's last record.
func (p Piece) Next() protocol.Offset { return p.Head.LastOffset() + 1 }

// Where header fields lie that decide whether a stretch of bytes can be a batch at all.
const (
	atLength       = 8
	atMagic        = 16
	atAttributes   = 21 // what the checksum covers begins here
	lengthOverhead = 12
	wholeBatchMax  = 256 << 20 // a larger batch is checked, but its records are not looked at

	// searchMax bounds the search behind damage, in multiples of the file. Only a file made for it comes near.
	searchMax = 16
)

// ErrLarge says that a batch is too large for its records to be looked at.
var ErrLarge = fmt.Errorf("the batch is larger than %d bytes, so that its records are not looked at", wholeBatchMax)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Log walks the batches of one log file.
type Log struct {
	w    *window
	base protocol.Offset // that the file's name says; -1 where it says none
	pos  int64
	next protocol.Offset // no good batch after the present position begins below it
	head [batch.HeaderBytes]byte

	searched int64 // bytes whose checksum was taken to find where batches go on
}

// OpenLog opens a file of record batches: a segment's, or anything else that holds batches one after the other.
func OpenLog(fsys vfs.FS, name string) (*Log, error) {
	w, err := newWindow(fsys, name)
	if err != nil {
		return nil, err
	}
	l := &Log{w: w, base: -1}
	if base, _, ok := segment.ParseName(path.Base(name)); ok {
		l.base, l.next = base, base
	}
	return l, nil
}

// Close closes the file.
func (l *Log) Close() { l.w.close() }

// Size is how many bytes the file had when it was opened. What a running broker appends later is not looked at.
func (l *Log) Size() int64 { return l.w.size }

// Base is the offset that the file's name says, -1 where it says none.
func (l *Log) Base() protocol.Offset { return l.base }

// Next is the next piece, io.EOF after the last. Its Head is valid until the next call. Other errors are the disk's.
func (l *Log) Next() (Piece, error) {
	if l.pos >= l.w.size {
		return Piece{}, io.EOF
	}
	p, err := l.piece(l.pos)
	if err != nil {
		return Piece{}, err
	}
	if p.Head == nil {
		if p, err = l.resync(p); err != nil {
			return Piece{}, err
		}
	}
	l.pos = p.Position + p.Bytes
	p.AtEnd = l.pos >= l.w.size
	if p.Head != nil && p.Damage == nil {
		l.next = p.Next()
	}
	return p, nil
}

// piece is the batch at pos. A Piece without Head has no length yet.
func (l *Log) piece(pos int64) (Piece, error) {
	p := Piece{Position: pos}
	left := l.w.size - pos
	if left < batch.HeaderBytes {
		p.Damage = fmt.Errorf("%d bytes are too few for a batch", left)
		return p, nil
	}
	b, err := l.w.bytes(pos, batch.HeaderBytes)
	if err != nil {
		return p, err
	}
	copy(l.head[:], b)
	head := batch.Batch(l.head[:])
	bytes, err := frame(head)
	if err == nil && bytes > left {
		err = fmt.Errorf("a batch of %d bytes, with %d bytes left in the file", bytes, left)
	}
	if err != nil {
		p.Damage = err
		return p, nil
	}
	sum, err := l.checksum(pos+atAttributes, pos+bytes)
	if err != nil {
		return p, err
	}
	p.Bytes = bytes
	if sum != head.CRC() {
		p.Damage = fmt.Errorf("the checksum is %08x, the batch's bytes have %08x", head.CRC(), sum)
		if ok, err := l.follows(pos + bytes); err != nil || !ok {
			return p, err // its length may be what is wrong
		}
	}
	p.Head = head
	return p, nil
}

// frame is the size of a batch by its header, or why it is none.
func frame(head batch.Batch) (int64, error) {
	length := int64(int32(binary.BigEndian.Uint32(head[atLength:])))
	switch {
	case head.Magic() == 0 && length == 0 && head.BaseOffset() == 0:
		return 0, errors.New("zeros where a batch should begin")
	case head.Magic() != 2:
		return 0, fmt.Errorf("a batch of magic %d; only 2 is supported", head.Magic())
	case length+lengthOverhead < batch.HeaderBytes:
		return 0, fmt.Errorf("a batch of %d bytes, fewer than its header", length+lengthOverhead)
	case head.BaseOffset() < 0:
		return 0, fmt.Errorf("a batch with the base offset %d", head.BaseOffset())
	case head.LastOffsetDelta() < 0:
		return 0, fmt.Errorf("a batch with the last offset delta %d", head.LastOffsetDelta())
	}
	return length + lengthOverhead, nil
}

// follows says whether a batch can begin at pos, or the file ends there.
func (l *Log) follows(pos int64) (bool, error) {
	left := l.w.size - pos
	if left < batch.HeaderBytes {
		return left == 0, nil
	}
	b, err := l.w.bytes(pos, batch.HeaderBytes)
	if err != nil {
		return false, err
	}
	bytes, err := frame(batch.Batch(b))
	return err == nil && bytes <= left, nil
}

func (l *Log) checksum(from, to int64) (uint32, error) {
	sum := uint32(0)
	for from < to {
		n := int(min(to-from, int64(len(l.w.buf))))
		b, err := l.w.bytes(from, n)
		if err != nil {
			return 0, err
		}
		sum = crc32.Update(sum, castagnoli, b)
		from += int64(n)
	}
	return sum, nil
}

// resync finds where batches go on behind bytes that hold none.
func (l *Log) resync(bad Piece) (Piece, error) {
	for pos := bad.Position + 1; pos+batch.HeaderBytes <= l.w.size && l.searched <= searchMax*l.w.size; pos++ {
		b, err := l.w.bytes(pos, batch.HeaderBytes)
		if err != nil {
			return bad, err
		}
		if b[atMagic] != 2 || !l.plausible(batch.Batch(b), l.w.size-pos) {
			continue
		}
		p, err := l.piece(pos)
		if err != nil {
			return bad, err
		}
		l.searched += p.Bytes
		if p.Head != nil && p.Damage == nil {
			bad.Bytes = pos - bad.Position
			return bad, nil
		}
	}
	bad.Bytes = l.w.size - bad.Position
	return bad, nil
}

// plausible says whether a header found by chance can continue the log: its checksum is only looked at where it can,
// which keeps a search cheap in bytes that look like batches.
func (l *Log) plausible(head batch.Batch, left int64) bool {
	bytes, err := frame(head)
	if err != nil || bytes > left || head.BaseOffset() < l.next {
		return false
	}
	return l.base < 0 || head.LastOffset()-l.base <= segment.LargestRelative
}

// Batch reads the whole batch of a piece that has a Head into buf, which is made larger where needed.
func (l *Log) Batch(p Piece, buf []byte) (batch.Batch, error) {
	if p.Bytes > wholeBatchMax {
		return nil, ErrLarge
	}
	if int64(cap(buf)) < p.Bytes {
		buf = make([]byte, p.Bytes)
	}
	buf = buf[:p.Bytes]
	if n, err := l.w.f.ReadAt(buf, p.Position); int64(n) < p.Bytes {
		return nil, fmt.Errorf("read %s at byte %d: %w", l.w.name, p.Position, err)
	}
	return batch.Batch(buf), nil
}
