package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// place is where a record is.
type place struct {
	partition string
	offset    int64
}

func (p place) String() string { return fmt.Sprintf("%s@%d", p.partition, p.offset) }

// findings are what is wrong, a few of each kind in full.
type findings struct {
	count map[string]int
	errs  []error
}

// each is how many of a kind are told in full.
const each = 5

func (f *findings) add(kind, format string, args ...any) {
	if f.count[kind]++; f.count[kind] <= each {
		f.errs = append(f.errs, fmt.Errorf("%s: %s", kind, fmt.Sprintf(format, args...)))
	}
}

func (f *findings) err() error {
	for _, kind := range slices.Sorted(maps.Keys(f.count)) {
		if n := f.count[kind]; n > each {
			f.errs = append(f.errs, fmt.Errorf("%s: %d in all", kind, n))
		}
	}
	return errors.Join(f.errs...)
}

// checker goes over a history. A value's fate is that of its last event, since a producer tells of each value once.
type checker struct {
	findings
	h     History
	style map[string]Style
	sent  map[string]Event // by value
	acked map[string]Event
	gone  map[string]Event // refused
	found map[place]string // what anybody read there, or was told to be there
	who   map[place]string // who said so first
	whole map[place]string // what the readers that read everything to the end have read
}

// Check says what is wrong with a history. Final names the readers that have read everything to the end after all else was
// over. It looks for what no client may ever see:
//
//	lost        an acknowledged record is not there (I-01, I-02)
//	moved       it is at another offset than the one acknowledged (I-02)
//	two values  an offset has two values, at two times or for two readers (I-03, I-17)
//	duplicate   an idempotent producer's record is there twice (I-04)
//	phantom     a record was read that nobody sent, or whose send was refused (I-05)
//	order       an idempotent producer's records are not in its order (I-07)
//	went back   a watermark, or a reader's or member's place, went back; or records were skipped (I-14, I-63 to I-65)
func (h History) Check(final ...string) error {
	c := &checker{findings: findings{count: map[string]int{}}, h: h.Sorted(), style: map[string]Style{},
		sent: map[string]Event{}, acked: map[string]Event{}, gone: map[string]Event{}, found: map[place]string{},
		who: map[place]string{}, whole: map[place]string{}}
	c.collect(final)
	c.acknowledged(final)
	c.once()
	c.order()
	c.phantoms()
	c.watermarks()
	c.readers()
	c.members()
	return c.err()
}

func (c *checker) collect(final []string) {
	for _, e := range c.h {
		p := place{e.Partition, e.Offset}
		switch e.Kind {
		case Opened:
			c.style[e.Who] = Style(e.Value)
		case Sent:
			c.sent[e.Value] = e
		case Refused:
			c.gone[e.Value] = e
		case Acked:
			if c.style[e.Who] == Careless {
				continue
			}
			c.acked[e.Value] = e
			if e.Offset >= 0 {
				c.oneValue(p, e)
			}
		case Read:
			c.oneValue(p, e)
			if slices.Contains(final, e.Who) {
				c.whole[p] = e.Value
			}
		}
	}
}

func (c *checker) oneValue(p place, e Event) {
	first, seen := c.found[p]
	switch {
	case !seen:
		c.found[p], c.who[p] = e.Value, e.Who
	case first != e.Value:
		c.add("two values", "%v has %q for %s and %q for %s", p, first, c.who[p], e.Value, e.Who)
	}
}

// acknowledged is about every acknowledged value in what was read at the end.
func (c *checker) acknowledged(final []string) {
	if len(final) == 0 {
		c.add("no final reader", "nothing was read at the end")
	}
	at := map[string][]place{}
	for p, value := range c.whole {
		at[value] = append(at[value], p)
	}
	for _, value := range slices.Sorted(maps.Keys(c.acked)) {
		e := c.acked[value]
		switch {
		case len(at[value]) == 0:
			c.add("lost", "%s acknowledged %q at %s@%d, which is not there; %q is", e.Who, value, e.Partition, e.Offset,
				c.whole[place{e.Partition, e.Offset}])
		case e.Offset >= 0 && !slices.Contains(at[value], place{e.Partition, e.Offset}):
			c.add("moved", "%q was acknowledged at %s@%d and is at %v", value, e.Partition, e.Offset, at[value])
		}
	}
	for p, value := range c.found {
		if c.style[c.who[p]] != "" && c.whole[p] == "" {
			c.add("lost", "%s saw %q at %v, which is not there at the end", c.who[p], value, p)
		}
	}
}

