package groups

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// script makes a history of lines "MOMENT MEMBER KIND WHAT...": partitions, PARTITION@OFFSET of a record or of commits.
func script(t *testing.T, lines string) History {
	t.Helper()
	var h History
	for line := range strings.Lines(lines) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		e := Event{Group: "g", Member: words[1], Kind: Kind(words[2])}
		if _, err := fmt.Sscan(words[0], &e.At); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		for _, w := range words[3:] {
			p, at, ok := strings.Cut(w, "@")
			var offset int64
			if ok {
				if _, err := fmt.Sscan(at, &offset); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
			}
			switch e.Kind {
			case Polled:
				e.Partition, e.Offset, e.Value = p, offset, Value(p, offset)
			case Committed, Refused:
				if e.Offsets == nil {
					e.Offsets = map[string]int64{}
				}
				e.Offsets[p] = offset
			default:
				e.Partitions = append(e.Partitions, p)
			}
		}
		h = append(h, e)
	}
	return Sorted(h)
}

// handover is a clean one: x-0 goes from a to b.
const handover = `
	1 a assigned x-0 x-1
	2 a polled x-0@0
	3 a polled x-1@0
	4 a committed x-0@1
	5 a revoked x-0
	6 b assigned x-0
	7 b polled x-0@1
	9 a closed`

func TestACleanHandoverPassesEveryCheck(t *testing.T) {
	h := script(t, handover)
	written := map[string]int64{"x-0": 2, "x-1": 1}
	for what, err := range map[string]error{"once": h.CheckOnce(written), "order": h.CheckOrder(),
		"exclusive": h.CheckExclusive(), "kept": h.CheckKept(4, 8), "quiet": h.Between(7, 9).CheckQuiet(),
		"at least once": h.CheckAtLeastOnce(written)} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if got := fmt.Sprint(h.Owners()); got != "map[x-0:b]" {
		t.Errorf("after all, the owners are %s", got)
	}
	if got := fmt.Sprint(h.Unmoved(4, 8)); got != "[x-1]" {
		t.Errorf("unmoved are %s", got)
	}
}

func TestEveryFaultIsFound(t *testing.T) {
	written := map[string]int64{"x-0": 2}
	once := func(h History) error { return h.CheckOnce(written) }
	atLeast := func(h History) error { return h.CheckAtLeastOnce(written) }
	kept := func(h History) error { return h.CheckKept(2, 9) }
	for _, c := range []struct {
		name, lines string
		check       func(History) error
		want        string // in the error; "" for none
	}{
		{"a record that nobody read", "1 a polled x-0@0", once, "nobody read [1]"},
		{"a record read twice", "1 a polled x-0@0\n2 b polled x-0@0\n3 b polled x-0@1", once, "read twice: [0]"},
		{"a record that nobody wrote", "1 a polled x-0@0\n2 a polled x-0@1\n3 a polled x-0@2", once, "never written"},
		{"read again after it was not committed", "1 a polled x-0@0\n1 a lost x-0\n2 b polled x-0@0\n3 b polled x-0@1", atLeast, ""},
		{"read again though it was committed", "1 a polled x-0@0\n1 a committed x-0@1\n2 b polled x-0@0\n" +
			"3 b polled x-0@1\n4 b committed x-0@2", atLeast, "read twice: [0]"},
		{"refused is not committed", "1 a polled x-0@0\n1 a refused x-0@1\n2 b polled x-0@0\n3 b polled x-0@1\n" +
			"4 b committed x-0@2\n5 a lost x-0", atLeast, ""},
		{"a commit after its return is not of what it had lost", "1 a polled x-0@0\n2 a lost x-0\n3 b polled x-0@0\n" +
			"4 a polled x-0@1\n5 a committed x-0@2", atLeast, ""},
		{"read again by a member that had not lost it", "1 a polled x-0@0\n2 b polled x-0@0\n3 b polled x-0@1", atLeast,
			"read twice: [0]"},
		{"back in a partition", "1 a polled x-0@1\n2 b polled x-0@0", History.CheckOrder, "after a had read 1"},
		{"order is the time's, not the file's", "2 a polled x-0@1\n1 b polled x-0@0", History.CheckOrder, ""},
		{"two owners", "1 a assigned x-0\n2 b assigned x-0", History.CheckExclusive, "while a had it"},
		{"two owners, but one has left", "1 a assigned x-0\n2 a closed\n3 b assigned x-0", History.CheckExclusive, ""},
		{"read by another than its owner", "1 a assigned x-0\n2 b polled x-0@0", History.CheckExclusive, `which "a" had`},
		{"read after it was given up", "1 a assigned x-0\n2 a revoked x-0\n3 a polled x-0@0", History.CheckExclusive,
			`which "" had`},
		{"taken and given back", "1 a assigned x-0\n3 a revoked x-0\n4 a assigned x-0", kept, "and given back"},
		{"given to another", "1 a assigned x-0\n3 a revoked x-0\n4 b assigned x-0", kept, ""},
		{"a revocation in the quiet", "1 a revoked x-0", History.CheckQuiet, "a: revoked [x-0]"},
		{"nothing revoked in the quiet", "1 a revoked", History.CheckQuiet, ""},
		{"refused in the quiet", "1 a refused x-0@1", History.CheckQuiet, "a: refused"},
		{"refused while all stands still", "1 a refused x-0@1", History.CheckStill, ""},
		{"fenced while all stands still", "1 a fenced", History.CheckStill, "a: fenced"},
		{"given while all stands still", "1 a assigned x-0", History.CheckStill, "a: assigned [x-0]"},
		{"a failure in the quiet", "1 a failed", History.CheckQuiet, "a: failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.check(script(t, c.lines))
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestAValueFromElsewhereIsFound(t *testing.T) {
	h := script(t, "1 a polled x-0@0")
	h[0].Value = Value("x-1", 0)
	if err := h.CheckOnce(map[string]int64{"x-0": 1}); err == nil || !strings.Contains(err.Error(), "x-1@0") {
		t.Errorf("got %v", err)
	}
}

func TestWorstGapCountsTheEdges(t *testing.T) {
	h := script(t, "10 a polled x-0@0\n13 a polled x-0@1\n15 a polled x-0@2\n14 a polled x-1@0")
	for _, c := range []struct {
		from, to int64
		want     time.Duration
	}{{10, 16, 3}, {4, 16, 6}, {10, 25, 10}, {16, 20, 4}} {
		if got := h.WorstGap("x-0", c.from, c.to); got != c.want {
			t.Errorf("from %d to %d: %d, want %d", c.from, c.to, got, c.want)
		}
	}
}
