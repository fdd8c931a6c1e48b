package broker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/protocol"
)

// consumer is a member of a consumer group, by hand.
type consumer struct {
	w     *groupWire
	group string
	id    string
	epoch int32
	owned []kmsg.ConsumerGroupHeartbeatRequestTopic
}

// joinConsumer makes a member that is subscribed to "t" and has what it is to have.
func (w *groupWire) joinConsumer(group, id string) *consumer {
	w.T.Helper()
	c := &consumer{w: w, group: group, id: id, owned: []kmsg.ConsumerGroupHeartbeatRequestTopic{}}
	c.beat(func(r *kmsg.ConsumerGroupHeartbeatRequest) {
		r.RebalanceTimeoutMillis, r.SubscribedTopicNames = 60_000, []string{"t"}
	})
	return c
}

// beat sends a heartbeat, which change may add to, and takes what is given.
func (c *consumer) beat(change func(*kmsg.ConsumerGroupHeartbeatRequest)) *kmsg.ConsumerGroupHeartbeatResponse {
	c.w.T.Helper()
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Version, req.Group, req.MemberID, req.MemberEpoch, req.Topics = 1, c.group, c.id, c.epoch, c.owned
	if change != nil {
		change(req)
	}
	resp := c.w.Do(req).(*kmsg.ConsumerGroupHeartbeatResponse)
	if resp.ErrorCode != 0 {
		c.w.T.Fatalf("heartbeat of %s: %v %v", c.id, protocol.Code(resp.ErrorCode), resp.ErrorMessage)
	}
	c.epoch = resp.MemberEpoch
	if resp.Assignment != nil {
		c.owned = c.owned[:0]
		for _, t := range resp.Assignment.Topics {
			c.owned = append(c.owned, kmsg.ConsumerGroupHeartbeatRequestTopic{TopicID: t.TopicID, Partitions: t.Partitions})
		}
	}
	return resp
}

