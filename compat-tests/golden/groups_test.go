//go:build compat

package golden

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/compat-tests/harness"
)

// TestGoldenGroups has Apache Kafka write the records of consumer groups and the coordinator's tests read them.
// MOLDAU_GOLDEN_OUT=coordinator/testdata keeps them for those who have no Kafka.
func TestGoldenGroups(t *testing.T) {
	out := t.TempDir()
	if dir := os.Getenv("MOLDAU_GOLDEN_OUT"); dir != "" {
		out = filepath.Join(harness.Root(), dir)
	}
	b := harness.Start(t, harness.Config{Kind: harness.Kafka, JavaHeap: "512M", Properties: map[string]string{
		"offsets.topic.num.partitions":                 "1",
		"offsets.topic.replication.factor":             "1",
		"group.initial.rebalance.delay.ms":             "0",
		"group.consumer.min.heartbeat.interval.ms":     "100",
		"group.consumer.heartbeat.interval.ms":         "100",
		"group.consumer.min.assignment.interval.ms":    "0",
		"group.consumer.assignment.interval.ms":        "0",
		"group.consumer.assignor.offload.enable":       "false",
		"group.coordinator.append.linger.ms":           "0",
		"log.cleaner.enable":                           "false",
		"auto.create.topics.enable":                    "false",
		"group.consumer.migration.policy":              "bidirectional",
		"group.consumer.regex.refresh.interval.ms":     "10000",
		"offsets.retention.check.interval.ms":          "600000",
		"transaction.state.log.replication.factor":     "1",
		"transaction.state.log.min.isr":                "1",
		"share.coordinator.state.topic.min.isr":        "1",
		"log.retention.check.interval.ms":              "600000",
		"group.consumer.min.session.timeout.ms":        "45000",
		"share.coordinator.state.topic.num.partitions": "1",
	}})
	s := newStory(t, b)
	adm := kadm.NewClient(s.cl)
	for name, partitions := range map[string]int32{"rides": 4, "rider-updates": 3, "x": 1} {
		_, err := adm.CreateTopic(s.ctx, partitions, 1, nil, name)
		s.must(err)
	}
	awaitCoordinator(s)
	g := groups{story: s, owned: map[string][]kmsg.ConsumerGroupHeartbeatRequestTopic{}, epoch: map[string]int32{}}
	g.namesAndExpressions()
	g.upgraded()
	b.Stop(t)
	log, err := os.ReadFile(b.Segments(t, "__consumer_offsets", 0)[0])
	s.must(err)
	s.must(os.WriteFile(filepath.Join(out, "kafka-4.4.0-consumer.log"), log, 0o644))
	t.Logf("%d bytes", len(log))

	cmd := exec.Command("go", "test", "-count=1", "-run", "TestC90_", "./coordinator")
	cmd.Dir = harness.Root()
	cmd.Env = append(os.Environ(), "MOLDAU_GOLDEN="+out)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}

// awaitCoordinator has the topic of groups made, and waits until its partition is led.
func awaitCoordinator(s *story) {
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for {
		find := kmsg.NewPtrFindCoordinatorRequest()
		find.CoordinatorKeys = []string{"cg"}
		fetch := kmsg.NewPtrDescribeGroupsRequest()
		fetch.Groups = []string{"cg"}
		_, err := find.RequestWith(s.ctx, s.cl.Broker(1))
		s.must(err)
		d, err := fetch.RequestWith(s.ctx, s.cl.Broker(1))
		s.must(err)
		if code := d.Groups[0].ErrorCode; code == 0 || code == 69 { // no such group
			return
		}
		<-look.C
	}
}

// groups drives members of consumer groups by hand.
type groups struct {
	*story
	owned map[string][]kmsg.ConsumerGroupHeartbeatRequestTopic // by member
	epoch map[string]int32
}

