package config

import (
	"fmt"
	"maps"
	"strings"
	"testing"
)

// dynamic is a Source for tests: "topic/NAME", "broker/NAME" and "group/NAME" to values.
type dynamic map[string]map[string]string

func (d dynamic) Configs(t ResourceType, name string) map[string]string {
	return d[map[ResourceType]string{TopicResource: "topic/", BrokerResource: "broker/", GroupResource: "group/"}[t]+name]
}

func mustStatic(t *testing.T, values map[string]string) *Static {
	t.Helper()
	st, _, err := NewStatic(Layer{Origin: "test", Values: values})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func TestTopicValueIsFoundInKafkasOrder(t *testing.T) {
	static := map[string]string{}
	src := dynamic{"topic/t": {}, "broker/1": {}, "broker/": {}}
	f := func(want string) {
		t.Helper()
		if got := TopicValue(mustStatic(t, static), src, "t", "max.message.bytes"); got != want {
			t.Errorf("max.message.bytes is %s, want %s", got, want)
		}
	}
	f("1048588")
	static["message.max.bytes"] = "1"
	f("1")
	src["broker/"]["message.max.bytes"] = "2"
	f("2")
	src["broker/1"]["message.max.bytes"] = " 3 "
	f("3")
	src["topic/t"]["max.message.bytes"] = "4"
	f("4")
}

func TestTimesInOtherUnits(t *testing.T) {
	f := func(static, key, want string) {
		t.Helper()
		values, err := ParseProperties([]byte(strings.ReplaceAll(static, " ", "\n")))
		if err != nil {
			t.Fatal(err)
		}
		if got := TopicValue(mustStatic(t, values), dynamic{}, "t", key); got != want {
			t.Errorf("with %q %s is %s, want %s", static, key, got, want)
		}
	}
	f("", "retention.ms", "604800000")
	f("log.retention.hours=100", "retention.ms", "360000000")
	f("log.retention.hours=100 log.retention.minutes=2", "retention.ms", "120000")
	f("log.retention.hours=100 log.retention.minutes=2 log.retention.ms=7", "retention.ms", "7")
	f("log.retention.hours=-1", "retention.ms", "-1")
	f("log.roll.hours=1", "segment.ms", "3600000")
	f("log.roll.jitter.hours=1", "segment.jitter.ms", "3600000")
	f("log.flush.scheduler.interval.ms=5", "flush.ms", "5")
	f("log.flush.scheduler.interval.ms=5 log.flush.interval.ms=4", "flush.ms", "4")
}

func find(t *testing.T, entries []Entry, name string) string {
	t.Helper()
	show := func(s *string) string {
		if s == nil {
			return "null"
		}
		return *s
	}
	for _, e := range entries {
		if e.Name != name {
			continue
		}
		s := fmt.Sprintf("%s src=%d type=%d ro=%v sens=%v", show(e.Value), e.Origin, e.Type, e.ReadOnly, e.Sensitive)
		for _, y := range e.Synonyms {
			s += fmt.Sprintf(" %s=%s:%d", y.Name, show(y.Value), y.Origin)
		}
		return s
	}
	return "absent"
}

// TestC31_SourceSaysWhereTheValueWasSet holds answers that Apache Kafka 4.4.0 gave.
func TestC31_SourceSaysWhereTheValueWasSet(t *testing.T) {
	st := mustStatic(t, map[string]string{
		"log.retention.hours": "100", "log.segment.bytes": "2000000", "foo.bar": "1", "node.id": "1",
		"moldau.admin.listen": "a:1",
	})
	src := dynamic{
		"broker/": {"log.retention.bytes": "123456", "foo.bay": "7"},
		"broker/1": {
			"log.cleanup.policy": "compact", "message.max.bytes": " 3000000 ", "foo.baz": "5", "log.retention.ms": "60000",
			"leader.replication.throttled.rate": "10", "listener.name.plaintext.ssl.keystore.type": "JKS",
			"listener.name.plaintext.ssl.keystore.password": "secret",
		},
	}
	v := NewView(st, src)
	own := map[string]string{
		"retention.ms": " 100 ", "min.cleanable.dirty.ratio": "0.50", "cleanup.policy": "delete, delete",
		"retention.bytes": "-1",
	}
	topic := func(key, want string) {
		t.Helper()
		if got := find(t, v.TopicEntries(own), key); got != want {
			t.Errorf("topic %s\n got %s\nwant %s", key, got, want)
		}
	}
	topic("segment.bytes", "2000000 src=4 type=3 ro=false sens=false log.segment.bytes=2000000:4 log.segment.bytes=1073741824:5")
	topic("retention.ms", "100 src=1 type=5 ro=false sens=false retention.ms=100:1 log.retention.ms=60000:2 "+
		"log.retention.hours=100:4 log.retention.hours=168:5")
	topic("retention.bytes", "-1 src=1 type=5 ro=false sens=false retention.bytes=-1:1 log.retention.bytes=123456:3 "+
		"log.retention.bytes=-1:5")
	topic("min.cleanable.dirty.ratio", "0.5 src=1 type=6 ro=false sens=false min.cleanable.dirty.ratio=0.5:1 "+
		"log.cleaner.min.cleanable.ratio=0.5:5")
	topic("cleanup.policy", "delete src=1 type=7 ro=false sens=false cleanup.policy=delete:1 log.cleanup.policy=compact:2 "+
		"log.cleanup.policy=delete:5")
	topic("segment.ms", "604800000 src=5 type=5 ro=false sens=false")
	topic("remote.storage.enable", "false src=5 type=1 ro=false sens=false")
	topic("internal.segment.bytes", "absent")
	if n := len(v.TopicEntries(own)); n != 37 {
		t.Errorf("%d topic entries, Kafka has 37", n)
	}

	broker := func(key, want string) {
		t.Helper()
		if got := find(t, v.BrokerEntries(), key); got != want {
			t.Errorf("broker %s\n got %s\nwant %s", key, got, want)
		}
	}
	broker("message.max.bytes", "3000000 src=2 type=3 ro=false sens=false message.max.bytes= 3000000 :2 message.max.bytes=1048588:5")
	broker("foo.bar", "null src=4 type=0 ro=true sens=true foo.bar=null:4")
	broker("foo.baz", "null src=2 type=0 ro=true sens=true foo.baz=null:2")
	broker("leader.replication.throttled.rate", "10 src=2 type=5 ro=false sens=false leader.replication.throttled.rate=10:2")
	broker("listener.name.plaintext.ssl.keystore.type", "JKS src=2 type=2 ro=true sens=false "+
		"listener.name.plaintext.ssl.keystore.type=JKS:2 ssl.keystore.type=JKS:5")
	broker("listener.name.plaintext.ssl.keystore.password", "null src=2 type=9 ro=true sens=true "+
		"listener.name.plaintext.ssl.keystore.password=null:2")
	broker("log.retention.hours", "100 src=4 type=3 ro=true sens=false log.retention.hours=100:4 log.retention.hours=168:5")
	broker("moldau.admin.listen", "a:1 src=4 type=2 ro=true sens=false moldau.admin.listen=a:1:4")
	broker("log.roll.ms", "null src=5 type=5 ro=false sens=false")
	broker("broker.id", "1 src=4 type=3 ro=true sens=false broker.id=1:4 broker.id=-1:5")
	broker("process.roles", "broker,controller src=4 type=7 ro=true sens=false process.roles=broker,controller:4")
	broker("ssl.key.password", "null src=5 type=9 ro=false sens=true")
	if got := find(t, v.ClusterEntries(), "log.retention.bytes"); got != "123456 src=3 type=5 ro=false sens=false log.retention.bytes=123456:3" {
		t.Error("cluster default:", got)
	}
	if got := find(t, v.ClusterEntries(), "foo.bay"); got != "null src=3 type=0 ro=true sens=true foo.bay=null:3" {
		t.Error("cluster default:", got)
	}

	group := func(key, want string) {
		t.Helper()
		if got := find(t, v.GroupEntries(map[string]string{"errors.deadletterqueue.topic.name": "foo"}), key); got != want {
			t.Errorf("group %s\n got %s\nwant %s", key, got, want)
		}
	}
	group("errors.deadletterqueue.topic.name", "foo src=8 type=2 ro=false sens=false errors.deadletterqueue.topic.name=foo:8 "+
		"errors.deadletterqueue.topic.name=:5")
	group("share.isolation.level", "read_uncommitted src=5 type=2 ro=false sens=false share.isolation.level=read_uncommitted:5")
	group("streams.assignor.name", "sticky src=5 type=2 ro=false sens=false group.streams.assignors=sticky:5")
	if n := len(v.GroupEntries(nil)); n != 21 {
		t.Errorf("%d group entries, Kafka has 21", n)
	}
}

func TestBrokerEntriesAreKafkas350(t *testing.T) {
	entries := NewView(Empty(), dynamic{}).BrokerEntries()
	if len(entries) != 350 {
		t.Errorf("%d entries, Kafka describes 350", len(entries))
	}
	for _, key := range []string{"auto.create.topics.enable", "num.partitions", "default.replication.factor", "delete.topic.enable"} {
		if got := find(t, entries, key); !strings.Contains(got, "src=5") { // C30, C126, C132
			t.Errorf("%s: %s", key, got)
		}
	}
}

func TestCheckTopic(t *testing.T) {
	v := NewView(mustStatic(t, map[string]string{"log.cleaner.min.compaction.lag.ms": "10"}), dynamic{})
	f := func(properties, wantErr string) {
		t.Helper()
		own, err := ParseProperties([]byte(properties))
		if err != nil {
			t.Fatal(err)
		}
		err = v.CheckTopic(own)
		if got := fmt.Sprint(err); wantErr == "" && err != nil || !strings.Contains(got, wantErr) {
			t.Errorf("%q: %v, want %q", properties, err, wantErr)
		}
	}
	f("retention.ms=5\nsegment.bytes=1048576", "")
	f("foo=1", `"foo" is no topic configuration`)
	f("message.format.version=3.0", "is no topic configuration") // gone since 4.0
	f("segment.bytes=1048575", "at least 1048576")
	f("max.compaction.lag.ms=9", "must not be above")
	f("max.compaction.lag.ms=9\nmin.compaction.lag.ms=9", "")
	f("remote.storage.enable=true", "no remote storage")
	f("cleanup.policy=", "")
	f("cleanup.policy=delete,", "empty elements")
	f("cleanup.policy=compact, x", "a list of compact, delete")
	f("leader.replication.throttled.replicas=0:1,1:1", "")
	f("leader.replication.throttled.replicas=x", "partition:broker")
	f("leader.replication.throttled.replicas=,", "")
	f("leader.replication.throttled.replicas=*", "")
	f("leader.replication.throttled.replicas=0:1,*", "partition:broker")
	f("retention.bytes=-5", "")
	f("preallocate=yes", "true or false")
}

func TestCheckBroker(t *testing.T) {
	f := func(perBroker bool, key, value, wantErr string) {
		t.Helper()
		err := CheckBroker(map[string]string{key: value}, perBroker)
		if got := fmt.Sprint(err); wantErr == "" && err != nil || !strings.Contains(got, wantErr) {
			t.Errorf("%v %s=%s: %v, want %q", perBroker, key, value, err, wantErr)
		}
	}
	f(true, "num.partitions", "4", "only a restart")
	f(false, "num.partitions", "4", "only a restart")
	f(true, "foo.baz", "4", "")
	f(false, "message.max.bytes", "4", "")
	f(true, "message.max.bytes", "-5", "at least 0")
	f(true, "message.max.bytes", "abc", "whole number")
	f(false, "listeners", "PLAINTEXT://:9", "its id must be given")
	f(true, "ssl.keystore.type", "JKS", "one listener at a time")
	f(true, "listener.name.plaintext.ssl.keystore.type", "JKS", "")
	f(false, "listener.name.plaintext.ssl.keystore.type", "JKS", "its id must be given")
	f(false, "leader.replication.throttled.rate", "10", "")
	f(false, "leader.replication.throttled.rate", "-1", "at least 0")
	f(true, "listeners", "PLAINTEXT://:9", "changed by a restart")
	f(true, "listener.security.protocol.map", "A:PLAINTEXT", "changed by a restart")
	f(false, "metric.reporters", "com.example.Reporter", "no Java classes")
	f(false, "metric.reporters", "org.apache.kafka.common.metrics.JmxReporter", "")
	f(true, "principal.builder.class", "com.example.Builder", "no Java classes")
	f(false, "max.connections", "0", "at least 1")
	f(true, "listener.name.plaintext.max.connections", "0", "at least 1")
	f(false, "max.connections.per.ip", "0", "lets hosts in")
	f(false, "max.connections.per.ip.overrides", "a:5, b:6", "")
	f(false, "max.connections.per.ip.overrides", "a", "HOST:NUMBER")
	f(false, "log.retention.ms", "0", "-1 for no limit")
	f(false, "log.roll.ms", "0", "at least 1")
	f(false, "log.roll.jitter.ms", "-1", "at least 0")
	f(false, "log.cleaner.dedupe.buffer.size", "1048576", "more than 1048576")
}

func TestCheckGroup(t *testing.T) {
	v := NewView(Empty(), dynamic{})
	f := func(key, value, wantErr string) {
		t.Helper()
		err := v.CheckGroup(map[string]string{key: value})
		if got := fmt.Sprint(err); wantErr == "" && err != nil || !strings.Contains(got, wantErr) {
			t.Errorf("%s=%s: %v, want %q", key, value, err, wantErr)
		}
	}
	f("consumer.session.timeout.ms", "50000", "")
	f("consumer.session.timeout.ms", "5", "from 45000 to 60000")
	f("consumer.heartbeat.interval.ms", "50000", "from 5000 to 15000")
	f("streams.num.standby.replicas", "3", "at most 2")
	f("share.delivery.count.limit", "11", "from 2 to 10")
	f("share.auto.offset.reset", "by_duration:PT1H", "")
	f("share.auto.offset.reset", "by_duration:PT", "ISO 8601")
	f("share.auto.offset.reset", "never", "ISO 8601")
	f("foo", "1", "is no group configuration")
}

func TestCheckClientMetrics(t *testing.T) {
	f := func(key, value string, ok bool) {
		t.Helper()
		if err := CheckClientMetrics(map[string]string{key: value}); (err == nil) != ok {
			t.Errorf("%s=%s: %v", key, value, err)
		}
	}
	f("interval.ms", "500", true)
	f("interval.ms", "5", false)
	f("match", "client_id=x", true)
	f("match", "client_id=[", false)
	f("match", "foo=x", false)
	f("foo", "1", false)
	if n := len(ClientMetricsEntries(nil)); n != 3 {
		t.Error(n, "entries")
	}
}

func TestViewsDoNotChangeTheirSource(t *testing.T) {
	src := dynamic{"broker/": {"log.retention.ms": "5"}}
	before := maps.Clone(src["broker/"])
	NewView(Empty(), src).BrokerEntries()
	if !maps.Equal(before, src["broker/"]) {
		t.Error("the shared map was changed")
	}
}
