package broker_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
	"moldau.io/moldau/protocol"
)

// filler puts odd but encodable values into requests: what there is, what there is not, empty, null, and the ends of ranges.
type filler struct {
	*rand.Rand
	id protocol.TopicID
}

func (f *filler) text() string {
	words := []string{"", "t", "t", "nope", "g", "1", "a b", "cleanup.policy", "compact", "consumer", "__consumer_offsets"}
	return words[f.IntN(len(words))]
}

// fill sets v and all that it holds. Nothing it makes has a request wait, or go without an answer.
func (f *filler) fill(v reflect.Value, name string) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if field := v.Type().Field(i); field.IsExported() && field.Name != "Version" && field.Name != "UnknownTags" {
				f.fill(v.Field(i), field.Name)
			}
		}
	case reflect.Pointer:
		if f.IntN(4) == 0 {
			v.SetZero()
			return
		}
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem(), name)
	case reflect.Slice:
		f.fillSlice(v, name)
	case reflect.Array: // a topic id
		for i, b := range [...]protocol.TopicID{f.id, {}, {7}}[f.IntN(3)] {
			v.Index(i).SetUint(uint64(b))
		}
	case reflect.String:
		v.SetString(f.text())
	case reflect.Bool:
		v.SetBool(f.IntN(2) == 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		numbers := []int64{0, 0, 1, 1, -1, -2, 2, 4, 1<<(v.Type().Bits()-1) - 1}
		switch n := numbers[f.IntN(len(numbers))]; name {
		case "Acks":
			v.SetInt(1)
		case "MaxWaitMillis":
			v.SetInt(0)
		default:
			v.SetInt(n)
		}
	}
}

func (f *filler) fillSlice(v reflect.Value, name string) {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		choices := [][]byte{nil, {}, {1, 2, 3}, records(2, 10), from(5, 0, 0, 1)}
		v.SetBytes(choices[f.IntN(len(choices))])
		return
	}
	n := f.IntN(4)
	if n == 3 {
		v.SetZero() // null, where the field may be
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), n, n))
	for i := range n {
		f.fill(v.Index(i), name)
	}
}

// bodyOf is an answer without its header.
func bodyOf(req kmsg.Request, raw []byte) []byte {
	if req.IsFlexible() && req.Key() != 18 {
		return raw[5:]
	}
	return raw[4:]
}

// neverRefuses are APIs that leave out what is not there.
var neverRefuses = map[string]bool{
	"Metadata": true, "DescribeLogDirs": true, "ListGroups": true, "ListPartitionReassignments": true,
}

// TestC15_C74_EveryAnswerHasTheShapeOfItsVersion: every API at every version is sent what it must refuse and what it need not.
// It answers, in bytes that are exactly those of the version's schema: a null where none may be, a field of another version or
// a byte too many would come out differently when decoded and encoded again.
func TestC15_C74_EveryAnswerHasTheShapeOfItsVersion(t *testing.T) {
	w := newWorld(t)
	w.putAt(0, records(3, 10))
	w.b.Restart() // so that 0 is a leader epoch of the past
	w.c = w.b.Dial()
	(&groupWire{Client: w.c, broker: w.b}).coordinator()
	f := &filler{Rand: rand.New(rand.NewPCG(15, 74)), id: w.id}
	codes := map[string]bool{}
	for _, api := range protocol.APIs() {
		for v := api.Min; v <= api.Max; v++ {
			for range 80 {
				req := brokertest.At(v, api.New())
				f.fill(reflect.ValueOf(req).Elem(), "")
				req.SetVersion(v)
				w.c.Send(w.c.Encode(req))
				raw, err := w.c.TryRecv(20 * time.Second)
				if err != nil {
					t.Fatalf("%s version %d: %v in answer to %+v", api.Name, v, err, req)
				}
				resp, _, err := brokertest.Decode(req, raw)
				if err != nil {
					t.Fatalf("%v to %+v: % x", err, req, raw)
				}
				resp.SetVersion(v)
				if again := resp.AppendTo(nil); !bytes.Equal(again, bodyOf(req, raw)) {
					t.Errorf("%s version %d: not of its schema:\nsent % x\nread % x\n%+v", api.Name, v, bodyOf(req, raw), again, resp)
				}
				noteCodes(reflect.ValueOf(resp).Elem(), api.Name, codes)
				checkHints(t, resp)
			}
		}
	}
	if n := counted(t, w.b, "moldau_handler_panics_total"); n != 0 {
		t.Errorf("%v handlers panicked", n)
	}
	for _, api := range protocol.APIs() { // the test has to have provoked something
		if !neverRefuses[api.Name] && !codes[api.Name] {
			t.Errorf("%s has never answered with an error", api.Name)
		}
	}
}

