package cluster

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
)

// seatsOf reads seats: "1v" is broker 1, which votes and is alive; "2l" follows; "3" is neither yet; "?4v" is a member that
// is no broker's any more; "-" behind means dead for a minute, "~" dead for a moment, "<" behind with the log; "@x" is a rack.
func seatsOf(text string) []seat {
	var out []seat
	for i, f := range strings.Fields(text) {
		s := seat{broker: protocol.BrokerID(i + 1), alive: true, caughtUp: true}
		f, s.rack, _ = strings.Cut(f, "@")
		_, _ = fmt.Sscanf(strings.TrimPrefix(f, "?"), "%d", &s.quorum)
		if f[0] == '?' {
			s.broker, s.alive = -1, false
		}
		s.voter, s.learner = strings.Contains(f, "v"), strings.Contains(f, "l")
		switch {
		case strings.Contains(f, "-"):
			s.alive, s.silent = false, time.Minute
		case strings.Contains(f, "~"):
			s.alive, s.silent = false, time.Second
		case strings.Contains(f, "<"):
			s.caughtUp = false
		}
		out = append(out, s)
	}
	return out
}

func (c memberChange) String() string {
	var parts []string
	for _, p := range []struct {
		sign string
		ids  []uint64
	}{{"add", c.add}, {"promote", c.promote}, {"demote", c.demote}, {"remove", c.remove}} {
		slices.Sort(p.ids)
		if len(p.ids) > 0 {
			parts = append(parts, p.sign+strings.Trim(fmt.Sprint(p.ids), "[]"))
		}
	}
	return strings.Join(parts, " ")
}

func TestVotersAreChosen(t *testing.T) {
	f := func(seats, want string) {
		t.Helper()
		if got := planMembers(seatsOf(seats), 1, 5, 30*time.Second).String(); got != want {
			t.Errorf("%s: %q, not %q", seats, got, want)
		}
	}
	f("1v", "")
	f("1v 2", "add2")
	f("1v 2l", "") // two voters would be worse than one
	f("1v 2l 3", "add3")
	f("1v 2l 3l", "promote2 3")
	f("1v 2l 3l<", "") // two voters are not a step on the way
	f("1v 2l 3l-", "")
	f("1v 2v 3v 4l", "")
	f("1v 2v 3v 4l 5l 6l 7l", "promote4 5")
	f("1v 2v 3v~ 4l", "")  // it may come back
	f("1v 2v 3v-", "")     // nobody could take its place
	f("1v 2v 3v- 4l-", "") // nor a dead one
	f("1v 2v 3v- 4l", "promote4 demote3")
	f("1v 2v- 3v- 4l 5l", "promote4 5 demote2 3")
	f("1v 2v ?9v 3l", "promote3 demote9") // the same broker with a new disk
	f("1v 2v ?9v", "demote2 9")           // broker 3 was removed from the cluster: two are left
	f("1v 2l ?9l", "remove9")
	f("1v ?9v", "demote9")
	f("1v@a 2l@a 3l@b 4l@c", "promote3 4") // over racks
	f("1v@a 2v@a 3v@a 4l@b", "promote4 demote2")
	f("1v@a 2v@b 3v@b 4l@b", "")
	f("1v@a 2v@b 3v@c 4l", "")
	f("1v 2v 3v 4v", "demote4") // an even number, as after a change that was broken off
	f("1v 2v 3v 4v 5l", "demote4")
	if got := planMembers(seatsOf("1v 2l 3l"), 1, 1, time.Second).String(); got != "" {
		t.Errorf("with one voter at most: %q", got)
	}
}

// TestVotersAreNeverChangedForTheWorse walks from chance to chance: whatever is there, a change leaves a majority of voters
// alive where there was one, keeps the leader, comes to rest, and ends with an odd number where brokers are there for it.
func TestVotersAreNeverChangedForTheWorse(t *testing.T) {
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var seats []seat
		for i := range 1 + rng.IntN(9) {
			s := seat{quorum: uint64(i + 1), broker: protocol.BrokerID(i + 1), rack: []string{"", "a", "b", "c"}[rng.IntN(4)]}
			s.alive, s.caughtUp = i == 0 || rng.IntN(4) > 0, rng.IntN(5) > 0
			if !s.alive {
				s.silent = time.Duration(rng.IntN(60)) * time.Second
			}
			if i > 0 && rng.IntN(8) == 0 {
				s.broker, s.alive = -1, false
			}
			s.voter = i == 0 || rng.IntN(3) == 0
			s.learner = !s.voter && rng.IntN(3) > 0
			seats = append(seats, s)
		}
		alive := func() (live, all int) {
			for _, s := range seats {
				if s.voter {
					all++
					if s.alive {
						live++
					}
				}
			}
			return live, all
		}
		for step := 0; ; step++ {
			live, all := alive()
			had := live > all/2
			c := planMembers(seats, 1, 5, 30*time.Second)
			if c.empty() {
				break
			}
			if step > 20 {
				t.Fatalf("seed %d: it does not come to rest: %s", seed, c)
			}
			seats = slices.DeleteFunc(seats, func(s seat) bool { return slices.Contains(c.remove, s.quorum) })
			for i := range seats {
				s := &seats[i]
				switch {
				case slices.Contains(c.add, s.quorum):
					s.learner = true
				case slices.Contains(c.promote, s.quorum):
					s.voter, s.learner = true, false
				case slices.Contains(c.demote, s.quorum):
					s.voter, s.learner = false, true
				}
			}
			if live, all := alive(); had && live <= all/2 {
				t.Fatalf("seed %d: %s leaves %d of %d voters alive", seed, c, live, all)
			}
			if slices.Contains(c.demote, 1) || slices.Contains(c.remove, 1) {
				t.Fatalf("seed %d: %s takes the leader's vote", seed, c)
			}
		}
	}
}
