package group

import (
	"time"

	"moldau.io/moldau/protocol"
)

// Request is what a client asks of one group. The byte slices in it are kept by the machine: they must not alias a
// buffer that is used again.
type Request interface {
	// GroupID names the group, and so the partition whose machine answers.
	GroupID() string
	// Refuse is the answer that carries c and nothing else.
	Refuse(c protocol.Code) Response
}

// Response is the answer to a Request: a pointer to one of the Result types.
type Response interface{ isResponse() }

// Protocol is one assignment strategy that a member offers, in the order of its preference, with the member's
// subscription in the strategy's own format.
type Protocol struct {
	Name     string
	Metadata []byte
}

// Join asks to become or to stay a member (JoinGroup).
type Join struct {
	Group      string
	Member     string  // "" the first time
	Instance   *string // group.instance.id (KIP-345)
	Type       string  // "consumer", "connect", ...
	Protocols  []Protocol
	Session    time.Duration
	Rebalance  time.Duration
	ClientID   string
	ClientHost string
	Software   string // name and version of the client library; "" not known
	Reason     string // what the client says of its motive (KIP-800)

	MemberIDRequired bool // v4 on: a new dynamic member is sent its id and asked to come again (KIP-394)
	CanSkipAssigning bool // v9 on: knows skip_assignment (KIP-814)
}

// JoinMember is a member as its leader sees it.
type JoinMember struct {
	Member   string
	Instance *string
	Metadata []byte
}

// JoinResult answers Join.
type JoinResult struct {
	Code           protocol.Code
	Generation     int32
	Type, Protocol *string
	Leader, Member string
	SkipAssignment bool
	Members        []JoinMember // for the leader only
}

// Assignment is what the leader gives to one member.
type Assignment struct {
	Member string
	Data   []byte
}

// Sync asks for the member's assignment, and brings everybody's if it comes from the leader (SyncGroup).
type Sync struct {
	Group          string
	Member         string
	Instance       *string
	Generation     int32
	Type, Protocol *string // v5 on; must be the group's
	Assignments    []Assignment
}

// SyncResult answers Sync.
type SyncResult struct {
	Code           protocol.Code
	Type, Protocol *string
	Assignment     []byte
}

// Heartbeat says that a member is alive.
type Heartbeat struct {
	Group      string
	Member     string
	Instance   *string
	Generation int32
}

// HeartbeatResult answers Heartbeat.
type HeartbeatResult struct{ Code protocol.Code }

// LeavingMember is a member to remove: by its id, or by its instance id with the id left empty.
type LeavingMember struct {
	Member   string
	Instance *string
	Reason   string
}

// Leave removes members (LeaveGroup).
type Leave struct {
	Group   string
	Members []LeavingMember
}

// LeaveResult answers Leave. Codes are in the order of the request's members, empty if Code is set.
type LeaveResult struct {
	Code  protocol.Code
	Codes []protocol.Code
}

// CommitPartition is one offset to store. Code is set by the sender if the partition is not to be committed, so that
// answers stay in the order of the request; the machine sets it otherwise.
type CommitPartition struct {
	Topic       string
	TopicID     protocol.TopicID // zero if not known
	Partition   int32
	Offset      protocol.Offset
	LeaderEpoch protocol.Epoch // -1 if not given
	Metadata    string
	Code        protocol.Code
}

// CommitOffsets stores offsets (OffsetCommit).
type CommitOffsets struct {
	Group      string
	Member     string
	Instance   *string
	Generation int32
	Retention  time.Duration // v2-v4: how long these offsets live; below 0 the broker's default
	Partitions []CommitPartition

	KnowsGroupNotFound bool // v9 on: 69 instead of 22 for a group that does not exist
}

// CommitResult answers CommitOffsets: the request's partitions with their codes.
type CommitResult struct{ Partitions []CommitPartition }

// FetchTopic asks for offsets of one topic. A zero id is "whatever topic has the name".
type FetchTopic struct {
	Topic      string
	TopicID    protocol.TopicID
	Partitions []int32
}

// FetchOffsets asks for committed offsets (OffsetFetch, one group of it).
type FetchOffsets struct {
	Group  string
	All    bool // every committed partition; Topics is ignored
	Topics []FetchTopic
	// Member and Epoch are checked by consumer groups (v9 on); classic groups ignore them, as Kafka does.
	Member *string
	Epoch  int32
	// Stable asks for offsets that no transaction is about to replace: where one is, the partition's Code is
	// UnstableOffsetCommit (KIP-447).
	Stable bool
}

// FetchedPartition is a committed offset; Offset -1 says that there is none.
type FetchedPartition struct {
	Partition   int32
	Offset      protocol.Offset
	LeaderEpoch protocol.Epoch
	Metadata    string
	Code        protocol.Code
}

// FetchedTopic is the answer for one topic.
type FetchedTopic struct {
	Topic      string
	TopicID    protocol.TopicID
	Partitions []FetchedPartition
}

