package coordinator

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"moldau.io/moldau/coordinator/group"
	"moldau.io/moldau/protocol"
)

// BenchmarkLoad replays a million commits: 2,000 groups, 50 partitions each, ten times over.
func BenchmarkLoad(b *testing.B) {
	log := newMemLog()
	var w writer
	var records []group.Record
	write := func() {
		if _, err := log.Append(w.batch(1, records)); err != nil {
			b.Fatal(err)
		}
		records = records[:0]
	}
	const commits = 1_000_000
	for i := range commits {
		records = append(records, group.Record{
			Group: fmt.Sprint("group-", i/50%2000), Topic: "topic", Partition: int32(i % 50),
			Value: &group.Commit{Offset: protocol.Offset(i), LeaderEpoch: 1, Timestamp: int64(i), Expires: -1},
		})
		if len(records) == 100 {
			write()
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		s := &shard{log: log, cfg: group.DefaultConfig(), topics: onePartition{}, logger: slog.New(slog.DiscardHandler)}
		if err := s.load(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(commits)*float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}

// BenchmarkHeartbeat is one heartbeat of one of 500 members, through the machine only.
func BenchmarkHeartbeat(b *testing.B) {
	m, ids := bigGroup(b, 500)
	now := time.Now()
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Millisecond)
		if m.Deadline().Before(now) {
			m.Tick(now)
		}
		m.Handle(now, 1, &group.Heartbeat{Group: "g", Member: ids[i%len(ids)], Generation: 1})
		i++
	}
}

// BenchmarkCommit is commits of many clients at once through a shard.
func BenchmarkCommit(b *testing.B) {
	log := newMemLog()
	g := NewGroups(group.DefaultConfig(), onePartition{}, slog.New(slog.NewTextHandler(io.Discard, nil)))
	defer g.Close()
	g.Lead(0, log)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		done := make(chan struct{}, 1)
		for i := 0; pb.Next(); i++ {
			g.Submit("g", commitOf("g", protocol.Offset(i)), func(group.Response) { done <- struct{}{} })
			<-done
		}
	})
}

// bigGroup is a machine with one stable group of n members.
func bigGroup(tb testing.TB, n int) (*group.Machine, []string) {
	tb.Helper()
	m := group.New(group.DefaultConfig(), onePartition{}, newRand())
	now := time.Now()
	m.Loaded(now)
	var ids []string
	leader := ""
	take := func(eff group.Effects) {
		for _, r := range eff.Records {
			m.Apply(r)
		}
		for _, r := range eff.Replies {
			if j, ok := r.Resp.(*group.JoinResult); ok {
				if j.Code != protocol.None {
					tb.Fatal(j.Code)
				}
				ids = append(ids, j.Member)
				leader = j.Leader
			}
		}
	}
	for i := range n {
		take(m.Handle(now, group.Ticket(i+1), &group.Join{
			Group: "g", Type: "consumer", Protocols: []group.Protocol{{Name: "range", Metadata: make([]byte, 50)}},
			Session: 45 * time.Second, Rebalance: 5 * time.Minute,
		}))
	}
	take(m.Tick(now.Add(3 * time.Second)))
	take(m.Tick(now.Add(6 * time.Second)))
	take(m.Handle(now, 1, &group.Sync{Group: "g", Member: leader, Generation: 1}))
	if len(ids) != n {
		tb.Fatalf("%d of %d members joined", len(ids), n)
	}
	return m, ids
}

// TestC81_FiveHundredMembersRebalance bounds the work of a rebalance: it must not grow with the square of the members.
func TestC81_FiveHundredMembersRebalance(t *testing.T) {
	began := time.Now()
	m, ids := bigGroup(t, 500)
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("500 members took %v to join", d)
	}
	if n := m.Count()[group.Stable]; n != 1 || len(ids) != 500 {
		t.Errorf("%d stable groups", n)
	}
}
