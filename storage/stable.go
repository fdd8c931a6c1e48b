package storage

import (
	"slices"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/producers"
)

// A transaction is decided for readers when its marker is committed, not when it is in the log: a leader that fails may
// take it away again, and the next one would say that the transaction is open.

// ended is a transaction whose marker is not below the high watermark yet.
type ended struct{ first, marker protocol.Offset }

// LastStable is the offset below which every record is committed and belongs to no transaction that is open, or whose
// marker is not committed. What ended before the log was opened counts as committed.
func (l *Log) LastStable() protocol.Offset {
	stable := l.HighWatermark()
	stable = min(stable, l.Bounds().LastStable)
	// After the open ones: a transaction that ends meanwhile is added here before it is taken from there.
	if first := l.uncommitted.Load(); first != noUnstable {
		stable = min(stable, max(protocol.Offset(first), protocol.Offset(l.start.Load())))
	}
	return stable
}

// transactionEnded notes a marker. mu is held, and the transaction is still among the open ones that readers see.
func (l *Log) transactionEnded(e producers.Ended) {
	l.w.ended = append(l.w.ended, ended{first: e.First, marker: e.Last})
	l.publishUncommitted()
	if l.hw.Load() > int64(e.Last) { // it has passed by meanwhile
		l.dropCommitted()
	}
}

// publishUncommitted says to readers where the oldest of the ended transactions begins. mu is held.
func (l *Log) publishUncommitted() {
	first := noUnstable
	for _, e := range l.w.ended {
		if first == noUnstable || int64(e.first) < first {
			first = int64(e.first)
		}
	}
	l.uncommitted.Store(first)
}

// dropCommitted forgets transactions whose markers are below the high watermark. mu is held.
func (l *Log) dropCommitted() {
	hw := protocol.Offset(l.hw.Load())
	l.w.ended = slices.DeleteFunc(l.w.ended, func(e ended) bool { return e.marker < hw })
	l.publishUncommitted()
}

// dropEndedFrom forgets transactions whose markers were cut off: they are open again, or gone. mu is held.
func (l *Log) dropEndedFrom(end protocol.Offset) {
	l.w.ended = slices.DeleteFunc(l.w.ended, func(e ended) bool { return e.marker >= end })
	l.publishUncommitted()
}
