package group

import (
	"maps"
	"slices"
	"time"

	"moldau.io/moldau/protocol"
)

// States of a consumer group besides Empty and Stable.
const (
	Assigning   State = "Assigning"   // the target assignment is older than the group
	Reconciling State = "Reconciling" // members are on their way to it
)

// consumerGroup is one group of the consumer protocol (KIP-848). Its epoch rises with every change of members,
// subscriptions and topics; the target assignment is computed for an epoch; each member goes from what it has to what it
// is to have in its own heartbeats.
type consumerGroup struct {
	id string

	// Hard state: what the group's records say. Only apply changes it.
	epoch        int32
	metadataHash int64 // of the topics subscribed to, when the epoch last rose
	targetEpoch  int32 // that the target was computed for; it falls back to -1 when the group is removed
	targetTime   int64 // wall clock in ms of its computation; 0: the next one need not wait
	members      map[string]*consumerMember
	targets      map[string][]TopicPartitions
	regexes      map[string]*Regex

	// Derived from the hard state by apply, so that a heartbeat need not walk the group.
	static    map[string]*consumerMember // by instance id
	topics    topicCounts
	patterns  map[string]int // members, by regular expression
	resolved  lastResolved
	assignors map[string]int // members, by the assignor that they prefer
	owners    map[ownedPartition]*consumerMember
	settled   int   // members that have reached the target
	peak      int   // the most members there ever were; the assignors want to know
	joined    int64 // members that ever joined
	classic   int   // members that speak the classic protocol

	// Soft state: lost with the machine.
	alarms    map[string]*memberAlarms
	look      *look // at all topics, where it takes long
	lookAlarm alarm
	checked   metadataCheck
	sizes     map[string]int // partitions of the topics when the hash was last computed; to say what changed
	reason    string         // of the last rise of the epoch
}

// ownedPartition is a partition that a member has or has not given back yet.
type ownedPartition struct {
	topic     protocol.TopicID
	partition int32
}

// metadataCheck says which metadata the group was last compared with. It counts only from the epoch on that came of it:
// if the record of that epoch is refused, the group looks again.
type metadataCheck struct {
	done    bool
	version int64
	epoch   int32
}

// lastResolved says when expressions were last matched with topics; it counts if there are any.
type lastResolved struct {
	at      int64 // wall clock, ms
	version int64 // of the metadata
}

// initialEpoch is the epoch of a group, and of its target, before anything happened to it.
const initialEpoch = 1

func newConsumerGroup(id string) *consumerGroup {
	return &consumerGroup{
		id: id, epoch: initialEpoch, targetEpoch: initialEpoch,
		members: map[string]*consumerMember{}, targets: map[string][]TopicPartitions{}, regexes: map[string]*Regex{},
		static: map[string]*consumerMember{}, topics: topicCounts{}, patterns: map[string]int{},
		assignors: map[string]int{}, owners: map[ownedPartition]*consumerMember{}, alarms: map[string]*memberAlarms{},
	}
}

func (g *consumerGroup) state() State {
	switch {
	case len(g.members) == 0:
		return Empty
	case g.epoch > g.targetEpoch:
		return Assigning
	case g.settled < len(g.members):
		return Reconciling
	}
	return Stable
}

// memberIDs are sorted, because their order reaches assignments and records.
func (g *consumerGroup) memberIDs() []string { return slices.Sorted(maps.Keys(g.members)) }

func (g *consumerGroup) subscribedTo(topic string) bool { return g.topics[topic] != subscriptions{} }

// subscriptions says how many members name a topic, and how many expressions match it.
type subscriptions struct{ names, patterns int }

// topicCounts are the subscriptions of topics; what nobody subscribes to is not there. The same type says how counts change.
type topicCounts map[string]subscriptions

func (c topicCounts) add(topic string, s subscriptions) {
	n := c[topic]
	if n.names, n.patterns = n.names+s.names, n.patterns+s.patterns; n == (subscriptions{}) {
		delete(c, topic)
	} else {
		c[topic] = n
	}
}

func (c topicCounts) addAll(topics []string, s subscriptions) {
	for _, topic := range topics {
		c.add(topic, s)
	}
}

// after are the counts of one topic once delta is added.
func (c topicCounts) after(topic string, delta topicCounts) subscriptions {
	n, d := c[topic], delta[topic]
	return subscriptions{n.names + d.names, n.patterns + d.patterns}
}

// setMember makes desc and cur what a member is, and nil desc removes it. It keeps what is derived right.
func (g *consumerGroup) setMember(id string, desc *Member, cur *Current) {
	mem := g.members[id]
	if mem != nil {
		g.count(mem, -1)
		g.disown(mem)
	}
	if desc == nil {
		delete(g.members, id)
		if a := g.alarms[id]; a != nil {
			a.off()
			delete(g.alarms, id)
		}
		return
	}
	if mem == nil {
		mem = &consumerMember{id: id, alarms: g.alarmsOf(id), joined: g.joined}
		g.joined++
		g.members[id] = mem
		g.peak = max(g.peak, len(g.members))
	}
	mem.desc, mem.cur = desc, cur
	g.count(mem, 1)
	g.own(mem)
}

