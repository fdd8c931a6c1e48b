//go:build compat

package differential

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var configScripts = []script{
	{"describe-configs", scriptDescribeConfigs},
	{"alter-configs", scriptAlterConfigs},
	{"incremental-alter-configs", scriptIncrementalAlterConfigs},
	{"incremental-topic-values", scriptTopicValues},
	{"list-config-resources", scriptListConfigResources},
}

const (
	resourceTopic  = kmsg.ConfigResourceTypeTopic
	resourceBroker = kmsg.ConfigResourceTypeBroker
)

func describeConfigs(v int16, kind kmsg.ConfigResourceType, name string, keys ...string) *kmsg.DescribeConfigsRequest {
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Version = v
	req.IncludeSynonyms, req.IncludeDocumentation = v >= 1, v >= 3
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName, r.ConfigNames = kind, name, keys
	req.Resources = append(req.Resources, r)
	return req
}

// brokerKeys are compared one by one: those that an operator or a client looks at. Ports, folders and the ids of the
// controllers are each broker's own.
var brokerKeys = []string{"num.partitions", "default.replication.factor", "auto.create.topics.enable",
	"delete.topic.enable", "log.retention.ms", "log.retention.hours", "log.retention.minutes", "log.retention.bytes",
	"log.segment.bytes", "log.cleanup.policy", "message.max.bytes", "min.insync.replicas", "compression.type",
	"offsets.topic.num.partitions", "offsets.retention.minutes", "group.min.session.timeout.ms",
	"group.max.session.timeout.ms", "socket.request.max.bytes", "max.connections", "unclean.leader.election.enable",
	"log.message.timestamp.type", "broker.rack", "ssl.keystore.password", "sasl.jaas.config",
	"transaction.max.timeout.ms", "queued.max.requests", "fetch.max.bytes", "max.incremental.fetch.session.cache.slots",
	"connections.max.idle.ms", "log.flush.interval.messages", "no.such.key", "log.roll.ms", "log.roll.hours"}

func scriptDescribeConfigs(s *session) {
	name, _ := s.topic("t", 1, "retention.ms=86400000", "cleanup.policy=compact,delete", "max.message.bytes=1048588")
	s.each(32, func(v int16) {
		s.ask("topic", describeConfigs(v, resourceTopic, name))
		s.ask("some keys", describeConfigs(v, resourceTopic, name, "retention.ms", "segment.bytes", "no.such.key"))
		none := describeConfigs(v, resourceTopic, name)
		none.Resources[0].ConfigNames = []string{}
		s.ask("no keys", none)
		plain := describeConfigs(v, resourceTopic, name, "retention.ms", "cleanup.policy", "min.insync.replicas")
		plain.IncludeSynonyms, plain.IncludeDocumentation = false, false
		s.ask("neither synonyms nor documentation", plain)
		s.ask("unknown topic", describeConfigs(v, resourceTopic, s.name("none")))
		s.ask("bad topic", describeConfigs(v, resourceTopic, "bad name"))
		s.ask("empty topic", describeConfigs(v, resourceTopic, ""))
		s.ask("broker", describeConfigs(v, resourceBroker, "1", brokerKeys...))
		s.ask("all brokers", describeConfigs(v, resourceBroker, "", "num.partitions", "log.retention.ms"))
		for _, broker := range []string{"2", "-1", "x", "1 ", "01"} {
			s.ask("broker "+broker, describeConfigs(v, resourceBroker, broker, "num.partitions"))
		}
		for _, kind := range []int8{0, 1, 3, 5, 99, -1} {
			s.ask("resource type", describeConfigs(v, kmsg.ConfigResourceType(kind), "x"))
		}
		both := describeConfigs(v, resourceTopic, name, "retention.ms")
		both.Resources = append(both.Resources, describeConfigs(v, resourceTopic, s.name("none")).Resources...)
		both.Resources = append(both.Resources, describeConfigs(v, resourceBroker, "1", "node.id").Resources...)
		s.ask("several", both)
		both.Resources = nil
		s.ask("none", both)
	})
}

func alterConfigs(v int16, kind kmsg.ConfigResourceType, name string, configs ...string) *kmsg.AlterConfigsRequest {
	req := kmsg.NewPtrAlterConfigsRequest()
	req.Version = v
	r := kmsg.NewAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kind, name
	for _, kv := range configs {
		key, value, set := strings.Cut(kv, "=")
		c := kmsg.NewAlterConfigsRequestResourceConfig()
		c.Name = key
		if set {
			c.Value = &value
		}
		r.Configs = append(r.Configs, c)
	}
	req.Resources = append(req.Resources, r)
	return req
}

