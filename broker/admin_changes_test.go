package broker

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
)

func apiVersionsRequest() *kmsg.ApiVersionsRequest {
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "test", "1.0"
	return req
}

func TestRule004_ApiVersionsNamesTheTable(t *testing.T) {
	w := newConfigWire(t, nil)
	versions(t, 18, func(v int16) {
		resp := w.ask(v, apiVersionsRequest()).(*kmsg.ApiVersionsResponse)
		if resp.ErrorCode != 0 || len(resp.ApiKeys) != len(protocol.APIs()) {
			t.Fatalf("v%d: error %d, %d keys", v, resp.ErrorCode, len(resp.ApiKeys))
		}
		for i, a := range protocol.APIs() {
			if k := resp.ApiKeys[i]; k.ApiKey != a.Key || k.MinVersion != a.AdvertisedMin || k.MaxVersion != a.Max {
				t.Errorf("v%d: %s is named as %+v", v, a.Name, k)
			}
		}
		if resp.ApiKeys[0].MinVersion != 0 {
			t.Errorf("v%d: Produce begins at %d, which librdkafka takes for a broker without compression", v, resp.ApiKeys[0].MinVersion)
		}
		if !slices.ContainsFunc(resp.ApiKeys, func(k kmsg.ApiVersionsResponseApiKey) bool { return k.ApiKey == 22 }) {
			t.Errorf("C128: v%d hides InitProducerId", v)
		}
	})
}

func TestRule008_FeaturesAreNamedWhenTheyWork(t *testing.T) {
	w := newConfigWire(t, nil)
	versions(t, 18, func(v int16) {
		resp := w.ask(v, apiVersionsRequest()).(*kmsg.ApiVersionsResponse)
		if v < 3 {
			return
		}
		want := []kmsg.ApiVersionsResponseSupportedFeature{{Name: "metadata.version", MinVersion: 7, MaxVersion: 33}}
		if v >= 4 { // KAFKA-17011: clients of version 3 do not take features that begin at 0
			want = append(want, kmsg.ApiVersionsResponseSupportedFeature{Name: "eligible.leader.replicas.version", MaxVersion: 1},
				kmsg.ApiVersionsResponseSupportedFeature{Name: "group.version", MaxVersion: 1})
		}
		if !reflect.DeepEqual(resp.SupportedFeatures, want) {
			t.Errorf("v%d: supported %+v", v, resp.SupportedFeatures)
		}
		if resp.FinalizedFeaturesEpoch != w.b.image().Offset() {
			t.Errorf("v%d: features of epoch %d", v, resp.FinalizedFeaturesEpoch)
		}
		levels := map[string]int16{}
		for _, f := range resp.FinalizedFeatures {
			levels[f.Name] = f.MaxVersionLevel
			if f.MinVersionLevel != f.MaxVersionLevel || f.MaxVersionLevel == 0 {
				t.Errorf("v%d: finalized %+v", v, f)
			}
		}
		if want := map[string]int16{"metadata.version": 33, "group.version": 1, "eligible.leader.replicas.version": 1}; !maps.Equal(levels, want) {
			t.Errorf("C93: v%d: finalized %v", v, levels)
		}
	})
}

func TestRule005_ClientSoftwareIsChecked(t *testing.T) {
	w := newConfigWire(t, nil)
	for name, ok := range map[string]bool{
		"x": true, "apache-kafka-java": true, "a.b-c": true, "1": true, "sarama": true,
		"": false, "RP Console": false, "-x": false, "x-": false, ".": false, "é": false, "a_b": false,
	} {
		for v := int16(3); v <= 5; v++ {
			for _, field := range []int{0, 1} {
				req := apiVersionsRequest()
				if field == 0 {
					req.ClientSoftwareName = name
				} else {
					req.ClientSoftwareVersion = name
				}
				resp := w.ask(v, req).(*kmsg.ApiVersionsResponse)
				if (resp.ErrorCode == 0) != ok || (!ok && (resp.ErrorCode != 42 || len(resp.ApiKeys) != 0)) {
					t.Errorf("C5: v%d, %q: error %d", v, name, resp.ErrorCode)
				}
			}
		}
	}
	req := apiVersionsRequest()
	req.ClientSoftwareName = "" // not in the request before v3
	if resp := w.ask(2, req).(*kmsg.ApiVersionsResponse); resp.ErrorCode != 0 {
		t.Errorf("v2: error %d", resp.ErrorCode)
	}
}

