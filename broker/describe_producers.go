package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
)

// DescribeProducers, version 0: who appends to a partition, and which transactions are open there (KIP-664).

func handleDescribeProducers(b *Broker, r *request) {
	req := r.msg.(*kmsg.DescribeProducersRequest)
	resp := req.ResponseKind().(*kmsg.DescribeProducersResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewDescribeProducersResponseTopic()
		rt.Topic = t.Topic
		for _, number := range t.Partitions {
			rp := kmsg.NewDescribeProducersResponseTopicPartition()
			rp.Partition = number
			err := meta.CheckTopicName(t.Topic)
			var p *Partition
			if err == nil {
				p, err = b.partitions.here(protocol.TopicPartition{Topic: t.Topic, Partition: number}) // followers know them too
				if err == nil && p.log.Failure() != nil {
					err = protocol.KafkaStorageError
				}
			}
			if err != nil {
				rp.ErrorCode = int16(protocol.CodeOf(err))
				if b.image().Topic(t.Topic) == nil {
					text := protocol.CodeOf(err).Message() // a topic that is not there is explained, a partition is not
					rp.ErrorMessage = &text
				}
			} else {
				for _, a := range p.log.Producers() {
					rp.ActiveProducers = append(rp.ActiveProducers, kmsg.DescribeProducersResponseTopicPartitionActiveProducer{
						ProducerID: a.ID, ProducerEpoch: int32(a.Epoch), LastSequence: a.LastSequence,
						LastTimestamp: a.LastTimestamp, CoordinatorEpoch: a.CoordinatorEpoch,
						CurrentTxnStartOffset: int64(a.TxnFirst),
					})
				}
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	r.Reply(resp)
}
