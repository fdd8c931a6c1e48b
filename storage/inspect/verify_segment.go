package inspect

import (
	"errors"
	"fmt"
	"io"
	"path"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/epoch"
	"moldau.io/moldau/storage/segment"
)

// check is one partition under examination.
type check struct {
	v        *Verifier
	dir      string
	files    files
	clean    bool
	recovery protocol.Offset // -1: nobody says

	epochs   epoch.History
	noEpochs bool // there is no history to compare with

	next      protocol.Offset // after the last good batch
	broken    bool            // there was damage, so that states that follow from the log cannot be compared
	producers map[int64]*seen
	looked    int // snapshots that were compared
	buf       []byte

	// Of the present segment.
	log     string
	last    bool // it is the newest
	offsets *offsetCheck
	times   *timeCheck
	aborts  *abortCheck
}

func (c *check) name(base protocol.Offset, suffix string) string {
	return path.Join(c.dir, segment.FileName(base, suffix))
}

// segment checks the i-th segment and its indexes.
func (c *check) segment(i int) error {
	base := c.files.segments[i]
	c.log, c.last = c.name(base, segment.LogSuffix), i == len(c.files.segments)-1
	c.v.sum.Segments++
	switch {
	case i == 0:
		c.next = base
	case base < c.next:
		c.v.damage(c.log, 0, base, doRepair, "begins at offset %d, and the segment before it ends at %d", base, c.next)
		c.broken = true
	case base > c.next && base > c.recovery && c.recovery >= 0 && !c.v.running && !c.kafkas():
		// Below the recovery point compaction leaves gaps.
		c.v.damage(c.log, 0, c.next, doRepair, "the records from offset %d to %d are missing before it", c.next, base-1)
		c.broken = true
	}
	l, err := OpenLog(c.v.FS, c.log)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := c.openIndexes(base, l.Size()); err != nil {
		return err
	}
	defer c.closeIndexes()
	for {
		p, err := l.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		c.v.sum.Bytes += p.Bytes
		if c.v.Progress != nil {
			c.v.Progress(c.v.sum.Bytes)
		}
		if p.Damage != nil {
			c.damaged(p)
			continue
		}
		if err := c.batch(l, p); err != nil {
			return err
		}
	}
	return c.closeSegment(l.Size())
}

// kafkas says whether a Kafka that was killed has left the folder: the index of the newest segment ends with zeros. Gaps are
// then taken as they are, as Kafka does.
func (c *check) kafkas() bool {
	const leastFilled = 1 << 20
	name := segment.FileName(c.files.segments[len(c.files.segments)-1], segment.IndexSuffix)
	return c.files.present[name] >= leastFilled
}

// damaged reports bytes that hold no good batch. What a crash, or a broker that is writing just now, leaves at the end of the
// newest segment is none.
func (c *check) damaged(p Piece) {
	torn := c.last && p.AtEnd
	switch {
	case torn && c.v.running:
		return
	case torn && !c.clean && c.next >= c.recovery:
		c.v.note(c.log, p.Position, c.next, doNext, "%d bytes of a torn end: %v", p.Bytes, p.Damage)
	default:
		c.v.damage(c.log, p.Position, c.next, doRepair, "%d bytes: %v", p.Bytes, p.Damage)
	}
	c.broken = true
	c.offsets.skip(p)
	if p.Head != nil && p.Head.BaseOffset() >= c.next {
		c.times.note(p.Head) // its header may still be right
	}
}

// batch checks a batch whose checksum is right.
func (c *check) batch(l *Log, p Piece) error {
	h := p.Head
	c.v.sum.Batches++
	if h.BaseOffset() < c.next {
		c.v.damage(c.log, p.Position, h.BaseOffset(), doRepair, "a batch begins at offset %d, after one that ended at %d",
			h.BaseOffset(), c.next-1)
		c.broken = true
	}
	if err := c.snapshotsUpTo(h.BaseOffset()); err != nil {
		return err
	}
	c.checkEpoch(p)
	c.offsets.batch(c, p)
	c.times.batch(c, p)
	b, err := l.Batch(p, c.buf)
	if err != nil && !errors.Is(err, ErrLarge) {
		return err
	}
	if err == nil {
		c.buf = b
		c.records(p, b)
		c.track(p, b)
	}
	c.next = p.Next()
	return nil
}

// checkEpoch holds a batch's leader epoch against the history.
func (c *check) checkEpoch(p Piece) {
	if c.noEpochs || c.v.running || c.broken {
		return
	}
	said := c.epochs.At(p.Head.BaseOffset())
	if said == epoch.Unknown || said == p.Head.LeaderEpoch() {
		return
	}
	file := path.Join(c.dir, epochsFile)
	if !c.clean && p.Head.BaseOffset() >= c.recovery {
		c.v.note(file, -1, p.Head.BaseOffset(), doNext, "does not know that the epoch %d wrote offset %d", p.Head.LeaderEpoch(),
			p.Head.BaseOffset())
	} else {
		c.v.damage(file, -1, p.Head.BaseOffset(), "run moldau log repair, which makes it anew from the log",
			"says that the epoch %d wrote offset %d; the batch says %d", said, p.Head.BaseOffset(), p.Head.LeaderEpoch())
	}
	c.noEpochs = true // one is enough
}

// records checks that the records of a batch can be read and are numbered upwards.
func (c *check) records(p Piece, b batch.Batch) {
	last := int32(-1)
	for r, err := range b.Records(nil) {
		if err == nil && (r.OffsetDelta <= last || r.OffsetDelta > b.LastOffsetDelta()) {
			err = fmt.Errorf("a record has the offset %d after %d, in a batch that ends at %d",
				b.BaseOffset()+protocol.Offset(r.OffsetDelta), b.BaseOffset()+protocol.Offset(last), b.LastOffset())
		}
		if err != nil {
			c.v.damage(c.log, p.Position, b.BaseOffset(), doRepair, "the checksum is right, but the records are not: %v", err)
			c.broken = true
			return
		}
		last = r.OffsetDelta
		c.v.sum.Records++
	}
}
