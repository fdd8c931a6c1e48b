package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/producers"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// sureAborted compares the index of aborted transactions of the i-th segment, which has no checksum, with the batches: it
// is made once more from the producers' state at the segment's begin. Where they differ and the batches are as they were
// written, the index is replaced.
func (l *Log) sureAborted(segs []*segment.Segment, i int) error {
	s := segs[i]
	why, _, err := l.abortedDiffers(segs, i)
	if err == nil && why == nil {
		s.SureAborted()
	}
	if err != nil || why == nil {
		return err
	}
	for j := i; j >= 0; j-- { // what was made from damaged batches says nothing
		if err := segs[j].Sure(0, segs[j].Size()); err != nil {
			return err
		}
		if _, ok := l.snapshotAt(segs[j].Base()); ok {
			break
		}
	}
	l.mu.Lock() // nobody appends an entry now
	defer l.mu.Unlock()
	if err := l.readable(); err != nil {
		return err
	}
	if !slices.Contains(*l.segments.Load(), s) {
		return segment.ErrRemoved
	}
	why, right, err := l.abortedDiffers(segs, i)
	switch {
	case err != nil:
		return err
	case why == nil:
		s.SureAborted()
		return nil
	case right == nil:
		return l.fail(&DamagedError{Flushed: protocol.Offset(l.synced.Load()), Good: s.Base(), Err: why})
	}
	l.logger.Warn("an index of aborted transactions is made anew", "topic", l.tp.Topic, "partition", l.tp.Partition,
		"reason", why)
	if err := s.MendAborted(right.found); err != nil {
		return l.storageError("make an index of aborted transactions anew", err)
	}
	return nil
}

// abortedDiffers says in what the index of the i-th segment is wrong. right is what it should be, nil where that cannot be
// known any more: the state at the segment's begin is not kept, or compaction has taken batches out of it.
func (l *Log) abortedDiffers(segs []*segment.Segment, i int) (why error, right *abortedScan, err error) {
	s := segs[i]
	scan := &abortedScan{markers: map[protocol.Offset]int64{}, next: s.Base()}
	known, err := l.stateAt(segs, i)
	if err != nil {
		return nil, nil, err
	}
	if scan.state = known; known == nil {
		scan.state = producers.New()
	}
	if err := scan.read(s); err != nil {
		return nil, nil, err
	}
	if known != nil && !scan.gaps {
		right = scan
	}
	name := path.Join(l.Dir(), segment.FileName(s.Base(), segment.TxnSuffix))
	have, err := s.Aborted(nil)
	if disk := (*fs.PathError)(nil); errors.As(err, &disk) {
		return nil, nil, err
	}
	if err != nil {
		return err, right, nil
	}
	if right == nil {
		why, err := plausible(s, have, scan.markers)
		if why != nil {
			why = fmt.Errorf("%s: %w", name, why)
		}
		return why, nil, err
	}
	if !slices.Equal(have, right.found) {
		return fmt.Errorf("%s does not belong to its log: it has %d entries, and the log %d, or they differ", name, len(have),
			len(right.found)), right, nil
	}
	return nil, right, nil
}

// abortedScan finds the aborted transactions of a segment in its batches.
type abortedScan struct {
	state   *producers.State
	found   []segment.AbortedTxn
	markers map[protocol.Offset]int64 // the producers of markers that abort, by offset
	next    protocol.Offset
	gaps    bool // there are offsets in no batch
}

func (x *abortedScan) read(s *segment.Segment) error {
	var buf []byte
	var inner error
	err := s.Heads(0, func(head batch.Batch, p segment.Place) bool {
		x.gaps = x.gaps || head.BaseOffset() != x.next
		x.next = head.LastOffset() + 1
		if head.ProducerID() < 0 {
			return true
		}
		if head.IsControl() {
			if buf, inner = s.ReadBatch(p, buf); inner != nil {
				return false
			}
			head = buf
			if producers.Aborts(head) {
				x.markers[head.BaseOffset()] = head.ProducerID()
			}
		}
		if ended, ok := x.state.Apply(head, time.UnixMilli(0)); ok && ended.Aborted {
			x.found = append(x.found, abortedOf(ended))
		}
		return true
	})
	x.gaps = x.gaps || x.next != s.Next()
	return errors.Join(err, inner)
}

// stateAt is the producers' state where the i-th segment begins: that of the snapshot there, or of an older one and the
// batches behind it. nil: it is not known.
func (l *Log) stateAt(segs []*segment.Segment, i int) (*producers.State, error) {
	for j := i; j >= 0; j-- {
		base := segs[j].Base()
		state, ok := l.snapshotAt(base)
		if !ok && base > 0 {
			continue
		}
		if !ok {
			state = producers.New()
		}
		scan := &abortedScan{state: state, markers: map[protocol.Offset]int64{}, next: base}
		for _, s := range segs[j:i] {
			if err := scan.read(s); err != nil {
				return nil, err
			}
		}
		if scan.gaps {
			return nil, nil
		}
		return state, nil
	}
	return nil, nil
}

// snapshotAt is the producers' state that is kept for an offset.
func (l *Log) snapshotAt(at protocol.Offset) (*producers.State, bool) {
	b, err := vfs.ReadFile(l.files.FS(), path.Join(l.Dir(), segment.FileName(at, segment.SnapshotSuffix)), smallFileMax)
	if err != nil {
		return nil, false
	}
	state, err := producers.Load(b, at)
	return state, err == nil
}

// plausible looks at the entries for themselves: each belongs to the marker of its producer, unless compaction has
// removed that.
func plausible(s *segment.Segment, entries []segment.AbortedTxn, markers map[protocol.Offset]int64) (why, err error) {
	for _, a := range entries {
		id, marked := markers[a.Last]
		if marked && id == a.ProducerID && a.First >= 0 && a.First <= a.Last && a.LastStable >= 0 && a.LastStable <= a.Last+1 {
			continue
		}
		if marked || a.Last < s.Base() || a.Last >= s.Next() {
			return fmt.Errorf("an entry %+v is of no transaction that was aborted here", a), nil
		}
		p, ok, err := s.Find(a.Last)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		b, err := s.ReadBatch(p, nil)
		if err != nil {
			return nil, err
		}
		if b.BaseOffset() <= a.Last {
			return fmt.Errorf("an entry %+v points to a batch that ends no transaction", a), nil
		}
	}
	return nil, nil
}
