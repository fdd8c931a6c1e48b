package storage

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// moveChunk is how much is copied at a time.
const moveChunk = 256 << 10

// prepare makes the target's folder, empty.
func (m *move) prepare(s *Store) error {
	// The mark of an earlier move, of which this log was the end: were it still there, two folders could each claim to
	// have come after the other.
	from := m.l.Dir()
	if _, err := s.fs.Stat(path.Join(from, movedFile)); err == nil {
		if err := vfs.RemoveIfThere(s.fs, path.Join(from, movedFile)); err != nil {
			return err
		}
		if err := s.fs.SyncDir(from); err != nil {
			return err
		}
	}
	if err := vfs.RemoveAll(s.fs, m.folder); err != nil { // what is there is from before a restart
		return err
	}
	if err := m.wanted(s); err != nil {
		return err
	}
	if err := m.fits(m.l.Size()); err != nil {
		return err
	}
	return s.fs.Mkdir(m.folder)
}

// fits says whether the target has room for so many bytes more, apart from its reserve.
func (m *move) fits(bytes int64) error {
	seen := m.to.space.seen.Load()
	if seen == nil || seen.Free-seen.Reserve >= bytes {
		return nil
	}
	return fmt.Errorf("%s has %d bytes free, of which %d are kept in reserve, and %d are needed", m.to.path, seen.Free,
		seen.Reserve, bytes)
}

// plan is what a round has to bring into the target.
type plan struct {
	segments []*segment.Segment
	sizes    []segment.Sizes // of segments
	mends    []int32         // of segments
	snapshot protocol.Offset // of the newest file with the producers' state, -1 where there is none
	left     int64           // bytes
}

// plan looks at the log, and leaves out of the copies what is not in it any more. Log.mu is held.
func (m *move) plan() (plan, error) {
	l := m.l
	if err := l.usable(); err != nil {
		return plan{}, err
	}
	if l.w.cuts != m.cuts {
		m.cuts = l.w.cuts
		return plan{}, errCut
	}
	p := plan{segments: *l.segments.Load(), snapshot: l.w.snapshot}
	for i, seg := range p.segments {
		c := m.copies[seg]
		if c != nil && c.mends != seg.Mends() { // its indexes are others now
			c.sure = false
			c.sizes.Index, c.sizes.Time = -1, -1
		}
		p.mends = append(p.mends, seg.Mends())
		if c != nil && c.sure && i < len(p.segments)-1 {
			p.sizes = append(p.sizes, c.sizes)
			continue
		}
		z, err := seg.Written()
		if err != nil {
			return p, err
		}
		p.sizes = append(p.sizes, z)
		p.left += missing(c, z)
	}
	return p, nil
}

// missing is how many bytes of the files have not been copied.
func missing(c *segmentCopy, z segment.Sizes) int64 {
	var n int64
	var have [len(segment.Files)]int64
	if c != nil {
		have = c.sizes.List()
	}
	for i, size := range z.List() {
		n += max(0, size-max(0, have[i]))
	}
	return n
}

// errCut says that records were cut off the log's end, which the copy may have.
var errCut = errors.New("the log was cut")

// round brings the copy up to what the log is now, and says how many bytes came meanwhile. Nobody waits for it.
func (m *move) round(s *Store) (left int64, err error) {
	p, err := m.look()
	if errors.Is(err, errCut) {
		return m.again(s)
	}
	if err != nil {
		return 0, err
	}
	err = m.bring(s, p, func(bytes int64) error { return m.pause(s, bytes) })
	now, lookErr := m.look()
	switch {
	case m.wanted(s) != nil:
		return 0, errMoveEnded
	case errors.Is(lookErr, errCut):
		return m.again(s)
	case lookErr != nil:
		return 0, lookErr
	case err != nil && !slices.Equal(now.segments, p.segments):
		return m.hold + 1, nil // a segment went, or was replaced, while it was copied
	}
	return now.left, err
}

func (m *move) look() (plan, error) {
	m.l.mu.Lock()
	defer m.l.mu.Unlock()
	return m.plan()
}

// again begins from nothing. It is rare that a log is cut, and the copy has files that are not in the log any more:
// producers' states of records that are not there.
func (m *move) again(s *Store) (left int64, err error) {
	clear(m.copies)
	m.bytes.Store(0)
	m.behind.Store(0)
	return m.hold + 1, m.prepare(s)
}

