// Package compact decides what compaction keeps of a log: which log is cleaned next and how far, which segments become
// one, and for each batch which of its records stay. It leaves to package storage: reading, writing, when, and the
// files.
//
// Invariant: of the records below the offset that a cleaning reaches, the last one of each key stays, at its offset,
// unless it is a tombstone whose time is over or belongs to an aborted transaction; what lies above that offset stays.
package compact
