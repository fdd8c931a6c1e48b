package broker

import (
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/coordinator/group"
	"moldau.io/moldau/protocol"
)

func text(s string) *string { return &s }

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
			func(r req) { r.MemberID, r.MemberEpoch, r.InstanceID = "", -2, text("i") }, ""},
		{"no group", 1, func(r req) { r.Group = "" }, "GroupId can't be empty."},
		{"blank group", 0, func(r req) { r.Group = "\n\x00 " }, "GroupId can't be empty."},
		{"a space of another kind", 0, func(r req) { r.Group = "\u00a0" }, ""},
		{"nothing at all", 1, func(r req) { *r = kmsg.ConsumerGroupHeartbeatRequest{Version: 1} }, "MemberId can't be empty."},
		{"empty instance", 1, func(r req) { r.InstanceID, r.RackID = text(""), text("") }, "InstanceId can't be empty."},
		{"empty rack", 1, func(r req) { r.RackID, r.RebalanceTimeoutMillis = text(" "), -1 }, "RackId can't be empty."},
		{"no rebalance timeout", 1, func(r req) { r.RebalanceTimeoutMillis, r.Topics = -1, nil },
			"RebalanceTimeoutMs must be provided in first request."},
		{"null partitions", 1, func(r req) { r.Topics, r.SubscribedTopicNames = nil, nil },
			"TopicPartitions must be empty when (re-)joining."},
		{"partitions", 1, func(r req) { r.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{{}} },
			"TopicPartitions must be empty when (re-)joining."},
		{"no subscription", 1, func(r req) { r.SubscribedTopicNames = nil },
			"Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining."},
		{"only an expression", 1, func(r req) { r.SubscribedTopicNames, r.SubscribedTopicRegex = nil, text("") }, ""},
		{"-2 without an instance", 1, func(r req) { r.MemberEpoch = -2 }, "InstanceId can't be null."},
		{"-3", 1, func(r req) { r.MemberEpoch = -3 }, "MemberEpoch is invalid."},
		{"an assignor of its own", 1, func(r req) { r.ServerAssignor = text("sticky") },
			"ServerAssignor sticky is not supported. Supported assignors: uniform, range."},
		{"an assignor of ours, of a member that leaves", 1,
			func(r req) { r.ServerAssignor, r.MemberEpoch = text("range"), -1 }, ""},
	} {
		r := joining(c.version)
		c.change(r)
		err := checkConsumerHeartbeat(r, []string{"uniform", "range"})
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if code := protocol.CodeOf(err); err != nil && code != protocol.InvalidRequest && code != protocol.UnsupportedAssignor {
			t.Errorf("%s: %v", c.name, code)
		}
	}
}

func TestWhatAMemberOwnsIsPutInOrder(t *testing.T) {
	type topic = kmsg.ConsumerGroupHeartbeatRequestTopic
	a, b := [16]byte{1}, [16]byte{2}
	got := owned([]topic{{TopicID: b, Partitions: []int32{3}}, {TopicID: a, Partitions: []int32{2, 1, 2}}, {TopicID: b, Partitions: []int32{0, 3}}})
	want := []group.TopicPartitions{{ID: a, Partitions: []int32{1, 2}}, {ID: b, Partitions: []int32{0, 3}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	if owned(nil) != nil {
		t.Error("null became empty: it says that nothing has changed")
	}
	if none := owned([]topic{}); none == nil || len(none) != 0 {
		t.Error("empty became null: it says that the member has given back all")
	}
	if subscription(nil) != nil || subscription([]string{}) == nil {
		t.Error("null and empty subscriptions are not the same")
	}
}
