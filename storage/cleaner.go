package storage

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"math"
	"sync"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/compact"
	"moldau.io/moldau/storage/segment"
)

// cleaner is a store's compaction. Some goroutines clean one log each; they are there only while there is something to
// clean.
type cleaner struct {
	seed     compact.Seed
	throttle throttle

	mu      sync.Mutex
	workers int
	busy    map[*Log]bool
	bad     map[*Log]uncleanable
	stats   CleanerStats
}

// uncleanable is why a log is left alone, until something about it changes.
type uncleanable struct {
	err   error
	first *segment.Segment // of the log then
	cfg   *Config          // in force then
	retry time.Time        // or zero: it is not going to be better by itself
}

// cleaningRetry is after what time a log is looked at again whose cleaning the disk did not let through.
const cleaningRetry = time.Minute

func (c *cleaner) init() {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	c.seed = compact.Seed{binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:])}
	c.busy, c.bad = map[*Log]bool{}, map[*Log]uncleanable{}
}

// candidate is a log that should be cleaned, and how.
type candidate struct {
	log  *Log
	plan compact.Plan
}

// before says which of two is cleaned first; always one of them.
func (c candidate) before(d candidate) bool {
	if c.plan.Before(d.plan) || d.plan.Before(c.plan) {
		return c.plan.Before(d.plan)
	}
	return byPartition(c.log, d.log) < 0
}

// startCleaning sees to it that there are goroutines for what is to be cleaned.
func (s *Store) startCleaning(now time.Time) {
	t := s.Tuning().Cleaner
	if !t.Enabled {
		return
	}
	s.rollOverdue(now)
	c := &s.background.cleaner
	c.throttle.set(t.BytesPerSec)
	for range t.Threads {
		c.mu.Lock()
		enough := c.workers >= t.Threads
		c.mu.Unlock()
		if enough {
			return
		}
		next, ok := s.filthiest(now)
		if !ok {
			return
		}
		c.mu.Lock()
		c.workers++
		c.mu.Unlock()
		s.background.wg.Go(func() { s.cleanFrom(next) })
	}
}

// cleanFrom cleans a log, and then whatever else there is.
func (s *Store) cleanFrom(next candidate) {
	c := &s.background.cleaner
	w := newCleaning(s)
	for ok := true; ok; {
		s.clean(w, next)
		c.mu.Lock()
		tooMany := c.workers > s.Tuning().Cleaner.Threads
		c.mu.Unlock()
		if tooMany || s.stopping() || !s.Tuning().Cleaner.Enabled {
			break
		}
		next, ok = s.filthiest(s.o.Now())
	}
	c.mu.Lock()
	c.workers--
	c.mu.Unlock()
}

// cleanNow cleans whatever there is to clean, and says how many logs that were.
func (s *Store) cleanNow(now time.Time) int {
	s.rollOverdue(now)
	w, n := newCleaning(s), 0
	for {
		next, ok := s.filthiest(now)
		if !ok {
			return n
		}
		s.clean(w, next)
		n++
	}
}

// clean cleans a log that filthiest chose.
func (s *Store) clean(w *cleaning, next candidate) {
	c := &s.background.cleaner
	l := next.log
	cfg, first := l.cfg.Load(), (*l.segments.Load())[0]
	err := w.run(l, next.plan)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.busy, l)
	switch {
	case err == nil, errors.Is(err, errGivenUp):
		return
	case errors.Is(err, ErrClosed), errors.Is(err, segment.ErrRemoved), l.Failure() != nil, l.isClosed():
		return // it says so itself
	}
	u := uncleanable{err: err, first: first, cfg: cfg}
	var damage *segment.DamageError
	if !errors.As(err, &damage) && !errors.Is(err, errUnreadable) {
		u.retry = s.o.Now().Add(cleaningRetry)
	}
	if old, ok := c.bad[l]; !ok || old.err.Error() != err.Error() {
		s.logger.Error("log cannot be compacted", "topic", l.tp.Topic, "partition", l.tp.Partition, "dir", l.Dir(),
			"err", err)
	}
	c.bad[l] = u
}

// filthiest is the log that is to be cleaned next. It is marked as being cleaned.
func (s *Store) filthiest(now time.Time) (best candidate, ok bool) {
	c := &s.background.cleaner
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.LastRun = now
	present := map[*Log]bool{}
	dirtiest := 0.0
	for _, l := range s.logs() {
		cfg := l.cfg.Load()
		present[l] = true
		if !cfg.Compacts || c.busy[l] || l.Failure() != nil || c.leftAlone(l, now) {
			continue
		}
		plan, err := l.plan(cfg, now)
		if err != nil {
			continue // its log is being closed, or is read again by the cleaning itself
		}
		dirtiest = max(dirtiest, plan.Ratio())
		this := candidate{log: l, plan: plan}
		if plan.Due(cfg.MinCleanableRatio) && (!ok || this.before(best)) {
			best, ok = this, true
		}
	}
	c.stats.Dirtiest = dirtiest
	for l := range c.bad {
		if !present[l] {
			delete(c.bad, l)
		}
	}
	if ok {
		c.busy[best.log] = true
	}
	return best, ok
}

