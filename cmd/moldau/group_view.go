package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker"
)

// groupView is a group with its members and partitions, as describe prints it.
type groupView struct {
	groupRow
	Protocol string `json:"protocol"` // the assignor
	// Epoch is that of the group and AssignmentEpoch that of the newest target assignment, in groups of type consumer; null
	// otherwise.
	Epoch           *int32 `json:"epoch"`
	AssignmentEpoch *int32 `json:"assignment_epoch"`
	Lag             int64  `json:"lag"`
	// LagSeconds is the age of the oldest unread record, and LastRebalance why the group rebalanced last: null where the
	// broker was not asked at its admin address, or does not know.
	LagSeconds    *float64                `json:"lag_seconds"`
	LastRebalance *broker.RebalanceStatus `json:"last_rebalance"`
	Members       []groupPeer             `json:"members"`
	Partitions    []groupLag              `json:"partitions"`
}

type groupPeer struct {
	Member     string       `json:"member"`
	Instance   string       `json:"instance,omitempty"`
	Rack       string       `json:"rack,omitempty"`
	Client     string       `json:"client"`
	Host       string       `json:"host"`
	Type       string       `json:"type"`            // classic or consumer: how the member itself talks
	Epoch      *int32       `json:"epoch,omitempty"` // of a member of type consumer
	Topics     []string     `json:"subscribed_topics"`
	Regex      string       `json:"subscribed_regex,omitempty"`
	Assigned   int          `json:"partitions"`
	Assignment []topicParts `json:"assignment"`
	Target     []topicParts `json:"target,omitempty"`
}

type topicParts struct {
	Topic      string  `json:"topic"`
	Partitions []int32 `json:"partitions"`
}

type groupLag struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed int64  `json:"committed"`    // -1: nothing committed
	Epoch     int32  `json:"leader_epoch"` // of the committed record; -1 unknown
	Metadata  string `json:"metadata,omitempty"`
	End       int64  `json:"end"` // -1: the partition does not exist or does not answer
	Lag       int64  `json:"lag"` // -1 where the end is not known; all that is there where nothing is committed
	Member    string `json:"member,omitempty"`
	Client    string `json:"client,omitempty"`
	Host      string `json:"host,omitempty"`
	// LagSeconds is the age of the oldest unread record; null as in groupView.
	LagSeconds *float64 `json:"lag_seconds"`
}

// describeGroups asks what groups are and do, without their offsets. Groups of type consumer are asked for first; what is
// none of them is asked for as a classic group. Each group is in one of the two maps.
func describeGroups(ctx context.Context, adm groupAdmin, ids []string) (map[string]*groupView, map[string]error) {
	views, failed := map[string]*groupView{}, map[string]error{}
	if len(ids) == 0 {
		return views, failed
	}
	describeConsumerGroups(ctx, adm, ids, views, failed)
	var rest []string
	for _, id := range ids {
		if err := failed[id]; views[id] == nil && (err == nil || !kerr.IsRetriable(err)) {
			rest = append(rest, id)
		}
	}
	if len(rest) > 0 {
		describeClassicGroups(ctx, adm, rest, views, failed)
	}
	return views, failed
}

func describeConsumerGroups(ctx context.Context, adm groupAdmin, ids []string, views map[string]*groupView,
	failed map[string]error) {
	req := kmsg.NewPtrConsumerGroupDescribeRequest()
	req.Groups = ids
	for _, shard := range adm.cl.RequestSharded(ctx, req) {
		if shard.Err != nil {
			continue // from before KIP-848, or it does not answer, which the next question tells
		}
		for _, g := range shard.Resp.(*kmsg.ConsumerGroupDescribeResponse).Groups {
			if err := kerr.ErrorForCode(g.ErrorCode); err != nil {
				failed[g.Group] = err
				continue
			}
			v := &groupView{
				groupRow: groupRow{g.Group, g.State, "consumer", "consumer", shard.Meta.NodeID},
				Protocol: g.AssignorName, Epoch: &g.Epoch, AssignmentEpoch: &g.AssignmentEpoch,
			}
			for _, m := range g.Members {
				p := newPeer(m.MemberID, m.InstanceID, m.ClientID, m.ClientHost)
				p.Rack, p.Regex, p.Topics = deref(m.RackID), deref(m.SubscribedTopicRegex), sorted(m.SubscribedTopics)
				p.Type = "consumer"
				if m.MemberType == 0 {
					p.Type = "classic"
				}
				p.Epoch = &m.MemberEpoch
				p.Target = consumerParts(m.TargetAssignment)
				p.assign(consumerParts(m.Assignment))
				v.Members = append(v.Members, p)
			}
			v.sortMembers()
			views[g.Group] = v
			delete(failed, g.Group)
		}
	}
}

