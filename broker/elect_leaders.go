package broker

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
)

// ElectLeaders, versions 0 to 2 (KIP-183, KIP-460).
//
//	v1  unclean elections; an error for all

const (
	electPreferred int8 = 0
	electUnclean   int8 = 1
)

func handleElectLeaders(b *Broker, r *request) {
	req := r.msg.(*kmsg.ElectLeadersRequest)
	resp := req.ResponseKind().(*kmsg.ElectLeadersResponse)
	cmd := meta.ElectLeaders{All: req.Topics == nil}
	if r.version() >= 1 {
		cmd.Unclean = req.ElectionType == electUnclean
	}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			cmd.Partitions = append(cmd.Partitions, protocol.TopicPartition{Topic: t.Topic, Partition: p})
		}
	}
	err := error(nil)
	if r.version() >= 1 && req.ElectionType != electPreferred && req.ElectionType != electUnclean {
		err = protocol.Errorf(protocol.InvalidRequest, "there is no election of type %d", req.ElectionType)
	}
	var reply meta.Reply
	if err == nil {
		ctx, cancel := adminContext(r, req.TimeoutMillis)
		defer cancel()
		reply, err = b.propose(ctx, cmd)
	}
	var results []meta.PartitionResult
	if err != nil {
		err = adminError(err)
		resp.ErrorCode = int16(protocol.CodeOf(err))
		for _, tp := range cmd.Partitions { // each is told, as the oldest version has nowhere else to say it
			results = append(results, meta.PartitionResult{Partition: tp, Outcome: meta.OutcomeOf(err)})
		}
	} else {
		results = reply.(meta.ElectLeadersReply).Partitions
	}
	for _, p := range results {
		rp := kmsg.NewElectLeadersResponseTopicPartition()
		rp.Partition, rp.ErrorCode = p.Partition.Partition, int16(p.Outcome.Code)
		rp.ErrorMessage = errorText(p.Outcome.Err())
		i := slices.IndexFunc(resp.Topics, func(t kmsg.ElectLeadersResponseTopic) bool {
			return t.Topic == p.Partition.Topic
		})
		if i < 0 {
			i = len(resp.Topics)
			rt := kmsg.NewElectLeadersResponseTopic()
			rt.Topic = p.Partition.Topic
			resp.Topics = append(resp.Topics, rt)
		}
		resp.Topics[i].Partitions = append(resp.Topics[i].Partitions, rp)
	}
	r.Reply(resp)
}
