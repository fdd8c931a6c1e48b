package group

import (
	"bytes"
	"slices"
	"time"

	"moldau.io/moldau/protocol"
)

// consumerMember is a member of a consumer group: the values of its two records. They are replaced, never changed.
type consumerMember struct {
	id     string
	desc   *Member
	cur    *Current
	alarms *memberAlarms
	joined int64 // its place in the order of joining
}

// The epochs that a member may send or have besides its own.
const (
	joinEpoch        = 0  // it joins, or joins again
	leaveEpoch       = -1 // it leaves for good; a record says it of a member that is removed
	leaveStaticEpoch = -2 // a static member leaves and means to come back
)

// newcomer is a member before its first heartbeat is taken.
func newcomer() (*Member, *Current) {
	none := ""
	return &Member{Regex: &none, RebalanceMillis: -1}, &Current{PreviousEpoch: -1}
}

func (mem *consumerMember) pattern() string { return mem.desc.pattern() }

// who is the member for events.
func (mem *consumerMember) who() Who { return mem.desc.who(mem.id, mem.alarms) }

func (d *Member) who(id string, a *memberAlarms) Who {
	w := Who{Member: id, Instance: orEmpty(d.Instance), ClientID: d.ClientID, Host: d.ClientHost}
	if a != nil {
		w.Software = a.software
	}
	return w
}

// pattern is the regular expression subscribed to, "" if there is none.
func (d *Member) pattern() string {
	if d.Regex == nil {
		return ""
	}
	return *d.Regex
}

// settledAt says that the member has all that it is to have.
func (mem *consumerMember) settledAt(epoch int32) bool { return mem.cur.settledAt(epoch) }

func (c *Current) settledAt(epoch int32) bool { return c.State == MemberStable && c.Epoch == epoch }

// equal says that a and b describe the same member.
func (d *Member) equal(o *Member) bool {
	return d == o || same(d.Instance, o.Instance) && same(d.Rack, o.Rack) && same(d.Regex, o.Regex) &&
		same(d.Assignor, o.Assignor) && d.ClientID == o.ClientID && d.ClientHost == o.ClientHost &&
		d.RebalanceMillis == o.RebalanceMillis && slices.Equal(d.Topics, o.Topics) && d.Classic.equal(o.Classic)
}

func (c *ClassicMember) equal(o *ClassicMember) bool {
	if c == nil || o == nil {
		return c == o
	}
	return c.SessionMillis == o.SessionMillis && slices.EqualFunc(c.Protocols, o.Protocols, func(a, b Protocol) bool {
		return a.Name == b.Name && bytes.Equal(a.Metadata, b.Metadata)
	})
}

func same(a, b *string) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// changed is a, unless b is given and says something else.
func changed(a, b *string) *string {
	if b == nil || same(a, b) {
		return a
	}
	return b
}

// unchangedRebalance is the rebalance timeout of a heartbeat that says none. Other negative ones are taken as Kafka takes
// them: such a member is removed as soon as it has to give something back.
const unchangedRebalance = -time.Millisecond

// updated is the description after a heartbeat, d itself if nothing changes. What is left out stays.
func (d *Member) updated(r *ConsumerHeartbeat) *Member {
	topics := d.Topics
	if r.Topics != nil && !slices.Equal(r.Topics, d.Topics) {
		topics = slices.Compact(slices.Sorted(slices.Values(r.Topics)))
	}
	rebalance := d.RebalanceMillis
	if r.Rebalance != unchangedRebalance {
		rebalance = int32(r.Rebalance.Milliseconds())
	}
	n := Member{
		Instance: changed(d.Instance, r.Instance), Rack: changed(d.Rack, r.Rack),
		ClientID: r.ClientID, ClientHost: r.ClientHost, Topics: topics, Regex: changed(d.Regex, r.Regex),
		RebalanceMillis: rebalance, Assignor: changed(d.Assignor, r.Assignor),
	}
	if d.equal(&n) {
		return d
	}
	made := n // only now: n itself stays on the stack
	return &made
}

func compareIDs(a, b protocol.TopicID) int { return bytes.Compare(a[:], b[:]) }

// find is the place of a topic in a list that is sorted by topic id.
func find(list []TopicPartitions, id protocol.TopicID) *TopicPartitions {
	i, ok := slices.BinarySearchFunc(list, id, func(t TopicPartitions, id protocol.TopicID) int { return compareIDs(t.ID, id) })
	if !ok {
		return nil
	}
	return &list[i]
}

// has says that the partition is in the list, and since which epoch of the member.
func has(list []TopicPartitions, id protocol.TopicID, partition int32) (epoch int32, ok bool) {
	t := find(list, id)
	if t == nil {
		return 0, false
	}
	i, ok := slices.BinarySearch(t.Partitions, partition)
	if !ok {
		return 0, false
	}
	if t.Epochs == nil {
		return 0, true
	}
	return t.Epochs[i], true
}

// holdsAll says that all of the given partitions are in the list.
func holdsAll(list, given []TopicPartitions) bool {
	for _, t := range given {
		for _, p := range t.Partitions {
			if _, ok := has(list, t.ID, p); !ok {
				return false
			}
		}
	}
	return true
}

// holdsAny says that one of the given partitions is in the list.
func holdsAny(list, given []TopicPartitions) bool {
	for _, t := range given {
		for _, p := range t.Partitions {
			if _, ok := has(list, t.ID, p); ok {
				return true
			}
		}
	}
	return false
}

func equalPartitions(a, b []TopicPartitions) bool {
	return slices.EqualFunc(a, b, func(x, y TopicPartitions) bool {
		return x.ID == y.ID && slices.Equal(x.Partitions, y.Partitions) && slices.Equal(x.Epochs, y.Epochs)
	})
}

func (c *Current) equal(o *Current) bool {
	return c == o || c.Epoch == o.Epoch && c.PreviousEpoch == o.PreviousEpoch && c.State == o.State &&
		equalPartitions(c.Assigned, o.Assigned) && equalPartitions(c.Revoking, o.Revoking)
}
