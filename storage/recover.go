package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/epoch"
	"moldau.io/moldau/storage/producers"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// recovery opens a log whose folder has segments.
type recovery struct {
	o    opening
	l    *Log
	disk onDisk
	done Recovered

	segs      []*segment.Segment
	next      protocol.Offset // where the log goes on after segs
	epochs    epoch.History
	file      *epoch.History   // as it is on disk; nil where it cannot be read
	emptyFile bool             // the epochs' file has no bytes
	trusted   int              // so many segments are not read again
	kafkas    bool             // Kafka wrote this folder last, and did not end in order
	durable   protocol.Offset  // the new recovery point
	part      *segment.Segment // the first of the others, of which only what lies behind the recovery point is read; or nil
	read      protocol.Offset  // while segments are read again: the offset behind the last batch
	snapped   bool             // producers' snapshots were written
}

func (r *recovery) run() error {
	err := r.open()
	var damage *segment.DamageError
	if flushed := (*DamagedError)(nil); err != nil && errors.As(err, &damage) && !errors.As(err, &flushed) {
		return &DamagedError{Flushed: r.o.recovery, Good: max(damage.Offset, damage.Segment.Base()), Err: err}
	}
	return err
}

func (r *recovery) open() (err error) {
	if r.kafkas, err = r.leftByKafka(); err != nil {
		return err
	}
	if err := r.parseEpochs(); err != nil {
		return err
	}
	if err := r.settleStart(); err != nil {
		return err
	}
	if err := r.dropBelowStart(); err != nil {
		return err
	}
	r.durable = r.o.recovery
	r.trusted = len(r.disk.segments)
	if !r.o.clean {
		r.trusted = 0
		for r.trusted+1 < len(r.disk.segments) && r.disk.segments[r.trusted+1] <= r.o.recovery {
			r.trusted++
		}
	}
	if err := r.openTrusted(); err != nil {
		return err
	}
	if err := r.resume(); err != nil {
		return err
	}
	if err := r.checkEnd(); err != nil {
		return err
	}
	if err := r.readEpochs(); err != nil {
		return err
	}
	if err := r.loadProducers(); err != nil {
		return err
	}
	if err := r.readAgain(); err != nil {
		return err
	}
	if err := r.replayJournal(); err != nil {
		return err
	}
	return r.finish()
}

// leftByKafka tells a killed Kafka by the zeros that it fills the last segment's index with. Its compacted logs may
// have gaps between segments anywhere. Ours have them only below the recovery point, so that above it a gap shows what
// a crash took.
func (r *recovery) leftByKafka() (bool, error) {
	if r.o.clean {
		return false, nil
	}
	base := r.disk.segments[len(r.disk.segments)-1]
	const entry, leastFilled = 8, 1 << 20
	size := r.disk.sizes[base].Index
	if size < leastFilled {
		return false, nil
	}
	f, err := r.o.files.FS().Open(path.Join(r.o.dir, segment.FileName(base, segment.IndexSuffix)))
	if err != nil {
		return false, err
	}
	defer f.Close()
	var b [entry]byte
	if n, err := f.ReadAt(b[:], size-entry); n < entry {
		return false, err
	}
	return b == [entry]byte{}, nil
}

// dropBelowStart removes segments that lie wholly below the log's start: their removal was cut short, perhaps before the
// names of those that stay were durable.
func (r *recovery) dropBelowStart() error {
	d := &r.disk
	if len(d.segments) > 1 && d.segments[1] <= r.o.start {
		if err := r.o.files.FS().SyncDir(r.o.dir); err != nil {
			return err
		}
	}
	for len(d.segments) > 1 && d.segments[1] <= r.o.start {
		if err := r.removeSegment(d.segments[0]); err != nil {
			return err
		}
		d.segments = d.segments[1:]
	}
	return nil
}

