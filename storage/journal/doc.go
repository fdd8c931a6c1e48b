// Package journal keeps appends of many logs on stable storage with one sync for all of them: group commit. It owns the
// files of one data folder's journal, their format, who waits for which round, and when a file may be used again. It leaves
// to others: the logs themselves, which are written beside it and not synced, and what is done with entries that are found
// after a crash (storage).
//
// Invariant: what a log was told to be committed is, at any crash point, on stable storage in the log's own files or in an
// entry here; and entries are found again as the end of the sequence in which they were written, without a gap that is not
// reported.
package journal
