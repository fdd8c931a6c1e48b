package assignor

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"moldau.io/moldau/protocol"
)

var assignors = []struct {
	name   string
	assign func(Group) (Assignment, error)
}{{"range", Range}, {"uniform", Uniform}}

// eachAssignment makes groups and has them change, and calls check with what an assignor was given and what it gave.
func eachAssignment(t *testing.T, stories int, check func(name string, mixed bool, g Group, a Assignment) error) {
	t.Helper()
	for _, assignor := range assignors {
		for seed := range uint64(stories) {
			s := newStory(rand.New(rand.NewPCG(seed, 0)))
			for step := range 20 {
				g := s.input()
				a, err := assignor.assign(g)
				if err == nil {
					err = check(assignor.name, s.mixed, g, a)
				}
				if err != nil {
					t.Fatalf("%s, seed %d, step %d: %v", assignor.name, seed, step, err)
				}
				s.keep(a)
				s.change()
			}
		}
	}
}

// owned is a partition.
type owned struct {
	id     protocol.TopicID
	number int32
}

// owners is who has what. It is an error when two have the same.
func owners(a map[string][]Topic) (map[owned]string, error) {
	all := map[owned]string{}
	for _, id := range slices.Sorted(maps.Keys(a)) {
		for _, t := range a[id] {
			for _, p := range t.Partitions {
				if other, twice := all[owned{t.ID, p}]; twice {
					return nil, fmt.Errorf("%s and %s both have %v-%d", other, id, t.ID, p)
				}
				all[owned{t.ID, p}] = id
			}
		}
	}
	return all, nil
}

func subscribers(g Group) map[protocol.TopicID][]string {
	all := map[protocol.TopicID][]string{}
	for _, m := range g.Members {
		for _, name := range m.Names {
			all[g.Topics[name].ID] = append(all[g.Topics[name].ID], m.ID)
		}
	}
	return all
}

func TestEachPartitionHasOneSubscriber(t *testing.T) {
	eachAssignment(t, 100, func(_ string, _ bool, g Group, a Assignment) error {
		owners, err := owners(a)
		if err != nil {
			return err
		}
		subscribers := subscribers(g)
		for _, name := range slices.Sorted(maps.Keys(g.Topics)) {
			info := g.Topics[name]
			for p := range int32(info.Partitions) {
				who, there := owners[owned{info.ID, p}]
				if there != (len(subscribers[info.ID]) > 0) || there && !slices.Contains(subscribers[info.ID], who) {
					return fmt.Errorf("%s-%d is with %q, subscribers are %q", name, p, who, subscribers[info.ID])
				}
				delete(owners, owned{info.ID, p})
			}
		}
		if len(owners) > 0 {
			return fmt.Errorf("assigned and not there: %v", owners)
		}
		return nil
	})
}

func TestAssignmentsAreBalanced(t *testing.T) {
	eachAssignment(t, 100, func(name string, mixed bool, g Group, a Assignment) error {
		if name == "range" {
			return rangesAreFair(g, a)
		}
		if mixed {
			return noMoveEvens(g, a)
		}
		least, most := 1<<30, 0
		for _, m := range g.Members {
			n := count(a[m.ID])
			least, most = min(least, n), max(most, n)
		}
		if most-least > 1 {
			return fmt.Errorf("one has %d, another %d", most, least)
		}
		return nil
	})
}

func count(topics []Topic) (n int) {
	for _, t := range topics {
		n += len(t.Partitions)
	}
	return n
}

// rangesAreFair checks that subscribers of a topic have ranges of it, whose lengths differ by one.
func rangesAreFair(g Group, a Assignment) error {
	for id, members := range subscribers(g) {
		least, most := 1<<30, 0
		for _, m := range members {
			var has []int32
			for _, t := range a[m] {
				if t.ID == id {
					has = t.Partitions
				}
			}
			least, most = min(least, len(has)), max(most, len(has))
			if n := len(has); n > 0 {
				if sorted := slices.Sorted(slices.Values(has)); int(sorted[n-1]-sorted[0]) != n-1 {
					return fmt.Errorf("%s has %v of %v", m, has, id)
				}
			}
		}
		if most-least > 1 {
			return fmt.Errorf("of %v one has %d, another %d", id, most, least)
		}
	}
	return nil
}

// noMoveEvens checks that no partition could go to a subscriber that has two less than its owner.
func noMoveEvens(g Group, a Assignment) error {
	subscribers := subscribers(g)
	for id, topics := range a {
		for _, t := range topics {
			for _, other := range subscribers[t.ID] {
				if count(a[other])+1 < count(topics) {
					return fmt.Errorf("%s has %d, and %v could go to %s, which has %d", id, count(topics), t.ID, other, count(a[other]))
				}
			}
		}
	}
	return nil
}

// TestUniformIsSticky counts what moved though its owner stayed and is still subscribed to it: not more than the members
// that have less than their share lack.
func TestUniformIsSticky(t *testing.T) {
	eachAssignment(t, 100, func(name string, mixed bool, g Group, a Assignment) error {
		if name != "uniform" || mixed {
			return nil
		}
		now, err := owners(a)
		if err != nil {
			return err
		}
		there := map[protocol.TopicID]bool{}
		total := 0
		for _, info := range g.Topics {
			there[info.ID] = true
			total += info.Partitions
		}
		moved, needed, extra := 0, 0, total%len(g.Members)
		for _, m := range g.Members {
			had := 0
			for _, topic := range m.Target {
				if !there[topic.ID] {
					continue
				}
				had += len(topic.Partitions)
				for _, p := range topic.Partitions {
					if now[owned{topic.ID, p}] != m.ID {
						moved++
					}
				}
			}
			quota := total / len(g.Members)
			if had > quota && extra > 0 {
				quota, extra = quota+1, extra-1
			}
			needed += max(0, had-quota)
		}
		if moved > needed {
			return fmt.Errorf("%d partitions moved, %d had to", moved, needed)
		}
		return nil
	})
}

// TestNothingMovesTwice asks again with the result as target: nothing may change then.
func TestNothingMovesTwice(t *testing.T) {
	eachAssignment(t, 50, func(name string, mixed bool, g Group, a Assignment) error {
		g.Members = slices.Clone(g.Members)
		for i := range g.Members {
			g.Members[i].Target = a[g.Members[i].ID]
		}
		again, err := Uniform(g)
		if name == "range" {
			again, err = Range(g)
		}
		if err == nil && !reflect.DeepEqual(a, again) {
			err = fmt.Errorf("%v became %v", a, again)
		}
		return err
	})
}

func TestSameInputSameAssignment(t *testing.T) {
	eachAssignment(t, 30, func(name string, mixed bool, g Group, a Assignment) error {
		for range 3 {
			again, err := Uniform(g)
			if name == "range" {
				again, err = Range(g)
			}
			if err != nil || !reflect.DeepEqual(a, again) {
				return fmt.Errorf("%v and %v (%v)", a, again, err)
			}
		}
		return nil
	})
}
