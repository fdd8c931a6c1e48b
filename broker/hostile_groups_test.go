package broker_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
	"moldau.io/moldau/protocol"
)

// What is sent here is refused with Kafka's codes, costs little more memory than its own bytes, and does nothing to the
// groups of others.
func TestHostileRequestsToGroups(t *testing.T) {
	w := newGroupWire(t, map[string]string{"socket.request.max.bytes": "20000000", "group.consumer.assignment.interval.ms": "0"})
	consumers, simple := w.joinConsumer("honest", "m"), "simple"
	w.codes("commit", w.commit(10, simple, "", -1), protocol.None)
	epoch := consumers.epoch
	type beat = *kmsg.ConsumerGroupHeartbeatRequest
	heartbeat := func(change func(beat)) kmsg.Request {
		r := joining(1)
		r.Group, r.MemberID, r.SubscribedTopicNames = "bad", "bad", []string{"t"}
		change(r)
		return r
	}
	names := func(n, length int) []string {
		out := make([]string, n)
		for i := range out {
			out[i] = fmt.Sprintf("%0*d", length, i)
		}
		return out
	}
	commitOf := func(group, metadata string, n int) kmsg.Request {
		r := kmsg.NewPtrOffsetCommitRequest()
		r.Version, r.Group, r.Generation = 9, group, -1
		topic := kmsg.OffsetCommitRequestTopic{Topic: "t"}
		for range n {
			p := kmsg.NewOffsetCommitRequestTopicPartition()
			p.Metadata = &metadata
			topic.Partitions = append(topic.Partitions, p)
		}
		r.Topics = []kmsg.OffsetCommitRequestTopic{topic}
		return r
	}
	join := func(change func(*kmsg.JoinGroupRequest)) kmsg.Request {
		r := joinReq("bad", "", nil, "range")
		r.Version = 3
		change(r)
		return r
	}
	const hangsUp = protocol.Code(-99) // as Kafka does where a request cannot be read
	long, huge := strings.Repeat("x", 32767), strings.Repeat("x", 32768)
	for _, a := range []struct {
		name string
		req  kmsg.Request
		want []protocol.Code
	}{
		{"a hundred thousand topics", heartbeat(func(r beat) { r.SubscribedTopicNames = names(100_000, 20) }), codes(protocol.UnknownServerError)},
		{"five thousand topics", heartbeat(func(r beat) { r.SubscribedTopicNames = names(5000, 100) }), codes(protocol.None)},
		{"a member id that is too long", heartbeat(func(r beat) { r.MemberID = huge }), codes(hangsUp)},
		{"an instance id that is too long", heartbeat(func(r beat) { r.InstanceID = &huge }), codes(hangsUp)},
		{"a group id that is too long", heartbeat(func(r beat) { r.Group = huge }), codes(hangsUp)},
		{"ids as long as can be", heartbeat(func(r beat) { r.Group, r.MemberID, r.InstanceID = long, long, &long }), codes(protocol.None)},
		{"no expression", heartbeat(func(r beat) { r.SubscribedTopicRegex = ptr("(") }), codes(protocol.InvalidRegularExpression)},
		{"a large expression", heartbeat(func(r beat) { r.Group, r.SubscribedTopicRegex = "worse", ptr(strings.Repeat("(a|b)*", 5000)) }),
			codes(protocol.None, protocol.InvalidRegularExpression)},
		{"an expression of repetitions", heartbeat(func(r beat) { r.SubscribedTopicRegex = ptr("((((a{30}){30}){30}){30}){30}") }),
			codes(protocol.InvalidRegularExpression)},
		{"partitions that nobody has", heartbeat(func(r beat) {
			r.Group, r.MemberID, r.MemberEpoch = "honest", "bad", epoch
			r.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{{TopicID: w.topic, Partitions: make([]int32, 100_000)}}
		}), codes(protocol.UnknownMemberID)},
		{"an epoch to come", heartbeat(func(r beat) { r.Group, r.MemberID, r.MemberEpoch, r.Topics = "honest", "m", 1<<30, nil }),
			codes(protocol.FencedMemberEpoch)},
		{"an epoch of long ago", heartbeat(func(r beat) { r.Group, r.MemberID, r.MemberEpoch = "honest", "m", -1<<31 }),
			codes(protocol.InvalidRequest)},
		{"a rack of another", heartbeat(func(r beat) { r.RackID = &huge }), codes(hangsUp)},
		{"metadata of a megabyte", commitOf(simple, strings.Repeat("m", 30_000), 1), codes(protocol.OffsetMetadataTooLarge)},
		{"the same partition a hundred thousand times", commitOf("nobody", "", 100_000), codes(protocol.None, protocol.UnknownServerError)},
		{"a commit for others", commitOf("honest", "", 1), codes(protocol.UnknownMemberID)},
		{"a subscription of ten megabytes", join(func(r *kmsg.JoinGroupRequest) { r.Protocols[0].Metadata = make([]byte, 10<<20) }),
			codes(protocol.None, protocol.UnknownServerError)},
		{"no group", join(func(r *kmsg.JoinGroupRequest) { r.Group = "" }), codes(protocol.InvalidGroupID)},
		{"another protocol type", join(func(r *kmsg.JoinGroupRequest) { r.Group, r.ProtocolType = "honest", "connect" }),
			codes(protocol.InconsistentGroupProtocol)},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		c := w.broker.Dial()
		frame := c.Encode(a.req)
		c.Send(frame)
		got := hangsUp
		if body, err := c.TryRecv(20 * time.Second); err == nil {
			resp, _, err := brokertest.Decode(a.req, body)
			if err != nil {
				t.Fatal(err)
			}
			got = codeOf(t, resp)
		}
		runtime.ReadMemStats(&after)
		if !slices.Contains(a.want, got) {
			t.Errorf("%s: %v, want %v", a.name, got, a.want)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > uint64(120*len(frame))+32<<20 {
			t.Errorf("%s: %d KiB were allocated for %d KiB", a.name, took>>10, len(frame)>>10)
		}
		if consumers.beat(nil); consumers.epoch != epoch {
			t.Fatalf("%s: the honest member is in epoch %d", a.name, consumers.epoch)
		}
	}
	if at := w.offset(simple); at != 7 {
		t.Errorf("the honest commit is at %d", at)
	}
}

func codes(list ...protocol.Code) []protocol.Code { return list }

// codeOf is the one error code of an answer of these tests.
func codeOf(t *testing.T, resp kmsg.Response) protocol.Code {
	t.Helper()
	switch r := resp.(type) {
	case *kmsg.ConsumerGroupHeartbeatResponse:
		return protocol.Code(r.ErrorCode)
	case *kmsg.OffsetCommitResponse:
		return protocol.Code(r.Topics[0].Partitions[0].ErrorCode)
	case *kmsg.JoinGroupResponse:
		return protocol.Code(r.ErrorCode)
	}
	t.Fatalf("%T", resp)
	return 0
}

// offset is what the group has committed for "t"-0.
func (w *groupWire) offset(group string) int64 {
	w.T.Helper()
	req := kmsg.NewPtrOffsetFetchRequest()
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group, g.MemberEpoch = group, -1
	g.Topics = []kmsg.OffsetFetchRequestGroupTopic{{TopicID: w.topic, Topic: "t", Partitions: []int32{0}}}
	req.Groups = []kmsg.OffsetFetchRequestGroup{g}
	return w.Do(brokertest.Latest(req)).(*kmsg.OffsetFetchResponse).Groups[0].Topics[0].Partitions[0].Offset
}
