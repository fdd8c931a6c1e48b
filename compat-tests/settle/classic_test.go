//go:build compat

package settle

import (
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	errNone           = 0
	errIllegalGen     = 22
	errUnknownMember  = 25
	errRebalance      = 27
	errIDRequired     = 79
	errNotCoordinator = 16
	errLoading        = 14
	errUnavailable    = 15
)

// classicMember joins, syncs and sends heartbeats, as a Java consumer with the range assignor does.
type classicMember struct {
	*member
	c          *conn
	id         string
	generation int32
}

func runClassic(ctx context.Context, base *member, c *conn) error {
	m := &classicMember{member: base, c: c}
	for ctx.Err() == nil {
		ok, err := m.join()
		if err != nil || !ok {
			if err != nil {
				return err
			}
			continue
		}
		if err := m.stay(ctx); err != nil {
			return err
		}
		m.depart()
	}
	return nil
}

// join is one JoinGroup and one SyncGroup. It is false if they must be done again.
func (m *classicMember) join() (bool, error) {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.MemberID, req.ProtocolType = 9, m.crowd.name, m.id, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 45_000, 300_000
	req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: subscription(m.crowd.topic)}}
	answer, err := m.c.ask(req)
	if err != nil {
		return false, err
	}
	joined := answer.(*kmsg.JoinGroupResponse)
	switch joined.ErrorCode {
	case errNone:
		m.id, m.generation = joined.MemberID, joined.Generation
	case errIDRequired:
		m.id = joined.MemberID
		return false, nil
	default:
		return false, m.again("JoinGroup", joined.ErrorCode)
	}
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Version, sync.Group, sync.MemberID, sync.Generation = 5, m.crowd.name, m.id, m.generation
	sync.ProtocolType, sync.Protocol = joined.ProtocolType, joined.Protocol
	if joined.LeaderID == m.id {
		sync.GroupAssignment = m.assign(joined.Members)
	}
	if answer, err = m.c.ask(sync); err != nil {
		return false, err
	}
	synced := answer.(*kmsg.SyncGroupResponse)
	if synced.ErrorCode != errNone {
		return false, m.again("SyncGroup", synced.ErrorCode)
	}
	var mine kmsg.ConsumerMemberAssignment
	if len(synced.MemberAssignment) > 0 {
		if err := mine.ReadFrom(synced.MemberAssignment); err != nil {
			return false, err
		}
	}
	var partitions []int32
	for _, t := range mine.Topics {
		partitions = append(partitions, t.Partitions...)
	}
	m.arrive(m.generation, partitions)
	return true, nil
}

// again forgets what the error says is over. Errors that a healthy broker does not send are given back.
func (m *classicMember) again(api string, code int16) error {
	switch code {
	case errUnknownMember:
		m.id = ""
	case errRebalance, errIllegalGen:
	case errNotCoordinator, errLoading, errUnavailable:
		// The group moved or is loaded: asked again until it is there.
	default:
		return fmt.Errorf("%s: error %d", api, code)
	}
	return nil
}

// stay sends heartbeats until the member must rejoin.
func (m *classicMember) stay(ctx context.Context) error {
	beat := kmsg.NewPtrHeartbeatRequest()
	beat.Version, beat.Group, beat.MemberID, beat.Generation = 4, m.crowd.name, m.id, m.generation
	p := pulse{pulseFirst}
	for p.wait(ctx) {
		answer, err := m.c.ask(beat)
		if err != nil {
			return err
		}
		if code := answer.(*kmsg.HeartbeatResponse).ErrorCode; code != errNone {
			return m.again("Heartbeat", code)
		}
	}
	return nil
}

// assign gives each member a run of partitions.
func (m *classicMember) assign(members []kmsg.JoinGroupResponseMember) []kmsg.SyncGroupRequestGroupAssignment {
	slices.SortFunc(members, func(a, b kmsg.JoinGroupResponseMember) int {
		if a.MemberID < b.MemberID {
			return -1
		}
		return 1
	})
	n, all := int(m.crowd.partitions), make([]kmsg.SyncGroupRequestGroupAssignment, len(members))
	for i, other := range members {
		var a kmsg.ConsumerMemberAssignment
		topic := kmsg.NewConsumerMemberAssignmentTopic()
		topic.Topic = m.crowd.topic
		for p := i * n / len(members); p < (i+1)*n/len(members); p++ {
			topic.Partitions = append(topic.Partitions, int32(p))
		}
		a.Topics = append(a.Topics, topic)
		all[i] = kmsg.SyncGroupRequestGroupAssignment{MemberID: other.MemberID, MemberAssignment: a.AppendTo(nil)}
	}
	return all
}

func subscription(topic string) []byte {
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Version, meta.Topics = 1, []string{topic}
	return meta.AppendTo(nil)
}
