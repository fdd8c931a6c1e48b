package broker_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
	"moldau.io/moldau/protocol"
)

// groupWire is a broker with a topic "t" of two partitions and its offsets topic made, and a client of it.
type groupWire struct {
	*brokertest.Client
	broker *brokertest.Broker
	topic  protocol.TopicID
}

func newGroupWire(t *testing.T, settings map[string]string) *groupWire {
	t.Helper()
	b := brokertest.Start(t, brokertest.Options{Settings: settings, Quiet: true})
	c := b.Dial()
	w := &groupWire{Client: c, broker: b, topic: createTopic(c, "t", 2)}
	w.coordinator()
	return w
}

// coordinator waits until groups have a coordinator.
func (w *groupWire) coordinator() {
	w.T.Helper()
	for end := time.Now().Add(10 * time.Second); ; {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorKeys = []string{"g"}
		resp := w.Do(brokertest.Latest(req)).(*kmsg.FindCoordinatorResponse)
		if resp.Coordinators[0].ErrorCode == 0 {
			return
		}
		if time.Now().After(end) {
			w.T.Fatalf("no coordinator: %+v", resp.Coordinators[0])
		}
	}
}

var (
	uuid    = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)
	noise   = regexp.MustCompile(`"(Version|ThrottleMillis|UnknownTags)":(\d+|\{\}),?|,"UnknownTags":\{\}`)
	nothing = regexp.MustCompile(`"[A-Za-z]+":(null|""|\[(0,)*0\]),?`)
)

// text is an answer in short: JSON without what is null, empty or the same in all answers.
func text(resp kmsg.Response) string {
	b, err := json.Marshal(resp)
	if err != nil {
		panic(err)
	}
	s := uuid.ReplaceAllString(string(b), "UUID")
	s = noise.ReplaceAllString(s, "")
	s = nothing.ReplaceAllString(s, "")
	return strings.NewReplacer(",}", "}", ",]", "]", `"`, "").Replace(s)
}

// wants sends the request at the versions from, ..., to and compares the answers.
func (w *groupWire) wants(what string, req kmsg.Request, from, to int16, want string) {
	w.T.Helper()
	for v := from; v <= to; v++ {
		req.SetVersion(v)
		if got := text(w.Do(req)); got != want {
			w.T.Errorf("%s v%d:\ngot  %s\nwant %s", what, v, got, want)
		}
	}
}

func ptr(s string) *string { return &s }

// joinReq is a JoinGroup of a consumer that offers these protocols.
func joinReq(group, member string, instance *string, protocols ...string) *kmsg.JoinGroupRequest {
	r := kmsg.NewPtrJoinGroupRequest()
	r.Group, r.MemberID, r.InstanceID, r.ProtocolType = group, member, instance, "consumer"
	r.SessionTimeoutMillis, r.RebalanceTimeoutMillis = 10_000, 60_000
	for _, name := range protocols {
		p := kmsg.NewJoinGroupRequestProtocol()
		p.Name, p.Metadata = name, []byte{0, 0, 0, 0, 0, 1, 0, 1, 't', 255, 255, 255, 255}
		r.Protocols = append(r.Protocols, p)
	}
	return r
}

// syncReq is a SyncGroup that brings assignments, "member", "data", ...
func syncReq(group, member string, instance *string, generation int32, assignments ...string) *kmsg.SyncGroupRequest {
	r := kmsg.NewPtrSyncGroupRequest()
	r.Group, r.MemberID, r.InstanceID, r.Generation = group, member, instance, generation
	r.ProtocolType, r.Protocol = ptr("consumer"), ptr("range")
	for i := 0; i < len(assignments); i += 2 {
		a := kmsg.NewSyncGroupRequestGroupAssignment()
		a.MemberID, a.MemberAssignment = assignments[i], []byte(assignments[i+1])
		r.GroupAssignment = append(r.GroupAssignment, a)
	}
	return r
}

func heartbeatReq(group, member string, instance *string, generation int32) *kmsg.HeartbeatRequest {
	r := kmsg.NewPtrHeartbeatRequest()
	r.Group, r.MemberID, r.InstanceID, r.Generation = group, member, instance, generation
	return r
}

// stable makes a group of one static member, and returns its member id.
func (w *groupWire) stable(group, instance string) string {
	w.T.Helper()
	j := w.Do(brokertest.Latest(joinReq(group, "", &instance, "range"))).(*kmsg.JoinGroupResponse)
	if j.ErrorCode != 0 || j.Generation != 1 {
		w.T.Fatalf("join: %s", text(j))
	}
	s := w.Do(brokertest.Latest(syncReq(group, j.MemberID, &instance, 1, j.MemberID, "P0"))).(*kmsg.SyncGroupResponse)
	if s.ErrorCode != 0 {
		w.T.Fatalf("sync: %s", text(s))
	}
	return j.MemberID
}

// commitReq commits an offset for partitions 0, 7 and 1 of the topics "missing" and "t".
func (w *groupWire) commitReq(group, member string, instance *string, generation int32, offset int64, metadata *string) *kmsg.OffsetCommitRequest {
	r := kmsg.NewPtrOffsetCommitRequest()
	r.Group, r.MemberID, r.InstanceID, r.Generation = group, member, instance, generation
	for _, name := range []string{"missing", "t"} {
		t := kmsg.NewOffsetCommitRequestTopic()
		t.Topic, t.TopicID = name, [16]byte{9}
		if name == "t" {
			t.TopicID = w.topic
		}
		for _, p := range []int32{0, 7, 1} {
			rp := kmsg.NewOffsetCommitRequestTopicPartition()
			rp.Partition, rp.Offset, rp.Metadata, rp.LeaderEpoch = p, offset, metadata, 5
			t.Partitions = append(t.Partitions, rp)
		}
		r.Topics = append(r.Topics, t)
	}
	return r
}

// fetchReq asks these groups for partition 0 of "t" and of "missing"; it fits every version.
func (w *groupWire) fetchReq(groups ...string) *kmsg.OffsetFetchRequest {
	r := kmsg.NewPtrOffsetFetchRequest()
	r.Group = groups[0]
	for _, name := range []string{"missing", "t"} {
		t := kmsg.NewOffsetFetchRequestTopic()
		t.Topic, t.Partitions = name, []int32{0}
		r.Topics = append(r.Topics, t)
	}
	for _, id := range groups {
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group = id
		for _, name := range []string{"missing", "t"} {
			t := kmsg.NewOffsetFetchRequestGroupTopic()
			t.Topic, t.Partitions, t.TopicID = name, []int32{0}, [16]byte{9}
			if name == "t" {
				t.TopicID = w.topic
			}
			g.Topics = append(g.Topics, t)
		}
		r.Groups = append(r.Groups, g)
	}
	return r
}

// eventually waits until ok.
func eventually(t testing.TB, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not happen in 10 s")
		}
	}
}
