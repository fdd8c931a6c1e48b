//go:build compat

package hostile

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/compat-tests/harness"
)

// groups does to groups what they can be asked for: subscriptions of thousands of topics, expressions that are hard to match,
// ids and metadata as large as they can be, members by the hundred. A member of a group of its own must not notice.
func groups(w *world) {
	honest := &member{w: w, c: w.client()}
	defer honest.c.Close()
	honest.beat()
	epoch := honest.epoch
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				honest.beat()
			}
		}
	}()
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 40 {
				for _, req := range groupAttacks(i, n) {
					w.throw(req)
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	<-done
	if honest.epoch != epoch || honest.failed != "" {
		w.Errorf("the honest member was in epoch %d and is in %d: %s", epoch, honest.epoch, honest.failed)
	}
	if honest.slowest > 10*time.Second {
		w.Errorf("a heartbeat of the honest member took %v", honest.slowest)
	}
}

// makeGroups has the topic of groups made, and its coordinators started.
func (w *world) makeGroups() {
	m := &member{w: w, c: w.client()}
	m.beat()
	_ = m.c.Close()
}

// throw sends a request on a connection of its own, and waits for the answer or the end.
func (w *world) throw(req kmsg.Request) {
	c := w.client()
	defer c.Close()
	frame, _ := c.Frame(req)
	w.sent.Add(int64(len(frame)))
	if _, err := c.Write(frame); err == nil {
		_, _ = c.ReadFrame(20 * time.Second)
	}
}

func (w *world) client() *harness.Conn {
	c, err := harness.Dial(w.b.Addr)
	if err != nil {
		w.Error(err)
	}
	return c
}

func groupAttacks(attacker, n int) []kmsg.Request {
	id := fmt.Sprintf("bad-%d-%d", attacker, n)
	huge := strings.Repeat("x", 32_000)
	beat := func() *kmsg.ConsumerGroupHeartbeatRequest {
		r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		r.Version, r.Group, r.MemberID, r.RebalanceTimeoutMillis = 1, id, "m", 60_000
		r.Topics, r.SubscribedTopicNames = []kmsg.ConsumerGroupHeartbeatRequestTopic{}, []string{topic}
		return r
	}
	many := beat()
	for i := range 4000 {
		many.SubscribedTopicNames = append(many.SubscribedTopicNames, fmt.Sprintf("%s-%d-%0100d", id, n, i))
	}
	hard := beat()
	expression := strings.Repeat("(a|b)*(honest)?", 2000)
	hard.SubscribedTopicRegex = &expression
	long := beat()
	long.Group, long.MemberID, long.InstanceID = "crowd", id+huge, &huge
	crowd := beat()
	crowd.Group, crowd.MemberID = "crowd", id
	owner := beat()
	owner.MemberEpoch, owner.Topics = 1, []kmsg.ConsumerGroupHeartbeatRequestTopic{{Partitions: make([]int32, 200_000)}}
	join := kmsg.NewPtrJoinGroupRequest()
	join.Version, join.Group, join.SessionTimeoutMillis, join.RebalanceTimeoutMillis = 3, "classic-crowd", 6000, 6000
	join.ProtocolType = "consumer"
	join.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: huge, Metadata: make([]byte, 100_000)}}
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Version, commit.Group, commit.Generation = 9, id, -1
	t := kmsg.OffsetCommitRequestTopic{Topic: topic, Partitions: make([]kmsg.OffsetCommitRequestTopicPartition, 20_000)}
	commit.Topics = []kmsg.OffsetCommitRequestTopic{t}
	describe := kmsg.NewPtrConsumerGroupDescribeRequest()
	for i := range 3000 {
		describe.Groups = append(describe.Groups, fmt.Sprint(id, "-", i))
	}
	out := []kmsg.Request{crowd, owner, commit, describe}
	if n%8 == 0 {
		out = append(out, many, hard, long)
	}
	if n == 0 {
		out = append(out, join) // is answered when the others have come, or not
	}
	return out
}

// member is the honest one.
type member struct {
	w       *world
	c       *harness.Conn
	epoch   int32
	slowest time.Duration
	failed  string
}

func (m *member) beat() {
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.Version, find.CoordinatorKey = 1, "honest-group"
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end) && m.failed == ""; {
		if m.epoch == 0 {
			_, _ = m.c.Ask(find, 10*time.Second)
		}
		r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		r.Version, r.Group, r.MemberID, r.MemberEpoch = 1, "honest-group", "honest", m.epoch
		if m.epoch == 0 {
			r.RebalanceTimeoutMillis, r.SubscribedTopicNames = 60_000, []string{topic}
			r.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		}
		began := time.Now()
		resp, err := m.c.Ask(r, 30*time.Second)
		if err != nil {
			m.failed = err.Error()
			return
		}
		m.slowest = max(m.slowest, time.Since(began))
		a := resp.(*kmsg.ConsumerGroupHeartbeatResponse)
		switch a.ErrorCode {
		case 0:
			m.epoch = a.MemberEpoch
			return
		case 14, 15, 16:
		default:
			m.failed = fmt.Sprint("error ", a.ErrorCode)
		}
	}
}
