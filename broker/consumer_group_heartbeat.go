package broker

import (
	"cmp"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/coordinator/group"
	"moldau.io/moldau/protocol"
)

// ConsumerGroupHeartbeat, versions 0 and 1 (KIP-848). It joins a consumer group, stays in it and leaves it.
//
//	v1  subscriptions by regular expression; the client makes the member id
//
// Both are refused with UNSUPPORTED_VERSION while the cluster has not finalized group.version 1, or where
// group.coordinator.rebalance.protocols leaves consumer out. What is wrong with a
// request by itself is found here, in the order in which Kafka's GroupCoordinatorService looks; the machine is asked only
// what depends on the group.

func handleConsumerGroupHeartbeat(b *Broker, r *request) {
	req := r.msg.(*kmsg.ConsumerGroupHeartbeatRequest)
	reply := func(answer group.Response) {
		r.Reply(heartbeatAnswer(req, answer.(*group.ConsumerHeartbeatResult)))
	}
	if !b.consumerGroups() {
		reply(&group.ConsumerHeartbeatResult{Code: protocol.UnsupportedVersion})
		return
	}
	if err := checkConsumerHeartbeat(req, b.assignors); err != nil {
		reply(&group.ConsumerHeartbeatResult{Code: protocol.CodeOf(err), Message: *errorText(err)})
		return
	}
	beat := &group.ConsumerHeartbeat{
		Group: req.Group, Member: req.MemberID, Epoch: req.MemberEpoch, Instance: req.InstanceID, Rack: req.RackID,
		Rebalance: millis(req.RebalanceTimeoutMillis), Topics: subscription(req.SubscribedTopicNames), Regex: req.SubscribedTopicRegex,
		Assignor: req.ServerAssignor, Owned: owned(req.Topics),
		ClientID: r.client(), ClientHost: r.clientHost(), MemberIDRequired: r.version() >= 1,
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

// checkConsumerHeartbeat says what is wrong with a request, whatever the group. The texts are Kafka's: clients show them.
func checkConsumerHeartbeat(req *kmsg.ConsumerGroupHeartbeatRequest, assignors []string) error {
	invalid := func(text string) error { return protocol.Errorf(protocol.InvalidRequest, "%s", text) }
	if (req.Version >= 1 || req.MemberEpoch > 0 || req.MemberEpoch == leaves) && blank(&req.MemberID) {
		return invalid("MemberId can't be empty.")
	}
	switch {
	case blank(&req.Group):
		return invalid("GroupId can't be empty.")
	case blank(req.InstanceID):
		return invalid("InstanceId can't be empty.")
	case blank(req.RackID):
		return invalid("RackId can't be empty.")
	}
	switch joining := req.MemberEpoch == 0; {
	case joining && req.RebalanceTimeoutMillis == -1:
		return invalid("RebalanceTimeoutMs must be provided in first request.")
	case joining && (req.Topics == nil || len(req.Topics) > 0):
		return invalid("TopicPartitions must be empty when (re-)joining.")
	case joining && req.SubscribedTopicNames == nil && req.SubscribedTopicRegex == nil:
		return invalid("Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.")
	case req.MemberEpoch == leavesForAWhile && req.InstanceID == nil:
		return invalid("InstanceId can't be null.")
	case req.MemberEpoch < leavesForAWhile:
		return invalid("MemberEpoch is invalid.")
	}
	if req.ServerAssignor != nil && !slices.Contains(assignors, *req.ServerAssignor) {
		return protocol.Errorf(protocol.UnsupportedAssignor, "ServerAssignor %s is not supported. Supported assignors: %s.",
			*req.ServerAssignor, strings.Join(assignors, ", "))
	}
	return nil
}

// Member epochs that say that a member goes.
const (
	leaves          = -1
	leavesForAWhile = -2 // static members
)

// blank says that s is given and has nothing in it that Java's trim leaves.
func blank(s *string) bool { return s != nil && strings.Trim(*s, blanks) == "" }

// blanks are the characters that Java's trim takes away.
const blanks = "\x00\x01\x02\x03\x04\x05\x06\x07\x08\t\n\x0b\x0c\r\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b" +
	"\x1c\x1d\x1e\x1f "

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
