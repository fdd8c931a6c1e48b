//go:build compat

package settle

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	errFencedEpoch     = 110
	errUnreleased      = 111
	errStaleEpoch      = 113
	joiningEpoch       = 0
	rebalanceTimeoutMs = 300_000
)

// runConsumer is a member of the new protocol (KIP-848): it acknowledges what it is given at once.
func runConsumer(ctx context.Context, m *member, c *conn) error {
	var raw [16]byte
	_, _ = rand.Read(raw[:])
	id := base64.RawURLEncoding.EncodeToString(raw[:])
	var (
		epoch int32 = joiningEpoch
		owned []kmsg.ConsumerGroupHeartbeatRequestTopic
		tell  = true // what the member owns goes with the next heartbeat
	)
	p := pulse{pulseFirst}
	for ctx.Err() == nil {
		req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		req.Version, req.Group, req.MemberID, req.MemberEpoch = 1, m.crowd.name, id, epoch
		req.RebalanceTimeoutMillis = -1
		if epoch == joiningEpoch {
			owned = nil
			req.RebalanceTimeoutMillis, req.SubscribedTopicNames = rebalanceTimeoutMs, []string{m.crowd.topic}
		}
		if tell || epoch == joiningEpoch {
			req.Topics = append([]kmsg.ConsumerGroupHeartbeatRequestTopic{}, owned...)
		}
		answer, err := c.ask(req)
		if err != nil {
			return err
		}
		resp := answer.(*kmsg.ConsumerGroupHeartbeatResponse)
		switch resp.ErrorCode {
		case errNone:
		case errFencedEpoch, errUnknownMember:
			epoch, tell = joiningEpoch, true
			m.depart()
			continue
		case errNotCoordinator, errLoading, errUnavailable:
			p.wait(ctx)
			continue
		default:
			text := ""
			if resp.ErrorMessage != nil {
				text = *resp.ErrorMessage
			}
			return fmt.Errorf("ConsumerGroupHeartbeat: error %d %s", resp.ErrorCode, text)
		}
		tell = resp.Assignment != nil
		if tell {
			owned = owned[:0:0]
			for _, t := range resp.Assignment.Topics {
				owned = append(owned, kmsg.ConsumerGroupHeartbeatRequestTopic{TopicID: t.TopicID, Partitions: t.Partitions})
			}
		}
		if tell || epoch != resp.MemberEpoch {
			p.quicken()
			epoch = resp.MemberEpoch
			var partitions []int32
			for _, t := range owned {
				partitions = append(partitions, t.Partitions...)
			}
			m.arrive(epoch, partitions)
		}
		if tell {
			continue
		}
		p.wait(ctx)
	}
	return nil
}
