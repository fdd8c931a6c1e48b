package group

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// BenchmarkCommitted is what a scrape costs the coordinator: 10,000 offsets of a machine that has many more.
func BenchmarkCommitted(b *testing.B) {
	for _, groups := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(groups, "groups"), func(b *testing.B) {
			m := New(DefaultConfig(), &fakeTopics{}, rand.New(rand.NewPCG(1, 1)))
			for g := range groups {
				for p := range int32(10) {
					m.Apply(commitRecord(fmt.Sprint("group-", g), "rides", p, &Commit{Offset: 1}))
				}
			}
			now := time.UnixMilli(1_700_000_000_000)
			b.ReportAllocs()
			for b.Loop() {
				eff := m.Handle(now, 1, &Committed{Max: 10_000})
				if n := len(eff.Replies[0].Resp.(*CommittedResult).Offsets); n != 10_000 {
					b.Fatal(n)
				}
			}
		})
	}
}
