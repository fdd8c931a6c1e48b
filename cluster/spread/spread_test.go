package spread

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// on is a topic whose partitions are on these brokers.
func on(topic string, replicas ...[]int32) (ps []Partition) {
	for i, r := range replicas {
		ps = append(ps, Partition{Topic: topic, Number: int32(i), Replicas: r, Bytes: int64(i)})
	}
	return ps
}

func brokers(racks ...string) (bs []Broker) {
	for i, r := range racks {
		bs = append(bs, Broker{ID: int32(i + 1), Rack: r})
	}
	return bs
}

func text(moves []Move) (lines []string) {
	for _, m := range moves {
		lines = append(lines, fmt.Sprint(m.Topic, "-", m.Number, " ", m.From, " ", m.To, " ", m.Bytes))
	}
	return lines
}

func TestPlans(t *testing.T) {
	for _, c := range []struct {
		what    string
		brokers []Broker
		parts   []Partition
		want    []string
	}{
		{"nothing", brokers("", ""), nil, nil},
		{"even", brokers("", ""), on("a", []int32{1, 2}, []int32{2, 1}), nil},
		{"no brokers", nil, on("a", []int32{1, 2}), nil},
		{"a new broker takes the lightest", brokers("", ""), on("a", []int32{1}, []int32{1}, []int32{1}), []string{"a-0 [1] [2] 0"}},
		{"leaders alone cost nothing", brokers("", ""), on("a", []int32{1, 2}, []int32{1, 2}), []string{"a-0 [1 2] [2 1] 0"}},
		{"leaders along a chain", brokers("", "", ""), on("a", []int32{1, 2}, []int32{1, 2}, []int32{2, 3}, []int32{3, 1}, []int32{2, 3},
			[]int32{1, 3}), []string{"a-5 [1 3] [3 1] 0"}},
		{"racks first", brokers("x", "x", "y"), on("a", []int32{1, 2}), []string{"a-0 [1 2] [3 2] 0"}},
		{"racks stay apart", brokers("x", "y", "y"), on("a", []int32{1, 2}, []int32{2, 1}, []int32{1, 2}, []int32{2, 1}),
			[]string{"a-0 [1 2] [1 3] 0", "a-1 [2 1] [3 1] 1"}},
		{"a broker that is not named keeps what it has", brokers("", ""), on("a", []int32{9}, []int32{9}, []int32{9}), nil},
		{"of the topic that is shared least evenly", brokers("", ""), append(on("a", []int32{1}, []int32{1}, []int32{1}),
			on("b", []int32{1}, []int32{2})...), []string{"a-0 [1] [2] 0"}},
	} {
		got := text(Plan(c.brokers, c.parts))
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}

// TestPlansAreEvenAndKeepWhatTheyMust plans for clusters drawn at random.
func TestPlansAreEvenAndKeepWhatTheyMust(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 7))
		racks := make([]string, 2+random.IntN(6))
		for i := range racks {
			if seed%3 > 0 {
				racks[i] = string(rune('a' + random.IntN(3)))
			}
		}
		bs := brokers(racks...)
		var parts []Partition
		for i := range random.IntN(60) {
			var rs []int32
			for _, b := range random.Perm(len(bs))[:1+random.IntN(min(3, len(bs)))] {
				rs = append(rs, bs[b].ID)
			}
			parts = append(parts, Partition{Topic: fmt.Sprint("t", i%4), Number: int32(i), Replicas: rs, Bytes: random.Int64N(100)})
		}
		moves := Plan(bs, parts)
		check(t, bs, parts, moves, seed%3 == 0)
		if again := Plan(bs, after(parts, moves)); len(again) > 0 {
			t.Errorf("a plan that has been carried out is followed by another: %v", text(again))
		}
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

func after(parts []Partition, moves []Move) []Partition {
	parts = slices.Clone(parts)
	for _, m := range moves {
		for i := range parts {
			if parts[i].Topic == m.Topic && parts[i].Number == m.Number {
				parts[i].Replicas = m.To
			}
		}
	}
	return parts
}

func check(t *testing.T, bs []Broker, parts []Partition, moves []Move, rackless bool) {
	t.Helper()
	rack := map[int32]string{}
	for _, b := range bs {
		rack[b.ID] = b.Rack
	}
	apart := func(ids []int32) int {
		seen := map[string]bool{}
		for _, id := range ids {
			seen[rack[id]] = true
		}
		return len(seen)
	}
	for _, m := range moves {
		to := slices.Compact(slices.Sorted(slices.Values(m.To)))
		if len(m.To) != len(m.From) || len(to) != len(m.To) || apart(m.To) < apart(m.From) {
			t.Errorf("%v -> %v in racks %v", m.From, m.To, rack)
		}
	}
	replicas, leads := map[int32]int{}, map[int32]int{}
	for _, p := range after(parts, moves) {
		leads[p.Replicas[0]]++
		for _, id := range p.Replicas {
			replicas[id]++
		}
	}
	if !rackless {
		return // racks may stand against an even count
	}
	for _, a := range bs {
		for _, b := range bs {
			if replicas[a.ID]-replicas[b.ID] > 1 {
				t.Errorf("uneven: %v", replicas)
			}
		}
	}
}

func BenchmarkPlan(b *testing.B) {
	bs := brokers("", "", "", "")
	var parts []Partition
	for i := range 10_000 {
		at := int32(i % 3)
		parts = append(parts, Partition{Topic: fmt.Sprint("t", i/10), Number: int32(i % 10),
			Replicas: []int32{at + 1, (at+1)%3 + 1, (at+2)%3 + 1}})
	}
	for b.Loop() {
		Plan(bs, parts)
	}
}
