package storage

import (
	"math"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/segment"
)

// reason says why a segment is deleted.
type reason int

const (
	belowStart reason = iota // it lies below the log's start
	bySize                   // retention.bytes
	byAge                    // retention.ms
	byFullDisk               // moldau.disk.full.policy=delete-oldest
	reasons
)

// reasonNames are for logs and metrics.
var reasonNames = [reasons]string{"log.start", "retention.bytes", "retention.ms", "disk.full"}

// aged is what retention has to know of a segment.
type aged struct {
	end    protocol.Offset // where the next one begins, or the log ends
	bytes  int64
	newest int64 // the largest timestamp of its records, else when its file was written, in milliseconds
}

// outlived is the oldest segments of a log, so many of each reason, in the order of the reasons.
type outlived struct {
	segments [reasons]int
	bytes    [reasons]int64
}

func (o *outlived) add(r reason, s aged) {
	o.segments[r]++
	o.bytes[r] += s.bytes
}

// spare takes the last one out again.
func (o *outlived) spare(s aged) {
	for r := reasons - 1; r >= 0; r-- {
		if o.segments[r] > 0 {
			o.segments[r]--
			o.bytes[r] -= s.bytes
			return
		}
	}
}

// count is the number of segments.
func (o *outlived) count() int {
	n := 0
	for _, k := range o.segments {
		n += k
	}
	return n
}

// retention says which segments of a log are not to be kept any longer (UnifiedLog.deleteOldSegments): those below its
// start, the oldest while the others together have at least retention.bytes, and the oldest whose newest record is older
// than retention.ms. Only whole segments below the high watermark go. The last one is in it only where it has records and
// all of them are to go; another one is begun then.
func retention(segs []aged, start, hw protocol.Offset, cfg *Config, now time.Time) outlived {
	var out outlived
	last := len(segs) - 1
	i := 0
	for i < last && segs[i].end <= start {
		out.add(belowStart, segs[i])
		i++
	}
	if !cfg.Deletes {
		return out
	}
	may := func() bool { return i <= last && segs[i].end <= hw && (i < last || segs[i].bytes > 0) }
	if cfg.RetentionBytes >= 0 {
		surplus := -cfg.RetentionBytes
		for _, s := range segs[i:] {
			surplus += s.bytes
		}
		for may() && surplus >= segs[i].bytes {
			surplus -= segs[i].bytes
			out.add(bySize, segs[i])
			i++
		}
	}
	if cfg.RetentionAge >= 0 {
		for may() && now.UnixMilli()-segs[i].newest > cfg.RetentionAge.Milliseconds() {
			out.add(byAge, segs[i])
			i++
		}
	}
	return out
}

// aged describes the log's segments to retention. A file is only asked for its time where its records have none.
func (l *Log) aged(segs []*segment.Segment) []aged {
	out := make([]aged, len(segs))
	for i, s := range segs {
		size, next := s.Published()
		if i+1 < len(segs) {
			next = segs[i+1].Base()
		}
		out[i] = aged{end: next, bytes: size, newest: s.MaxTimestamp()}
		if out[i].newest != noTimestamp || size == 0 {
			continue
		}
		if e, err := l.files.FS().Stat(s.Name()); err == nil {
			out[i].newest = e.ModTime.UnixMilli()
		} else {
			out[i].newest = math.MaxInt64 // unknown: it stays
		}
	}
	return out
}

// retain is the chore: it deletes what no log has to keep any longer. The starts of all logs of a folder that lose
// something are made durable together.
func (s *Store) retain(now time.Time) {
	type due struct {
		l     *Log
		start protocol.Offset
		out   outlived
	}
	byDir := map[*dataDir][]due{}
	for _, l := range s.All() {
		if s.stopping() {
			return
		}
		start, out, err := l.outlive(now)
		if err != nil {
			s.logger.Warn("retention cannot be applied", "topic", l.tp.Topic, "partition", l.tp.Partition, "err", err)
			continue
		}
		if out.count() > 0 {
			d := s.folderOf(l)
			byDir[d] = append(byDir[d], due{l, start, out})
		}
	}
	for _, d := range s.dirs {
		if len(byDir[d]) == 0 {
			continue
		}
		// Where this fails each log tries for itself, and says why it cannot.
		_ = s.keepStarts(d, nil)
		for _, x := range byDir[d] {
			if s.stopping() {
				return
			}
			s.deleteBelow(x.l, x.start, &x.out)
		}
	}
}

// deleteBelow removes the segments below a log's raised start, and says so.
func (s *Store) deleteBelow(l *Log, start protocol.Offset, out *outlived) {
	if err := l.removeOutlived(start); err != nil {
		s.logger.Warn("segments cannot be deleted", "topic", l.tp.Topic, "partition", l.tp.Partition, "start", start,
			"err", err)
		return
	}
	attrs := []any{"topic", l.tp.Topic, "partition", l.tp.Partition, "start", start}
	var bytes int64
	for r, n := range out.segments {
		if n > 0 {
			bytes += out.bytes[r]
			attrs = append(attrs, reasonNames[r], n)
			s.deleted[r].Add(int64(n))
		}
	}
	s.logger.Info("segments are deleted", append(attrs, "segments", out.count(), "bytes", bytes)...)
}

// outlive raises the log's start to behind what retention does not keep, beginning another segment where that is all.
func (l *Log) outlive(now time.Time) (start protocol.Offset, out outlived, err error) {
	cfg := l.cfg.Load()
	out = retention(l.aged(*l.segments.Load()), protocol.Offset(l.start.Load()), l.HighWatermark(), cfg, now)
	if out.count() == 0 { // nearly always, and without a lock
		return 0, out, nil
	}
	if err := l.sureAges(out.count()); err != nil {
		return 0, outlived{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return 0, outlived{}, nil // it says so itself
	}
	old := l.aged(*l.segments.Load())
	out = retention(old, protocol.Offset(l.start.Load()), l.HighWatermark(), cfg, now)
	if out.count() == len(old) {
		if err = l.roll(l.active().Next()); err != nil {
			out.spare(old[len(old)-1])
		}
	}
	n := out.count()
	if n == 0 {
		return 0, out, err
	}
	start = (*l.segments.Load())[n].Base()
	l.raiseStart(start)
	return start, out, nil
}

// removeOutlived removes what outlive gave up.
func (l *Log) removeOutlived(start protocol.Offset) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	return l.removeBelow(start)
}

// DeletedSegments is how many segments were deleted since the store was opened, by reason.
func (s *Store) DeletedSegments() map[string]int64 {
	out := map[string]int64{}
	for r, name := range reasonNames {
		out[name] = s.deleted[r].Load()
	}
	return out
}
