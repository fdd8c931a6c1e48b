package storage

import (
	"errors"
	"fmt"

	"moldau.io/moldau/protocol"
)

// UnusableError says that a data folder cannot be used, and what to do. A process that gets it exits with code 3.
type UnusableError struct {
	Path string
	What string // what is wrong
	Do   string // what to do about it, a whole sentence
	Err  error  // the cause, if any
}

func (e *UnusableError) Error() string {
	s := e.Path + ": " + e.What
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap is the cause.
func (e *UnusableError) Unwrap() error { return e.Err }

// Advice is what to do.
func (e *UnusableError) Advice() string { return e.Do }

// ErrClosed is returned by a log that has been closed or deleted. To a client it says to ask for the metadata again.
var ErrClosed = protocol.Errorf(protocol.NotLeaderOrFollower, "the log is closed")

// OfflineError says that a partition's log on this broker cannot be used, while others can. Clients are sent
// KAFKA_STORAGE_ERROR.
type OfflineError struct {
	Partition protocol.TopicPartition
	Dir       string
	Err       error
}

func (e *OfflineError) Error() string {
	return fmt.Sprintf("the log of %v in %s is offline: %v", e.Partition, e.Dir, e.Err)
}

// Unwrap is the code and the cause.
func (e *OfflineError) Unwrap() []error { return []error{protocol.KafkaStorageError, e.Err} }

// readDamage says that what was found to be wrong are bytes that had been written before, and nothing else.
func (e *OfflineError) readDamage() bool {
	var damaged *DamagedError
	return e != nil && errors.As(e.Err, &damaged)
}

// DamagedError says that bytes which had been flushed are not what was written: a disk or somebody else changed them.
// What lies behind them cannot be trusted to be complete, so nothing is cut off.
type DamagedError struct {
	Flushed protocol.Offset // the log had been flushed up to here
	Good    protocol.Offset // and checks out up to here
	Err     error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("damage before the recovery point: flushed up to offset %d, good up to offset %d (%v); "+
		"stop the broker, then move the partition's folder away to get it back from its replicas, or without replicas keep "+
		"what is good with moldau log repair", e.Flushed, e.Good, e.Err)
}

// Unwrap is the cause.
func (e *DamagedError) Unwrap() error { return e.Err }
