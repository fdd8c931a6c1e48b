// Package segment is one piece of a partition's log: a file of record batches and the small indexes beside it, byte for
// byte as Kafka writes them. It owns the formats, the positions and the open files. It leaves to package storage: which
// segments make a log, when one is closed, what producers and leader epochs mean.
//
// One goroutine at a time writes a segment; any number read it, and none of them waits for the writer's disk.
//
// Invariant: readers see whole batches only, and whatever they have seen stays at its place.
package segment
