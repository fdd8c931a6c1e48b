package cluster

import (
	"cmp"
	"slices"
	"time"

	"moldau.io/moldau/protocol"
)

// seat is a member of the quorum, or one who should be.
type seat struct {
	quorum   uint64
	broker   protocol.BrokerID // -1: no broker is registered with this quorum id
	rack     string
	voter    bool
	learner  bool
	asked    bool          // it has asked for a place a short while ago
	alive    bool          // its broker has a lease
	silent   time.Duration // for how long the leader has seen it without one
	caughtUp bool          // it has nearly all of the log
}

// caughtUpEntries is how many entries of the log one may lack who is to vote.
const caughtUpEntries = 100

func bySeat(a, b seat) int {
	return cmp.Or(cmp.Compare(a.broker, b.broker), cmp.Compare(a.quorum, b.quorum))
}

// memberChange is what the leader has changed about the members, at once.
type memberChange struct{ add, promote, demote, remove []uint64 }

func (c memberChange) empty() bool {
	return len(c.add) == 0 && len(c.promote) == 0 && len(c.demote) == 0 && len(c.remove) == 0
}

// votersOf is how many are to vote among so many brokers. Two voters would be worse than one: either's death would stop
// both. Three survive one death, five two, and more only make each change slower.
func votersOf(brokers, limit int) int {
	n := 1
	switch {
	case brokers >= 7:
		n = 5
	case brokers >= 3:
		n = 3
	}
	return max(1, min(n, limit))
}

// planMembers says what is to change about the members of the quorum, which self leads. Everybody who is there becomes a
// learner; of these 1, 3 or 5 are made voters. A voter that has been silent for longer than patience gives its vote to a
// learner that is alive, if there is one; without one it stays, since fewer votes would make nothing safer.
func planMembers(seats []seat, self uint64, limit int, patience time.Duration) memberChange {
	var c memberChange
	brokers := 0
	p := voterPlan{self: self, patience: patience}
	for _, s := range seats {
		if s.broker >= 0 {
			brokers++
		}
		switch {
		case s.voter:
			p.voters = append(p.voters, s)
		case s.learner && s.broker < 0 && !s.asked:
			c.remove = append(c.remove, s.quorum)
		case s.learner && s.alive && s.caughtUp:
			p.spare = append(p.spare, s)
		case !s.learner && (s.broker >= 0 || s.asked):
			c.add = append(c.add, s.quorum)
		}
	}
	p.grow(votersOf(brokers, limit))
	p.replace()
	p.shrink(votersOf(brokers, limit))
	if len(p.promote)+len(p.demote) == 0 && c.empty() {
		p.spread()
	}
	if p.safe() {
		c.promote, c.demote = p.promote, p.demote
	}
	return c
}

// voterPlan is the voters in the making.
type voterPlan struct {
	self     uint64
	patience time.Duration
	voters   []seat
	spare    []seat // learners that could vote

	promote, demote []uint64
}

// lost says that a voter is not waited for any more.
func (p *voterPlan) lost(s seat) bool {
	return s.quorum != p.self && (s.broker < 0 || !s.alive && s.silent >= p.patience)
}

// take gives the vote to the spare one that stands in the rack with the fewest voters.
func (p *voterPlan) take() {
	best := 0
	for i, s := range p.spare {
		if p.inRack(s.rack) < p.inRack(p.spare[best].rack) {
			best = i
		}
	}
	s := p.spare[best]
	p.spare = slices.Delete(p.spare, best, best+1)
	p.voters = append(p.voters, s)
	p.promote = append(p.promote, s.quorum)
}

func (p *voterPlan) drop(i int) {
	p.demote = append(p.demote, p.voters[i].quorum)
	p.voters = slices.Delete(p.voters, i, i+1)
}

// inRack counts the voters in a rack that count on.
func (p *voterPlan) inRack(rack string) (n int) {
	for _, v := range p.voters {
		if v.rack == rack && !p.lost(v) {
			n++
		}
	}
	return n
}

// grow adds voters, to an odd number.
func (p *voterPlan) grow(want int) {
	n := min(want, len(p.voters)+len(p.spare))
	if n%2 == 0 {
		n--
	}
	for len(p.voters) < n {
		p.take()
	}
}

// replace gives the votes of those that are lost to others.
func (p *voterPlan) replace() {
	for i := 0; i < len(p.voters) && len(p.spare) > 0; {
		if !p.lost(p.voters[i]) {
			i++
			continue
		}
		p.drop(i)
		p.take()
	}
}

// shrink takes votes away where brokers have been removed from the cluster: of those that are lost first, then of the dead,
// then of the youngest.
func (p *voterPlan) shrink(want int) {
	for len(p.voters) > want {
		worst := -1
		for i, v := range p.voters {
			if v.quorum != p.self && (worst < 0 || p.rank(v) >= p.rank(p.voters[worst])) {
				worst = i
			}
		}
		if worst < 0 {
			return
		}
		p.drop(worst)
	}
}

func (p *voterPlan) rank(s seat) int {
	switch {
	case p.lost(s):
		return 2
	case !s.alive:
		return 1
	}
	return 0
}

// spread moves one vote from a rack with several to one without any.
func (p *voterPlan) spread() {
	for i, v := range p.voters {
		if v.quorum == p.self || p.inRack(v.rack) < 2 {
			continue
		}
		for j, s := range p.spare {
			if s.rack == "" || p.inRack(s.rack) > 0 {
				continue
			}
			p.spare[0], p.spare[j] = p.spare[j], p.spare[0]
			p.drop(i)
			p.take()
			return
		}
	}
}

// safe says that a majority of the voters would be alive, so that the quorum goes on.
func (p *voterPlan) safe() bool {
	alive := 0
	for _, v := range p.voters {
		if v.alive || v.quorum == p.self {
			alive++
		}
	}
	return alive > len(p.voters)/2
}
