package group

import (
	"time"

	"moldau.io/moldau/protocol"
)

// ConsumerHeartbeat joins a consumer group, keeps a member in it, tells its state, or leaves (ConsumerGroupHeartbeat,
// KIP-848). What is nil has not changed since the last one.
type ConsumerHeartbeat struct {
	Group     string
	Member    string
	Epoch     int32 // of the member; 0 joins, -1 leaves, -2 leaves for a while (static members)
	Instance  *string
	Rack      *string
	Rebalance time.Duration // -1 ms: unchanged
	Topics    []string      // nil: unchanged
	Regex     *string       // v1 on; "" takes a subscription back
	Assignor  *string
	Owned     []TopicPartitions // what the member has; nil: unchanged, empty: nothing

	ClientID, ClientHost string
	Software             string // name and version of the client library; "" not known
	// MemberIDRequired is v1 on: the client makes the id.
	MemberIDRequired bool
}

// ConsumerHeartbeatResult answers ConsumerHeartbeat.
type ConsumerHeartbeatResult struct {
	Code     protocol.Code
	Message  string // says more than the code; "" none
	Member   string
	Epoch    int32
	Interval time.Duration // until the next heartbeat
	// Assigned is what the member may have now; it matters if HasAssignment.
	Assigned      []TopicPartitions
	HasAssignment bool
}

// ConsumerDescribe asks what a consumer group is doing (ConsumerGroupDescribe, one group of it).
type ConsumerDescribe struct{ Group string }

// ConsumerMemberView is a member as tools show it.
type ConsumerMemberView struct {
	Member         string
	Instance, Rack *string
	Epoch          int32
	ClientID       string
	ClientHost     string
	Software       string // of the client; "" not known
	Topics         []string
	Regex          *string
	Assigned       []TopicPartitions // without epochs
	Target         []TopicPartitions
	Classic        bool // speaks the classic protocol
}

// ConsumerDescribeResult answers ConsumerDescribe. A group that does not exist or is of another type has Code
// GroupIDNotFound.
type ConsumerDescribeResult struct {
	Code            protocol.Code
	Message         string
	State           State
	Epoch           int32
	AssignmentEpoch int32
	Assignor        string
	Members         []ConsumerMemberView // sorted by id
	Reason          string               // of the last rebalance
}

func (r *ConsumerHeartbeat) GroupID() string { return r.Group }
func (r *ConsumerDescribe) GroupID() string  { return r.Group }

func (*ConsumerHeartbeatResult) isResponse() {}
func (*ConsumerDescribeResult) isResponse()  {}

// Refuse answers with the code alone.
func (r *ConsumerHeartbeat) Refuse(c protocol.Code) Response {
	return &ConsumerHeartbeatResult{Code: c}
}
func (r *ConsumerDescribe) Refuse(c protocol.Code) Response { return &ConsumerDescribeResult{Code: c} }