// openTrusted opens the segments that were flushed as they are.
func (r *recovery) openTrusted() error {
	r.next = r.disk.segments[0]
	fits := r.l.fits // one for all segments
	for i, base := range r.disk.segments[:r.trusted] {
		next := protocol.Offset(-1)
		if i+1 < len(r.disk.segments) {
			next = r.disk.segments[i+1]
		}
		// What ends at the recovery point may have been synced while it was the active one.
		unfinished := !r.o.clean && next == r.o.recovery
		s, err := segment.Open(r.o.files, r.o.dir, base, segment.Known{
			Sizes:      *r.disk.sizes[base],
			Next:       next,
			Unfinished: unfinished,
			Interval:   r.o.cfg.IndexInterval,
			Fits:       fits,
		})
		if err != nil {
			return err
		}
		r.segs = append(r.segs, s)
		r.next = s.Next()
	}
	return nil
}

// resume takes what was flushed of the segment that was written then. Where that is not what it should be, it is read
// whole, and what is wrong is found so.
func (r *recovery) resume() error {
	if r.trusted == len(r.disk.segments) || r.kafkas {
		return nil
	}
	base := r.disk.segments[r.trusted]
	if base >= r.o.recovery {
		return nil
	}
	s, ok, err := segment.Resume(r.o.files, r.o.dir, base, r.o.recovery, segment.Known{
		Sizes: *r.disk.sizes[base], Next: -1, Interval: r.o.cfg.IndexInterval, Fits: r.l.fits,
	})
	if !ok || err != nil {
		return err
	}
	r.part, r.segs, r.next = s, append(r.segs, s), s.Next()
	return nil
}

// parseEpochs reads the file with the leader epochs. One that cannot be read is made anew from the segments.
func (r *recovery) parseEpochs() error {
	b, err := vfs.ReadFile(r.o.files.FS(), path.Join(r.o.dir, epochFile), smallFileMax)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	h, err := epoch.Parse(b)
	if err != nil {
		r.o.logger.Warn("leader epochs are read from the log, the file is damaged", "dir", r.o.dir, "err", err)
		return nil
	}
	r.file, r.emptyFile = &h, len(b) == 0
	return nil
}

