//go:build compat

package scenarios

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/compat-tests/harness"
)

const (
	replayGroups     = 3000 // a third of each kind
	replayPartitions = 50
	replayCommits    = 1_000_000 // offsets, 50 in a request
	replayWriters    = 8
)

// TestAMillionCommitsAreReplayed fills the topic of groups with a million commits of three thousand groups, of which one third
// are consumer groups and one third classic ones with a member, kills the broker, and prints how long it takes until every
// group answers again, with its last commit.
func TestAMillionCommitsAreReplayed(t *testing.T) {
	b := harness.Start(t, harness.Config{Properties: map[string]string{"group.initial.rebalance.delay.ms": "0",
		"group.min.session.timeout.ms": "6000", "log.cleaner.enable": "false"}})
	createTopic(t, b.Addr, groupKillTopic, replayPartitions)
	id := topicID(t, b.Addr)
	all := make([]*committer, replayGroups)
	for i := range all {
		kind := []string{"simple", "classic", "consumer"}[i%3]
		all[i] = &committer{addr: b.Addr, kind: kind, group: fmt.Sprintf("group-%d-%s", i, kind), topic: id, epoch: -1,
			broken: make(chan error, 1)}
	}
	began := time.Now()
	eachOf(t, all, func(c *committer) error { return c.member1() })
	joined := time.Since(began)
	began = time.Now()
	const rounds = (replayCommits + replayGroups*replayPartitions - 1) / (replayGroups * replayPartitions)
	for range rounds {
		eachOf(t, all, func(c *committer) error { return c.commitAll(replayPartitions) })
	}
	t.Logf("%d groups were made in %v, %d commits written in %v", replayGroups, joined, rounds*replayGroups*replayPartitions,
		time.Since(began))
	for _, end := range []string{"kill -9", "SIGTERM"} {
		if end == "SIGTERM" {
			b.Stop(t)
		} else {
			b.Kill(t)
		}
		began = time.Now()
		b.Run(t)
		ready := time.Since(began)
		for _, c := range all {
			c.conn = nil
		}
		eachOf(t, all, func(c *committer) error { return c.isAt(c.acked.Load(), replayPartitions) })
		t.Logf("after %s: ready in %v, every group has told its offsets in %v", end, ready, time.Since(began))
	}
}

// eachOf has a few clients do f for all groups; what passes is tried again.
func eachOf(t *testing.T, all []*committer, f func(*committer) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	var next atomic.Int64
	for range replayWriters {
		wg.Go(func() {
			var conn *harness.Conn
			for i := next.Add(1) - 1; int(i) < len(all); i = next.Add(1) - 1 {
				c := all[i]
				for err := errAgain; err != nil; {
					if conn == nil {
						conn, _ = harness.Dial(c.addr)
					}
					if c.conn = conn; conn != nil {
						err = f(c)
					}
					select {
					case bad := <-c.broken:
						t.Errorf("%s: %v", c.group, bad)
						return
					case <-ctx.Done():
						t.Errorf("%s: %v", c.group, err)
						return
					default:
					}
				}
			}
			if conn != nil {
				_ = conn.Close()
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// member1 makes it the one member of its group, unless it needs none.
func (c *committer) member1() error {
	switch c.kind {
	case "classic":
		return c.joinClassic()
	case "consumer":
		return c.consumerHeartbeat()
	}
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.Version, find.CoordinatorKey = 1, c.group
	_, err := ask[*kmsg.FindCoordinatorResponse](c, find)
	return err
}

// commitAll commits the next number for so many partitions.
func (c *committer) commitAll(partitions int32) error {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.MemberID, req.Generation = 10, c.group, c.member, c.epoch
	n := c.sent.Add(1)
	topic := kmsg.OffsetCommitRequestTopic{TopicID: c.topic}
	for p := range partitions {
		rp := kmsg.NewOffsetCommitRequestTopicPartition()
		rp.Partition, rp.Offset = p, n
		topic.Partitions = append(topic.Partitions, rp)
	}
	req.Topics = []kmsg.OffsetCommitRequestTopic{topic}
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

// isAt says whether the group is at n in so many partitions.
func (c *committer) isAt(n int64, partitions int) error {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version = 10
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group, g.MemberEpoch = c.group, -1
	req.Groups = []kmsg.OffsetFetchRequestGroup{g}
	r, err := ask[*kmsg.OffsetFetchResponse](c, req)
	if err != nil {
		return err
	}
	if err := c.verdict("fetch", r.Groups[0].ErrorCode); err != nil {
		return err
	}
	if len(r.Groups[0].Topics) != 1 || len(r.Groups[0].Topics[0].Partitions) != partitions {
		c.broken <- fmt.Errorf("fetched %d topics", len(r.Groups[0].Topics))
		return errAgain
	}
	for _, p := range r.Groups[0].Topics[0].Partitions {
		if p.Offset != n {
			c.broken <- fmt.Errorf("partition %d is at %d, not %d", p.Partition, p.Offset, n)
			return errAgain
		}
	}
	return nil
}
