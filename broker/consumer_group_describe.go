package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/coordinator/group"
	"moldau.io/moldau/protocol"
)

// ConsumerGroupDescribe, versions 0 and 1 (KIP-848). Groups of other types, and those that do not exist, are
// GROUP_ID_NOT_FOUND; their operations are not told.
//
//	v1  which protocol each member speaks (KIP-1099)

func handleConsumerGroupDescribe(b *Broker, r *request) {
	req := r.msg.(*kmsg.ConsumerGroupDescribeRequest)
	resp := req.ResponseKind().(*kmsg.ConsumerGroupDescribeResponse)
	resp.Groups = make([]kmsg.ConsumerGroupDescribeResponseGroup, len(req.Groups))
	all := newGather(len(req.Groups), func() { r.Reply(resp) })
	enabled, im := b.consumerGroups(), b.image()
	for i, id := range req.Groups {
		answer := func(answer group.Response) {
			resp.Groups[i] = describedConsumerGroup(req, id, im, answer.(*group.ConsumerDescribeResult))
			all.done()
		}
		switch {
		case !enabled:
			answer(&group.ConsumerDescribeResult{Code: protocol.UnsupportedVersion})
		case id == "":
			answer(&group.ConsumerDescribeResult{Code: protocol.InvalidGroupID})
		default:
			b.groups.Submit(id, &group.ConsumerDescribe{Group: id}, answer)
		}
	}
	all.start()
}

func describedConsumerGroup(req *kmsg.ConsumerGroupDescribeRequest, id string, im *meta.Image,
	res *group.ConsumerDescribeResult) kmsg.ConsumerGroupDescribeResponseGroup {
	g := kmsg.NewConsumerGroupDescribeResponseGroup()
	g.Group, g.ErrorCode = id, int16(res.Code)
	if res.Code != protocol.None {
		if res.Message != "" {
			g.ErrorMessage = &res.Message
		}
		return g
	}
	if req.IncludeAuthorizedOperations {
		g.AuthorizedOperations = groupOperations
	}
	g.State, g.Epoch, g.AssignmentEpoch, g.AssignorName = string(res.State), res.Epoch, res.AssignmentEpoch, res.Assignor
	for i := range res.Members {
		g.Members = append(g.Members, describedConsumer(im, &res.Members[i]))
	}
	return g
}

func describedConsumer(im *meta.Image, m *group.ConsumerMemberView) kmsg.ConsumerGroupDescribeResponseGroupMember {
	out := kmsg.NewConsumerGroupDescribeResponseGroupMember()
	out.MemberID, out.InstanceID, out.RackID, out.MemberEpoch = m.Member, m.Instance, m.Rack, m.Epoch
	out.ClientID, out.ClientHost, out.SubscribedTopics, out.SubscribedTopicRegex = m.ClientID, m.ClientHost, m.Topics, m.Regex
	out.Assignment.TopicPartitions = describedTopics(im, m.Assigned)
	out.TargetAssignment.TopicPartitions = describedTopics(im, m.Target)
	out.MemberType = 1
	if m.Classic {
		out.MemberType = 0
	}
	return out
}

// describedTopics leaves out topics that are gone: there is no name to show.
func describedTopics(im *meta.Image, topics []group.TopicPartitions) []kmsg.AssignmentTopicPartition {
	out := make([]kmsg.AssignmentTopicPartition, 0, len(topics))
	for _, t := range topics {
		if known := im.TopicByID(t.ID); known != nil {
			out = append(out, kmsg.AssignmentTopicPartition{TopicID: t.ID, Topic: known.Name, Partitions: t.Partitions})
		}
	}
	return out
}
