package storage

import (
	"errors"
	"fmt"
	"math"
	"time"

	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/protocol/compress"
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

	// Deletes and Compacts are the two parts of cleanup.policy; a log with neither is kept for ever. Default: Deletes.
	Deletes, Compacts bool
	// RetentionAge is how old the youngest record of a segment may get. Default 7 days; less than 0: any age
	// (retention.ms).
	RetentionAge time.Duration
	// RetentionBytes is the size that a log keeps. Default -1: any size (retention.bytes).
	RetentionBytes int64

	// MinCleanableRatio is the part of a log that must not have been cleaned yet before it is. Default 0.5
	// (min.cleanable.dirty.ratio).
	MinCleanableRatio float64
	// MinCompactionLag is how long a record is left alone. Default 0 (min.compaction.lag.ms).
	MinCompactionLag time.Duration
	// MaxCompactionLag is after what time a record is looked at, whatever the ratio. Default: never
	// (max.compaction.lag.ms).
	MaxCompactionLag time.Duration
	// DeleteRetention is how long tombstones and markers stay after they were first cleaned. Default 1 day
	// (delete.retention.ms).
	DeleteRetention time.Duration
	// Codec is what compaction writes: a compress.Codec, or batch.KeepProducer for that of the batch it reads. Default
	// KeepProducer (compression.type).
	Codec compress.Codec
	// Level is that of Codec; 0 is its default (compression.gzip.level, compression.lz4.level, compression.zstd.level).
	Level int
	// MaxBatchBytes is the size of the largest batch that was accepted. Default 1048588 (max.message.bytes).
	MaxBatchBytes int

	// Internal says that the log is the broker's own: it may use what is kept free of a disk.
	Internal bool

	// Fsync says that an append is acknowledged when it is on stable storage (moldau.durability=fsync).
	Fsync bool
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

		Deletes:           true,
		RetentionAge:      7 * 24 * time.Hour,
		RetentionBytes:    -1,
		MinCleanableRatio: 0.5,
		MaxCompactionLag:  math.MaxInt64,
		DeleteRetention:   24 * time.Hour,
		Codec:             batch.KeepProducer,
		MaxBatchBytes:     1048588,
	}
}

// rollAge is the time after which a segment is closed: where records must be looked at by compaction after some time, no
// later than that (LogConfig.maxSegmentMs).
func (c *Config) rollAge() time.Duration {
	if c.Compacts {
		return min(c.SegmentAge, c.MaxCompactionLag)
	}
	return c.SegmentAge
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
	check(c.MinCleanableRatio >= 0 && c.MinCleanableRatio <= 1, "min.cleanable.dirty.ratio %v is not in 0..1",
		c.MinCleanableRatio)
	check(c.MinCompactionLag >= 0, "min.compaction.lag.ms %v is negative", c.MinCompactionLag)
	check(c.MaxCompactionLag > 0, "max.compaction.lag.ms %v is not positive", c.MaxCompactionLag)
	check(c.DeleteRetention >= 0, "delete.retention.ms %v is negative", c.DeleteRetention)
	return errors.Join(errs...)
}
