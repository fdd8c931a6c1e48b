package protocol

import "fmt"

// Produce, versions 3 to 13.
//
//	v3   record batches of magic 2 only, transactional id
//	v5   log start offset in the answer
//	v7   zstd is allowed in batches
//	v8   record errors and an error message in the answer (KIP-467)
//	v9   flexible
//	v10  current leader and node endpoints in the answer (KIP-951)
//	v12  a transactional produce adds its partition to the transaction (KIP-890)
//	v13  topics by id (KIP-516)
const (
	produceLogStartVersion = 5
	produceErrorsVersion   = 8
	produceFlexibleVersion = 9
	produceLeaderVersion   = 10
	produceTopicIDVersion  = 13
)

// ProduceRequest is a Produce request in place: its strings and records alias the body it was parsed from, and the
// batches may be stamped there.
type ProduceRequest struct {
	Version         int16
	TransactionalID []byte // nil for null
	Acks            int16
	TimeoutMillis   int32

	Partitions int // how many partition entries there are, over all topics

	topics reader // stands at the first topic
}

// ParseProduce reads a body from its beginning to its end, so that the cursor over its partitions cannot fail later,
// when some of them have been written already. It allocates nothing. Bytes behind a valid body are ignored (rule 10). An
// error wraps InvalidRequest.
func ParseProduce(version int16, body []byte) (ProduceRequest, error) {
	p := ProduceRequest{Version: version}
	flexible := version >= produceFlexibleVersion
	r := reader{b: body}
	p.TransactionalID, _ = r.nullableString(flexible)
	p.Acks = r.int16()
	p.TimeoutMillis = r.int32()
	p.topics = r
	c := p.Cursor()
	for c.Next() {
		if p.Partitions++; p.Partitions > partitionsMax {
			return ProduceRequest{}, Errorf(InvalidRequest, "Produce of more than %d partitions", partitionsMax)
		}
	}
	r = c.r
	r.endOfStruct(flexible)
	if r.err != nil {
		return ProduceRequest{}, fmt.Errorf("Produce version %d: %w", version, r.err)
	}
	return p, nil
}

// ProducePartition is one partition's part of a Produce request. Its slices alias the request's body.
type ProducePartition struct {
	Topic     []byte  // below v13
	TopicID   TopicID // from v13 on
	Partition int32
	Records   []byte // nil for null, which is not the same as empty
}

// ProduceCursor stands on one partition of a Produce request after another.
//
//	for c := req.Cursor(); c.Next(); {
//		... c.Topic, c.Partition, c.Records
//	}
type ProduceCursor struct {
	ProducePartition
	topicCursor
}

// Cursor walks the partitions in the order of the request. A request may name one partition twice; the cursor then gives
// it twice.
func (p *ProduceRequest) Cursor() ProduceCursor {
	flexible := p.Version >= produceFlexibleVersion
	return ProduceCursor{topicCursor: newTopicCursor(p.topics, flexible, p.Version >= produceTopicIDVersion)}
}

// Next moves to the next partition. It returns false behind the last.
func (c *ProduceCursor) Next() bool {
	if !c.next(&c.Topic, &c.TopicID) {
		return false
	}
	c.Partition = c.r.int32()
	c.Records = c.r.nullableBytes(c.flexible)
	c.r.endOfStruct(c.flexible)
	return c.r.err == nil
}

// RecordError says what is wrong with one record of a refused batch (KIP-467).
type RecordError struct {
	BatchIndex int32 // which record of the batch, from 0
	Message    string
}

// ProduceResult is what a client is told of one partition.
type ProduceResult struct {
	Topic   string  // below v13
	TopicID TopicID // from v13 on

	Partition     int32
	Code          Code
	BaseOffset    Offset        // -1 with an error
	LogAppendTime int64         // in ms since the epoch; -1 unless the broker set the records' time
	LogStart      Offset        // -1 with an error; from v5 on
	RecordErrors  []RecordError // from v8 on
	Message       string        // empty for none; from v8 on
	Leader        *Leader       // who leads instead; from v10 on
}

// EncodeProduceResponse encodes the answer to a Produce request. Results of one topic must stand together: each run of
// results with the same topic becomes one topic entry. Fields that the version does not have are left out.
func EncodeProduceResponse(h Header, results []ProduceResult, throttleMillis int32, nodes []NodeEndpoint) *Response {
	flexible := h.Version >= produceFlexibleVersion
	byID := h.Version >= produceTopicIDVersion
	same := func(a, b *ProduceResult) bool {
		if byID {
			return a.TopicID == b.TopicID
		}
		return a.Topic == b.Topic
	}
	a := appender{compact: flexible, b: make([]byte, 0, 64+64*len(results))}
	a.b = appendResponseHeader(a.b, h, flexible)
	a.length(countRuns(results, same))
	for len(results) > 0 {
		n := runLength(results, same)
		a.topic(results[0].Topic, results[0].TopicID, byID)
		a.length(n)
		for i := range results[:n] {
			a.produceResult(h.Version, &results[i])
		}
		a.tags(0)
		results = results[n:]
	}
	a.int32(throttleMillis)
	if h.Version < produceLeaderVersion {
		nodes = nil
	}
	a.nodeEndpoints(nodes)
	return finish(&Response{Head: a.b})
}

func (a *appender) produceResult(version int16, p *ProduceResult) {
	a.int32(p.Partition)
	a.int16(int16(p.Code))
	a.int64(int64(p.BaseOffset))
	a.int64(p.LogAppendTime)
	if version >= produceLogStartVersion {
		a.int64(int64(p.LogStart))
	}
	if version >= produceErrorsVersion {
		a.length(len(p.RecordErrors))
		for _, e := range p.RecordErrors {
			a.int32(e.BatchIndex)
			a.nullable(e.Message)
			a.tags(0)
		}
		a.nullable(p.Message)
	}
	if version >= produceLeaderVersion && p.Leader != nil {
		a.tags(1)
		p.Leader.tag(a, 0)
		return
	}
	a.tags(0)
}

// runLength is how many elements at the start of s are the same as the first.
func runLength[T any](s []T, same func(a, b *T) bool) int {
	n := 1
	for n < len(s) && same(&s[0], &s[n]) {
		n++
	}
	return n
}

// countRuns is how many runs of the same elements s has.
func countRuns[T any](s []T, same func(a, b *T) bool) int {
	n := 0
	for len(s) > 0 {
		s = s[runLength(s, same):]
		n++
	}
	return n
}
