package broker_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker"
	"moldau.io/moldau/broker/brokertest"
	"moldau.io/moldau/protocol"
)

// named makes the client tell its library, as real ones do.
func (w *groupWire) named(name, version string) {
	w.T.Helper()
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = name, version
	w.Do(brokertest.At(3, req))
}

// why waits until the broker says what ok wants to hear of a group.
func (w *groupWire) why(group, what string, ok func(*broker.GroupDetail) bool) *broker.GroupDetail {
	w.T.Helper()
	var d *broker.GroupDetail
	var err error
	defer func() {
		if w.T.Failed() {
			w.T.Logf("%s: %v %+v", what, err, d)
			if d != nil && d.Last != nil {
				w.T.Logf("last: %+v", d.Last)
			}
		}
	}()
	eventually(w.T, func() bool {
		d, err = w.broker.GroupDetail(group)
		return err == nil && ok(d)
	})
	return d
}

// because waits for the end of a rebalance with this cause and reason, and returns its journal in a line.
func (w *groupWire) because(group, cause, reason string, members int) string {
	w.T.Helper()
	form := regexp.MustCompile("^" + reason + "$")
	d := w.why(group, cause, func(d *broker.GroupDetail) bool {
		return d.Last != nil && d.Last.Ended != nil && d.Last.Cause == cause && form.MatchString(d.Last.Reason) &&
			d.Last.Members == members
	})
	var events []string
	for _, e := range d.Journal {
		events = append(events, e.Event)
	}
	return strings.Join(events, " ")
}

// joined is a member of a classic group after its JoinGroup.
func (w *groupWire) joined(req *kmsg.JoinGroupRequest) *kmsg.JoinGroupResponse {
	w.T.Helper()
	for {
		resp := w.Do(brokertest.Latest(req)).(*kmsg.JoinGroupResponse)
		if protocol.Code(resp.ErrorCode) == protocol.MemberIDRequired {
			req.MemberID = resp.MemberID
			continue
		}
		if resp.ErrorCode != 0 {
			w.T.Fatalf("join: %s", text(resp))
		}
		return resp
	}
}

func (w *groupWire) synced(group, member string, instance *string, generation int32) {
	w.T.Helper()
	req := syncReq(group, member, instance, generation, member, "all")
	if resp := w.Do(brokertest.Latest(req)).(*kmsg.SyncGroupResponse); resp.ErrorCode != 0 {
		w.T.Fatalf("sync: %s", text(resp))
	}
}

// another is a second connection to the same broker.
func (w *groupWire) another() *groupWire {
	return &groupWire{Client: w.broker.Dial(), broker: w.broker, topic: w.topic}
}

