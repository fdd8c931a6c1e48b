//go:build compat

package differential

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// conversionScripts are about live groups that change between the classic and the consumer protocol.
var conversionScripts = []script{
	{"upgrade-and-downgrade", scriptUpgradeAndDowngrade},
	{"classic-in-consumer-group", scriptClassicInConsumerGroup},
	{"upgrade-refused", scriptUpgradeRefused},
}

// subscribing is a JoinGroup of a real consumer: its metadata can be read.
func subscribing(v int16, group, member string, instance *string, topic string, owned ...int32) *kmsg.JoinGroupRequest {
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Version, meta.Topics, meta.Generation = 3, []string{topic}, -1
	if len(owned) > 0 {
		o := kmsg.NewConsumerMemberMetadataOwnedPartition()
		o.Topic, o.Partitions = topic, owned
		meta.OwnedPartitions = append(meta.OwnedPartitions, o)
	}
	req := joining(v, group, member)
	req.InstanceID = instance
	req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: meta.AppendTo(nil)}}
	return req
}

// given is an assignment that a real consumer can read.
func given(member, topic string, partitions ...int32) kmsg.SyncGroupRequestGroupAssignment {
	a := kmsg.NewConsumerMemberAssignment()
	t := kmsg.NewConsumerMemberAssignmentTopic()
	t.Topic, t.Partitions = topic, partitions
	a.Topics = append(a.Topics, t)
	return kmsg.SyncGroupRequestGroupAssignment{MemberID: member, MemberAssignment: a.AppendTo(nil)}
}

func partitionsOf(r *kmsg.ConsumerGroupHeartbeatResponse) (all []int32) {
	if r.Assignment != nil {
		for _, t := range r.Assignment.Topics {
			all = append(all, t.Partitions...)
		}
	}
	return all
}

// syncs asks for an assignment and returns its partitions.
func (s *session) syncs(label string, req *kmsg.SyncGroupRequest) (partitions []int32) {
	s.askOnly(label, req, func(r kmsg.Response) {
		resp := r.(*kmsg.SyncGroupResponse)
		resp.MemberAssignment, partitions = s.anonymousBytes(resp.MemberAssignment)
	})
	return partitions
}

// anonymousBytes is anonymous for an assignment of the classic protocol, with the partitions that were in it.
func (s *session) anonymousBytes(assignment []byte) (masked []byte, partitions []int32) {
	var a kmsg.ConsumerMemberAssignment
	if !s.anyPartition || a.ReadFrom(assignment) != nil {
		return assignment, nil
	}
	for i, t := range a.Topics {
		partitions = append(partitions, t.Partitions...)
		a.Topics[i].Partitions = s.anonymous(t.Partitions)
	}
	return a.AppendTo(nil), partitions
}

