//go:build compat

package differential

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var groupScripts = []script{
	{"find-coordinator", scriptFindCoordinator},
	{"join-refused", scriptJoinRefused},
	{"group-of-one", scriptGroupOfOne},
	{"group-of-two", scriptGroupOfTwo},
	{"static-members", scriptStaticMembers},
	{"list-and-describe-groups", scriptListGroups},
	{"delete-groups", scriptDeleteGroups},
}

// coordinate waits until groups can be used at all: the first request makes the offsets topic.
func (s *session) coordinate(group string) {
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.CoordinatorKey = group
	s.until("coordinator", req, func(r kmsg.Response) bool { return r.(*kmsg.FindCoordinatorResponse).ErrorCode == 0 })
	list := kmsg.NewPtrHeartbeatRequest()
	list.Group, list.MemberID = group, "nobody"
	s.until("group loaded", list, func(r kmsg.Response) bool { return r.(*kmsg.HeartbeatResponse).ErrorCode == 25 })
}

func scriptFindCoordinator(s *session) {
	s.coordinate(s.name("g"))
	s.each(10, func(v int16) {
		find := func(label string, kind int8, keys ...string) {
			req := kmsg.NewPtrFindCoordinatorRequest()
			req.Version, req.CoordinatorType = v, kind
			if v < 4 {
				req.CoordinatorKey = keys[0]
			} else {
				req.CoordinatorKeys = keys
			}
			s.ask(label, req)
		}
		find("group", 0, s.name("g"))
		find("empty name", 0, "")
		find("strange name", 0, "ä b/c\x00")
		if v >= 1 {
			find("type 3", 3, "g")
			find("type -1", -1, "g")
		}
		if v >= 4 {
			find("two", 0, s.name("g"), s.name("h"))
			find("twice", 0, s.name("g"), s.name("g"))
			find("none", 0)
		}
	})
}

// joining is a request to join with one protocol, "range".
func joining(v int16, group, member string) *kmsg.JoinGroupRequest {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.MemberID, req.ProtocolType = v, group, member, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 30_000, 30_000
	req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte("metadata")}}
	return req
}

// member joins quietly, in the two steps of newer versions, and returns the answer. It gives up when it is refused.
func (s *session) member(req *kmsg.JoinGroupRequest) *kmsg.JoinGroupResponse {
	resp, _ := s.quiet(req).(*kmsg.JoinGroupResponse)
	if resp != nil && resp.ErrorCode == 79 {
		req.MemberID = resp.MemberID
		resp, _ = s.quiet(req).(*kmsg.JoinGroupResponse)
	}
	if resp == nil || resp.ErrorCode != 0 {
		s.fail("join %s: %+v", req.Group, resp)
	}
	return resp
}

func scriptJoinRefused(s *session) {
	s.each(11, func(v int16) {
		group := s.name("g" + string(rune('a'+v)))
		s.coordinate(group)
		refused := func(label string, change func(*kmsg.JoinGroupRequest)) {
			req := joining(v, group, "")
			change(req)
			s.ask(label, req)
		}
		refused("empty group", func(r *kmsg.JoinGroupRequest) { r.Group = "" })
		refused("session too short", func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 5999 })
		refused("session too long", func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 1_800_001 })
		refused("session negative", func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = -1 })
		refused("no protocols", func(r *kmsg.JoinGroupRequest) { r.Protocols = nil })
		refused("empty protocol type", func(r *kmsg.JoinGroupRequest) { r.ProtocolType = "" })
		refused("unknown member", func(r *kmsg.JoinGroupRequest) { r.MemberID = "nobody" })
		if v >= 4 {
			refused("without a member id", func(*kmsg.JoinGroupRequest) {})
		}
		if v >= 5 {
			refused("unknown member with an instance",
				func(r *kmsg.JoinGroupRequest) { r.MemberID, r.InstanceID = "nobody", ptr("i") })
			for i, instance := range []string{"", "a b", "..", strings.Repeat("i", 249), strings.Repeat("i", 250)} {
				other := group + "-" + string(rune('a'+i)) // what is not refused would wait for the next
				s.coordinate(other)
				refused("instance "+instance[:min(3, len(instance))],
					func(r *kmsg.JoinGroupRequest) { r.Group, r.InstanceID = other, &instance })
			}
		}
	})
}

