// Package quorum keeps the metadata log: an ordered list of entries, opaque to it, on which a majority of voters agrees by
// Raft, and the newest snapshot of what the entries have made. It is the only package that knows the Raft library.
//
// It leaves to others: what entries mean (cluster/meta), when to take a snapshot, and the goroutine that drives a Log
// (cluster).
//
// Invariant: an entry that Process has returned is on stable storage, and a Log opened on the same folder later returns
// it again, at the same index, unless a snapshot at or beyond that index has been saved.
package quorum