func TestWhyAClassicGroupRebalances(t *testing.T) {
	w := newGroupWire(t, map[string]string{"group.min.session.timeout.ms": "50"})
	w.named("lib", "1.0")
	a := w.joined(joinReq("g", "", nil, "range"))
	w.synced("g", a.MemberID, nil, a.Generation)
	if got := w.because("g", "member-joined", "member .* on 127.0.0.1 joined", 1); got != "joined rebalancing rebalanced" {
		t.Errorf("the journal after the first member: %s", got)
	}

	// A second member, which is silent then. The first one finds out when it rejoins.
	second := w.another()
	second.named("other-lib", "2.0")
	silent := joinReq("g", "", nil, "range")
	silent.SessionTimeoutMillis = 2500
	silent.MemberID = second.Do(brokertest.Latest(silent)).(*kmsg.JoinGroupResponse).MemberID
	second.Send(second.Encode(brokertest.Latest(silent)))
	rejoin := joinReq("g", a.MemberID, nil, "range")
	eventually(t, func() bool {
		beat := w.Do(brokertest.Latest(heartbeatReq("g", a.MemberID, nil, a.Generation))).(*kmsg.HeartbeatResponse)
		return protocol.Code(beat.ErrorCode) == protocol.RebalanceInProgress
	})
	a = w.joined(rejoin)
	w.synced("g", a.MemberID, nil, a.Generation)
	w.because("g", "member-joined", "member .* on 127.0.0.1 joined", 2)
	eventually(t, func() bool {
		beat := w.Do(brokertest.Latest(heartbeatReq("g", a.MemberID, nil, a.Generation))).(*kmsg.HeartbeatResponse)
		return protocol.Code(beat.ErrorCode) == protocol.RebalanceInProgress
	})
	a = w.joined(rejoin)
	w.synced("g", a.MemberID, nil, a.Generation)
	w.because("g", "session-timeout", `member .* on 127.0.0.1 missed its heartbeat for [0-9.]+ s`, 1)
	d := w.why("g", "the end of the silent one", func(*broker.GroupDetail) bool { return true })
	if l := d.Last; l.Software != "other-lib 2.0" || l.Left != 1 || l.Generation != a.Generation {
		t.Errorf("%+v", l)
	}
	if d.Members[0].Software != "lib 1.0" || d.Members[0].Host != "127.0.0.1" {
		t.Errorf("%+v", d.Members)
	}

	// The topic grows, and the leader asks for a new assignment.
	grow := kmsg.NewPtrCreatePartitionsRequest()
	grow.TimeoutMillis = 10_000
	grow.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: "t", Count: 5}}
	w.Do(brokertest.Latest(grow))
	a = w.joined(rejoin)
	w.synced("g", a.MemberID, nil, a.Generation)
	w.because("g", "topics-changed", "member .*, the leader, asks for a new assignment: topic t has 5 partitions instead of 2", 1)

	// Another subscription is told from that by followers only; a leader that gives a reason is quoted.
	rejoin.Reason = ptr("I feel like it")
	a = w.joined(rejoin)
	w.synced("g", a.MemberID, nil, a.Generation)
	w.because("g", "leader-rejoined", `member .*, the leader, asks for a new assignment \(client: I feel like it\)`, 1)

	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Group = "g"
	leave.Members = []kmsg.LeaveGroupRequestMember{{MemberID: a.MemberID, Reason: ptr("bye")}}
	w.Do(brokertest.Latest(leave))
	got := w.because("g", "member-left", `member .* on 127.0.0.1 left \(client: bye\)`, 0)
	if !strings.HasSuffix(got, "left rebalancing emptied") {
		t.Errorf("the journal at the end: %s", got)
	}
}

func TestWhyAClassicGroupDoesNotRebalance(t *testing.T) {
	w := newGroupWire(t, map[string]string{"group.max.size": "2"})
	member := w.stable("g", "i")
	// A static member comes back: its former self is fenced, and nobody rebalances.
	back := w.Do(brokertest.Latest(joinReq("g", "", ptr("i"), "range"))).(*kmsg.JoinGroupResponse)
	if back.ErrorCode != 0 || back.Generation != 1 {
		t.Fatal(text(back))
	}
	w.Do(brokertest.Latest(heartbeatReq("g", member, ptr("i"), 1)))
	d := w.why("g", "a static member that came back", func(d *broker.GroupDetail) bool { return len(d.Journal) == 5 })
	var events []string
	for _, e := range d.Journal {
		events = append(events, e.Event)
	}
	if want := []string{"joined", "rebalancing", "rebalanced", "returned", "fenced"}; !slices.Equal(events, want) {
		t.Errorf("the journal: %v", events)
	}
	if d.Last.Begun != 1 || d.Generation != 1 {
		t.Errorf("%+v", d.Last)
	}

	// A new coordinator knows who is there and nothing of what was before, and says so.
	w.broker.Restart()
	w.Client = w.broker.Dial()
	d = w.why("g", "a new coordinator", func(d *broker.GroupDetail) bool { return d.State == "Stable" })
	if len(d.Journal) != 1 || d.Journal[0].Event != "loaded" || d.Last != nil || len(d.Members) != 1 || d.Members[0].Software != "" ||
		!strings.Contains(d.Journal[0].Reason, "not known") {
		t.Errorf("%+v", d)
	}
}

// beatReq is a ConsumerGroupHeartbeat that joins.
func beatReq(group, member string, instance *string, topics ...string) *kmsg.ConsumerGroupHeartbeatRequest {
	r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	r.Group, r.MemberID, r.InstanceID, r.RebalanceTimeoutMillis = group, member, instance, 60_000
	r.SubscribedTopicNames, r.Topics = topics, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	return r
}

