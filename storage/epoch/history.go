// Package epoch is the leader-epoch history of one log: which leader's epoch began at which offset (KIP-101, KIP-320).
// It decides what OffsetForLeaderEpoch answers. It does no I/O: it is told what to keep and gives the file's bytes.
//
// Invariant: epochs and start offsets both rise from entry to entry.
package epoch

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"

	"moldau.io/moldau/protocol"
)

// Entry says that the leader of Epoch began at Start.
type Entry struct {
	Epoch protocol.Epoch
	Start protocol.Offset
}

// Unknown is the epoch and the offset of an answer that says "not known here".
const Unknown = -1

// History is the list of a log's epochs. The zero History is empty. It is an immutable value: the changing methods
// return a new one, and say whether anything changed.
type History struct{ entries []Entry }

// Latest is the epoch of the newest entry, Unknown when there is none.
func (h History) Latest() protocol.Epoch {
	if len(h.entries) == 0 {
		return Unknown
	}
	return h.entries[len(h.entries)-1].Epoch
}

// Entries are a copy of the entries.
func (h History) Entries() []Entry { return slices.Clone(h.entries) }

// Assign notes that epoch begins at start. An epoch that is not newer than the latest changes nothing: its start is
// known, or it is an older leader's.
//
// A newer epoch that begins where the latest did, or before, replaces what it overlaps: those leaders wrote nothing
// that is still in the log (LeaderEpochFileCache.truncateAndAppend).
func (h History) Assign(epoch protocol.Epoch, start protocol.Offset) (History, bool) {
	if epoch < 0 || start < 0 || epoch <= h.Latest() {
		return h, false
	}
	keep := len(h.entries)
	for keep > 0 && h.entries[keep-1].Start >= start {
		keep--
	}
	return History{append(slices.Clone(h.entries[:keep]), Entry{epoch, start})}, true
}

// TruncateEnd forgets epochs that begin at end or after it.
func (h History) TruncateEnd(end protocol.Offset) (History, bool) {
	keep := len(h.entries)
	for keep > 0 && h.entries[keep-1].Start >= end {
		keep--
	}
	if keep == len(h.entries) {
		return h, false
	}
	return History{slices.Clone(h.entries[:keep])}, true
}

// TruncateStart forgets epochs that ended before start; the one that holds start now begins there.
func (h History) TruncateStart(start protocol.Offset) (History, bool) {
	first := 0
	for first+1 < len(h.entries) && h.entries[first+1].Start <= start {
		first++
	}
	if len(h.entries) == 0 || first == 0 && h.entries[0].Start >= start {
		return h, false
	}
	out := slices.Clone(h.entries[first:])
	out[0].Start = max(out[0].Start, start)
	return History{out}, true
}

// EndOf is what OffsetForLeaderEpoch answers for asked, in a log that ends at end: the largest epoch that is not newer,
// and the offset after its last record. Both are Unknown for an epoch newer than the latest, and for none. An epoch
// older than all is answered with itself and the start of the oldest (LeaderEpochFileCache.endOffsetFor).
func (h History) EndOf(asked protocol.Epoch, end protocol.Offset) (protocol.Epoch, protocol.Offset) {
	latest := h.Latest()
	switch {
	case asked < 0 || asked > latest:
		return Unknown, Unknown
	case asked == latest:
		return asked, end
	}
	higher := h.above(asked)
	if higher == 0 {
		return asked, h.entries[0].Start
	}
	return h.entries[higher-1].Epoch, h.entries[higher].Start
}

// above is the index of the first entry with an epoch above e.
func (h History) above(e protocol.Epoch) int {
	i, _ := slices.BinarySearchFunc(h.entries, e+1, func(x Entry, want protocol.Epoch) int {
		return int(int64(x.Epoch) - int64(want))
	})
	return i
}

// At is the epoch of the leader that wrote offset, Unknown before the first entry.
func (h History) At(offset protocol.Offset) protocol.Epoch {
	for i := len(h.entries) - 1; i >= 0; i-- {
		if h.entries[i].Start <= offset {
			return h.entries[i].Epoch
		}
	}
	return Unknown
}

// Encode is the content of Kafka's leader-epoch-checkpoint: a version, the number of entries, and one "epoch start" a
// line.
func (h History) Encode() []byte {
	b := fmt.Appendf(nil, "0\n%d\n", len(h.entries))
	for _, e := range h.entries {
		b = fmt.Appendf(b, "%d %d\n", e.Epoch, e.Start)
	}
	return b
}

// Parse reads what Encode or Kafka wrote. An empty file, which Kafka makes first, is an empty history.
func Parse(b []byte) (History, error) {
	if len(b) == 0 {
		return History{}, nil
	}
	lines := bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))
	if len(lines) < 2 || string(lines[0]) != "0" {
		return History{}, fmt.Errorf("line 1: version %.20q, only 0 is known", lines[0])
	}
	n, err := strconv.Atoi(string(lines[1]))
	if err != nil || n != len(lines)-2 {
		return History{}, fmt.Errorf("line 2: %.20q entries announced, %d lines follow", lines[1], len(lines)-2)
	}
	var h History
	for i, line := range lines[2:] {
		e, s, ok := bytes.Cut(line, []byte(" "))
		epoch, err1 := strconv.ParseInt(string(e), 10, 32)
		start, err2 := strconv.ParseInt(string(s), 10, 64)
		if !ok || err1 != nil || err2 != nil || epoch < 0 || start < 0 {
			return History{}, fmt.Errorf("line %d: %.60q is not an epoch and an offset", i+3, line)
		}
		entry := Entry{protocol.Epoch(epoch), protocol.Offset(start)}
		if k := len(h.entries); k > 0 && (entry.Epoch <= h.entries[k-1].Epoch || entry.Start <= h.entries[k-1].Start) {
			return History{}, fmt.Errorf("line %d: epoch %d at %d does not follow epoch %d at %d", i+3,
				entry.Epoch, entry.Start, h.entries[k-1].Epoch, h.entries[k-1].Start)
		}
		h.entries = append(h.entries, entry)
	}
	return h, nil
}