// versionsOf are the versions of the other group requests that belong to JoinGroup v.
type versionsOf struct{ sync, heartbeat, leave, describe int16 }

func with(v int16) versionsOf { return versionsOf{min(v, 5), min(v, 4), min(v, 5), min(v, 6)} }

func syncing(v int16, group, member string, generation int32,
	assignments ...kmsg.SyncGroupRequestGroupAssignment) *kmsg.SyncGroupRequest {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Version, req.Group, req.MemberID, req.Generation, req.GroupAssignment = v, group, member, generation, assignments
	return req
}

func assign(member, what string) kmsg.SyncGroupRequestGroupAssignment {
	return kmsg.SyncGroupRequestGroupAssignment{MemberID: member, MemberAssignment: []byte(what)}
}

func heartbeat(v int16, group, member string, generation int32) *kmsg.HeartbeatRequest {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Version, req.Group, req.MemberID, req.Generation = v, group, member, generation
	return req
}

func leaving(v int16, group string, members ...string) *kmsg.LeaveGroupRequest {
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Version, req.Group = v, group
	for _, m := range members {
		req.MemberID = m
		req.Members = append(req.Members, kmsg.LeaveGroupRequestMember{MemberID: m})
	}
	return req
}

func (s *session) describe(label string, v int16, groups ...string) {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Version, req.Groups = v, groups
	s.askOnly(label, req, func(r kmsg.Response) {
		for i := range r.(*kmsg.DescribeGroupsResponse).Groups {
			members := r.(*kmsg.DescribeGroupsResponse).Groups[i].Members
			for j := range members {
				members[j].MemberAssignment, _ = s.anonymousBytes(members[j].MemberAssignment)
			}
		}
	})
}

func scriptGroupOfOne(s *session) {
	s.each(11, func(v int16) {
		group := s.name("g" + string(rune('a'+v)))
		s.coordinate(group)
		o := with(v)
		s.ask("heartbeat of an unknown group", heartbeat(o.heartbeat, group, "nobody", 1))
		s.ask("heartbeat of an empty name", heartbeat(o.heartbeat, "", "nobody", 1))
		s.ask("sync of an unknown group", syncing(o.sync, group, "nobody", 1))
		s.ask("leave of an unknown group", leaving(o.leave, group, "nobody"))
		join := joining(v, group, "")
		first, _ := s.ask("joins", join).(*kmsg.JoinGroupResponse)
		if first == nil {
			s.fail("no answer")
		}
		id := first.MemberID
		if first.ErrorCode == 79 {
			join.MemberID = id
			first, _ = s.ask("joins with its id", join).(*kmsg.JoinGroupResponse)
		}
		g := first.Generation
		s.ask("heartbeat before sync", heartbeat(o.heartbeat, group, id, g))
		s.describe("before sync", o.describe, group)
		s.ask("sync of another generation", syncing(o.sync, group, id, g+1))
		s.ask("sync of another member", syncing(o.sync, group, "nobody", g))
		if o.sync >= 5 {
			wrong := syncing(o.sync, group, id, g)
			wrong.ProtocolType = ptr("connect")
			s.ask("sync with another protocol type", wrong)
			wrong = syncing(o.sync, group, id, g)
			wrong.ProtocolType, wrong.Protocol = ptr("consumer"), ptr("sticky")
			s.ask("sync with another protocol", wrong)
		}
		s.ask("sync", syncing(o.sync, group, id, g, assign(id, "work")))
		s.ask("sync again", syncing(o.sync, group, id, g))
		s.ask("sync again with another assignment", syncing(o.sync, group, id, g, assign(id, "other")))
		s.ask("heartbeat", heartbeat(o.heartbeat, group, id, g))
		s.ask("heartbeat of an older generation", heartbeat(o.heartbeat, group, id, g-1))
		s.ask("heartbeat of a later generation", heartbeat(o.heartbeat, group, id, g+1))
		s.ask("heartbeat of an unknown member", heartbeat(o.heartbeat, group, "nobody", g))
		s.describe("stable", o.describe, group)
		if o.heartbeat >= 3 {
			h := heartbeat(o.heartbeat, group, id, g)
			h.InstanceID = ptr("i")
			s.ask("heartbeat with an instance", h)
		}
		other := joining(v, group, "")
		other.ProtocolType = "connect"
		s.ask("join with another protocol type", other)
		other = joining(v, group, "")
		other.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "sticky", Metadata: []byte("m")}}
		s.ask("join with another protocol", other)
		again := joining(v, group, id)
		s.ask("joins again, unchanged", again)
		again.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte("changed")}}
		changed, _ := s.ask("joins again, changed", again).(*kmsg.JoinGroupResponse)
		if changed != nil {
			g = changed.Generation
		}
		s.ask("sync with no assignment", syncing(o.sync, group, id, g))
		s.ask("leave of another member", leaving(o.leave, group, "nobody"))
		s.ask("leaves", leaving(o.leave, group, id))
		s.ask("heartbeat after leaving", heartbeat(o.heartbeat, group, id, g))
		s.ask("leaves again", leaving(o.leave, group, id))
		s.describe("empty", o.describe, group)
		if o.leave >= 3 {
			s.ask("nobody leaves", leaving(o.leave, group))
			s.ask("several leave", leaving(o.leave, group, id, "nobody"))
		}
	})
}

