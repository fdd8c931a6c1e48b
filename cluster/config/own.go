package config

import (
	"encoding/base64"
	"slices"
	"strings"
	"time"
)

// Own finds one of moldau's own keys; they all begin with "moldau.".
func Own(name string) (*Key, bool) {
	k, ok := ownKeys[name]
	return k, ok
}

func text(s string) *string { return &s }

func address(v value) (string, bool) {
	const allowed = "host:port, with a port from 0 to 65535"
	if v.text == "" || strings.Contains(v.text, "://") {
		return allowed, false
	}
	_, err := ParseListeners(v.text, map[string]string{"PLAINTEXT": "PLAINTEXT"})
	return allowed, err == nil
}

func addressOrNone(v value) (string, bool) {
	allowed, ok := address(v)
	return allowed + ", or empty for none", ok || v.text == ""
}

// clusterKey takes what memberlist and the link take for a key.
func clusterKey(v value) (string, bool) {
	const allowed = "16, 24 or 32 bytes in base64, as from: head -c 32 /dev/urandom | base64"
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(v.text))
	return allowed, err == nil && slices.Contains([]int{0, 16, 24, 32}, len(key))
}

// Durability is the key, of brokers and of topics, that says when an append is acknowledged.
const Durability = "moldau.durability"

func duration(v value) (string, bool) {
	d, err := time.ParseDuration(v.text)
	return "a duration such as 90s or 10m, or 0", err == nil && d >= 0
}

func oneOf(values ...string) validator {
	return func(v value) (string, bool) {
		return "one of " + strings.Join(values, ", "), slices.Contains(values, v.text)
	}
}

func someOf(values ...string) validator {
	return func(v value) (string, bool) {
		allowed := "any of " + strings.Join(values, ", ")
		for e := range strings.SplitSeq(v.text, ",") {
			if e = strings.TrimSpace(e); e != "" && !slices.Contains(values, e) {
				return allowed, false
			}
		}
		return allowed, true
	}
}

const durabilityDoc = "When an append is acknowledged: kafka is when it is in the page cache of every in-sync replica, " +
	"fsync when it is on their disks."

// ownTopicKeys are described only for topics that set them, so that a description reads as Kafka's otherwise.
var ownTopicKeys = map[string]*Key{
	Durability: {
		Name: Durability, Type: String, Default: text("kafka"), Importance: "HIGH", Mode: OfTopic, Internal: true,
		Synonyms: []string{Durability}, Allowed: "[kafka, fsync]", check: oneOf("kafka", "fsync"), Doc: durabilityDoc,
	},
}

