package protocol

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// golden is one line of testdata/golden/golden.txt, which Apache Kafka's own classes wrote (Golden.java beside it).
type golden struct {
	kind    string
	api     API
	version int16
	body    []byte
}

func goldens(t *testing.T) (all []golden) {
	t.Helper()
	text, err := os.ReadFile("testdata/golden/golden.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var g golden
		var key int16
		var body string
		// An empty body, as of ListGroups version 0, leaves the line one word short.
		if n, err := fmt.Sscan(line, &g.kind, &key, &g.version, &body); n < 3 {
			t.Fatalf("%q: %v", line, err)
		}
		var ok bool
		if g.api, ok = Lookup(key); !ok {
			t.Fatalf("no API %d", key)
		}
		if g.body, err = hex.DecodeString(body); err != nil {
			t.Fatal(err)
		}
		all = append(all, g)
	}
	return all
}

func TestGoldenCoversEveryVersion(t *testing.T) {
	all := goldens(t)
	eachVersion(func(a API, v int16) {
		for _, kind := range []string{"request", "response"} {
			if !slices.ContainsFunc(all, func(g golden) bool { return g.kind == kind && g.api.Key == a.Key && g.version == v }) {
				t.Errorf("no %s of %s version %d: run Golden.java", kind, a.Name, v)
			}
		}
	})
}

func TestGoldenRequests(t *testing.T) {
	for _, g := range goldens(t) {
		if g.kind != "request" {
			continue
		}
		c, err := skim(g.api, g.version, g.body)
		if err != nil || c.bytes != len(g.body) {
			t.Errorf("%x: %d of %d bytes, %v", g.body, c.bytes, len(g.body), err)
			continue
		}
		req, err := DecodeBody(g.api, g.version, g.body)
		if err != nil {
			t.Errorf("%s version %d: %v", g.api.Name, g.version, err)
			continue
		}
		if again := req.AppendTo(nil); !bytes.Equal(again, g.body) {
			t.Errorf("%s version %d:\n%x\n%x\n%+v", g.api.Name, g.version, g.body, again, req)
		}
		switch req := req.(type) {
		case *kmsg.ProduceRequest:
			p, err := ParseProduce(g.version, g.body)
			if err != nil {
				t.Errorf("Produce version %d: %v", g.version, err)
				continue
			}
			sameProduce(t, p, req)
		case *kmsg.FetchRequest:
			f, err := ParseFetch(g.version, g.body)
			if err != nil {
				t.Errorf("Fetch version %d: %v", g.version, err)
				continue
			}
			sameFetch(t, f, req)
		}
	}
}

func TestGoldenResponses(t *testing.T) {
	for _, g := range goldens(t) {
		if g.kind != "response" {
			continue
		}
		resp := g.api.New().ResponseKind()
		resp.SetVersion(g.version)
		if err := resp.ReadFrom(g.body); err != nil {
			t.Errorf("%s version %d: %v", g.api.Name, g.version, err)
			continue
		}
		h := Header{Key: g.api.Key, Version: g.version, CorrelationID: 1}
		head := len(appendResponseHeader(nil, h, g.api.Flexible(g.version)))
		if got := EncodeResponse(h, resp).Head[head:]; !bytes.Equal(got, g.body) {
			t.Errorf("%s version %d:\n%x\n%x\n%+v", g.api.Name, g.version, g.body, got, resp)
		}
	}
}

// TestGoldenProduceAndFetchResponses encodes by hand what Kafka's classes encoded. Left out beforehand are unknown tagged
// fields, and the two things that our encoders never say: records that are null, and messages that are empty, not null.
func TestGoldenProduceAndFetchResponses(t *testing.T) {
	seen := 0
	for _, g := range goldens(t) {
		if g.kind != "response" || g.api.Key > 1 {
			continue
		}
		want := g.api.New().ResponseKind()
		want.SetVersion(g.version)
		if err := want.ReadFrom(g.body); err != nil {
			t.Fatal(err)
		}
		plain(reflect.ValueOf(want).Elem())
		h := Header{Key: g.api.Key, Version: g.version, CorrelationID: 1}
		var got *Response
		switch want := want.(type) {
		case *kmsg.ProduceResponse:
			got = encodeLikeProduce(h, want)
		case *kmsg.FetchResponse:
			got = encodeLikeFetch(h, want)
		}
		if got, want := flat(t, got), EncodeResponse(h, want).Head; !bytes.Equal(got, want) {
			t.Errorf("%s version %d:\n%x\n%x", g.api.Name, g.version, want, got)
		}
		seen++
	}
	if seen == 0 {
		t.Error("nothing compared")
	}
}

