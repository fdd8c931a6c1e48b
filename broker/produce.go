package broker

import (
	"errors"
	"slices"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage"
)

// Produce, versions 3 to 13.
//
// The batches are checked, stamped and written where they lie in the connection's buffer, before the handler returns,
// so that they are appended in the order in which they came. Only the wait for other replicas is left behind.

const (
	acksNone   = 0
	acksLeader = 1
	acksAll    = -1

	produceTopicIDs = 13 // the first version with topic ids
)

// adminClient is the client id that Kafka's own tools have who may write to internal topics.
const adminClient = "__admin_client"

// produce is one Produce request on its way.
type produce struct {
	r       *request
	req     protocol.ProduceRequest
	parts   []producePart
	results []protocol.ProduceResult // one for each of parts, in the order of the request

	deadline time.Time
	timer    *time.Timer
	wait     wait
}

// producePart is what is done for one entry of produce.results.
type producePart struct {
	p       *Partition // nil where the result is settled already
	records []byte
	end     protocol.Offset // what must be committed, or durable here; 0 where nothing has to be
	epoch   protocol.Epoch
}

// handleProduce appends what it is sent and answers according to acks.
func handleProduce(b *Broker, r *request) {
	req, err := protocol.ParseProduce(r.version(), r.body)
	if err != nil {
		r.Hangup(err.Error())
		return
	}
	if req.Partitions > partitionsMax {
		r.Hangup("a Produce that names too many partitions")
		return
	}
	pr, ok := b.produces.Get().(*produce)
	if !ok {
		pr = &produce{}
	}
	pr.r, pr.req = r, req
	pr.resolve(b)
	pr.appendAll()
	pr.answer()
}

// resolve finds the partition of each entry, or says why there is none.
func (pr *produce) resolve(b *Broker) {
	var unknown topicName
	for c := pr.req.Cursor(); c.Next(); {
		res := protocol.ProduceResult{
			TopicID: c.TopicID, Partition: c.Partition, BaseOffset: -1, LogAppendTime: -1, LogStart: -1,
		}
		part := producePart{records: c.Records}
		topic, p := b.partitions.find(c.Topic, c.TopicID, c.Partition)
		switch {
		case topic == nil && pr.r.version() >= produceTopicIDs:
			res.Code = protocol.UnknownTopicID
		case topic == nil || !topic.has(c.Partition):
			res.Code = protocol.UnknownTopicOrPartition
		case topic.internal && pr.r.client() != adminClient:
			res.Code = protocol.InvalidTopicException
		case p == nil:
			res.Code = topic.absent(c.Partition)
		default:
			part.p = p
		}
		if topic != nil {
			res.Topic, res.TopicID = topic.name, topic.id
		} else {
			res.Topic = unknown.of(c.Topic)
		}
		pr.results, pr.parts = append(pr.results, res), append(pr.parts, part)
	}
	if len(pr.parts) > 1 {
		pr.tidy()
	}
}

// resultKey tells results apart.
type resultKey struct {
	topic     string
	id        protocol.TopicID
	partition int32
}

// tidyByHand is the number of entries up to which comparing each with each is cheaper than a map.
const tidyByHand = 24

// tidy leaves one result for a partition that is named twice, with the records that came last (rule 39), and puts the
// results of one topic beside each other, which the encoder needs. Clients send neither, so mostly it only looks.
func (pr *produce) tidy() {
	if !pr.untidy() {
		return
	}
	first := map[resultKey]int{}
	order := map[resultKey]int{} // of topics
	results, parts := pr.results[:0:0], pr.parts[:0:0]
	for i, res := range pr.results {
		k := resultKey{res.Topic, res.TopicID, res.Partition}
		if at, ok := first[k]; ok {
			results[at], parts[at] = res, pr.parts[i]
			continue
		}
		first[k] = len(results)
		topic := resultKey{topic: res.Topic, id: res.TopicID}
		if _, ok := order[topic]; !ok {
			order[topic] = len(order)
		}
		results, parts = append(results, res), append(parts, pr.parts[i])
	}
	index := make([]int, len(results))
	for i := range index {
		index[i] = i
	}
	slices.SortStableFunc(index, func(a, b int) int {
		return order[resultKey{topic: results[a].Topic, id: results[a].TopicID}] -
			order[resultKey{topic: results[b].Topic, id: results[b].TopicID}]
	})
	pr.results, pr.parts = pr.results[:0], pr.parts[:0]
	for _, i := range index {
		pr.results, pr.parts = append(pr.results, results[i]), append(pr.parts, parts[i])
	}
}

func (pr *produce) untidy() bool {
	if len(pr.results) > tidyByHand {
		return true // the map finds out
	}
	for i := range pr.results {
		a := &pr.results[i]
		for j := range pr.results[:i] {
			b := &pr.results[j]
			if a.Topic == b.Topic && a.TopicID == b.TopicID &&
				(a.Partition == b.Partition || pr.results[i-1].Topic != a.Topic || pr.results[i-1].TopicID != a.TopicID) {
				return true
			}
		}
	}
	return false
}

