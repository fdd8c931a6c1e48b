package group

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"moldau.io/moldau/protocol"
)

// refusal is why a request of a consumer group is refused. The message is Kafka's: clients show it to people.
type refusal struct {
	code    protocol.Code
	message string
}

func refuse(code protocol.Code, format string, args ...any) *refusal {
	return &refusal{code: code, message: fmt.Sprintf(format, args...)}
}

// beat is one heartbeat on its way through the machine: what the member was, and what it is now.
type beat struct {
	now      time.Time
	g        *consumerGroup
	id       string
	software string

	wasDesc *Member // before this heartbeat
	wasCur  *Current
	desc    *Member // after it
	cur     *Current
	old     *consumerMember // the static member whose place is taken
	isNew   bool            // there was no such member

	subscription bool              // it subscribes to other topics or to another expression
	delta        topicCounts       // what that changes in the counts of topics
	resolved     map[string]*Regex // expressions that were matched anew
	epoch        int32             // of the group, after this heartbeat
	targetEpoch  int32
	target       []TopicPartitions // of the member
}

// consumerHeartbeat takes ConsumerGroupHeartbeat. A heartbeat that says nothing new costs a look at the member and a
// deadline moved; only one that does changes the group's epoch, the target and what the member has, in this order.
func (m *Machine) consumerHeartbeat(now time.Time, t Ticket, r *ConsumerHeartbeat) {
	no := m.checkConsumerHeartbeat(r)
	var res *ConsumerHeartbeatResult
	switch {
	case no != nil:
	case r.Epoch < 0:
		res, no = m.consumerLeave(now, r)
	default:
		res, no = m.consumerBeat(now, r)
	}
	if no != nil {
		// A refused heartbeat leaves nothing behind, not even what was decided before the fault was found.
		m.eff.Records, m.eff.Events = m.eff.Records[:0], m.eff.Events[:0]
		m.making, m.upgrading = nil, nil
		m.tellRefused(r, no)
		res = &ConsumerHeartbeatResult{Code: no.code, Message: no.message}
	}
	m.finishUpgrade()
	m.replyStable(t, res)
}

func (m *Machine) consumerBeat(now time.Time, r *ConsumerHeartbeat) (*ConsumerHeartbeatResult, *refusal) {
	g, no := m.consumerGroupFor(now, r.Group, r.Epoch == joinEpoch)
	if no != nil {
		return nil, no
	}
	if no := m.roomForConsumer(g, r.Member, r.Instance); no != nil {
		return nil, no
	}
	b := beat{now: now, g: g, id: r.Member, software: r.Software}
	if b.id == "" {
		b.id = m.newConsumerID()
	}
	if r.Instance == nil {
		no = b.dynamic(r)
	} else {
		no = m.static(&b, r)
	}
	if no != nil {
		return nil, no
	}
	b.desc = b.wasDesc.updated(r)
	if no := m.beatOn(&b, r.Owned); no != nil {
		return nil, no
	}
	alarms := g.alarmsOf(b.id)
	alarms.software = r.Software
	m.setConsumerSession(now, g, alarms)
	if b.cur != b.wasCur {
		m.setConsumerRebalance(now, alarms, b.desc, b.cur)
	}

	res := &ConsumerHeartbeatResult{Member: b.id, Epoch: b.cur.Epoch, Interval: m.cfg.consumer(g.id).Heartbeat}
	full := r.Rebalance != unchangedRebalance && (r.Topics != nil || r.Regex != nil) && r.Owned != nil
	if r.Epoch == joinEpoch || full || b.cur != b.wasCur && !equalPartitions(b.cur.Assigned, b.wasCur.Assigned) {
		res.Assigned, res.HasAssignment = b.cur.Assigned, true
	}
	return res, nil
}

// beatOn takes what the member is now to the group: subscriptions, epoch, target, and the member's way there.
func (m *Machine) beatOn(b *beat, owned []TopicPartitions) *refusal {
	if no := m.updateSubscription(b); no != nil {
		return no
	}
	if no := m.updateTarget(b); no != nil {
		return no
	}
	return m.reconcile(b, owned)
}

