package protocol

import (
	"encoding/binary"
	"fmt"
)

// The follower's side of Fetch: a request is encoded, its answer is read in place. Both are of one version only, the
// newest, since followers and leaders are brokers of one cluster.

// ReplicaFetchVersion is the version of the Fetch requests that followers send.
const ReplicaFetchVersion = fetchHighWatermarkVersion

// ReplicaFetch is a follower's Fetch.
type ReplicaFetch struct {
	CorrelationID int32
	ClientID      string
	ClusterID     string // empty for none
	Replica       BrokerID
	ReplicaEpoch  int64 // the follower's broker epoch

	MaxWaitMillis int32
	MinBytes      int32
	MaxBytes      int32

	SessionID    int32
	SessionEpoch int32

	// Partitions and Forgotten of one topic must stand together: each run of the same topic becomes one entry.
	Partitions []FetchPartition
	Forgotten  []ForgottenPartition
}

const fetchKey = 1

// Append appends the request with its size and header to dst.
func (q *ReplicaFetch) Append(dst []byte) []byte {
	size := len(dst)
	a := appender{compact: true, b: append(dst, 0, 0, 0, 0)}
	a.int16(fetchKey)
	a.int16(ReplicaFetchVersion)
	a.int32(q.CorrelationID)
	a.int16(int16(len(q.ClientID))) // the client id stays a classic string in every header
	a.b = append(a.b, q.ClientID...)
	a.tags(0)

	a.int32(q.MaxWaitMillis)
	a.int32(q.MinBytes)
	a.int32(q.MaxBytes)
	a.b = append(a.b, 0) // read_uncommitted: a follower reads everything
	a.int32(q.SessionID)
	a.int32(q.SessionEpoch)
	q.appendPartitions(&a)
	q.appendForgotten(&a)
	a.str("") // no rack: a follower wants no other replica
	q.appendTags(&a)
	binary.BigEndian.PutUint32(a.b[size:], uint32(len(a.b)-size-4))
	return a.b
}

func (q *ReplicaFetch) appendTags(a *appender) {
	if q.ClusterID == "" {
		a.tags(1)
	} else {
		a.tags(2)
		value := appender{compact: true}
		value.str(q.ClusterID)
		a.uvarint(0)
		a.uvarint(uint32(len(value.b)))
		a.b = append(a.b, value.b...)
	}
	a.uvarint(1)
	a.uvarint(4 + 8 + 1)
	a.int32(int32(q.Replica))
	a.int64(q.ReplicaEpoch)
	a.tags(0)
}

func (q *ReplicaFetch) appendPartitions(a *appender) {
	same := func(x, y *FetchPartition) bool { return x.TopicID == y.TopicID }
	rest := q.Partitions
	a.length(countRuns(rest, same))
	for len(rest) > 0 {
		n := runLength(rest, same)
		a.topic("", rest[0].TopicID, true)
		a.length(n)
		for i := range rest[:n] {
			p := &rest[i]
			a.int32(p.Partition)
			a.int32(int32(p.CurrentLeaderEpoch))
			a.int64(int64(p.FetchOffset))
			a.int32(int32(p.LastFetchedEpoch))
			a.int64(int64(p.LogStart))
			a.int32(p.MaxBytes)
			if p.HighWatermark == HighWatermarkUnknown {
				a.tags(0)
				continue
			}
			a.tags(1)
			a.uvarint(1)
			a.uvarint(8)
			a.int64(int64(p.HighWatermark))
		}
		a.tags(0)
		rest = rest[n:]
	}
}

func (q *ReplicaFetch) appendForgotten(a *appender) {
	same := func(x, y *ForgottenPartition) bool { return x.TopicID == y.TopicID }
	rest := q.Forgotten
	a.length(countRuns(rest, same))
	for len(rest) > 0 {
		n := runLength(rest, same)
		a.topic("", rest[0].TopicID, true)
		a.length(n)
		for i := range rest[:n] {
			a.int32(rest[i].Partition)
		}
		a.tags(0)
		rest = rest[n:]
	}
}

