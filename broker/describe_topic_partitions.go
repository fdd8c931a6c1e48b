package broker

import (
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
)

// DescribeTopicPartitions, version 0 (KIP-966): what Metadata says of topics, page by page.

func handleDescribeTopicPartitions(b *Broker, r *request) {
	req := r.msg.(*kmsg.DescribeTopicPartitionsRequest)
	resp := req.ResponseKind().(*kmsg.DescribeTopicPartitionsResponse)
	limit := min(req.ResponsePartitionLimit, int32(b.static.Int("max.request.partition.size.limit")))
	d := topicPages{b: b, r: r, im: b.image(), left: max(limit, 1), resp: resp}
	names := requestedNames(req)
	if len(names) > 0 && names[0] == "" { // Kafka stumbles over the name that nothing has, and answers nothing else
		d.refuse(req, protocol.UnknownServerError)
		r.Reply(resp)
		return
	}
	if len(req.Topics) == 0 {
		d.all = true
		for _, t := range d.im.Topics() {
			names = append(names, t.Name)
		}
	}
	first := int32(0)
	if c := req.Cursor; c != nil {
		i, found := slices.BinarySearch(names, c.Topic)
		if c.Partition < 0 || !found && !d.all {
			d.refuse(req, protocol.InvalidRequest) // no broker has given this cursor to this client
			r.Reply(resp)
			return
		}
		names = names[i:]
		if found {
			first = c.Partition
		}
	}
	for i, name := range names {
		if d.left == 0 {
			resp.NextCursor = &kmsg.DescribeTopicPartitionsResponseNextCursor{Topic: name}
			break
		}
		if i > 0 {
			first = 0
		}
		if next := d.topic(name, first); next > 0 {
			resp.NextCursor = &kmsg.DescribeTopicPartitionsResponseNextCursor{Topic: name, Partition: next}
			break
		}
	}
	r.Reply(resp)
}

// requestedNames is the topics of the request, sorted, each once.
func requestedNames(req *kmsg.DescribeTopicPartitionsRequest) []string {
	names := make([]string, 0, len(req.Topics))
	for _, t := range req.Topics {
		names = append(names, t.Topic)
	}
	slices.SortFunc(names, strings.Compare)
	return slices.Compact(names)
}

// topicPages is one answer in the making.
type topicPages struct {
	b    *Broker
	r    *request
	im   *meta.Image
	all  bool  // the client has named no topics
	left int32 // partitions that still go into this page
	resp *kmsg.DescribeTopicPartitionsResponse
}

// refuse answers every topic of the request with one code.
func (d *topicPages) refuse(req *kmsg.DescribeTopicPartitionsRequest, code protocol.Code) {
	for _, t := range req.Topics {
		rt := kmsg.NewDescribeTopicPartitionsResponseTopic()
		rt.Topic, rt.ErrorCode = &t.Topic, int16(code)
		d.resp.Topics = append(d.resp.Topics, rt)
	}
}

// topic adds one topic from partition first on, and returns the partition with which the next page begins, 0 if the topic is
// complete.
func (d *topicPages) topic(name string, first int32) int32 {
	t := d.im.Topic(name)
	rt := kmsg.NewDescribeTopicPartitionsResponseTopic()
	rt.Topic, rt.IsInternal, rt.AuthorizedOperations = &name, meta.IsInternal(name), topicOperations
	if t == nil {
		rt.ErrorCode = int16(protocol.UnknownTopicOrPartition)
		if meta.CheckTopicName(name) != nil {
			rt.ErrorCode = int16(protocol.InvalidTopicException)
		}
		d.resp.Topics = append(d.resp.Topics, rt)
		return 0
	}
	rt.TopicID = t.ID
	first = min(first, int32(len(t.Partitions)))
	end := min(int32(len(t.Partitions)), first+d.left)
	for i := first; i < end; i++ {
		rt.Partitions = append(rt.Partitions, d.partition(t, i))
	}
	d.left -= end - first
	d.resp.Topics = append(d.resp.Topics, rt)
	if end < int32(len(t.Partitions)) {
		return end
	}
	return 0
}

func (d *topicPages) partition(t *meta.Topic, i int32) kmsg.DescribeTopicPartitionsResponseTopicPartition {
	rp := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
	p, offline := d.b.seen(d.r, d.im, t, int(i))
	rp.Partition, rp.LeaderID, rp.LeaderEpoch = i, int32(p.Leader), int32(p.LeaderEpoch)
	rp.Replicas, rp.ISR = brokerIDs(p.Replicas), brokerIDs(p.ISR)
	rp.EligibleLeaderReplicas, rp.LastKnownELR = brokerIDs(p.ELR), brokerIDs(p.LastKnownELR)
	rp.OfflineReplicas = offline
	lead := d.im.Broker(p.Leader)
	if lead == nil || lead.Fenced {
		rp.LeaderID = -1 // no error, unlike in Metadata
	} else if _, ok := lead.Listener(d.r.listener()); !ok {
		rp.LeaderID = -1
	}
	return rp
}
