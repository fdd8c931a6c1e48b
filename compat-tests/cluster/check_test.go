package cluster

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// sound is a short history in which all is well: two producers, a reader, a group of two that hand over, a prober, and a
// reader at the end.
func sound() History {
	var h History
	at := int64(0)
	add := func(who string, kind Kind, partition string, offset int64, value string) {
		at++
		h = append(h, Event{At: at, Who: who, Kind: kind, Partition: partition, Offset: offset, Value: value})
	}
	for who, style := range map[string]Style{"i": Idempotent, "p": Plain, "r": Reader, "g/1": Member, "g/2": Member,
		"h": Prober, "end": Reader} {
		h = append(h, Event{Who: who, Kind: Opened, Value: string(style)})
	}
	add("g/1", Assigned, "t-0", 0, "")
	for n := range int64(10) {
		who := []string{"i", "p"}[n%2]
		value := Value(who, "t-0", n)
		add(who, Sent, "t-0", 0, value)
		add(who, Acked, "t-0", n, value)
		add("h", High, "t-0", n+1, "3")
		add("r", Read, "t-0", n, value)
		if n == 6 { // the first has read to here and committed less
			add("g/1", Commit, "t-0", 5, "")
			add("g/1", Done, "t-0", 5, "")
			add("g/1", Revoked, "t-0", 0, "")
			add("g/2", Assigned, "t-0", 0, "")
			for again := int64(5); again < 7; again++ {
				add("g/2", Read, "t-0", again, Value([]string{"i", "p"}[again%2], "t-0", again))
			}
			continue
		}
		add([]string{"g/1", "g/2"}[n/7], Read, "t-0", n, value)
	}
	for n := range int64(10) {
		add("end", Read, "t-0", n, Value([]string{"i", "p"}[n%2], "t-0", n))
	}
	return h
}

func (h History) without(drop func(Event) bool) History { return slices.DeleteFunc(h, drop) }

// TestCheckFindsWhatIsPlanted: nothing is wrong with a sound history, and each thing that is planted into it is found.
func TestCheckFindsWhatIsPlanted(t *testing.T) {
	if err := sound().Check("end"); err != nil {
		t.Fatalf("a sound history: %v", err)
	}
	value := func(n int64) string { return Value([]string{"i", "p"}[n%2], "t-0", n) }
	is := func(e Event, who string, kind Kind, offset int64) bool {
		return e.Who == who && e.Kind == kind && e.Offset == offset
	}
	change := func(who string, kind Kind, offset int64, to func(*Event)) func(History) History {
		return func(h History) History {
			for i := range h {
				if is(h[i], who, kind, offset) {
					to(&h[i])
				}
			}
			return h
		}
	}
	last := func(events ...Event) func(History) History {
		return func(h History) History {
			for i, e := range events {
				e.At = int64(1000 + i)
				h = append(h, e)
			}
			return h
		}
	}
	for _, c := range []struct {
		finds string
		plant func(History) History
	}{
		{"lost", func(h History) History { // the end of the log is gone
			return h.without(func(e Event) bool { return e.Kind != Acked && e.Kind != Sent && e.Offset == 9 })
		}},
		{"lost", func(h History) History { // nobody but the reader saw it: its acknowledgement was lost with it
			return h.without(func(e Event) bool { return is(e, "p", Acked, 9) || is(e, "end", Read, 9) })
		}},
		{"moved", change("i", Acked, 4, func(e *Event) { e.Offset = 14 })},
		{"two values", change("end", Read, 4, func(e *Event) { e.Value = value(5) })},
		{"duplicate", last(Event{Who: "end", Kind: Read, Partition: "t-0", Offset: 10, Value: value(8)})},
		{"phantom", func(h History) History {
			return h.without(func(e Event) bool { return e.Kind == Sent && e.Value == value(3) })
		}},
		{"phantom", last(Event{Who: "i", Kind: Refused, Partition: "t-0", Value: value(2), Why: "too large"})},
		{"phantom", func(h History) History {
			for i := range h {
				if h[i].Kind == Sent && h[i].Value == value(3) {
					h[i].Partition = "t-1"
				}
			}
			return h
		}},
		{"order", func(h History) History {
			for i := range h {
				switch h[i].Value {
				case value(2):
					h[i].Value = value(4)
				case value(4):
					h[i].Value = value(2)
				}
			}
			return h
		}},
		{"went back", change("h", High, 8, func(e *Event) { e.Offset = 6 })},
		{"went back", change("h", High, 8, func(e *Event) { e.Value, e.Offset = "4", 6 })},
		{"went back", change("h", High, 8, func(e *Event) { e.Value, e.Offset = "2", 9 })},
		{"went back", last(Event{Who: "r", Kind: Read, Partition: "t-0", Offset: 9, Value: value(9)})},
		{"skipped", func(h History) History { return h.without(func(e Event) bool { return is(e, "r", Read, 4) }) }},
		{"skipped", func(h History) History { return h.without(func(e Event) bool { return is(e, "g/1", Read, 3) }) }},
		{"went back", change("g/1", Done, 5, func(e *Event) { e.Offset = 6 })},
		{"skipped", change("g/1", Commit, 5, func(e *Event) { e.Offset = 4 })},
		{"unread", func(h History) History { return h.without(func(e Event) bool { return is(e, "g/2", Read, 9) }) }},
	} {
		err := c.plant(sound()).Check("end")
		if err == nil || !strings.Contains(err.Error(), c.finds+": ") {
			t.Errorf("%q was planted, and found: %v", c.finds, err)
		}
	}
}

// TestPlainProducersMayRepeat: without idempotence a record may be there twice, and what is acks=1 may be lost.
func TestPlainProducersMayRepeat(t *testing.T) {
	h := append(sound(),
		Event{At: 1000, Who: "end", Kind: Read, Partition: "t-0", Offset: 10, Value: Value("p", "t-0", 9)},
		Event{At: 1001, Who: "r", Kind: Read, Partition: "t-0", Offset: 10, Value: Value("p", "t-0", 9)},
		Event{At: 1002, Who: "g/2", Kind: Read, Partition: "t-0", Offset: 10, Value: Value("p", "t-0", 9)},
		Event{At: 1003, Who: "c", Kind: Opened, Value: string(Careless)},
		Event{At: 1004, Who: "c", Kind: Sent, Partition: "t-0", Value: Value("c", "t-0", 0)},
		Event{At: 1005, Who: "c", Kind: Acked, Partition: "t-0", Offset: 11, Value: Value("c", "t-0", 0)})
	if err := h.Check("end"); err != nil {
		t.Error(err)
	}
}

func TestEventsAreParsed(t *testing.T) {
	e, err := parseLine("12\tw\tunknown\tt-0\t-1\tw|t-0|5 org.apache.Timeout: no answer")
	if err != nil || e != (Event{12, "w", Unknown, "t-0", -1, "w|t-0|5", "org.apache.Timeout: no answer"}) {
		t.Errorf("%+v, %v", e, err)
	}
	for _, line := range []string{"", "x\tw\tread\tt-0\t1\tv", "1\tw\tread\tt-0\tx\tv", "1\tw\tread"} {
		if _, err := parseLine(line); err == nil {
			t.Errorf("%q was taken for an event", line)
		}
	}
	if who, p, n, ok := parseValue(Value("a", "t-1", 7)); who != "a" || p != "t-1" || n != 7 || !ok {
		t.Error(fmt.Sprint(who, p, n, ok))
	}
}
