package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/cluster/meta"
)

// ListPartitionReassignments, version 0 (KIP-455): which partitions are on their way to other brokers. Null topics ask for all;
// topics and partitions that there are not, and those that are where they are to be, are left out.

func handleListPartitionReassignments(b *Broker, r *request) {
	req := r.msg.(*kmsg.ListPartitionReassignmentsRequest)
	resp := req.ResponseKind().(*kmsg.ListPartitionReassignmentsResponse)
	im := b.image()
	add := func(t *meta.Topic, partitions []int32) {
		rt := kmsg.NewListPartitionReassignmentsResponseTopic()
		rt.Topic = t.Name
		for _, i := range partitions {
			p, ok := t.Partition(i)
			if !ok || !p.Reassigned() {
				continue
			}
			rp := kmsg.NewListPartitionReassignmentsResponseTopicPartition()
			rp.Partition, rp.Replicas = i, brokerIDs(p.Replicas)
			rp.AddingReplicas, rp.RemovingReplicas = brokerIDs(p.Adding), brokerIDs(p.Removing)
			rt.Partitions = append(rt.Partitions, rp)
		}
		if len(rt.Partitions) > 0 {
			resp.Topics = append(resp.Topics, rt)
		}
	}
	if req.Topics == nil {
		for _, t := range im.Topics() {
			all := make([]int32, len(t.Partitions))
			for i := range all {
				all[i] = int32(i)
			}
			add(t, all)
		}
	}
	for _, rt := range req.Topics {
		if t := im.Topic(rt.Topic); t != nil {
			add(t, rt.Partitions)
		}
	}
	r.Reply(resp)
}