func TestRule006_AMisroutedClientIsToldSo(t *testing.T) {
	w := newConfigWire(t, nil)
	right, wrong := w.b.image().ClusterID(), "AAAAAAAAAAAAAAAAAAAAAA"
	for _, c := range []struct {
		cluster *string
		node    int32
		code    int16
	}{
		{nil, -1, 0}, {&right, 1, 0}, {nil, 1, 42}, {&right, -1, 42}, {nil, -2, 42}, {&wrong, 1, 129}, {&right, 2, 129},
	} {
		req := apiVersionsRequest()
		req.ClusterID, req.NodeID = c.cluster, c.node
		resp := w.ask(5, req).(*kmsg.ApiVersionsResponse)
		if resp.ErrorCode != c.code || (c.code == 0) == (len(resp.ApiKeys) == 0) {
			t.Errorf("%v, node %d: error %d, %d keys", c.cluster, c.node, resp.ErrorCode, len(resp.ApiKeys))
		}
		if resp := w.ask(4, req).(*kmsg.ApiVersionsResponse); resp.ErrorCode != 0 {
			t.Errorf("v4 looks at what only v5 has: error %d", resp.ErrorCode)
		}
	}
}

func creation(validate bool, topics ...kmsg.CreateTopicsRequestTopic) *kmsg.CreateTopicsRequest {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics, req.ValidateOnly = topics, validate
	return req
}

func wish(name string, partitions int32, factor int16, configs ...string) kmsg.CreateTopicsRequestTopic {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, factor
	for _, c := range configs {
		k, v, _ := strings.Cut(c, "=")
		t.Configs = append(t.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: k, Value: &v})
	}
	return t
}

func TestRule109_CreateTopics(t *testing.T) {
	w := newConfigWire(t, map[string]string{"num.partitions": "3"})
	versions(t, 19, func(v int16) {
		count := func(n int) int {
			if v < 5 {
				return -1
			}
			return n
		}
		name := fmt.Sprint("new", v)
		req := creation(true, wish(name, -1, -1, "cleanup.policy=compact"))
		check := func(what string) {
			resp := w.ask(v, req).(*kmsg.CreateTopicsResponse)
			w.want(what, sketch(resp), fmt.Sprintf("%s/0/%d", name, count(3)))
			rt := resp.Topics[0]
			if (rt.TopicID != [16]byte{}) != (v >= 7) || rt.ErrorMessage != nil {
				t.Errorf("v%d, %s: %+v", v, what, rt)
			}
			if v < 5 {
				return
			}
			if rt.ReplicationFactor != 1 || len(rt.Configs) != 37 {
				t.Errorf("C27: v%d, %s: factor %d, %d configs", v, what, rt.ReplicationFactor, len(rt.Configs))
			}
			for _, c := range rt.Configs {
				if c.Name == "cleanup.policy" && (*c.Value != "compact" || c.Source != 1 || c.ReadOnly || c.IsSensitive) ||
					c.Name == "flush.ms" && c.Source != 5 {
					t.Errorf("v%d, %s: %+v", v, what, c)
				}
			}
		}
		check("validated")
		if w.b.image().Topic(name) != nil {
			t.Fatalf("v%d: validation made the topic", v)
		}
		req.ValidateOnly = false
		check("made")
		if topic := w.b.image().Topic(name); topic == nil || len(topic.Partitions) != 3 {
			t.Errorf("v%d: %+v", v, topic)
		}
		w.want("C25: again", sketch(w.ask(v, req)), name+"/36/-1")
		w.want("C25: refusals", sketch(w.ask(v, creation(false,
			wish("bad name", 1, 1), wish("p0", 0, 1), wish("rf0", 1, 0), wish("rf9", 1, 9), wish("cfg", 1, 1, "no.such=1"),
			wish("__cluster_metadata", 1, 1), wish("twice", 1, 1), wish("twice", 2, 1)))),
			"bad name/17/-1 p0/37/-1 rf0/38/-1 rf9/38/-1 cfg/40/-1 __cluster_metadata/42/-1 twice/42/-1")
		for _, rt := range w.ask(v, creation(false, wish("bad name", 1, 1))).(*kmsg.CreateTopicsResponse).Topics {
			if rt.ErrorMessage == nil || !strings.Contains(*rt.ErrorMessage, "bad name") {
				t.Errorf("v%d: message %v", v, rt.ErrorMessage)
			}
		}
	})
}