func describeClassicGroups(ctx context.Context, adm groupAdmin, ids []string, views map[string]*groupView,
	failed map[string]error) {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = ids
	for _, shard := range adm.cl.RequestSharded(ctx, req) {
		if shard.Err != nil {
			for _, id := range shard.Req.(*kmsg.DescribeGroupsRequest).Groups {
				failed[id] = shard.Err
			}
			continue
		}
		for _, g := range shard.Resp.(*kmsg.DescribeGroupsResponse).Groups {
			err := kerr.ErrorForCode(g.ErrorCode)
			if err == nil && g.State == "Dead" {
				err = kerr.GroupIDNotFound
			}
			if err != nil {
				failed[g.Group] = err
				continue
			}
			v := &groupView{groupRow: groupRow{g.Group, g.State, "classic", g.ProtocolType, shard.Meta.NodeID},
				Protocol: g.Protocol}
			for _, m := range g.Members {
				p := newPeer(m.MemberID, m.InstanceID, m.ClientID, m.ClientHost)
				p.Type = "classic"
				if g.ProtocolType == "consumer" {
					p.classic(m.ProtocolMetadata, m.MemberAssignment)
				}
				v.Members = append(v.Members, p)
			}
			v.sortMembers()
			views[g.Group] = v
			delete(failed, g.Group)
		}
	}
}

func newPeer(member string, instance *string, client, host string) groupPeer {
	return groupPeer{Member: member, Instance: deref(instance), Client: client, Host: strings.TrimPrefix(host, "/"),
		Topics: []string{}, Assignment: []topicParts{}}
}

func (p *groupPeer) assign(parts []topicParts) {
	p.Assignment, p.Assigned = parts, 0
	for _, t := range parts {
		p.Assigned += len(t.Partitions)
	}
}

// classic reads what a classic member has sent and was given. The bytes are the clients' own business: what cannot be read
// is left out.
func (p *groupPeer) classic(metadata, assignment []byte) {
	var m kmsg.ConsumerMemberMetadata
	if m.ReadFrom(metadata) == nil {
		p.Topics, p.Rack = sorted(m.Topics), deref(m.Rack)
	}
	var a kmsg.ConsumerMemberAssignment
	if a.ReadFrom(assignment) != nil {
		return
	}
	parts := make([]topicParts, len(a.Topics))
	for i, t := range a.Topics {
		parts[i] = topicParts{t.Topic, sorted(t.Partitions)}
	}
	p.assign(sortParts(parts))
}

func consumerParts(a kmsg.Assignment) []topicParts {
	parts := make([]topicParts, len(a.TopicPartitions))
	for i, t := range a.TopicPartitions {
		parts[i] = topicParts{t.Topic, sorted(t.Partitions)}
	}
	return sortParts(parts)
}

func sortParts(parts []topicParts) []topicParts {
	slices.SortFunc(parts, func(a, b topicParts) int { return cmp.Compare(a.Topic, b.Topic) })
	return parts
}

// partsCell is an assignment as a cell shows it: rides:0,1;fares:2.
func partsCell(parts []topicParts) string {
	cells := make([]string, len(parts))
	for i, t := range parts {
		cells[i] = t.Topic + ":" + joined(t.Partitions)
	}
	return dash(strings.Join(cells, ";"))
}