// FetchResult answers FetchOffsets.
type FetchResult struct {
	Code   protocol.Code
	Topics []FetchedTopic
}

// Describe asks what a group is doing (DescribeGroups, one group of it).
type Describe struct{ Group string }

// DescribedMember is a member as tools show it. Metadata is empty unless the group is stable.
type DescribedMember struct {
	Member, ClientID, ClientHost string
	Software                     string // of the client; "" not known
	Instance                     *string
	Metadata, Assignment         []byte
}

// DescribeResult answers Describe. A group that does not exist, or is none of the classic protocol, has Code GroupIDNotFound
// and state Dead.
type DescribeResult struct {
	Code     protocol.Code
	Message  string // says more than the code; "" none
	State    State
	Type     string
	Protocol string
	Members  []DescribedMember
	Reason   string // of the last rebalance

	Generation int32
}

// List asks for the groups of a machine (ListGroups). It goes to every partition.
type List struct {
	States []string // empty: all
	Types  []string // empty: all
}

// ListedGroup is one line of the list.
type ListedGroup struct {
	Group, ProtocolType string
	State               State
	Consumer            bool // of the consumer protocol, not the classic one
}

// ListResult answers List, sorted by group.
type ListResult struct {
	Code   protocol.Code
	Groups []ListedGroup
}

// Delete removes a group without members, with its offsets (DeleteGroups, one group of it).
type Delete struct{ Group string }

// DeleteResult answers Delete.
type DeleteResult struct{ Code protocol.Code }

// DeletePartition is one committed offset to remove.
type DeletePartition struct {
	Topic     string
	Partition int32
	Code      protocol.Code // as in CommitPartition
}

// DeleteOffsets removes committed offsets (OffsetDelete).
type DeleteOffsets struct {
	Group      string
	Partitions []DeletePartition
}

// DeleteOffsetsResult answers DeleteOffsets.
type DeleteOffsetsResult struct {
	Code       protocol.Code
	Partitions []DeletePartition
}

// ForgetTopics removes the offsets of topics that were deleted. It goes to every partition.
type ForgetTopics struct{ Topics []DeletedTopic }

// DeletedTopic is one life of a topic.
type DeletedTopic struct {
	Name string
	ID   protocol.TopicID
}

// ForgetResult answers ForgetTopics.
type ForgetResult struct{ Code protocol.Code }

func (r *Join) GroupID() string          { return r.Group }
func (r *Sync) GroupID() string          { return r.Group }
func (r *Heartbeat) GroupID() string     { return r.Group }
func (r *Leave) GroupID() string         { return r.Group }
func (r *CommitOffsets) GroupID() string { return r.Group }
func (r *FetchOffsets) GroupID() string  { return r.Group }
func (r *Describe) GroupID() string      { return r.Group }
func (r *List) GroupID() string          { return "" }
func (r *Delete) GroupID() string        { return r.Group }
func (r *DeleteOffsets) GroupID() string { return r.Group }
func (r *ForgetTopics) GroupID() string  { return "" }

func (*JoinResult) isResponse()          {}
func (*SyncResult) isResponse()          {}
func (*HeartbeatResult) isResponse()     {}
func (*LeaveResult) isResponse()         {}
func (*CommitResult) isResponse()        {}
func (*FetchResult) isResponse()         {}
func (*DescribeResult) isResponse()      {}
func (*ListResult) isResponse()          {}
func (*DeleteResult) isResponse()        {}
func (*DeleteOffsetsResult) isResponse() {}
func (*ForgetResult) isResponse()        {}

// Refuse answers with the member id that the request brought, as Kafka does.
func (r *Join) Refuse(c protocol.Code) Response {
	return &JoinResult{Code: c, Generation: -1, Member: r.Member}
}

func (r *Sync) Refuse(c protocol.Code) Response      { return &SyncResult{Code: c} }
func (r *Heartbeat) Refuse(c protocol.Code) Response { return &HeartbeatResult{Code: c} }
func (r *Leave) Refuse(c protocol.Code) Response     { return &LeaveResult{Code: c} }

// Refuse puts c on every partition that has no error of its own: OffsetCommit has no error for the whole request.
func (r *CommitOffsets) Refuse(c protocol.Code) Response {
	for i := range r.Partitions {
		if r.Partitions[i].Code == protocol.None {
			r.Partitions[i].Code = c
		}
	}
	return &CommitResult{Partitions: r.Partitions}
}

func (r *FetchOffsets) Refuse(c protocol.Code) Response  { return &FetchResult{Code: c} }
func (r *Describe) Refuse(c protocol.Code) Response      { return &DescribeResult{Code: c} }
func (r *List) Refuse(c protocol.Code) Response          { return &ListResult{Code: c} }
func (r *Delete) Refuse(c protocol.Code) Response        { return &DeleteResult{Code: c} }
func (r *DeleteOffsets) Refuse(c protocol.Code) Response { return &DeleteOffsetsResult{Code: c} }
func (r *ForgetTopics) Refuse(c protocol.Code) Response  { return &ForgetResult{Code: c} }