var ownKeys = map[string]*Key{
	Durability: {
		Name: Durability, Type: String, Default: text("kafka"), Importance: "HIGH", Mode: ClusterWide,
		check: oneOf("kafka", "fsync"), Doc: durabilityDoc + " Topics may set their own.",
	},
	"moldau.disk.reserve.bytes": {
		Name: "moldau.disk.reserve.bytes", Type: Long, Default: text("268435456"), Importance: "MEDIUM", Mode: ClusterWide,
		check: notNegative, Doc: "Bytes that are kept free in the file system of each data folder.",
	},
	"moldau.disk.full.policy": {
		Name: "moldau.disk.full.policy", Type: String, Default: text("reject"), Importance: "MEDIUM", Mode: ClusterWide,
		check: oneOf("reject", "delete-oldest"),
		Doc: "What happens when only the reserve is left of a disk: reject refuses to append until there is space again; " +
			"delete-oldest removes the oldest closed segments of topics whose cleanup.policy contains delete, before their time.",
	},
	"moldau.scrub.bytes.per.second": {
		Name: "moldau.scrub.bytes.per.second", Type: Long, Default: text("4194304"), Importance: "LOW", Mode: ClusterWide,
		check: notNegative,
		Doc:   "How fast closed segments are read in the background to find damage before somebody needs them; 0 for never.",
	},
	"moldau.group.lag.metrics": {
		Name: "moldau.group.lag.metrics", Type: Int, Default: text("10000"), Importance: "LOW", check: notNegative,
		Doc: "Of how many partitions of groups the lag is in the metrics, at most; the groups that come first by name are. " +
			"0 for none.",
	},
	"moldau.auto.heal": {
		Name: "moldau.auto.heal", Type: String, Default: text("0"), Importance: "MEDIUM", Mode: ClusterWide, check: duration,
		Doc: "After how long the replicas of a broker that stays away are given to other brokers, such as 10m or 1h30m; 0 for " +
			"never. It should be longer than a restart takes.",
	},
	"moldau.adopt.ignore": {
		Name: "moldau.adopt.ignore", Type: List, Default: text(""), Importance: "LOW",
		check: someOf("acls", "scram", "quotas", "tokens", "missing", "lagging"),
		Doc: "What of a data folder of Apache Kafka may be left behind when it is taken over: acls, scram, quotas, tokens, " +
			"missing (partitions whose records are elsewhere), lagging (partitions that were not in sync here).",
	},
	"moldau.admin.listen": {
		Name: "moldau.admin.listen", Type: String, Default: text("127.0.0.1:9644"), Importance: "MEDIUM", check: addressOrNone,
		Doc: "Address of the HTTP listener for metrics, health and the console; the flag --admin-listen.",
	},
	"moldau.cluster.listen": {
		Name: "moldau.cluster.listen", Type: String, Default: text("127.0.0.1:9190"), Importance: "MEDIUM", check: address,
		Doc: "Address for gossip and the metadata quorum; the flag --cluster-listen.",
	},
	"moldau.cluster.advertise": {
		Name: "moldau.cluster.advertise", Type: String, Default: text(""), Importance: "MEDIUM", check: addressOrNone,
		Doc: "Address at which other brokers dial this one's moldau.cluster.listen, where that is another.",
	},
	"moldau.gossip.key": {
		Name: "moldau.gossip.key", Type: Password, Default: text(""), Importance: "MEDIUM", check: clusterKey,
		Doc: "Encrypts and authenticates everything between brokers at their cluster addresses: 16, 24 or 32 bytes in base64, " +
			"the same for all brokers. Empty for none.",
	},
	"moldau.quorum.voters": {
		Name: "moldau.quorum.voters", Type: Int, Default: text("5"), Importance: "LOW",
		check: oneOf("1", "3", "5"),
		Doc: "How many brokers vote on the metadata at most. One votes in a cluster of one or two, three vote from three brokers " +
			"on, five from seven on; the others follow.",
	},
}

// listenerPrefix begins a key that holds for one listener only: listener.name.NAME.KEY.
const listenerPrefix = "listener.name."

// baseKey takes the listener's prefix off a key.
func baseKey(name string) string {
	rest, ok := strings.CutPrefix(name, listenerPrefix)
	if !ok {
		return name
	}
	_, rest, ok = strings.Cut(rest, ".")
	if !ok {
		return name
	}
	return rest
}

