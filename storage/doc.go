// Package storage keeps partitions' logs in data folders, in Apache Kafka's format on disk. A Log is one partition's; a
// Store is all of them, with the locks, checkpoints and recovery that they share. It leaves to others: what records
// mean, who may write, how far they are replicated (the broker), and one file's bytes (storage/segment).
//
// Invariant: what Append returned is in the log at its offset until Advance or Delete removes it; after a crash a log
// is a prefix of what it was, with everything in it that had been flushed, and without a hole.
package storage
