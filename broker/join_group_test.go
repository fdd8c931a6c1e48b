package broker_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
)

func TestRule087_JoinGroupRefuses(t *testing.T) {
	w := newGroupWire(t, nil)
	short, long := joinReq("g", "", nil, "range"), joinReq("g", "", nil, "range")
	short.SessionTimeoutMillis, long.SessionTimeoutMillis = 5999, 30*60*1000+1
	noType := joinReq("g", "", nil, "range")
	noType.ProtocolType = ""
	for _, c := range []struct {
		what string
		req  *kmsg.JoinGroupRequest
		want string
	}{
		{"no group", joinReq("", "", nil, "range"), "ErrorCode:24,Generation:-1,SkipAssignment:false"},
		{"a short session", short, "ErrorCode:26,Generation:-1,SkipAssignment:false"},
		{"a long session", long, "ErrorCode:26,Generation:-1,SkipAssignment:false"},
		{"an unknown member", joinReq("g", "nobody", nil, "range"), "ErrorCode:25,Generation:-1,SkipAssignment:false,MemberID:nobody"},
		{"no protocols", joinReq("g", "", nil), "ErrorCode:23,Generation:-1,SkipAssignment:false"},
		{"no type", noType, "ErrorCode:23,Generation:-1,SkipAssignment:false"},
	} {
		w.wants(c.what, c.req, 0, 9, "{"+c.want+"}")
		// The name of the protocol is empty up to v6 and null from v7 on; text shows both as nothing.
		for v, null := range map[int16]bool{6: false, 7: true} {
			r := w.Do(brokertest.At(v, c.req)).(*kmsg.JoinGroupResponse)
			if (r.Protocol == nil) != null {
				t.Errorf("%s v%d: protocol is null: %v", c.what, v, r.Protocol == nil)
			}
		}
	}
}

func TestC88_MemberIDIsRequiredFromVersion4(t *testing.T) {
	w := newGroupWire(t, nil)
	for v := int16(4); v <= 9; v++ {
		r := w.Do(brokertest.At(v, joinReq("g", "", nil, "range"))).(*kmsg.JoinGroupResponse)
		if got, want := text(r), "{ErrorCode:79,Generation:-1,SkipAssignment:false,MemberID:test-UUID}"; got != want {
			t.Errorf("v%d: %s", v, got)
		}
		leave := kmsg.NewPtrLeaveGroupRequest()
		leave.Group, leave.Members = "g", []kmsg.LeaveGroupRequestMember{{MemberID: r.MemberID}}
		w.Do(brokertest.Latest(leave))
	}
	member := w.Do(brokertest.Latest(joinReq("g", "", nil, "range"))).(*kmsg.JoinGroupResponse).MemberID
	w.wants("the second step", joinReq("g", member, nil, "range"), 9, 9,
		"{ErrorCode:0,Generation:1,ProtocolType:consumer,Protocol:range,LeaderID:test-UUID,SkipAssignment:false,"+
			"MemberID:test-UUID,Members:[{MemberID:test-UUID,ProtocolMetadata:AAAAAAABAAF0/////w==}]}")
	for v := int16(0); v <= 3; v++ { // before, one step does it
		r := w.Do(brokertest.At(v, joinReq("old"+string('0'+rune(v)), "", nil, "range"))).(*kmsg.JoinGroupResponse)
		if r.ErrorCode != 0 || r.Generation != 1 || r.LeaderID != r.MemberID || len(r.Members) != 1 {
			t.Errorf("v%d: %s", v, text(r))
		}
	}
}

func TestRule088_ProtocolsMustBeShared(t *testing.T) {
	w := newGroupWire(t, map[string]string{"group.max.size": "1"})
	w.stable("g", "i")
	connect := joinReq("g", "", nil, "range")
	connect.ProtocolType = "connect"
	w.wants("another protocol", joinReq("other", "", nil), 9, 9, "{ErrorCode:23,Generation:-1,SkipAssignment:false}")
	w.wants("a full group", joinReq("g", "", nil, "range"), 0, 9, "{ErrorCode:81,Generation:-1,SkipAssignment:false}")
	w2 := newGroupWire(t, nil)
	w2.stable("g", "i")
	w2.wants("another type", connect, 0, 9, "{ErrorCode:23,Generation:-1,SkipAssignment:false}")
	w2.wants("another protocol", joinReq("g", "", nil, "roundrobin"), 0, 9, "{ErrorCode:23,Generation:-1,SkipAssignment:false}")
}