// commit commits offset 7 of "t"-0 as that member, and answers with the code.
func (w *groupWire) commit(version int16, group, member string, epoch int32) protocol.Code {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.MemberID, req.Generation = version, group, member, epoch
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Offset = 7
	req.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", TopicID: w.topic, Partitions: []kmsg.OffsetCommitRequestTopicPartition{p}}}
	return protocol.Code(w.Do(req).(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode)
}

func (w *groupWire) codes(what string, got, want protocol.Code) {
	w.T.Helper()
	if got != want {
		w.T.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestRule104_CommitsAndFetchesOfConsumers(t *testing.T) {
	w := newGroupWire(t, nil)
	c := w.joinConsumer("new", "m1")
	for v := int16(2); v <= 10; v++ {
		want := protocol.None
		if v < 9 {
			want = protocol.UnsupportedVersion
		}
		w.codes(fmt.Sprint("commit v", v), w.commit(v, "new", "m1", c.epoch), want)
	}
	w.codes("of a later epoch", w.commit(9, "new", "m1", c.epoch+1), protocol.StaleMemberEpoch)
	w.codes("of an unknown member", w.commit(10, "new", "m2", c.epoch), protocol.UnknownMemberID)
	w.codes("of nobody", w.commit(9, "new", "", -1), protocol.UnknownMemberID)
	fetch := func(version int16, member *string, epoch int32) protocol.Code {
		req := kmsg.NewPtrOffsetFetchRequest()
		req.Version = version
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group, g.MemberID, g.MemberEpoch = "new", member, epoch
		req.Groups = []kmsg.OffsetFetchRequestGroup{g}
		resp := w.Do(req).(*kmsg.OffsetFetchResponse).Groups[0]
		if resp.ErrorCode == 0 && (len(resp.Topics) != 1 || resp.Topics[0].Partitions[0].Offset != 7) {
			t.Errorf("v%d: %+v", version, resp)
		}
		return protocol.Code(resp.ErrorCode)
	}
	w.codes("fetch", fetch(9, ptr("m1"), c.epoch), protocol.None)
	w.codes("fetch by id", fetch(10, ptr("m1"), c.epoch), protocol.None)
	w.codes("fetch of nobody", fetch(9, nil, -1), protocol.None)
	w.codes("fetch of an older version", fetch(8, nil, 0), protocol.None)
	w.codes("fetch of another epoch", fetch(9, ptr("m1"), c.epoch+1), protocol.StaleMemberEpoch)
	w.codes("fetch of an unknown member", fetch(10, ptr("m2"), c.epoch), protocol.UnknownMemberID)
}

func TestRule096_097_098_AdminOfBothTypesOfGroups(t *testing.T) {
	w := newGroupWire(t, nil)
	c := w.joinConsumer("new", "m1")
	w.codes("commit", w.commit(9, "new", "m1", c.epoch), protocol.None)
	w.codes("commit", w.commit(9, "old", "", -1), protocol.None)

	list := func(types, states string) string {
		req := kmsg.NewPtrListGroupsRequest()
		req.Version = 5
		if types != "" {
			req.TypesFilter = strings.Split(types, ",")
		}
		if states != "" {
			req.StatesFilter = strings.Split(states, ",")
		}
		return text(w.Do(req))
	}
	const listedNew = "{Group:new,ProtocolType:consumer,GroupState:Stable,GroupType:consumer}"
	const listedOld = "{Group:old,GroupState:Empty,GroupType:classic}"
	for _, c := range [][3]string{
		{"", "", listedNew + "," + listedOld},
		{"consumer", "", listedNew},
		{"CONSUMER", "stable", listedNew},
		{"Classic", "", listedOld},
		{"classic,consumer", "EMPTY", listedOld},
		{"consumer", "Empty", ""},
		{" consumer ", "", ""},
		{"consumer", " Stable ", listedNew},
		{"share", "", ""},
		{"nonsense", "", ""},
		{"", "PreparingRebalance", ""},
	} {
		want := "{ErrorCode:0,Groups:[" + c[2] + "]}"
		if c[2] == "" {
			want = "{ErrorCode:0}"
		}
		if got := list(c[0], c[1]); got != want {
			t.Errorf("types %q, states %q:\ngot  %s\nwant %s", c[0], c[1], got, want)
		}
	}

	describe := kmsg.NewPtrDescribeGroupsRequest()
	describe.Groups = []string{"new"}
	w.wants("a classic describe", describe, 0, 2, "{Groups:[{ErrorCode:0,Group:new,State:Dead,AuthorizedOperations:-2147483648}]}")
	w.wants("a classic describe", describe, 6, 6, "{Groups:[{ErrorCode:69,ErrorMessage:Group new is not a classic group.,"+
		"Group:new,State:Dead,AuthorizedOperations:-2147483648}]}")
	consumers := kmsg.NewPtrConsumerGroupDescribeRequest()
	consumers.Groups = []string{"old"}
	w.wants("a classic group", consumers, 0, 1, "{Groups:[{ErrorCode:69,ErrorMessage:Group old is not a consumer group.,"+
		"Group:old,Epoch:0,AssignmentEpoch:0,AuthorizedOperations:-2147483648}]}")
	consumers.Groups, consumers.IncludeAuthorizedOperations = []string{"new"}, true
	consumers.Version = 1
	g := w.Do(consumers).(*kmsg.ConsumerGroupDescribeResponse).Groups[0]
	m := g.Members[0]
	if g.State != "Stable" || g.Epoch != c.epoch || g.AssignmentEpoch != c.epoch || g.AssignorName != "uniform" ||
		g.AuthorizedOperations != 3400 || m.MemberID != "m1" || m.MemberType != 1 || m.ClientHost != "/127.0.0.1" ||
		len(m.Assignment.TopicPartitions) != 1 || m.Assignment.TopicPartitions[0].Topic != "t" ||
		len(m.TargetAssignment.TopicPartitions[0].Partitions) != 2 {
		t.Errorf("%+v", g)
	}

	deleteOffsets := kmsg.NewPtrOffsetDeleteRequest()
	deleteOffsets.Group = "new"
	deleteOffsets.Topics = []kmsg.OffsetDeleteRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{}}}}
	w.wants("offsets of a subscribed topic", deleteOffsets, 0, 0,
		"{ErrorCode:0,Topics:[{Topic:t,Partitions:[{Partition:0,ErrorCode:86}]}]}")
	del := kmsg.NewPtrDeleteGroupsRequest()
	del.Groups = []string{"new", "old", "none"}
	w.wants("delete", del, 2, 2, "{Groups:[{Group:new,ErrorCode:68},{Group:old,ErrorCode:0},{Group:none,ErrorCode:69}]}")
	c.beat(func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch, r.Topics = -1, nil })
	if got := list("", ""); got != "{ErrorCode:0,Groups:[{Group:new,ProtocolType:consumer,GroupState:Empty,GroupType:consumer}]}" {
		t.Errorf("after the last has left: %s", got)
	}
	w.wants("offsets of an empty group", deleteOffsets, 0, 0,
		"{ErrorCode:0,Topics:[{Topic:t,Partitions:[{Partition:0,ErrorCode:0}]}]}")
	del.Groups = []string{"new"}
	w.wants("delete", del, 2, 2, "{Groups:[{Group:new,ErrorCode:0}]}")
	if got := list("", ""); got != "{ErrorCode:0}" {
		t.Errorf("after the deletion: %s", got)
	}
}
