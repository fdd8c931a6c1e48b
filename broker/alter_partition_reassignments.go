package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
)

// AlterPartitionReassignments, versions 0 and 1 (KIP-455): which brokers are to hold partitions from now on. Null replicas
// cancel what goes on.
//
//	v1  whether the number of replicas may change (KIP-860)

func handleAlterPartitionReassignments(b *Broker, r *request) {
	req := r.msg.(*kmsg.AlterPartitionAssignmentsRequest)
	resp := req.ResponseKind().(*kmsg.AlterPartitionAssignmentsResponse)
	resp.AllowReplicationFactorChange = true
	cmd := meta.AlterReassignments{}
	if r.version() >= 1 {
		cmd.KeepFactor = !req.AllowReplicationFactorChange
		resp.AllowReplicationFactorChange = req.AllowReplicationFactorChange
	}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			want := meta.Reassignment{Partition: protocol.TopicPartition{Topic: t.Topic, Partition: p.Partition}}
			if p.Replicas != nil {
				want.Replicas = toBrokerIDs(p.Replicas)
			}
			cmd.Partitions = append(cmd.Partitions, want)
		}
	}
	ctx, cancel := adminContext(r, req.TimeoutMillis)
	defer cancel()
	reply, err := b.propose(ctx, cmd)
	if err != nil {
		err = adminError(err)
		resp.ErrorCode, resp.ErrorMessage = int16(protocol.CodeOf(err)), errorText(err)
		reply = meta.AlterReassignmentsReply{Partitions: make([]meta.PartitionResult, len(cmd.Partitions))}
		for i := range cmd.Partitions { // each is told too, with the code alone
			reply.(meta.AlterReassignmentsReply).Partitions[i].Outcome.Code = protocol.CodeOf(err)
		}
	}
	results := reply.(meta.AlterReassignmentsReply).Partitions
	for _, t := range req.Topics {
		rt := kmsg.NewAlterPartitionAssignmentsResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
			err := results[0].Outcome.Err()
			rp.Partition, rp.ErrorCode, rp.ErrorMessage = p.Partition, int16(protocol.CodeOf(err)), errorText(err)
			rt.Partitions = append(rt.Partitions, rp)
			results = results[1:]
		}
		resp.Topics = append(resp.Topics, rt)
	}
	r.Reply(resp)
}
