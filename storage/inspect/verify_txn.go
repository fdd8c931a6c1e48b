package inspect

import (
	"io"
	"slices"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/producers"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// abortedMax is how many aborted transactions of one segment are looked at.
const abortedMax = 1 << 20

// abortCheck holds a segment's index of aborted transactions against its markers.
type abortCheck struct {
	file    string
	base    protocol.Offset
	x       *TxnIndex
	entries []TxnEntry
	matched int // entries up to here have been held against their markers
	wrong   bool
}

func (a *abortCheck) report(c *check, at int64, offset protocol.Offset, format string, args ...any) {
	if !a.wrong {
		a.wrong = true
		c.v.damage(a.file, at, offset, doRebuild, format, args...)
	}
}

func (a *abortCheck) read(c *check) error {
	if a.x == nil {
		return nil
	}
	for len(a.entries) < abortedMax {
		e, err := a.x.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch n := len(a.entries); {
		case e.Version != 0:
			a.report(c, e.At, -1, "an entry has version %d, only 0 is known", e.Version)
			return nil
		case e.First > e.Last || e.Last < a.base || n > 0 && e.Last <= a.entries[n-1].Last:
			a.report(c, e.At, e.Last, "an entry of producer %d says that the offsets %d to %d were aborted", e.ProducerID,
				e.First, e.Last)
			return nil
		}
		a.entries = append(a.entries, e)
	}
	return nil
}

// batch passes over entries whose marker cannot come any more, and takes the one of an abort marker at b.
func (a *abortCheck) batch(c *check, p Piece, b batch.Batch, aborts bool, first protocol.Offset) {
	for a.matched < len(a.entries) && a.entries[a.matched].Last < b.BaseOffset() {
		a.matched++ // compaction has removed the marker
	}
	if a.matched < len(a.entries) && a.entries[a.matched].Last <= b.LastOffset() {
		e := a.entries[a.matched]
		a.matched++
		if !b.IsControl() || b.ProducerID() != e.ProducerID || b.Count() > 0 && !aborts {
			a.report(c, e.At, e.Last, "says that offset %d aborts a transaction of producer %d; it does not", e.Last, e.ProducerID)
		} else if first >= 0 && e.First > first {
			a.report(c, e.At, e.First, "says that an aborted transaction of producer %d begins at offset %d; it begins at %d",
				e.ProducerID, e.First, first)
		}
		return
	}
	if aborts && first >= 0 && !c.growing() && !c.rebuiltAnyway() {
		a.report(c, -1, b.BaseOffset(), "does not name the transaction of producer %d that offset %d aborts: its records, from "+
			"offset %d on, would be shown to those who read committed ones only", b.ProducerID(), b.BaseOffset(), first)
	}
}

func (a *abortCheck) close(c *check) {
	for _, e := range a.entries[min(a.matched, len(a.entries)):] {
		if e.Last >= c.next && !c.growing() && !c.broken {
			a.report(c, e.At, e.Last, "names the offset %d, and the segment ends at %d", e.Last, c.next)
		}
	}
}

// seen is what the log has said of a producer so far.
type seen struct {
	epoch     int16
	lastSeq   int32
	last      protocol.Offset // of its last batch of data
	txnFirst  protocol.Offset // of its open transaction; -1 for none
	dataEpoch int16           // of that last batch
}

// track follows the producers, and with them the transactions.
func (c *check) track(p Piece, b batch.Batch) {
	aborts, first := false, protocol.Offset(-1)
	if b.HasProducer() {
		s := c.producers[b.ProducerID()]
		if s == nil {
			s = &seen{last: -1, txnFirst: -1}
			c.producers[b.ProducerID()] = s
		}
		s.epoch = b.ProducerEpoch()
		switch {
		case b.IsControl():
			kind, _ := markerOf(b)
			aborts, first = kind == abortMarker, s.txnFirst
			if kind == abortMarker || kind == commitMarker {
				s.txnFirst = -1
			}
		default:
			s.lastSeq, s.last, s.dataEpoch = b.LastSequence(), b.LastOffset(), b.ProducerEpoch()
			if b.IsTransactional() && s.txnFirst < 0 && b.Count() > 0 {
				s.txnFirst = b.BaseOffset()
			}
		}
	}
	if c.broken {
		first = -1
	}
	c.aborts.batch(c, p, b, aborts, first)
}

// snapshotsUpTo compares the snapshots of producers that lie at offset to or before it with what the log has said; all that are
// left where to is -1.
func (c *check) snapshotsUpTo(to protocol.Offset) error {
	for ; c.looked < len(c.files.snapshots); c.looked++ {
		at := c.files.snapshots[c.looked]
		if to >= 0 && at > to {
			return nil
		}
		name := c.name(at, segment.SnapshotSuffix)
		if c.v.running && at >= c.next {
			continue
		}
		raw, err := vfs.ReadFile(c.v.FS, name, smallFileMax)
		if err != nil {
			if c.v.running {
				continue // it has been replaced meanwhile
			}
			return err
		}
		state, err := producers.Load(raw, at)
		switch {
		case err != nil && !c.clean && at >= c.recovery:
			c.v.note(name, -1, at, doNext, "%v", err)
		case err != nil:
			c.v.damage(name, -1, at, "run moldau log repair, which makes it anew", "%v", err)
		case at > c.next && to < 0 && !c.broken:
			c.v.note(name, -1, at, doNext, "describes the log up to offset %d, where it ends at %d", at, c.next)
		case !c.broken:
			c.compare(name, at, state)
		}
	}
	return nil
}

// compare looks for producers of which the snapshot says something else than the log. It may know producers whose batches
// have been deleted, and may have forgotten some that wrote nothing for long.
func (c *check) compare(name string, at protocol.Offset, state *producers.State) {
	const do = "run moldau log repair, which makes it anew"
	for _, a := range state.Active() {
		if a.LastOffset >= at || a.TxnFirst >= at {
			c.v.damage(name, -1, at, do, "says that producer %d wrote offset %d, which it lies before", a.ID,
				max(a.LastOffset, a.TxnFirst))
			return
		}
		s := c.producers[a.ID]
		if s == nil || s.last < 0 || s.dataEpoch != a.Epoch || a.LastOffset < 0 {
			continue
		}
		if s.last != a.LastOffset || s.lastSeq != a.LastSequence {
			c.v.damage(name, -1, at, do, "says that producer %d wrote sequence %d at offset %d last; it was %d at %d", a.ID,
				a.LastSequence, a.LastOffset, s.lastSeq, s.last)
			return
		}
	}
	open := state.Open()
	for id, s := range c.producers {
		in := slices.ContainsFunc(open, func(t producers.Txn) bool { return t.ProducerID == id })
		if s.txnFirst >= 0 && s.txnFirst < at && !in {
			c.v.damage(name, -1, at, do, "does not know the open transaction of producer %d from offset %d on", id, s.txnFirst)
			return
		}
	}
}
