package broker_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

// fetchFrom is partition p from offset on, with generous limits.
func fetchFrom(p int32, offset int64) kmsg.FetchRequestTopicPartition {
	fp := kmsg.NewFetchRequestTopicPartition()
	fp.Partition, fp.FetchOffset, fp.PartitionMaxBytes = p, offset, 1<<20
	return fp
}

func fetchRequest(version int16, topic string, id protocol.TopicID,
	parts ...kmsg.FetchRequestTopicPartition) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxWaitMillis, req.MinBytes, req.MaxBytes = version, 0, 1, 50<<20
	req.SessionEpoch = -1
	ft := kmsg.NewFetchRequestTopic()
	ft.Topic, ft.TopicID, ft.Partitions = topic, id, parts
	req.Topics = append(req.Topics, ft)
	return req
}

func fetch(c *brokertest.Client, version int16, topic string, id protocol.TopicID,
	parts ...kmsg.FetchRequestTopicPartition) *kmsg.FetchResponse {
	c.T.Helper()
	return c.Do(fetchRequest(version, topic, id, parts...)).(*kmsg.FetchResponse)
}

// listOffset asks for one partition.
func listOffset(c *brokertest.Client, version int16, topic string, partition int32,
	timestamp int64) kmsg.ListOffsetsResponseTopicPartition {
	c.T.Helper()
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version, req.ReplicaID = version, -1
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Partition, p.Timestamp, p.CurrentLeaderEpoch = partition, timestamp, -1
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return c.Do(req).(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
}

// one is the only partition of an answer.
func one(t testing.TB, resp *kmsg.FetchResponse) kmsg.FetchResponseTopicPartition {
	t.Helper()
	if resp.ErrorCode != 0 || len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		t.Fatalf("answer %+v", resp)
	}
	return resp.Topics[0].Partitions[0]
}

// get fetches t-0 at the highest version, without waiting.
func (w *world) get(offset int64) kmsg.FetchResponseTopicPartition {
	w.Helper()
	return one(w, fetch(w.c, 18, "t", w.id, fetchFrom(0, offset)))
}

func TestRule059_C51_OffsetsOutsideAndInTheMiddle(t *testing.T) {
	w := newWorld(t)
	w.putAt(0, records(10, 10))
	for _, offset := range []int64{-1, 11, 1 << 60, -2} {
		p := w.get(offset)
		if protocol.Code(p.ErrorCode) != protocol.OffsetOutOfRange || p.HighWatermark != -1 || p.LastStableOffset != -1 ||
			p.LogStartOffset != -1 || p.RecordBatches == nil {
			t.Errorf("offset %d: %+v", offset, p)
		}
	}
	if p := w.get(7); countRecords(t, p.RecordBatches) != 10 { // the whole batch that holds it
		t.Errorf("offset 7: %d records", countRecords(t, p.RecordBatches))
	}
	if p := w.get(10); p.ErrorCode != 0 || len(p.RecordBatches) != 0 || p.HighWatermark != 10 {
		t.Errorf("at the end: %+v", p)
	}
}

func TestC52_NoRecordsAreEmptyAndNotNull(t *testing.T) {
	w := newWorld(t)
	for version := int16(4); version <= 18; version++ {
		for _, offset := range []int64{0, 5} {
			p := one(t, fetch(w.c, version, "t", w.id, fetchFrom(0, offset)))
			if p.RecordBatches == nil {
				t.Errorf("version %d: null records", version)
			}
		}
	}
}

