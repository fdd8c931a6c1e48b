package group

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestCommittedIsToldInOrderAndUpToALimit: against what a look at everything would tell, while groups come and go.
func TestCommittedIsToldInOrderAndUpToALimit(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	m := New(DefaultConfig(), &fakeTopics{}, rng)
	now := time.UnixMilli(1_700_000_000_000)
	ask := func(r *Committed) *CommittedResult {
		return m.Handle(now, 1, r).Replies[0].Resp.(*CommittedResult)
	}
	for range 3000 {
		id := fmt.Sprint("g", rng.IntN(40))
		topic, partition := fmt.Sprint("t", rng.IntN(3)), int32(rng.IntN(3))
		if rng.IntN(2) == 0 {
			m.Apply(commitRecord(id, topic, partition, &Commit{Offset: 5}))
		} else {
			m.Apply(commitRecord(id, topic, partition, nil))
		}
		if rng.IntN(5) > 0 {
			continue
		}
		var want, got []string
		for _, id := range slices.Sorted(maps.Keys(m.offsets)) {
			for _, topic := range slices.Sorted(maps.Keys(m.offsets[id])) {
				for _, p := range slices.Sorted(maps.Keys(m.offsets[id][topic])) {
					want = append(want, fmt.Sprint(id, topic, p))
				}
			}
		}
		most := rng.IntN(60)
		r := ask(&Committed{Max: most})
		for _, o := range r.Offsets {
			got = append(got, fmt.Sprint(o.Group, o.Topic, o.Partition))
		}
		if !slices.Equal(got, want[:min(most, len(want))]) || r.LeftOut != max(0, len(want)-most) {
			t.Fatalf("at most %d: %v and %d more, want of %v", most, got, r.LeftOut, want)
		}
		one := 0
		for _, of := range m.offsets[id] {
			one += len(of)
		}
		if r := ask(&Committed{Group: id, Max: 100}); len(r.Offsets) != one || r.LeftOut != 0 {
			t.Fatalf("of %s: %+v, want %d", id, r, one)
		}
	}
}
