//go:build compat

package differential

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	resourceLogger  = kmsg.ConfigResourceTypeBrokerLogger
	resourceMetrics = kmsg.ConfigResourceTypeClientMetrics
	resourceGroup   = kmsg.ConfigResourceTypeGroupConfig
)

// configKindScripts are about resources other than topics.
var configKindScripts = []script{
	{"group-configs", scriptGroupConfigs},
	{"client-metrics-configs", scriptClientMetricsConfigs},
	{"broker-logger-configs", scriptLoggerConfigs},
	{"dynamic-broker-values", scriptBrokerValues},
}

// try asks whether a value would be taken.
func (s *session) try(kind kmsg.ConfigResourceType, name string, changes ...change) {
	req := incremental(1, kind, name, changes...)
	req.ValidateOnly = true
	label := "try " + name
	for _, c := range changes {
		value := "null"
		if c.value != nil {
			value = *c.value
		}
		label += " " + c.key + " = " + value
	}
	s.ask(label, req)
}

func scriptGroupConfigs(s *session) {
	name := s.name("g")
	for v := int16(1); v <= 4; v++ {
		s.ask("never configured", describeConfigs(v, resourceGroup, name))
		s.ask("some keys", describeConfigs(v, resourceGroup, name, "share.isolation.level", "no.such.key",
			"streams.assignor.name"))
		s.ask("no name", describeConfigs(v, resourceGroup, ""))
	}
	keys := []string{
		"consumer.heartbeat.interval.ms", "consumer.session.timeout.ms", "consumer.assignment.interval.ms",
		"share.session.timeout.ms", "share.heartbeat.interval.ms", "share.record.lock.duration.ms",
		"share.delivery.count.limit", "share.auto.offset.reset", "share.isolation.level",
		"share.partition.max.record.locks", "share.renew.acknowledge.enable", "streams.heartbeat.interval.ms",
		"streams.session.timeout.ms", "streams.num.standby.replicas", "streams.initial.rebalance.delay.ms",
		"errors.deadletterqueue.copy.record.enable", "no.such.key", "",
	}
	values := []string{
		"", "0", "1", "2", "3", "5", "10", "11", "99", "100", "1000", "4999", "5000", "15000", "15001", "30000", "44999",
		"45000", "60000", "60001", "4000", "4001", "-1", "true", "yes", "latest", "earliest", "none", "by_duration:PT1H",
		"by_duration:P1D", "by_duration:PT", "by_duration:", "by_duration:-PT1H", "by_duration:PT1.5S", "read_committed",
		"READ_COMMITTED", "2147483648", "1.5", " 5000 ",
	}
	for _, key := range keys {
		for _, value := range values {
			s.try(resourceGroup, name, change{0, key, &value})
		}
	}
	s.try(resourceGroup, name, change{0, "consumer.session.timeout.ms", nil})
	s.try(resourceGroup, "", change{0, "consumer.session.timeout.ms", ptr("50000")})
	s.try(resourceGroup, name, change{2, "streams.rack.aware.assignment.tags", ptr("a")})
	s.try(resourceGroup, name, change{1, "no.such.key", nil})
	s.ask("set", incremental(1, resourceGroup, name, change{0, "consumer.session.timeout.ms", ptr("50000")}))
	s.until("the value", describeConfigs(4, resourceGroup, name, "consumer.session.timeout.ms"),
		func(r kmsg.Response) bool {
			return *r.(*kmsg.DescribeConfigsResponse).Resources[0].Configs[0].Value == "50000"
		})
	s.ask("after that", describeConfigs(4, resourceGroup, name))
	s.ask("replace", alterConfigs(2, resourceGroup, name, "share.isolation.level=read_committed"))
	s.until("the other value", describeConfigs(4, resourceGroup, name, "share.isolation.level"),
		func(r kmsg.Response) bool {
			return *r.(*kmsg.DescribeConfigsResponse).Resources[0].Configs[0].Value == "read_committed"
		})
	s.ask("after that", describeConfigs(4, resourceGroup, name))
}

