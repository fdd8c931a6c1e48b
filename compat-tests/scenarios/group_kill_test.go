//go:build compat

package scenarios

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/compat-tests/harness"
)

const (
	groupKills     = 20
	committersEach = 3 // of each kind
	groupKillTopic = "committed"
)

// TestI75_GroupsSurviveKill9: clients that belong to no group, to a classic group and to a consumer group commit growing
// offsets, each to a group of its own, while the broker is killed again and again. After each start no group is behind what
// was acknowledged to its client, or before what it sent (I-65), and members are still members: their generation and their
// epoch are as they were told.
func TestI75_GroupsSurviveKill9(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	b := harness.Start(t, harness.Config{Properties: map[string]string{"group.initial.rebalance.delay.ms": "0"}})
	createTopic(t, b.Addr, groupKillTopic, 1)
	id := topicID(t, b.Addr)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	var all []*committer
	for i := range committersEach {
		for _, kind := range []string{"simple", "classic", "consumer"} {
			c := &committer{addr: b.Addr, kind: kind, group: fmt.Sprintf("%s-%d", kind, i), topic: id, broken: make(chan error, 1)}
			all = append(all, c)
			wg.Go(func() { c.run(ctx) })
		}
	}
	for range groupKills {
		awaitCommits(t, all, 100+rng.Int64N(1500))
		b.Kill(t)
		b.Run(t)
		for _, c := range all {
			c.check(t, b.Addr)
		}
	}
	awaitCommits(t, all, 100)
	cancel()
	wg.Wait()
	total := int64(0)
	for _, c := range all {
		c.check(t, b.Addr)
		if c.acked.Load() == 0 {
			t.Errorf("%s never committed", c.group)
		}
		total += c.acked.Load()
	}
	t.Logf("%d commits of %d clients over %d kills", total, len(all), groupKills)
}

func topicID(t *testing.T, addr string) [16]byte {
	t.Helper()
	c, err := harness.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 12
	name := groupKillTopic
	req.Topics = []kmsg.MetadataRequestTopic{{Topic: &name}}
	resp, err := c.Ask(req, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return resp.(*kmsg.MetadataResponse).Topics[0].TopicID
}

// awaitCommits waits until each of them has had commits acknowledged, and all together so many more.
func awaitCommits(t *testing.T, all []*committer, more int64) {
	t.Helper()
	before := make([]int64, len(all))
	for i, c := range all {
		before[i] = c.acked.Load()
	}
	late := time.NewTimer(30 * time.Second)
	defer late.Stop()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for {
		sum, each := int64(0), true
		for i, c := range all {
			n := c.acked.Load() - before[i]
			sum, each = sum+n, each && n > 0
			select {
			case err := <-c.broken:
				t.Fatalf("%s: %v", c.group, err)
			default:
			}
		}
		if each && sum >= more {
			return
		}
		select {
		case <-look.C:
		case <-late.C:
			t.Fatalf("%d of %d commits were acknowledged in 30 s", sum, more)
		}
	}
}

// committer commits 1, 2, 3 and so on. What is not answered is sent again with the next number.
type committer struct {
	addr, kind, group string
	topic             [16]byte
	sent, acked       atomic.Int64
	broken            chan error // has what must not happen

	conn   *harness.Conn
	member string
	epoch  int32 // or generation; -1 before it has joined
}

var errAgain = errors.New("not now")

func (c *committer) run(ctx context.Context) {
	c.epoch = -1
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	for ctx.Err() == nil {
		err := c.step()
		switch {
		case err == nil:
			continue
		case errors.Is(err, errAgain):
		case c.conn != nil: // what is on its way is lost
			_ = c.conn.Close()
			c.conn = nil
		}
		<-pace.C
	}
	if c.conn != nil {
		_ = c.conn.Close()
	}
}

// step shows that it is alive, as a member does, and commits once.
func (c *committer) step() (err error) {
	if c.conn == nil {
		if c.conn, err = harness.Dial(c.addr); err != nil {
			c.conn = nil
			return errAgain
		}
	}
	switch {
	case c.kind == "classic" && c.epoch < 0:
		err = c.joinClassic()
	case c.kind == "classic":
		err = c.heartbeat()
	case c.kind == "consumer":
		err = c.consumerHeartbeat()
	}
	if err != nil {
		return err
	}
	return c.commit()
}

// verdict is nil for success, errAgain for what passes, and tells the test of the rest.
func (c *committer) verdict(what string, code int16) error {
	switch code {
	case 0:
		return nil
	case 14, 15, 16, 27: // loading, not available, not the coordinator, rebalancing
		return errAgain
	}
	select {
	case c.broken <- fmt.Errorf("%s as %q in %d: error %d", what, c.member, c.epoch, code):
	default:
	}
	return errAgain
}

const askLimit = 5 * time.Second

func ask[R kmsg.Response](c *committer, req kmsg.Request) (r R, err error) {
	resp, err := c.conn.Ask(req, askLimit)
	if err != nil {
		return r, err
	}
	return resp.(R), nil
}

func (c *committer) joinClassic() error {
	find := kmsg.NewPtrFindCoordinatorRequest() // makes the topic of groups
	find.Version, find.CoordinatorKey = 1, c.group
	if _, err := ask[*kmsg.FindCoordinatorResponse](c, find); err != nil {
		return err
	}
	instance := c.group // static: a member whose join was not answered takes its place again
	join := kmsg.NewPtrJoinGroupRequest()
	join.Version, join.Group, join.InstanceID, join.ProtocolType = 5, c.group, &instance, "consumer"
	join.SessionTimeoutMillis, join.RebalanceTimeoutMillis = 300_000, 300_000
	join.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte{0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}}}
	j, err := ask[*kmsg.JoinGroupResponse](c, join)
	if err != nil {
		return err
	}
	if err := c.verdict("join", j.ErrorCode); err != nil {
		return err
	}
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Version, sync.Group, sync.MemberID, sync.InstanceID, sync.Generation = 3, c.group, j.MemberID, &instance, j.Generation
	sync.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: j.MemberID, MemberAssignment: []byte("all")}}
	s, err := ask[*kmsg.SyncGroupResponse](c, sync)
	if err != nil {
		return err
	}
	if s.ErrorCode != 0 {
		return errAgain // it was stopped in between: nothing was promised yet
	}
	c.member, c.epoch = j.MemberID, j.Generation
	return nil
}