// extensionKey says whether Kafka, or a plug-in of it, reads a key that its own table does not hold.
func extensionKey(name string) bool {
	switch name {
	case "super.users", "allow.everyone.if.no.acl.found", "zookeeper.connect", "zookeeper.connection.timeout.ms",
		"zookeeper.session.timeout.ms", "leader.replication.throttled.rate", "follower.replication.throttled.rate",
		"replica.alter.log.dirs.io.max.bytes.per.second":
		return true
	}
	for _, p := range []string{"config.providers.", "rsm.config.", "rlmm.config.", listenerPrefix} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// HasEffect says whether a broker key changes anything in moldau.
func HasEffect(name string) bool { return effective[name] }

// effective are the broker keys that something in moldau reads.
var effective = map[string]bool{
	"node.id": true, "broker.id": true, "broker.rack": true, "process.roles": true,
	"listeners": true, "advertised.listeners": true, "listener.security.protocol.map": true,
	"controller.listener.names": true, "controller.quorum.voters": true, "controller.quorum.bootstrap.servers": true,
	"broker.session.timeout.ms": true, "broker.heartbeat.interval.ms": true,
	"log.dir": true, "log.dirs": true, "metadata.log.dir": true,
	"auto.create.topics.enable": true, "num.partitions": true, "default.replication.factor": true,
	"inter.broker.listener.name": true, "security.inter.broker.protocol": true, "num.replica.fetchers": true,
	"replica.fetch.backoff.ms": true, "replica.fetch.max.bytes": true, "replica.fetch.min.bytes": true,
	"replica.fetch.response.max.bytes": true, "replica.fetch.wait.max.ms": true, "replica.lag.time.max.ms": true,
	"replica.selector.class": true, "replica.socket.timeout.ms": true,
	"auto.leader.rebalance.enable": true, "leader.imbalance.check.interval.seconds": true,
	"delete.topic.enable": true, "min.insync.replicas": true, "unclean.leader.election.enable": true,
	"message.max.bytes": true, "max.decompressed.message.bytes": true, "compression.type": true,
	"compression.gzip.level": true, "compression.lz4.level": true, "compression.zstd.level": true,
	"log.message.timestamp.type": true, "log.message.timestamp.before.max.ms": true,
	"log.message.timestamp.after.max.ms": true,
	"log.segment.bytes":                  true, "log.roll.ms": true, "log.roll.hours": true, "log.index.interval.bytes": true,
	"log.index.size.max.bytes": true, "log.cleanup.policy": true, "log.segment.delete.delay.ms": true,
	"log.flush.interval.messages": true, "log.flush.interval.ms": true,
	"socket.request.max.bytes": true, "connections.max.idle.ms": true, "max.connections": true,
	"max.connections.per.ip": true, "queued.max.request.bytes": true,
	"fetch.max.bytes": true, "max.incremental.fetch.session.cache.slots": true, "max.request.partition.size.limit": true,
	"group.initial.rebalance.delay.ms": true, "group.min.session.timeout.ms": true, "group.max.session.timeout.ms": true,
	"group.max.size": true, "offset.metadata.max.bytes": true, "offsets.retention.minutes": true,
	"offsets.retention.check.interval.ms": true, "offsets.topic.num.partitions": true,
	"offsets.topic.replication.factor": true, "offsets.topic.segment.bytes": true,
	"offsets.topic.compression.codec": true,
	"group.consumer.assignors":        true, "group.consumer.max.size": true, "group.consumer.migration.policy": true,
	"group.consumer.regex.refresh.interval.ms": true, "group.coordinator.rebalance.protocols": true,
	"group.consumer.session.timeout.ms": true, "group.consumer.min.session.timeout.ms": true,
	"group.consumer.max.session.timeout.ms": true, "group.consumer.heartbeat.interval.ms": true,
	"group.consumer.min.heartbeat.interval.ms": true, "group.consumer.max.heartbeat.interval.ms": true,
	"group.consumer.assignment.interval.ms": true, "group.consumer.min.assignment.interval.ms": true,
	"group.consumer.max.assignment.interval.ms": true,
	"max.connection.creation.rate":              true, "authorizer.class.name": true, "config.providers": true,
	"producer.id.expiration.ms": true, "producer.id.expiration.check.interval.ms": true,
	"log.flush.offset.checkpoint.interval.ms": true, "log.flush.scheduler.interval.ms": true, "log.roll.jitter.ms": true,
	"log.roll.jitter.hours": true, "num.recovery.threads.per.data.dir": true,
	"replica.high.watermark.checkpoint.interval.ms": true,
	"log.retention.check.interval.ms":               true, "log.retention.ms": true, "log.retention.minutes": true,
	"log.retention.hours": true, "log.retention.bytes": true, "log.cleaner.enable": true, "log.cleaner.threads": true,
	"log.cleaner.backoff.ms": true, "log.cleaner.dedupe.buffer.size": true, "log.cleaner.io.buffer.load.factor": true,
	"log.cleaner.io.buffer.size": true, "log.cleaner.io.max.bytes.per.second": true,
	"log.cleaner.min.cleanable.ratio": true, "log.cleaner.min.compaction.lag.ms": true,
	"log.cleaner.max.compaction.lag.ms": true, "log.cleaner.delete.retention.ms": true,
	"log.flush.start.offset.checkpoint.interval.ms": true,
}