func scriptClientMetricsConfigs(s *session) {
	name := s.name("m")
	for v := int16(1); v <= 4; v++ {
		s.ask("never configured", describeConfigs(v, resourceMetrics, name))
		s.ask("no name", describeConfigs(v, resourceMetrics, ""))
	}
	for _, value := range []string{"", "0", "99", "100", "3600000", "3600001", "x", "1.5", " 500 ", "2147483648"} {
		s.try(resourceMetrics, name, change{0, "interval.ms", &value})
	}
	for _, value := range []string{
		"", "client_id=x", "client_id=[", "foo=x", "client_id", "client_id=", "client_id=a,client_software_name=b",
		"client_id=a,", "=", "client_source_port=9.*", " client_id = a ",
	} {
		s.try(resourceMetrics, name, change{0, "match", &value})
	}
	for _, value := range []string{"", "a", "a,b", "*", "a,", "a b"} {
		s.try(resourceMetrics, name, change{0, "metrics", &value})
	}
	s.try(resourceMetrics, name, change{0, "no.such.key", ptr("1")})
	s.try(resourceMetrics, name, change{0, "interval.ms", nil})
	s.try(resourceMetrics, name, change{2, "metrics", ptr("a")})
	s.try(resourceMetrics, name, change{1, "metrics", nil})
	s.try(resourceMetrics, "", change{0, "interval.ms", ptr("500")})
}

func scriptLoggerConfigs(s *session) {
	for _, broker := range []string{"", "7", "x"} {
		s.ask("describe "+broker, describeConfigs(4, resourceLogger, broker, "root"))
		s.try(resourceLogger, broker, change{0, "root", ptr("INFO")})
	}
	for _, level := range []string{"INFO", "DEBUG", "TRACE", "WARN", "ERROR", "FATAL", "info", "LOUD", ""} {
		s.try(resourceLogger, "1", change{0, "root", &level})
	}
	s.try(resourceLogger, "1", change{0, "no.such.logger", ptr("INFO")})
	s.try(resourceLogger, "1", change{1, "root", nil})
	s.try(resourceLogger, "1", change{2, "root", ptr("INFO")})
	s.try(resourceLogger, "1", change{0, "root", nil})
	s.ask("the older API", alterConfigs(2, resourceLogger, "1", "root=INFO"))
}

// scriptBrokerValues tries dynamic values of one broker and of all.
func scriptBrokerValues(s *session) {
	keys := []string{
		"log.retention.ms", "log.segment.bytes", "log.cleanup.policy", "message.max.bytes", "compression.type",
		"compression.gzip.level", "log.message.timestamp.type", "max.connections.per.ip", "max.connection.creation.rate",
		"log.flush.interval.messages", "log.index.interval.bytes", "unclean.leader.election.enable",
		"log.cleaner.min.cleanable.ratio", "log.preallocate", "producer.id.expiration.ms", "num.partitions",
		"auto.create.topics.enable", "no.such.key", "ssl.keystore.type", "listener.name.plaintext.ssl.keystore.type",
		"listener.name.plaintext.max.connections", "leader.replication.throttled.rate", "sasl.enabled.mechanisms",
		"log.roll.hours", "max.connections", "log.roll.ms", "log.roll.jitter.ms", "log.flush.interval.ms",
		"log.retention.bytes", "log.cleaner.dedupe.buffer.size", "log.cleaner.min.compaction.lag.ms",
		"log.segment.delete.delay.ms", "max.decompressed.message.bytes", "log.message.timestamp.after.max.ms",
		"listener.name.plaintext.max.connection.creation.rate", "max.connections.per.ip.overrides",
		"transaction.partition.verification.enable", "metric.reporters", "listener.security.protocol.map",
		"principal.builder.class", "remote.fetch.max.wait.ms", "errors.deadletterqueue.topic.name.prefix",
		"log.cleaner.io.buffer.load.factor", "log.cleaner.io.max.bytes.per.second",
		"group.coordinator.cached.buffer.max.bytes",
	}
	values := []string{
		"", "0", "1", "-1", "5", "1048576", "1048575", "2147483647", "2147483648", "true", "yes", "delete",
		"compact,delete", "delete,", "0.5", "1.5", "gzip", "zip", "CreateTime", " 5 ", "PLAIN", "127.0.0.1:5", "a:1,b:x",
		":1",
	}
	for _, key := range keys {
		for _, value := range values {
			s.try(resourceBroker, "1", change{0, key, &value})
			s.try(resourceBroker, "", change{0, key, &value})
		}
		s.try(resourceBroker, "1", change{2, key, ptr("a")})
		s.try(resourceBroker, "1", change{3, key, ptr("a")})
		s.try(resourceBroker, "1", change{1, key, nil})
		s.try(resourceBroker, "1", change{9, key, ptr("a")})
	}
}