// count adds a member to the counts, or takes it out when by is -1.
func (g *consumerGroup) count(mem *consumerMember, by int) {
	g.topics.addAll(mem.desc.Topics, subscriptions{names: by})
	if re := mem.pattern(); re != "" {
		add(g.patterns, re, by)
	}
	if mem.desc.Assignor != nil {
		add(g.assignors, *mem.desc.Assignor, by)
	}
	if mem.desc.Classic != nil {
		g.classic += by
	}
	if mem.settledAt(g.targetEpoch) {
		g.settled += by
	}
	if mem.desc.Instance != nil {
		if by > 0 {
			g.static[*mem.desc.Instance] = mem
		} else if g.static[*mem.desc.Instance] == mem {
			delete(g.static, *mem.desc.Instance)
		}
	}
}

// setTargetEpoch counts anew who has reached the target.
func (g *consumerGroup) setTargetEpoch(epoch int32, at int64) {
	g.targetEpoch, g.targetTime = epoch, at
	g.settled = 0
	for _, mem := range g.members {
		if mem.settledAt(epoch) {
			g.settled++
		}
	}
}

// own notes that mem has its partitions. Where another one is noted it is overruled: the later record is right.
func (g *consumerGroup) own(mem *consumerMember) {
	for _, list := range [2][]TopicPartitions{mem.cur.Assigned, mem.cur.Revoking} {
		for _, t := range list {
			for _, p := range t.Partitions {
				g.owners[ownedPartition{t.ID, p}] = mem
			}
		}
	}
}

func (g *consumerGroup) disown(mem *consumerMember) {
	for _, list := range [2][]TopicPartitions{mem.cur.Assigned, mem.cur.Revoking} {
		for _, t := range list {
			for _, p := range t.Partitions {
				if key := (ownedPartition{t.ID, p}); g.owners[key] == mem {
					delete(g.owners, key)
				}
			}
		}
	}
}

// setRegex makes topics what an expression matches; nil: nothing is known of it.
func (g *consumerGroup) setRegex(pattern string, re *Regex) {
	if old := g.regexes[pattern]; old != nil {
		delete(g.regexes, pattern)
		g.topics.addAll(old.Topics, subscriptions{patterns: -1})
	}
	if re != nil {
		g.regexes[pattern] = re
		g.resolved = lastResolved{at: re.Timestamp, version: re.Version}
		g.topics.addAll(re.Topics, subscriptions{patterns: 1})
	}
}

// add counts what is not topics; what is down to 0 is not there.
func add(counts map[string]int, key string, by int) {
	if n := counts[key] + by; n != 0 {
		counts[key] = n
	} else {
		delete(counts, key)
	}
}

// consumerGroupFor is the group of a heartbeat. One that joins makes the group if there is none, or only an empty classic
// one; the group made is soft until its records are applied.
func (m *Machine) consumerGroupFor(now time.Time, id string, join bool) (*consumerGroup, *refusal) {
	if g := m.consumers[id]; g != nil {
		return g, nil
	}
	classic := m.groups[id]
	switch {
	case classic == nil && !join:
		return nil, refuse(protocol.GroupIDNotFound, "Consumer group %s not found.", id)
	case classic == nil:
		return m.makeConsumerGroup(newConsumerGroup(id)), nil
	case join && classic.state == Empty:
		m.record(savedRecord(id, nil))
		m.stored(classic, GroupConverted, Who{}, "the classic group has no members; it is a consumer group from now on")
		return m.makeConsumerGroup(newConsumerGroup(id)), nil
	case join:
		return m.upgrade(now, classic)
	}
	return nil, refuse(protocol.GroupIDNotFound, "Group %s is not a consumer group.", id)
}

// makeConsumerGroup lends g to the rest of this call and, if its records are written, to Apply: so it keeps the alarms
// that are set meanwhile.
func (m *Machine) makeConsumerGroup(g *consumerGroup) *consumerGroup {
	m.making = g
	return g
}

// existingConsumerGroup is for requests that never make a group.
func (m *Machine) existingConsumerGroup(id string) (*consumerGroup, *refusal) {
	if g := m.consumers[id]; g != nil {
		return g, nil
	}
	if m.groups[id] != nil {
		return nil, refuse(protocol.GroupIDNotFound, "Group %s is not a consumer group.", id)
	}
	return nil, refuse(protocol.GroupIDNotFound, "Group %s not found.", id)
}

// removeConsumerGroup writes the tombstones of a group, its members included.
func (m *Machine) removeConsumerGroup(g *consumerGroup) {
	ids := g.memberIDs()
	for _, kind := range [...]Kind{KindCurrent, KindMemberTarget} {
		for _, id := range ids {
			m.record(Record{Kind: kind, Group: g.id, Name: id})
		}
	}
	m.record(Record{Kind: KindTarget, Group: g.id})
	for _, id := range ids {
		m.record(Record{Kind: KindMember, Group: g.id, Name: id})
	}
	for _, pattern := range slices.Sorted(maps.Keys(g.regexes)) {
		m.record(Record{Kind: KindRegex, Group: g.id, Name: pattern})
	}
	m.record(Record{Kind: KindPartitions, Group: g.id})
	m.record(Record{Kind: KindEpoch, Group: g.id})
}