func (c *committer) heartbeat() error {
	beat := kmsg.NewPtrHeartbeatRequest()
	beat.Version, beat.Group, beat.MemberID, beat.Generation = 2, c.group, c.member, c.epoch
	r, err := ask[*kmsg.HeartbeatResponse](c, beat)
	if err != nil {
		return err
	}
	return c.verdict("heartbeat", r.ErrorCode)
}

func (c *committer) consumerHeartbeat() error {
	if c.epoch < 0 {
		find := kmsg.NewPtrFindCoordinatorRequest()
		find.Version, find.CoordinatorKey = 1, c.group
		if _, err := ask[*kmsg.FindCoordinatorResponse](c, find); err != nil {
			return err
		}
	}
	c.member = "member-of-" + c.group
	beat := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	beat.Version, beat.Group, beat.MemberID, beat.MemberEpoch = 1, c.group, c.member, max(c.epoch, 0)
	if c.epoch < 0 {
		beat.RebalanceTimeoutMillis, beat.SubscribedTopicNames = 300_000, []string{groupKillTopic}
		beat.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	}
	r, err := ask[*kmsg.ConsumerGroupHeartbeatResponse](c, beat)
	if err != nil {
		return err
	}
	if err := c.verdict("heartbeat", r.ErrorCode); err != nil {
		return err
	}
	c.epoch = r.MemberEpoch
	return nil
}

func (c *committer) commit() error {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.MemberID, req.Generation = 10, c.group, c.member, c.epoch
	if c.kind == "simple" {
		req.Generation = -1
	}
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	n := c.sent.Add(1)
	p.Offset = n
	req.Topics = []kmsg.OffsetCommitRequestTopic{{TopicID: c.topic, Partitions: []kmsg.OffsetCommitRequestTopicPartition{p}}}
	r, err := ask[*kmsg.OffsetCommitResponse](c, req)
	if err != nil {
		return err
	}
	if err := c.verdict("commit", r.Topics[0].Partitions[0].ErrorCode); err != nil {
		return err
	}
	c.acked.Store(n)
	return nil
}

// check compares what the broker says with what it had acknowledged before it was asked.
func (c *committer) check(t *testing.T, addr string) {
	t.Helper()
	conn, err := harness.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version = 10
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group, g.MemberEpoch = c.group, -1
	g.Topics = []kmsg.OffsetFetchRequestGroupTopic{{TopicID: c.topic, Partitions: []int32{0}}}
	req.Groups = []kmsg.OffsetFetchRequestGroup{g}
	for end := time.Now().Add(20 * time.Second); ; {
		acked := c.acked.Load()
		resp, err := conn.Ask(req, askLimit)
		if err != nil {
			t.Fatal(err)
		}
		got := resp.(*kmsg.OffsetFetchResponse).Groups[0]
		if got.ErrorCode != 0 && time.Now().Before(end) {
			continue // it is loading
		}
		if got.ErrorCode != 0 {
			t.Fatalf("%s: error %d", c.group, got.ErrorCode)
		}
		at := got.Topics[0].Partitions[0].Offset
		if tried := c.sent.Load(); max(at, 0) < acked || at > tried {
			t.Fatalf("%s is at offset %d; %d was acknowledged, %d was the last sent", c.group, at, acked, tried)
		}
		return
	}
}
