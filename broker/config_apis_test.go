package broker

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/cluster"
	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/storage/vfs"
)

// configWire is a broker with metadata and without logs, and a client of it.
type configWire struct {
	*wire
	client *kgo.Client
}

// newConfigWire has one topic "t" and was started with these settings.
func newConfigWire(t *testing.T, settings map[string]string) *configWire {
	t.Helper()
	w := newWire(t, handlers, settings)
	node, err := cluster.Start(t.Context(), cluster.Config{FS: vfs.NewMem(), Dir: "data", NodeID: 1, Static: w.b.static,
		Features: initialFeatures, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	w.b.node = node
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			w.b.served.publish(node.Image())
			select {
			case <-node.Changes():
			case <-ctx.Done():
				return
			}
		}
	}()
	host, port := splitAddr(t, w.addr)
	w.propose(meta.RegisterBroker{ID: 1, Listeners: []meta.Listener{{Name: "PLAINTEXT", Host: host, Port: port, Protocol: "PLAINTEXT"}}})
	w.propose(meta.CreateTopics{Topics: []meta.NewTopic{{Name: "t", Partitions: 1, ReplicationFactor: 1}}})
	client, err := kgo.NewClient(kgo.SeedBrokers(w.addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		cancel()
		<-done
		if err := node.Close(); err != nil {
			t.Error(err)
		}
	})
	return &configWire{w, client}
}

func splitAddr(t *testing.T, addr string) (string, int32) {
	t.Helper()
	var port int32
	if _, err := fmt.Sscanf(addr, "127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}
	return "127.0.0.1", port
}

func (w *wire) propose(cmd meta.Command) {
	w.Helper()
	if _, err := w.b.propose(context.Background(), cmd); err != nil {
		w.Fatal(err)
	}
}

// describe asks for keys of one resource and writes the answer in a line.
func (w *configWire) describe(t kmsg.ConfigResourceType, name string, keys ...string) string {
	w.Helper()
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.IncludeSynonyms, req.IncludeDocumentation = true, true
	req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: t, ResourceName: name, ConfigNames: keys}}
	resp, err := w.client.Broker(1).Request(context.Background(), req)
	if err != nil {
		w.Fatal(err)
	}
	a := resp.(*kmsg.DescribeConfigsResponse).Resources[0]
	out := fmt.Sprintf("%d:", a.ErrorCode)
	slices.SortFunc(a.Configs, func(x, y kmsg.DescribeConfigsResponseResourceConfig) int { return strings.Compare(x.Name, y.Name) })
	for _, c := range a.Configs {
		value := "null"
		if c.Value != nil {
			value = *c.Value
		}
		out += fmt.Sprintf(" %s=%s/%d", c.Name, value, c.Source)
	}
	return out
}

// alter sends changes "op key value" (a value of NULL is none) and gives the error code.
func (w *configWire) alter(t kmsg.ConfigResourceType, name string, validateOnly bool, ops ...string) int16 {
	w.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.ValidateOnly = validateOnly
	res := kmsg.IncrementalAlterConfigsRequestResource{ResourceType: t, ResourceName: name}
	for _, op := range ops {
		f := strings.SplitN(op, " ", 3)
		number, ok := map[string]kmsg.IncrementalAlterConfigOp{"set": 0, "delete": 1, "append": 2, "subtract": 3, "odd": 7}[f[0]]
		if !ok {
			w.Fatal(op)
		}
		c := kmsg.IncrementalAlterConfigsRequestResourceConfig{Op: number, Name: f[1]}
		if f[2] != "NULL" {
			c.Value = &f[2]
		}
		res.Configs = append(res.Configs, c)
	}
	req.Resources = append(req.Resources, res)
	resp, err := w.client.Broker(1).Request(context.Background(), req)
	if err != nil {
		w.Fatal(err)
	}
	return resp.(*kmsg.IncrementalAlterConfigsResponse).Resources[0].ErrorCode
}

