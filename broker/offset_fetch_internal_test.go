package broker

import (
	"testing"

	"moldau.io/moldau/coordinator/group"
	"moldau.io/moldau/protocol"
)

// A partition that an open transaction commits to is answered with its own error, beside others without one (KIP-447).
func TestC75_AnUnstablePartitionHasItsOwnError(t *testing.T) {
	f := &offsetFetch{}
	g := f.answer(&group.FetchResult{Topics: []group.FetchedTopic{{Topic: "t", Partitions: []group.FetchedPartition{
		{Partition: 0, Offset: -1, LeaderEpoch: -1, Code: protocol.UnstableOffsetCommit}, {Partition: 1, Offset: 5},
	}}}})
	ps := g.Topics[0].Partitions
	if g.ErrorCode != 0 || ps[0].ErrorCode != 88 || ps[0].Offset != -1 || ps[1].ErrorCode != 0 || ps[1].Offset != 5 {
		t.Errorf("%+v", g)
	}
}