func TestRule092_StaticMemberComesBackWithoutARebalance(t *testing.T) {
	w := newGroupWire(t, nil)
	old := w.stable("g", "i")
	joined := "{ErrorCode:0,Generation:1,ProtocolType:consumer,Protocol:range,LeaderID:i-UUID,SkipAssignment:"
	w.wants("v9 leads and skips (KIP-814, C80)", joinReq("g", "", ptr("i"), "range"), 9, 9,
		joined+"true,MemberID:i-UUID,Members:[{MemberID:i-UUID,InstanceID:i,ProtocolMetadata:AAAAAAABAAF0/////w==}]}")
	r := w.Do(brokertest.At(8, joinReq("g", "", ptr("i"), "range"))).(*kmsg.JoinGroupResponse)
	if text(r) != joined+"false,MemberID:i-UUID}" || r.LeaderID == r.MemberID {
		t.Errorf("v8: %s", text(r))
	}
	w.wants("its assignment", syncReq("g", r.MemberID, ptr("i"), 1), 5, 5,
		"{ErrorCode:0,ProtocolType:consumer,Protocol:range,MemberAssignment:UDA=}")
	w.wants("no rebalance", heartbeatReq("g", r.MemberID, ptr("i"), 1), 3, 4, "{ErrorCode:0}")

	w.wants("join of the old one", joinReq("g", old, ptr("i"), "range"), 5, 9,
		"{ErrorCode:82,Generation:-1,SkipAssignment:false,MemberID:i-UUID}")
	w.wants("sync of the old one", syncReq("g", old, ptr("i"), 1), 3, 5, "{ErrorCode:82}")
	w.wants("heartbeat of the old one", heartbeatReq("g", old, ptr("i"), 1), 3, 4, "{ErrorCode:82}")
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Group, leave.Members = "g", []kmsg.LeaveGroupRequestMember{{MemberID: old, InstanceID: ptr("i")}}
	w.wants("leave of the old one", leave, 3, 5, "{ErrorCode:0,Members:[{MemberID:i-UUID,InstanceID:i,ErrorCode:82}]}")
	commit := w.commitReq("g", old, ptr("i"), 1, 3, nil)
	commit.Topics = commit.Topics[1:]
	w.wants("commit of the old one", commit, 7, 9, "{Topics:[{Topic:t,Partitions:[{Partition:7,ErrorCode:3},"+
		"{Partition:0,ErrorCode:82},{Partition:1,ErrorCode:82}]}]}")
}

func TestRule090_SyncGroup(t *testing.T) {
	w := newGroupWire(t, nil)
	w.wants("no group", syncReq("", "m", nil, 1), 0, 5, "{ErrorCode:24}")
	w.wants("an unknown group", syncReq("g", "m", nil, 1), 0, 5, "{ErrorCode:25}")
	noType := syncReq("g", "m", nil, 1)
	noType.ProtocolType = nil
	w.wants("no protocol type", noType, 5, 5, "{ErrorCode:23}")
	w.wants("no protocol type", noType, 0, 4, "{ErrorCode:25}")
	m := w.stable("g", "i")
	w.wants("another generation", syncReq("g", m, ptr("i"), 2), 3, 5, "{ErrorCode:22}")
	w.wants("an unknown member", syncReq("g", "x", nil, 1), 0, 5, "{ErrorCode:25}")
	wrong := syncReq("g", m, ptr("i"), 1)
	wrong.Protocol = ptr("roundrobin")
	w.wants("another protocol", wrong, 5, 5, "{ErrorCode:23}")
	w.wants("a stable group", syncReq("g", m, ptr("i"), 1), 3, 4, "{ErrorCode:0,MemberAssignment:UDA=}")
	go w.broker.Dial().Send(w.Encode(brokertest.At(3, joinReq("g", "", nil, "range"))))
	eventually(t, func() bool {
		return w.Do(brokertest.Latest(syncReq("g", m, ptr("i"), 1))).(*kmsg.SyncGroupResponse).ErrorCode == 27
	})
}

