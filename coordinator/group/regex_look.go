package group

import (
	"slices"
	"time"
)

// lookBudget is how much of a look at all topics one call of the machine may do, in instructions of the program of an
// expression for each byte of a name. That is the worst there can be; most expressions need a thousandth of it. What is
// left is done by the next call of Tick, so that a costly expression keeps the members of other groups waiting for a
// fraction of a second at most.
const lookBudget = 20 << 20

// look matches the expressions of a group with the names of all topics.
type look struct {
	version  int64
	began    time.Time
	names    []string
	patterns []string
	found    [][]string // of the patterns that are through, and of the one that is being matched

	compiled pattern
	fault    bool // the expression is none: a record may bring such
	next     int  // of the names
}

func newLook(now time.Time, md Metadata, patterns []string) *look {
	return &look{version: md.Version(), began: now, names: slices.Collect(md.Names()), patterns: patterns}
}

// goOn does some of the work, and says whether all is done.
func (l *look) goOn(budget int) bool {
	for {
		if len(l.found) == 0 || l.next == len(l.names) || l.fault {
			if len(l.found) == len(l.patterns) {
				return true
			}
			expression := l.patterns[len(l.found)]
			budget -= compileCost * len(expression)
			var err error
			l.compiled, err = compilePattern(expression)
			l.fault, l.next, l.found = err != nil, 0, append(l.found, []string{})
			if l.fault {
				continue
			}
		}
		last := len(l.found) - 1
		for ; l.next < len(l.names); l.next++ {
			if budget < 0 {
				return false
			}
			name := l.names[l.next]
			budget -= l.compiled.size * (len(name) + 1)
			if l.compiled.matches(name) {
				l.found[last] = append(l.found[last], name)
			}
		}
		if budget < 0 && len(l.found) < len(l.patterns) {
			return false
		}
	}
}

// compileCost is that of one byte of an expression.
const compileCost = 100

// result is what an expression matches.
func (l *look) result(i int) *Regex {
	return &Regex{Topics: l.found[i], Version: l.version, Timestamp: l.began.UnixMilli()}
}

// resolve begins a look at all topics, and takes the result over if that was all. It says whether an expression matches
// others than before.
func (m *Machine) resolve(b *beat, md Metadata) (changed bool) {
	g := b.g
	patterns := sortedKeys(g.patterns)
	if from := b.wasDesc.pattern(); from != "" && from != b.desc.pattern() && g.patterns[from] == 1 {
		patterns = slices.DeleteFunc(patterns, func(p string) bool { return p == from })
	}
	if to := b.desc.pattern(); to != "" && g.patterns[to] == 0 {
		patterns = append(patterns, to)
	}
	l := newLook(b.now, md, patterns)
	if !l.goOn(lookBudget) {
		m.laterLook(b.now, g, l)
		return false
	}
	b.resolved = make(map[string]*Regex, len(patterns))
	b.delta, changed = m.takeLook(g, l, b.delta)
	for i, p := range l.patterns {
		b.resolved[p] = l.result(i)
	}
	return changed
}

// takeLook writes what was found. It adds to the changes of the counts of topics, and says whether there are any.
func (m *Machine) takeLook(g *consumerGroup, l *look, delta topicCounts) (topicCounts, bool) {
	changed := false
	for i, p := range l.patterns {
		found := l.result(i)
		var before []string
		if old := g.regexes[p]; old != nil {
			before = old.Topics
		}
		if !slices.Equal(before, found.Topics) {
			changed = true
			if delta == nil {
				delta = topicCounts{}
			}
			delta.addAll(before, subscriptions{patterns: -1})
			delta.addAll(found.Topics, subscriptions{patterns: 1})
		}
		m.record(Record{Kind: KindRegex, Group: g.id, Name: p, Value: found})
	}
	return delta, changed
}

// laterLook goes on with a look in the next call of Tick.
func (m *Machine) laterLook(now time.Time, g *consumerGroup, l *look) {
	g.look = l
	g.lookAlarm.kind, g.lookAlarm.consumer = lookAlarm, g
	m.alarms.set(&g.lookAlarm, now)
}

// lookOn goes on with the look of a group. In the end the epoch rises by itself if an expression matches others than
// before, as it does in Kafka; members hear of it with their next heartbeats.
func (m *Machine) lookOn(now time.Time, g *consumerGroup) {
	l := g.look
	if m.consumers[g.id] != g || l == nil {
		return
	}
	if !l.goOn(lookBudget) {
		m.laterLook(now, g, l)
		return
	}
	g.look = nil
	for i := len(l.patterns) - 1; i >= 0; i-- { // meanwhile members may have left
		if g.patterns[l.patterns[i]] == 0 {
			l.patterns, l.found = slices.Delete(l.patterns, i, i+1), slices.Delete(l.found, i, i+1)
		}
	}
	delta, changed := m.takeLook(g, l, nil)
	if !changed {
		return
	}
	epoch, reason := g.epoch+1, "an expression of the group matches other topics than before"
	m.record(Record{Kind: KindEpoch, Group: g.id, Value: &Epoch{Epoch: epoch, MetadataHash: m.hashAfter(g, delta)}})
	g.reason = reason
	m.tellEpoch(g, epoch, len(g.members), why{CauseSubscription, Who{}, reason})
}
