package inspect

import (
	"errors"
	"io"
	"io/fs"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/segment"
)

const doRebuild = "run moldau log repair, which makes the index anew"

// openIndexes opens the indexes of the segment that begins at base, whose log has size bytes.
func (c *check) openIndexes(base protocol.Offset, size int64) error {
	c.offsets = &offsetCheck{file: c.name(base, segment.IndexSuffix), before: OffsetEntry{Offset: -1, Position: -1}}
	c.times = &timeCheck{file: c.name(base, segment.TimeSuffix), largest: segment.NoTimestamp, before: TimeEntry{
		Timestamp: segment.NoTimestamp, Offset: -1,
	}}
	c.aborts = &abortCheck{file: c.name(base, segment.TxnSuffix), base: base}
	var err error
	missing := func(name string, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			if size > 0 && !c.v.running {
				c.v.note(name, -1, -1, doNext, "is missing")
			}
			return nil
		}
		return err
	}
	if c.offsets.x, err = OpenOffsetIndex(c.v.FS, c.offsets.file); missing(c.offsets.file, err) != nil {
		return err
	}
	if c.times.x, err = OpenTimeIndex(c.v.FS, c.times.file); missing(c.times.file, err) != nil {
		return err
	}
	if c.aborts.x, err = OpenTxnIndex(c.v.FS, c.aborts.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return c.aborts.read(c)
}

func (c *check) closeIndexes() {
	if c.offsets.x != nil {
		c.offsets.x.Close()
	}
	if c.times.x != nil {
		c.times.x.Close()
	}
	if c.aborts.x != nil {
		c.aborts.x.Close()
	}
}

// closeSegment looks at what the indexes hold beyond the log, of which size bytes were read. A running broker may have
// written more of both meanwhile.
func (c *check) closeSegment(size int64) error {
	if err := c.offsets.close(c, size); err != nil {
		return err
	}
	if err := c.times.close(c); err != nil {
		return err
	}
	c.aborts.close(c)
	return nil
}

// growing says that the segment may be written to just now.
func (c *check) growing() bool { return c.last && c.v.running }

// rebuiltAnyway says whether the next start makes the indexes of this segment anew: after a crash, above the recovery point.
func (c *check) rebuiltAnyway() bool { return !c.clean && c.next >= c.recovery && c.last }

// offsetCheck follows an offset index along its log.
type offsetCheck struct {
	file   string
	x      *OffsetIndex
	entry  *OffsetEntry // the next that was not compared
	before OffsetEntry
	err    error
	wrong  bool // reported; one finding is enough for a file
}

func (o *offsetCheck) peek() *OffsetEntry {
	if o.entry == nil && o.x != nil && o.err == nil {
		e, err := o.x.Next()
		if o.err = err; err == nil {
			o.entry = &e
		}
	}
	return o.entry
}

func (o *offsetCheck) report(c *check, e OffsetEntry, format string, a ...any) {
	if !o.wrong {
		o.wrong = true
		c.v.damage(o.file, e.At, e.Offset, doRebuild, format, a...)
	}
}

// skip passes over entries that point into bytes that hold no good batch.
func (o *offsetCheck) skip(p Piece) {
	for e := o.peek(); e != nil && e.Position < p.Position+p.Bytes; e = o.peek() {
		o.before, o.entry = *e, nil
	}
}

func (o *offsetCheck) batch(c *check, p Piece) {
	for e := o.peek(); e != nil && e.Position <= p.Position; e = o.peek() {
		switch {
		case e.Offset <= o.before.Offset || e.Position <= o.before.Position:
			o.report(c, *e, "the entry of offset %d, byte %d, does not rise after %d, %d", e.Offset, e.Position, o.before.Offset,
				o.before.Position)
		case e.Position < p.Position:
			o.report(c, *e, "says that a batch begins at byte %d, where none does", e.Position)
		case e.Offset < p.Head.LastOffset():
			o.report(c, *e, "says that the batch at byte %d ends at offset %d; it ends at %d", e.Position, e.Offset,
				p.Head.LastOffset())
		}
		o.before, o.entry = *e, nil
	}
}

func (o *offsetCheck) close(c *check, size int64) error {
	e := o.peek()
	if e != nil && !c.growing() {
		o.report(c, *e, "says that a batch begins at byte %d of a log of %d bytes", e.Position, size)
	}
	if e == nil && o.before.Offset >= c.next && !c.broken {
		o.report(c, o.before, "names the offset %d, and the log ends at %d", o.before.Offset, c.next)
	}
	return ignoreEOF(o.err)
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// timeCheck follows a time index along its log. An entry says the largest timestamp of the batches up to its offset.
type timeCheck struct {
	file    string
	x       *TimeIndex
	entry   *TimeEntry
	before  TimeEntry
	largest int64 // of the batches so far
	err     error
	wrong   bool
}

func (t *timeCheck) peek() *TimeEntry {
	if t.entry == nil && t.x != nil && t.err == nil {
		e, err := t.x.Next()
		if t.err = err; err == nil {
			t.entry = &e
		}
	}
	return t.entry
}

func (t *timeCheck) report(c *check, e TimeEntry, format string, a ...any) {
	if !t.wrong {
		t.wrong = true
		c.v.damage(t.file, e.At, e.Offset, doRebuild, format, a...)
	}
}

func (t *timeCheck) note(h batch.Batch) { t.largest = max(t.largest, h.MaxTimestamp()) }

func (t *timeCheck) batch(c *check, p Piece) {
	upTo := max(t.largest, p.Head.MaxTimestamp())
	for e := t.peek(); e != nil && e.Offset <= p.Head.LastOffset(); e = t.peek() {
		switch {
		case e.Offset <= t.before.Offset || e.Timestamp <= t.before.Timestamp:
			t.report(c, *e, "the entry of time %d, offset %d, does not rise after %d, %d", e.Timestamp, e.Offset,
				t.before.Timestamp, t.before.Offset)
		case e.Timestamp < t.largest, e.Timestamp > upTo:
			if !c.broken {
				t.report(c, *e, "says that %d is the largest timestamp up to offset %d; it is %d", e.Timestamp, e.Offset, upTo)
			}
		}
		t.before, t.entry = *e, nil
	}
	t.largest = upTo
}

func (t *timeCheck) close(c *check) error {
	if e := t.peek(); e != nil && !c.growing() && !c.broken {
		t.report(c, *e, "names the offset %d, and the segment ends at %d", e.Offset, c.next)
	}
	return ignoreEOF(t.err)
}