// shows waits until a changed property is described, which may take the broker a moment, and writes all that are set
// into the transcript.
func (s *session) shows(kind kmsg.ConfigResourceType, name, key string, value *string) {
	s.until(key+" of "+name, describeConfigs(4, kind, name, key), func(r kmsg.Response) bool {
		for _, c := range r.(*kmsg.DescribeConfigsResponse).Resources[0].Configs {
			if c.Name == key {
				set := c.Source == kmsg.ConfigSourceDynamicTopicConfig || c.Source == kmsg.ConfigSourceDynamicBrokerConfig
				return value == nil && !set || value != nil && c.Value != nil && *c.Value == *value
			}
		}
		return value == nil
	})
	s.askOnly("what is set", describeConfigs(4, kind, name), func(r kmsg.Response) {
		res := &r.(*kmsg.DescribeConfigsResponse).Resources[0]
		res.Configs = without(res.Configs, func(c kmsg.DescribeConfigsResponseResourceConfig) bool {
			return c.Source != kmsg.ConfigSourceDynamicTopicConfig
		})
	})
}

func scriptAlterConfigs(s *session) {
	s.each(33, func(v int16) {
		name, _ := s.topic("t"+string(rune('a'+v)), 1, "retention.ms=1000", "flush.ms=5")
		s.ask("replaces", alterConfigs(v, resourceTopic, name, "retention.ms=2000", "segment.ms=7000"))
		s.shows(resourceTopic, name, "segment.ms", ptr("7000"))
		only := alterConfigs(v, resourceTopic, name, "retention.ms=9")
		only.ValidateOnly = true
		s.ask("validate only", only)
		s.ask("unknown key", alterConfigs(v, resourceTopic, name, "no.such.key=1"))
		s.ask("bad value", alterConfigs(v, resourceTopic, name, "retention.ms=soon"))
		s.ask("out of bounds", alterConfigs(v, resourceTopic, name, "min.insync.replicas=0"))
		s.ask("null value", alterConfigs(v, resourceTopic, name, "retention.ms"))
		s.ask("twice", alterConfigs(v, resourceTopic, name, "retention.ms=1", "retention.ms=2"))
		s.ask("unknown topic", alterConfigs(v, resourceTopic, s.name("none"), "retention.ms=1"))
		s.ask("bad topic", alterConfigs(v, resourceTopic, "bad name", "retention.ms=1"))
		s.ask("empty topic", alterConfigs(v, resourceTopic, "", "retention.ms=1"))
		s.ask("other broker", alterConfigs(v, resourceBroker, "7", "log.cleaner.threads=2"))
		s.ask("broker that is no number", alterConfigs(v, resourceBroker, "x", "log.cleaner.threads=2"))
		s.ask("read-only key", alterConfigs(v, resourceBroker, "1", "node.id=3"))
		s.ask("resource type", alterConfigs(v, 77, name, "retention.ms=1"))
		// The same topic twice in one request is not asked: Kafka gives it no answer at all.
		s.ask("empties", alterConfigs(v, resourceTopic, name))
		s.shows(resourceTopic, name, "segment.ms", nil)
	})
}

type change struct {
	op    int8 // 0 set, 1 delete, 2 append, 3 subtract
	key   string
	value *string
}

func incremental(v int16, kind kmsg.ConfigResourceType, name string,
	changes ...change) *kmsg.IncrementalAlterConfigsRequest {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Version = v
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kind, name
	for _, ch := range changes {
		c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		c.Name, c.Op, c.Value = ch.key, kmsg.IncrementalAlterConfigOp(ch.op), ch.value
		r.Configs = append(r.Configs, c)
	}
	req.Resources = append(req.Resources, r)
	return req
}