// replace is the older AlterConfigs.
func (w *configWire) replace(t kmsg.ConfigResourceType, name string, pairs ...string) int16 {
	w.Helper()
	req := kmsg.NewPtrAlterConfigsRequest()
	res := kmsg.AlterConfigsRequestResource{ResourceType: t, ResourceName: name}
	for _, p := range pairs {
		key, value, _ := strings.Cut(p, "=")
		res.Configs = append(res.Configs, kmsg.AlterConfigsRequestResourceConfig{Name: key, Value: &value})
	}
	req.Resources = append(req.Resources, res)
	resp, err := w.client.Broker(1).Request(context.Background(), req)
	if err != nil {
		w.Fatal(err)
	}
	return resp.(*kmsg.AlterConfigsResponse).Resources[0].ErrorCode
}

const (
	ofTopic   = kmsg.ConfigResourceTypeTopic
	ofBroker  = kmsg.ConfigResourceTypeBroker
	ofLogger  = kmsg.ConfigResourceTypeBrokerLogger
	ofMetrics = kmsg.ConfigResourceTypeClientMetrics
	ofGroup   = kmsg.ConfigResourceTypeGroupConfig
)

// TestRule111_IncrementalAlterConfigs holds the codes that Apache Kafka 4.4.0 answered with.
func TestRule111_IncrementalAlterConfigs(t *testing.T) {
	w := newConfigWire(t, nil)
	f := func(want int16, kind kmsg.ConfigResourceType, name string, ops ...string) {
		t.Helper()
		if got := w.alter(kind, name, false, ops...); got != want {
			t.Errorf("%d %q %q: code %d, want %d", kind, name, ops, got, want)
		}
	}
	f(3, ofTopic, "nope", "set retention.ms 5")
	f(40, ofTopic, "nope", "set foo 5") // values are judged before existence
	f(40, ofTopic, "t", "set foo 5")
	f(40, ofTopic, "t", "set retention.ms abc")
	f(40, ofTopic, "t", "set segment.bytes 5")
	f(42, ofTopic, "t", "set retention.ms NULL")
	f(42, ofTopic, "t", "set retention.ms 5", "set retention.ms 6")
	f(40, ofTopic, "t", "append retention.ms 5")
	f(40, ofTopic, "t", "append foo 5")
	f(0, ofTopic, "t", "delete segment.ms NULL")
	f(0, ofTopic, "t", "delete foo NULL")
	f(-1, ofTopic, "t", "odd retention.ms 5")
	f(42, ofTopic, "", "set retention.ms 5")
	f(40, ofTopic, "t", "set min.compaction.lag.ms 10", "set max.compaction.lag.ms 5")
	f(40, ofTopic, "t", "set remote.storage.enable true")
	f(40, ofTopic, "t", "set cleanup.policy delete,")
	f(42, ofBroker, "2", "set log.retention.ms 5")
	f(42, ofBroker, "x", "set log.retention.ms 5")
	f(42, ofBroker, "1", "set num.partitions 5")
	f(42, ofBroker, "", "set advertised.listeners x")
	f(42, ofBroker, "", "set listeners PLAINTEXT://:9")
	f(42, ofBroker, "1", "set ssl.keystore.type JKS")
	f(42, ofBroker, "1", "set message.max.bytes abc")
	f(42, ofBroker, "1", "set message.max.bytes -5")
	f(42, ofBroker, "1", "odd message.max.bytes 5")
	f(40, ofBroker, "1", "append message.max.bytes 5")
	f(40, ofBroker, "1", "append foo.baq 5")
	f(0, ofBroker, "1", "set foo.baz 5")
	f(0, ofBroker, "", "set foo.bay 7")
	f(40, ofGroup, "g", "set consumer.session.timeout.ms 5")
	f(0, ofGroup, "g", "set consumer.session.timeout.ms 50000")
	f(42, ofGroup, "", "set consumer.session.timeout.ms 50000")
	f(40, ofGroup, "g", "set foo 1")
	f(40, ofGroup, "g", "append streams.rack.aware.assignment.tags a")
	f(42, ofMetrics, "m", "set foo 1")
	f(42, ofMetrics, "m", "set interval.ms 5")
	f(0, ofMetrics, "m", "set interval.ms 500")
	f(40, ofMetrics, "m", "set match foo=x")
	f(42, ofMetrics, "", "set interval.ms 500")
	f(42, ofLogger, "1", "append root INFO")
	f(42, ofLogger, "2", "set root INFO")
	f(40, ofLogger, "1", "set nope INFO")
	f(42, ofLogger, "1", "delete root NULL")
	f(0, ofLogger, "1", "set root DEBUG")
	f(42, 1, "x", "set a b")
	f(42, 99, "x", "set a b")

	for _, step := range []struct{ op, want string }{
		{"append cleanup.policy compact", "0: cleanup.policy=delete,compact/1"},
		{"append cleanup.policy compact", "0: cleanup.policy=delete,compact/1"},
		{"subtract cleanup.policy delete", "0: cleanup.policy=compact/1"},
		{"subtract cleanup.policy nope", "0: cleanup.policy=compact/1"},
		{"subtract cleanup.policy compact", "0: cleanup.policy=/1"},
		{"set cleanup.policy delete,compact", "0: cleanup.policy=delete,compact/1"}, // C34: order is kept
		{"delete cleanup.policy NULL", "0: cleanup.policy=delete/5"},
	} {
		f(0, ofTopic, "t", step.op)
		if got := w.describe(ofTopic, "t", "cleanup.policy"); got != step.want {
			t.Errorf("after %s: %s, want %s", step.op, got, step.want)
		}
	}
	if got := w.describe(ofLogger, "1"); got != "0: root=DEBUG/6" {
		t.Error("log level:", got)
	}
}