func TestRule060_C53_SizeLimitsAreSoftForTheFirstBatch(t *testing.T) {
	w := newWorld(t)
	batchBytes := len(records(1, 1000))
	for i := range int64(5) {
		w.putAt(i, records(1, 1000))
		if p := produce(w.c, 13, "t", w.id, 1, -1, records(1, 1000)); p.ErrorCode != 0 {
			t.Fatal(p)
		}
	}
	sizes := func(maxBytes, partitionMax int32) [2]int {
		a, b := fetchFrom(0, 0), fetchFrom(1, 0)
		a.PartitionMaxBytes, b.PartitionMaxBytes = partitionMax, partitionMax
		req := fetchRequest(18, "t", w.id, a, b)
		req.MaxBytes = maxBytes
		resp := w.c.Do(req).(*kmsg.FetchResponse)
		ps := resp.Topics[0].Partitions
		return [2]int{len(ps[0].RecordBatches), len(ps[1].RecordBatches)}
	}
	for _, c := range []struct {
		maxBytes, partitionMax int32
		want                   [2]int
	}{
		{0, 0, [2]int{batchBytes, 0}},
		{1, 1 << 20, [2]int{batchBytes, 0}},
		{1 << 20, 0, [2]int{batchBytes, 0}},
		{1 << 20, 1, [2]int{batchBytes, 0}}, // hard after the first; a fragment needs a whole batch before it
		{1 << 20, int32(batchBytes) + 100, [2]int{batchBytes + 100, batchBytes + 100}},
		{int32(5*batchBytes) + 200, 1 << 20, [2]int{5 * batchBytes, 0}},
		{1 << 20, 1 << 20, [2]int{5 * batchBytes, 5 * batchBytes}},
	} {
		if got := sizes(c.maxBytes, c.partitionMax); got != c.want {
			t.Errorf("max %d, partition max %d: %v bytes, want %v", c.maxBytes, c.partitionMax, got, c.want)
		}
	}
}