func TestRule109_TooManyPartitionsInOneRequest(t *testing.T) {
	w := newConfigWire(t, nil)
	w.want("10,001", sketch(w.ask(7, creation(false, wish("a", 10_000, 1), wish("b", 1, 1)))), "a/44/-1 b/44/-1")
	w.want("the largest number there is", sketch(w.ask(7, creation(false, wish("a", 1<<31-1, 1)))), "a/44/-1")
}

func TestC26_ATimeoutIsAnsweredTopicByTopic(t *testing.T) {
	w := newConfigWire(t, nil)
	for timeout, code := range map[int32]protocol.Code{1 << 30: protocol.None, 0: protocol.RequestTimedOut, -1: protocol.RequestTimedOut} {
		req := creation(false, wish(fmt.Sprint("a", timeout), 1, 1), wish(fmt.Sprint("b", timeout), 1, 1))
		req.TimeoutMillis = timeout
		for _, rt := range w.ask(7, req).(*kmsg.CreateTopicsResponse).Topics {
			if rt.ErrorCode != int16(code) || rt.ErrorMessage != nil {
				t.Errorf("timeout %d: %+v", timeout, rt)
			}
		}
	}
	if w.b.image().Topic("a-1") != nil {
		t.Error("a topic was made after its time was up")
	}
}

func deletion(topics ...kmsg.DeleteTopicsRequestTopic) *kmsg.DeleteTopicsRequest {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Topics = topics
	for _, t := range topics {
		if t.Topic != nil {
			req.TopicNames = append(req.TopicNames, *t.Topic)
		}
	}
	return req
}

func named(name string) kmsg.DeleteTopicsRequestTopic {
	return kmsg.DeleteTopicsRequestTopic{Topic: &name}
}

func TestRule110_DeleteTopicsByNameAndID(t *testing.T) {
	w := newConfigWire(t, nil)
	versions(t, 20, func(v int16) {
		w.ask(7, creation(false, wish("a", 1, 1), wish("b", 1, 1)))
		w.want(fmt.Sprint("v", v), sketch(w.ask(v, deletion(named("a"), named("no"), named("b"), named("b")))), "b/42/0 a/0/0 no/3/0")
		if im := w.b.image(); im.Topic("a") != nil || im.Topic("b") == nil {
			t.Errorf("v%d: the wrong topics are gone", v)
		}
		w.want("the other", sketch(w.ask(v, deletion(named("b")))), "b/0/0")
	})
	w.ask(7, creation(false, wish("a", 1, 1), wish("b", 1, 1)))
	a, b := [16]byte(w.b.image().Topic("a").ID), [16]byte(w.b.image().Topic("b").ID)
	name := "a"
	w.want("both, neither", sketch(w.ask(6, deletion(kmsg.DeleteTopicsRequestTopic{Topic: &name, TopicID: a}, kmsg.DeleteTopicsRequestTopic{}))),
		"a/42/0 null/42/0")
	w.want("by name and by id", sketch(w.ask(6, deletion(named("a"), kmsg.DeleteTopicsRequestTopic{TopicID: a}))), "a/42/0")
	w.want("id twice", sketch(w.ask(6, deletion(kmsg.DeleteTopicsRequestTopic{TopicID: b}, kmsg.DeleteTopicsRequestTopic{TopicID: b}))), "null/42/0")
	w.want("unknown id", sketch(w.ask(6, deletion(kmsg.DeleteTopicsRequestTopic{TopicID: [16]byte{1}}, named("")))), "/3/0 null/100/0")
	resp := w.ask(6, deletion(kmsg.DeleteTopicsRequestTopic{TopicID: b})).(*kmsg.DeleteTopicsResponse)
	if w.want("by id", sketch(resp), "b/0/0"); resp.Topics[0].TopicID != b {
		t.Errorf("%+v", resp.Topics)
	}
	if im := w.b.image(); im.Topic("a") == nil || im.Topic("b") != nil {
		t.Errorf("the wrong topics are gone")
	}
}