// leftAlone says whether a log could not be cleaned, and nothing has changed since.
func (c *cleaner) leftAlone(l *Log, now time.Time) bool {
	u, ok := c.bad[l]
	if !ok {
		return false
	}
	if u.cfg != l.cfg.Load() || u.first != (*l.segments.Load())[0] || !u.retry.IsZero() && !now.Before(u.retry) {
		delete(c.bad, l)
		return false
	}
	return true
}

// plan says what a cleaning would do now.
func (l *Log) plan(cfg *Config, now time.Time) (compact.Plan, error) {
	bounds, stable := l.decided()
	segs, err := describe(*l.segments.Load(), cfg.MaxCompactionLag != math.MaxInt64, protocol.Offset(l.cleaned.Load()))
	if err != nil {
		return compact.Plan{}, err
	}
	return compact.PlanFor(compact.Log{
		Segments: segs,
		Start:    bounds.Start,
		End:      bounds.End,
		Stable:   stable,
		Cleaned:  protocol.Offset(l.cleaned.Load()),
		MinLag:   cfg.MinCompactionLag.Milliseconds(),
		MaxLag:   lagMillis(cfg.MaxCompactionLag),
	}, now.UnixMilli()), nil
}

// decided is the offset below which no transaction can be open any more, whatever is truncated. The log's last stable
// offset can lie higher: a transaction counts as ended there when its marker is in the log, though the marker may still
// go where it lies above the high watermark. So what the log said once counts as soon as the high watermark has come to
// where the log ended then. cleaner.mu is held.
func (l *Log) decided() (Bounds, protocol.Offset) {
	l.mu.Lock()
	bounds, cuts := l.Bounds(), l.w.cuts
	l.mu.Unlock()
	hw := l.HighWatermark()
	w := &l.watch
	if w.cuts != cuts {
		*w = watch{cuts: cuts}
	}
	if hw >= w.end {
		w.decided = max(w.decided, w.stable)
		w.end, w.stable = bounds.End, bounds.LastStable
	}
	if hw >= w.end {
		w.decided = max(w.decided, w.stable)
	}
	return bounds, min(w.decided, hw)
}

// watch is what decided remembers.
type watch struct {
	end, stable protocol.Offset // the log said once that it ended and was stable there
	decided     protocol.Offset
	cuts        int
}

func lagMillis(d time.Duration) int64 {
	if d == math.MaxInt64 {
		return math.MaxInt64
	}
	return d.Milliseconds()
}

// describe says of segments what package compact asks for. The times at which segments begin have to be read; that is
// done for closed ones behind cleaned.
func describe(segs []*segment.Segment, times bool, cleaned protocol.Offset) ([]compact.Segment, error) {
	out := make([]compact.Segment, 0, len(segs))
	for i, s := range segs {
		d := compact.Segment{Base: s.Base(), Next: s.Next(), Bytes: s.Size(), MaxTimestamp: s.MaxTimestamp()}
		d.IndexBytes, d.TimeBytes = s.IndexBytes()
		if i+1 < len(segs) {
			d.Next = segs[i+1].Base()
			if times && d.Next > cleaned {
				var err error
				if d.FirstTimestamp, err = firstTimestamp(s); err != nil {
					return nil, err
				}
			}
		}
		out = append(out, d)
	}
	return out, nil
}

// rollOverdue closes segments that hold a record which max.compaction.lag.ms wants to be looked at: only closed ones
// are cleaned, and a log that nobody writes to closes none by itself.
func (s *Store) rollOverdue(now time.Time) {
	for _, l := range s.logs() {
		cfg := l.cfg.Load()
		if !cfg.Compacts || cfg.MaxCompactionLag == math.MaxInt64 {
			continue
		}
		if err := l.rollIfOlder(now, cfg); err != nil && !errors.Is(err, ErrClosed) && l.Failure() == nil {
			s.logger.Warn("segment cannot be closed", "topic", l.tp.Topic, "partition", l.tp.Partition, "err", err)
		}
	}
}

func (l *Log) rollIfOlder(now time.Time, cfg *Config) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil || l.active().Size() == 0 {
		return err
	}
	old, err := l.tooOld(now, cfg, now.UnixMilli())
	if err != nil || !old {
		return err
	}
	if err := l.roll(l.active().Next()); err != nil {
		return err
	}
	l.w.firstKnown = false
	return nil
}
