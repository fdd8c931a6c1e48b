package cluster

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Kind is what happened.
type Kind string

// The kinds of events. A client's name is its own in a history, also over restarts.
const (
	Sent     Kind = "sent"     // Value is about to be given to the producer for Partition
	Acked    Kind = "acked"    // it was acknowledged at Offset, or at -1 when the client was not told where
	Unknown  Kind = "unknown"  // the producer gave it up: it may be there or not; Why
	Refused  Kind = "refused"  // it can not be there: it was refused before it was written; Why
	Assigned Kind = "assigned" // the client reads Partition from now on
	Revoked  Kind = "revoked"  // and no longer
	Read     Kind = "read"     // Value is at Offset of Partition
	Commit   Kind = "commit"   // the commit of Offset is about to be sent
	Done     Kind = "done"     // it was acknowledged
	High     Kind = "high"     // the high watermark was Offset in leader epoch Value
	Error    Kind = "error"    // the client was told something; Why
	Opened   Kind = "opened"   // a producer, with its Style in Value; or a reader
	Closed   Kind = "closed"   // the client is gone
)

// Style is what a client promises, beside its name.
type Style string

// The styles. What is acknowledged counts for all but Careless, which asks for the leader's word only.
const (
	Idempotent Style = "idempotent" // once, in order
	Plain      Style = "plain"      // at least once
	Careless   Style = "careless"   // acks=1
	Reader     Style = "reader"     // reads all partitions from the start, on its own
	Member     Style = "member"     // of the group that is before the / of its name; commits what it has read
	Prober     Style = "prober"     // asks for the high watermark
)

// Event is one line of a history.
type Event struct {
	At        int64 // CLOCK_MONOTONIC in nanoseconds, the same for all processes of a machine
	Who       string
	Kind      Kind
	Partition string // "topic-0"
	Offset    int64
	Value     string
	Why       string
}

// History is what all clients saw.
type History []Event

// Sorted is h in the order of time. Events of one moment stay as they came.
func (h History) Sorted() History {
	h = slices.Clone(h)
	slices.SortStableFunc(h, func(a, b Event) int { return cmp.Compare(a.At, b.At) })
	return h
}

// Value is what a producer writes as the n-th record of a partition: unique, and it says its order.
func Value(who, partition string, n int64) string { return fmt.Sprintf("%s|%s|%d", who, partition, n) }

// parseValue is the reverse of Value.
func parseValue(value string) (who, partition string, n int64, ok bool) {
	parts := strings.Split(value, "|")
	if len(parts) != 3 {
		return "", "", 0, false
	}
	n, err := strconv.ParseInt(parts[2], 10, 64)
	return parts[0], parts[1], n, err == nil
}

// parseLine reads an event as the programs in other languages print it: time, name, kind, partition, offset and a text,
// with tabs between.
func parseLine(line string) (Event, error) {
	f := strings.SplitN(line, "\t", 6)
	if len(f) != 6 {
		return Event{}, fmt.Errorf("%q is no event", line)
	}
	at, err := strconv.ParseInt(f[0], 10, 64)
	if err != nil {
		return Event{}, fmt.Errorf("%q has no time: %w", line, err)
	}
	offset, err := strconv.ParseInt(f[4], 10, 64)
	if err != nil {
		return Event{}, fmt.Errorf("%q has no offset: %w", line, err)
	}
	e := Event{At: at, Who: f[1], Kind: Kind(f[2]), Partition: f[3], Offset: offset}
	switch e.Kind {
	case Unknown, Refused:
		e.Value, e.Why, _ = strings.Cut(f[5], " ")
	case Error:
		e.Why = f[5]
	default:
		e.Value = f[5]
	}
	return e, nil
}

func (e Event) String() string {
	return fmt.Sprintf("%.6f %s %s %s@%d %s %s", float64(e.At)/1e9, e.Who, e.Kind, e.Partition, e.Offset, e.Value, e.Why)
}