func scriptUpgradeAndDowngrade(s *session) {
	s.anyPartition = true
	topic, id := s.subscribable("t", 4)
	for _, v := range []int16{3, 5, 9} {
		group := s.name("g" + string(rune('a'+v)))
		s.coordinate(group)
		o := with(v)
		old := s.member(subscribing(v, group, "", nil, topic))
		s.ask("the old member syncs", syncing(o.sync, group, old.MemberID, old.Generation,
			given(old.MemberID, topic, 0, 1, 2, 3)))
		s.describe("all old", o.describe, group)
		e := s.beats("a new member joins", entering(1, group, "new", topic)).MemberEpoch
		s.looks("upgraded", group)
		s.describe("upgraded", o.describe, group)
		s.ask("heartbeat of the old one", heartbeat(o.heartbeat, group, old.MemberID, old.Generation))
		s.beats("the new one waits", beat(1, group, "new", e))
		again, _ := s.ask("the old one joins again",
			subscribing(v, group, old.MemberID, nil, topic, 0, 1, 2, 3)).(*kmsg.JoinGroupResponse)
		if again == nil || again.ErrorCode != 0 {
			s.fail("join: %+v", again)
		}
		g := again.Generation
		keeps := s.syncs("the old one syncs again", syncing(o.sync, group, old.MemberID, g))
		s.looks("the old one revokes", group)
		s.ask("heartbeat while it revokes", heartbeat(o.heartbeat, group, old.MemberID, g))
		again, _ = s.ask("the old one has revoked",
			subscribing(v, group, old.MemberID, nil, topic, keeps...)).(*kmsg.JoinGroupResponse)
		if again == nil || again.ErrorCode != 0 {
			s.fail("join: %+v", again)
		}
		g = again.Generation
		s.syncs("and syncs", syncing(o.sync, group, old.MemberID, g))
		s.looks("the old one is done", group)
		s.ask("heartbeat when it is done", heartbeat(o.heartbeat, group, old.MemberID, g))
		s.ask("heartbeat of an older generation", heartbeat(o.heartbeat, group, old.MemberID, g-1))
		s.ask("heartbeat of a later generation", heartbeat(o.heartbeat, group, old.MemberID, g+1))
		s.ask("sync of a later generation", syncing(o.sync, group, old.MemberID, g+1))
		r := s.beats("the new one gets its part", beat(1, group, "new", e))
		s.looks("both", group)
		for _, cv := range []int16{7, 8, 9} {
			s.ask("the old one commits", commit(cv, group, old.MemberID, g, topic, 0, 5))
			s.ask("the old one commits in a later generation", commit(cv, group, old.MemberID, g+1, topic, 0, 5))
			s.ask("the old one commits in an older generation", commit(cv, group, old.MemberID, g-1, topic, 0, 5))
		}
		s.beats("the new one has its part", having(1, group, "new", r.MemberEpoch, id, partitionsOf(r)...))
		s.beats("the new one leaves", beat(1, group, "new", -1))
		s.looks("downgraded", group)
		s.describe("downgraded", o.describe, group)
		s.ask("heartbeat after the downgrade", heartbeat(o.heartbeat, group, old.MemberID, g))
		again, _ = s.ask("the old one joins the old group",
			subscribing(v, group, old.MemberID, nil, topic, keeps...)).(*kmsg.JoinGroupResponse)
		if again != nil {
			s.ask("and syncs in it", syncing(o.sync, group, old.MemberID, again.Generation,
				given(old.MemberID, topic, 0, 1, 2, 3)))
		}
		s.describe("as before", o.describe, group)
		s.ask("offsets", fetchOffsets(8, group, topic, 0, 1))
		s.ask("the old one leaves", leaving(o.leave, group, old.MemberID))
		s.describe("empty", o.describe, group)
	}
}

