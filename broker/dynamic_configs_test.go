package broker_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/protocol/compress"
	"moldau.io/moldau/storage/vfs"
)

// set changes one key; an empty value deletes it.
func set(c *brokertest.Client, kind kmsg.ConfigResourceType, name, key, value string) {
	c.T.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	op := kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: key, Value: &value}
	if value == "" {
		op.Op, op.Value = kmsg.IncrementalAlterConfigOpDelete, nil
	}
	req.Resources = append(req.Resources, kmsg.IncrementalAlterConfigsRequestResource{
		ResourceType: kind, ResourceName: name, Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{op},
	})
	resp := c.Do(brokertest.Latest(req)).(*kmsg.IncrementalAlterConfigsResponse)
	if code := resp.Resources[0].ErrorCode; code != 0 {
		c.T.Fatalf("set %s=%s: %v", key, value, protocol.Code(code))
	}
}

// TestC119_DynamicBrokerConfigsTakeEffect follows message.max.bytes through all the places in which it can be set, and through
// a restart.
func TestC119_DynamicBrokerConfigsTakeEffect(t *testing.T) {
	const topic, broker = kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeBroker
	b := brokertest.Start(t, brokertest.Options{Settings: map[string]string{"message.max.bytes": "3000"}, FS: vfs.NewMem()})
	c := b.Dial()
	id := createTopic(c, "t", 1)
	f := func(largest int) {
		t.Helper()
		for size := 1000; size <= 6000; size += 1000 {
			want := protocol.None
			if size > largest {
				want = protocol.MessageTooLarge
			}
			got := protocol.Code(produce(c, 13, "t", id, 0, -1, records(1, size-200)).ErrorCode)
			if got != want {
				t.Errorf("a batch of about %d bytes: %v, want %v", size, got, want)
			}
		}
	}
	f(3000)
	set(c, broker, "", "message.max.bytes", "2000")
	f(2000)
	set(c, broker, "1", "message.max.bytes", "5000")
	f(5000)
	set(c, topic, "t", "max.message.bytes", "4000")
	f(4000)
	b.Restart()
	c = b.Dial()
	f(4000)
	set(c, topic, "t", "max.message.bytes", "")
	f(5000)
	set(c, broker, "1", "message.max.bytes", "")
	f(2000)
	set(c, broker, "", "message.max.bytes", "")
	f(3000)
}

func TestConnectionLimitsChangeWhileTheBrokerRuns(t *testing.T) {
	const broker = kmsg.ConfigResourceTypeBroker
	b := brokertest.Start(t, brokertest.Options{Quiet: true})
	c := b.Dial()
	answers := func(c *brokertest.Client) { c.Do(brokertest.Latest(kmsg.NewPtrMetadataRequest())) }
	set(c, broker, "", "max.connections.per.ip", "2")
	second := b.Dial()
	answers(second)
	b.Dial().Closed()
	answers(second)
	set(c, broker, "1", "max.connections.per.ip", "3")
	answers(b.Dial())
	set(c, broker, "", "max.connections", "3")
	b.Dial().Closed()
	set(c, broker, "", "max.connections", "")
	set(c, broker, "1", "max.connections.per.ip", "")
	set(c, broker, "", "max.connections.per.ip", "")
	answers(b.Dial())
}

// TestTopicLimitOnDecompressedRecords sees that the topic's own value counts, not only the broker's.
func TestTopicLimitOnDecompressedRecords(t *testing.T) {
	b := brokertest.Start(t, brokertest.Options{Quiet: true})
	c := b.Dial()
	id := createTopic(c, "t", 1, "max.decompressed.message.bytes", "500", "compression.type", "gzip")
	if got := protocol.Code(produce(c, 13, "t", id, 0, -1, records(1, 100)).ErrorCode); got != protocol.None {
		t.Error(got)
	}
	if got := protocol.Code(produce(c, 13, "t", id, 0, -1, compressed(1, 1000)).ErrorCode); got != protocol.InvalidRecord {
		t.Error("a record of 1000 bytes:", got)
	}
}

// compressed is a gzip batch of n records of size bytes.
func compressed(n, size int) []byte {
	b := batch.NewBuilder(batch.BuilderOptions{Codec: compress.Gzip})
	for range n {
		b.Add(time.Now().UnixMilli(), []byte("key"), make([]byte, size))
	}
	return b.Build()
}

// TestOneRequestCannotAskForTheWholeMemory sends two megabytes that ask for the keys of a broker 50,000 times.
func TestOneRequestCannotAskForTheWholeMemory(t *testing.T) {
	b := brokertest.Start(t, brokertest.Options{Quiet: true})
	c := b.Dial()
	req := kmsg.NewPtrDescribeConfigsRequest()
	for range 50_000 {
		req.Resources = append(req.Resources, kmsg.DescribeConfigsRequestResource{
			ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: strings.Repeat("0", 30) + "1",
		})
	}
	resp := c.Do(brokertest.Latest(req)).(*kmsg.DescribeConfigsResponse)
	answered, keys := 0, 0
	for _, r := range resp.Resources {
		if protocol.Code(r.ErrorCode) == protocol.None {
			answered++
			keys += len(r.Configs)
		} else if protocol.Code(r.ErrorCode) != protocol.InvalidRequest || len(r.Configs) > 0 {
			t.Fatalf("%+v", r)
		}
	}
	if len(resp.Resources) != 50_000 || answered == 0 || keys > 400_350 {
		t.Errorf("%d answers, %d of them with keys, %d keys", len(resp.Resources), answered, keys)
	}
}

// TestManyChangesInOneRequestCostLittle sends requests of which the parts have to be compared with each other.
func TestManyChangesInOneRequestCostLittle(t *testing.T) {
	b := brokertest.Start(t, brokertest.Options{Quiet: true})
	c := b.Dial()
	value := "1"
	wide := kmsg.NewPtrIncrementalAlterConfigsRequest()
	deep := kmsg.NewPtrIncrementalAlterConfigsRequest()
	deep.Resources = make([]kmsg.IncrementalAlterConfigsRequestResource, 1)
	deep.Resources[0].ResourceType, deep.Resources[0].ResourceName = kmsg.ConfigResourceTypeBroker, "1"
	for i := range 50_000 {
		key := strings.Repeat("k", 60) + strconv.Itoa(i)
		op := kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: key, Value: &value}
		deep.Resources[0].Configs = append(deep.Resources[0].Configs, op)
		wide.Resources = append(wide.Resources, kmsg.IncrementalAlterConfigsRequestResource{
			ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: key,
			Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{op},
		})
	}
	long := strings.Repeat("a,", 1<<14-2) + "b"
	list := kmsg.NewPtrIncrementalAlterConfigsRequest()
	list.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{
		ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "1",
		Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{
			Name: "log.cleanup.policy", Op: kmsg.IncrementalAlterConfigOpAppend, Value: &long,
		}},
	}}
	wide.ValidateOnly, deep.ValidateOnly, list.ValidateOnly = true, true, true
	for name, req := range map[string]*kmsg.IncrementalAlterConfigsRequest{"wide": wide, "deep": deep, "list": list} {
		began := time.Now()
		resp := c.Do(brokertest.Latest(req)).(*kmsg.IncrementalAlterConfigsResponse)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s: %v", name, took)
		}
		if len(resp.Resources) != len(req.Resources) {
			t.Errorf("%s: %d answers", name, len(resp.Resources))
		}
	}
}
