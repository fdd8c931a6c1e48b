package segment

import (
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
func (s *Segment) Find(offset protocol.Offset) (p Place, ok bool, err error) {
	size, next := s.Published()
	if offset >= next || size == 0 {
		return Place{}, false, nil
	}
	if t := s.tip.Load(); t != nil {
		if from, to, ok := t.find(int64(offset)); ok {
			return Place{Position: from, Bytes: to - from}, true, nil
		}
	}
	start, err := s.lookup(offset)
	if err != nil {
		return Place{}, false, err
	}
	f, err := s.log.acquire()
	if err != nil {
		return Place{}, false, err
	}
	defer s.log.release()
	sc := newScanner(s, f, start, size)
	defer sc.close()
	for {
		b, pos, err := sc.next()
		if b == nil || err != nil {
			return Place{}, false, err
		}
		if b.LastOffset() >= offset {
			return Place{Position: pos, Bytes: sc.pos - pos}, true, nil
		}
	}
}

// lookup is the position of the last indexed batch that ends at offset or before it, 0 when there is none.
func (s *Segment) lookup(offset protocol.Offset) (int64, error) {
	if offset <= s.base {
		return 0, nil
	}
	buf := s.log.d.buffers.get()
	defer s.log.d.buffers.put(buf)
	e := (*buf)[:indexEntryBytes]
	ok, err := s.offsets.floor(offsetAtMost, int64(offset-s.base), e)
	if err != nil || !ok {
		return 0, err
	}
	pos := int64(parseOffsetEntry(e).position)
	if pos < 0 || pos >= s.Size() {
		return 0, fmt.Errorf("%s points to byte %d of a log file of %d bytes", s.offsets.file.name(), pos, s.Size())
	}
	return pos, nil
}

// FindTime is the first batch that holds a record with a timestamp of at least ts and an offset of at least from, as
// far as batch headers tell: the batch's largest timestamp is at least ts, its last offset at least from.
func (s *Segment) FindTime(ts int64, from protocol.Offset) (p Place, ok bool, err error) {
	size, _ := s.Published()
	start, err := s.lookupTime(ts, from)
	if err != nil {
		return Place{}, false, err
	}
	return s.findTimeFrom(start, size, ts, from)
}

// NextTime goes on after a batch that FindTime or NextTime found.
func (s *Segment) NextTime(after Place, ts int64, from protocol.Offset) (p Place, ok bool, err error) {
	size, _ := s.Published()
	return s.findTimeFrom(after.Position+after.Bytes, size, ts, from)
}

func (s *Segment) findTimeFrom(start, size, ts int64, from protocol.Offset) (Place, bool, error) {
	f, err := s.log.acquire()
	if err != nil {
		return Place{}, false, err
	}
	defer s.log.release()
	sc := newScanner(s, f, start, size)
	defer sc.close()
	for {
		b, pos, err := sc.next()
		if b == nil || err != nil {
			return Place{}, false, err
		}
		if b.MaxTimestamp() >= ts && b.LastOffset() >= from {
			return Place{Position: pos, Bytes: sc.pos - pos}, true, nil
		}
	}
}

// lookupTime is a position before which no record has both a timestamp of ts or more and an offset of from or more. The
// entry used is the last one whose timestamp lies before ts: it says that nothing up to its offset is as late as ts.
func (s *Segment) lookupTime(ts int64, from protocol.Offset) (int64, error) {
	buf := s.log.d.buffers.get()
	defer s.log.d.buffers.put(buf)
	e := (*buf)[:timeEntryBytes]
	ok, err := s.times.floor(timeBefore, ts, e)
	if err != nil {
		return 0, err
	}
	if ok {
		from = max(from, at(s.base, parseTimeEntry(e).relative))
	}
	return s.lookup(from)
}

// ReadBatch reads a whole batch into buf, which is made larger where needed.
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
		return nil, fmt.Errorf("read %s at byte %d: %w", s.log.name(), p.Position, err)
	}
	b, _, err := batch.Next(buf)
	if err != nil {
		return nil, &DamageError{Name: s.log.name(), Position: p.Position, Err: err}
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
	s   *Segment
	f   vfs.File
	pos int64 // where the next batch begins
	end int64

	buf *[]byte
	at  int64 // the position of the buffer's first byte
	n   int   // bytes in the buffer
}

func newScanner(s *Segment, f vfs.File, pos, end int64) scanner {
	return scanner{s: s, f: f, pos: pos, end: end, buf: s.log.d.buffers.get()}
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
		want := min(int64(len(*sc.buf)), sc.end-pos)
		n, err := sc.f.ReadAt((*sc.buf)[:want], pos)
		if n < batch.HeaderBytes {
			return nil, pos, fmt.Errorf("read %s at byte %d: %w", sc.s.log.name(), pos, err)
		}
		sc.at, sc.n = pos, n
	}
	head = batch.Batch((*sc.buf)[pos-sc.at:][:batch.HeaderBytes])
	bytes, err := checkHead(head)
	if err == nil && bytes > sc.end-pos {
		err = fmt.Errorf("a batch of %d bytes with %d bytes left in the file", bytes, sc.end-pos)
	}
	if err != nil {
		return nil, pos, sc.damage(err)
	}
	sc.pos = pos + bytes
	return head, pos, nil
}

func (sc *scanner) damage(err error) error {
	return &DamageError{Name: sc.s.log.name(), Position: sc.pos, Err: err}
}

// DamageError says that a segment's file does not hold a batch where one should begin.
type DamageError struct {
	Name     string
	Position int64
	Err      error
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("%s is damaged at byte %d: %v", e.Name, e.Position, e.Err)
}

// Unwrap is the cause.
func (e *DamageError) Unwrap() error { return e.Err }

// checkHead checks what can be known from a header alone, and gives the size of the whole batch.
func checkHead(b batch.Batch) (int64, error) {
	bytes := int64(int32(uint32(b[8])<<24|uint32(b[9])<<16|uint32(b[10])<<8|uint32(b[11]))) + 12
	switch {
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
