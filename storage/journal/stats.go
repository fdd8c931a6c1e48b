package journal

import (
	"sync/atomic"
	"time"
)

// SyncBuckets are the bounds, in seconds, by which syncs are counted.
var SyncBuckets = [...]float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5}

// Stats counts what a journal does.
type Stats struct {
	bytes, syncs, direct, rounds, batches, seconds atomic.Uint64 // seconds in nanoseconds
	buckets                                        [len(SyncBuckets) + 1]atomic.Uint64
}

// Counts are what was counted until now.
type Counts struct {
	Bytes   uint64 // written to the journal
	Syncs   uint64 // of the journal's files
	Direct  uint64 // syncs of logs' own files in place of entries
	Rounds  uint64 // commits
	Batches uint64 // appends that were committed by them
	Seconds float64
	Buckets [len(SyncBuckets) + 1]uint64 // syncs by their length, each in one bucket; the last has no bound
}

// Add adds counts.
func (c *Counts) Add(o Counts) {
	c.Bytes += o.Bytes
	c.Syncs += o.Syncs
	c.Direct += o.Direct
	c.Rounds += o.Rounds
	c.Batches += o.Batches
	c.Seconds += o.Seconds
	for i := range c.Buckets {
		c.Buckets[i] += o.Buckets[i]
	}
}

// Counts is a copy of what was counted.
func (j *Journal) Counts() Counts {
	s := &j.stats
	c := Counts{
		Bytes: s.bytes.Load(), Syncs: s.syncs.Load(), Direct: s.direct.Load(), Rounds: s.rounds.Load(),
		Batches: s.batches.Load(), Seconds: float64(s.seconds.Load()) / 1e9,
	}
	for i := range c.Buckets {
		c.Buckets[i] = s.buckets[i].Load()
	}
	return c
}

func (s *Stats) round(r *round) {
	s.rounds.Add(1)
	s.batches.Add(uint64(r.appends))
}

func (s *Stats) synced(bytes int, took time.Duration) {
	s.bytes.Add(uint64(bytes))
	s.syncs.Add(1)
	s.seconds.Add(uint64(max(took, 0)))
	i := 0
	for i < len(SyncBuckets) && took.Seconds() > SyncBuckets[i] {
		i++
	}
	s.buckets[i].Add(1)
}