// elapsed runs f and says how long it took.
func elapsed(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

func TestRule062_WhenAFetchWaits(t *testing.T) {
	w := newWorld(t)
	w.putAt(0, records(1, 10))
	const wait = 300 * time.Millisecond
	took := func(parts ...kmsg.FetchRequestTopicPartition) time.Duration {
		req := fetchRequest(18, "t", w.id, parts...)
		req.MaxWaitMillis = int32(wait / time.Millisecond)
		return elapsed(func() { w.c.Do(req) })
	}
	if d := took(fetchFrom(0, 1)); d < wait {
		t.Errorf("nothing there: answered after %v", d)
	}
	if d := took(fetchFrom(0, 0)); d >= wait {
		t.Errorf("enough there: answered after %v", d)
	}
	if d := took(fetchFrom(0, 1), fetchFrom(1, 77)); d >= wait {
		t.Errorf("one cannot be read: answered after %v", d)
	}
	if d := took(fetchFrom(0, 1), fetchFrom(9, 0)); d < wait {
		t.Errorf("one that is not there beside a valid one: answered after %v", d)
	}
	if d := took(fetchFrom(9, 0)); d >= wait {
		t.Errorf("none that is there: answered after %v", d)
	}
	req := fetchRequest(18, "t", w.id, fetchFrom(0, 1))
	if d := elapsed(func() { w.c.Do(req) }); d >= wait {
		t.Errorf("no wait: answered after %v", d)
	}
}

func TestAFetchIsWokenByTheProducer(t *testing.T) {
	w := newWorld(t)
	other := w.b.Dial()
	for i := range int64(50) {
		req := fetchRequest(18, "t", w.id, fetchFrom(0, i), fetchFrom(1, 0))
		req.MaxWaitMillis = 20_000
		w.c.Send(w.c.Encode(req))
		if p := produce(other, 13, "t", w.id, 0, 1, records(1, 10)); p.ErrorCode != 0 {
			t.Fatal(p)
		}
		resp := w.c.Answer(req).(*kmsg.FetchResponse)
		if n := countRecords(t, resp.Topics[0].Partitions[0].RecordBatches); n != 1 {
			t.Fatalf("%d records", n)
		}
	}
}

func TestRule063_MinBytesAreWaitedFor(t *testing.T) {
	w := newWorld(t)
	other := w.b.Dial()
	size := len(records(1, 1000))
	req := fetchRequest(18, "t", w.id, fetchFrom(0, 0), fetchFrom(1, 0))
	req.MaxWaitMillis, req.MinBytes = 20_000, int32(3*size)
	w.c.Send(w.c.Encode(req))
	for i := range int32(3) {
		if _, err := w.c.TryRecv(50 * time.Millisecond); err == nil {
			t.Fatalf("answered with %d of 3 batches", i)
		}
		produce(other, 13, "t", w.id, i%2, 1, records(1, 1000))
	}
	resp := w.c.Answer(req).(*kmsg.FetchResponse)
	ps := resp.Topics[0].Partitions
	if got := len(ps[0].RecordBatches) + len(ps[1].RecordBatches); got != 3*size {
		t.Errorf("%d bytes", got)
	}
	// More than max bytes cannot be waited for.
	req = fetchRequest(18, "t", w.id, fetchFrom(0, 0))
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = 20_000, 1<<30, int32(size)
	if d := elapsed(func() { w.c.Do(req) }); d > 10*time.Second {
		t.Errorf("answered after %v", d)
	}
}

func TestRule064_C58_C61_IsolationLevels(t *testing.T) {
	w := newWorld(t)
	w.putAt(0, records(3, 10))
	req := fetchRequest(18, "t", w.id, fetchFrom(0, 0))
	p := one(t, w.c.Do(req).(*kmsg.FetchResponse))
	if p.AbortedTransactions != nil || countRecords(t, p.RecordBatches) != 3 {
		t.Errorf("read_uncommitted: %+v", p.AbortedTransactions)
	}
	req.IsolationLevel = 1
	p = one(t, w.c.Do(req).(*kmsg.FetchResponse))
	if len(p.AbortedTransactions) != 0 || countRecords(t, p.RecordBatches) != 3 || p.LastStableOffset != 3 {
		t.Errorf("read_committed: %+v", p)
	}
}

func TestRule065_LeaderEpochsOfAFetch(t *testing.T) {
	w := newWorld(t)
	w.putAt(0, records(3, 10))
	w.b.Restart() // a new leader epoch begins at 3
	w.c = w.b.Dial()
	w.putAt(3, records(2, 10))
	epoch := listOffset(w.c, 11, "t", 0, -1).LeaderEpoch
	if epoch < 1 {
		t.Fatalf("leader epoch %d after a restart", epoch)
	}
	ask := func(version int16, current, last int32, offset int64) kmsg.FetchResponseTopicPartition {
		fp := fetchFrom(0, offset)
		fp.CurrentLeaderEpoch, fp.LastFetchedEpoch = current, last
		return one(t, fetch(w.c, version, "t", w.id, fp))
	}
	for version := int16(9); version <= 18; version++ {
		if p := ask(version, epoch+1, -1, 0); protocol.Code(p.ErrorCode) != protocol.UnknownLeaderEpoch {
			t.Errorf("version %d, newer: %v", version, protocol.Code(p.ErrorCode))
		}
		if p := ask(version, epoch-1, -1, 0); protocol.Code(p.ErrorCode) != protocol.FencedLeaderEpoch {
			t.Errorf("version %d, older: %v", version, protocol.Code(p.ErrorCode))
		}
		if p := ask(version, epoch, -1, 0); p.ErrorCode != 0 || countRecords(t, p.RecordBatches) != 5 {
			t.Errorf("version %d, the same: %v", version, protocol.Code(p.ErrorCode))
		}
	}
	if p := ask(12, epoch, epoch-1, 3); p.ErrorCode != 0 || p.DivergingEpoch.EndOffset >= 0 || len(p.RecordBatches) == 0 {
		t.Errorf("the same history: %+v", p)
	}
	p := ask(12, epoch, epoch-1, 4) // in the leader's history the old epoch ended at 3
	if d := p.DivergingEpoch; p.ErrorCode != 0 || d.Epoch != epoch-1 || d.EndOffset != 3 || len(p.RecordBatches) != 0 {
		t.Errorf("another history: %+v", p)
	}
	if p := ask(12, epoch, epoch+7, 4); protocol.Code(p.ErrorCode) != protocol.OffsetOutOfRange {
		t.Errorf("last epoch unknown: %+v", p)
	}
}

func TestRule066_TopicIDs(t *testing.T) {
	w := newWorld(t)
	for name, id := range map[string]protocol.TopicID{"unknown": {9}, "zero": {}} {
		resp := fetch(w.c, 13, "", id, fetchFrom(0, 0))
		if p := one(t, resp); protocol.Code(p.ErrorCode) != protocol.UnknownTopicID || resp.Topics[0].TopicID != id {
			t.Errorf("%s id: %+v", name, resp)
		}
	}
	for version := int16(4); version <= 12; version++ {
		resp := fetch(w.c, version, "nope", w.id, fetchFrom(0, 0))
		if got := sketch(t, resp); got != "0:UNKNOWN_TOPIC_OR_PARTITION" || resp.Topics[0].Topic != "nope" {
			t.Errorf("version %d: %s of %s", version, got, resp.Topics[0].Topic)
		}
	}
	if got := sketch(t, fetch(w.c, 13, "", w.id, fetchFrom(5, 0))); got != "5:UNKNOWN_TOPIC_OR_PARTITION" {
		t.Errorf("known id, unknown partition: %s", got)
	}
}

func TestRule073_OnlyAssignedReplicasMayFollow(t *testing.T) {
	w := newWorld(t)
	req := fetchRequest(11, "t", w.id, fetchFrom(0, 0))
	req.ReplicaID = 5
	if p := one(t, w.c.Do(req).(*kmsg.FetchResponse)); protocol.Code(p.ErrorCode) != protocol.NotLeaderOrFollower {
		t.Errorf("%+v", p)
	}
	req = fetchRequest(17, "t", w.id, fetchFrom(0, 0))
	req.ReplicaState.ID, req.ReplicaState.Epoch = 5, 1
	if p := one(t, w.c.Do(req).(*kmsg.FetchResponse)); protocol.Code(p.ErrorCode) != protocol.NotLeaderOrFollower {
		t.Errorf("%+v", p)
	}
}

func TestAFetchOfADeletedTopicIsWoken(t *testing.T) {
	w := newWorld(t)
	req := fetchRequest(18, "t", w.id, fetchFrom(0, 0))
	req.MaxWaitMillis = 20_000
	w.c.Send(w.c.Encode(req))
	deleteTopic(w.b.Dial(), w.id)
	resp := w.c.Answer(req).(*kmsg.FetchResponse)
	// Kafka says 3 to one that has been waiting; should the deletion have been faster than the fetch, the id is unknown.
	if code := protocol.Code(one(t, resp).ErrorCode); code != protocol.UnknownTopicOrPartition && code != protocol.UnknownTopicID {
		t.Errorf("code %v", code)
	}
}

func deleteTopic(c *brokertest.Client, id protocol.TopicID) {
	c.T.Helper()
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TimeoutMillis = 10_000
	topic := kmsg.NewDeleteTopicsRequestTopic()
	topic.TopicID = id
	req.Topics = append(req.Topics, topic)
	resp := c.Do(brokertest.Latest(req)).(*kmsg.DeleteTopicsResponse)
	if code := resp.Topics[0].ErrorCode; code != 0 {
		c.T.Fatalf("delete: %v", protocol.Code(code))
	}
}

func TestPipelinedFetchesAreAnsweredInOrder(t *testing.T) {
	w := newWorld(t)
	w.putAt(0, records(1, 10))
	var reqs []*kmsg.FetchRequest
	var all []byte
	for i := range 30 {
		req := fetchRequest(18, "t", w.id, fetchFrom(0, int64(i%2)))
		req.MaxWaitMillis = 10
		reqs = append(reqs, req)
		all = append(all, w.c.Encode(req)...)
	}
	w.c.Send(all)
	for i, req := range reqs {
		if n := countRecords(t, one(t, w.c.Answer(req).(*kmsg.FetchResponse)).RecordBatches); n != int64(1-i%2) {
			t.Fatalf("answer %d has %d records", i, n)
		}
	}
}

func TestALargeFetchGoesThroughTheKernel(t *testing.T) {
	b := brokertest.Start(t, brokertest.Options{FS: vfs.OS(), Dirs: []string{t.TempDir()}})
	c := b.Dial()
	id := createTopic(c, "t", 1)
	for range 40 {
		if p := produce(c, 13, "t", id, 0, 1, records(100, 1000)); p.ErrorCode != 0 {
			t.Fatal(p)
		}
	}
	fp := fetchFrom(0, 0)
	fp.PartitionMaxBytes = 50 << 20
	for range 3 {
		if n := countRecords(t, one(t, fetch(c, 18, "t", id, fp)).RecordBatches); n != 4000 {
			t.Fatalf("%d records", n)
		}
	}
}