// beats sends heartbeats that own all they were given, until the member is at the epoch, or at any above what it was.
func (w *groupWire) beats(req *kmsg.ConsumerGroupHeartbeatRequest, epoch int32) {
	w.T.Helper()
	eventually(w.T, func() bool {
		resp := w.Do(brokertest.Latest(req)).(*kmsg.ConsumerGroupHeartbeatResponse)
		if resp.ErrorCode != 0 {
			w.T.Fatalf("heartbeat: %s", text(resp))
		}
		req.MemberEpoch = resp.MemberEpoch
		if resp.Assignment != nil {
			req.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
			for _, t := range resp.Assignment.Topics {
				req.Topics = append(req.Topics, kmsg.ConsumerGroupHeartbeatRequestTopic{TopicID: t.TopicID, Partitions: t.Partitions})
			}
		}
		return resp.MemberEpoch >= epoch
	})
}

func TestWhyAConsumerGroupRebalances(t *testing.T) {
	w := newGroupWire(t, map[string]string{
		"group.consumer.min.session.timeout.ms": "300", "group.consumer.session.timeout.ms": "3000",
		"group.consumer.min.heartbeat.interval.ms": "100", "group.consumer.heartbeat.interval.ms": "100",
		"group.consumer.assignment.interval.ms": "0", "group.consumer.min.assignment.interval.ms": "0",
		"group.consumer.max.size": "2",
	})
	createTopic(w.Client, "u", 1)
	w.named("lib", "1.0")
	a := beatReq("g", "member-a", nil, "t")
	w.beats(a, 1)
	if got := w.because("g", "member-joined", "member member-a on 127.0.0.1 joined", 1); got != "joined rebalancing rebalanced" {
		t.Errorf("the journal after the first member: %s", got)
	}

	// A second member, which is silent then.
	b := beatReq("g", "member-b", nil, "t")
	second := w.another()
	second.named("other-lib", "2.0")
	second.beats(b, 1)
	w.beats(a, b.MemberEpoch)
	second.beats(b, b.MemberEpoch)
	w.because("g", "member-joined", "member member-b on 127.0.0.1 joined", 2)
	w.why("g", "the silent one", func(*broker.GroupDetail) bool {
		w.beats(a, 0)
		d, err := w.broker.GroupDetail("g")
		return err == nil && d.Last.Ended != nil && d.Last.Cause == "session-timeout"
	})
	w.because("g", "session-timeout", `member member-b on 127.0.0.1 missed its heartbeat for [0-9.]+ s`, 1)
	d := w.why("g", "the end of the silent one", func(*broker.GroupDetail) bool { return true })
	if l := d.Last; l.Software != "other-lib 2.0" || l.Left != 1 || d.Type != "consumer" || d.State != "Stable" {
		t.Errorf("%+v", d)
	}
	if len(d.Members) != 1 || d.Members[0].Software != "lib 1.0" {
		t.Errorf("%+v", d.Members)
	}

	next := a.MemberEpoch + 1
	a.SubscribedTopicNames = []string{"t", "u"}
	w.beats(a, next)
	w.because("g", "subscription-changed", "member member-a on 127.0.0.1 changed its subscription", 1)

	next = a.MemberEpoch + 1
	grow := kmsg.NewPtrCreatePartitionsRequest()
	grow.TimeoutMillis = 10_000
	grow.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: "t", Count: 5}}
	w.Do(brokertest.Latest(grow))
	w.beats(a, next)
	w.because("g", "topics-changed", "topic t has 5 partitions instead of 2", 1)

	// Who is one too many is turned away, and a leave of the last one empties the group.
	w.beats(beatReq("g", "member-c", nil, "t"), 0)
	full := w.Do(brokertest.Latest(beatReq("g", "member-d", nil, "t"))).(*kmsg.ConsumerGroupHeartbeatResponse)
	if protocol.Code(full.ErrorCode) != protocol.GroupMaxSizeReached {
		t.Fatal(text(full))
	}
	for _, id := range []string{"member-c", "member-a"} {
		leave := beatReq("g", id, nil)
		leave.MemberEpoch, leave.RebalanceTimeoutMillis, leave.SubscribedTopicNames, leave.Topics = -1, -1, nil, nil
		w.Do(brokertest.Latest(leave))
	}
	w.because("g", "member-joined", "member member-c on 127.0.0.1 joined", 0)
	d = w.why("g", "an empty group", func(d *broker.GroupDetail) bool { return d.State == "Empty" })
	var events []string
	for _, e := range d.Journal {
		events = append(events, e.Event)
	}
	if d.Last.Left != 2 || d.Last.Begun != 3 || d.Last.Again != "member member-a on 127.0.0.1 left" {
		t.Errorf("%+v", d.Last)
	}
	if got := strings.Join(events, " "); !strings.Contains(got, "refused") || !strings.HasSuffix(got, "left rebalancing emptied") {
		t.Errorf("the journal at the end: %s", got)
	}
}

