package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/protocol"
)

// AlterReplicaLogDirs, versions 1 and 2: which data folder a partition's log is to lie in. It is answered at once; the
// move goes on in the background, and DescribeLogDirs tells how far it is.

func handleAlterReplicaLogDirs(b *Broker, r *request) {
	req := r.msg.(*kmsg.AlterReplicaLogDirsRequest)
	resp := req.ResponseKind().(*kmsg.AlterReplicaLogDirsResponse)
	var order []protocol.TopicPartition
	target := map[protocol.TopicPartition]string{}
	for _, d := range req.Dirs {
		for _, t := range d.Topics {
			for _, number := range t.Partitions {
				tp := protocol.TopicPartition{Topic: t.Topic, Partition: number}
				if _, twice := target[tp]; !twice {
					order = append(order, tp)
				}
				target[tp] = d.Dir // of two folders the last one holds, as in Kafka's map
			}
		}
	}
	index := map[string]int{} // of topics
	for _, tp := range order {
		i, known := index[tp.Topic]
		if !known {
			i = len(resp.Topics)
			index[tp.Topic] = i
			rt := kmsg.NewAlterReplicaLogDirsResponseTopic()
			rt.Topic = tp.Topic
			resp.Topics = append(resp.Topics, rt)
		}
		rp := kmsg.NewAlterReplicaLogDirsResponseTopicPartition()
		rp.Partition, rp.ErrorCode = tp.Partition, int16(b.moveLog(tp, target[tp]))
		resp.Topics[i].Partitions = append(resp.Topics[i].Partitions, rp)
	}
	r.Reply(resp)
}

// moveLog has one log moved. The folder must be named as DescribeLogDirs names it: Kafka compares texts.
func (b *Broker) moveLog(tp protocol.TopicPartition, dir string) protocol.Code {
	name := ""
	for _, d := range b.store.Dirs() {
		if b.absolute(d.Path) == dir {
			name = d.Path
		}
	}
	err := b.store.Move(tp, name)
	if err == nil {
		return protocol.None
	}
	code := protocol.CodeOf(err)
	if t := b.partitions.topic(tp.Topic); code == protocol.ReplicaNotAvailable && (t == nil || !t.has(tp.Partition)) {
		code = protocol.UnknownTopicOrPartition
	}
	b.log.Warn("cannot move a log", "topic", tp.Topic, "partition", tp.Partition, "to", dir, "err", err)
	return code
}