// checkConsumerHeartbeat looks at the request alone, in the order in which Kafka's GroupCoordinatorService does.
func (m *Machine) checkConsumerHeartbeat(r *ConsumerHeartbeat) *refusal {
	bad := func(message string) *refusal { return refuse(protocol.InvalidRequest, "%s", message) }
	switch {
	case (r.MemberIDRequired || r.Epoch > 0 || r.Epoch == leaveEpoch) && isBlank(r.Member):
		return bad("MemberId can't be empty.")
	case isBlank(r.Group):
		return bad("GroupId can't be empty.")
	case r.Instance != nil && isBlank(*r.Instance):
		return bad("InstanceId can't be empty.")
	case r.Rack != nil && isBlank(*r.Rack):
		return bad("RackId can't be empty.")
	case r.Epoch == joinEpoch && r.Rebalance == unchangedRebalance:
		return bad("RebalanceTimeoutMs must be provided in first request.")
	case r.Epoch == joinEpoch && (r.Owned == nil || len(r.Owned) > 0):
		return bad("TopicPartitions must be empty when (re-)joining.")
	case r.Epoch == joinEpoch && r.Topics == nil && r.Regex == nil:
		return bad("Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.")
	case r.Epoch == leaveStaticEpoch && r.Instance == nil:
		return bad("InstanceId can't be null.")
	case r.Epoch < leaveStaticEpoch:
		return bad("MemberEpoch is invalid.")
	case r.Assignor != nil && !slices.Contains(m.cfg.Assignors, *r.Assignor):
		return refuse(protocol.UnsupportedAssignor, "ServerAssignor %s is not supported. Supported assignors: %s.",
			*r.Assignor, strings.Join(m.cfg.Assignors, ", "))
	case r.unstorable():
		return bad("a name in the request is longer than 32767 bytes")
	}
	return nil
}

// unstorable says that a string does not fit the records of groups.
func (r *ConsumerHeartbeat) unstorable() bool {
	long := func(s *string) bool { return s != nil && len(*s) > stringBytesMax }
	if len(r.Group) > stringBytesMax || len(r.Member) > stringBytesMax || long(r.Instance) || long(r.Rack) || long(r.Regex) {
		return true
	}
	for _, t := range r.Topics {
		if len(t) > stringBytesMax {
			return true
		}
	}
	return false
}

// isBlank is Java's s.trim().isEmpty().
func isBlank(s string) bool {
	return strings.TrimFunc(s, func(c rune) bool { return c <= ' ' }) == ""
}

func (m *Machine) roomForConsumer(g *consumerGroup, id string, instance *string) *refusal {
	if instance != nil && g.static[*instance] != nil {
		return nil
	}
	if len(g.members) >= m.cfg.ConsumerMaxSize && g.members[id] == nil {
		return refuse(protocol.GroupMaxSizeReached, "The consumer group has reached its maximum capacity of %d members.",
			m.cfg.ConsumerMaxSize)
	}
	return nil
}

// checkEpoch says whether the sender knows where it stands. It may be one epoch behind if it has nothing but what it was
// assigned: then the answer that raised its epoch was lost.
func (mem *consumerMember) checkEpoch(epoch int32, owned []TopicPartitions) *refusal {
	switch {
	case epoch == joinEpoch || epoch == mem.cur.Epoch:
		return nil
	case epoch > mem.cur.Epoch:
		return refuse(protocol.FencedMemberEpoch, "The consumer group member has a greater member epoch (%d) than the one "+
			"known by the group coordinator (%d). The member must abandon all its partitions and rejoin.", epoch, mem.cur.Epoch)
	case epoch == mem.cur.PreviousEpoch && owned != nil && holdsAll(mem.cur.Assigned, owned):
		return nil
	}
	return refuse(protocol.FencedMemberEpoch, "The consumer group member has a smaller member epoch (%d) than the one "+
		"known by the group coordinator (%d). The member must abandon all its partitions and rejoin.", epoch, mem.cur.Epoch)
}