func TestRule110_DeletionThatIsSwitchedOff(t *testing.T) {
	w := newConfigWire(t, map[string]string{"delete.topic.enable": "false"})
	for v, want := range map[int16]string{1: "t/42/0", 2: "t/42/0", 3: "t/73/0", 5: "t/73/0", 6: "t/73/0"} {
		w.want(fmt.Sprint("v", v), sketch(w.ask(v, deletion(named("t")))), want)
	}
	if w.b.image().Topic("t") == nil {
		t.Error("the topic is gone")
	}
}

func TestRule110_CreatePartitionsOnTheWire(t *testing.T) {
	w := newConfigWire(t, nil)
	more := func(name string, count int32, assigned bool, replicas ...[]int32) kmsg.CreatePartitionsRequestTopic {
		rt := kmsg.CreatePartitionsRequestTopic{Topic: name, Count: count}
		if assigned {
			rt.Assignment = []kmsg.CreatePartitionsRequestTopicAssignment{}
		}
		for _, r := range replicas {
			rt.Assignment = append(rt.Assignment, kmsg.CreatePartitionsRequestTopicAssignment{Replicas: r})
		}
		return rt
	}
	ask := func(v int16, validate bool, topics ...kmsg.CreatePartitionsRequestTopic) string {
		req := kmsg.NewPtrCreatePartitionsRequest()
		req.Topics, req.ValidateOnly = topics, validate
		return sketch(w.ask(v, req))
	}
	n := int32(1)
	versions(t, 37, func(v int16) {
		w.want("same, unknown", ask(v, false, more("t", n, false), more("no", 9, false)), "t/37/0 no/3/0")
		w.want("C28: twice", ask(v, false, more("t", n+1, false), more("t", n+2, false)), "t/42/0")
		w.want("none assigned", ask(v, false, more("t", n+1, true)), "t/39/0")
		w.want("unknown broker", ask(v, false, more("t", n+1, true, []int32{9})), "t/39/0")
		w.want("validated", ask(v, true, more("t", n+1, false)), "t/0/0")
		w.want("made", ask(v, false, more("t", n+1, false)), "t/0/0")
		w.want("made by hand", ask(v, false, more("t", n+2, true, []int32{1})), "t/0/0")
		n += 2
		if got := len(w.b.image().Topic("t").Partitions); got != int(n) {
			t.Fatalf("v%d: %d partitions, not %d", v, got, n)
		}
		w.want("and Metadata says so", sketch(w.ask(13, metadataOf("t"))), fmt.Sprint("t/0/", n))
	})
}

func producerIDRequest() *kmsg.InitProducerIDRequest {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.ProducerID, req.ProducerEpoch = -1, -1
	return req
}

