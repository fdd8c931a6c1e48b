package broker_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
)

func TestRule096_DescribeGroups(t *testing.T) {
	w := newGroupWire(t, nil)
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = []string{"g", "nobody"}
	w.stable("g", "i")
	w.wants("the commits", w.commitReq("s", "", nil, -1, 9, nil), 8, 8, answered("0"))
	member := "{MemberID:i-UUID,ClientID:test,ClientHost:/127.0.0.1,ProtocolMetadata:AAAAAAABAAF0/////w==,MemberAssignment:UDA=}"
	static := "{MemberID:i-UUID,InstanceID:i,ClientID:test,ClientHost:/127.0.0.1,ProtocolMetadata:AAAAAAABAAF0/////w==,MemberAssignment:UDA=}"
	g := "{Groups:[{ErrorCode:0,Group:g,State:Stable,ProtocolType:consumer,Protocol:range,Members:["
	none := "AuthorizedOperations:-2147483648"
	dead := "{ErrorCode:0,Group:nobody,State:Dead," + none + "}]}"
	w.wants("a group and none", req, 0, 3, g+member+"],"+none+"},"+dead)
	w.wants("a group and none", req, 4, 5, g+static+"],"+none+"},"+dead)
	w.wants("a group and none", req, 6, 6,
		g+static+"],"+none+"},{ErrorCode:69,ErrorMessage:Group nobody not found.,Group:nobody,State:Dead,"+none+"}]}")
	req.Groups = []string{"s"}
	req.IncludeAuthorizedOperations = true
	w.wants("a simple group and what may be done to it", req, 3, 6, "{Groups:[{ErrorCode:0,Group:s,State:Empty,AuthorizedOperations:3400}]}")
	req.Groups = nil
	w.wants("nothing", req, 0, 6, "{}")
}

func TestRule097_C91_ListGroups(t *testing.T) {
	w := newGroupWire(t, nil)
	req := kmsg.NewPtrListGroupsRequest()
	w.wants("nothing", req, 0, 5, "{ErrorCode:0}")
	w.stable("g", "i")
	w.wants("the list", req, 0, 3, "{ErrorCode:0,Groups:[{Group:g,ProtocolType:consumer}]}")
	w.wants("the list", req, 4, 4, "{ErrorCode:0,Groups:[{Group:g,ProtocolType:consumer,GroupState:Stable}]}")
	one := "{ErrorCode:0,Groups:[{Group:g,ProtocolType:consumer,GroupState:Stable,GroupType:classic}]}"
	for _, c := range []struct {
		states, types []string
		want          string
	}{
		{nil, nil, one},
		{[]string{"stable"}, nil, one},
		{[]string{"Empty", "STABLE"}, []string{"Classic"}, one},
		{[]string{"Empty"}, nil, "{ErrorCode:0}"},
		{[]string{"whatever"}, nil, "{ErrorCode:0}"},
		{nil, []string{"consumer", "share"}, "{ErrorCode:0}"},
		{nil, []string{"whatever"}, "{ErrorCode:0}"},
	} {
		req.StatesFilter, req.TypesFilter = c.states, c.types
		w.wants("the list filtered", req, 5, 5, c.want)
	}
}

func TestRule098_DeleteGroupsAndOffsets(t *testing.T) {
	w := newGroupWire(t, nil)
	del := kmsg.NewPtrDeleteGroupsRequest()
	offsets := kmsg.NewPtrOffsetDeleteRequest()
	offsets.Topics = []kmsg.OffsetDeleteRequestTopic{
		{Topic: "t", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}, {Partition: 7}}},
		{Topic: "missing", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}}},
	}
	offsets.Group = ""
	w.wants("offsets without a group", offsets, 0, 0, "{ErrorCode:24}")
	offsets.Group = "nobody"
	w.wants("offsets of an unknown group", offsets, 0, 0, "{ErrorCode:69}")

	w.stable("g", "i")
	offsets.Group = "g"
	w.wants("offsets of a subscribed topic", offsets, 0, 0, "{ErrorCode:0,Topics:[{Topic:t,Partitions:[{Partition:7,ErrorCode:3},"+
		"{Partition:0,ErrorCode:86}]},{Topic:missing,Partitions:[{Partition:0,ErrorCode:3}]}]}")
	w.wants("a commit", w.commitReq("s", "", nil, -1, 9, nil), 8, 8, answered("0"))
	offsets.Group = "s"
	w.wants("offsets", offsets, 0, 0, "{ErrorCode:0,Topics:[{Topic:t,Partitions:[{Partition:7,ErrorCode:3},"+
		"{Partition:0,ErrorCode:0}]},{Topic:missing,Partitions:[{Partition:0,ErrorCode:3}]}]}")
	w.wants("one is gone", w.fetchReq("s"), 7, 7, "{Topics:[{Topic:missing,Partitions:[{Partition:0,Offset:-1,LeaderEpoch:-1,ErrorCode:0}]},"+
		"{Topic:t,Partitions:[{Partition:0,Offset:-1,LeaderEpoch:-1,ErrorCode:0}]}],ErrorCode:0}")

	del.Groups = []string{"g", "s", "nobody", "s"}
	w.wants("delete", del, 2, 2, "{Groups:[{Group:g,ErrorCode:68},{Group:s,ErrorCode:0},{Group:nobody,ErrorCode:69}]}")
	del.Groups = []string{"s"}
	w.wants("once more", del, 0, 3, "{Groups:[{Group:s,ErrorCode:69}]}")
	w.broker.Restart()
	w2 := &groupWire{Client: w.broker.Dial(), broker: w.broker}
	list := w2.Do(brokertest.Latest(kmsg.NewPtrListGroupsRequest())).(*kmsg.ListGroupsResponse)
	if len(list.Groups) != 1 || list.Groups[0].Group != "g" {
		t.Errorf("after a restart there are %s", text(list))
	}
}
