package broker_test

import (
	"encoding/binary"
	"hash/crc32"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/protocol/compress"
)

// createTopic makes a topic and returns its id.
func createTopic(c *brokertest.Client, name string, partitions int32, configs ...string) protocol.TopicID {
	c.T.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 10_000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, 1
	for i := 0; i < len(configs); i += 2 {
		cfg := kmsg.NewCreateTopicsRequestTopicConfig()
		cfg.Name, cfg.Value = configs[i], &configs[i+1]
		topic.Configs = append(topic.Configs, cfg)
	}
	req.Topics = append(req.Topics, topic)
	resp := c.Do(brokertest.Latest(req)).(*kmsg.CreateTopicsResponse)
	if code := resp.Topics[0].ErrorCode; code != 0 {
		c.T.Fatalf("create %s: %v", name, protocol.Code(code))
	}
	return resp.Topics[0].TopicID
}

// records makes a batch of n records with values of size bytes.
func records(n, size int) []byte { return recordsOf(batch.BuilderOptions{}, n, size) }

func recordsOf(o batch.BuilderOptions, n, size int) []byte {
	b := batch.NewBuilder(o)
	value := make([]byte, max(size, 4))
	for i := range n {
		binary.BigEndian.PutUint32(value, uint32(i))
		b.Add(time.Now().UnixMilli(), []byte("key"), value)
	}
	return b.Build()
}

// from is a batch of an idempotent producer.
func from(id int64, epoch int16, sequence int32, n int) []byte {
	return recordsOf(batch.BuilderOptions{Producer: &batch.Producer{ID: id, Epoch: epoch, Sequence: sequence}}, n, 10)
}

// patched is a batch with some bytes changed and its checksum right.
func patched(b []byte, change func(b []byte)) []byte {
	b = append([]byte(nil), b...)
	change(b)
	if len(b) >= batch.HeaderBytes {
		binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	}
	return b
}

// produce sends one batch at a version and returns the partition's part of the answer.
func produce(c *brokertest.Client, version int16, topic string, id protocol.TopicID, partition int32, acks int16,
	recs []byte) kmsg.ProduceResponseTopicPartition {
	c.T.Helper()
	req := produceRequest(version, topic, id, partition, acks, recs)
	resp := c.Do(req).(*kmsg.ProduceResponse)
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		c.T.Fatalf("answer %+v", resp)
	}
	return resp.Topics[0].Partitions[0]
}

