package segment

import (
	"errors"
	"fmt"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/vfs"
)

// Place is where a batch lies in the segment's file.
type Place struct {
	Position int64
	Bytes    int64
}

// Find is the first batch whose last offset is at least offset: the one that holds it, or the next one where compaction
// has removed it. Only published batches are looked at; ok is false when they all end before offset. It allocates
// nothing.
//
// The batches on the way to the one found are checked, and it as well; see Sure. An *IndexError says that the index led
// astray: Mend helps.
func (s *Segment) Find(offset protocol.Offset) (p Place, ok bool, err error) {
	follows := s.follows.Load() // before the size: see there
	size, next := s.Published()
	if offset >= next || size == 0 {
		return Place{}, false, nil
	}
	if t := s.tip.Load(); t != nil {
		if from, to, ok := t.find(int64(offset)); ok {
			return Place{Position: from, Bytes: to - from}, true, nil
		}
	}
	from, known := follows.at(s.base, offset)
	if !known {
		if from, err = s.lookup(offset); err != nil {
			return Place{}, false, err
		}
	}
	next = offset
	p, ok, err = s.walk(from, size, func(head batch.Batch) bool {
		next = head.LastOffset() + 1
		return next > offset
	})
	if ok && err == nil {
		follows.note(s.base, next, p.Position+p.Bytes)
	}
	return p, ok, err
}

// walk goes from a place that an index named to the first batch for which found is true, and checks what it goes past.
func (s *Segment) walk(from landing, size int64, found func(head batch.Batch) bool) (p Place, ok bool, err error) {
	f, err := s.log.acquire()
	if err != nil {
		return Place{}, false, err
	}
	defer s.log.release()
	sc := newScanner(s, f, from.position, size)
	defer sc.close()
	for {
		b, pos, err := sc.next()
		if pos == from.position && from.last >= 0 && (err != nil || b != nil && b.LastOffset() != from.last) {
			return Place{}, false, s.offsetsLie(fmt.Errorf("no batch that ends at offset %d begins at byte %d",
				from.last, pos))
		}
		if err != nil {
			if why := s.checkRange(f, from.position, pos+1); why != nil {
				err = why // it may have gone wrong earlier: a length that leads into the middle of a batch
			}
			return Place{}, false, err
		}
		if b == nil || found(b) {
			p, ok = Place{Position: pos, Bytes: sc.pos - pos}, b != nil
			break
		}
	}
	return p, ok, s.checkRange(f, from.position, p.Position+p.Bytes)
}

// landing is where an index says that a batch begins, and with which offset it ends; -1 where no index says so.
type landing struct {
	position int64
	last     protocol.Offset
}

// lookup is the last indexed batch that ends at offset or before it, the log's begin when there is none.
func (s *Segment) lookup(offset protocol.Offset) (landing, error) {
	begin := landing{last: -1}
	if offset <= s.base {
		return begin, nil
	}
	buf := s.log.d.buffers.get()
	defer s.log.d.buffers.put(buf)
	e := (*buf)[:indexEntryBytes]
	ok, err := s.offsets.floor(offsetAtMost, int64(offset-s.base), e)
	if err != nil {
		return begin, s.offsetsLie(err)
	}
	if !ok {
		return begin, nil
	}
	o := parseOffsetEntry(e)
	if o.position < 0 || int64(o.position) >= s.Size() || o.relative < 0 {
		return begin, s.offsetsLie(fmt.Errorf("it has an entry (%d, %d) for a log file of %d bytes", o.relative,
			o.position, s.Size()))
	}
	return landing{position: int64(o.position), last: at(s.base, o.relative)}, nil
}

// ReadBatch reads a whole batch into buf, which is made larger where needed, and checks its checksum.
func (s *Segment) ReadBatch(p Place, buf []byte) (batch.Batch, error) {
	if int64(cap(buf)) < p.Bytes {
		buf = make([]byte, p.Bytes)
	}
	buf = buf[:p.Bytes]
	f, err := s.log.acquire()
	if err != nil {
		return nil, err
	}
	defer s.log.release()
	if n, err := f.ReadAt(buf, p.Position); n < len(buf) {
		return nil, s.shortRead(p.Position, err)
	}
	b, _, err := batch.Next(buf)
	if err == nil && !b.CheckCRC() {
		err = fmt.Errorf("the checksum of the batch at offset %d is wrong", b.BaseOffset())
	}
	if err != nil {
		return nil, &DamageError{Segment: s, Name: s.log.name(), Position: p.Position, Offset: -1, Err: err}
	}
	return b, nil
}