func TestWhyAConsumerGroupDoesNotRebalance(t *testing.T) {
	w := newGroupWire(t, nil)
	a := beatReq("g", "member-a", ptr("i"), "t")
	w.beats(a, 1)
	epoch := a.MemberEpoch
	leave := beatReq("g", "member-a", ptr("i"))
	leave.MemberEpoch, leave.RebalanceTimeoutMillis, leave.SubscribedTopicNames, leave.Topics = -2, -1, nil, nil
	w.Do(brokertest.Latest(leave))
	w.beats(beatReq("g", "member-b", ptr("i"), "t"), epoch)
	stale := w.Do(brokertest.Latest(a)).(*kmsg.ConsumerGroupHeartbeatResponse)
	if protocol.Code(stale.ErrorCode) != protocol.FencedInstanceID {
		t.Fatal(text(stale))
	}
	d := w.why("g", "a static member that came back", func(d *broker.GroupDetail) bool { return d.State == "Stable" })
	var events []string
	for _, e := range d.Journal {
		events = append(events, e.Event)
	}
	if got := strings.Join(events, " "); got != "joined rebalancing rebalanced left returned fenced" || d.Generation != epoch {
		t.Errorf("epoch %d after %d, the journal: %s", d.Generation, epoch, got)
	}
	w.broker.Restart()
	w.Client = w.broker.Dial()
	d = w.why("g", "a new coordinator", func(d *broker.GroupDetail) bool { return d.State == "Stable" })
	if len(d.Journal) != 1 || d.Journal[0].Event != "loaded" || !strings.Contains(d.Journal[0].Reason, "not known") {
		t.Errorf("%+v", d)
	}
}

func TestWhyOfGroupsThatAreNot(t *testing.T) {
	w := newGroupWire(t, nil)
	if _, err := w.broker.GroupDetail("nosuch"); err != broker.ErrGroupUnknown {
		t.Error(err)
	}
	// A group that has only committed has no journal, and one that was deleted has nothing else.
	w.commitTo("only", "t", 0, 0)
	d := w.why("only", "a group without members", func(d *broker.GroupDetail) bool { return len(d.Partitions) == 1 })
	if d.State != "Empty" || len(d.Journal) != 0 || d.Last != nil || *d.Lag != 0 {
		t.Errorf("%+v", d)
	}
	member := w.stable("gone", "i")
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Group, leave.Members = "gone", []kmsg.LeaveGroupRequestMember{{MemberID: member, InstanceID: ptr("i")}}
	w.Do(brokertest.Latest(leave))
	del := kmsg.NewPtrDeleteGroupsRequest()
	del.Groups = []string{"gone"}
	w.Do(brokertest.Latest(del))
	d = w.why("gone", "a deleted group", func(d *broker.GroupDetail) bool { return d.State == "Dead" })
	if e := d.Journal[len(d.Journal)-1]; e.Event != "deleted" {
		t.Errorf("%+v", e)
	}
	list := w.broker.GroupStatus(10)
	if list.Total != 1 || list.Groups[0].Name != "only" || *list.Groups[0].Lag != 0 {
		t.Errorf("%+v", list)
	}
}
