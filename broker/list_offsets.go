package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/protocol"
)

// ListOffsets, versions 1 to 11.
//
//	v2   isolation level
//	v4   leader epoch in the request and the answer
//	v7   the offset of the largest timestamp (timestamp -3, KIP-734)
//	v8   the earliest offset on local disks (-4, KIP-405); without a remote tier, the earliest
//	v9   the latest offset in the remote tier (-5); without one there is none
//	v10  a timeout in the request, for remote lookups
//	v11  the earliest offset not yet in the remote tier (-6); without one there is none

// The timestamps that mean something else.
const (
	timestampLatest          = -1
	timestampEarliest        = -2
	timestampMax             = -3
	timestampEarliestLocal   = -4
	timestampLatestTiered    = -5
	timestampEarliestPending = -6
)

// timestampSince is the version from which on a special timestamp is known.
var timestampSince = map[int64]int16{
	timestampLatest: 1, timestampEarliest: 1, timestampMax: 7, timestampEarliestLocal: 8,
	timestampLatestTiered: 9, timestampEarliestPending: 11,
}

func handleListOffsets(b *Broker, r *request) {
	req := r.msg.(*kmsg.ListOffsetsRequest)
	resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
	seen := map[protocol.TopicPartition]int{}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			seen[protocol.TopicPartition{Topic: t.Topic, Partition: p.Partition}]++
		}
	}
	for _, t := range req.Topics {
		rt := kmsg.NewListOffsetsResponseTopic()
		rt.Topic = t.Topic
		for i := range t.Partitions {
			p := &t.Partitions[i]
			rp := kmsg.NewListOffsetsResponseTopicPartition()
			rp.Partition, rp.Offset, rp.Timestamp, rp.LeaderEpoch = p.Partition, -1, -1, -1
			tp := protocol.TopicPartition{Topic: t.Topic, Partition: p.Partition}
			var err error
			switch times := seen[tp]; {
			case times == 0:
				continue // answered already
			case times > 1:
				seen[tp] = 0
				err = protocol.InvalidRequest // the same partition more than once, answered once (rule 76)
			default:
				err = b.listOffset(req, t.Topic, p, &rp)
			}
			rp.ErrorCode = int16(b.readCode(err, t.Topic, p.Partition))
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	r.Reply(resp)
}

// readCode is the code for an error of a request that reads a log: one without a code of its own is the disk's.
func (b *Broker) readCode(err error, topic string, partition int32) protocol.Code {
	code := protocol.CodeOf(err)
	if code != protocol.UnknownServerError {
		return code
	}
	b.firsts.warn(b.log, "read "+topic, "cannot read", "topic", topic, "partition", partition, "err", err)
	return protocol.KafkaStorageError
}

// listOffset answers for one partition (Partition.fetchOffsetForTimestamp).
func (b *Broker) listOffset(req *kmsg.ListOffsetsRequest, topic string, asked *kmsg.ListOffsetsRequestTopicPartition,
	answer *kmsg.ListOffsetsResponseTopicPartition) error {
	if asked.Timestamp < 0 {
		since, known := timestampSince[asked.Timestamp]
		if !known || req.Version < since {
			return protocol.UnsupportedVersion
		}
	}
	p, err := b.partitions.leader(protocol.TopicPartition{Topic: topic, Partition: asked.Partition})
	if err != nil {
		return err
	}
	if asked.CurrentLeaderEpoch < -1 {
		return protocol.FencedLeaderEpoch // only -1 means that it is not to be compared, unlike in Fetch
	}
	if err := p.fence(protocol.Epoch(asked.CurrentLeaderEpoch)); err != nil {
		return err
	}
	limit := p.limit(req.IsolationLevel)
	if req.ReplicaID != -1 {
		limit = p.log.Bounds().End // a replica, or somebody who plays one to look behind the high watermark
	}
	// After an election the high watermark may be behind what an earlier leader has shown to consumers. What is not below it
	// cannot be told then, else consumers would go back (KIP-207, rule 76).
	var behind error
	if req.ReplicaID == -1 && p.catchesUp() {
		behind = protocol.OffsetNotAvailable
		if req.Version < 5 {
			behind = protocol.LeaderNotAvailable
		}
	}
	set := func(offset protocol.Offset, timestamp int64, epoch protocol.Epoch) {
		answer.Offset, answer.Timestamp, answer.LeaderEpoch = int64(offset), timestamp, int32(epoch)
	}
	switch asked.Timestamp {
	case timestampLatest:
		if behind != nil {
			return behind
		}
		set(limit, -1, protocol.Epoch(p.epoch.Load()))
	case timestampEarliest, timestampEarliestLocal:
		start := p.log.Bounds().Start
		set(start, -1, p.epochAt(start))
	case timestampLatestTiered, timestampEarliestPending:
		// There is no remote tier, so there is no such offset.
	case timestampMax:
		found, ok, err := p.log.MaxTimestamp()
		if err != nil {
			return err
		}
		if ok && found.Offset < limit {
			set(found.Offset, found.Timestamp, found.Epoch)
			return nil
		}
		return behind
	default:
		found, ok, err := p.log.OffsetAt(asked.Timestamp, limit)
		if err != nil {
			return err
		}
		if ok && found.Offset < limit {
			set(found.Offset, found.Timestamp, found.Epoch)
			return nil
		}
		return behind
	}
	return nil
}

// epochAt is the leader epoch that offset was appended in, as far as is known, else -1.
func (p *Partition) epochAt(offset protocol.Offset) protocol.Epoch {
	return p.log.Epochs().At(offset)
}