func scriptGroupOfTwo(s *session) {
	for _, v := range []int16{0, 1, 2, 4, 5, 7, 9} {
		group := s.name("g" + string(rune('a'+v)))
		s.coordinate(group)
		o := with(v)
		one := s.member(joining(v, group, ""))
		s.ask("first syncs", syncing(o.sync, group, one.MemberID, one.Generation, assign(one.MemberID, "all")))
		second := joining(v, group, "")
		second.Protocols = append([]kmsg.JoinGroupRequestProtocol{{Name: "sticky", Metadata: []byte("s")}},
			second.Protocols...)
		if v >= 4 {
			resp, _ := s.quiet(second).(*kmsg.JoinGroupResponse)
			if resp == nil || resp.ErrorCode != 79 {
				s.fail("no member id: %+v", resp)
			}
			second.MemberID = resp.MemberID
		}
		two := s.start("second joins", second)
		s.until("rebalance", heartbeat(o.heartbeat, group, one.MemberID, one.Generation), func(r kmsg.Response) bool {
			return r.(*kmsg.HeartbeatResponse).ErrorCode == 27
		})
		s.ask("heartbeat of the first", heartbeat(o.heartbeat, group, one.MemberID, one.Generation))
		s.ask("first syncs in the old generation", syncing(o.sync, group, one.MemberID, one.Generation))
		s.ask("first commits during the rebalance", commit(min(v, 8), group, one.MemberID, one.Generation, "t", 0, 1))
		resp, _ := s.ask("first joins again", joining(v, group, one.MemberID)).(*kmsg.JoinGroupResponse)
		answer, _ := two().(*kmsg.JoinGroupResponse)
		if resp == nil || answer == nil {
			s.fail("no answers")
		}
		g, a, b := resp.Generation, one.MemberID, answer.MemberID
		s.ask("heartbeat before sync", heartbeat(o.heartbeat, group, b, g))
		follower := s.start("second syncs", syncing(o.sync, group, b, g))
		s.ask("first syncs for both", syncing(o.sync, group, a, g, assign(a, "half"), assign(b, "other half")))
		follower()
		s.describe("both", o.describe, group)
		second.MemberID = b
		follower = s.start("second rejoins", second)
		if r, ok := follower().(*kmsg.JoinGroupResponse); ok && r.ErrorCode == 0 {
			s.ask("second syncs again", syncing(o.sync, group, b, g))
		}
		s.ask("first leaves", leaving(o.leave, group, a))
		s.ask("heartbeat of the second", heartbeat(o.heartbeat, group, b, g))
		last, _ := s.ask("second joins again", joining(v, group, b)).(*kmsg.JoinGroupResponse)
		if last != nil {
			s.ask("and syncs", syncing(o.sync, group, b, last.Generation, assign(b, "all")))
		}
		s.ask("heartbeat of who has left", heartbeat(o.heartbeat, group, a, g))
		s.ask("second leaves", leaving(o.leave, group, b))
		s.describe("nobody", o.describe, group)
	}
}