// noteCodes marks an API that has answered with an error code anywhere.
func noteCodes(v reflect.Value, name string, codes map[string]bool) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if field := v.Type().Field(i); field.Name == "ErrorCode" && v.Field(i).Int() != 0 {
				codes[name] = true
			} else if field.IsExported() {
				noteCodes(v.Field(i), name, codes)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			noteCodes(v.Index(i), name, codes)
		}
	}
}

// checkHints: C55, C94: codes that consumers know, and no hint at a leader where none is meant, for node 0 may exist.
func checkHints(t *testing.T, resp kmsg.Response) {
	t.Helper()
	switch r := resp.(type) {
	case *kmsg.FetchResponse:
		for _, rt := range r.Topics {
			for _, p := range rt.Partitions {
				checkFetchCode(t, p.ErrorCode)
				hint := r.Version >= 16 && (p.ErrorCode == 6 || p.ErrorCode == 74)
				if (p.CurrentLeader.LeaderID == 1) != hint || (p.CurrentLeader.LeaderEpoch == 1) != hint || p.PreferredReadReplica != -1 {
					t.Errorf("C94: Fetch version %d: %+v", r.Version, p)
				}
			}
		}
	case *kmsg.ProduceResponse:
		for _, rt := range r.Topics {
			for _, p := range rt.Partitions {
				if p.CurrentLeader.LeaderID != -1 || p.CurrentLeader.LeaderEpoch != -1 {
					t.Errorf("C94: Produce version %d: %+v", r.Version, p)
				}
			}
		}
	}
}

// fetchCodes are those that a Java consumer has an answer to; it ends on any other.
var fetchCodes = []int16{0, -1, 1, 2, 3, 6, 9, 29, 56, 74, 75, 78, 100, 103}

func checkFetchCode(t *testing.T, code int16) {
	t.Helper()
	if !slices.Contains(fetchCodes, code) {
		t.Errorf("C55: a partition of a Fetch answered %v", protocol.Code(code))
	}
}

// kafkas is what Apache Kafka 4.4.0 says of these APIs. Clients are built for these ranges; less shuts some of them out.
var kafkas = map[int16][2]int16{
	0: {0, 13}, 1: {4, 18}, 2: {1, 11}, 3: {0, 13}, 8: {2, 10}, 9: {1, 10}, 10: {0, 6}, 11: {0, 9}, 12: {0, 4},
	13: {0, 5}, 14: {0, 5}, 15: {0, 6}, 16: {0, 5}, 18: {0, 5}, 19: {2, 7}, 20: {1, 6}, 21: {0, 2}, 22: {0, 5},
	23: {2, 4}, 32: {1, 4}, 33: {0, 2}, 34: {1, 2}, 35: {1, 5}, 37: {0, 3}, 42: {0, 3}, 43: {0, 2}, 44: {0, 1}, 45: {0, 1},
	46: {0, 0}, 47: {0, 0}, 55: {0, 2}, 57: {0, 2},
	60: {0, 2}, 61: {0, 0}, 64: {0, 0}, 68: {0, 1}, 69: {0, 1}, 74: {0, 1}, 75: {0, 0},
}

// TestRule007_C12_C13_WhatIsAdvertisedIsAnswered, and nothing else. Versions with topic ids are only there together with a
// Metadata that tells the ids.
func TestRule007_C12_C13_WhatIsAdvertisedIsAnswered(t *testing.T) {
	w := newWorld(t)
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "test", "1"
	resp := w.c.Do(brokertest.Latest(req)).(*kmsg.ApiVersionsResponse)
	top := map[int16]int16{}
	for _, k := range resp.ApiKeys {
		top[k.ApiKey] = k.MaxVersion
		if got := [2]int16{k.MinVersion, k.MaxVersion}; got != kafkas[k.ApiKey] {
			t.Errorf("API %d: versions %v, Kafka's are %v", k.ApiKey, got, kafkas[k.ApiKey])
		}
		api, ok := protocol.Lookup(k.ApiKey)
		if !ok {
			t.Fatalf("API %d is advertised", k.ApiKey)
		}
		for v := k.MinVersion; v <= k.MaxVersion; v++ {
			if k.ApiKey == 0 && v < 3 {
				continue // named for librdkafka only
			}
			w.c.Send(w.c.Encode(brokertest.At(v, api.New())))
			if k.ApiKey == 0 {
				continue // acks are 0 by default
			}
			if _, err := w.c.TryRecv(20 * time.Second); err != nil {
				t.Fatalf("%s version %d: %v", api.Name, v, err)
			}
		}
		for _, v := range []int16{k.MinVersion - 1, k.MaxVersion + 1} {
			if k.ApiKey == 18 {
				continue // has an answer of its own for these
			}
			frame := w.c.Encode(brokertest.At(k.MaxVersion, api.New()))
			binary.BigEndian.PutUint16(frame[6:], uint16(v))
			c := w.b.Dial()
			c.Send(frame)
			c.Closed()
		}
	}
	for key, since := range map[int16]int16{0: 13, 1: 13, 8: 10, 9: 10} {
		if top[key] >= since && top[3] < 10 {
			t.Errorf("API %d has topic ids and Metadata does not tell them", key)
		}
	}
	for version := int16(10); version <= top[3]; version++ {
		md := kmsg.NewPtrMetadataRequest()
		md.Topics = []kmsg.MetadataRequestTopic{{Topic: ptr("t")}}
		if got := w.c.Do(brokertest.At(version, md)).(*kmsg.MetadataResponse).Topics[0].TopicID; got != w.id || w.id == [16]byte{} {
			t.Errorf("Metadata version %d tells the id %v", version, got)
		}
	}
}

