package groups

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Kind is what happened.
type Kind string

// The kinds of events. A member that is opened under a name that has been closed is the same one, restarted.
const (
	Opened    Kind = "opened"    // the client was made and has subscribed
	Assigned  Kind = "assigned"  // Partitions were added, seen before the first record of them
	Revoked   Kind = "revoked"   // Partitions were given up, seen after the commit of what was read of them
	Lost      Kind = "lost"      // Partitions were gone before the member knew
	Polled    Kind = "polled"    // the record at Offset of Partition was handed to the application
	Committed Kind = "committed" // Offsets were acknowledged
	Refused   Kind = "refused"   // the commit of Offsets failed; Why
	Held      Kind = "held"      // the member has stopped to poll
	Fenced    Kind = "fenced"    // another member of the same instance has this one's place; the client is gone
	Closed    Kind = "closed"    // the client is gone
	Failed    Kind = "failed"    // something that should not happen; Why
)

// Event is one line of a history: what one member saw.
type Event struct {
	At         int64            `json:"t"` // CLOCK_MONOTONIC in nanoseconds, the same for all processes of a machine
	Group      string           `json:"g"`
	Member     string           `json:"m"`
	Kind       Kind             `json:"e"`
	Partitions []string         `json:"ps"` // as "topic-0"
	Partition  string           `json:"p"`
	Offset     int64            `json:"o"`
	Value      string           `json:"v"`
	Offsets    map[string]int64 `json:"os"`
	Why        string           `json:"why"`
}

// History is what all members of all groups saw, in the order of time.
type History []Event

// Sorted is h in the order of time. Events of the same moment, as the records of one poll, stay as they came.
func Sorted(h History) History {
	h = slices.Clone(h)
	slices.SortStableFunc(h, func(a, b Event) int { return cmp.Compare(a.At, b.At) })
	return h
}

// Of is what one group saw.
func (h History) Of(group string) History {
	return h.where(func(e *Event) bool { return e.Group == group })
}

// Without is what the others saw.
func (h History) Without(member string) History {
	return h.where(func(e *Event) bool { return e.Member != member })
}

// Between is what was seen at or after from and before to.
func (h History) Between(from, to int64) History {
	return h.where(func(e *Event) bool { return e.At >= from && e.At < to })
}

func (h History) where(keep func(*Event) bool) History {
	var kept History
	for i := range h {
		if keep(&h[i]) {
			kept = append(kept, h[i])
		}
	}
	return kept
}

// CheckOnce says which of the written records a group has not read, or read twice. written counts by partition: the
// records of a partition are at the offsets 0 to its count, and each value ends in its offset (see Value).
func (h History) CheckOnce(written map[string]int64) error {
	return h.checkRead(written, func(string, int64, int) bool { return false })
}

// CheckAtLeastOnce is CheckOnce, but for records that may be read twice since who read them first had not committed
// them when it lost the partition. Others may not.
func (h History) CheckAtLeastOnce(written map[string]int64) error {
	uncommitted := h.uncommitted()
	return h.checkRead(written, func(partition string, offset int64, times int) bool {
		return times <= 1+uncommitted[place{partition, offset}]
	})
}

type place struct {
	partition string
	offset    int64
}

func (h History) checkRead(written map[string]int64, may func(partition string, offset int64, times int) bool) error {
	times := map[place]int{}
	var errs []error
	for i := range h {
		e := &h[i]
		if e.Kind != Polled {
			continue
		}
		if want := Value(e.Partition, e.Offset); e.Value != want {
			errs = append(errs, fmt.Errorf("%s read %q at %s@%d", e.Member, e.Value, e.Partition, e.Offset))
		}
		times[place{e.Partition, e.Offset}]++
	}
	for _, partition := range slices.Sorted(maps.Keys(written)) {
		var missing, twice []int64
		for offset := range written[partition] {
			switch n := times[place{partition, offset}]; {
			case n == 0:
				missing = append(missing, offset)
			case n > 1 && !may(partition, offset, n):
				twice = append(twice, offset)
			}
			delete(times, place{partition, offset})
		}
		if missing != nil {
			errs = append(errs, fmt.Errorf("%s: nobody read %s", partition, some(missing)))
		}
		if twice != nil {
			errs = append(errs, fmt.Errorf("%s: read twice: %s", partition, some(twice)))
		}
	}
	for p := range times {
		errs = append(errs, fmt.Errorf("%s@%d was read and never written", p.partition, p.offset))
	}
	return errors.Join(errs...)
}

// Value is what the record at an offset says.
func Value(partition string, offset int64) string { return fmt.Sprintf("%s@%d", partition, offset) }

func some(offsets []int64) string {
	if len(offsets) <= 8 {
		return fmt.Sprint(offsets)
	}
	return fmt.Sprintf("%d records, %v to %v", len(offsets), offsets[0], offsets[len(offsets)-1])
}