func scriptIncrementalAlterConfigs(s *session) {
	s.each(44, func(v int16) {
		name, _ := s.topic("t"+string(rune('a'+v)), 1, "retention.ms=1000")
		topic := func(label string, changes ...change) { s.ask(label, incremental(v, resourceTopic, name, changes...)) }
		topic("set", change{0, "segment.ms", ptr("7000")}, change{0, "cleanup.policy", ptr("compact")})
		s.shows(resourceTopic, name, "segment.ms", ptr("7000"))
		topic("append", change{2, "cleanup.policy", ptr("delete")})
		s.shows(resourceTopic, name, "cleanup.policy", ptr("compact,delete"))
		topic("append what is there", change{2, "cleanup.policy", ptr("delete")})
		s.shows(resourceTopic, name, "cleanup.policy", ptr("compact,delete"))
		topic("subtract", change{3, "cleanup.policy", ptr("compact")})
		s.shows(resourceTopic, name, "cleanup.policy", ptr("delete"))
		topic("subtract what is not there", change{3, "cleanup.policy", ptr("compact")})
		topic("append to a number", change{2, "retention.ms", ptr("1")})
		topic("subtract from a number", change{3, "retention.ms", ptr("1")})
		topic("delete", change{1, "segment.ms", nil})
		s.shows(resourceTopic, name, "segment.ms", nil)
		topic("delete what is not set", change{1, "flush.ms", nil})
		topic("delete with a value", change{1, "flush.ms", ptr("5")})
		topic("delete an unknown key", change{1, "no.such.key", nil})
		topic("unknown key", change{0, "no.such.key", ptr("1")})
		topic("empty key", change{0, "", ptr("1")})
		topic("null value", change{0, "flush.ms", nil})
		topic("null append", change{2, "cleanup.policy", nil})
		topic("empty value", change{0, "flush.ms", ptr("")})
		topic("same key twice", change{0, "flush.ms", ptr("5")}, change{1, "flush.ms", nil})
		topic("unknown operation", change{9, "flush.ms", ptr("5")})
		topic("one good, one bad", change{0, "flush.ms", ptr("5")}, change{0, "retention.ms", ptr("x")})
		topic("nothing")
		s.shows(resourceTopic, name, "flush.ms", nil)
		only := incremental(v, resourceTopic, name, change{0, "flush.ms", ptr("5")})
		only.ValidateOnly = true
		s.ask("validate only", only)
		s.shows(resourceTopic, name, "flush.ms", nil)
		s.ask("unknown topic", incremental(v, resourceTopic, s.name("none"), change{0, "flush.ms", ptr("5")}))
		s.ask("bad topic", incremental(v, resourceTopic, "bad name", change{0, "flush.ms", ptr("5")}))
		s.ask("empty topic", incremental(v, resourceTopic, "", change{0, "flush.ms", ptr("5")}))
		double := incremental(v, resourceTopic, name, change{0, "flush.ms", ptr("5")})
		double.Resources = append(double.Resources,
			incremental(v, resourceTopic, name, change{0, "flush.ms", ptr("6")}).Resources...)
		s.ask("same topic twice", double)
		broker := func(label, id string, changes ...change) {
			s.ask(label, incremental(v, resourceBroker, id, changes...))
		}
		broker("per-broker key", "1", change{0, "log.cleaner.io.buffer.size", ptr("1048576")})
		broker("read-only key", "1", change{0, "node.id", ptr("4")})
		broker("read-only key of all", "", change{0, "zookeeper.connect", ptr("4")})
		broker("bad value", "1", change{0, "log.cleaner.threads", ptr("many")})
		broker("other broker", "4", change{0, "log.cleaner.threads", ptr("2")})
		broker("no number", "x", change{0, "log.cleaner.threads", ptr("2")})
		broker("delete", "1", change{1, "log.cleaner.io.buffer.size", nil})
		s.ask("resource type", incremental(v, 55, name, change{0, "flush.ms", ptr("5")}))
	})
}

// scriptTopicValues sets every property of topics to values at and over its bounds.
func scriptTopicValues(s *session) {
	name, _ := s.topic("t", 1)
	keys := []string{"cleanup.policy", "compression.gzip.level", "compression.lz4.level", "compression.type",
		"compression.zstd.level", "delete.retention.ms", "errors.deadletterqueue.group.enable", "file.delete.delay.ms",
		"flush.messages", "flush.ms", "follower.replication.throttled.replicas", "index.interval.bytes",
		"leader.replication.throttled.replicas", "local.retention.bytes", "local.retention.ms", "max.compaction.lag.ms",
		"max.decompressed.message.bytes", "max.message.bytes", "message.timestamp.after.max.ms",
		"message.timestamp.before.max.ms", "message.timestamp.type", "min.cleanable.dirty.ratio", "min.compaction.lag.ms",
		"min.insync.replicas", "preallocate", "remote.copy.lag.bytes", "remote.copy.lag.ms", "remote.log.copy.disable",
		"remote.log.delete.on.disable", "remote.storage.enable", "retention.bytes", "retention.ms", "segment.bytes",
		"segment.index.bytes", "segment.jitter.ms", "segment.ms", "unclean.leader.election.enable",
		"message.format.version", "message.downconversion.enable", "internal.segment.bytes"}
	values := []string{"", "0", "1", "-1", "-2", "4", "9", "10", "17", "0.5", "1.0", "1.1", "-0.1", "true", "TRUE",
		"false", "yes", "1048575", "1048576", "2147483647", "2147483648", "9223372036854775807", "9223372036854775808",
		" 5 ", "5.0", "1e3", "0x10", "delete", "compact", "compact,delete", "delete,compact", "delete,delete", "Delete",
		"delete, compact", ",", "gzip", "producer", "uncompressed", "none", "CreateTime", "LogAppendTime", "createtime",
		"*", "0:1", "0:1,1:1", "none:1", "all"}
	for _, key := range keys {
		for _, value := range values {
			req := incremental(1, resourceTopic, name, change{0, key, &value})
			req.ValidateOnly = true
			s.ask(key+" = "+value, req)
		}
	}
}

func scriptListConfigResources(s *session) {
	topic, _ := s.topic("t", 1)
	own := func(r kmsg.Response) {
		resp := r.(*kmsg.ListConfigResourcesResponse)
		resp.ConfigResources = without(resp.ConfigResources, func(c kmsg.ListConfigResourcesResponseConfigResource) bool {
			return kmsg.ConfigResourceType(c.Type) == resourceTopic && c.Name != topic || c.Type == 32 || c.Type == 16
		})
	}
	s.each(74, func(v int16) {
		for _, types := range [][]int8{nil, {2}, {4}, {8}, {16}, {2, 4}, {2, 2}, {0}, {1}, {99}, {-1}, {2, 99}} {
			req := kmsg.NewPtrListConfigResourcesRequest()
			req.Version, req.ResourceTypes = v, types
			s.askOnly("types", req, own)
		}
	})
}