// plain drops unknown tagged fields, empty strings where there may be null, and null records.
func plain(v reflect.Value) {
	if tags, ok := v.Addr().Interface().(*kmsg.Tags); ok {
		*tags = kmsg.Tags{}
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if s, ok := v.Interface().(*string); ok && s != nil && *s == "" {
			v.SetZero()
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 && v.IsNil() {
			v.SetBytes([]byte{})
		}
		for i := range v.Len() {
			if v.Type().Elem().Kind() == reflect.Struct {
				plain(v.Index(i))
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			plain(v.Field(i))
		}
	}
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func leaderOf(id, epoch int32) *Leader {
	if id == -1 && epoch == -1 {
		return nil
	}
	return &Leader{BrokerID(id), Epoch(epoch)}
}

func encodeLikeProduce(h Header, in *kmsg.ProduceResponse) *Response {
	var results []ProduceResult
	var nodes []NodeEndpoint
	topics := in.Topics[:0:0]
	for _, topic := range in.Topics {
		if len(topic.Partitions) == 0 {
			continue // our results are of partitions
		}
		topics = append(topics, topic)
		for _, p := range topic.Partitions {
			r := ProduceResult{
				Topic: topic.Topic, TopicID: topic.TopicID, Partition: p.Partition, Code: Code(p.ErrorCode),
				BaseOffset: Offset(p.BaseOffset), LogAppendTime: p.LogAppendTime, LogStart: Offset(p.LogStartOffset),
				Message: orEmpty(p.ErrorMessage), Leader: leaderOf(p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch),
			}
			for _, e := range p.ErrorRecords {
				r.RecordErrors = append(r.RecordErrors, RecordError{e.RelativeOffset, orEmpty(e.ErrorMessage)})
			}
			results = append(results, r)
		}
	}
	in.Topics = topics
	for _, b := range in.Brokers {
		nodes = append(nodes, NodeEndpoint{BrokerID(b.NodeID), b.Host, b.Port, orEmpty(b.Rack)})
	}
	return EncodeProduceResponse(h, results, in.ThrottleMillis, nodes)
}

func encodeLikeFetch(h Header, in *kmsg.FetchResponse) *Response {
	var ignored int
	out := &FetchResponse{ThrottleMillis: in.ThrottleMillis, Code: Code(in.ErrorCode), SessionID: in.SessionID}
	topics := in.Topics[:0:0]
	for _, topic := range in.Topics {
		if len(topic.Partitions) == 0 {
			continue
		}
		topics = append(topics, topic)
		for _, p := range topic.Partitions {
			r := FetchResult{
				Topic: topic.Topic, TopicID: topic.TopicID, Partition: p.Partition, Code: Code(p.ErrorCode),
				HighWatermark: Offset(p.HighWatermark), LastStable: Offset(p.LastStableOffset), LogStart: Offset(p.LogStartOffset),
				PreferredReadReplica: BrokerID(p.PreferredReadReplica), Records: memory{p.RecordBatches, &ignored},
				Leader: leaderOf(p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch),
			}
			if p.AbortedTransactions != nil {
				r.Aborted = []AbortedTransaction{}
			}
			for _, a := range p.AbortedTransactions {
				r.Aborted = append(r.Aborted, AbortedTransaction{a.ProducerID, Offset(a.FirstOffset)})
			}
			if d := p.DivergingEpoch; d.Epoch != -1 || d.EndOffset != -1 {
				r.Diverging = &DivergingEpoch{Epoch(d.Epoch), Offset(d.EndOffset)}
			}
			if s := p.SnapshotID; s.EndOffset != -1 || s.Epoch != -1 {
				r.Snapshot = &SnapshotID{Offset(s.EndOffset), Epoch(s.Epoch)}
			}
			out.Results = append(out.Results, r)
		}
	}
	in.Topics = topics
	for _, b := range in.Brokers {
		out.Nodes = append(out.Nodes, NodeEndpoint{BrokerID(b.NodeID), b.Host, b.Port, orEmpty(b.Rack)})
	}
	return EncodeFetchResponse(h, out)
}
