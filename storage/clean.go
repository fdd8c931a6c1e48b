package storage

import (
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/compact"
	"moldau.io/moldau/storage/segment"
)

// errGivenUp says that a cleaning was ended because its log has changed, or the store is being closed. Nothing is lost
// by that: the log is as it was, or as it was with some of its segments cleaned.
var errGivenUp = errors.New("the cleaning was given up")

// errUnreadable says that a batch whose checksum is right cannot be read.
var errUnreadable = errors.New("a batch cannot be read")

// cleaning is what one goroutine needs to clean one log after the other.
type cleaning struct {
	s       *Store
	offsets compact.Offsets
	rewrite batch.Rewriter
	read    []byte
	write   []byte

	// Of the log under way:
	l     *Log
	cfg   *Config
	dir   string
	plan  compact.Plan
	cuts  int // how often the log had been truncated
	count CleaningCount
}

// cleaningBufferMin is the least that is read or written at a time.
const cleaningBufferMin = 16 << 10

func newCleaning(s *Store) *cleaning {
	t := s.Tuning().Cleaner
	size := max(t.BufferBytes/max(t.Threads, 1)/2, cleaningBufferMin)
	return &cleaning{s: s, read: make([]byte, size), write: make([]byte, size)}
}

// run cleans a log up to where the plan says, in several passes where the keys of one do not fit into memory. What one
// pass has done stays done.
func (w *cleaning) run(l *Log, plan compact.Plan) error {
	began := w.s.o.Now()
	w.l, w.cfg, w.dir, w.plan, w.count = l, l.cfg.Load(), l.Dir(), plan, CleaningCount{}
	l.mu.Lock()
	w.cuts = l.w.cuts
	l.mu.Unlock()
	if err := w.s.makeDurable(l, plan.Uncleanable); err != nil {
		return err
	}
	dirty := plan.Dirty
	for dirty < plan.Uncleanable {
		w.count.Passes++
		end, err := w.pass(dirty, began)
		if err != nil {
			return err
		}
		if err := w.s.cleanedTo(l, end, w.cuts); err != nil {
			return err
		}
		dirty = end
	}
	took := w.s.o.Now().Sub(began)
	w.s.background.cleaner.cleaned(w.count, took)
	w.s.logger.Info("log was compacted", "topic", l.tp.Topic, "partition", l.tp.Partition, "from", plan.Dirty, "to", dirty,
		"bytesBefore", w.count.BytesRead, "bytesAfter", w.count.BytesWritten, "recordsBefore", w.count.RecordsRead,
		"recordsAfter", w.count.RecordsKept, "passes", w.count.Passes, "ms", took.Milliseconds())
	if w.count.Keyless > 0 {
		w.s.logger.Warn("records without key were removed from a compacted log", "topic", l.tp.Topic,
			"partition", l.tp.Partition, "records", w.count.Keyless)
	}
	return nil
}

// makeDurable makes the whole log durable: a record must not replace another one while a crash may take the marker that
// ends its transaction. The checkpoint then says so of what is below upTo at least, since what is cleaned gets gaps,
// which opening after a crash takes for losses elsewhere.
func (s *Store) makeDurable(l *Log, upTo protocol.Offset) error {
	d := s.folderOf(l)
	if d == nil {
		return errGivenUp
	}
	if err := l.Flush(); err != nil {
		return err
	}
	d.mu.Lock()
	at := d.written[recoveryPointFile][l.tp]
	d.mu.Unlock()
	if at >= upTo {
		return nil
	}
	return s.keepRecoveryPoint(l)
}

// pass cleans the log with the keys from dirty on, as many as fit, and says how far they go.
func (w *cleaning) pass(dirty protocol.Offset, now time.Time) (protocol.Offset, error) {
	segs := *w.l.segments.Load()
	limit := sourcesBefore(segs, w.plan.Uncleanable)
	if err := w.index(segs[:limit], dirty); err != nil {
		return 0, err
	}
	w.count.Load = max(w.count.Load, w.offsets.Load())
	end := w.offsets.Next()
	sources := segs[:sourcesBefore(segs, end)]
	if len(sources) == 0 || end <= dirty { // segments went meanwhile
		return 0, errGivenUp
	}
	aborted, err := w.aborted(sources[0].Base(), sources[len(sources)-1].Next())
	if err != nil {
		return 0, err
	}
	round := compact.Round{
		Now:         now.UnixMilli(),
		Retention:   w.cfg.DeleteRetention.Milliseconds(),
		Start:       w.l.Bounds().Start,
		Committed:   w.l.HighWatermark(),
		Producers:   map[int64]compact.LastBatch{},
		Transaction: compact.NewTransactions(aborted),
	}
	for _, p := range w.l.Producers() {
		round.Producers[p.ID] = compact.LastBatch{Last: p.LastOffset, Epoch: p.Epoch}
	}
	filter := compact.NewFilter(round, &w.offsets)
	described, err := describe(segs[:min(len(sources)+1, len(segs))], false, 0)
	if err != nil {
		return 0, err
	}
	at := 0
	groups := compact.Group(described[:len(sources)], w.cfg.SegmentBytes, w.cfg.IndexBytes, segment.LargestRelative)
	for _, group := range groups {
		from := sources[at : at+len(group)]
		at += len(group)
		if err := w.group(from, filter, group[len(group)-1].Next); err != nil {
			return 0, err
		}
	}
	return end, nil
}

