//go:build compat

package differential

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/compat-tests/harness"
)

// TestTimersOfGroupsAreKafkas lets sessions, rebalances and delays run out, and fills groups to their limits, with
// brokers that are configured for it. How long things take is not compared; what has become of the group is.
func TestTimersOfGroupsAreKafkas(t *testing.T) {
	quick := map[string]string{
		"offsets.topic.replication.factor": "1", "offsets.topic.num.partitions": "2",
		"group.initial.rebalance.delay.ms": "1500", "group.min.session.timeout.ms": "100", "group.max.size": "2",
		"group.consumer.max.size": "2", "group.consumer.session.timeout.ms": "2500",
		"group.consumer.min.session.timeout.ms": "500", "group.consumer.heartbeat.interval.ms": "400",
		"group.consumer.min.heartbeat.interval.ms": "100", "group.consumer.assignment.interval.ms": "1500",
		"offset.metadata.max.bytes": "10",
	}
	kafka := harness.Start(t, harness.Config{Kind: harness.Kafka, Properties: quick})
	other := harness.Start(t, harness.Config{Properties: quick})
	versions := announced(t, kafka)
	for _, sc := range timerScripts {
		t.Run(sc.title(), func(t *testing.T) {
			t.Parallel()
			compare(t, sc, kafka, other, versions)
		})
	}
}

var timerScripts = []script{
	{"timers-classic-session", scriptClassicSession},
	{"timers-classic-rebalance", scriptClassicRebalance},
	{"timers-classic-sync", scriptClassicSync},
	{"timers-classic-full", scriptClassicFull},
	{"timers-classic-static", scriptClassicStaticSession},
	{"timers-consumer-session", scriptConsumerSession},
	{"timers-consumer-rebalance", scriptConsumerRebalance},
	{"timers-consumer-full", scriptConsumerFull},
	{"timers-consumer-static", scriptConsumerStaticSession},
	{"timers-consumer-interval", scriptConsumerInterval},
	{"timers-metadata-size", scriptMetadataSize},
}

// short is a JoinGroup whose sessions and rebalances soon end.
func short(group, member string) *kmsg.JoinGroupRequest {
	req := joining(5, group, member)
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 2000, 2500
	return req
}

// heard repeats the classic heartbeat until it is answered so.
func (s *session) heard(what, group, member string, generation int32, code int16) {
	s.until(what, heartbeat(4, group, member, generation), func(r kmsg.Response) bool {
		return r.(*kmsg.HeartbeatResponse).ErrorCode == code
	})
	s.note("heard", fmt.Sprint(what, code))
}

// becomes waits until a classic group is in a state.
func (s *session) becomes(group, state string) {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Version, req.Groups = 5, []string{group}
	s.until(group+" is "+state, req, func(r kmsg.Response) bool {
		return r.(*kmsg.DescribeGroupsResponse).Groups[0].State == state
	})
	s.describe(state, 5, group)
}

func scriptClassicSession(s *session) {
	group := s.name("g")
	s.coordinate(group)
	one := s.member(short(group, ""))
	s.ask("syncs", syncing(3, group, one.MemberID, one.Generation, assign(one.MemberID, "all")))
	s.ask("heartbeat", heartbeat(3, group, one.MemberID, one.Generation))
	s.becomes(group, "Empty")
	s.ask("heartbeat after", heartbeat(3, group, one.MemberID, one.Generation))
	s.ask("join after", short(group, one.MemberID))
	two := s.member(short(group, ""))
	s.note("generation", fmt.Sprint(two.Generation))
}

