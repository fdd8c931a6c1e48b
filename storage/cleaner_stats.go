package storage

import (
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
	Dirtiest float64   // the largest dirty part of a log, then
	Workers  int       // at work now

	Uncleanable      int   // logs that cannot be cleaned
	UncleanableBytes int64 // what is dirty in them
	DirtyBytes       int64 // what is dirty in all compacted logs
	Overdue          time.Duration
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
	out.Workers = c.workers
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
			out.Uncleanable++
			out.UncleanableBytes += plan.DirtyBytes
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