func scriptStaticMembers(s *session) {
	for _, v := range []int16{5, 6, 7, 8, 9} {
		group := s.name("g" + string(rune('a'+v)))
		s.coordinate(group)
		o := with(v)
		static := func(member string) *kmsg.JoinGroupRequest {
			req := joining(v, group, member)
			req.InstanceID = ptr("instance-1")
			return req
		}
		first, _ := s.ask("joins", static("")).(*kmsg.JoinGroupResponse)
		if first == nil || first.ErrorCode != 0 {
			s.fail("join: %+v", first)
		}
		old, g := first.MemberID, first.Generation
		instance := func(req *kmsg.SyncGroupRequest) *kmsg.SyncGroupRequest {
			req.InstanceID = ptr("instance-1")
			return req
		}
		s.ask("syncs", instance(syncing(o.sync, group, old, g, assign(old, "all"))))
		s.describe("stable", o.describe, group)
		back, _ := s.ask("comes back without an id", static("")).(*kmsg.JoinGroupResponse)
		if back == nil {
			s.fail("no answer")
		}
		s.ask("syncs again", instance(syncing(o.sync, group, back.MemberID, back.Generation, assign(back.MemberID, "all"))))
		beat := func(member, inst string) *kmsg.HeartbeatRequest {
			req := heartbeat(o.heartbeat, group, member, back.Generation)
			req.InstanceID = &inst
			return req
		}
		s.ask("heartbeat", beat(back.MemberID, "instance-1"))
		s.ask("heartbeat of the old id", beat(old, "instance-1"))
		s.ask("heartbeat of another instance", beat(back.MemberID, "instance-2"))
		s.ask("heartbeat without the instance", heartbeat(o.heartbeat, group, back.MemberID, back.Generation))
		s.ask("sync of the old id", instance(syncing(o.sync, group, old, back.Generation)))
		s.ask("join of the old id", static(old))
		oldCommit := commit(7, group, old, back.Generation, "t", 0, 1)
		oldCommit.InstanceID = ptr("instance-1")
		s.ask("commit of the old id", oldCommit)
		leave := func(label, member string, inst *string) {
			req := leaving(o.leave, group, member)
			req.Members[0].InstanceID = inst
			s.ask(label, req)
		}
		leave("the old id leaves", old, ptr("instance-1"))
		leave("an unknown instance leaves", "", ptr("instance-9"))
		leave("leaves by its instance", "", ptr("instance-1"))
		leave("leaves again", "", ptr("instance-1"))
		s.describe("empty", o.describe, group)
	}
}