func scriptClassicRebalance(s *session) {
	group := s.name("g")
	s.coordinate(group)
	long := short(group, "")
	long.SessionTimeoutMillis = 30_000
	one := s.member(long)
	s.ask("syncs", syncing(3, group, one.MemberID, one.Generation, assign(one.MemberID, "all")))
	second := short(group, "")
	second.SessionTimeoutMillis = 30_000
	resp, _ := s.quiet(second).(*kmsg.JoinGroupResponse)
	second.MemberID = resp.MemberID
	two := s.start("second joins", second)
	s.heard("rebalance", group, one.MemberID, one.Generation, 27)
	joined, _ := two().(*kmsg.JoinGroupResponse) // the first does not rejoin in time
	if joined == nil {
		s.fail("no answer")
	}
	s.ask("the first is out", heartbeat(3, group, one.MemberID, joined.Generation))
	s.ask("the second leads", syncing(3, group, second.MemberID, joined.Generation, assign(second.MemberID, "all")))
	s.describe("one is left", 5, group)
}

func scriptClassicSync(s *session) {
	group := s.name("g")
	s.coordinate(group)
	long := short(group, "")
	long.SessionTimeoutMillis = 30_000
	one := s.member(long)
	s.describe("has not synced", 5, group)
	s.becomes(group, "Empty") // the leader never syncs
	s.ask("heartbeat after", heartbeat(3, group, one.MemberID, one.Generation))
}

func scriptClassicFull(s *session) {
	group := s.name("g")
	s.coordinate(group)
	v3 := func() *kmsg.JoinGroupRequest {
		req := short(group, "")
		req.Version, req.SessionTimeoutMillis = 3, 30_000
		return req
	}
	one, two, three := s.start("one of three", v3()), s.start("two of three", v3()), s.start("three of three", v3())
	codes := map[int16]int{}
	for _, finish := range []func() kmsg.Response{one, two, three} {
		if r, ok := finish().(*kmsg.JoinGroupResponse); ok {
			codes[r.ErrorCode]++
		}
		s.steps = s.steps[:len(s.steps)-1] // who is the third is chance
	}
	s.note("codes", fmt.Sprint(codes))
}

func scriptClassicStaticSession(s *session) {
	group := s.name("g")
	s.coordinate(group)
	static := short(group, "")
	static.InstanceID = ptr("instance")
	one := s.member(static)
	sync := syncing(3, group, one.MemberID, one.Generation, assign(one.MemberID, "all"))
	sync.InstanceID = ptr("instance")
	s.ask("syncs", sync)
	s.becomes(group, "Empty")
	beat := heartbeat(3, group, one.MemberID, one.Generation)
	beat.InstanceID = ptr("instance")
	s.ask("heartbeat after", beat)
	s.ask("leaves after", leaving(4, group, one.MemberID))
}

// settles waits until a consumer group is in a state.
func (s *session) settles(group, state string) {
	req := kmsg.NewPtrConsumerGroupDescribeRequest()
	req.Version, req.Groups = 1, []string{group}
	s.until(group+" is "+state, req, func(r kmsg.Response) bool {
		return r.(*kmsg.ConsumerGroupDescribeResponse).Groups[0].State == state
	})
	s.looks(state, group)
}

func scriptConsumerSession(s *session) {
	topic, id := s.subscribable("t", 2)
	group := s.name("g")
	s.coordinate(group)
	e := s.beats("joins", entering(1, group, "one", topic)).MemberEpoch
	s.beats("has all", having(1, group, "one", e, id, 0, 1))
	s.settles(group, "Empty")
	s.beats("heartbeat after", beat(1, group, "one", e))
	s.beats("joins again", entering(1, group, "one", topic))
	s.looks("back", group)
}