func produceRequest(version int16, topic string, id protocol.TopicID, partition int32, acks int16,
	recs []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = version, acks, 10_000
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.TopicID = topic, id
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, recs
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

// world is a broker with a topic "t" of two partitions and a client.
type world struct {
	*testing.T
	b  *brokertest.Broker
	c  *brokertest.Client
	id protocol.TopicID
}

func newWorld(t *testing.T, configs ...string) *world {
	t.Helper()
	b := brokertest.Start(t, brokertest.Options{})
	w := &world{T: t, b: b, c: b.Dial()}
	w.id = createTopic(w.c, "t", 2, configs...)
	return w
}

// put produces to t-0 at the highest version with acks=all.
func (w *world) put(recs []byte) kmsg.ProduceResponseTopicPartition {
	w.Helper()
	return produce(w.c, 13, "t", w.id, 0, -1, recs)
}

// putAt is put and expects an offset.
func (w *world) putAt(want int64, recs []byte) kmsg.ProduceResponseTopicPartition {
	w.Helper()
	p := w.put(recs)
	if p.ErrorCode != 0 || p.BaseOffset != want {
		w.Fatalf("%v at offset %d, want offset %d", protocol.Code(p.ErrorCode), p.BaseOffset, want)
	}
	return p
}

// refused is put and expects an error, with which nothing is appended.
func (w *world) refused(what string, want protocol.Code, recs []byte) kmsg.ProduceResponseTopicPartition {
	w.Helper()
	before := w.end()
	p := w.put(recs)
	if protocol.Code(p.ErrorCode) != want || p.BaseOffset != -1 || p.LogAppendTime != -1 {
		w.Errorf("%s: %v at offset %d, want %v", what, protocol.Code(p.ErrorCode), p.BaseOffset, want)
	}
	if end := w.end(); end != before {
		w.Errorf("%s: the log went from %d to %d", what, before, end)
	}
	return p
}

// end is the high watermark of t-0.
func (w *world) end() int64 {
	w.Helper()
	return listOffset(w.c, 11, "t", 0, -1).Offset
}

func TestRule024_Acks(t *testing.T) {
	w := newWorld(t)
	for _, acks := range []int16{2, -2, 32767} {
		p := produce(w.c, 13, "t", w.id, 0, acks, records(1, 10))
		if protocol.Code(p.ErrorCode) != protocol.InvalidRequiredAcks {
			t.Errorf("acks %d: %v", acks, protocol.Code(p.ErrorCode))
		}
	}
	if p := produce(w.c, 13, "t", w.id, 0, 1, records(1, 10)); p.ErrorCode != 0 || p.BaseOffset != 0 {
		t.Errorf("acks 1: %+v", p)
	}
	// No answer at all, and what was sent behind it is answered.
	silent := w.c.Encode(produceRequest(13, "t", w.id, 0, 0, records(5, 10)))
	for range 3 {
		w.c.Send(silent)
	}
	if end := w.end(); end != 16 {
		t.Errorf("the log ends at %d", end)
	}
	w.c.Send(w.c.Encode(produceRequest(13, "t", w.id, 9, 0, records(1, 10)))) // fails
	w.c.Closed()
}

func TestRule025_TopicsThatAreNotThere(t *testing.T) {
	w := newWorld(t)
	for version := int16(3); version <= 12; version++ {
		for _, c := range []struct {
			topic     string
			partition int32
		}{{"nope", 0}, {"t", 2}, {"t", -1}, {"", 0}} {
			p := produce(w.c, version, c.topic, w.id, c.partition, -1, records(1, 10))
			if protocol.Code(p.ErrorCode) != protocol.UnknownTopicOrPartition || p.BaseOffset != -1 {
				t.Errorf("version %d, %v: %+v", version, c, p)
			}
		}
	}
	for name, id := range map[string]protocol.TopicID{"unknown": {1}, "zero": {}} {
		if p := produce(w.c, 13, "", id, 0, -1, records(1, 10)); protocol.Code(p.ErrorCode) != protocol.UnknownTopicID {
			t.Errorf("%s id: %v", name, protocol.Code(p.ErrorCode))
		}
	}
	p := produce(w.c, 13, "", w.id, 7, -1, records(1, 10))
	if protocol.Code(p.ErrorCode) != protocol.UnknownTopicOrPartition {
		t.Errorf("known id, unknown partition: %v", protocol.Code(p.ErrorCode))
	}
	internal := createTopic(w.c, "__transaction_state", 1)
	p = produce(w.c, 13, "", internal, 0, -1, records(1, 10))
	if protocol.Code(p.ErrorCode) != protocol.InvalidTopicException {
		t.Errorf("internal topic: %v", protocol.Code(p.ErrorCode))
	}
	w.c.ID = "__admin_client"
	if p := produce(w.c, 13, "", internal, 0, -1, records(1, 10)); p.ErrorCode != 0 {
		t.Errorf("internal topic, admin client: %v", protocol.Code(p.ErrorCode))
	}
}

func TestRule026_ExactlyOneV2BatchPerPartition(t *testing.T) {
	w := newWorld(t)
	one := records(2, 50)
	old := func(magic byte) []byte { return patched(one, func(b []byte) { b[16] = magic }) }
	w.refused("null", protocol.InvalidRecord, nil)
	w.refused("none", protocol.InvalidRecord, []byte{})
	w.refused("two", protocol.InvalidRecord, append(append([]byte(nil), one...), one...))
	w.refused("magic 0", protocol.InvalidRecord, old(0))
	w.refused("magic 1", protocol.InvalidRecord, old(1))
	w.refused("magic 3", protocol.CorruptMessage, old(3))
	w.refused("cut", protocol.InvalidRecord, one[:len(one)-1])
	w.refused("wrong checksum", protocol.CorruptMessage, func() []byte {
		b := append([]byte(nil), one...)
		b[len(b)-1] ^= 1
		return b
	}())
	w.putAt(0, append(append([]byte(nil), one...), 1, 2, 3, 4, 5, 6, 7)) // too short to be another batch
}

func TestRule027_C39_BaseOffsetAndLeaderEpochOfTheClient(t *testing.T) {
	w := newWorld(t)
	w.refused("base offset 1", protocol.InvalidRecord, patched(records(1, 10), func(b []byte) { b[7] = 1 }))
	w.putAt(0, patched(records(1, 10), func(b []byte) { binary.BigEndian.PutUint32(b[12:], 77) }))
	got := batch.Batch(fetch(w.c, 18, "t", w.id, fetchFrom(0, 0)).Topics[0].Partitions[0].RecordBatches)
	if !got.CheckCRC() || got.LeaderEpoch() == 77 || got.LeaderEpoch() < 0 {
		t.Errorf("stored with leader epoch %d, checksum right: %v", got.LeaderEpoch(), got.CheckCRC())
	}
}

func TestRule028_C47_WhatABatchSaysOfItself(t *testing.T) {
	w := newWorld(t)
	three := records(3, 10)
	put32 := func(at int, v uint32) []byte {
		return patched(three, func(b []byte) { binary.BigEndian.PutUint32(b[at:], v) })
	}
	w.refused("last offset delta 5 of 3 records", protocol.InvalidRecord, put32(23, 5))
	w.refused("count 4 of 3 records", protocol.InvalidRecord,
		patched(put32(57, 4), func(b []byte) { binary.BigEndian.PutUint32(b[23:], 3) }))
	w.refused("no records", protocol.InvalidRecord, patched(three[:batch.HeaderBytes], func(b []byte) {
		binary.BigEndian.PutUint32(b[8:], batch.HeaderBytes-12)
		binary.BigEndian.PutUint32(b[57:], 0)
		binary.BigEndian.PutUint32(b[23:], 0)
	}))
	w.refused("control batch", protocol.InvalidRecord, patched(three, func(b []byte) { b[22] |= 0x20 })) // rule 29
	w.putAt(0, three)
}

func TestRule030_ZstdNeedsVersion7(t *testing.T) {
	w := newWorld(t)
	zstd := recordsOf(batch.BuilderOptions{Codec: compress.Zstd}, 10, 100)
	if p := produce(w.c, 6, "t", w.id, 0, -1, zstd); protocol.Code(p.ErrorCode) != protocol.UnsupportedCompressionType {
		t.Errorf("version 6: %v", protocol.Code(p.ErrorCode))
	}
	if p := produce(w.c, 7, "t", w.id, 0, -1, zstd); p.ErrorCode != 0 {
		t.Errorf("version 7: %v", protocol.Code(p.ErrorCode))
	}
}

func TestEveryCodecComesBackAsItWasSent(t *testing.T) {
	w := newWorld(t)
	for _, codec := range []compress.Codec{compress.None, compress.Gzip, compress.Snappy, compress.LZ4, compress.Zstd} {
		at := w.end()
		sent := recordsOf(batch.BuilderOptions{Codec: codec}, 100, 100)
		w.putAt(at, append([]byte(nil), sent...))
		got := fetch(w.c, 18, "t", w.id, fetchFrom(0, at)).Topics[0].Partitions[0].RecordBatches
		if string(got[batch.HeaderBytes:]) != string(sent[batch.HeaderBytes:]) {
			t.Errorf("%v: the records changed", codec)
		}
	}
}

func TestRule031_C42_SizeLimits(t *testing.T) {
	w := newWorld(t, "max.message.bytes", "2000")
	fits := records(1, 1900)
	if len(fits) > 2000 {
		t.Fatal("the test's batch is too large")
	}
	w.putAt(0, fits)
	p := w.refused("too large", protocol.MessageTooLarge, records(1, 2000))
	if p.LogStartOffset != -1 {
		t.Errorf("log start %d", p.LogStartOffset)
	}
	w.putAt(1, recordsOf(batch.BuilderOptions{Codec: compress.Gzip}, 1, 50_000)) // what counts is the size as sent
}

func TestRule031_ABatchLargerThanASegment(t *testing.T) {
	w := newWorld(t, "segment.bytes", "1048576", "max.message.bytes", "3000000")
	w.refused("larger than a segment", protocol.RecordListTooLarge, records(2, 800_000))
}

func TestRule032_C43_ACompactedTopicNeedsKeys(t *testing.T) {
	w := newWorld(t, "cleanup.policy", "compact")
	b := batch.NewBuilder(batch.BuilderOptions{})
	b.Add(time.Now().UnixMilli(), []byte("k"), []byte("v"))
	b.Add(time.Now().UnixMilli(), nil, []byte("v"))
	keyless := b.Build()
	p := w.refused("no key", protocol.InvalidRecord, keyless)
	if p.ErrorMessage == nil || len(p.ErrorRecords) != 1 || p.ErrorRecords[0].RelativeOffset != 1 ||
		p.LogStartOffset != 0 {
		t.Errorf("%+v", p)
	}
	if p := produce(w.c, 7, "t", w.id, 0, -1, keyless); protocol.Code(p.ErrorCode) != protocol.InvalidRecord {
		t.Errorf("version 7: %+v", p)
	}
}

func TestRule033_Timestamps(t *testing.T) {
	w := newWorld(t)
	at := func(ms int64) []byte {
		b := batch.NewBuilder(batch.BuilderOptions{})
		b.Add(ms, []byte("k"), []byte("v"))
		return b.Build()
	}
	p := w.refused("two hours ahead", protocol.InvalidTimestamp, at(time.Now().Add(2*time.Hour).UnixMilli()))
	if len(p.ErrorRecords) != 1 {
		t.Errorf("%+v", p)
	}
	w.putAt(0, at(-1))
	w.putAt(1, at(0))
	w.putAt(2, at(time.Now().Add(30*time.Minute).UnixMilli()))
}

func TestRule034_C44_C67_LogAppendTime(t *testing.T) {
	w := newWorld(t, "message.timestamp.type", "LogAppendTime")
	before := time.Now().UnixMilli()
	p := w.putAt(0, records(1, 10))
	if p.LogAppendTime < before || p.LogAppendTime > time.Now().UnixMilli() {
		t.Errorf("log append time %d", p.LogAppendTime)
	}
	got := batch.Batch(fetch(w.c, 18, "t", w.id, fetchFrom(0, 0)).Topics[0].Partitions[0].RecordBatches)
	if !got.IsLogAppendTime() || got.MaxTimestamp() != p.LogAppendTime || !got.CheckCRC() {
		t.Errorf("stored: append time %v, %d", got.IsLogAppendTime(), got.MaxTimestamp())
	}
}

func TestRule035_CompressionOfTheTopic(t *testing.T) {
	w := newWorld(t, "compression.type", "lz4")
	w.putAt(0, records(50, 100))
	w.putAt(50, recordsOf(batch.BuilderOptions{Codec: compress.Gzip}, 50, 100))
	raw := fetch(w.c, 18, "t", w.id, fetchFrom(0, 0)).Topics[0].Partitions[0].RecordBatches
	for len(raw) > 0 {
		b, rest, err := batch.Next(raw)
		if err != nil || b.Codec() != compress.LZ4 || !b.CheckCRC() || b.Count() != 50 {
			t.Fatalf("stored as %v, %v", b.Codec(), err)
		}
		raw = rest
	}
}

func TestRule036_MinInsyncAboveTheReplicas(t *testing.T) {
	w := newWorld(t, "min.insync.replicas", "2")
	w.putAt(0, records(1, 10))
}

func TestRule039_C36_C37_ManyPartitionsInOneRequest(t *testing.T) {
	w := newWorld(t)
	other := createTopic(w.c, "u", 40)
	req := produceRequest(13, "t", w.id, 0, -1, records(1, 10))
	add := func(id protocol.TopicID, partition int32, recs []byte) {
		topic := kmsg.NewProduceRequestTopic()
		topic.TopicID = id
		p := kmsg.NewProduceRequestTopicPartition()
		p.Partition, p.Records = partition, recs
		topic.Partitions = append(topic.Partitions, p)
		req.Topics = append(req.Topics, topic)
	}
	add(other, 0, records(2, 10))
	add(w.id, 1, records(3, 10))
	add(w.id, 0, records(4, 10)) // t-0 again: one answer, and what came last is written
	for i := range int32(39) {
		add(other, i+1, records(1, 10))
	}
	resp := w.c.Do(req).(*kmsg.ProduceResponse)
	if len(resp.Topics) != 2 || len(resp.Topics[0].Partitions) != 2 || len(resp.Topics[1].Partitions) != 40 {
		t.Fatalf("%+v", resp)
	}
	for _, rt := range resp.Topics {
		for _, p := range rt.Partitions {
			if p.ErrorCode != 0 || p.BaseOffset != 0 {
				t.Errorf("%+v", p)
			}
		}
	}
	if end := w.end(); end != 4 {
		t.Errorf("t-0 ends at %d", end)
	}
}

func TestC38_PipelinedProducesAreAppendedInTheirOrder(t *testing.T) {
	w := newWorld(t)
	var all []byte
	var reqs []*kmsg.ProduceRequest
	for i := range 200 {
		b := batch.NewBuilder(batch.BuilderOptions{})
		b.Add(time.Now().UnixMilli(), nil, binary.BigEndian.AppendUint32(nil, uint32(i)))
		req := produceRequest(13, "t", w.id, 0, -1, b.Build())
		reqs = append(reqs, req)
		all = append(all, w.c.Encode(req)...)
	}
	go w.c.Send(all)
	for i, req := range reqs {
		if p := w.c.Answer(req).(*kmsg.ProduceResponse).Topics[0].Partitions[0]; p.BaseOffset != int64(i) {
			t.Fatalf("request %d at offset %d", i, p.BaseOffset)
		}
	}
	raw := fetch(w.c, 18, "t", w.id, fetchFrom(0, 0)).Topics[0].Partitions[0].RecordBatches
	d := compress.NewDecoder()
	for want := uint32(0); len(raw) > 0; want++ {
		b, rest, err := batch.Next(raw)
		if err != nil {
			t.Fatal(err)
		}
		for r, err := range b.Records(d) {
			if err != nil || binary.BigEndian.Uint32(r.Value) != want {
				t.Fatalf("record %d is %v, %v", want, r.Value, err)
			}
		}
		raw = rest
	}
}

func TestRule040_C45_AnUnknownProducerMayBeginAnywhere(t *testing.T) {
	w := newWorld(t)
	w.putAt(0, from(4711, 3, 100, 2))
	w.putAt(2, from(4711, 3, 102, 1))
}

func TestRule041_043_C48_Sequences(t *testing.T) {
	w := newWorld(t)
	w.putAt(0, from(1, 0, 0, 2))
	w.refused("gap", protocol.OutOfOrderSequenceNumber, from(1, 0, 3, 1))
	for i := range int32(6) {
		w.putAt(int64(2+i), from(1, 0, 2+i, 1))
	}
	p := w.put(from(1, 0, 5, 1)) // among the last five
	if p.ErrorCode != 0 || p.BaseOffset != 5 || p.LogAppendTime < 0 || w.end() != 8 {
		t.Errorf("duplicate: %+v", p)
	}
	w.refused("an old duplicate", protocol.OutOfOrderSequenceNumber, from(1, 0, 0, 2))
	w.refused("a part of a batch", protocol.OutOfOrderSequenceNumber, from(1, 0, 7, 2))
	w.putAt(8, from(2, 0, 1<<31-2, 2))
	w.putAt(10, from(2, 0, 0, 1)) // wraps
}

func TestRule044_C46_ProducerEpochs(t *testing.T) {
	w := newWorld(t)
	w.putAt(0, from(1, 5, 0, 1))
	w.refused("older", protocol.InvalidProducerEpoch, from(1, 4, 1, 1))
	w.refused("newer, not from 0", protocol.OutOfOrderSequenceNumber, from(1, 6, 1, 1))
	w.putAt(1, from(1, 6, 0, 1))
	w.refused("no sequence", protocol.InvalidRecord, from(9, 0, -1, 1))
}

func TestRule046_C49_C123_ProducersAreRememberedAcrossARestart(t *testing.T) {
	w := newWorld(t)
	for i := range int32(6) {
		w.putAt(int64(i), from(1, 0, i, 1))
	}
	w.b.Restart()
	w.c = w.b.Dial()
	if p := w.put(from(1, 0, 3, 1)); p.ErrorCode != 0 || p.BaseOffset != 3 {
		t.Errorf("duplicate after a restart: %+v", p)
	}
	w.refused("gap after a restart", protocol.OutOfOrderSequenceNumber, from(1, 0, 9, 1))
	w.putAt(6, from(1, 0, 6, 1))
}

func TestRule054_TransactionalBatchWithoutTransactionalID(t *testing.T) {
	w := newWorld(t)
	recs := patched(from(1, 0, 0, 1), func(b []byte) { b[22] |= 0x10 })
	w.refused("no id", protocol.TransactionalIDAuthorizationFailed, recs)
	req := produceRequest(13, "t", w.id, 0, -1, recs)
	req.TransactionID = kmsg.StringPtr("tx")
	p := w.c.Do(req).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	if protocol.Code(p.ErrorCode) != protocol.InvalidProducerIDMapping {
		t.Errorf("with an id: %v", protocol.Code(p.ErrorCode))
	}
}

func TestRecordsOutliveARestart(t *testing.T) {
	w := newWorld(t)
	for i := range 20 {
		w.putAt(int64(i*10), records(10, 100))
	}
	w.b.Restart()
	w.c = w.b.Dial()
	p := fetch(w.c, 18, "t", w.id, fetchFrom(0, 0)).Topics[0].Partitions[0]
	if n := countRecords(t, p.RecordBatches); n != 200 || p.HighWatermark != 200 {
		t.Errorf("%d records, high watermark %d", n, p.HighWatermark)
	}
	w.putAt(200, records(1, 10))
}

func TestProducersToOnePartitionAtOnce(t *testing.T) {
	w := newWorld(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[int64]bool{}
	for range 8 {
		c := w.b.Dial()
		wg.Go(func() {
			for range 50 {
				p := produce(c, 13, "t", w.id, 0, -1, records(3, 20))
				mu.Lock()
				if p.ErrorCode != 0 || seen[p.BaseOffset] || p.BaseOffset%3 != 0 {
					t.Errorf("%+v", p)
				}
				seen[p.BaseOffset] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if end := w.end(); end != 8*50*3 {
		t.Errorf("the log ends at %d", end)
	}
}

func TestErrorsThatClientsSeeAreCounted(t *testing.T) {
	w := newWorld(t)
	w.refused("null", protocol.InvalidRecord, nil)
	families, err := w.b.Metrics().Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "moldau_errors_total" && strings.Contains(m.String(), "INVALID_RECORD") {
				found = m.GetCounter().GetValue() == 1
			}
		}
	}
	if !found {
		t.Error("no count of INVALID_RECORD")
	}
}

func countRecords(t *testing.T, raw []byte) (n int64) {
	t.Helper()
	for len(raw) > 0 {
		b, rest, err := batch.Next(raw)
		if err != nil {
			t.Fatal(err)
		}
		if !b.CheckCRC() {
			t.Fatal("a batch with a wrong checksum")
		}
		n += int64(b.Count())
		raw = rest
	}
	return n
}