// sourcesBefore is how many segments begin before an offset, the last of all not counted.
func sourcesBefore(segs []*segment.Segment, offset protocol.Offset) int {
	n := 0
	for n < len(segs)-1 && segs[n].Base() < offset {
		n++
	}
	return n
}

func (w *cleaning) aborted(from, to protocol.Offset) ([]compact.Aborted, error) {
	found, err := w.l.Aborted(from, to)
	out := make([]compact.Aborted, 0, len(found))
	for _, a := range found {
		out = append(out, compact.Aborted(a))
	}
	return out, err
}

// index notes the keys from dirty on.
func (w *cleaning) index(segs []*segment.Segment, dirty protocol.Offset) error {
	t := w.s.Tuning().Cleaner
	bytes := t.DedupeBytes / int64(max(t.Threads, 1))
	w.offsets.Reset(w.s.background.cleaner.seed, int64(w.plan.Uncleanable-dirty), bytes, t.LoadFactor, dirty)
	aborted, err := w.aborted(dirty, w.plan.Uncleanable)
	if err != nil {
		return err
	}
	txns := compact.NewTransactions(aborted)
	errFull := errors.New("full")
	for i, s := range segs {
		next := w.plan.Uncleanable
		if i+1 < len(segs) {
			next = segs[i+1].Base()
		}
		if next <= dirty {
			continue
		}
		from := int64(0)
		if dirty > s.Base() {
			p, ok, err := s.Find(dirty)
			if err != nil {
				return err
			}
			if !ok {
				w.offsets.Reach(next)
				continue
			}
			from = p.Position
		}
		w.read, err = s.Batches(from, w.read, w.spend, func(b batch.Batch, p segment.Place) error {
			room, err := compact.Index(&w.offsets, txns, b, dirty, w.rewrite.Decoder())
			if err != nil {
				return unreadable(b, s, p, err)
			}
			if !room {
				return errFull
			}
			return nil
		})
		if errors.Is(err, errFull) {
			return nil
		}
		if err != nil {
			return err
		}
		w.offsets.Reach(next)
	}
	return nil
}

func unreadable(b batch.Batch, s *segment.Segment, p segment.Place, err error) error {
	return fmt.Errorf("%w: offset %d in %s at byte %d: %w", errUnreadable, b.BaseOffset(),
		segment.FileName(s.Base(), segment.LogSuffix), p.Position, err)
}

// spend waits until so many bytes may be read or written.
func (w *cleaning) spend(bytes int) error {
	w.s.background.cleaner.throttle.wait(bytes, w.s.background.stop)
	if w.s.stopping() {
		return errGivenUp
	}
	return nil
}

// group makes one segment of several, which go up to next, and puts it in their place.
func (w *cleaning) group(from []*segment.Segment, filter *compact.Filter, next protocol.Offset) (err error) {
	c, err := segment.CreateCleaned(w.l.files, w.dir, from[0].Base(), w.cfg.IndexInterval, w.write)
	if err != nil {
		return err
	}
	published := false
	defer func() {
		if published {
			return
		}
		if derr := c.Discard(); derr != nil && !w.l.isClosed() {
			err = w.l.fail(fmt.Errorf("remove what a cleaning left: %w", derr))
		}
	}()
	left := int64(0)
	for _, s := range from {
		left += s.Size()
	}
	if space, err := w.l.files.FS().Space(w.dir); err == nil && space.Free < left {
		return fmt.Errorf("%d bytes are free, and up to %d are needed until what they are made from is removed", space.Free,
			left)
	}
	for _, s := range from {
		w.read, err = s.Batches(0, w.read, w.spend, func(b batch.Batch, p segment.Place) error {
			left -= p.Bytes
			v, err := filter.Look(b, w.rewrite.Decoder())
			if err != nil {
				return unreadable(b, s, p, err)
			}
			return w.put(c, b, v, filter, left)
		})
		if err != nil {
			return err
		}
	}
	if err := c.Finish(next); err != nil {
		return err
	}
	// The first names are durable before they change: see completeSwaps.
	if err := w.l.files.FS().SyncDir(w.dir); err != nil {
		return err
	}
	published, err = w.l.replace(c, from, w.dir, w.cuts)
	return err
}

