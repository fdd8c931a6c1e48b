package protocol

import (
	"fmt"
	"math"
)

// Fetch, versions 4 to 18.
//
//	v4   isolation level, last stable offset and aborted transactions (KIP-98)
//	v5   log start offset (KIP-107)
//	v7   fetch sessions (KIP-227)
//	v9   current leader epoch (KIP-320)
//	v11  rack and preferred read replica (KIP-392)
//	v12  flexible; last fetched epoch and diverging epoch (KIP-595)
//	v13  topics by id (KIP-516)
//	v15  replica id and epoch as a tagged field (KIP-903)
//	v16  node endpoints in the answer (KIP-951)
//	v17  the follower's log directory (KIP-853)
//	v18  the follower's high watermark (KIP-1166)
const (
	fetchLogStartVersion      = 5
	fetchSessionVersion       = 7
	fetchLeaderEpochVersion   = 9
	fetchRackVersion          = 11
	fetchFlexibleVersion      = 12
	fetchTopicIDVersion       = 13
	fetchReplicaStateVersion  = 15
	fetchEndpointsVersion     = 16
	fetchDirectoryVersion     = 17
	fetchHighWatermarkVersion = 18
)

// HighWatermarkUnknown stands for a follower's high watermark that the request does not tell.
const HighWatermarkUnknown Offset = math.MaxInt64

// FetchRequest is a Fetch request in place: its strings alias the body it was parsed from.
type FetchRequest struct {
	Version        int16
	ClusterID      []byte   // nil for null
	ReplicaID      BrokerID // -1 for a consumer
	ReplicaEpoch   int64    // the follower's broker epoch, -1 below v15
	MaxWaitMillis  int32
	MinBytes       int32
	MaxBytes       int32
	IsolationLevel int8 // 0 read_uncommitted, 1 read_committed

	SessionID    int32 // 0 below v7
	SessionEpoch int32 // -1 below v7: no session

	Rack []byte // empty below v11

	Partitions int // how many partition entries there are, over all topics
	Forgotten  int // how many partitions leave the session

	topics    reader // stands at the first topic
	forgotten reader // stands at the first forgotten topic
}

// ParseFetch reads a body from its beginning to its end, so that the cursors over its partitions cannot fail later. It
// allocates nothing. Bytes behind a valid body are ignored. An error wraps InvalidRequest.
func ParseFetch(version int16, body []byte) (FetchRequest, error) {
	f := FetchRequest{Version: version, ReplicaID: -1, ReplicaEpoch: -1, SessionEpoch: -1}
	flexible := version >= fetchFlexibleVersion
	r := reader{b: body}
	if version < fetchReplicaStateVersion {
		f.ReplicaID = BrokerID(r.int32())
	}
	f.MaxWaitMillis = r.int32()
	f.MinBytes = r.int32()
	f.MaxBytes = r.int32()
	f.IsolationLevel = r.int8()
	if version >= fetchSessionVersion {
		f.SessionID = r.int32()
		f.SessionEpoch = r.int32()
	}
	f.topics = r
	c := f.Cursor()
	for c.Next() {
		if f.Partitions++; f.Partitions > partitionsMax {
			return FetchRequest{}, Errorf(InvalidRequest, "Fetch of more than %d partitions", partitionsMax)
		}
	}
	r = c.r
	if version >= fetchSessionVersion {
		f.forgotten = r
		c := f.ForgottenCursor()
		for c.Next() {
			if f.Forgotten++; f.Forgotten > partitionsMax {
				return FetchRequest{}, Errorf(InvalidRequest, "Fetch that forgets more than %d partitions", partitionsMax)
			}
		}
		r = c.r
	}
	if version >= fetchRackVersion {
		f.Rack = r.str(flexible)
	}
	if flexible {
		f.parseTags(&r)
	}
	if r.err != nil {
		return FetchRequest{}, fmt.Errorf("Fetch version %d: %w", version, r.err)
	}
	return f, nil
}

