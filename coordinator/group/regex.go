package group

import (
	"time"

	"moldau.io/moldau/protocol"
)

// regexInterval is how long a group must wait at least before its expressions are matched with the topics again.
const regexInterval = 10 * time.Second

// updateRegex takes a change of the member's expression, and matches the group's expressions with the names of the topics
// if that is due. It says whether the group's epoch must rise for it.
//
// Kafka matches in the background: there the heartbeat that brings a new expression is answered before its topics are
// known, in the old epoch, and the epoch rises by itself a moment later. Here the same heartbeat brings the topics, unless
// that takes long: see look. When expressions are matched again is the same: for a new one, after topics were made, and
// once in an interval; never twice within ten seconds.
func (m *Machine) updateRegex(b *beat) (bump bool, no *refusal) {
	g := b.g
	from, to := b.wasDesc.pattern(), b.desc.pattern()
	refresh := false
	if !same(b.wasDesc.Regex, b.desc.Regex) {
		b.subscription = true
		if from != "" && g.patterns[from] == 1 {
			m.record(Record{Kind: KindRegex, Group: g.id, Name: from})
			if re := g.regexes[from]; re != nil {
				b.change(re.Topics, subscriptions{patterns: -1})
			}
		}
		switch {
		case to == "":
			bump = from != ""
		case g.patterns[to] == 0:
			if _, err := compilePattern(to); err != nil {
				return false, refuse(protocol.InvalidRegularExpression,
					"SubscribedTopicRegex `%s` is not a valid regular expression: %v.", shown(to), err)
			}
			refresh = true
		default:
			bump = g.regexes[to] != nil
		}
	}
	if !refresh && len(g.patterns) == 0 || g.look != nil || !m.mayResolve(b.now, g) {
		return bump, nil
	}
	n := len(g.patterns)
	if from != to {
		if from != "" && g.patterns[from] == 1 {
			n--
		}
		if to != "" && g.patterns[to] == 0 {
			n++
		}
	}
	md := m.topics.Now()
	made := m.newTopics(md) // whatever makes a look due: what a look saw must be known to the next one
	refresh = refresh || n != len(g.regexes) || g.resolved.version < made ||
		b.now.UnixMilli() > g.resolved.at+m.cfg.RegexRefresh.Milliseconds()
	if !refresh || n == 0 {
		return bump, nil
	}
	return m.resolve(b, md) || bump, nil
}

// mayResolve holds a group to one look at all topics in an interval. A clock that was set back does not stop it.
func (m *Machine) mayResolve(now time.Time, g *consumerGroup) bool {
	if len(g.regexes) == 0 {
		return true
	}
	past := now.UnixMilli() - g.resolved.at
	return past > regexInterval.Milliseconds() || past < 0
}

// topicsSeen is how the machine knows whether topics were made since expressions were matched.
type topicsSeen struct {
	known   bool
	version int64
	names   uint64 // a hash of all names
	changed int64  // the version in which names was first what it is
}

// newTopics is the version of the metadata since which the names of the topics are what they are.
func (m *Machine) newTopics(md Metadata) int64 {
	s := &m.seen
	if v := md.Version(); !s.known || s.version != v {
		h := uint64(fnvOffset)
		for name := range md.Names() {
			h = fnv(fnv(h, name), "\x00")
		}
		if !s.known || s.names != h {
			s.names, s.changed = h, v
		}
		s.known, s.version = true, v
	}
	return s.changed
}

const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

// fnv goes on with a hash (FNV-1a).
func fnv(h uint64, s string) uint64 {
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * fnvPrime
	}
	return h
}
