package broker

import (
	"cmp"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/coordinator/group"
	"moldau.io/moldau/protocol"
)

// ConsumerGroupHeartbeat, versions 0 and 1 (KIP-848). It joins a consumer group, stays in it and leaves it.
//
//	v1  subscriptions by regular expression; the client makes the member id
//
// Both are refused with UNSUPPORTED_VERSION while the cluster has not finalized group.version 1, or where
// group.coordinator.rebalance.protocols leaves consumer out.

func handleConsumerGroupHeartbeat(b *Broker, r *request) {
	req := r.msg.(*kmsg.ConsumerGroupHeartbeatRequest)
	reply := func(answer group.Response) {
		r.Reply(heartbeatAnswer(req, answer.(*group.ConsumerHeartbeatResult)))
	}
	if !b.consumerGroups() {
		reply(&group.ConsumerHeartbeatResult{Code: protocol.UnsupportedVersion})
		return
	}
	beat := &group.ConsumerHeartbeat{
		Group: req.Group, Member: req.MemberID, Epoch: req.MemberEpoch, Instance: req.InstanceID, Rack: req.RackID,
		Rebalance: millis(req.RebalanceTimeoutMillis), Topics: subscription(req.SubscribedTopicNames), Regex: req.SubscribedTopicRegex,
		Assignor: req.ServerAssignor, Owned: owned(req.Topics),
		ClientID: r.client(), ClientHost: r.clientHost(), Software: r.conn.software, MemberIDRequired: r.version() >= 1,
	}
	b.groups.Submit(req.Group, beat, reply)
}

// consumerGroups says whether there may be consumer groups.
func (b *Broker) consumerGroups() bool {
	return b.allowsConsumerGroups && b.image().Feature(groupVersion) >= 1
}

func heartbeatAnswer(req *kmsg.ConsumerGroupHeartbeatRequest, res *group.ConsumerHeartbeatResult) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.ConsumerGroupHeartbeatResponse)
	resp.ErrorCode = int16(res.Code)
	if res.Code != protocol.None {
		if res.Message != "" {
			resp.ErrorMessage = &res.Message
		}
		return resp
	}
	if res.Member != "" {
		resp.MemberID = &res.Member
	}
	resp.MemberEpoch, resp.HeartbeatIntervalMillis = res.Epoch, int32(res.Interval.Milliseconds())
	if !res.HasAssignment {
		return resp
	}
	resp.Assignment = &kmsg.ConsumerGroupHeartbeatResponseAssignment{}
	for _, t := range res.Assigned {
		resp.Assignment.Topics = append(resp.Assignment.Topics,
			kmsg.ConsumerGroupHeartbeatResponseAssignmentTopic{TopicID: t.ID, Partitions: t.Partitions})
	}
	return resp
}

// subscription is the names of topics, each topic once and sorted; nil stays nil.
func subscription(topics []string) []string {
	slices.Sort(topics)
	return slices.Compact(topics)
}

// owned is what a member says that it has: sorted, each topic once; nil stays nil.
func owned(topics []kmsg.ConsumerGroupHeartbeatRequestTopic) []group.TopicPartitions {
	if topics == nil {
		return nil
	}
	slices.SortStableFunc(topics, func(a, b kmsg.ConsumerGroupHeartbeatRequestTopic) int {
		return slices.Compare(a.TopicID[:], b.TopicID[:])
	})
	out := make([]group.TopicPartitions, 0, len(topics))
	for _, t := range topics {
		if n := len(out); n == 0 || out[n-1].ID != protocol.TopicID(t.TopicID) {
			out = append(out, group.TopicPartitions{ID: t.TopicID})
		}
		last := &out[len(out)-1]
		last.Partitions = append(last.Partitions, t.Partitions...)
	}
	for i := range out {
		slices.SortFunc(out[i].Partitions, cmp.Compare[int32])
		out[i].Partitions = slices.Compact(out[i].Partitions)
	}
	return out
}
