// Package coordinator runs the coordinator cores on the partitions of their internal topics. For each partition of
// __consumer_offsets that this broker leads, a shard owns one group.Machine: it rebuilds the machine from the log, gives
// it requests and the time, appends what it decides, and answers when that is committed. It leaves every decision to the
// core, and the partition itself (files, replication, leadership) to the broker, which hands it in as a Log.
//
// Invariant: an answer that tells of a change leaves after the change is committed, so a coordinator that replays the log
// knows all that any client was told.
package coordinator