func scriptConsumerRebalance(s *session) {
	topic, id := s.subscribable("t", 2)
	group := s.name("g")
	s.coordinate(group)
	first := entering(1, group, "one", topic)
	first.RebalanceTimeoutMillis = 1000
	e := s.beats("joins", first).MemberEpoch
	s.beats("has all", having(1, group, "one", e, id, 0, 1))
	second := s.beats("another joins", entering(1, group, "two", topic)).MemberEpoch
	// The first hears of it, is alive, and never gives back what it must.
	alive := beat(1, group, "one", e)
	other := beat(1, group, "two", second)
	s.until("the first is out", alive, func(r kmsg.Response) bool {
		resp := r.(*kmsg.ConsumerGroupHeartbeatResponse)
		if resp.ErrorCode == 0 {
			alive.MemberEpoch = resp.MemberEpoch
			if o, ok := s.quiet(other).(*kmsg.ConsumerGroupHeartbeatResponse); ok && o.ErrorCode == 0 {
				other.MemberEpoch = o.MemberEpoch
			}
		}
		return resp.ErrorCode != 0
	})
	s.beats("the first after", alive)
	s.until("the second has all", other, func(r kmsg.Response) bool {
		resp := r.(*kmsg.ConsumerGroupHeartbeatResponse)
		other.MemberEpoch = resp.MemberEpoch
		return resp.Assignment != nil && len(resp.Assignment.Topics) == 1 && len(resp.Assignment.Topics[0].Partitions) == 2
	})
	s.looksAt("one is left", group)
}

func scriptConsumerFull(s *session) {
	topic, _ := s.subscribable("t", 2)
	group := s.name("g")
	s.coordinate(group)
	s.quiet(entering(1, group, "one", topic))
	s.quiet(entering(1, group, "two", topic))
	s.beats("the third", entering(1, group, "three", topic))
	s.beats("the second again", entering(1, group, "two", topic))
	static := entering(1, group, "four", topic)
	static.InstanceID = ptr("i")
	s.beats("a static one", static)
	classic := subscribing(5, group, "", nil, topic)
	s.ask("an old one", classic)
}

func scriptConsumerStaticSession(s *session) {
	topic, id := s.subscribable("t", 2)
	group := s.name("g")
	s.coordinate(group)
	static := func(req *kmsg.ConsumerGroupHeartbeatRequest) *kmsg.ConsumerGroupHeartbeatRequest {
		req.InstanceID = ptr("instance")
		return req
	}
	e := s.beats("joins", static(entering(1, group, "one", topic))).MemberEpoch
	s.beats("has all", static(having(1, group, "one", e, id, 0, 1)))
	s.beats("goes for a while", static(beat(1, group, "one", -2)))
	s.settles(group, "Empty") // it does not come back
	s.beats("comes too late", static(entering(1, group, "two", topic)))
}

// scriptConsumerInterval is about members that join one after the other: the target is computed once in an interval.
func scriptConsumerInterval(s *session) {
	topic, id := s.subscribable("t", 4)
	group := s.name("g")
	s.coordinate(group)
	e := s.beats("joins", entering(1, group, "one", topic)).MemberEpoch
	s.beats("has all", having(1, group, "one", e, id, 0, 1, 2, 3))
	two := s.beats("another joins at once", entering(1, group, "two", topic))
	s.looks("the target waits", group)
	req := beat(1, group, "two", two.MemberEpoch)
	s.until("the target is there", req, func(r kmsg.Response) bool {
		resp := r.(*kmsg.ConsumerGroupHeartbeatResponse)
		changed := resp.MemberEpoch != two.MemberEpoch
		req.MemberEpoch = resp.MemberEpoch
		return changed
	})
	s.looks("the target is there", group)
}

func scriptMetadataSize(s *session) {
	topic, id := s.topic("t", 1)
	group := s.name("g")
	s.coordinate(group)
	for _, text := range []string{"", "0123456789", "0123456789a", "äöüäöüäöüä", "äöüäöüäöüäö", strings.Repeat("😀", 5), strings.Repeat("😀", 6)} {
		for _, v := range []int16{2, 6, 8, 9, 10} {
			req := commit(v, group, "", -1, topic, 0, 1)
			req.Topics[0].TopicID = id
			req.Topics[0].Partitions[0].Metadata = &text
			s.ask("text of "+fmt.Sprint(len(text)), req)
			s.ask("is read", fetchOffsets(8, group, topic, 0))
		}
	}
}