// ReplicaAnswer is the answer to a ReplicaFetch in place: records alias the frame that it was parsed from.
type ReplicaAnswer struct {
	CorrelationID  int32
	ThrottleMillis int32
	Code           Code // of the whole request
	SessionID      int32
	Partitions     int // how many partition entries there are

	topics reader
}

// ParseReplicaAnswer reads a frame, given without its size, from its beginning to its end, so that the cursor over its
// partitions cannot fail later. It allocates nothing. An error wraps InvalidRequest.
func ParseReplicaAnswer(frame []byte) (ReplicaAnswer, error) {
	r := reader{b: frame}
	var f ReplicaAnswer
	f.CorrelationID = r.int32()
	r.skipTags()
	f.ThrottleMillis = r.int32()
	f.Code = Code(r.int16())
	f.SessionID = r.int32()
	f.topics = r
	c := f.Cursor()
	for c.Next() {
		if f.Partitions++; f.Partitions > partitionsMax {
			return ReplicaAnswer{}, Errorf(InvalidRequest, "an answer to Fetch with more than %d partitions", partitionsMax)
		}
	}
	r = c.r
	r.skipTags()
	if r.err != nil {
		return ReplicaAnswer{}, fmt.Errorf("answer to Fetch version %d: %w", ReplicaFetchVersion, r.err)
	}
	return f, nil
}

// FetchedPartition is what a follower is told of one partition.
type FetchedPartition struct {
	TopicID       TopicID
	Partition     int32
	Code          Code
	HighWatermark Offset
	LastStable    Offset
	LogStart      Offset
	Records       []byte // whole batches, and perhaps a part of one at the end; aliases the frame

	Diverges  bool // Diverging is set
	Diverging DivergingEpoch
	Leader    Leader // who leads instead; -1 for not told
}

// ReplicaCursor stands on one partition of an answer after another.
type ReplicaCursor struct {
	FetchedPartition
	topicCursor
	none []byte
}

// Cursor walks the partitions in the order of the answer.
func (f *ReplicaAnswer) Cursor() ReplicaCursor {
	return ReplicaCursor{topicCursor: newTopicCursor(f.topics, true, true)}
}

// abortedBytesMin is what an aborted transaction takes at least: two numbers and no tagged fields.
const abortedBytesMin = 8 + 8 + 1

// Next moves to the next partition. It returns false behind the last.
func (c *ReplicaCursor) Next() bool {
	if !c.next(&c.none, &c.TopicID) {
		return false
	}
	c.Partition = c.r.int32()
	c.Code = Code(c.r.int16())
	c.HighWatermark = Offset(c.r.int64())
	c.LastStable = Offset(c.r.int64())
	c.LogStart = Offset(c.r.int64())
	for n := c.r.array(true, abortedBytesMin); n > 0 && c.r.err == nil; n-- { // a consumer's
		c.r.span(8 + 8)
		c.r.skipTags()
	}
	c.r.int32() // the preferred replica to read from, a consumer's too
	c.Records = c.r.nullableBytes(true)
	c.Diverges, c.Diverging, c.Leader = false, DivergingEpoch{}, Leader{-1, -1}
	c.parseTags()
	return c.r.err == nil
}

func (c *ReplicaCursor) parseTags() {
	for n := c.r.tags(); n > 0 && c.r.err == nil; n-- {
		key, value := c.r.tag()
		in := reader{b: value, err: c.r.err}
		switch key {
		case 0:
			c.Diverging = DivergingEpoch{Epoch: Epoch(in.int32()), EndOffset: Offset(in.int64())}
			c.Diverges = c.Diverging.Epoch >= 0
		case 1:
			c.Leader = Leader{ID: BrokerID(in.int32()), Epoch: Epoch(in.int32())}
		}
		c.r.inside(key, in)
	}
}