func TestC93_AFeatureIsNamedIfAndOnlyIfItsRequestsAreAnswered(t *testing.T) {
	w := newWorld(t)
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "test", "1"
	resp := w.c.Do(brokertest.Latest(req)).(*kmsg.ApiVersionsResponse)
	answered, supported, finalized := map[int16]bool{}, map[string]bool{}, map[string]bool{}
	for _, k := range resp.ApiKeys {
		answered[k.ApiKey] = true
	}
	for _, f := range resp.SupportedFeatures {
		supported[f.Name] = true
	}
	for _, f := range resp.FinalizedFeatures {
		finalized[f.Name] = true
		if !supported[f.Name] {
			t.Errorf("%s is finalized and not supported", f.Name)
		}
	}
	// A Java consumer with group.protocol=consumer asks for group.version, a producer of transactions for transaction.version.
	for feature, key := range map[string]int16{
		"metadata.version": 3, "group.version": 68, "transaction.version": 26, "share.version": 78, "streams.version": 88,
	} {
		if finalized[feature] != answered[key] {
			t.Errorf("%s is finalized: %v; API %d is answered: %v", feature, finalized[feature], key, answered[key])
		}
	}
}

func TestRule009_AnswersWaitForThoseBeforeThem(t *testing.T) {
	w := newWorld(t)
	const wait = 300 * time.Millisecond
	long := fetchRequest(18, "t", w.id, fetchFrom(0, 0))
	long.MaxWaitMillis = int32(wait / time.Millisecond)
	short := kmsg.NewPtrApiVersionsRequest()
	start := time.Now()
	w.c.Send(append(w.c.Encode(long), w.c.Encode(short)...))
	other := w.b.Dial()
	other.Do(kmsg.NewPtrApiVersionsRequest())
	if d := time.Since(start); d >= wait {
		t.Errorf("another connection waited %v", d)
	}
	one(t, w.c.Answer(long).(*kmsg.FetchResponse))
	if resp := w.c.Answer(short).(*kmsg.ApiVersionsResponse); resp.ErrorCode != 0 {
		t.Error(resp.ErrorCode)
	}
	if d := time.Since(start); d < wait {
		t.Errorf("ApiVersions behind a Fetch of %v was answered after %v", wait, d)
	}
}

// TestRule012_ErrorsOfTheControllerAreInTheAnswer and never wrapped: the API in which brokers wrap them is not for clients.
func TestRule012_ErrorsOfTheControllerAreInTheAnswer(t *testing.T) {
	w := newWorld(t)
	for v := int16(2); v <= 7; v++ {
		req := kmsg.NewPtrCreateTopicsRequest()
		for _, name := range []string{"t", fmt.Sprint("new", v), "a b"} {
			topic := kmsg.NewCreateTopicsRequestTopic()
			topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 1, 1
			req.Topics = append(req.Topics, topic)
		}
		got := map[string]protocol.Code{}
		for _, rt := range w.c.Do(brokertest.At(v, req)).(*kmsg.CreateTopicsResponse).Topics {
			got[rt.Topic] = protocol.Code(rt.ErrorCode)
		}
		if got["t"] != protocol.TopicAlreadyExists || got["a b"] != protocol.InvalidTopicException || got[fmt.Sprint("new", v)] != 0 {
			t.Errorf("version %d: %v", v, got)
		}
	}
	c := w.b.Dial()
	envelope := kmsg.NewPtrEnvelopeRequest()
	envelope.RequestData = []byte{0, 3, 0, 13, 0, 0, 0, 1}
	c.Send(c.Encode(envelope))
	c.Closed()
}
