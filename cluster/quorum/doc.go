// Package quorum keeps the metadata log: an ordered list of entries, opaque to it, on which a majority of voters agrees by
// Raft, and the newest snapshot of what the entries have made. It is the only package that knows the Raft library.
//
// It leaves to others: what entries mean (cluster/meta), when to take a snapshot, who should be a member, how messages
// travel, and the goroutine that drives a Log (cluster).
//
// Invariant: what Process has returned, entries, members and messages, depends on nothing that is not on stable storage. A
// Log opened on the same folder later returns the same entries at the same indexes, unless a snapshot at or beyond them has
// been saved; and it never says to another member what contradicts what it has said before.
package quorum
