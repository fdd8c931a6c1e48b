package group

import "moldau.io/moldau/protocol"

// Record is one record of __consumer_offsets. Its key is Kind, Group and what the kind adds; a nil Value is a tombstone.
type Record struct {
	Kind  Kind
	Group string

	// Topic and Partition are the rest of the key of a KindCommit.
	Topic     string
	Partition int32
	// Name is the rest of the key of KindMember, KindMemberTarget and KindCurrent, a member id, and of KindRegex, the
	// expression.
	Name string

	Value Value
}

// Kind is what a record is about.
type Kind int8

// The kinds, with the names of Kafka's schemas and the versions of their keys.
const (
	KindCommit       Kind = iota // OffsetCommit (0, 1): an offset. Value *Commit
	KindSaved                    // GroupMetadata (2): a classic group. Value *Saved
	KindEpoch                    // ConsumerGroupMetadata (3): a consumer group. Value *Epoch
	KindPartitions               // ConsumerGroupPartitionMetadata (4): Kafka before 4.1 wrote it. Value *Partitions
	KindMember                   // ConsumerGroupMemberMetadata (5): what a member subscribes to. Value *Member
	KindTarget                   // ConsumerGroupTargetAssignmentMetadata (6). Value *Target
	KindMemberTarget             // ConsumerGroupTargetAssignmentMember (7). Value *MemberTarget
	KindCurrent                  // ConsumerGroupCurrentMemberAssignment (8): what a member has. Value *Current
	KindRegex                    // ConsumerGroupRegularExpression (16): the topics that match. Value *Regex
)

// Value of a record: a pointer to one of the types below. It is immutable once applied.
type Value interface{ isValue() }

// Commit is one committed offset.
type Commit struct {
	Offset      protocol.Offset
	LeaderEpoch protocol.Epoch // -1: not given
	Metadata    string
	Timestamp   int64 // wall clock, ms
	Expires     int64 // wall clock, ms; -1: by the broker's retention (only OffsetCommit v2-v4 set it)
	TopicID     protocol.TopicID
}

// Saved is a classic group as its last record has it.
type Saved struct {
	Type       string // "" for a group without members and without a past
	Generation int32
	Protocol   *string
	Leader     *string
	Since      int64 // wall clock in ms of the last change of state, -1 unknown
	Members    []SavedMember
}

// SavedMember is a member with the strategy that was chosen. Timeouts are milliseconds.
type SavedMember struct {
	Member, ClientID, ClientHost string
	Instance                     *string
	Rebalance, Session           int32
	Metadata, Assignment         []byte
}

// Epoch is a consumer group: it rises with every change of members, subscriptions or topics.
type Epoch struct {
	Epoch        int32
	MetadataHash int64 // of the topics subscribed to; 0 unknown
}

// Partitions says that a record of Kafka's before 4.1 is there which lists the partitions of the topics of a consumer group.
// We write only its tombstone.
type Partitions struct{}

// Member is a member of a consumer group as it describes itself.
type Member struct {
	Instance, Rack       *string
	ClientID, ClientHost string
	Topics               []string // sorted
	Regex                *string  // "" and nil: none
	RebalanceMillis      int32
	Assignor             *string        // the server's assignor that it prefers
	Classic              *ClassicMember // of a member that speaks the classic protocol
}

// ClassicMember is what a consumer group keeps of a member that speaks the classic protocol.
type ClassicMember struct {
	SessionMillis int32
	Protocols     []Protocol
}

// Target is the epoch of the group that the target assignment was computed for.
type Target struct {
	Epoch     int32
	Timestamp int64 // wall clock in ms of its computation; 0 unknown
}

// MemberTarget is what a member is to have in the end.
type MemberTarget struct{ Topics []TopicPartitions }

// Current is what a member has and gives back now.
type Current struct {
	Epoch, PreviousEpoch int32 // of the member
	State                MemberState
	Assigned             []TopicPartitions // with Epochs
	Revoking             []TopicPartitions // with Epochs; sent away and not yet acknowledged
}

// TopicPartitions is partitions of one topic, ascending. Lists of them are sorted by topic id.
type TopicPartitions struct {
	ID         protocol.TopicID
	Partitions []int32
	Epochs     []int32 // the member epochs in which they were assigned (KIP-1251); nil where that is not kept
}

// MemberState says how far a member is on the way to its target.
type MemberState int8

// The states by their number in the record (org.apache.kafka.coordinator.group.modern.MemberState).
const (
	MemberStable     MemberState = 0
	MemberUnrevoked  MemberState = 1 // must give partitions back before it goes to the next epoch
	MemberUnreleased MemberState = 2 // waits for partitions that others have not given back
	MemberUnknown    MemberState = 127
)

// Regex is the topics that a regular expression matches.
type Regex struct {
	Topics    []string // sorted
	Version   int64    // of the metadata it was resolved with
	Timestamp int64    // wall clock, ms
}

func (*Commit) isValue()       {}
func (*Saved) isValue()        {}
func (*Epoch) isValue()        {}
func (*Partitions) isValue()   {}
func (*Member) isValue()       {}
func (*Target) isValue()       {}
func (*MemberTarget) isValue() {}
func (*Current) isValue()      {}
func (*Regex) isValue()        {}

// commitRecord sets the offset of a partition, or removes it when c is nil.
func commitRecord(group, topic string, partition int32, c *Commit) Record {
	r := Record{Kind: KindCommit, Group: group, Topic: topic, Partition: partition}
	if c != nil {
		r.Value = c
	}
	return r
}

// savedRecord sets the state of a classic group, or removes it when s is nil.
func savedRecord(group string, s *Saved) Record {
	r := Record{Kind: KindSaved, Group: group}
	if s != nil {
		r.Value = s
	}
	return r
}
