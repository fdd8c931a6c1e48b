package broker_test

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
)

func TestRule095_OffsetFetch(t *testing.T) {
	w := newGroupWire(t, nil)
	none := "[{Topic:missing,Partitions:[{Partition:0,Offset:-1,LeaderEpoch:-1,ErrorCode:0}]}," +
		"{Topic:t,Partitions:[{Partition:0,Offset:-1,LeaderEpoch:-1,ErrorCode:0}]}]"
	w.wants("an unknown group", w.fetchReq("nobody"), 1, 7, "{Topics:"+none+",ErrorCode:0}")
	w.wants("an unknown group", w.fetchReq("nobody"), 8, 9, "{ErrorCode:0,Groups:[{Group:nobody,Topics:"+none+",ErrorCode:0}]}")
	w.wants("a commit", w.commitReq("s", "", nil, -1, 9, ptr("meta")), 8, 8, answered("0"))
	some := strings.ReplaceAll(none, "{Topic:t,Partitions:[{Partition:0,Offset:-1,LeaderEpoch:-1,", "{Topic:t,Partitions:[{Partition:0,Offset:9,LeaderEpoch:5,Metadata:meta,")
	w.wants("with epochs (C73)", w.fetchReq("s"), 5, 7, "{Topics:"+some+",ErrorCode:0}")
	w.wants("before epochs", w.fetchReq("s"), 1, 4, "{Topics:"+strings.Replace(some, "LeaderEpoch:5", "LeaderEpoch:-1", 1)+",ErrorCode:0}")
	w.wants("several groups", w.fetchReq("s", "nobody"), 8, 9,
		"{ErrorCode:0,Groups:[{Group:s,Topics:"+some+",ErrorCode:0},{Group:nobody,Topics:"+none+",ErrorCode:0}]}")
	byID := w.Do(brokertest.At(10, w.fetchReq("s"))).(*kmsg.OffsetFetchResponse).Groups[0]
	if len(byID.Topics) != 2 || byID.Topics[0].TopicID != w.topic || byID.Topics[0].Partitions[0].Offset != 9 ||
		byID.Topics[1].TopicID != [16]byte{9} || byID.Topics[1].Partitions[0].ErrorCode != 100 {
		t.Errorf("v10: %+v", byID)
	}
	// Metadata is an empty string where there is none, never null (C73).
	for v := int16(1); v <= 7; v++ {
		r := w.Do(brokertest.At(v, w.fetchReq("nobody"))).(*kmsg.OffsetFetchResponse)
		if m := r.Topics[0].Partitions[0].Metadata; m == nil {
			t.Errorf("v%d: metadata is null", v)
		}
	}
}

func TestC75_NullTopicsAreAllThatIsCommitted(t *testing.T) {
	w := newGroupWire(t, nil)
	w.wants("a commit", w.commitReq("s", "", nil, -1, 9, nil), 8, 8, answered("0"))
	all := "Topics:[{Topic:t,Partitions:[{Partition:0,Offset:9,LeaderEpoch:5,ErrorCode:0},{Partition:1,Offset:9,LeaderEpoch:5,ErrorCode:0}]}]"
	req := w.fetchReq("s")
	req.Topics, req.RequireStable = nil, true
	w.wants("all", req, 5, 7, "{"+all+",ErrorCode:0}")
	req.Groups[0].Topics = nil
	w.wants("all", req, 8, 9, "{ErrorCode:0,Groups:[{Group:s,"+all+",ErrorCode:0}]}")
	byID := w.Do(brokertest.At(10, req)).(*kmsg.OffsetFetchResponse).Groups[0]
	if len(byID.Topics) != 1 || byID.Topics[0].TopicID != w.topic || len(byID.Topics[0].Partitions) != 2 {
		t.Errorf("v10: %+v", byID)
	}
	req.Topics = []kmsg.OffsetFetchRequestTopic{}
	w.wants("none", req, 2, 7, "{ErrorCode:0}")
	req.Group = "nobody"
	req.Topics = nil
	w.wants("all of nothing", req, 2, 7, "{ErrorCode:0}")
}

// Offsets go with their topic; a topic of the same name that is made later begins without.
func TestDeletedTopicTakesItsOffsetsAlong(t *testing.T) {
	w := newGroupWire(t, nil)
	w.wants("a commit", w.commitReq("s", "", nil, -1, 9, nil), 8, 8, answered("0"))
	del := kmsg.NewPtrDeleteTopicsRequest()
	del.TimeoutMillis = 10_000
	del.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: ptr("t")}}
	if r := w.Do(brokertest.Latest(del)).(*kmsg.DeleteTopicsResponse); r.Topics[0].ErrorCode != 0 {
		t.Fatalf("delete: %s", text(r))
	}
	req := w.fetchReq("s")
	req.Topics = nil
	eventually(t, func() bool { return len(w.Do(brokertest.At(7, req)).(*kmsg.OffsetFetchResponse).Topics) == 0 })
	createTopic(w.Client, "t", 2)
	w.wants("the new topic", w.fetchReq("s"), 7, 7, "{Topics:[{Topic:missing,Partitions:[{Partition:0,Offset:-1,LeaderEpoch:-1,ErrorCode:0}]},"+
		"{Topic:t,Partitions:[{Partition:0,Offset:-1,LeaderEpoch:-1,ErrorCode:0}]}],ErrorCode:0}")
}
