package protocol

import (
	"bytes"
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var produceAPI, _ = Lookup(0)

// sameProduce compares an in-place view with what kmsg decoded from the same bytes.
func sameProduce(t *testing.T, got ProduceRequest, want *kmsg.ProduceRequest) {
	t.Helper()
	if (got.TransactionalID == nil) != (want.TransactionID == nil) ||
		want.TransactionID != nil && string(got.TransactionalID) != *want.TransactionID {
		t.Fatalf("transactional id %q, want %v", got.TransactionalID, want.TransactionID)
	}
	if got.Acks != want.Acks || got.TimeoutMillis != want.TimeoutMillis {
		t.Fatalf("acks %d timeout %d, want %d %d", got.Acks, got.TimeoutMillis, want.Acks, want.TimeoutMillis)
	}
	c := got.Cursor()
	n := 0
	for _, topic := range want.Topics {
		for _, p := range topic.Partitions {
			if !c.Next() {
				t.Fatalf("the cursor ended before partition %d of %q", p.Partition, topic.Topic)
			}
			if string(c.Topic) != topic.Topic || c.TopicID != topic.TopicID || c.Partition != p.Partition {
				t.Fatalf("%q %v %d, want %q %v %d", c.Topic, c.TopicID, c.Partition, topic.Topic, topic.TopicID, p.Partition)
			}
			if (c.Records == nil) != (p.Records == nil) || !bytes.Equal(c.Records, p.Records) {
				t.Fatalf("records %x, want %x", c.Records, p.Records)
			}
			n++
		}
	}
	if c.Next() {
		t.Fatal("the cursor found a partition too many")
	}
	if got.Partitions != n {
		t.Fatalf("%d partitions counted, want %d", got.Partitions, n)
	}
}

func TestProduceParsesWhatKmsgEncodes(t *testing.T) {
	r := newRand(1)
	for v := produceAPI.Min; v <= produceAPI.Max; v++ {
		for range 100 {
			req := randomRequest(r, produceAPI, v, true).(*kmsg.ProduceRequest)
			body := req.AppendTo(nil)
			got, err := ParseProduce(v, body)
			if err != nil {
				t.Fatalf("version %d: %v", v, err)
			}
			want := kmsg.NewPtrProduceRequest()
			want.Version = v
			if err := want.ReadFrom(body); err != nil {
				t.Fatal(err)
			}
			sameProduce(t, got, want)
			for cut := range len(body) {
				if _, err := ParseProduce(v, body[:cut]); !errors.Is(err, InvalidRequest) {
					t.Fatalf("version %d cut at %d of %d bytes: %v", v, cut, len(body), err)
				}
			}
		}
	}
}

func produceBody(v int16, records []byte, partitions int) []byte {
	req := kmsg.NewPtrProduceRequest()
	req.Version = v
	req.Acks = -1
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic = "rides"
	for i := range partitions {
		p := kmsg.NewProduceRequestTopicPartition()
		p.Partition, p.Records = int32(i), records
		topic.Partitions = append(topic.Partitions, p)
	}
	req.Topics = append(req.Topics, topic)
	return req.AppendTo(nil)
}

func TestRule010_BytesBehindAProduceBodyAreTolerated(t *testing.T) {
	for v := produceAPI.Min; v <= produceAPI.Max; v++ {
		body := append(produceBody(v, []byte("abc"), 1), "left over"...)
		p, err := ParseProduce(v, body)
		if err != nil || p.Partitions != 1 {
			t.Errorf("version %d: %v", v, err)
		}
	}
}

func TestRule026_NullRecordsAreNotEmptyRecords(t *testing.T) {
	for v := produceAPI.Min; v <= produceAPI.Max; v++ {
		for _, records := range [][]byte{nil, {}} {
			p, err := ParseProduce(v, produceBody(v, records, 1))
			if err != nil {
				t.Fatal(err)
			}
			c := p.Cursor()
			if !c.Next() || (c.Records == nil) != (records == nil) {
				t.Errorf("version %d: sent nil=%t, seen nil=%t", v, records == nil, c.Records == nil)
			}
		}
	}
}

func TestProduceParsingAllocatesNothing(t *testing.T) {
	body := produceBody(12, make([]byte, 1000), 50)
	bytesSeen := 0
	allocs := testing.AllocsPerRun(100, func() {
		p, err := ParseProduce(12, body)
		if err != nil {
			t.Fatal(err)
		}
		for c := p.Cursor(); c.Next(); {
			bytesSeen += len(c.Records)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func TestProduceRecordsAliasTheBody(t *testing.T) {
	body := produceBody(9, []byte("abc"), 1)
	p, _ := ParseProduce(9, body)
	c := p.Cursor()
	c.Next()
	c.Records[0] = 'X'
	if !bytes.Contains(body, []byte("Xbc")) {
		t.Error("the records were copied")
	}
}

// kmsgProduce is the answer as kmsg spells it.
func kmsgProduce(v int16, results []ProduceResult, throttle int32, nodes []NodeEndpoint) *kmsg.ProduceResponse {
	resp := kmsg.NewPtrProduceResponse()
	resp.Version = v
	resp.ThrottleMillis = throttle
	for _, r := range results {
		n := len(resp.Topics)
		if n == 0 || resp.Topics[n-1].Topic != r.Topic || resp.Topics[n-1].TopicID != r.TopicID {
			topic := kmsg.NewProduceResponseTopic()
			topic.Topic, topic.TopicID = r.Topic, r.TopicID
			resp.Topics = append(resp.Topics, topic)
			n++
		}
		p := kmsg.NewProduceResponseTopicPartition()
		p.Partition, p.ErrorCode, p.BaseOffset = r.Partition, int16(r.Code), int64(r.BaseOffset)
		p.LogAppendTime, p.LogStartOffset = r.LogAppendTime, int64(r.LogStart)
		for _, e := range r.RecordErrors {
			p.ErrorRecords = append(p.ErrorRecords, kmsg.ProduceResponseTopicPartitionErrorRecord{
				RelativeOffset: e.BatchIndex, ErrorMessage: nullable(e.Message),
			})
		}
		p.ErrorMessage = nullable(r.Message)
		if r.Leader != nil && v >= 10 {
			p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch = int32(r.Leader.ID), int32(r.Leader.Epoch)
		}
		resp.Topics[n-1].Partitions = append(resp.Topics[n-1].Partitions, p)
	}
	if v >= 10 {
		for _, b := range nodes {
			resp.Brokers = append(resp.Brokers, kmsg.ProduceResponseBroker{
				NodeID: int32(b.ID), Host: b.Host, Port: b.Port, Rack: nullable(b.Rack),
			})
		}
	}
	return resp
}

func nullable(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// TestC6 and C8: tagged fields stand in every partition, and only in versions that have them.
func TestC6_C8_ProduceResponseEqualsKmsg(t *testing.T) {
	results := []ProduceResult{
		{Topic: "a", TopicID: TopicID{1}, Partition: 0, BaseOffset: 77, LogAppendTime: -1, LogStart: 3},
		{Topic: "a", TopicID: TopicID{1}, Partition: 5, Code: NotLeaderOrFollower, BaseOffset: -1, LogAppendTime: -1, LogStart: -1,
			Leader: &Leader{ID: 2, Epoch: 9}},
		{Topic: "b", TopicID: TopicID{2}, Partition: 1, Code: InvalidRecord, BaseOffset: -1, LogAppendTime: -1, LogStart: -1,
			Message: "one or more records were refused", RecordErrors: []RecordError{{0, "no key"}, {7, ""}}},
		{Topic: "a", TopicID: TopicID{1}, Partition: 6, BaseOffset: 1 << 40, LogAppendTime: 1_700_000_000_000, LogStart: 0},
	}
	nodes := []NodeEndpoint{{ID: 2, Host: "broker-2", Port: 9092, Rack: "r1"}, {ID: 3, Host: "b", Port: 1}}
	for v := produceAPI.Min; v <= produceAPI.Max; v++ {
		for n := range len(results) + 1 {
			h := Header{Key: 0, Version: v, CorrelationID: 42}
			got := EncodeProduceResponse(h, results[:n], 12, nodes)
			want := EncodeResponse(h, kmsgProduce(v, results[:n], 12, nodes))
			if !bytes.Equal(got.Head, want.Head) {
				t.Errorf("version %d, %d results:\n%x\n%x", v, n, got.Head, want.Head)
			}
		}
	}
}