func TestRule091_Heartbeat(t *testing.T) {
	w := newGroupWire(t, nil)
	w.wants("no group", heartbeatReq("", "m", nil, 1), 0, 4, "{ErrorCode:24}")
	w.wants("an unknown group", heartbeatReq("g", "m", nil, 1), 0, 4, "{ErrorCode:25}")
	m := w.stable("g", "i")
	w.wants("an unknown member", heartbeatReq("g", "x", nil, 1), 0, 4, "{ErrorCode:25}")
	w.wants("another generation", heartbeatReq("g", m, ptr("i"), 2), 3, 4, "{ErrorCode:22}")
	w.wants("another instance", heartbeatReq("g", m, ptr("j"), 1), 3, 4, "{ErrorCode:25}")
	w.wants("all is well", heartbeatReq("g", m, ptr("i"), 1), 0, 4, "{ErrorCode:0}")
}

func TestRule093_LeaveGroup(t *testing.T) {
	w := newGroupWire(t, nil)
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.MemberID, leave.Members = "m", []kmsg.LeaveGroupRequestMember{{MemberID: "m"}}
	w.wants("no group", leave, 0, 5, "{ErrorCode:24}")
	leave.Group = "g"
	w.wants("an unknown group, one member", leave, 0, 2, "{ErrorCode:25}")
	w.wants("an unknown group", leave, 3, 5, "{ErrorCode:0,Members:[{MemberID:m,ErrorCode:25}]}")
	w.stable("g", "i")
	leave.Members = []kmsg.LeaveGroupRequestMember{{InstanceID: ptr("i")}, {InstanceID: ptr("j")}, {MemberID: "m"}}
	w.wants("by instance", leave, 5, 5,
		"{ErrorCode:0,Members:[{InstanceID:i,ErrorCode:0},{InstanceID:j,ErrorCode:25},{MemberID:m,ErrorCode:25}]}")
}

// A rebalance of two, over the wire: who is in which generation, who leads, and what a follower is given.
func TestC81_C82_ARebalanceOfTwo(t *testing.T) {
	w := newGroupWire(t, nil)
	w2 := &groupWire{Client: w.broker.Dial(), broker: w.broker}
	a := w.stable("g", "a")
	reqB := brokertest.Latest(joinReq("g", "", ptr("b"), "range"))
	w2.Send(w2.Encode(reqB))
	eventually(t, func() bool {
		return w.Do(brokertest.Latest(heartbeatReq("g", a, ptr("a"), 1))).(*kmsg.HeartbeatResponse).ErrorCode == 27
	})
	ja := w.Do(brokertest.Latest(joinReq("g", a, ptr("a"), "range"))).(*kmsg.JoinGroupResponse)
	jb := w2.Answer(reqB).(*kmsg.JoinGroupResponse)
	if ja.Generation != 2 || jb.Generation != 2 || ja.LeaderID != a || jb.LeaderID != a || len(ja.Members) != 2 || len(jb.Members) != 0 {
		t.Fatalf("a: %s\nb: %s", text(ja), text(jb))
	}
	syncB := brokertest.Latest(syncReq("g", jb.MemberID, ptr("b"), 2))
	w2.Send(w2.Encode(syncB))
	w.wants("the leader gives b nothing", syncReq("g", a, ptr("a"), 2, a, "P0"), 5, 5,
		"{ErrorCode:0,ProtocolType:consumer,Protocol:range,MemberAssignment:UDA=}")
	if got := text(w2.Answer(syncB)); got != "{ErrorCode:0,ProtocolType:consumer,Protocol:range}" {
		t.Errorf("the follower without an assignment: %s", got)
	}
}
