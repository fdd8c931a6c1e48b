package broker_test

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
)

// answered is the answer to commitReq by name, with one code for partitions 0 and 1 of "t".
func answered(code string) string {
	return "{Topics:[{Topic:missing,Partitions:[{Partition:0,ErrorCode:3},{Partition:7,ErrorCode:3},{Partition:1,ErrorCode:3}]}," +
		"{Topic:t,Partitions:[{Partition:7,ErrorCode:3},{Partition:0,ErrorCode:" + code + "},{Partition:1,ErrorCode:" + code + "}]}]}"
}

func TestRule094_OffsetCommit(t *testing.T) {
	w := newGroupWire(t, nil)
	w.wants("a simple consumer (C76, C95)", w.commitReq("s", "", nil, -1, 4, nil), 2, 9, answered("0"))
	w.wants("without a group id", w.commitReq("", "", nil, -1, 4, nil), 2, 9, answered("0"))
	w.wants("an unknown group", w.commitReq("nobody", "m", nil, 3, 4, nil), 2, 8, answered("22"))
	w.wants("an unknown group", w.commitReq("nobody", "m", nil, 3, 4, nil), 9, 9, answered("69"))
	w.wants("metadata too long", w.commitReq("s", "", nil, -1, 4, ptr(strings.Repeat("m", 4097))), 2, 9, answered("12"))
	w.wants("a negative offset", w.commitReq("s", "", nil, -1, -5, nil), 2, 9, answered("0"))
	m := w.stable("g", "i")
	w.wants("a member", w.commitReq("g", m, ptr("i"), 1, 4, nil), 7, 9, answered("0"))
	w.wants("another generation", w.commitReq("g", m, ptr("i"), 2, 4, nil), 7, 9, answered("22"))
	w.wants("an unknown member", w.commitReq("g", "x", nil, 1, 4, nil), 2, 9, answered("25"))
	w.wants("a simple consumer beside members", w.commitReq("g", "", nil, -1, 4, nil), 2, 9, answered("25"))
	byID := w.Do(brokertest.At(10, w.commitReq("s", "", nil, -1, 4, nil))).(*kmsg.OffsetCommitResponse)
	if len(byID.Topics) != 2 || byID.Topics[0].Partitions[0].ErrorCode != 100 || byID.Topics[0].TopicID != [16]byte{9} ||
		byID.Topics[1].TopicID != w.topic || byID.Topics[1].Partitions[0].ErrorCode != 3 || byID.Topics[1].Partitions[2].ErrorCode != 0 {
		t.Errorf("v10: %s", text(byID))
	}
}

func TestC76_UnknownPartitionsDoNotKeepTheOthersFromBeingCommitted(t *testing.T) {
	w := newGroupWire(t, nil)
	w.wants("a commit", w.commitReq("s", "", nil, -1, 9, nil), 8, 8, answered("0"))
	w.wants("what there is", w.fetchReq("s"), 7, 7, "{Topics:[{Topic:missing,Partitions:[{Partition:0,Offset:-1,LeaderEpoch:-1,ErrorCode:0}]},"+
		"{Topic:t,Partitions:[{Partition:0,Offset:9,LeaderEpoch:5,ErrorCode:0}]}],ErrorCode:0}")
}

// -1 is the broker's own retention, and so is the absence of the field from v5 on.
func TestC77_RetentionTimeOfOldVersions(t *testing.T) {
	w := newGroupWire(t, nil)
	for _, ms := range []int64{-1, 0, 60_000, 1<<63 - 1} {
		req := w.commitReq("s", "", nil, -1, ms, ptr("m"))
		req.RetentionTimeMillis = ms
		w.wants("a commit", req, 2, 4, answered("0"))
		r := w.Do(brokertest.At(7, w.fetchReq("s"))).(*kmsg.OffsetFetchResponse)
		if p := r.Topics[1].Partitions[0]; p.Offset != ms || *p.Metadata != "m" {
			t.Errorf("retention %d: %s", ms, text(r))
		}
	}
}
