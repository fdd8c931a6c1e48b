package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/protocol"
)

// DeleteRecords, versions 0 to 2: moves the start of logs forward. Offset -1 means the high watermark (rule 78).

func handleDeleteRecords(b *Broker, r *request) {
	req := r.msg.(*kmsg.DeleteRecordsRequest)
	resp := req.ResponseKind().(*kmsg.DeleteRecordsResponse)
	moved := false
	for _, t := range req.Topics {
		rt := kmsg.NewDeleteRecordsResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewDeleteRecordsResponseTopicPartition()
			rp.Partition = p.Partition
			low, err := b.deleteRecords(protocol.TopicPartition{Topic: t.Topic, Partition: p.Partition},
				protocol.Offset(p.Offset))
			rp.LowWatermark, rp.ErrorCode = int64(low), int16(b.readCode(err, t.Topic, p.Partition))
			moved = moved || err == nil
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	if moved {
		// Where logs begin is written now and then, as in Kafka; but who deletes records wants them gone, also after a crash.
		if err := b.store.Checkpoint(nil); err != nil {
			b.firsts.warn(b.log, "checkpoint", "cannot write where logs begin", "err", err)
		}
	}
	r.Reply(resp)
}

// deleteRecords moves a partition's start to offset, and returns where it is then.
func (b *Broker) deleteRecords(tp protocol.TopicPartition, offset protocol.Offset) (protocol.Offset, error) {
	if t := b.partitions.topic(tp.Topic); t != nil && t.internal {
		return -1, protocol.InvalidTopicException
	}
	p, err := b.partitions.leader(tp)
	if err != nil {
		return -1, err
	}
	if rules := p.rules.Load(); rules.batch.Compacted && !rules.deletes { // also where nothing is ever deleted by itself
		return -1, protocol.PolicyViolation
	}
	hw := p.highWatermark()
	if offset == -1 {
		offset = hw
	}
	if offset < 0 || offset > hw {
		return -1, protocol.OffsetOutOfRange
	}
	if offset > p.log.Bounds().Start {
		if err := p.log.Advance(offset); err != nil {
			return -1, err
		}
	}
	return p.log.Bounds().Start, nil
}