func scriptClassicInConsumerGroup(s *session) {
	s.anyPartition = true
	topic, id := s.subscribable("t", 2)
	for _, v := range []int16{0, 2, 4, 5, 7, 9} {
		group := s.name("g" + string(rune('a'+v)))
		s.coordinate(group)
		o := with(v)
		e := s.beats("new", entering(1, group, "new", topic)).MemberEpoch
		s.beats("has all", having(1, group, "new", e, id, 0, 1))
		join := subscribing(v, group, "", nil, topic)
		first, _ := s.ask("an old one joins", join).(*kmsg.JoinGroupResponse)
		if first != nil && first.ErrorCode == 79 {
			join.MemberID = first.MemberID
			first, _ = s.ask("with its id", join).(*kmsg.JoinGroupResponse)
		}
		if first == nil || first.ErrorCode != 0 {
			s.fail("join: %+v", first)
		}
		m, g := first.MemberID, first.Generation
		s.looks("the old one is in", group)
		s.ask("heartbeat before sync", heartbeat(o.heartbeat, group, m, g))
		s.syncs("sync", syncing(o.sync, group, m, g))
		if o.sync >= 5 {
			wrong := syncing(o.sync, group, m, g)
			wrong.ProtocolType, wrong.Protocol = ptr("connect"), ptr("range")
			s.ask("sync with another type", wrong)
			wrong.ProtocolType, wrong.Protocol = ptr("consumer"), ptr("sticky")
			s.ask("sync with another protocol", wrong)
		}
		s.ask("heartbeat", heartbeat(o.heartbeat, group, m, g))
		s.syncs("sync again", syncing(o.sync, group, m, g))
		r := s.beats("new hears of it", beat(1, group, "new", e))
		if r.Assignment != nil && len(r.Assignment.Topics) > 0 {
			s.beats("new has revoked", having(1, group, "new", r.MemberEpoch, id, r.Assignment.Topics[0].Partitions...))
		}
		s.ask("heartbeat when there is something", heartbeat(o.heartbeat, group, m, g))
		again, _ := s.ask("joins again", subscribing(v, group, m, nil, topic)).(*kmsg.JoinGroupResponse)
		if again != nil && again.ErrorCode == 0 {
			g = again.Generation
			s.syncs("syncs for it", syncing(o.sync, group, m, g))
		}
		s.looks("both have theirs", group)
		other := subscribing(v, group, "", nil, topic)
		other.ProtocolType = "connect"
		s.ask("one of another type", other)
		other = joining(v, group, "")
		s.ask("one whose subscription cannot be read", other)
		s.ask("one that is not known", subscribing(v, group, "nobody", nil, topic))
		other = subscribing(v, group, m, nil, topic)
		other.Protocols[0].Name = "sticky"
		s.ask("another protocol than the others", other)
		s.ask("leave of somebody", leaving(o.leave, group, "nobody"))
		s.askOnly("leaves", leaving(o.leave, group, m), func(r kmsg.Response) {
			for i := range r.(*kmsg.LeaveGroupResponse).Members {
				r.(*kmsg.LeaveGroupResponse).Members[i].MemberID = "<made>"
			}
		})
		s.ask("heartbeat after", heartbeat(o.heartbeat, group, m, g))
		s.looks("only new", group)
		if v >= 5 {
			static := subscribing(v, group, "", ptr("inst"), topic)
			in, _ := s.ask("a static old one joins", static).(*kmsg.JoinGroupResponse)
			if in == nil || in.ErrorCode != 0 {
				s.fail("join: %+v", in)
			}
			sync := syncing(o.sync, group, in.MemberID, in.Generation)
			sync.InstanceID = ptr("inst")
			s.syncs("the static one syncs", sync)
			back, _ := s.ask("the static one comes back", subscribing(v, group, "", ptr("inst"), topic)).(*kmsg.JoinGroupResponse)
			if back == nil {
				s.fail("no answer")
			}
			sync = syncing(o.sync, group, back.MemberID, back.Generation)
			sync.InstanceID = ptr("inst")
			s.syncs("and syncs", sync)
			fenced := heartbeat(o.heartbeat, group, in.MemberID, in.Generation)
			fenced.InstanceID = ptr("inst")
			s.ask("heartbeat of its former self", fenced)
			s.looks("with the static one", group)
			taken := entering(1, group, "taker", topic)
			taken.InstanceID = ptr("inst")
			s.beats("a new one takes the instance", taken)
			s.looks("the instance is taken", group)
		}
	}
}

func scriptUpgradeRefused(s *session) {
	s.anyPartition = true
	topic, _ := s.subscribable("t", 2)
	for i, change := range []func(*kmsg.JoinGroupRequest){
		func(r *kmsg.JoinGroupRequest) { r.ProtocolType = "connect" },
		func(r *kmsg.JoinGroupRequest) { r.Protocols[0].Metadata = []byte("metadata") },
		func(r *kmsg.JoinGroupRequest) { r.Protocols[0].Metadata = nil },
		func(r *kmsg.JoinGroupRequest) { r.Protocols[0].Metadata = []byte{0, 9, 0, 0, 0, 0} },
	} {
		group := s.name(fmt.Sprint("g", i))
		s.coordinate(group)
		req := subscribing(5, group, "", nil, topic)
		change(req)
		old := s.member(req)
		s.ask("syncs", syncing(3, group, old.MemberID, old.Generation, given(old.MemberID, topic, 0, 1)))
		s.beats("new", entering(1, group, "new", topic))
		s.ask("heartbeat", heartbeat(4, group, old.MemberID, old.Generation))
		s.describe("still old", 6, group)
	}
	group := s.name("h")
	s.coordinate(group)
	old := s.member(subscribing(5, group, "", nil, topic))
	s.ask("syncs with what cannot be read", syncing(3, group, old.MemberID, old.Generation, assign(old.MemberID, "all")))
	s.beats("new", entering(1, group, "new", topic))
	s.describe("after", 6, group)
	group = s.name("i")
	s.coordinate(group)
	old = s.member(subscribing(5, group, "", nil, topic))
	s.beats("while the group has no assignment", entering(1, group, "new", topic))
	s.ask("heartbeat after", heartbeat(4, group, old.MemberID, old.Generation))
	s.ask("the old one syncs late", syncing(3, group, old.MemberID, old.Generation, given(old.MemberID, topic, 0, 1)))
	s.looks("after", group)
}