func (f *FetchRequest) parseTags(r *reader) {
	for n := r.tags(); n > 0 && r.err == nil; n-- {
		key, value := r.tag()
		in := reader{b: value, err: r.err}
		switch {
		case key == 0:
			f.ClusterID, _ = in.nullableString(true)
		case key == 1 && f.Version >= fetchReplicaStateVersion:
			f.ReplicaID = BrokerID(in.int32())
			f.ReplicaEpoch = in.int64()
			in.skipTags()
		}
		r.inside(key, in)
	}
}

// FetchPartition is one partition's part of a Fetch request.
type FetchPartition struct {
	Topic              []byte  // below v13; aliases the request's body
	TopicID            TopicID // from v13 on
	Partition          int32
	CurrentLeaderEpoch Epoch // -1 for none
	FetchOffset        Offset
	LastFetchedEpoch   Epoch  // -1 for none
	LogStart           Offset // of a follower, -1 for none
	MaxBytes           int32
	DirectoryID        [16]byte // of a follower's log directory
	HighWatermark      Offset   // of a follower, or HighWatermarkUnknown
}

// FetchCursor stands on one partition of a Fetch request after another.
type FetchCursor struct {
	FetchPartition
	topicCursor
	version int16
}

// Cursor walks the partitions in the order of the request.
func (f *FetchRequest) Cursor() FetchCursor {
	flexible := f.Version >= fetchFlexibleVersion
	return FetchCursor{
		topicCursor: newTopicCursor(f.topics, flexible, f.Version >= fetchTopicIDVersion),
		version:     f.Version,
	}
}

// Next moves to the next partition. It returns false behind the last.
func (c *FetchCursor) Next() bool {
	if !c.next(&c.Topic, &c.TopicID) {
		return false
	}
	c.CurrentLeaderEpoch, c.LastFetchedEpoch, c.LogStart = -1, -1, -1
	c.DirectoryID, c.HighWatermark = [16]byte{}, HighWatermarkUnknown
	c.Partition = c.r.int32()
	if c.version >= fetchLeaderEpochVersion {
		c.CurrentLeaderEpoch = Epoch(c.r.int32())
	}
	c.FetchOffset = Offset(c.r.int64())
	if c.version >= fetchFlexibleVersion {
		c.LastFetchedEpoch = Epoch(c.r.int32())
	}
	if c.version >= fetchLogStartVersion {
		c.LogStart = Offset(c.r.int64())
	}
	c.MaxBytes = c.r.int32()
	if c.flexible {
		c.parseTags()
	}
	return c.r.err == nil
}

func (c *FetchCursor) parseTags() {
	for n := c.r.tags(); n > 0 && c.r.err == nil; n-- {
		key, value := c.r.tag()
		in := reader{b: value, err: c.r.err}
		switch {
		case key == 0 && c.version >= fetchDirectoryVersion:
			c.DirectoryID = in.uuid()
		case key == 1 && c.version >= fetchHighWatermarkVersion:
			c.HighWatermark = Offset(in.int64())
		}
		c.r.inside(key, in)
	}
}

// ForgottenPartition leaves the fetch session.
type ForgottenPartition struct {
	Topic     []byte  // below v13; aliases the request's body
	TopicID   TopicID // from v13 on
	Partition int32
}

// ForgottenCursor stands on one forgotten partition of a Fetch request after another.
type ForgottenCursor struct {
	ForgottenPartition
	topicCursor
}

// ForgottenCursor walks the partitions that leave the session. Below v7 there are none.
func (f *FetchRequest) ForgottenCursor() ForgottenCursor {
	if f.Version < fetchSessionVersion {
		return ForgottenCursor{}
	}
	flexible := f.Version >= fetchFlexibleVersion
	return ForgottenCursor{topicCursor: newTopicCursor(f.forgotten, flexible, f.Version >= fetchTopicIDVersion)}
}

// Next moves to the next partition. It returns false behind the last.
func (c *ForgottenCursor) Next() bool {
	if !c.next(&c.Topic, &c.TopicID) {
		return false
	}
	c.Partition = c.r.int32()
	return c.r.err == nil
}
