package coordinator

import (
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"moldau.io/moldau/coordinator/group"
	"moldau.io/moldau/protocol"
)

// rides is the metadata of a cluster with one topic of three partitions, beside that of groups.
type rides struct{ onePartition }

var ridesID = protocol.TopicID{7}

func (rides) Now() group.Metadata { return rides{} }
func (rides) Topic(name string) (group.Topic, bool) {
	switch name {
	case "rides":
		return group.Topic{Name: "rides", ID: ridesID, Partitions: 3}, true
	case GroupsTopic:
		return group.Topic{Name: GroupsTopic, Partitions: 1}, true
	}
	return group.Topic{}, false
}
func (rides) TopicByID(id protocol.TopicID) (group.Topic, bool) {
	if id != ridesID {
		return group.Topic{}, false
	}
	return rides{}.Topic("rides")
}
func (rides) Names() iter.Seq[string] { return slices.Values([]string{GroupsTopic, "rides"}) }

// rider is a member of the consumer group "g".
type rider struct {
	t     *testing.T
	g     *Groups
	id    string
	fixed *string // its instance id
	epoch int32
	owned []group.TopicPartitions
}

func (r *rider) beat() {
	r.t.Helper()
	req := &group.ConsumerHeartbeat{
		Group: "g", Member: r.id, Epoch: r.epoch, Instance: r.fixed, Owned: r.owned, Rebalance: -time.Millisecond, MemberIDRequired: true,
	}
	if r.epoch == 0 {
		req.Rebalance, req.Topics, req.Owned = time.Minute, []string{"rides"}, []group.TopicPartitions{}
	}
	res := ask[*group.ConsumerHeartbeatResult](r.t, r.g, req)
	if res.Code != protocol.None {
		r.t.Fatalf("%s in epoch %d: %v %s", r.id, r.epoch, res.Code, res.Message)
	}
	r.epoch = res.Epoch
	if res.HasAssignment {
		r.owned = res.Assigned
	}
}

func (r *rider) leave(epoch int32) protocol.Code {
	r.t.Helper()
	req := &group.ConsumerHeartbeat{Group: "g", Member: r.id, Epoch: epoch, Instance: r.fixed, Rebalance: -time.Millisecond, MemberIDRequired: true}
	res := ask[*group.ConsumerHeartbeatResult](r.t, r.g, req)
	r.epoch, r.owned = 0, nil
	return res.Code
}

// settle lets the riders beat until each partition has one of them and all are in the same epoch.
func settle(t *testing.T, riders ...*rider) {
	t.Helper()
	for range 50 {
		owners, epochs := map[int32]int{}, map[int32]bool{}
		for _, r := range riders {
			r.beat()
			epochs[r.epoch] = true
			for _, topic := range r.owned {
				for _, p := range topic.Partitions {
					owners[p]++
				}
			}
		}
		if len(epochs) == 1 && maps.Equal(owners, map[int32]int{0: 1, 1: 1, 2: 1}) {
			return
		}
	}
	for _, r := range riders {
		t.Logf("%s: %+v in epoch %d", r.id, r.owned, r.epoch)
	}
	t.Fatal("the group does not settle")
}

func ridesGroups(t *testing.T, log Log) *Groups {
	t.Helper()
	cfg := group.DefaultConfig()
	cfg.Consumer.AssignmentInterval = 0
	g := NewGroups(cfg, rides{}, slog.New(slog.DiscardHandler))
	t.Cleanup(g.Close)
	g.Lead(0, log)
	return g
}

// A broker can be killed between any two appends. Whatever is in the log then, members that come back settle: no partition
// stays with a member that is not there, and none has two.
func TestI75_FromAnyBeginningOfTheLogMembersSettle(t *testing.T) {
	log := newMemLog()
	g := ridesGroups(t, log)
	fixed := "kiosk"
	a, b, c := &rider{t: t, g: g, id: "a"}, &rider{t: t, g: g, id: "b"}, &rider{t: t, g: g, id: "c", fixed: &fixed}
	settle(t, a)
	settle(t, a, b)
	settle(t, a, b, c)
	c.leave(-2)
	settle(t, a, b, c)
	a.leave(-1)
	settle(t, b, c)
	settle(t, a, b, c)
	c.leave(-1)
	if r := ask[*group.CommitResult](t, g, commitOf("other", 3)); r.Partitions[0].Code != protocol.None {
		t.Fatal(r.Partitions[0].Code)
	}
	for n := 1; n <= len(log.batches); n++ {
		t.Run(fmt.Sprint(n, " batches"), func(t *testing.T) {
			part := newMemLog()
			part.batches = slices.Clone(log.batches[:n])
			part.end = part.batches[n-1].LastOffset() + 1
			g := ridesGroups(t, part)
			c := &rider{t: t, g: g, id: "c", fixed: &fixed}
			c.leave(-2) // else the instance id is taken, where it is a member
			settle(t, &rider{t: t, g: g, id: "a"}, &rider{t: t, g: g, id: "b"}, c)
		})
	}
	if len(log.batches) < 20 {
		t.Errorf("the story has %d batches only", len(log.batches))
	}
}

// A member that has been told its epoch has it with the next coordinator of the partition too.
func TestI75_MembersGoOnWithTheNextCoordinator(t *testing.T) {
	log := newMemLog()
	g := ridesGroups(t, log)
	a, b := &rider{t: t, g: g, id: "a"}, &rider{t: t, g: g, id: "b"}
	settle(t, a, b)
	for range 5 {
		before := [2]int32{a.epoch, b.epoch}
		g.Resign(0)
		if res := ask[*group.ConsumerHeartbeatResult](t, g, &group.ConsumerHeartbeat{Group: "g", Member: "a", Epoch: a.epoch}); res.Code != protocol.NotCoordinator {
			t.Fatalf("without a coordinator: %v", res.Code)
		}
		g.Lead(0, log)
		a.beat()
		b.beat()
		if now := [2]int32{a.epoch, b.epoch}; now != before {
			t.Fatalf("epochs %v became %v", before, now)
		}
	}
}