// put writes what stays of a batch. left is how much of the sources is still to come.
func (w *cleaning) put(c *segment.Cleaned, b batch.Batch, v compact.Verdict, filter *compact.Filter, left int64) error {
	w.count.BytesRead += int64(len(b))
	w.count.RecordsRead += int64(b.Count())
	w.count.RecordsKept += int64(v.Kept)
	w.count.Keyless += int64(v.Keyless)
	if v.Aborted != nil {
		if err := c.Abort(segment.AbortedTxn(*v.Aborted)); err != nil {
			return err
		}
	}
	out := b
	switch v.Fate {
	case compact.Drop:
		return nil
	case compact.Empty:
		out = w.rewrite.Empty(b)
	case compact.Rewrite:
		r := batch.Rewrite{Codec: b.Codec(), Horizon: v.Horizon, Keep: filter.Keeps}
		if w.cfg.Codec != batch.KeepProducer && !b.IsControl() {
			r.Codec, r.Level = w.cfg.Codec, w.cfg.Level
		}
		var err error
		if out, err = w.rewrite.Rewrite(b, r); err != nil {
			return err
		}
		if c.Size()+int64(len(out))+left > math.MaxInt32 && r.Codec != b.Codec() {
			// A codec that compresses less makes more than a segment can hold.
			r.Codec, r.Level = b.Codec(), 0
			if out, err = w.rewrite.Rewrite(b, r); err != nil {
				return err
			}
		}
	}
	w.count.BytesWritten += int64(len(out))
	if err := w.spend(len(out)); err != nil {
		return err
	}
	return c.Append(out)
}

// replace puts a cleaned segment in the place of its sources. It says whether it has: when some of those are no longer
// in the log, or it was truncated, the work was for nothing.
func (l *Log) replace(c *segment.Cleaned, sources []*segment.Segment, dir string, cuts int) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return false, err
	}
	segs := *l.segments.Load()
	i := slices.Index(segs, sources[0])
	if i < 0 || i+len(sources) >= len(segs) || !slices.Equal(segs[i:i+len(sources)], sources) || l.w.cuts != cuts ||
		l.Dir() != dir {
		return false, errGivenUp
	}
	if err := c.Swap(); err != nil {
		return false, err
	}
	if err := l.files.FS().SyncDir(dir); err != nil {
		return false, err
	}
	// From here on the new segment is the log's, whatever happens. Readers are told before the files change their
	// names: the new ones are open, and of the old ones only those stay readable that somebody reads now.
	swapped := slices.Concat(segs[:i], []*segment.Segment{c.Segment()}, segs[i+len(sources):])
	l.segments.Store(&swapped)
	for _, s := range sources {
		s.Drop()
	}
	if err := l.rename(c, sources, dir); err != nil {
		return true, l.fail(err)
	}
	return true, nil
}

// rename gives the files of sources and of what was made from them their last names, in an order that completeSwaps can
// go on with after a crash: the sources' logs go before anything else of them, so that none is left without its
// indexes.
func (l *Log) rename(c *segment.Cleaned, sources []*segment.Segment, dir string) error {
	fsys := l.files.FS()
	var logs, others []string
	for n, s := range sources {
		for _, name := range s.Names() {
			if path.Ext(name) == segment.LogSuffix {
				logs = append(logs, name)
			} else {
				others = append(others, name)
			}
		}
		snapshot := path.Join(dir, segment.FileName(s.Base(), segment.SnapshotSuffix))
		if _, err := fsys.Stat(snapshot); err == nil && n > 0 && s.Base() != l.w.snapshot {
			others = append(others, snapshot)
		}
	}
	for _, names := range [][]string{logs, others} {
		for _, name := range names {
			if err := fsys.Rename(name, name+segment.DeletedSuffix); err != nil {
				return fmt.Errorf("rename %s: %w", name, err)
			}
		}
		if err := fsys.SyncDir(dir); err != nil {
			return err
		}
		for i := range names {
			names[i] += segment.DeletedSuffix
		}
	}
	l.keeper.removeLater(append(logs, others...), l.cfg.Load().DeleteDelay)
	for _, place := range []func() error{c.PlaceLog, c.PlaceIndexes} {
		if err := place(); err != nil {
			return err
		}
		if err := fsys.SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}
