// Package replica decides, for one replica of one partition, which records are committed. It does no I/O and starts no
// goroutine: the broker tells it what happened and does what its effects ask.
//
// It leaves to others: the log itself (storage), and who leads and who is in sync (cluster/meta).
//
// Invariant: within one leader epoch the high watermark never falls, and it is never above the end of any replica in
// sync.
package replica

import (
	"slices"

	"moldau.io/moldau/internal/invariant"
	"moldau.io/moldau/protocol"
)

// Assignment is what the metadata says of one partition.
type Assignment struct {
	Local    protocol.BrokerID   // this broker
	Epoch    protocol.Epoch      // of the leader
	Replicas []protocol.BrokerID // in the order of preference
	ISR      []protocol.BrokerID // in sync with the leader, itself included
}

// Leader is the leading replica of one partition.
type Leader struct {
	a    Assignment
	ends []end // of the replicas, as far as the leader knows; its own is exact
	hw   protocol.Offset
}

// end is the log end of one replica.
type end struct {
	id     protocol.BrokerID
	offset protocol.Offset
}

// Effects is what a leader's step leads to. It is a value, so that the way of a produced batch allocates nothing.
type Effects struct {
	HighWatermark protocol.Offset // the offset below which every record is on each replica in sync
	Advanced      bool            // it has risen
}

// NewLeader begins an epoch of leadership over a log that ends at logEnd. highWatermark is what this replica last
// knew of it; it is never above logEnd, as a crash may have taken records that were not on disk.
func NewLeader(a Assignment, logEnd, highWatermark protocol.Offset) *Leader {
	l := &Leader{a: a, hw: min(highWatermark, logEnd)}
	for _, id := range a.Replicas {
		at := protocol.Offset(0) // a follower is where it says it is; until then nothing is known to be on it
		if id == a.Local {
			at = logEnd
		}
		l.ends = append(l.ends, end{id: id, offset: at})
	}
	l.advance()
	return l
}

// Epoch is the leader epoch, which every batch appended under this leadership carries.
func (l *Leader) Epoch() protocol.Epoch { return l.a.Epoch }

// HighWatermark is the offset below which every record is committed.
func (l *Leader) HighWatermark() protocol.Offset { return l.hw }

// Appended says that the leader's own log now ends at logEnd.
func (l *Leader) Appended(logEnd protocol.Offset) Effects {
	for i := range l.ends {
		if l.ends[i].id == l.a.Local {
			if logEnd < l.ends[i].offset { // asked here, because handing over the numbers would allocate on every append
				invariant.That(false, "log end fell from %d to %d", l.ends[i].offset, logEnd)
			}
			l.ends[i].offset = logEnd
		}
	}
	return l.advance()
}

// Assigned says that the metadata has changed within the epoch: the replicas, or who of them is in sync.
func (l *Leader) Assigned(a Assignment) Effects {
	invariant.That(a.Epoch == l.a.Epoch, "epoch %d became %d without an election", l.a.Epoch, a.Epoch)
	known := l.ends
	l.a, l.ends = a, nil
	for _, id := range a.Replicas {
		at := protocol.Offset(0)
		if i := slices.IndexFunc(known, func(e end) bool { return e.id == id }); i >= 0 {
			at = known[i].offset
		}
		l.ends = append(l.ends, end{id: id, offset: at})
	}
	return l.advance()
}

// EnoughInSync says whether a write that must be on minimum replicas may be taken. No more can be asked for than there
// are replicas at all (Partition.effectiveMinIsr).
func (l *Leader) EnoughInSync(minimum int) bool {
	return len(l.a.ISR) >= min(minimum, len(l.a.Replicas))
}

// advance raises the high watermark to the lowest end in sync.
func (l *Leader) advance() Effects {
	lowest := protocol.Offset(-1)
	for _, e := range l.ends {
		if slices.Contains(l.a.ISR, e.id) && (lowest < 0 || e.offset < lowest) {
			lowest = e.offset
		}
	}
	if lowest <= l.hw {
		return Effects{HighWatermark: l.hw}
	}
	l.hw = lowest
	return Effects{HighWatermark: l.hw, Advanced: true}
}
