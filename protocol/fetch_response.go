package protocol

// AbortedTransaction is an aborted transaction that a read_committed consumer must skip within what it was sent.
type AbortedTransaction struct {
	ProducerID  int64
	FirstOffset Offset
}

// DivergingEpoch tells a reader whose log has another history where the two part: the largest epoch not above its own
// that the leader knows, and the offset at which that epoch ends (KIP-595).
type DivergingEpoch struct {
	Epoch     Epoch
	EndOffset Offset
}

// SnapshotID tells a follower of the metadata log to fetch a snapshot first (KIP-630).
type SnapshotID struct {
	EndOffset Offset
	Epoch     Epoch
}

// FetchResult is what a client is told of one partition, and the records it is sent.
type FetchResult struct {
	Topic   string  // below v13
	TopicID TopicID // from v13 on

	Partition            int32
	Code                 Code
	HighWatermark        Offset
	LastStable           Offset
	LogStart             Offset               // from v5 on
	Aborted              []AbortedTransaction // nil is sent as null, which is what read_uncommitted gets
	PreferredReadReplica BrokerID             // -1 for none; from v11 on
	Records              Section              // nil for none, which is sent as empty, never as null

	Diverging *DivergingEpoch // from v12 on
	Leader    *Leader         // who leads instead; from v12 on
	Snapshot  *SnapshotID     // from v12 on
}

// FetchResponse is the answer to a Fetch request.
type FetchResponse struct {
	ThrottleMillis int32
	Code           Code  // of the whole request; from v7 on
	SessionID      int32 // from v7 on
	// Results of one topic must stand together: each run of results with the same topic becomes one topic entry, as in
	// Kafka.
	Results []FetchResult
	Nodes   []NodeEndpoint // from v16 on
}

const (
	// fetchResultBytes is about what a partition takes in the head, without its tagged fields.
	fetchResultBytes = 64
	fetchHeadBytes   = 64
)

// EncodeFetchResponse encodes the answer and takes over the sections of the results: they are released with the
// Response. Fields that the version does not have are left out. Records are spliced in, never copied; where there are
// none an empty field is sent, because clients take null for an error before they look at the code.
func EncodeFetchResponse(h Header, resp *FetchResponse) *Response {
	flexible := h.Version >= fetchFlexibleVersion
	byID := h.Version >= fetchTopicIDVersion
	same := func(a, b *FetchResult) bool {
		if byID {
			return a.TopicID == b.TopicID
		}
		return a.Topic == b.Topic
	}
	e := fetchEncoder{
		appender: appender{compact: flexible, b: make([]byte, 0, fetchHeadBytes+fetchResultBytes*len(resp.Results))},
		version:  h.Version,
		out:      &Response{},
	}
	e.b = appendResponseHeader(e.b, h, flexible)
	e.int32(resp.ThrottleMillis)
	if h.Version >= fetchSessionVersion {
		e.int16(int16(resp.Code))
		e.int32(resp.SessionID)
	}
	results := resp.Results
	e.length(countRuns(results, same))
	for len(results) > 0 {
		n := runLength(results, same)
		e.topic(results[0].Topic, results[0].TopicID, byID)
		e.length(n)
		for i := range results[:n] {
			e.result(&results[i])
		}
		e.tags(0)
		results = results[n:]
	}
	nodes := resp.Nodes
	if h.Version < fetchEndpointsVersion {
		nodes = nil
	}
	e.nodeEndpoints(nodes)
	e.out.Head = e.b
	return finish(e.out)
}

// fetchEncoder encodes a Fetch answer of one version.
type fetchEncoder struct {
	appender
	version int16
	out     *Response // collects the splices
}

func (e *fetchEncoder) result(p *FetchResult) {
	e.int32(p.Partition)
	e.int16(int16(p.Code))
	e.int64(int64(p.HighWatermark))
	e.int64(int64(p.LastStable))
	if e.version >= fetchLogStartVersion {
		e.int64(int64(p.LogStart))
	}
	e.aborted(p.Aborted)
	if e.version >= fetchRackVersion {
		e.int32(int32(p.PreferredReadReplica))
	}
	e.records(p.Records)
	if e.compact {
		e.resultTags(p)
	}
}

func (e *fetchEncoder) aborted(list []AbortedTransaction) {
	if list == nil {
		e.length(-1)
		return
	}
	e.length(len(list))
	for _, t := range list {
		e.int64(t.ProducerID)
		e.int64(int64(t.FirstOffset))
		e.tags(0)
	}
}

func (e *fetchEncoder) records(s Section) {
	var n int64
	if s != nil {
		n = s.Len()
	}
	e.length(int(n))
	switch {
	case n > 0:
		e.out.Splices = append(e.out.Splices, Splice{At: len(e.b), Section: s})
	case s != nil:
		s.Release()
	}
}

func (e *fetchEncoder) resultTags(p *FetchResult) {
	n := 0
	for _, set := range [...]bool{p.Diverging != nil, p.Leader != nil, p.Snapshot != nil} {
		if set {
			n++
		}
	}
	e.tags(n)
	const bytes = 4 + 8 + 1 // an epoch, an offset, no tagged fields
	if d := p.Diverging; d != nil {
		e.uvarint(0)
		e.uvarint(bytes)
		e.int32(int32(d.Epoch))
		e.int64(int64(d.EndOffset))
		e.tags(0)
	}
	if p.Leader != nil {
		p.Leader.tag(&e.appender, 1)
	}
	if s := p.Snapshot; s != nil {
		e.uvarint(2)
		e.uvarint(bytes)
		e.int64(int64(s.EndOffset))
		e.int32(int32(s.Epoch))
		e.tags(0)
	}
}