// appendAll writes the records of every entry that has a partition.
func (pr *produce) appendAll() {
	if pr.refuseTransactions() {
		return
	}
	for i := range pr.parts {
		part, res := &pr.parts[i], &pr.results[i]
		if part.p == nil {
			continue
		}
		if err := pr.appendOne(part, res); err != nil {
			pr.fail(part, res, err)
			part.p = nil
		}
	}
}

// refuseTransactions settles a request that takes part in a transaction: there is no coordinator of transactions here
// yet, so no transactional id has ever been given a producer id. Kafka refuses a transactional batch of a request
// without an id as a whole (rule 54).
func (pr *produce) refuseTransactions() bool {
	code := protocol.None
	for _, part := range pr.parts {
		if len(part.records) < batch.HeaderBytes {
			continue
		}
		// Other formats have something else where the bit is; they are refused later, for what they are.
		if b := batch.Batch(part.records); b.Magic() != 2 || !b.IsTransactional() {
			continue
		}
		if pr.req.TransactionalID == nil {
			code = protocol.TransactionalIDAuthorizationFailed
			break
		}
		code = protocol.InvalidProducerIDMapping
	}
	if code == protocol.None {
		return false
	}
	for i := range pr.results {
		if res := &pr.results[i]; res.Code == protocol.None || code == protocol.TransactionalIDAuthorizationFailed {
			res.Code = code
		}
		pr.parts[i].p = nil
	}
	return true
}

// appendOne checks and writes one partition's batch.
func (pr *produce) appendOne(part *producePart, res *protocol.ProduceResult) error {
	raw, err := batch.One(part.records, pr.r.version())
	if err != nil {
		if protocol.CodeOf(err) == protocol.CorruptMessage {
			res.Message = err.Error() // bytes that are no batch at all are explained, unlike a wrong checksum
		}
		return err
	}
	if acks := pr.req.Acks; acks != acksNone && acks != acksLeader && acks != acksAll {
		return protocol.InvalidRequiredAcks
	}
	p := part.p
	epoch := protocol.Epoch(p.epoch.Load())
	rules := p.rules.Load()
	how := rules.batch
	how.Partition, how.Now = p.id, pr.r.received
	verdict, err := raw.Validate(how)
	if err != nil {
		res.LogStart = p.log.Bounds().Start
		return err
	}
	count := verdict.Batch.Count()
	a, err := p.append(pr.r.received, verdict.Batch, pr.req.Acks == acksAll)
	if err != nil {
		res.LogStart = p.log.Bounds().Start
		return err
	}
	res.BaseOffset, res.LogStart = a.Base, a.LogStart
	switch {
	case a.Duplicate:
		res.LogAppendTime = a.DuplicateTimestamp
	case how.LogAppendTime:
		res.LogAppendTime = a.MaxTimestamp
	}
	if acks := pr.req.Acks; acks == acksAll || acks == acksLeader && p.log.AcksDurable() {
		part.end, part.epoch = a.Last+1, epoch
	}
	m := pr.r.conn.b.metrics
	m.recordsIn.Add(uint64(count))
	m.recordBytesIn.Add(uint64(len(verdict.Batch)))
	return nil
}

// fail settles an entry with an error. An error of ours becomes a code that clients retry on: they take -1 for the
// end of idempotence, and then write duplicates (C122).
func (pr *produce) fail(part *producePart, res *protocol.ProduceResult, err error) {
	res.BaseOffset, res.LogAppendTime = -1, -1
	var code protocol.Code
	var reject *batch.RejectError
	if full := (*storage.FullError)(nil); errors.As(err, &full) {
		res.Message = full.Error() // the one storage error that whoever runs the producer can do something about
	}
	switch {
	case errors.As(err, &reject):
		res.Code = reject.Code
		if len(reject.Records) > 0 {
			res.Message = reject.Message
			for _, e := range reject.Records {
				res.RecordErrors = append(res.RecordErrors, protocol.RecordError{BatchIndex: e.Index, Message: e.Message})
			}
		}
	case errors.As(err, &code):
		res.Code = code
	default:
		res.Code = protocol.KafkaStorageError
		b := pr.r.conn.b
		b.firsts.warn(b.log, "append "+part.p.id.String(), "cannot append", "topic", part.p.id.Topic,
			"partition", part.p.id.Partition, "err", err)
	}
	switch res.Code {
	case protocol.UnknownTopicOrPartition, protocol.NotLeaderOrFollower, protocol.MessageTooLarge,
		protocol.RecordListTooLarge, protocol.CorruptMessage, protocol.KafkaStorageError:
		res.LogStart = -1 // as ReplicaManager.appendToLocalLog, which fills it for all others
	}
}

