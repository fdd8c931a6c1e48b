package group

import "moldau.io/moldau/protocol"

// Record is one record of __consumer_offsets: what Kafka calls OffsetCommitKey/Value (Topic is not empty) or
// GroupMetadataKey/Value (Topic is empty). A record without a value is a tombstone.
type Record struct {
	Group     string
	Topic     string
	Partition int32

	Commit *Commit // the value of a commit; nil removes the offset
	Saved  *Saved  // the value of a group; nil removes the group
}

// IsCommit says that r is about a committed offset, not about a group.
func (r Record) IsCommit() bool { return r.Topic != "" }

// Commit is one committed offset. It is immutable once applied.
type Commit struct {
	Offset      protocol.Offset
	LeaderEpoch protocol.Epoch // -1: not given
	Metadata    string
	Timestamp   int64 // wall clock, ms
	Expires     int64 // wall clock, ms; -1: by the broker's retention (only OffsetCommit v2-v4 set it)
	TopicID     protocol.TopicID
}

// Saved is a group as its last record has it.
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