// bring copies what is missing, and makes each file durable. pause is asked before each piece.
func (m *move) bring(s *Store, p plan, pause func(bytes int64) error) error {
	if err := m.dropStrangers(s, p); err != nil {
		return err
	}
	for i, seg := range p.segments {
		c := m.copies[seg]
		if c == nil {
			c = &segmentCopy{base: seg.Base(), sizes: segment.Sizes{Log: -1, Index: -1, Time: -1, Txn: -1}}
			m.copies[seg] = c
			if err := m.copySmall(s, segment.FileName(c.base, segment.SnapshotSuffix)); err != nil {
				return err
			}
		}
		if c.sure {
			continue
		}
		if err := m.copySegment(s, c, p.sizes[i], pause); err != nil {
			return err
		}
		c.mends = p.mends[i]
		if c.sure = i < len(p.segments)-1; c.sure {
			m.behind.Store(int64(p.segments[i+1].Base()))
		}
	}
	if p.snapshot >= 0 {
		return m.copySmall(s, segment.FileName(p.snapshot, segment.SnapshotSuffix))
	}
	return nil
}

// dropStrangers removes the copies of segments that are not in the plan: retention took them, or compaction replaced
// them, by ones of the same name perhaps.
func (m *move) dropStrangers(s *Store, p plan) error {
	planned := make(map[*segment.Segment]bool, len(p.segments))
	for _, seg := range p.segments {
		planned[seg] = true
	}
	byBase := func(a, b *segment.Segment) int { return cmp.Compare(a.Base(), b.Base()) }
	for _, seg := range slices.SortedFunc(maps.Keys(m.copies), byBase) {
		c := m.copies[seg]
		if planned[seg] {
			continue
		}
		for _, name := range segment.FileNames(c.base) {
			if err := m.removeFile(s, name); err != nil {
				return err
			}
		}
		m.bytes.Add(-max(0, c.sizes.Log))
		delete(m.copies, seg)
	}
	return nil
}

// copySegment copies the files of one segment as far as z says.
func (m *move) copySegment(s *Store, c *segmentCopy, z segment.Sizes, pause func(int64) error) error {
	have, want := c.sizes.List(), z.List()
	for i, suffix := range segment.Files {
		if have[i] >= want[i] {
			continue
		}
		name := segment.FileName(c.base, suffix)
		counted := func(bytes int64) error {
			if i == 0 {
				m.bytes.Add(bytes)
			}
			return pause(bytes)
		}
		if err := m.copyFile(s, name, max(0, have[i]), want[i], have[i] < 0, counted); err != nil {
			return err
		}
	}
	c.sizes = z
	return nil
}

// copyFile copies a part of a file and makes it durable, but not its name.
func (m *move) copyFile(s *Store, name string, from, to int64, anew bool, pause func(int64) error) (err error) {
	src, err := s.fs.Open(path.Join(m.l.Dir(), name))
	if err != nil {
		return err
	}
	defer src.Close()
	open := s.fs.Open
	if anew {
		open = s.fs.Create
	}
	dst, err := open(path.Join(m.folder, name))
	if err != nil {
		return err
	}
	defer func() {
		if cerr := dst.Close(); err == nil {
			err = cerr
		}
	}()
	buf := make([]byte, min(moveChunk, to-from))
	for at := from; at < to; {
		piece := buf[:min(int64(len(buf)), to-at)]
		if err := pause(int64(len(piece))); err != nil {
			return err
		}
		if n, err := src.ReadAt(piece, at); n < len(piece) {
			return fmt.Errorf("read %s at byte %d: %w", path.Join(m.l.Dir(), name), at, err)
		}
		if _, err := dst.WriteAt(piece, at); err != nil {
			return fmt.Errorf("write %s at byte %d: %w", path.Join(m.folder, name), at, err)
		}
		at += int64(len(piece))
	}
	if err := dst.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", path.Join(m.folder, name), err)
	}
	return nil
}

// copySmall copies a whole small file, where there is one.
func (m *move) copySmall(s *Store, name string) error {
	b, err := vfs.ReadFile(s.fs, path.Join(m.l.Dir(), name), smallFileMax)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return m.writeSmall(s, name, b)
}

func (m *move) writeSmall(s *Store, name string, b []byte) (err error) {
	f, err := s.fs.Create(path.Join(m.folder, name))
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path.Join(m.folder, name), err)
	}
	return nil
}