// answer answers at once, or parks the request until its batches are committed.
func (pr *produce) answer() {
	r := pr.r
	if pr.req.Acks == acksNone {
		for i := range pr.results {
			if code := pr.results[i].Code; code != protocol.None {
				r.stats.note(r, code, pr.results[i].Message)
				r.Hangup("a Produce with acks=0 failed: " + code.Error())
				pr.release()
				return
			}
		}
		r.NoReply()
		pr.release()
		return
	}
	if pr.settled() {
		r.ReplyRaw(pr.encode())
		pr.release()
		return
	}
	pr.park()
}

// settled says whether everything that must be committed is.
func (pr *produce) settled() bool {
	all := true
	for i := range pr.parts {
		part := &pr.parts[i]
		if part.end == 0 {
			continue
		}
		switch ok, err := part.p.acknowledged(part.end, part.epoch, pr.req.Acks == acksAll); {
		case err != nil:
			pr.fail(part, &pr.results[i], err)
			part.end = 0
		case ok:
			part.end = 0
		default:
			all = false
		}
	}
	return all
}

func (pr *produce) encode() *protocol.Response {
	var nodes []protocol.NodeEndpoint
	for i := range pr.results {
		res := &pr.results[i]
		if res.Code != protocol.None {
			pr.r.stats.note(pr.r, res.Code, res.Message)
		}
		if res.Code == protocol.NotLeaderOrFollower && pr.r.version() >= produceHints {
			res.Leader, nodes = pr.r.conn.b.leaderHint(pr.r, res.Topic, res.Partition, nodes)
		}
	}
	return protocol.EncodeProduceResponse(pr.r.header, pr.results, 0, nodes)
}

// park waits for the replicas: until the batches are committed, or the client's timeout (rule 37).
func (pr *produce) park() {
	timeout := time.Duration(max(0, pr.req.TimeoutMillis)) * time.Millisecond
	pr.deadline = pr.r.received.Add(timeout)
	pr.wait.r.Store(pr.r)
	for i := range pr.parts {
		if part := &pr.parts[i]; part.end != 0 {
			pr.wait.watched = append(pr.wait.watched, watch{w: &pr.wait, p: part.p, at: -1})
		}
	}
	for i := range pr.wait.watched {
		pr.wait.watched[i].p.watch(&pr.wait.watched[i])
	}
	pr.timer = time.AfterFunc(pr.nextLook(time.Now()), pr.r.wake)
	pr.r.Park(pr)
}

const (
	// fencedPatience is how long a write waits for the other replicas before it is given up where this broker is fenced.
	fencedPatience = time.Second
	// fencedLook is how often it is looked at from then on.
	fencedLook = 50 * time.Millisecond
)

// nextLook is when the request is to be looked at, if nobody wakes it before.
func (pr *produce) nextLook(now time.Time) time.Duration {
	if !pr.committing() {
		return pr.deadline.Sub(now)
	}
	return min(pr.deadline.Sub(now), max(fencedLook, fencedPatience-now.Sub(pr.r.received)))
}

// committing says whether the request waits for other replicas.
func (pr *produce) committing() bool { return pr.req.Acks == acksAll }

// cutOff says that the other replicas are not to be waited for: they have not answered for a while, and neither has the
// controller, so that another broker may lead. The client has to hear of that before it hears of the new leader: it would send
// that one what comes next, and when its patience with this broker ends, what came before, which would be out of order.
func (pr *produce) cutOff(now time.Time) bool {
	return pr.committing() && now.Sub(pr.r.received) >= fencedPatience && pr.r.conn.b.node.Fenced()
}

// resume implements parked.
func (pr *produce) resume(now time.Time, last bool) *protocol.Response {
	if !pr.settled() {
		code := protocol.RequestTimedOut
		switch {
		case pr.cutOff(now):
			code = protocol.NotLeaderOrFollower
		case now.Before(pr.deadline) && !last:
			pr.timer.Reset(pr.nextLook(now))
			return nil
		}
		for i := range pr.parts {
			if pr.parts[i].end != 0 {
				pr.results[i].Code, pr.results[i].BaseOffset = code, -1
			}
		}
	}
	resp := pr.encode()
	pr.drop()
	return resp
}

// drop implements parked.
func (pr *produce) drop() {
	pr.timer.Stop()
	pr.wait.unwatch()
	// Not given back to the pool: a wake that is on its way may still look at it.
}

// release gives pr back for another request. Nothing of it is in use any more.
func (pr *produce) release() {
	b := pr.r.conn.b
	clear(pr.parts)
	clear(pr.results)
	pr.r, pr.req = nil, protocol.ProduceRequest{}
	pr.parts, pr.results = pr.parts[:0], pr.results[:0]
	if cap(pr.results) <= keptMax {
		b.produces.Put(pr)
	}
}