// beat sends a heartbeat, which change may add to, and takes what is given.
func (g *groups) beat(group, member string, change func(*kmsg.ConsumerGroupHeartbeatRequest)) {
	g.t.Helper()
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Group, req.MemberID, req.MemberEpoch, req.Topics = group, member, g.epoch[member], g.owned[member]
	if req.MemberEpoch <= 0 {
		req.MemberEpoch, req.RebalanceTimeoutMillis = 0, 60_000
		req.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	}
	if change != nil {
		change(req)
	}
	resp, err := req.RequestWith(g.ctx, g.cl.Broker(1))
	g.must(err)
	if resp.ErrorCode != 0 {
		g.t.Fatalf("%s of %s: error %d %s", member, group, resp.ErrorCode, text(resp.ErrorMessage))
	}
	g.epoch[member] = resp.MemberEpoch
	if resp.Assignment == nil {
		return
	}
	owned := []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	for _, t := range resp.Assignment.Topics {
		owned = append(owned, kmsg.ConsumerGroupHeartbeatRequestTopic{TopicID: t.TopicID, Partitions: t.Partitions})
	}
	g.owned[member] = owned
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// settle lets the members beat until all n partitions are theirs and nothing changes.
func (g *groups) settle(group string, n int, members ...string) {
	g.t.Helper()
	beat := time.NewTicker(20 * time.Millisecond)
	defer beat.Stop()
	for calm := 0; calm < 5; {
		before := fmt.Sprint(g.owned, g.epoch)
		have := 0
		for _, m := range members {
			g.beat(group, m, nil)
			for _, t := range g.owned[m] {
				have += len(t.Partitions)
			}
		}
		if calm++; have != n || before != fmt.Sprint(g.owned, g.epoch) {
			calm = 0
		}
		select {
		case <-beat.C:
		case <-g.ctx.Done():
			g.t.Fatalf("%s does not settle: %v %v", group, g.owned, g.epoch)
		}
	}
}

func (g *groups) namesAndExpressions() {
	by := func(s string) *string { return &s }
	g.beat("cg", "m1", func(r *kmsg.ConsumerGroupHeartbeatRequest) {
		r.SubscribedTopicNames, r.RackID, r.ServerAssignor = []string{"x", "rides", "missing"}, by("r1"), by("range")
	})
	g.settle("cg", 5, "m1")
	g.beat("cg", "m2", func(r *kmsg.ConsumerGroupHeartbeatRequest) {
		r.SubscribedTopicNames, r.SubscribedTopicRegex, r.InstanceID = []string{}, by("rid.*"), by("i2")
	})
	g.settle("cg", 8, "m1", "m2")
	g.beat("cg", "m1", func(r *kmsg.ConsumerGroupHeartbeatRequest) {
		r.SubscribedTopicNames, r.ServerAssignor = []string{"rides", "rider-updates", "x"}, by("uniform")
	})
	g.settle("cg", 8, "m1", "m2")
	leave := func(epoch int32) func(*kmsg.ConsumerGroupHeartbeatRequest) {
		return func(r *kmsg.ConsumerGroupHeartbeatRequest) {
			r.MemberEpoch, r.InstanceID, r.Topics = epoch, by("i2"), nil
		}
	}
	g.beat("cg", "m2", leave(-2))
	g.beat("cg", "m3", func(r *kmsg.ConsumerGroupHeartbeatRequest) { // takes the place of m2
		r.SubscribedTopicNames, r.SubscribedTopicRegex, r.InstanceID = []string{}, by("rid.*"), by("i2")
	})
	g.settle("cg", 8, "m1", "m3")
	_, err := kadm.NewClient(g.cl).UpdatePartitions(g.ctx, 6, "rides")
	g.must(err)
	g.settle("cg", 10, "m1", "m3")
	g.beat("cg", "m3", leave(-1))
	g.settle("cg", 10, "m1")
	g.beat("cg", "m1", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch, r.Topics = -1, nil })
	g.beat("gone", "m4", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicNames = []string{"x"} })
	g.settle("gone", 1, "m4")
	g.beat("gone", "m4", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch, r.Topics = -1, nil })
	_, err = kadm.NewClient(g.cl).DeleteGroups(g.ctx, "gone")
	g.must(err)
}

// upgraded is a group whose classic member stays while a member of the new protocol joins, and leaves.
func (g *groups) upgraded() {
	classic := g.client(kgo.ConsumerGroup("up"), kgo.ConsumeTopics("rides"), kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.HeartbeatInterval(100*time.Millisecond), kgo.InstanceID("old"))
	ctx, cancel := context.WithCancel(g.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			classic.PollFetches(ctx)
			classic.AllowRebalance()
		}
	}()
	adm := kadm.NewClient(g.cl)
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for {
		d, err := adm.DescribeGroups(g.ctx, "up")
		g.must(err)
		if d["up"].State == "Stable" {
			break
		}
		<-look.C
	}
	g.beat("up", "m5", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicNames = []string{"rides"} })
	g.settle("up", 3, "m5")
	cancel()
	<-done
	classic.CloseAllowingRebalance()
}
