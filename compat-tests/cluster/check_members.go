package cluster

import (
	"maps"
	"slices"
	"strings"
)

// GroupOf is the group of a member, which is named GROUP/MEMBER.
func GroupOf(member string) string {
	group, _, _ := strings.Cut(member, "/")
	return group
}

// progress is how far a group is in a partition.
type progress struct {
	done  int64          // the newest acknowledged commit
	sent  map[int64]bool // commits that were sent and not yet acknowledged, or never
	owner string         // who reads it; "" for nobody
	next  int64          // what the owner reads next; -1 until it has read something
	read  map[int64]bool
}

// members is about groups: who takes a partition over begins at what was committed, reads on without a gap, and in the end
// the group has read everything. Records may be read twice, since who read them first may not have come to commit them.
func (c *checker) members() {
	groups := map[string]map[string]*progress{}
	of := func(e Event) *progress {
		g := groups[GroupOf(e.Who)]
		if g == nil {
			g = map[string]*progress{}
			groups[GroupOf(e.Who)] = g
		}
		p := g[e.Partition]
		if p == nil {
			p = &progress{sent: map[int64]bool{0: true}, next: -1, read: map[int64]bool{}}
			g[e.Partition] = p
		}
		return p
	}
	for _, e := range c.h {
		if c.style[e.Who] != Member || e.Partition == "" {
			continue
		}
		switch p := of(e); e.Kind {
		case Assigned:
			p.owner, p.next = e.Who, -1
		case Commit:
			p.sent[e.Offset] = true
		case Done:
			if e.Offset > p.done {
				p.done = e.Offset
			}
		case Read:
			c.memberRead(p, e)
		}
	}
	for _, group := range slices.Sorted(maps.Keys(groups)) {
		for place := range c.whole {
			if p := groups[group][place.partition]; p != nil && !p.read[place.offset] {
				c.add("unread", "group %s has not read %v", group, place)
			}
		}
	}
}

func (c *checker) memberRead(p *progress, e Event) {
	p.read[e.Offset] = true
	if p.owner != e.Who {
		return // of a fetch that was there before the member heard that the partition is another's
	}
	switch {
	case p.next >= 0 && e.Offset != p.next:
		c.add("skipped", "%s read %s@%d and then %d", e.Who, e.Partition, p.next-1, e.Offset)
	case p.next < 0 && e.Offset < p.done:
		c.add("went back", "%s began to read %s at %d, but %d was committed", e.Who, e.Partition, e.Offset, p.done)
	case p.next < 0 && !p.sent[e.Offset]:
		c.add("skipped", "%s began to read %s at %d, which nobody has committed", e.Who, e.Partition, e.Offset)
	}
	p.next = e.Offset + 1
}