// uncommitted counts, for every record, how often a member read it and lost its partition before it had committed it.
func (h History) uncommitted() map[place]int {
	count := map[place]int{}
	open := map[string]map[place]bool{} // by member
	for i := range h {
		e := &h[i]
		if open[e.Member] == nil {
			open[e.Member] = map[place]bool{}
		}
		mine := open[e.Member]
		switch e.Kind {
		case Polled:
			mine[place{e.Partition, e.Offset}] = true
		case Committed:
			maps.DeleteFunc(mine, func(p place, _ bool) bool { return p.offset < e.Offsets[p.partition] })
		case Lost, Fenced:
			maps.DeleteFunc(mine, func(p place, _ bool) bool {
				gone := e.Kind == Fenced || slices.Contains(e.Partitions, p.partition)
				if gone {
					count[p]++
				}
				return gone
			})
		}
	}
	return count
}

// CheckOrder says where a group went back within a partition.
func (h History) CheckOrder() error {
	last := map[string]*Event{}
	for i := range h {
		e := &h[i]
		if e.Kind != Polled {
			continue
		}
		if before := last[e.Partition]; before != nil && before.Offset >= e.Offset {
			return fmt.Errorf("%s: %s read offset %d after %s had read %d", e.Partition, e.Member, e.Offset,
				before.Member, before.Offset)
		}
		last[e.Partition] = e
	}
	return nil
}

// CheckExclusive says where two members had a partition at once, or where one read a partition that it did not have.
func (h History) CheckExclusive() error {
	owner := map[string]string{}
	for i := range h {
		e := &h[i]
		switch e.Kind {
		case Assigned:
			for _, p := range e.Partitions {
				if o := owner[p]; o != "" && o != e.Member {
					return fmt.Errorf("%s was given to %s while %s had it", p, e.Member, o)
				}
				owner[p] = e.Member
			}
		case Polled:
			if o := owner[e.Partition]; o != e.Member {
				return fmt.Errorf("%s read %s@%d, which %q had", e.Member, e.Partition, e.Offset, o)
			}
		case Revoked, Lost, Fenced, Closed:
			end(owner, e)
		}
	}
	return nil
}

// end takes the partitions of an ending event from its member; a member that is gone has none.
func end(owner map[string]string, e *Event) {
	maps.DeleteFunc(owner, func(p, o string) bool {
		return o == e.Member && (e.Kind == Closed || e.Kind == Fenced || slices.Contains(e.Partitions, p))
	})
}

// CheckStill says which members saw a partition come or go.
func (h History) CheckStill() error {
	for i := range h {
		switch e := &h[i]; e.Kind {
		case Assigned, Revoked, Lost, Fenced:
			if len(e.Partitions) > 0 || e.Kind == Fenced {
				return fmt.Errorf("%s: %s %v", e.Member, e.Kind, e.Partitions)
			}
		}
	}
	return nil
}

// CheckQuiet is CheckStill, and says which members were refused, or failed.
func (h History) CheckQuiet() error {
	for i := range h {
		if e := &h[i]; e.Kind == Refused || e.Kind == Failed {
			return fmt.Errorf("%s: %s: %s", e.Member, e.Kind, e.Why)
		}
	}
	return h.CheckStill()
}

// Owners are the members that had the partitions after the last event of h.
func (h History) Owners() map[string]string {
	owner := map[string]string{}
	for i := range h {
		switch e := &h[i]; e.Kind {
		case Assigned:
			for _, p := range e.Partitions {
				owner[p] = e.Member
			}
		case Revoked, Lost, Fenced, Closed:
			end(owner, e)
		}
	}
	return owner
}

// Unmoved are the partitions that had the same owner before from and before to, in order. That the owner did not give
// them up in between is what CheckKept says.
func (h History) Unmoved(from, to int64) []string {
	before, after := h.Between(0, from).Owners(), h.Between(0, to).Owners()
	maps.DeleteFunc(before, func(p, o string) bool { return after[p] != o })
	return slices.Sorted(maps.Keys(before))
}

// CheckKept says which of the partitions that are where they were had been taken away in between.
func (h History) CheckKept(from, to int64) error {
	unmoved := h.Unmoved(from, to)
	for _, e := range h.Between(from, to) {
		if e.Kind != Revoked && e.Kind != Lost {
			continue
		}
		for _, p := range e.Partitions {
			if slices.Contains(unmoved, p) {
				return fmt.Errorf("%s: %s was %s, and given back", e.Member, p, e.Kind)
			}
		}
	}
	return nil
}

// WorstGap is the longest time from from to to in which no record of a partition was read.
func (h History) WorstGap(partition string, from, to int64) time.Duration {
	worst, last := int64(0), from
	for i := range h {
		if e := &h[i]; e.Kind == Polled && e.Partition == partition && e.At >= from && e.At < to {
			worst = max(worst, e.At-last)
			last = e.At
		}
	}
	return time.Duration(max(worst, to-last))
}