func TestRule111_ValidateOnlyChangesNothing(t *testing.T) {
	w := newConfigWire(t, nil)
	if code := w.alter(ofTopic, "t", true, "set retention.ms 99"); code != 0 {
		t.Error("code", code)
	}
	if code := w.alter(ofTopic, "nope", true, "set retention.ms 99"); code != 3 {
		t.Error("code", code)
	}
	if code := w.alter(ofLogger, "1", true, "set root ERROR"); code != 0 {
		t.Error("code", code)
	}
	if got := w.describe(ofTopic, "t", "retention.ms"); got != "0: retention.ms=604800000/5" {
		t.Error(got)
	}
	if got := w.describe(ofLogger, "1"); got != "0: root=INFO/6" {
		t.Error(got)
	}
}

func TestRule111_AResourceMayBeNamedOnce(t *testing.T) {
	w := newConfigWire(t, nil)
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	value := "5"
	for range 2 {
		req.Resources = append(req.Resources, kmsg.IncrementalAlterConfigsRequestResource{
			ResourceType: ofTopic, ResourceName: "t",
			Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: "retention.ms", Value: &value}},
		})
	}
	resp, err := w.client.Broker(1).Request(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range resp.(*kmsg.IncrementalAlterConfigsResponse).Resources {
		if a.ErrorCode != 42 {
			t.Error("code", a.ErrorCode)
		}
	}
}

// TestC30_ReadModifyWriteRoundTrips is what clients do with the older AlterConfigs: it replaces everything that is set.
func TestC30_ReadModifyWriteRoundTrips(t *testing.T) {
	w := newConfigWire(t, nil)
	f := func(want int16, kind kmsg.ConfigResourceType, name string, pairs ...string) {
		t.Helper()
		if got := w.replace(kind, name, pairs...); got != want {
			t.Errorf("%d %q %q: code %d, want %d", kind, name, pairs, got, want)
		}
	}
	f(0, ofTopic, "t", "retention.ms=77", "cleanup.policy=compact")
	f(0, ofTopic, "t", "retention.ms=78")
	if got := w.describe(ofTopic, "t", "retention.ms", "cleanup.policy"); got != "0: cleanup.policy=delete/5 retention.ms=78/1" {
		t.Error(got)
	}
	f(40, ofTopic, "t", "foo=1")
	f(40, ofTopic, "nope", "foo=1")
	f(42, ofLogger, "1", "root=INFO")
	f(42, ofBroker, "1", "num.partitions=4")
	f(0, ofBroker, "1", "message.max.bytes=2000000")
	if got := w.describe(ofTopic, "t", "max.message.bytes"); got != "0: max.message.bytes=2000000/2" {
		t.Error(got)
	}
	f(0, ofBroker, "1")
	if got := w.describe(ofTopic, "t", "max.message.bytes"); got != "0: max.message.bytes=1048588/5" {
		t.Error(got)
	}
	f(0, ofTopic, "t")
	if got := w.describe(ofTopic, "t", "retention.ms"); got != "0: retention.ms=604800000/5" {
		t.Error(got)
	}
}