// readEpochs takes the epochs as far as the trusted segments go; where the file cannot be read, from the segments.
func (r *recovery) readEpochs() error {
	if r.file != nil && (!r.emptyFile || len(r.segs) == 0 || r.o.clean) { // an empty file may be a torn one
		// One that begins just there stays: what it began with may have been compacted away. Not so where a segment is read
		// on from there, which is not compacted, and says by itself which epoch that is.
		end := r.next + 1
		if r.part != nil {
			end = r.next
		}
		r.epochs, _ = r.file.TruncateEnd(end)
		return nil
	}
	r.file = nil
	r.l.w.epochsDirty = true
	for _, s := range r.segs {
		err := s.Heads(0, func(head batch.Batch, _ segment.Place) bool {
			r.assign(head)
			return true
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// loadProducers takes the newest snapshot that is not ahead of the trusted segments, and applies what comes after it. One
// for an offset before the first segment is of no use: it would be taken for all that a producer wrote up to there, and
// its open transactions for open, when their ends are among what has been removed.
func (r *recovery) loadProducers() error {
	state := producers.New()
	state.SetEnd(r.disk.segments[0])
	for _, at := range slices.Backward(r.disk.snapshots) {
		name := path.Join(r.o.dir, segment.FileName(at, segment.SnapshotSuffix))
		if at > r.next || at < r.disk.segments[0] {
			continue
		}
		b, err := vfs.ReadFile(r.o.files.FS(), name, smallFileMax)
		if err != nil {
			return err
		}
		loaded, err := producers.Load(b, at)
		if err == nil {
			state, r.l.w.snapshot = loaded, at
			break
		}
		r.o.logger.Warn("an older producer snapshot is used, this one is damaged", "file", name, "err", err)
		if err := vfs.RemoveIfThere(r.o.files.FS(), name); err != nil {
			return err
		}
	}
	r.l.w.producers = state
	if r.o.clean && r.l.w.snapshot < 0 {
		state.SetEnd(r.next) // closed without producers
	}
	if state.End() < r.next {
		return replay(state, r.segs, r.next, r.o.now)
	}
	return nil
}

// readAgain reads the segments that may not have been flushed, and cuts the log at the first byte that does not check
// out.
func (r *recovery) readAgain() error {
	for i := r.trusted; i < len(r.disk.segments) && r.done.Reason == nil; i++ {
		base := r.disk.segments[i]
		resumed := i == r.trusted && r.part != nil
		if i > 0 && base != r.next && !r.kafkas && !resumed {
			r.done.Reason = fmt.Errorf("a segment begins at offset %d where the log had come to %d", base, r.next)
			return r.removeFrom(i)
		}
		if i > 0 && base >= r.o.recovery {
			if err := r.snapshot(base); err != nil {
				return err
			}
		}
		size, interval := r.disk.sizes[base].Log, r.o.cfg.IndexInterval
		how := segment.Recovery{
			Each: r.apply,
			Cut: func(found segment.Found) error {
				if found.Next < r.o.recovery {
					return &DamagedError{Flushed: r.o.recovery, Good: found.Next, Err: found.Reason}
				}
				return r.removeFrom(i + 1) // before the cut: were it first, a crash would leave a hole
			},
		}
		s, found, before := r.part, segment.Found{}, int64(0)
		var err error
		if resumed {
			before = s.Size()
			r.read = s.Next()
			found, err = s.Continue(size, interval, how)
		} else {
			s, found, err = segment.Recover(r.o.files, r.o.dir, base, size, interval, how)
		}
		if err != nil {
			return err
		}
		if i+1 < len(r.disk.segments) && found.Cut == 0 {
			if err := s.Finish(); err != nil && !segment.NoSpace(err) { // the next flush tries again
				return err
			}
		}
		if !resumed {
			r.segs = append(r.segs, s)
			if base < r.o.recovery { // its indexes were durable, and those made anew are not yet
				r.done.Lowered = true
				r.durable = min(r.durable, base)
			}
		}
		r.done.Segments++
		r.done.Bytes += size - before
		r.done.Cut += found.Cut
		r.done.Reason = found.Reason
		r.next = found.Next
	}
	if r.next < r.o.recovery && !r.o.clean {
		return &DamagedError{Flushed: r.o.recovery, Good: r.next, Err: errors.New("the log ends there")}
	}
	return nil
}

// snapshot writes the producers' snapshot of a segment's begin anew: a crash may have torn it. Compaction and truncation
// count on it, since a producer that is known from a later batch may have none of its batches left below.
func (r *recovery) snapshot(base protocol.Offset) error {
	l := r.l
	if l.w.snapshot == base || l.w.producers.Len() == 0 && l.w.snapshot < 0 {
		return nil
	}
	err := l.writeSnapshot(base)
	if segment.NoSpace(err) { // it is made up for by those before it, as far as they go
		return nil
	}
	r.snapped = true
	if !slices.Contains(r.disk.snapshots, base) {
		r.disk.snapshots = append(r.disk.snapshots, base)
	}
	return err
}

// apply brings one batch that was read again into the epochs and the producers' state.
func (r *recovery) apply(s *segment.Segment, b batch.Batch) error {
	if r.o.read != nil {
		r.o.read.Add(int64(len(b)))
	}
	if err := errors.Join(r.checkGap(s, b), r.checkEpoch(b)); err != nil {
		return err
	}
	r.assign(b)
	if ended, ok := r.l.w.producers.Apply(b, r.o.now); ok && ended.Aborted {
		s.Abort(abortedOf(ended))
	}
	return nil
}

// assign takes note of the epoch of a batch. The first one of all begins where the log does, as in Log.epochStart.
func (r *recovery) assign(b batch.Batch) {
	at := b.BaseOffset()
	if r.epochs.Latest() == epoch.Unknown && len(r.disk.segments) > 0 {
		at = min(at, max(r.o.start, r.disk.segments[0]))
	}
	r.epochs, _ = r.epochs.Assign(b.LeaderEpoch(), at)
}

// removeFrom removes the segments from the i-th on, the last one first.
func (r *recovery) removeFrom(i int) error {
	if i >= len(r.disk.segments) {
		return nil
	}
	for _, base := range slices.Backward(r.disk.segments[i:]) {
		if base < r.o.recovery {
			return &DamagedError{Flushed: r.o.recovery, Good: r.next, Err: r.done.Reason}
		}
		r.done.Cut += r.disk.sizes[base].Log
		if err := r.removeSegment(base); err != nil {
			return err
		}
	}
	return r.o.files.FS().SyncDir(r.o.dir)
}

func (r *recovery) removeSegment(base protocol.Offset) error {
	for _, suffix := range []string{segment.LogSuffix, segment.IndexSuffix, segment.TimeSuffix, segment.TxnSuffix} {
		if err := vfs.RemoveIfThere(r.o.files.FS(), path.Join(r.o.dir, segment.FileName(base, suffix))); err != nil {
			return err
		}
	}
	return nil
}

// finish publishes what was found.
func (r *recovery) finish() error {
	l := r.l
	start := max(r.o.start, r.segs[0].Base())
	if start > r.next {
		// Records up to start had been deleted, and those above it did not survive. Their offsets are not used again.
		if err := r.beginAgain(); err != nil {
			return err
		}
	}
	r.done.End = r.next
	l.segments.Store(&r.segs)
	l.start.Store(int64(start))
	l.synced.Store(int64(min(r.durable, r.next)))
	if r.o.clean {
		l.synced.Store(int64(r.next))
	}
	h, _ := r.epochs.TruncateEnd(r.next)
	h, changed := h.TruncateStart(start)
	again := r.done.Bytes > 0 || r.done.Replayed > 0
	l.w.epochsDirty = l.w.epochsDirty || changed || again
	l.epochs.Store(&h)
	// A crash may have taken the snapshot of a segment's end that the recovery point lies at: then nothing was read again,
	// and yet the state must be written when the log is closed.
	stale := l.w.producers.Len() > 0 && l.w.snapshot != r.next
	// Of a segment that was resumed the indexes were cut, and that is not synced either.
	l.w.touched = l.w.epochsDirty || again || stale || r.snapped || r.part != nil
	l.behind.appended(r.o.now, r.done.Bytes)
	l.w.unsettled = !r.o.clean && r.done.Cut == 0
	l.publishUnstable()
	l.named.Store(r.o.recovery > 0) // a log that was closed empty was never flushed
	l.w.rollAt = r.o.now.Add(r.o.cfg.SegmentAge)
	return r.removeSnapshots()
}

// beginAgain replaces all segments by an empty one at the log's start. That is durable before the others go: they lie
// below the start, so that the next opening removes what a crash leaves of them. Producers are forgotten, as in Kafka:
// what is known of them misses what was lost, perhaps the end of a transaction.
func (r *recovery) beginAgain() error {
	s, err := segment.Create(r.o.files, r.o.dir, r.o.start)
	if err != nil {
		return err
	}
	for _, at := range r.disk.snapshots {
		name := path.Join(r.o.dir, segment.FileName(at, segment.SnapshotSuffix))
		if err := vfs.RemoveIfThere(r.o.files.FS(), name); err != nil {
			return err
		}
	}
	if err := r.o.files.FS().SyncDir(r.o.dir); err != nil {
		return err
	}
	for _, s := range r.segs {
		s.Drop()
		if err := r.removeSegment(s.Base()); err != nil {
			return err
		}
	}
	r.segs, r.next = []*segment.Segment{s}, r.o.start
	r.disk.snapshots = nil
	r.l.w.producers, r.l.w.snapshot = producers.New(), -1
	r.l.w.producers.SetEnd(r.next)
	return nil
}

// removeSnapshots removes those that nobody will read: ahead of the log, or neither for a segment's begin nor the
// newest.
func (r *recovery) removeSnapshots() error {
	for _, at := range r.disk.snapshots {
		if at == r.l.w.snapshot || at <= r.next && slices.Contains(r.disk.segments, at) {
			continue
		}
		name := path.Join(r.o.dir, segment.FileName(at, segment.SnapshotSuffix))
		if err := vfs.RemoveIfThere(r.o.files.FS(), name); err != nil {
			return err
		}
	}
	return nil
}