// once is about the records of idempotent producers, wherever anybody saw them.
func (c *checker) once() {
	at := map[string]place{}
	for _, p := range c.places() {
		value := c.found[p]
		who, _, _, _ := parseValue(value)
		if first, seen := at[value]; seen && c.style[who] == Idempotent {
			c.add("duplicate", "%q is at %v and at %v", value, first, p)
		}
		at[value] = p
	}
}

// places are those where something was found, in order.
func (c *checker) places() []place {
	return slices.SortedFunc(maps.Keys(c.found), func(a, b place) int {
		return cmp.Or(strings.Compare(a.partition, b.partition), cmp.Compare(a.offset, b.offset))
	})
}

func (c *checker) order() {
	type line struct{ who, partition string }
	last := map[line]int64{}
	for _, p := range c.places() {
		who, _, n, ok := parseValue(c.found[p])
		if !ok || c.style[who] != Idempotent {
			continue
		}
		l := line{who, p.partition}
		if before, seen := last[l]; seen && n < before {
			c.add("order", "%q is at %v, after number %d of the same producer", c.found[p], p, before)
		}
		last[l] = n
	}
}

func (c *checker) phantoms() {
	for _, p := range c.places() {
		value := c.found[p]
		sent, ok := c.sent[value]
		gone, refused := c.gone[value]
		switch {
		case !ok:
			c.add("phantom", "%s saw %q at %v, which nobody has sent", c.who[p], value, p)
		case sent.Partition != p.partition:
			c.add("phantom", "%s saw %q at %v, which was sent to %s", c.who[p], value, p, sent.Partition)
		case refused:
			c.add("phantom", "%s saw %q at %v, which was refused: %s", c.who[p], value, p, gone.Why)
		}
	}
}

// watermarks never fall within a leader epoch, nor below those of epochs before.
func (c *checker) watermarks() {
	type line struct{ who, partition string }
	type mark struct{ epoch, offset int64 }
	last := map[line]mark{}
	for _, e := range c.h {
		if e.Kind != High {
			continue
		}
		epoch, err := strconv.ParseInt(e.Value, 10, 64)
		l := line{e.Who, e.Partition}
		before, seen := last[l]
		switch {
		case err != nil:
			c.add("went back", "%v has no epoch", e)
			continue
		case seen && epoch >= before.epoch && e.Offset < before.offset:
			c.add("went back", "the high watermark of %s was %d in epoch %d and then %d in epoch %d", e.Partition, before.offset,
				before.epoch, e.Offset, epoch)
		case seen && epoch < before.epoch && e.Offset > before.offset:
			c.add("went back", "the high watermark of %s was %d in epoch %d, but %d in epoch %d before it", e.Partition,
				before.offset, before.epoch, e.Offset, epoch)
		}
		if !seen || epoch > before.epoch || e.Offset > before.offset {
			last[l] = mark{max(epoch, before.epoch), max(e.Offset, before.offset)}
		}
	}
}

// readers read every offset once, in order, from the start.
func (c *checker) readers() {
	next := map[string]int64{}
	for _, e := range c.h {
		if e.Kind != Read || c.style[e.Who] != Reader {
			continue
		}
		key := e.Who + " " + e.Partition
		switch want := next[key]; {
		case e.Offset < want:
			c.add("went back", "%s read %s@%d and then %d", e.Who, e.Partition, want-1, e.Offset)
		case e.Offset > want:
			c.add("skipped", "%s read %s@%d and then %d", e.Who, e.Partition, want-1, e.Offset)
		}
		next[key] = e.Offset + 1
	}
}