func TestRule112_DescribeConfigs(t *testing.T) {
	w := newConfigWire(t, map[string]string{"log.segment.bytes": "2000000", "foo.bar": "1"})
	f := func(kind kmsg.ConfigResourceType, name, key, want string) {
		t.Helper()
		if got := w.describe(kind, name, key); got != want {
			t.Errorf("%d %q %s: %s, want %s", kind, name, key, got, want)
		}
	}
	f(ofTopic, "nope", "retention.ms", "3:")
	f(ofTopic, "", "retention.ms", "17:")
	f(ofTopic, "a b", "retention.ms", "17:")
	f(ofTopic, "t", "nokey", "0:")
	f(ofTopic, "t", "segment.bytes", "0: segment.bytes=2000000/4")
	f(ofTopic, "t", "retention.bytes", "0: retention.bytes=-1/5")
	f(ofBroker, "2", "num.partitions", "42:")
	f(ofBroker, "x", "num.partitions", "42:")
	f(ofBroker, "-1", "num.partitions", "42:")
	f(ofBroker, "01", "num.partitions", "0: num.partitions=1/5")
	f(ofBroker, "1", "foo.bar", "0: foo.bar=null/4")
	f(ofBroker, "1", "ssl.key.password", "0: ssl.key.password=null/5")
	f(ofBroker, "", "num.partitions", "0:")
	f(ofLogger, "", "root", "42:")
	f(ofLogger, "2", "root", "42:")
	f(ofLogger, "1", "root", "0: root=INFO/6")
	f(ofMetrics, "", "match", "42:")
	f(ofMetrics, "sub", "match", "0: match=/5")
	f(ofGroup, "", "x", "42:")
	f(ofGroup, "g", "share.isolation.level", "0: share.isolation.level=read_uncommitted/5")
	f(1, "x", "y", "42:")
	f(77, "x", "y", "42:")
	if n := strings.Count(w.describe(ofGroup, "never seen"), "="); n != 21 {
		t.Errorf("%d keys of a group that does not exist, Kafka tells 21", n)
	}
	if n := strings.Count(w.describe(ofTopic, "t"), "/"); n != 37 {
		t.Errorf("%d keys of a topic, Kafka tells 37", n)
	}
}

func TestRule113_ListConfigResources(t *testing.T) {
	w := newConfigWire(t, nil)
	w.alter(ofGroup, "g", false, "set share.isolation.level read_committed")
	w.alter(ofMetrics, "m", false, "set interval.ms 500")
	f := func(want string, types ...int8) {
		t.Helper()
		req := kmsg.NewPtrListConfigResourcesRequest()
		req.ResourceTypes = types
		resp, err := w.client.Broker(1).Request(context.Background(), req)
		if err != nil {
			t.Fatal(err)
		}
		a := resp.(*kmsg.ListConfigResourcesResponse)
		got := fmt.Sprintf("%d:", a.ErrorCode)
		for _, c := range a.ConfigResources {
			got += fmt.Sprintf(" %d/%s", c.Type, c.Name)
		}
		if got != want {
			t.Errorf("%v: %s, want %s", types, got, want)
		}
	}
	f("0: 32/g 16/m 8/1 4/1 2/t")
	f("0: 2/t", 2)
	f("0: 2/t", 2, 2)
	f("35:", 77)
	f("35:", 2, 77)
	f("35:", 1)
}
