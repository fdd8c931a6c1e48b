package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/protocol"
)

// OffsetForLeaderEpoch, versions 2 to 4: where an epoch ended, so that a client or a follower finds where its history
// and the leader's part (KIP-101, KIP-320).
//
//	v3  replica id in the request

func handleOffsetForLeaderEpoch(b *Broker, r *request) {
	req := r.msg.(*kmsg.OffsetForLeaderEpochRequest)
	resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewOffsetForLeaderEpochResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			rp.Partition, rp.LeaderEpoch, rp.EndOffset = p.Partition, -1, -1
			part, err := b.partitions.here(protocol.TopicPartition{Topic: t.Topic, Partition: p.Partition})
			if err == nil {
				err = part.fence(protocol.Epoch(p.CurrentLeaderEpoch))
			}
			if err == nil {
				epoch, end := part.log.EpochEnd(protocol.Epoch(p.LeaderEpoch))
				rp.LeaderEpoch, rp.EndOffset = int32(epoch), int64(end)
			}
			rp.ErrorCode = int16(b.readCode(err, t.Topic, p.Partition))
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	r.Reply(resp)
}