func TestRule047_EachProducerGetsAnIDOfItsOwn(t *testing.T) {
	w := newConfigWire(t, nil)
	seen := map[int64]bool{}
	versions(t, 22, func(v int16) {
		resp := w.ask(v, producerIDRequest()).(*kmsg.InitProducerIDResponse)
		if resp.ErrorCode != 0 || resp.ProducerEpoch != 0 || resp.ProducerID < 0 || seen[resp.ProducerID] {
			t.Errorf("C96: v%d: %+v", v, resp)
		}
		seen[resp.ProducerID] = true
	})
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 8 {
		nc := w.dial()
		wg.Go(func() {
			for range 300 { // more than two blocks in all
				resp, err := w.tryAsk(nc, 5, producerIDRequest())
				if err != nil {
					w.Error(err)
					return
				}
				id := resp.(*kmsg.InitProducerIDResponse).ProducerID
				mu.Lock()
				if id < 0 || seen[id] {
					w.Errorf("id %d is given twice", id)
				}
				seen[id] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	// What a restart gives out next must not have been given out before.
	w.b.producerIDs = newProducerIDs()
	w.propose(meta.RegisterBroker{ID: 1})
	if id, err := w.b.producerIDs.next(context.Background(), w.b); err != nil || seen[id] {
		t.Errorf("after a restart: %d, %v", id, err)
	}
}

func TestRule049_WhatCannotBeAProducer(t *testing.T) {
	w := newConfigWire(t, nil)
	id := "tx"
	for what, c := range map[string]struct {
		set  func(*kmsg.InitProducerIDRequest)
		code protocol.Code
	}{
		"empty transactional id": {func(r *kmsg.InitProducerIDRequest) { r.TransactionalID = new(string) }, protocol.InvalidRequest},
		"id without epoch":       {func(r *kmsg.InitProducerIDRequest) { r.ProducerID = 5 }, protocol.InvalidRequest},
		"epoch without id":       {func(r *kmsg.InitProducerIDRequest) { r.ProducerEpoch = 0 }, protocol.InvalidRequest},
		"id and epoch":           {func(r *kmsg.InitProducerIDRequest) { r.ProducerID, r.ProducerEpoch = 5, 5 }, protocol.None},
		"transactional id":       {func(r *kmsg.InitProducerIDRequest) { r.TransactionalID = &id }, protocol.UnsupportedVersion},
	} {
		req := producerIDRequest()
		c.set(req)
		resp := w.ask(5, req).(*kmsg.InitProducerIDResponse)
		if resp.ErrorCode != int16(c.code) || (c.code != 0) != (resp.ProducerID == -1 && resp.ProducerEpoch == -1) {
			t.Errorf("%s: %+v", what, resp)
		}
	}
}

// TestC32_AlterConfigsResetsWhatItDoesNotName, unlike IncrementalAlterConfigs.
func TestC32_AlterConfigsResetsWhatItDoesNotName(t *testing.T) {
	w := newConfigWire(t, nil)
	keys := []string{"cleanup.policy", "retention.ms", "segment.bytes"}
	see := func(want string) {
		t.Helper()
		w.want("configs", w.describe(ofTopic, "t", keys...), want)
	}
	const policy, retention, segment = "cleanup.policy=delete/5", "retention.ms=604800000/5", "segment.bytes=1073741824/5"
	if code := w.alter(ofTopic, "t", false, "set retention.ms 1000", "set cleanup.policy compact"); code != 0 {
		t.Fatal(code)
	}
	see("0: cleanup.policy=compact/1 retention.ms=1000/1 " + segment)
	if code := w.alter(ofTopic, "t", false, "set segment.bytes 2000000", "append cleanup.policy delete"); code != 0 {
		t.Fatal(code)
	}
	see("0: cleanup.policy=compact,delete/1 retention.ms=1000/1 segment.bytes=2000000/1")
	if code := w.alter(ofTopic, "t", false, "subtract cleanup.policy compact", "delete segment.bytes NULL"); code != 0 {
		t.Fatal(code)
	}
	see("0: cleanup.policy=delete/1 retention.ms=1000/1 " + segment)
	if code := w.replace(ofTopic, "t", "segment.bytes=3000000"); code != 0 {
		t.Fatal(code)
	}
	see("0: " + policy + " " + retention + " segment.bytes=3000000/1")
	if code := w.replace(ofTopic, "t"); code != 0 {
		t.Fatal(code)
	}
	see("0: " + policy + " " + retention + " " + segment)
}

// TestC33_EveryTopicConfigOfKafkaIsAccepted when a topic is made, for tools set many, and no other is.
func TestC33_EveryTopicConfigOfKafkaIsAccepted(t *testing.T) {
	w := newConfigWire(t, nil)
	known := []string{
		"cleanup.policy=compact,delete", "compression.gzip.level=5", "compression.lz4.level=9", "compression.type=zstd",
		"compression.zstd.level=3", "delete.retention.ms=1000", "file.delete.delay.ms=1000", "flush.messages=1000",
		"flush.ms=1000", "follower.replication.throttled.replicas=0:1,1:1", "index.interval.bytes=8192",
		"leader.replication.throttled.replicas=*", "local.retention.bytes=-2", "local.retention.ms=-2",
		"max.compaction.lag.ms=100000", "max.message.bytes=2000000", "message.timestamp.after.max.ms=1000",
		"message.timestamp.before.max.ms=1000", "message.timestamp.type=LogAppendTime", "min.cleanable.dirty.ratio=0.1",
		"min.compaction.lag.ms=1000", "min.insync.replicas=2", "preallocate=true", "remote.log.copy.disable=false",
		"remote.log.delete.on.disable=false", "remote.storage.enable=false", "retention.bytes=1000000", "retention.ms=-1",
		"segment.bytes=2000000", "segment.index.bytes=1000000", "segment.jitter.ms=100", "segment.ms=100000",
		"unclean.leader.election.enable=true",
	}
	for i, config := range known {
		resp := w.ask(7, creation(false, wish(fmt.Sprint("known-", i), 1, 1, config))).(*kmsg.CreateTopicsResponse)
		if rt := resp.Topics[0]; rt.ErrorCode != 0 {
			t.Errorf("%s: %v: %s", config, protocol.Code(rt.ErrorCode), *rt.ErrorMessage)
		}
		name, value, _ := strings.Cut(config, "=")
		w.want(config, w.describe(ofTopic, fmt.Sprint("known-", i), name), fmt.Sprintf("0: %s=%s/1", name, value))
	}
	if resp := w.ask(7, creation(false, wish("all", 1, 1, known...))).(*kmsg.CreateTopicsResponse); resp.Topics[0].ErrorCode != 0 {
		t.Errorf("all of them: %+v", resp.Topics[0])
	}
	for _, config := range []string{"nonsense=1", "Retention.ms=1", "retention.ms =1", "log.retention.ms=1", "retention.ms=soon", "=1"} {
		resp := w.ask(7, creation(false, wish("unknown", 1, 1, config))).(*kmsg.CreateTopicsResponse)
		if rt := resp.Topics[0]; protocol.Code(rt.ErrorCode) != protocol.InvalidConfig || rt.ErrorMessage == nil {
			t.Errorf("%s: %v", config, protocol.Code(rt.ErrorCode))
		}
	}
}

// TestC132_WhatUserInterfacesAskOfABroker: the switches behind their buttons.
func TestC132_WhatUserInterfacesAskOfABroker(t *testing.T) {
	w := newConfigWire(t, nil)
	for name, want := range map[string]string{
		"delete.topic.enable": "true", "auto.create.topics.enable": "true", "num.partitions": "1",
		"default.replication.factor": "1", "log.retention.hours": "168", "message.max.bytes": "1048588",
	} {
		if got := w.describe(ofBroker, "1", name); !strings.HasPrefix(got, "0: "+name+"="+want+"/") {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := w.describe(ofBroker, "1"); strings.Count(got, "/") < 200 {
		t.Errorf("all of a broker: %s", got)
	}
}
