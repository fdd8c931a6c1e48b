//go:build compat

package migration

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/compat-tests/harness"
)

// riders is a consumer group whose members never leave: they go on with whichever broker has the folder.
const riders = "riders"

// rider is one of its members, by hand.
type rider struct {
	id    string
	fixed *string // instance id
	epoch int32
	owned []kmsg.ConsumerGroupHeartbeatRequestTopic
}

// beat sends a heartbeat and takes what it is given. It waits for a broker that is still loading its groups.
func (r *rider) beat(t *testing.T, addr string) {
	t.Helper()
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Version, req.Group, req.MemberID, req.MemberEpoch, req.Topics = 1, riders, r.id, r.epoch, r.owned
	req.InstanceID = r.fixed
	if r.epoch == 0 {
		req.RebalanceTimeoutMillis, req.SubscribedTopicNames = 60_000, []string{profiles}
		expression := "ri.*" // rides
		req.SubscribedTopicRegex = &expression
		req.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	}
	ctx := within(t)
	cl := client(t, addr)
	defer cl.Close()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		resp, err := req.RequestWith(ctx, cl)
		check(t, errors.Join(ctx.Err(), err))
		switch resp.ErrorCode {
		case 0:
			r.epoch = resp.MemberEpoch
			if resp.Assignment != nil {
				r.owned = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
				for _, topic := range resp.Assignment.Topics {
					r.owned = append(r.owned, kmsg.ConsumerGroupHeartbeatRequestTopic{TopicID: topic.TopicID, Partitions: topic.Partitions})
				}
			}
			return
		case 14, 15, 16: // loading, not available, not the coordinator
			<-again.C
		default:
			t.Fatalf("%s in epoch %d: error %d %v", r.id, r.epoch, resp.ErrorCode, resp.ErrorMessage)
		}
	}
}

// goOn has the members beat: each is still known, in the epoch that it was told by the other broker, and keeps what it has.
func goOn(t *testing.T, when, addr string, members ...*rider) {
	t.Helper()
	for _, r := range members {
		before := r.String()
		if r.beat(t, addr); r.String() != before {
			t.Errorf("%s: %s became %s", when, before, r)
		}
	}
}

func (r *rider) String() string {
	var all []string
	for _, topic := range r.owned {
		p := slices.Sorted(slices.Values(topic.Partitions))
		all = append(all, fmt.Sprintf("%x:%v", topic.TopicID[:4], p))
	}
	slices.Sort(all)
	return fmt.Sprintf("%s in epoch %d with %v", r.id, r.epoch, all)
}

// join adds a member, and lets all beat until the five partitions are theirs in one epoch.
func join(t *testing.T, addr string, members ...*rider) {
	t.Helper()
	ctx := within(t)
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	for ctx.Err() == nil {
		n, same := 0, true
		for _, r := range members {
			r.beat(t, addr)
			same = same && r.epoch == members[0].epoch
			for _, topic := range r.owned {
				n += len(topic.Partitions)
			}
		}
		if n == 6 && same { // of rides and profiles
			return
		}
		<-pause.C
	}
	t.Fatalf("the members do not settle: %v", members)
}

// decoded has Kafka's dump-log print what our broker wrote of the group.
func decoded(t *testing.T, b *harness.Broker, members ...*rider) {
	t.Helper()
	var segments []string
	for p := range 5 {
		segments = append(segments, b.Segments(t, "__consumer_offsets", p)...)
	}
	text := harness.Tool(t, "dump-log", "--offsets-decoder", "--files", strings.Join(segments, ",")).Want(t).Stdout
	for _, r := range members {
		if !strings.Contains(text, `"memberId":"`+r.id+`"`) {
			t.Errorf("dump-log prints nothing of %s:\n%s", r.id, harness.Tail(text, 20))
		}
	}
	for _, kind := range []string{`"type":"3"`, `"type":"5"`, `"type":"6"`, `"type":"7"`, `"type":"8"`, `"type":"16"`,
		`"subscribedTopicRegex":"ri.*"`, `"assignmentEpochs"`, `"metadataHash"`} {
		if !strings.Contains(text, kind) {
			t.Errorf("dump-log prints no %s:\n%s", kind, harness.Tail(text, 20))
		}
	}
}
