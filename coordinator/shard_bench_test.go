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

// BenchmarkLoad replays a million commits: 2,000 groups, 50 partitions each, ten times over. A third of them are consumer
// groups of four members, a third are classic ones.
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
	for i := range 2000 {
		switch id := fmt.Sprint("group-", i); i % 3 {
		case 0:
			records = consumerGroupRecords(records, id, 4)
		case 1:
			records = append(records, classicGroupRecord(id, 4))
		}
		if len(records) >= 100 {
			write()
		}
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
	g := NewGroups(group.DefaultConfig(), onePartition{}, slog.New(slog.DiscardHandler))
	defer g.Close()
	b.ReportAllocs()
	for b.Loop() {
		s := &shard{log: log, cfg: g.cfg, topics: g.topics, logger: g.logger, journal: g.journal, commits: &g.commits}
		if err := s.load(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(commits)*float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}

// consumerGroupRecords are a consumer group whose members have 12 partitions of one topic each.
func consumerGroupRecords(records []group.Record, id string, members int32) []group.Record {
	records = append(records, group.Record{Kind: group.KindEpoch, Group: id, Value: &group.Epoch{Epoch: 5, MetadataHash: 1}})
	for m := range members {
		name := fmt.Sprintf("%s-8f5b7d3e-member-%d", id, m)
		topic := group.TopicPartitions{ID: protocol.TopicID{1}}
		for p := range int32(12) {
			topic.Partitions = append(topic.Partitions, 12*m+p)
		}
		target := &group.MemberTarget{Topics: []group.TopicPartitions{topic}}
		topic.Epochs = make([]int32, len(topic.Partitions))
		records = append(records,
			group.Record{Kind: group.KindMember, Group: id, Name: name, Value: &group.Member{
				ClientID: "client", ClientHost: "/10.0.0.1", Topics: []string{"topic"}, RebalanceMillis: 300_000,
			}},
			group.Record{Kind: group.KindMemberTarget, Group: id, Name: name, Value: target},
			group.Record{Kind: group.KindCurrent, Group: id, Name: name, Value: &group.Current{
				Epoch: 5, PreviousEpoch: 4, Assigned: []group.TopicPartitions{topic},
			}})
	}
	return append(records, group.Record{Kind: group.KindTarget, Group: id, Value: &group.Target{Epoch: 5, Timestamp: 1}})
}

// classicGroupRecord is a stable classic group.
func classicGroupRecord(id string, members int) group.Record {
	protocol, leader := "range", "member-0"
	saved := &group.Saved{Type: "consumer", Generation: 3, Protocol: &protocol, Leader: &leader, Since: 1}
	for m := range members {
		saved.Members = append(saved.Members, group.SavedMember{
			Member: fmt.Sprint("member-", m), ClientID: "client", ClientHost: "/10.0.0.1", Rebalance: 300_000, Session: 45_000,
			Metadata: make([]byte, 30), Assignment: make([]byte, 80),
		})
	}
	return group.Record{Kind: group.KindSaved, Group: id, Value: saved}
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
	if n := m.Count().Groups[group.Counted{State: group.Stable}]; n != 1 || len(ids) != 500 {
		t.Errorf("%d stable groups", n)
	}
}
