package storage

import (
	"math"
	"time"
)

// Tuning is how a store's background work is done, for all logs together. It may be changed while the store runs. The
// names in brackets are Kafka's broker configurations.
type Tuning struct {
	// RetentionInterval is how often logs are looked through for what may be deleted. Default 5 min
	// (log.retention.check.interval.ms).
	RetentionInterval time.Duration

	Cleaner CleanerTuning

	// ScrubBytesPerSecond is how fast the background scrub reads. Default 4 MiB; 0: there is no background scrub
	// (moldau.scrub.bytes.per.second).
	ScrubBytesPerSecond int64

	// MoveBytesPerSecond bounds the moving of logs from one data folder to another. Default: nothing does
	// (replica.alter.log.dirs.io.max.bytes.per.second).
	MoveBytesPerSecond int64

	// ReserveBytes is what is kept free in the file system of each data folder. Default: see DefaultTuning
	// (moldau.disk.reserve.bytes).
	ReserveBytes int64
	// DeleteOldest says what happens when the reserve is reached: the oldest closed segments of logs that allow deletion
	// go, in place of a refusal of appends (moldau.disk.full.policy=delete-oldest).
	DeleteOldest bool
}

// CleanerTuning is how logs are compacted.
type CleanerTuning struct {
	Enabled bool          // log.cleaner.enable
	Threads int           // log.cleaner.threads
	Backoff time.Duration // how long a thread waits that has found nothing to do (log.cleaner.backoff.ms)
	// DedupeBytes bounds the offset maps of all threads together (log.cleaner.dedupe.buffer.size), and LoadFactor how
	// full one gets (log.cleaner.io.buffer.load.factor).
	DedupeBytes int64
	LoadFactor  float64
	BufferBytes int     // read and write buffers of all threads together (log.cleaner.io.buffer.size)
	BytesPerSec float64 // read and written by all threads together (log.cleaner.io.max.bytes.per.second)
}

// DefaultTuning is Kafka's defaults, and for our own keys: a reserve of 256 MiB.
func DefaultTuning() Tuning {
	return Tuning{
		RetentionInterval: 5 * time.Minute,
		Cleaner: CleanerTuning{
			Enabled:     true,
			Threads:     1,
			Backoff:     15 * time.Second,
			DedupeBytes: 128 << 20,
			LoadFactor:  0.9,
			BufferBytes: 512 << 10,
			BytesPerSec: math.MaxFloat64,
		},
		ScrubBytesPerSecond: 4 << 20,
		MoveBytesPerSecond:  math.MaxInt64,
		ReserveBytes:        256 << 20,
	}
}

// Tuning is the one in force.
func (s *Store) Tuning() Tuning { return *s.tuning.Load() }

// Tune changes it, from the next round of each chore on.
func (s *Store) Tune(t Tuning) { s.tuning.Store(&t) }
