package group

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// crowd is a group of n members that have joined, a second apart by the thousand, and have come to rest.
func crowd(tb testing.TB, n, partitions int) (*Machine, time.Time) {
	topics := &fakeTopics{}
	topics.set("t", partitions)
	m := New(DefaultConfig(), topics, rand.New(rand.NewPCG(1, 1)))
	now := time.UnixMilli(1_700_000_000_000)
	apply(m, m.Loaded(now))
	for i := range n {
		apply(m, m.Handle(now, 1, joining(i)))
		now = now.Add(time.Millisecond)
	}
	settle(m, &now, n)
	if s := m.consumers["g"].state(); s != Stable {
		tb.Fatalf("the group is %s", s)
	}
	return m, now
}

func apply(m *Machine, eff Effects) {
	for _, r := range eff.Records {
		m.Apply(r)
	}
}

func joining(i int) *ConsumerHeartbeat {
	return &ConsumerHeartbeat{
		Group: "g", Member: fmt.Sprintf("member-%d", i), Rebalance: time.Minute, Topics: []string{"t"},
		Owned: []TopicPartitions{}, ClientID: "c", ClientHost: "/h", MemberIDRequired: true,
	}
}

// settle lets all members send heartbeats until they have what they are to have. They say what they have, as clients do
// that were told to give something back.
func settle(m *Machine, now *time.Time, n int) {
	for range 4 {
		*now = now.Add(5 * time.Second)
		for i := range n {
			mem := m.consumers["g"].members[fmt.Sprintf("member-%d", i)]
			apply(m, m.Handle(*now, 1, &ConsumerHeartbeat{
				Group: "g", Member: mem.id, Epoch: mem.cur.Epoch, Rebalance: unchangedRebalance, Owned: withoutEpochs(mem.cur.Assigned),
				ClientID: "c", ClientHost: "/h", MemberIDRequired: true,
			}))
		}
	}
}

// A heartbeat that says nothing new allocates its answer and nothing else, however large the group is.
func TestAQuietHeartbeatAllocatesItsAnswerOnly(t *testing.T) {
	m, now := crowd(t, 200, 600)
	mem := m.consumers["g"].members["member-7"]
	r := &ConsumerHeartbeat{
		Group: "g", Member: "member-7", Epoch: mem.cur.Epoch, Rebalance: unchangedRebalance, ClientID: "c", ClientHost: "/h",
		MemberIDRequired: true,
	}
	if n := testing.AllocsPerRun(1000, func() {
		now = now.Add(time.Millisecond)
		if eff := m.Handle(now, 1, r); len(eff.Records)+len(eff.Events) > 0 {
			t.Fatal("it says something new")
		}
	}); n > 1 {
		t.Errorf("%v allocations", n)
	}
}

// The work of a join must not grow with the group, but for the targets that are computed once in an interval.
func TestJoinsOfALargeGroupAreNotQuadratic(t *testing.T) {
	allocs := func(n int) float64 {
		m, now := crowd(t, n, 100)
		i := n
		return testing.AllocsPerRun(50, func() { // no time passes: no target
			m.Handle(now, 1, joining(i))
			i++
			m.consumers["g"].targetTime = now.UnixMilli()
		})
	}
	if small, large := allocs(10), allocs(400); large > 2*small {
		t.Errorf("a join of a group of 10 allocates %v times, of one of 400 %v times", small, large)
	}
}

func BenchmarkConsumerHeartbeat(b *testing.B) {
	m, now := crowd(b, 500, 1000)
	mem := m.consumers["g"].members["member-7"]
	r := &ConsumerHeartbeat{
		Group: "g", Member: "member-7", Epoch: mem.cur.Epoch, Rebalance: unchangedRebalance, ClientID: "c", ClientHost: "/h",
		MemberIDRequired: true,
	}
	b.ReportAllocs()
	for b.Loop() {
		m.Handle(now, 1, r)
	}
}

// BenchmarkConsumerGroupOf500 is 500 members that join a group a millisecond apart and come to rest.
func BenchmarkConsumerGroupOf500(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		crowd(b, 500, 1000)
	}
}