// Heads calls do for the header of each published batch that lies at start or after it, with the batch's place, until
// do says false. The header is valid during the call only, and has no records behind it.
func (s *Segment) Heads(start int64, do func(head batch.Batch, p Place) bool) error {
	size, _ := s.Published()
	return s.heads(start, size, do)
}

func (s *Segment) heads(start, size int64, do func(head batch.Batch, p Place) bool) error {
	f, err := s.log.acquire()
	if err != nil {
		return err
	}
	defer s.log.release()
	sc := newScanner(s, f, start, size)
	defer sc.close()
	for {
		b, pos, err := sc.next()
		if b == nil || err != nil {
			return err
		}
		if !do(b, Place{Position: pos, Bytes: sc.pos - pos}) {
			return nil
		}
	}
}

// scanner walks the headers of batches.
type scanner struct {
	s    *Segment
	f    vfs.File
	pos  int64 // where the next batch begins
	end  int64
	last protocol.Offset // of the batch before; the segment's base less 1 where that is not known

	buf *[]byte
	at  int64 // the position of the buffer's first byte
	n   int   // bytes in the buffer

	dense bool // the batches are so small that a read of the whole buffer brings several headers
}

func newScanner(s *Segment, f vfs.File, pos, end int64) scanner {
	return scanner{s: s, f: f, pos: pos, end: end, last: s.base - 1, buf: s.log.d.buffers.get()}
}

func (sc *scanner) close() { sc.s.log.d.buffers.put(sc.buf) }

// next is the next header, nil at the end. The whole batch lies before the end.
func (sc *scanner) next() (head batch.Batch, pos int64, err error) {
	pos = sc.pos
	if pos >= sc.end {
		return nil, pos, nil
	}
	if sc.end-pos < batch.HeaderBytes {
		return nil, pos, sc.damage(fmt.Errorf("%d bytes are left, too few for a batch", sc.end-pos))
	}
	if pos < sc.at || pos+batch.HeaderBytes > sc.at+int64(sc.n) {
		want := int64(batch.HeaderBytes)
		if sc.dense {
			want = min(int64(len(*sc.buf)), sc.end-pos)
		}
		n, err := sc.f.ReadAt((*sc.buf)[:want], pos)
		if n < batch.HeaderBytes {
			return nil, pos, sc.s.shortRead(pos, err)
		}
		sc.at, sc.n = pos, n
	}
	head = batch.Batch((*sc.buf)[pos-sc.at:][:batch.HeaderBytes])
	bytes, err := checkHead(head)
	if err == nil && bytes > sc.end-pos {
		err = fmt.Errorf("a batch of %d bytes with %d bytes left in the file", bytes, sc.end-pos)
	}
	if err == nil && head.BaseOffset() <= sc.last {
		err = fmt.Errorf("base offset %d where at least %d was expected", head.BaseOffset(), sc.last+1)
	}
	if err != nil {
		return nil, pos, sc.damage(err)
	}
	sc.pos, sc.last = pos+bytes, head.LastOffset()
	sc.dense = bytes < int64(len(*sc.buf))/2
	return head, pos, nil
}

func (sc *scanner) damage(err error) error {
	return &DamageError{Segment: sc.s, Name: sc.s.log.name(), Position: sc.pos, Offset: -1, Err: err}
}

// checkHead checks what can be known from a header alone, and gives the size of the whole batch.
func checkHead(b batch.Batch) (int64, error) {
	bytes := int64(int32(uint32(b[8])<<24|uint32(b[9])<<16|uint32(b[10])<<8|uint32(b[11]))) + 12
	switch {
	case bytes == 12 && b.Magic() == 0 && b.CRC() == 0:
		return 0, errors.New("zeros where a batch should begin: a hole in the file, or a part that was never written")
	case b.Magic() != 2:
		return 0, fmt.Errorf("a batch of magic %d; only 2 is supported", b.Magic())
	case bytes < batch.HeaderBytes:
		return 0, fmt.Errorf("a batch of %d bytes, fewer than its header", bytes)
	case b.LastOffsetDelta() < 0:
		return 0, fmt.Errorf("a batch with the last offset delta %d", b.LastOffsetDelta())
	case b.BaseOffset() < 0:
		return 0, fmt.Errorf("a batch with the base offset %d", b.BaseOffset())
	}
	return bytes, nil
}
