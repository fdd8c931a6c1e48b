package assignor

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"moldau.io/moldau/protocol"
)

// benchGroup is a group of members with topics of 100 partitions each. With mixed subscriptions a member has about half of
// the topics. compat-tests/groupmath gives Kafka the same.
func benchGroup(members, partitions int, mixed bool) Group {
	g := Group{Homogeneous: !mixed, Topics: map[string]TopicInfo{}}
	var names []string
	for i := range partitions / 100 {
		var id protocol.TopicID
		binary.BigEndian.PutUint64(id[:8], uint64(i+1)*0x9e3779b97f4a7c15)
		binary.BigEndian.PutUint64(id[8:], uint64(i+1)*0xc2b2ae3d27d4eb4f)
		name := fmt.Sprintf("topic-%03d", i)
		g.Topics[name] = TopicInfo{id, 100}
		names = append(names, name)
	}
	for i := range members {
		m := Member{ID: fmt.Sprintf("member-%05d", i), Names: names}
		if mixed {
			m.Names = nil
			for j, name := range names {
				if (uint32(i*31+j)*2654435761)>>16&1 == 0 {
					m.Names = append(m.Names, name)
				}
			}
		}
		g.Members = append(g.Members, m)
	}
	return g
}

// BenchmarkAssign assigns to a new group ("fresh") and again after one member of a group came ("joined").
func BenchmarkAssign(b *testing.B) {
	for _, size := range []struct{ members, partitions int }{{500, 1000}, {2000, 10_000}} {
		for _, kind := range []struct {
			name   string
			mixed  bool
			assign func(Group) (Assignment, error)
		}{{"range", false, Range}, {"uniform", false, Uniform}, {"uniform-mixed", true, Uniform}} {
			name := fmt.Sprintf("%s/%dx%d", kind.name, size.members, size.partitions)
			g := benchGroup(size.members, size.partitions, kind.mixed)
			b.Run(name+"/fresh", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := kind.assign(g); err != nil {
						b.Fatal(err)
					}
				}
			})
			before := g
			before.Members = slices.Clone(g.Members[:len(g.Members)-1])
			a, err := kind.assign(before)
			if err != nil {
				b.Fatal(err)
			}
			for i := range before.Members {
				g.Members[i].Target = a[g.Members[i].ID]
			}
			b.Run(name+"/joined", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := kind.assign(g); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
