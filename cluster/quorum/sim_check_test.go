package quorum

import (
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
)

// commit holds an entry against what others have been told.
func (w *world) commit(c committed) error {
	i, found := slices.BinarySearchFunc(w.log, c.index, func(c committed, index int64) int { return int(c.index - index) })
	if found {
		if have := w.log[i]; have.term != c.term || have.line != c.line {
			return fmt.Errorf("I-39: entry %d is %q of term %d, and was %q of term %d", c.index, c.line, c.term, have.line, have.term)
		}
		return nil
	}
	if i < len(w.log) {
		return fmt.Errorf("I-39: entry %d is %q, and was without data", c.index, c.line)
	}
	c.sum = 0
	if i > 0 {
		c.sum = w.log[i-1].sum
	}
	c.sum = chain(c.sum, c.line)
	w.log = append(w.log, c)
	return nil
}

func chain(sum uint64, line string) uint64 {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%d %s", sum, line)
	return h.Sum64()
}

// checkState holds what a snapshot has made of a node against what the entries before it make.
func (w *world) checkState(s *simNode) error {
	var sum, want uint64
	for _, line := range s.lines {
		sum = chain(sum, line)
	}
	for _, c := range w.log {
		if c.index <= s.index {
			want = c.sum
		}
	}
	if sum != want {
		return fmt.Errorf("I-40: node %d: the snapshot at %d is not what the entries make", s.node, s.index)
	}
	return nil
}

// check looks at a node that has nothing left to do.
func (w *world) check(s *simNode) error {
	st := s.log.raft.BasicStatus()
	if st.Lead == s.id && st.RaftState.String() == "StateLeader" {
		if have, ok := w.leaders[st.GetTerm()]; ok && have != s.id {
			return fmt.Errorf("I-38: term %d is led by %d and by %d", st.GetTerm(), have, s.id)
		} else if !ok {
			w.counts.leaders++
		}
		w.leaders[st.GetTerm()] = s.id
	}
	held := s.log.members
	if now := [2]uint64{held[0].index, held[len(held)-1].index}; now == s.held {
		return nil
	} else {
		s.held = now
	}
	for i, m := range held {
		got := fmt.Sprint(membersOf(m.conf))
		want, ok := w.members[int64(m.index)]
		if i == 0 && !ok && m.index > 1 { // the members as of a snapshot
			at := int64(0)
			for index, c := range w.members {
				if index <= int64(m.index) && index > at {
					at, want = index, c
				}
			}
			ok = at > 0
		}
		if ok && got != want {
			return fmt.Errorf("I-39: node %d: the members as of entry %d are %s, and were %s", s.node, m.index, got, want)
		}
		if m.index > 0 && (i > 0 || m.index == 1) {
			w.members[int64(m.index)] = got
		}
	}
	return nil
}

// end lets all faults go and sees that the quorum comes to rest.
func (w *world) end() error {
	w.faults, w.storm = false, 0
	clear(w.cut)
	w.say("all faults are gone")
	for _, s := range w.nodes {
		s.crashIn = 0
		if s.log == nil {
			if err := w.open(s); err != nil {
				return err
			}
		}
	}
	for _, line := range slices.Sorted(maps.Keys(w.dropped)) {
		if slices.ContainsFunc(w.log, func(c committed) bool { return c.line == line }) {
			return fmt.Errorf("%.20q was said to be lost, and is there", line)
		}
	}
	for line := range w.kept {
		if !slices.ContainsFunc(w.log, func(c committed) bool { return c.line == line }) {
			return fmt.Errorf("%.20q was said to be committed, and is not there", line)
		}
	}
	w.counts.lines += len(w.kept)
	const patience = 300
	asked := uint64(0) // the term in which a leader has taken the last line; who leads after it may not have it
	var why error
	for range patience {
		if err := w.turn(false); err != nil {
			return err
		}
		if l := w.leading(); l != nil && asked != l.log.leader.Term {
			if _, _, err := l.log.Append([]byte("the end")); err == nil {
				asked = l.log.leader.Term
			}
		}
		if asked == 0 {
			why = errors.New("nobody leads")
		} else if why = w.atRest(); why == nil {
			return nil
		}
	}
	if w.hopeless() {
		w.counts.stuck++
		return nil
	}
	return fmt.Errorf("after %d ticks without faults: %w", patience, why)
}

func (w *world) leading() *simNode {
	var found *simNode
	for _, s := range w.nodes {
		if s.log != nil && s.log.leads() && (found == nil || found.log.leader.Term < s.log.leader.Term) {
			found = s
		}
	}
	return found
}

// atRest says what is missing until all members are the same.
func (w *world) atRest() error {
	l := w.leading()
	if l == nil {
		return errors.New("nobody leads")
	}
	m := l.log.Status().Members
	if len(m.Outgoing) > 0 {
		return fmt.Errorf("the members are still being changed: %v", m)
	}
	for _, s := range w.nodes {
		own := s.log.Status()
		if m.Has(s.id) {
			if !slices.Equal(s.lines, l.lines) || own.Applied != l.log.Status().Applied || l.lines[len(l.lines)-1] != "the end" {
				return fmt.Errorf("node %d has %d lines, its leader node %d has %d", s.node, len(s.lines), l.node, len(l.lines))
			}
			if own.Removed {
				return fmt.Errorf("node %d takes itself for removed", s.node)
			}
			continue
		}
		reaches := slices.ContainsFunc(own.Members.Voters, func(id uint64) bool { return id != s.id && m.Has(id) })
		if reaches && !own.Removed {
			return fmt.Errorf("node %d does not know that it has been removed", s.node)
		}
	}
	return nil
}

// hopeless says that too many disks were lost for the members that there are.
func (w *world) hopeless() bool {
	dead := func(ids []uint64) bool {
		n := 0
		for _, id := range ids {
			if w.lost[id] {
				n++
			}
		}
		return len(ids) > 0 && n*2 >= len(ids)
	}
	for _, s := range w.nodes {
		for _, m := range s.log.members {
			if dead(m.conf.GetVoters()) || dead(m.conf.GetVotersOutgoing()) {
				return true
			}
		}
	}
	return false
}
