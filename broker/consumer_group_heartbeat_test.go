package broker_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/protocol"
)

// joining is a first heartbeat with nothing wrong.
func joining(version int16) *kmsg.ConsumerGroupHeartbeatRequest {
	r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	r.Version, r.Group, r.MemberID, r.RebalanceTimeoutMillis = version, "g", "m", 60_000
	r.Topics, r.SubscribedTopicNames = []kmsg.ConsumerGroupHeartbeatRequestTopic{}, []string{}
	return r
}

// The texts, and which of several faults is told, are those of Apache Kafka 4.4.0.
func TestRule100_FirstHeartbeatsThatAreRefused(t *testing.T) {
	type req = *kmsg.ConsumerGroupHeartbeatRequest
	w := newGroupWire(t, nil)
	for _, c := range []struct {
		name    string
		version int16
		change  func(req)
		want    string
	}{
		{"good", 1, func(req) {}, ""},
		{"v0 without a member id", 0, func(r req) { r.MemberID = "" }, ""},
		{"v1 without a member id", 1, func(r req) { r.MemberID = "" }, "MemberId can't be empty."},
		{"v0 stays without a member id", 0, func(r req) { r.MemberID, r.MemberEpoch = " \t", 1 }, "MemberId can't be empty."},
		{"v0 leaves without a member id", 0, func(r req) { r.MemberID, r.MemberEpoch = "", -1 }, "MemberId can't be empty."},
		{"v0 leaves for a while without a member id", 0,
			func(r req) { r.MemberID, r.MemberEpoch, r.InstanceID = "", -2, ptr("i") }, ""},
		{"no group", 1, func(r req) { r.Group = "" }, "GroupId can't be empty."},
		{"blank group", 0, func(r req) { r.Group = "\n\x00 " }, "GroupId can't be empty."},
		{"a space of another kind", 0, func(r req) { r.Group = "\u00a0" }, ""},
		{"nothing at all", 1, func(r req) { *r = kmsg.ConsumerGroupHeartbeatRequest{Version: 1} }, "MemberId can't be empty."},
		{"empty instance", 1, func(r req) { r.InstanceID, r.RackID = ptr(""), ptr("") }, "InstanceId can't be empty."},
		{"empty rack", 1, func(r req) { r.RackID, r.RebalanceTimeoutMillis = ptr(" "), -1 }, "RackId can't be empty."},
		{"no rebalance timeout", 1, func(r req) { r.RebalanceTimeoutMillis, r.Topics = -1, nil },
			"RebalanceTimeoutMs must be provided in first request."},
		{"a rebalance timeout below -1", 1, func(r req) { r.RebalanceTimeoutMillis = -2 }, ""},
		{"null partitions", 1, func(r req) { r.Topics, r.SubscribedTopicNames = nil, nil },
			"TopicPartitions must be empty when (re-)joining."},
		{"partitions", 1, func(r req) { r.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{{}} },
			"TopicPartitions must be empty when (re-)joining."},
		{"no subscription", 1, func(r req) { r.SubscribedTopicNames = nil },
			"Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining."},
		{"only an expression", 1, func(r req) { r.SubscribedTopicNames, r.SubscribedTopicRegex = nil, ptr("") }, ""},
		{"-2 without an instance", 1, func(r req) { r.MemberEpoch = -2 }, "InstanceId can't be null."},
		{"-3", 1, func(r req) { r.MemberEpoch = -3 }, "MemberEpoch is invalid."},
		{"an assignor of its own", 1, func(r req) { r.ServerAssignor = ptr("sticky") },
			"ServerAssignor sticky is not supported. Supported assignors: uniform, range."},
		{"an assignor of ours, of a member that leaves", 1,
			func(r req) { r.ServerAssignor, r.MemberEpoch = ptr("range"), -1 }, ""},
	} {
		r := joining(c.version)
		c.change(r)
		resp := w.Do(r).(*kmsg.ConsumerGroupHeartbeatResponse)
		got, code := "", protocol.Code(resp.ErrorCode)
		if resp.ErrorMessage != nil {
			got = *resp.ErrorMessage
		}
		refused := code == protocol.InvalidRequest || code == protocol.UnsupportedAssignor
		if c.want != "" && (!refused || got != c.want) || c.want == "" && refused {
			t.Errorf("%s: %v %q, want %q", c.name, code, got, c.want)
		}
	}
}
