package storage

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Config is how one log is kept. The names in brackets are Kafka's topic configurations.
type Config struct {
	// SegmentBytes is the size that a segment's log file does not pass. Default 1 GiB, at most 2 GiB less 1
	// (segment.bytes).
	SegmentBytes int64
	// SegmentAge is the time after which a segment is closed, by the timestamps of its records. Default 7 days
	// (segment.ms).
	SegmentAge time.Duration
	// SegmentJitter is the largest random time by which a segment is closed earlier. Default 0 (segment.jitter.ms).
	SegmentJitter time.Duration
	// IndexInterval is how many bytes are appended between two index entries. Default 4096 (index.interval.bytes).
	IndexInterval int64
	// IndexBytes is the size that an index file does not pass. Default 10 MiB (segment.index.bytes).
	IndexBytes int64
	// FlushMessages is after how many records an append flushes the log before it returns. Default: never
	// (flush.messages).
	FlushMessages int64
	// FlushInterval is after what time records are flushed in the background. Default: never (flush.ms).
	FlushInterval time.Duration
	// DeleteDelay is how long deleted files stay on disk. Default 1 minute (file.delete.delay.ms).
	DeleteDelay time.Duration
	// ProducerExpiry is how long a producer that appends nothing is remembered. Default 1 day
	// (producer.id.expiration.ms).
	ProducerExpiry time.Duration
}

// DefaultConfig is Kafka's defaults.
func DefaultConfig() Config {
	return Config{
		SegmentBytes:   1 << 30,
		SegmentAge:     7 * 24 * time.Hour,
		IndexInterval:  4096,
		IndexBytes:     10 << 20,
		FlushMessages:  math.MaxInt64,
		FlushInterval:  math.MaxInt64,
		DeleteDelay:    time.Minute,
		ProducerExpiry: 24 * time.Hour,
	}
}

// Validate says what is wrong, everything at once.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, a ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, a...))
		}
	}
	check(c.SegmentBytes > 0 && c.SegmentBytes <= math.MaxInt32, "segment.bytes %d is not in 1..%d", c.SegmentBytes,
		math.MaxInt32)
	check(c.SegmentAge > 0, "segment.ms %v is not positive", c.SegmentAge)
	check(c.SegmentJitter >= 0, "segment.jitter.ms %v is negative", c.SegmentJitter)
	check(c.IndexInterval >= 0, "index.interval.bytes %d is negative", c.IndexInterval)
	check(c.IndexBytes >= 4, "segment.index.bytes %d is less than 4", c.IndexBytes)
	check(c.FlushMessages > 0, "flush.messages %d is not positive", c.FlushMessages)
	check(c.FlushInterval >= 0, "flush.ms %v is negative", c.FlushInterval)
	check(c.DeleteDelay >= 0, "file.delete.delay.ms %v is negative", c.DeleteDelay)
	check(c.ProducerExpiry > 0, "producer.id.expiration.ms %v is not positive", c.ProducerExpiry)
	return errors.Join(errs...)
}
