package storage

import (
	"path"
	"time"

	"moldau.io/moldau/protocol"
)

// CleaningCount is what one cleaning of a log did, or several.
type CleaningCount struct {
	BytesRead, BytesWritten  int64 // of the log, not counting what was read for its keys
	RecordsRead, RecordsKept int64
	Keyless                  int64 // records that went because they had no key
	Passes                   int
	Load                     float64 // how full the table of keys was at most
}

// CleanerStats is what a store's compaction did since the store was opened.
type CleanerStats struct {
	Total    CleaningCount
	Last     CleaningCount
	LastTook time.Duration
	Runs     int64     // logs cleaned
	LastRun  time.Time // when logs were looked through last
	// SinceLastRun is for how long nobody has looked.
	SinceLastRun time.Duration
	Dirtiest     float64 // the largest dirty part of a log, then
	Workers      int     // at work now

	DirtyBytes  int64                       // what is dirty in all compacted logs
	Overdue     time.Duration               // the most by which a log has passed max.compaction.lag.ms
	Uncleanable map[string]UncleanableCount // by data folder; there is an entry for each
}

// UncleanableCount is what cannot be cleaned in one data folder.
type UncleanableCount struct {
	Logs  int
	Bytes int64 // what is dirty in them
}

func (c *cleaner) cleaned(n CleaningCount, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &c.stats.Total
	t.BytesRead += n.BytesRead
	t.BytesWritten += n.BytesWritten
	t.RecordsRead += n.RecordsRead
	t.RecordsKept += n.RecordsKept
	t.Keyless += n.Keyless
	t.Passes += n.Passes
	t.Load = max(t.Load, n.Load)
	c.stats.Last, c.stats.LastTook = n, took
	c.stats.Runs++
}

// CleanerStats looks at every compacted log.
func (s *Store) CleanerStats() CleanerStats {
	c := &s.background.cleaner
	now := s.o.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.stats
	out.Workers, out.Uncleanable = c.workers, map[string]UncleanableCount{}
	for _, d := range s.dirs {
		out.Uncleanable[d.path] = UncleanableCount{}
	}
	if !out.LastRun.IsZero() {
		out.SinceLastRun = now.Sub(out.LastRun)
	}
	for _, l := range s.logs() {
		cfg := l.cfg.Load()
		if !cfg.Compacts {
			continue
		}
		plan, err := l.plan(cfg, now)
		if err != nil {
			continue
		}
		out.DirtyBytes += plan.DirtyBytes
		out.Overdue = max(out.Overdue, time.Duration(plan.Overdue)*time.Millisecond)
		if _, bad := c.bad[l]; bad {
			dir := path.Dir(l.Dir())
			u := out.Uncleanable[dir]
			out.Uncleanable[dir] = UncleanableCount{Logs: u.Logs + 1, Bytes: u.Bytes + plan.DirtyBytes}
		}
	}
	return out
}

// Uncleanable is why a partition's log cannot be compacted, nil when nothing is known against it.
func (s *Store) Uncleanable(tp protocol.TopicPartition) error {
	l, ok := s.Log(tp)
	if !ok {
		return nil
	}
	c := &s.background.cleaner
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bad[l].err
}
