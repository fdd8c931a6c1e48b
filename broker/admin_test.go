package broker

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
)

// ask sends one request at a version and returns the decoded answer, which has to be read to its last byte.
func (w *wire) ask(version int16, req kmsg.Request) kmsg.Response {
	w.Helper()
	resp, err := w.tryAsk(w.dial(), version, req)
	if err != nil {
		w.Fatalf("%T v%d: %v\n%s", req, version, err, w.logs)
	}
	return resp
}

func (w *wire) tryAsk(nc net.Conn, version int16, req kmsg.Request) (kmsg.Response, error) {
	req.SetVersion(version)
	f := kmsg.NewRequestFormatter(kmsg.FormatterClientID("test"))
	if _, err := nc.Write(f.AppendRequest(nil, req, 7)); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(nc, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(nc, b); err != nil {
		return nil, err
	}
	b = b[4:]
	if req.IsFlexible() && req.Key() != 18 {
		b = b[1:]
	}
	resp := req.ResponseKind()
	resp.SetVersion(version)
	if err := resp.ReadFrom(b); err != nil {
		return nil, err
	}
	if again := resp.AppendTo(nil); len(again) != len(b) {
		return nil, fmt.Errorf("%d bytes, of which %d have a meaning", len(b), len(again))
	}
	return resp, nil
}

// versions calls f for each version that is answered.
func versions(t *testing.T, key int16, f func(v int16)) {
	t.Helper()
	api, ok := protocol.Lookup(key)
	if !ok {
		t.Fatalf("no API %d", key)
	}
	for v := api.Min; v <= api.Max; v++ {
		f(v)
	}
}

func metadataOf(names ...string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	for _, name := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	return req
}

// sketch writes the topics of an answer in a line: name, error, number of partitions.
func sketch(resp kmsg.Response) string {
	var out []string
	add := func(name *string, code int16, partitions int) {
		n := "null"
		if name != nil {
			n = *name
		}
		out = append(out, fmt.Sprintf("%s/%d/%d", n, code, partitions))
	}
	switch r := resp.(type) {
	case *kmsg.MetadataResponse:
		for _, t := range r.Topics {
			add(t.Topic, t.ErrorCode, len(t.Partitions))
		}
	case *kmsg.DescribeTopicPartitionsResponse:
		for _, t := range r.Topics {
			add(t.Topic, t.ErrorCode, len(t.Partitions))
		}
		if c := r.NextCursor; c != nil {
			out = append(out, fmt.Sprintf("next %s/%d", c.Topic, c.Partition))
		}
	case *kmsg.DeleteTopicsResponse:
		for _, t := range r.Topics {
			add(t.Topic, t.ErrorCode, 0)
		}
	case *kmsg.CreateTopicsResponse:
		for _, t := range r.Topics {
			add(&t.Topic, t.ErrorCode, int(t.NumPartitions))
		}
	case *kmsg.CreatePartitionsResponse:
		for _, t := range r.Topics {
			add(&t.Topic, t.ErrorCode, 0)
		}
	}
	return strings.Join(out, " ")
}

func (w *wire) want(what, got, want string) {
	w.Helper()
	if got != want {
		w.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}

func TestRule011_NullAndEmptyTopicListsDiffer(t *testing.T) {
	w := newConfigWire(t, nil)
	versions(t, 3, func(v int16) {
		all, none := "t/0/1", "t/0/1"
		if v >= 1 {
			none = ""
		}
		empty := metadataOf()
		empty.Topics = []kmsg.MetadataRequestTopic{}
		w.want(fmt.Sprint("null, v", v), sketch(w.ask(v, metadataOf())), all)
		w.want(fmt.Sprint("empty, v", v), sketch(w.ask(v, empty)), none)
	})
}

func TestRule017_AMissingTopicIsUnknownAndMadeMeanwhile(t *testing.T) {
	w := newConfigWire(t, map[string]string{"num.partitions": "4"})
	versions(t, 3, func(v int16) {
		name := fmt.Sprint("auto", v)
		req := metadataOf(name)
		w.want("without leave", sketch(w.ask(v, req)), name+"/3/0")
		if v >= 4 {
			w.want("C17: still without leave", sketch(w.ask(v, req)), name+"/3/0")
			if w.b.image().Topic(name) != nil {
				w.Errorf("C17: v%d made %s without leave", v, name)
			}
			req.AllowAutoTopicCreation = true
			w.want("with leave", sketch(w.ask(v, req)), name+"/3/0")
		}
		if w.b.image().Topic(name) == nil {
			w.Errorf("C18: v%d: %s is not served when the answer is there", v, name)
		}
		w.want("then", sketch(w.ask(v, req)), name+"/0/4")
	})
}

func TestRule086_MetadataMakesTheOffsetsTopicAsTheCoordinatorWould(t *testing.T) {
	w := newConfigWire(t, map[string]string{"offsets.topic.num.partitions": "7"})
	req := metadataOf("__consumer_offsets", "__transaction_state")
	req.AllowAutoTopicCreation = true
	w.want("first", sketch(w.ask(13, req)), "__consumer_offsets/3/0 __transaction_state/3/0")
	w.want("then", sketch(w.ask(13, req)), "__consumer_offsets/0/7 __transaction_state/3/0")
	if policy := w.b.image().Configs(config.TopicResource, "__consumer_offsets")["cleanup.policy"]; policy != "compact" {
		t.Errorf("its cleanup.policy is %q", policy)
	}
}

func TestC17_TheBrokersSwitchWins(t *testing.T) {
	w := newConfigWire(t, map[string]string{"auto.create.topics.enable": "false"})
	req := metadataOf("auto")
	req.AllowAutoTopicCreation = true
	for _, v := range []int16{1, 13} {
		w.want("switched off", sketch(w.ask(v, req)), "auto/3/0")
	}
	if w.b.image().Topic("auto") != nil {
		t.Error("the topic is there")
	}
}

func TestRule017_ManyClientsMakeOneTopic(t *testing.T) {
	w := newConfigWire(t, nil)
	var wg sync.WaitGroup
	for range 20 {
		nc := w.dial()
		wg.Go(func() {
			req := metadataOf("auto")
			req.AllowAutoTopicCreation = true
			for {
				resp, err := w.tryAsk(nc, 13, req)
				if err != nil {
					w.Error(err)
					return
				}
				switch got := sketch(resp); got {
				case "auto/0/1":
					return
				case "auto/3/0":
				default:
					w.Error(got)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestRule018_InvalidNames(t *testing.T) {
	w := newConfigWire(t, nil)
	for _, name := range []string{"", ".", "..", "a b", "a/b", "é", strings.Repeat("x", 250)} {
		req := metadataOf(name)
		req.AllowAutoTopicCreation = true
		for _, v := range []int16{0, 4, 13} {
			w.want(name, sketch(w.ask(v, req)), name+"/17/0")
		}
	}
}

func TestRule019_TopicIDs(t *testing.T) {
	w := newConfigWire(t, nil)
	id := [16]byte(w.b.image().Topic("t").ID)
	byID := func(ids ...[16]byte) *kmsg.MetadataRequest {
		req := kmsg.NewPtrMetadataRequest()
		for _, id := range ids {
			req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{TopicID: id})
		}
		return req
	}
	for _, v := range []int16{12, 13} {
		w.want("ids", sketch(w.ask(v, byID(id, [16]byte{1}, id))), "null/100/0 t/0/1")
		w.want("no id, no name", sketch(w.ask(v, byID([16]byte{}))), "/-1/0")
		mixed := byID(id)
		mixed.Topics = append(mixed.Topics, metadataOf("other").Topics...)
		w.want("ids win over names", sketch(w.ask(v, mixed)), "t/0/1")
	}
	for _, v := range []int16{10, 11} {
		req := byID(id)
		name := "t"
		req.Topics[0].Topic = &name
		w.want("id before v12", sketch(w.ask(v, req)), "t/42/0")
		w.want("null name before v12", sketch(w.ask(v, byID([16]byte{}))), "/42/0")
	}
	w.want("duplicates", sketch(w.ask(13, metadataOf("t", "no", "t", "no"))), "t/0/1 no/3/0")
	for v := int16(10); v <= 13; v++ {
		if got := w.ask(v, metadataOf("t")).(*kmsg.MetadataResponse).Topics[0].TopicID; got != id {
			t.Errorf("C24: v%d has the topic id %v", v, got)
		}
	}
}

func TestRule020_AuthorizedOperationsAreGivenOnRequest(t *testing.T) {
	w := newConfigWire(t, nil)
	const none = -2147483648
	versions(t, 3, func(v int16) {
		req := metadataOf("t")
		req.IncludeClusterAuthorizedOperations, req.IncludeTopicAuthorizedOperations = true, true
		resp := w.ask(v, req).(*kmsg.MetadataResponse)
		topic, cluster := int32(none), int32(none)
		if v >= 8 {
			topic = 3576
		}
		if v >= 8 && v <= 10 {
			cluster = 8096
		}
		if resp.Topics[0].AuthorizedOperations != topic || resp.AuthorizedOperations != cluster {
			t.Errorf("v%d: topic %d, cluster %d", v, resp.Topics[0].AuthorizedOperations, resp.AuthorizedOperations)
		}
		resp = w.ask(v, metadataOf("t")).(*kmsg.MetadataResponse)
		if resp.Topics[0].AuthorizedOperations != none || resp.AuthorizedOperations != none {
			t.Errorf("v%d: given without being asked for", v)
		}
	})
}

func TestC22_EveryNodeOfAnAnswerIsInItsBrokers(t *testing.T) {
	w := newConfigWire(t, nil)
	host, port := splitAddr(t, w.addr)
	versions(t, 3, func(v int16) {
		resp := w.ask(v, metadataOf("t")).(*kmsg.MetadataResponse)
		if len(resp.Brokers) != 1 || resp.Brokers[0].NodeID != 1 || resp.Brokers[0].Host != host || resp.Brokers[0].Port != port {
			t.Fatalf("v%d: brokers %+v", v, resp.Brokers)
		}
		if v >= 1 && resp.ControllerID != 1 {
			t.Errorf("C138: v%d: controller %d", v, resp.ControllerID)
		}
		if v >= 2 && (resp.ClusterID == nil || *resp.ClusterID != w.b.image().ClusterID() || len(*resp.ClusterID) != 22) {
			t.Errorf("C129: v%d: cluster id %v", v, resp.ClusterID)
		}
		p := resp.Topics[0].Partitions[0]
		if p.Leader != 1 || !slices.Equal(p.Replicas, []int32{1}) || !slices.Equal(p.ISR, []int32{1}) || len(p.OfflineReplicas) != 0 {
			t.Errorf("v%d: %+v", v, p)
		}
		if v >= 7 && p.LeaderEpoch != 0 {
			t.Errorf("v%d: leader epoch %d", v, p.LeaderEpoch)
		}
	})
}

func TestRule022_WhatClientsOfAMissingListenerAreTold(t *testing.T) {
	w := newConfigWire(t, nil)
	w.propose(meta.RegisterBroker{ID: 2, Listeners: []meta.Listener{{Name: "OTHER", Host: "localhost", Port: 1}}})
	w.propose(meta.CreateTopics{Topics: []meta.NewTopic{{Name: "far", Partitions: -1, ReplicationFactor: -1,
		Assignments: []meta.Assignment{{Partition: 0, Replicas: []protocol.BrokerID{2, 1}}}}}})
	versions(t, 3, func(v int16) {
		resp := w.ask(v, metadataOf("far")).(*kmsg.MetadataResponse)
		p := resp.Topics[0].Partitions[0]
		want := protocol.LeaderNotAvailable
		if v >= 6 {
			want = protocol.ListenerNotFound
		}
		if p.ErrorCode != int16(want) || p.Leader != -1 || len(resp.Brokers) != 1 {
			t.Errorf("v%d: %+v, brokers %v", v, p, resp.Brokers)
		}
		if v >= 5 && !slices.Equal(p.OfflineReplicas, []int32{2}) {
			t.Errorf("v%d: offline %v", v, p.OfflineReplicas)
		}
	})
}

// TestC21_FencedBrokersAreNotNamed: clients would dial them. Their partitions have no leader that can be used, and their
// replicas are offline.
func TestC21_FencedBrokersAreNotNamed(t *testing.T) {
	w := newConfigWire(t, nil)
	listeners := []meta.Listener{{Name: "PLAINTEXT", Host: "localhost", Port: 1}}
	id := protocol.TopicID{7}
	im, err := w.b.image().With(w.b.image().Offset()+1,
		meta.BrokerRecord{Broker: meta.Broker{ID: 2, Epoch: 9, Fenced: true, Listeners: listeners}},
		meta.TopicRecord{Name: "far", ID: id},
		meta.PartitionsRecord{Topic: id, Partitions: []meta.Partition{
			{Replicas: []protocol.BrokerID{2, 1}, ISR: []protocol.BrokerID{2}, Leader: 2},
			{Replicas: []protocol.BrokerID{1, 2}, ISR: []protocol.BrokerID{1}, Leader: -1},
		}})
	if err != nil {
		t.Fatal(err)
	}
	w.b.served.publish(im)
	versions(t, 3, func(v int16) {
		resp := w.ask(v, metadataOf("far")).(*kmsg.MetadataResponse)
		if len(resp.Brokers) != 1 || resp.Brokers[0].NodeID != 1 || (v >= 1 && resp.ControllerID != 1) {
			t.Errorf("v%d: brokers %v, controller %d", v, resp.Brokers, resp.ControllerID)
		}
		for _, p := range resp.Topics[0].Partitions {
			if p.ErrorCode != int16(protocol.LeaderNotAvailable) || p.Leader != -1 || (v >= 5 && !slices.Equal(p.OfflineReplicas, []int32{2})) {
				t.Errorf("v%d: %+v", v, p)
			}
		}
	})
	for _, p := range w.ask(0, pageOf(9, nil, "far")).(*kmsg.DescribeTopicPartitionsResponse).Topics[0].Partitions {
		if p.ErrorCode != 0 || p.LeaderID != -1 || !slices.Equal(p.OfflineReplicas, []int32{2}) { // no error, unlike in Metadata
			t.Errorf("%+v", p)
		}
	}
	versions(t, 60, func(v int16) {
		for _, fenced := range []bool{false, true} {
			req := kmsg.NewPtrDescribeClusterRequest()
			req.IncludeFencedBrokers = fenced
			resp := w.ask(v, req).(*kmsg.DescribeClusterResponse)
			want := 1
			if fenced && v >= 2 {
				want = 2
			}
			if len(resp.Brokers) != want || (want == 2 && !resp.Brokers[1].IsFenced) {
				t.Errorf("v%d, fenced ones %v: %+v", v, fenced, resp.Brokers)
			}
		}
	})
}

func TestAWildcardListenerIsWhereTheClientHasReachedUs(t *testing.T) {
	w := newConfigWire(t, nil)
	w.propose(meta.RegisterBroker{ID: 1, Listeners: []meta.Listener{{Name: "PLAINTEXT", Port: 9092}}})
	resp := w.ask(13, metadataOf()).(*kmsg.MetadataResponse)
	if len(resp.Brokers) != 1 || resp.Brokers[0].Host != "127.0.0.1" || resp.Brokers[0].Port != 9092 {
		t.Errorf("%+v", resp.Brokers)
	}
}

func TestInternalTopicsAreFlagged(t *testing.T) {
	w := newConfigWire(t, nil)
	w.propose(meta.CreateTopics{Topics: []meta.NewTopic{{Name: "__consumer_offsets", Partitions: 1, ReplicationFactor: 1}}})
	for _, topic := range w.ask(13, metadataOf("t", "__consumer_offsets", "__transaction_state")).(*kmsg.MetadataResponse).Topics {
		if want := strings.HasPrefix(*topic.Topic, "__"); topic.IsInternal != want {
			t.Errorf("%s: internal is %v", *topic.Topic, topic.IsInternal)
		}
	}
}

func pageOf(limit int32, cursor *kmsg.DescribeTopicPartitionsRequestCursor, names ...string) *kmsg.DescribeTopicPartitionsRequest {
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.ResponsePartitionLimit, req.Cursor = limit, cursor
	for _, n := range names {
		req.Topics = append(req.Topics, kmsg.DescribeTopicPartitionsRequestTopic{Topic: n})
	}
	return req
}

func TestRule023_TopicsComeInPages(t *testing.T) {
	w := newConfigWire(t, map[string]string{"max.request.partition.size.limit": "5"})
	for _, name := range []string{"b", "a", "c"} {
		w.propose(meta.CreateTopics{Topics: []meta.NewTopic{{Name: name, Partitions: 2, ReplicationFactor: 1}}})
	}
	at := func(topic string, p int32) *kmsg.DescribeTopicPartitionsRequestCursor {
		return &kmsg.DescribeTopicPartitionsRequestCursor{Topic: topic, Partition: p}
	}
	for _, c := range []struct {
		req  *kmsg.DescribeTopicPartitionsRequest
		want string
	}{
		{pageOf(2000, nil), "a/0/2 b/0/2 c/0/1 next c/1"}, // the broker's own limit
		{pageOf(2000, at("c", 1)), "c/0/1 t/0/1"},
		{pageOf(2000, nil, "c", "a", "a", "no", "x y"), "a/0/2 c/0/2 no/3/0 x y/17/0"},
		{pageOf(2000, nil, "c", "", "no"), "c/-1/0 /-1/0 no/-1/0"},
		{pageOf(0, nil, "b", "a"), "a/0/1 next a/1"},
		{pageOf(-7, nil, "b", "a"), "a/0/1 next a/1"},
		{pageOf(2, nil, "b", "a"), "a/0/2 next b/0"},
		{pageOf(2, nil, "a", "no"), "a/0/2 next no/0"},
		{pageOf(3, nil, "b", "a"), "a/0/2 b/0/1 next b/1"},
		{pageOf(3, at("a", 1), "b", "a"), "a/0/1 b/0/2"},
		{pageOf(3, at("a", 5), "b", "a"), "a/0/0 b/0/2"},
		{pageOf(3, at("a", -1), "b", "a"), "b/42/0 a/42/0"},
		{pageOf(3, at("aa", 0), "b", "a"), "b/42/0 a/42/0"},
		{pageOf(3, at("aa", 1)), "b/0/2 c/0/1 next c/1"},
	} {
		w.want(fmt.Sprintf("limit %d, cursor %v, %v", c.req.ResponsePartitionLimit, c.req.Cursor, c.req.Topics), sketch(w.ask(0, c.req)), c.want)
	}
	topic := w.ask(0, pageOf(10, nil, "t")).(*kmsg.DescribeTopicPartitionsResponse).Topics[0]
	if topic.AuthorizedOperations != 3576 || topic.TopicID == [16]byte{} || topic.Partitions[0].LeaderID != 1 ||
		topic.Partitions[0].EligibleLeaderReplicas == nil {
		t.Errorf("%+v", topic)
	}
}

func TestRule115_DescribeCluster(t *testing.T) {
	w := newConfigWire(t, nil)
	versions(t, 60, func(v int16) {
		req := kmsg.NewPtrDescribeClusterRequest()
		req.IncludeClusterAuthorizedOperations = true
		resp := w.ask(v, req).(*kmsg.DescribeClusterResponse)
		if resp.ErrorCode != 0 || resp.ClusterID != w.b.image().ClusterID() || resp.ControllerID != 1 || len(resp.Brokers) != 1 ||
			resp.ClusterAuthorizedOperations != 8096 {
			t.Errorf("v%d: %+v", v, resp)
		}
		for kind, code := range map[int8]int16{2: 114, 5: 115} {
			if req.EndpointType = kind; v >= 1 {
				if got := w.ask(v, req).(*kmsg.DescribeClusterResponse); got.ErrorCode != code || got.ErrorMessage == nil {
					t.Errorf("v%d, endpoint type %d: %+v", v, kind, got)
				}
			}
		}
	})
}
