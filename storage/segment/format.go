package segment

import (
	"fmt"
	"strconv"
	"strings"

	"moldau.io/moldau/protocol"
)

// The files of a segment are named by its base offset in 20 digits, with one of these endings (LogFileUtils of Kafka).
const (
	LogSuffix      = ".log"
	IndexSuffix    = ".index"
	TimeSuffix     = ".timeindex"
	TxnSuffix      = ".txnindex"
	SnapshotSuffix = ".snapshot" // producers at that offset; the log's, not one segment's
	DeletedSuffix  = ".deleted"  // waits to be removed
	CleanedSuffix  = ".cleaned"  // half made by compaction
	SwapSuffix     = ".swap"     // compaction's result, about to replace its sources
)

// An entry of the offset index, big endian:
//
//	0        4        8
//	+--------+--------+
//	| offset | bytes  |   offset: the last offset of a batch, minus the segment's base; bytes: where that batch begins
//	+--------+--------+
const indexEntryBytes = 8

// An entry of the time index, big endian:
//
//	0            8        12
//	+------------+--------+
//	| timestamp  | offset |   the largest timestamp of the segment so far, and the last offset of the batch that holds it,
//	+------------+--------+   minus the segment's base. Timestamps rise from entry to entry.
const timeEntryBytes = 12

// An entry of the index of aborted transactions, big endian (TransactionIndex, AbortedTxn of Kafka):
//
//	0         2             10             18            26                   34
//	+---------+-------------+--------------+-------------+--------------------+
//	| version | producer id | first offset | last offset | last stable offset |   version is 0
//	+---------+-------------+--------------+-------------+--------------------+
const txnEntryBytes = 34

// LargestRelative is the largest distance from a segment's base that its indexes can say.
const LargestRelative = 1<<31 - 1

// FileName is the name of a file of the segment that begins at base.
func FileName(base protocol.Offset, suffix string) string {
	return fmt.Sprintf("%020d%s", int64(base), suffix)
}

// ParseName splits a file's name into offset and ending. ok is false for names that are not built so.
func ParseName(name string) (base protocol.Offset, suffix string, ok bool) {
	dot := strings.IndexByte(name, '.')
	if dot <= 0 || dot > 20 {
		return 0, "", false
	}
	n, err := strconv.ParseUint(name[:dot], 10, 63)
	if err != nil {
		return 0, "", false
	}
	return protocol.Offset(n), name[dot:], true
}
