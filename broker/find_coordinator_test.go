package broker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
)

func findReq(kind int8, keys ...string) *kmsg.FindCoordinatorRequest {
	r := kmsg.NewPtrFindCoordinatorRequest()
	r.CoordinatorType, r.CoordinatorKey, r.CoordinatorKeys = kind, keys[0], keys
	return r
}

func TestRule086_TheFirstQuestionMakesTheTopic(t *testing.T) {
	b := brokertest.Start(t, brokertest.Options{Quiet: true, Settings: map[string]string{"offsets.topic.num.partitions": "50"}})
	c := b.Dial()
	first := c.Do(brokertest.At(3, findReq(0, "g"))).(*kmsg.FindCoordinatorResponse)
	if first.ErrorCode != 15 || first.NodeID != -1 || first.Port != -1 || first.Host != "" {
		t.Errorf("the first question: %s", text(first))
	}
	w := &groupWire{Client: c, broker: b}
	w.coordinator()

	md := kmsg.NewPtrMetadataRequest()
	md.Topics = []kmsg.MetadataRequestTopic{{Topic: ptr("__consumer_offsets")}}
	topic := c.Do(brokertest.Latest(md)).(*kmsg.MetadataResponse).Topics[0]
	if topic.ErrorCode != 0 || len(topic.Partitions) != 50 || !topic.IsInternal {
		t.Fatalf("the offsets topic: %+v", topic)
	}
	dc := kmsg.NewPtrDescribeConfigsRequest()
	dc.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: 2, ResourceName: "__consumer_offsets"}}
	configs := map[string]string{}
	for _, cfg := range c.Do(brokertest.Latest(dc)).(*kmsg.DescribeConfigsResponse).Resources[0].Configs {
		configs[cfg.Name] = *cfg.Value
	}
	for key, want := range map[string]string{
		"cleanup.policy": "compact", "compression.type": "producer", "segment.bytes": "104857600",
	} {
		if configs[key] != want {
			t.Errorf("%s is %q, want %q", key, configs[key], want)
		}
	}
	host, port, _ := strings.Cut(b.Addr, ":")
	here := fmt.Sprintf("NodeID:1,Host:%s,Port:%s", host, port)
	w.wants("a group", findReq(0, "g"), 0, 0, "{ErrorCode:0,"+here+"}")
	w.wants("a group", findReq(0, "g"), 1, 3, "{ErrorCode:0,ErrorMessage:NONE,"+here+"}")
	w.wants("two groups (C87)", findReq(0, "g", ""), 4, 6,
		"{ErrorCode:0,NodeID:0,Port:0,Coordinators:[{Key:g,"+here+",ErrorCode:0},{"+here+",ErrorCode:0}]}")
}

// There are no transactions and no share groups yet, and clients must not wait for them.
func TestFindCoordinatorOfWhatThereIsNot(t *testing.T) {
	w := newGroupWire(t, nil)
	none := "NodeID:-1,Port:-1,"
	w.wants("a transaction", findReq(1, "tx"), 1, 3, "{ErrorCode:35,ErrorMessage:this version has no transactions,NodeID:-1,Port:-1}")
	w.wants("a transaction", findReq(1, "tx"), 4, 6,
		"{ErrorCode:0,NodeID:0,Port:0,Coordinators:[{Key:tx,"+none+"ErrorCode:35,ErrorMessage:this version has no transactions}]}")
	for _, kind := range []int8{2, 3, -1} {
		r := w.Do(brokertest.Latest(findReq(kind, "x"))).(*kmsg.FindCoordinatorResponse).Coordinators[0]
		if r.ErrorCode != 42 || r.NodeID != -1 {
			t.Errorf("coordinator of type %d: %+v", kind, r)
		}
	}
	md := kmsg.NewPtrMetadataRequest()
	for _, topic := range w.Do(brokertest.Latest(md)).(*kmsg.MetadataResponse).Topics {
		if *topic.Topic == "__transaction_state" {
			t.Error("a topic for transactions was made")
		}
	}
}

func TestC89_FindCoordinatorMakesNoGroups(t *testing.T) {
	w := newGroupWire(t, nil)
	w.Do(brokertest.Latest(findReq(0, "a", "b", "c")))
	w.wants("the list", kmsg.NewPtrListGroupsRequest(), 0, 5, "{ErrorCode:0}")
}