func sorted[T cmp.Ordered](list []T) []T {
	list = append([]T{}, list...)
	slices.Sort(list)
	return list
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// sortMembers puts members with a name of their own first, by that name.
func (v *groupView) sortMembers() {
	slices.SortFunc(v.Members, func(a, b groupPeer) int {
		if (a.Instance == "") != (b.Instance == "") {
			return cmp.Compare(b.Instance, a.Instance)
		}
		return cmp.Or(cmp.Compare(a.Instance, b.Instance), cmp.Compare(a.Member, b.Member))
	})
}

// viewGroups describes groups with the lag of every partition that is assigned or committed. The views are sorted; a group
// that could not be described has an error in their stead.
func viewGroups(ctx context.Context, adm groupAdmin, ids []string) ([]groupView, []error, error) {
	var found map[string]*groupView
	var failed map[string]error
	var commits kadm.FetchOffsetsResponses
	err := patiently(ctx, func() error {
		found, failed = describeGroups(ctx, adm, ids)
		if len(found) == 0 {
			return passing(firstOf(failed))
		}
		commits = adm.FetchManyOffsets(ctx, slices.Sorted(maps.Keys(found))...)
		return passing(cmp.Or(firstOf(failed), commits.Error()))
	})
	if err != nil {
		return nil, nil, err
	}
	var errs []error
	topics := map[string]bool{}
	for _, id := range slices.Sorted(maps.Keys(found)) {
		if err := commits[id].Err; err != nil {
			failed[id] = err
			delete(found, id)
			continue
		}
		found[id].place(commits[id].Fetched)
		for _, p := range found[id].Partitions {
			topics[p.Topic] = true
		}
	}
	for _, id := range slices.Sorted(maps.Keys(failed)) {
		errs = append(errs, groupError(id, failed[id]))
	}
	starts, ends, err := bounds(ctx, adm, slices.Sorted(maps.Keys(topics)))
	if err != nil {
		return nil, nil, err
	}
	views := []groupView{}
	for _, id := range slices.Sorted(maps.Keys(found)) {
		found[id].measure(starts, ends)
		views = append(views, *found[id])
	}
	return views, errs, nil
}

// place makes the rows of the partitions that a member has or the group has committed.
func (v *groupView) place(commits kadm.OffsetResponses) {
	rows := map[place]groupLag{}
	for _, m := range v.Members {
		for _, t := range m.Assignment {
			for _, p := range t.Partitions {
				rows[place{t.Topic, p}] = groupLag{Topic: t.Topic, Partition: p, Committed: -1, Epoch: -1,
					Member: m.Member, Client: m.Client, Host: m.Host}
			}
		}
	}
	commits.Each(func(o kadm.OffsetResponse) {
		if o.Err != nil || o.At < 0 {
			return
		}
		at := place{o.Topic, o.Partition}
		row, ok := rows[at]
		if !ok {
			row = groupLag{Topic: o.Topic, Partition: o.Partition}
		}
		row.Committed, row.Epoch, row.Metadata = o.At, o.LeaderEpoch, o.Metadata
		rows[at] = row
	})
	v.Partitions = []groupLag{}
	for _, at := range slices.SortedFunc(maps.Keys(rows), comparePlaces) {
		v.Partitions = append(v.Partitions, rows[at])
	}
	if v.Members == nil {
		v.Members = []groupPeer{}
	}
}

// measure fills in ends and lag.
func (v *groupView) measure(starts, ends kadm.ListedOffsets) {
	v.Lag = 0
	for i := range v.Partitions {
		p := &v.Partitions[i]
		p.End, p.Lag = -1, -1
		end, ok := ends.Lookup(p.Topic, p.Partition)
		if !ok || end.Err != nil {
			continue
		}
		p.End = end.Offset
		from := p.Committed
		if from < 0 {
			from = 0
			if start, ok := starts.Lookup(p.Topic, p.Partition); ok && start.Err == nil {
				from = start.Offset
			}
		}
		p.Lag = max(0, p.End-from)
		v.Lag += p.Lag
	}
}

// bounds are the first and the next offset of every partition of topics.
func bounds(ctx context.Context, adm groupAdmin, topics []string) (starts, ends kadm.ListedOffsets, err error) {
	if len(topics) == 0 {
		return nil, nil, nil // kadm would list all
	}
	if starts, err = adm.ListStartOffsets(ctx, topics...); err != nil {
		return nil, nil, err
	}
	ends, err = adm.ListEndOffsets(ctx, topics...)
	return starts, ends, err
}

// groupError says what is wrong with a group and what to do.
func groupError(id string, err error) error {
	if errors.Is(err, kerr.GroupIDNotFound) {
		return fmt.Errorf("group %s does not exist; 'moldau group list' shows those that do", id)
	}
	return brokerError("group "+id, err, "")
}

func firstOf(failed map[string]error) error {
	for _, id := range slices.Sorted(maps.Keys(failed)) {
		if err := passing(failed[id]); err != nil {
			return err
		}
	}
	return nil
}
