package segment

import (
	"fmt"

	"moldau.io/moldau/protocol/batch"
)

// Batches calls do for each whole published batch that lies at start or after it, in order, with its place. The batch
// is valid during the call. Every checksum is looked at: what does not check out is a *DamageError. The file is read in
// pieces of buf's size; a larger batch makes a larger one. After each piece read is told its size, and may end the walk
// by an error. The buffer is given back for the next time.
func (s *Segment) Batches(start int64, buf []byte, read func(bytes int) error, do func(b batch.Batch, p Place) error) (
	[]byte, error) {
	size, _ := s.Published()
	f, err := s.log.acquire()
	if err != nil {
		return buf, err
	}
	defer s.log.release()
	pos, at, n := start, start, 0 // the next batch's place; the buffer's, and how much is in it
	for pos < size {
		b, need, reason := wholeBatch(buf[min(pos-at, int64(n)):n], size-pos)
		if reason != nil {
			return buf, &DamageError{Name: s.log.name(), Position: pos, Err: reason}
		}
		if need > 0 {
			if int64(cap(buf)) < need {
				buf = make([]byte, need)
			}
			buf = buf[:cap(buf)]
			at, n = pos, int(min(int64(len(buf)), size-pos))
			if got, err := f.ReadAt(buf[:n], at); got < n {
				return buf, fmt.Errorf("read %s at byte %d: %w", s.log.name(), at+int64(got), err)
			}
			if err := read(n); err != nil {
				return buf, err
			}
			continue
		}
		if err := do(b, Place{Position: pos, Bytes: int64(len(b))}); err != nil {
			return buf, err
		}
		pos += int64(len(b))
	}
	return buf, nil
}

// wholeBatch is the batch at the start of b, of which left bytes are in the file. need says that so many bytes must be
// in b to decide; reason says why there is no batch.
func wholeBatch(b []byte, left int64) (whole batch.Batch, need int64, reason error) {
	if left < batch.HeaderBytes {
		return nil, 0, fmt.Errorf("%d bytes are too few for a batch", left)
	}
	if len(b) < batch.HeaderBytes {
		return nil, batch.HeaderBytes, nil
	}
	bytes, err := checkHead(b)
	if err != nil {
		return nil, 0, err
	}
	if bytes > left {
		return nil, 0, fmt.Errorf("a batch of %d bytes with %d bytes left in the file", bytes, left)
	}
	if int64(len(b)) < bytes {
		return nil, bytes, nil
	}
	whole = batch.Batch(b[:bytes:bytes])
	if !whole.CheckCRC() {
		return nil, 0, fmt.Errorf("the checksum of the batch at offset %d is wrong", whole.BaseOffset())
	}
	return whole, 0, nil
}