func scriptListGroups(s *session) {
	stable, empty := s.name("stable"), s.name("empty")
	s.coordinate(stable)
	s.coordinate(empty)
	topic, _ := s.topic("t", 1)
	m := s.member(joining(5, stable, ""))
	s.quiet(syncing(3, stable, m.MemberID, m.Generation, assign(m.MemberID, "all")))
	s.quiet(commit(5, empty, "", -1, topic, 0, 3))
	own := func(r kmsg.Response) {
		resp := r.(*kmsg.ListGroupsResponse)
		resp.Groups = without(resp.Groups, func(g kmsg.ListGroupsResponseGroup) bool {
			return !strings.HasPrefix(g.Group, s.prefix)
		})
	}
	s.each(16, func(v int16) {
		list := func(label string, states, types []string) {
			req := kmsg.NewPtrListGroupsRequest()
			req.Version, req.StatesFilter, req.TypesFilter = v, states, types
			s.askOnly(label, req, own)
		}
		list("all", nil, nil)
		if v >= 4 {
			for _, state := range []string{"Stable", "stable", "Empty", "Dead", "PreparingRebalance", "CompletingRebalance",
				"nonsense", ""} {
				list("state "+state, []string{state}, nil)
			}
			list("two states", []string{"Stable", "Empty"}, nil)
		}
		if v >= 5 {
			for _, kind := range []string{"classic", "Classic", "consumer", "share", "streams", "nonsense", ""} {
				list("type "+kind, nil, []string{kind})
			}
			list("state and type", []string{"Empty"}, []string{"classic"})
		}
	})
	s.each(15, func(v int16) {
		s.describe("several", v, stable, empty, s.name("unknown"))
		s.describe("twice", v, empty, empty)
		s.describe("none", v)
		if v >= 3 {
			req := kmsg.NewPtrDescribeGroupsRequest()
			req.Version, req.Groups, req.IncludeAuthorizedOperations = v, []string{stable, s.name("unknown")}, true
			s.ask("operations", req)
		}
	})
}

func scriptDeleteGroups(s *session) {
	s.each(42, func(v int16) {
		tag := string(rune('a' + v))
		stable, empty := s.name("stable"+tag), s.name("empty"+tag)
		s.coordinate(stable)
		s.coordinate(empty)
		topic, _ := s.topic("t"+tag, 2)
		m := s.member(joining(5, stable, ""))
		s.quiet(syncing(3, stable, m.MemberID, m.Generation, assign(m.MemberID, "all")))
		s.quiet(commit(5, empty, "", -1, topic, 0, 3))
		req := kmsg.NewPtrDeleteGroupsRequest()
		req.Version, req.Groups = v, []string{stable, empty, s.name("unknown")}
		s.ask("several", req)
		s.ask("again", req)
		s.describe("afterwards", 6, stable, empty)
		s.ask("its offsets", fetchOffsets(5, empty, topic, 0))
		req.Groups = nil
		s.ask("none", req)
	})
	group := s.name("offsets")
	s.coordinate(group)
	topic, _ := s.topic("offsets", 3)
	for p := range int32(2) {
		s.quiet(commit(5, group, "", -1, topic, p, 5))
	}
	forget := func(label, group, topic string, partitions ...int32) {
		req := kmsg.NewPtrOffsetDeleteRequest()
		req.Group = group
		t := kmsg.NewOffsetDeleteRequestTopic()
		t.Topic = topic
		for _, p := range partitions {
			t.Partitions = append(t.Partitions, kmsg.OffsetDeleteRequestTopicPartition{Partition: p})
		}
		req.Topics = append(req.Topics, t)
		s.ask(label, req)
	}
	forget("one", group, topic, 0)
	forget("again, one without, one unknown", group, topic, 0, 2, 9)
	s.ask("what is left", fetchOffsets(5, group, topic, 0, 1, 2))
	forget("unknown topic", group, s.name("none"), 0)
	forget("unknown group", s.name("nobody"), topic, 0)
	forget("empty group", "", topic, 0)
	live := s.name("live")
	s.coordinate(live)
	subscribed := joining(5, live, "")
	subscribed.Protocols[0].Metadata = subscription(topic)
	m := s.member(subscribed)
	s.quiet(syncing(3, live, m.MemberID, m.Generation, assign(m.MemberID, "")))
	s.quiet(commit(5, live, m.MemberID, m.Generation, topic, 0, 5))
	other, _ := s.topic("other", 1)
	s.quiet(commit(5, live, m.MemberID, m.Generation, other, 0, 5))
	forget("topic that a member reads", live, topic, 0)
	forget("topic that no member reads", live, other, 0)
	s.ask("what is left", fetchOffsets(5, live, topic, 0))
	s.ask("what is left", fetchOffsets(5, live, other, 0))
}

// subscription is what consumers send as the metadata of their protocol.
func subscription(topics ...string) []byte {
	m := kmsg.NewConsumerMemberMetadata()
	m.Topics = topics
	return m.AppendTo(nil)
}
