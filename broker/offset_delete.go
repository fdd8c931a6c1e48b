package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/coordinator/group"
	"moldau.io/moldau/protocol"
)

// OffsetDelete, version 0 (KIP-496). Partitions that do not exist are answered first, as in OffsetCommit.

func handleOffsetDelete(b *Broker, r *request) {
	req := r.msg.(*kmsg.OffsetDeleteRequest)
	resp := req.ResponseKind().(*kmsg.OffsetDeleteResponse)
	del := &group.DeleteOffsets{Group: req.Group}
	at := map[string]int{}
	add := func(topic string, partition int32, code protocol.Code) {
		i, ok := at[topic]
		if !ok {
			i = len(resp.Topics)
			at[topic] = i
			resp.Topics = append(resp.Topics, kmsg.OffsetDeleteResponseTopic{Topic: topic})
		}
		resp.Topics[i].Partitions = append(resp.Topics[i].Partitions, kmsg.OffsetDeleteResponseTopicPartition{
			Partition: partition, ErrorCode: int16(code),
		})
	}
	im := b.image()
	for _, t := range req.Topics {
		known := im.Topic(t.Topic)
		for _, p := range t.Partitions {
			if known == nil || p.Partition < 0 || int(p.Partition) >= len(known.Partitions) {
				add(t.Topic, p.Partition, protocol.UnknownTopicOrPartition)
				continue
			}
			del.Partitions = append(del.Partitions, group.DeletePartition{Topic: t.Topic, Partition: p.Partition})
		}
	}
	b.groups.Submit(req.Group, del, func(answer group.Response) {
		res := answer.(*group.DeleteOffsetsResult)
		if res.Code != protocol.None {
			resp.ErrorCode, resp.Topics = int16(res.Code), nil
		}
		for _, p := range res.Partitions {
			add(p.Topic, p.Partition, p.Code)
		}
		r.Reply(resp)
	})
}
