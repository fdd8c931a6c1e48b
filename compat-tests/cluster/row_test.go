//go:build compat

package cluster

import (
	"fmt"
	"slices"
	"testing"

	"moldau.io/moldau/compat-tests/harness"
)

const (
	drainPartitions = 192
	drainThreads    = 8
	drainEvents     = 1_500_000
)

// TestUseCaseCluster: each of three brokers leads some partitions and follows others, every broker names the same leaders, and
// one group of eight threads drains 192 partitions. What it reaches is printed; bench/cluster holds it against Apache Kafka.
func TestUseCaseCluster(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil, harness.ClusterConfig{})
	s.topic("events", drainPartitions)
	s.whole(3)
	var first string
	for i, b := range s.cluster.Brokers {
		resp, err := b.Metadata(t.Context(), harness.AnswerLimit, "events")
		if err != nil {
			t.Fatal(err)
		}
		leads, follows := map[int32]int{}, map[int32]int{}
		var leaders []string
		for _, p := range resp.Topics[0].Partitions {
			leads[p.Leader]++
			for _, r := range p.Replicas {
				if r != p.Leader {
					follows[r]++
				}
			}
			leaders = append(leaders, fmt.Sprintf("%d:%d/%d", p.Partition, p.Leader, p.LeaderEpoch))
		}
		slices.Sort(leaders)
		if text := fmt.Sprint(leaders); i == 0 {
			first = text
			s.say("leads %v, follows %v", leads, follows)
		} else if text != first {
			t.Errorf("%s names other leaders: %s\n%s", b.Addr, text, first)
		}
		for _, m := range resp.Brokers {
			if leads[m.NodeID] < drainPartitions/4 || follows[m.NodeID] < drainPartitions/2 {
				t.Errorf("broker %d leads %d partitions and follows %d", m.NodeID, leads[m.NodeID], follows[m.NodeID])
			}
		}
	}
	// A client that knows one broker only learns of the others.
	one := s.cluster.Addrs()[2:]
	if err := Fill(t.Context(), one, "events", drainEvents); err != nil {
		t.Fatal(err)
	}
	s.say("%d events are written", drainEvents)
	got, err := Drain(t.Context(), one, "events", "drain", drainThreads, drainEvents)
	if err != nil {
		t.Fatal(err)
	}
	s.say("%d events drained by %d threads from %d partitions: %.0f a second, %d twice", got.Events, got.Members, drainPartitions,
		got.Rate(), got.Twice)
	if got.Members != drainThreads || got.Twice > 0 {
		t.Errorf("%+v", got)
	}
	s.whole(3)
	s.replicas()
}
