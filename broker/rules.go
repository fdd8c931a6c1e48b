package broker

import (
	"math"
	"strconv"
	"strings"
	"time"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/protocol/compress"
	"moldau.io/moldau/storage"
)

// topicRules is a topic's configuration as the partitions need it. It is immutable; a change makes another.
type topicRules struct {
	batch     batch.Rules // without the partition and the time
	minInsync int         // min.insync.replicas
	deletes   bool        // cleanup.policy contains delete
	log       storage.Config

	leaderThrottled, followerThrottled throttledReplicas
}

// targets are the values of compression.type.
var targets = map[string]compress.Codec{
	"producer": batch.KeepProducer, "uncompressed": compress.None, "gzip": compress.Gzip, "snappy": compress.Snappy,
	"lz4": compress.LZ4, "zstd": compress.Zstd,
}

func newTopicRules(st *config.Static, src config.Source, topic string) *topicRules {
	v := config.NewView(st, src)
	own := src.Configs(config.TopicResource, topic)
	policy, _ := v.Topic(own, "cleanup.policy")
	policies := strings.Split(policy, ",")
	timestamps, _ := v.Topic(own, "message.timestamp.type")
	compression, _ := v.Topic(own, "compression.type")
	r := &topicRules{
		minInsync: int(v.TopicInt(own, "min.insync.replicas")),
		batch: batch.Rules{
			LogAppendTime:         timestamps == "LogAppendTime",
			TimestampBeforeMaxMs:  v.TopicInt(own, "message.timestamp.before.max.ms"),
			TimestampAfterMaxMs:   v.TopicInt(own, "message.timestamp.after.max.ms"),
			MaxBytes:              int(v.TopicInt(own, "max.message.bytes")),
			MaxDecompressedRecord: int(v.TopicInt(own, "max.decompressed.message.bytes")),
			Target:                targets[compression],
		},
	}
	leaders, _ := v.Topic(own, "leader.replication.throttled.replicas")
	followers, _ := v.Topic(own, "follower.replication.throttled.replicas")
	r.leaderThrottled, r.followerThrottled = newThrottledReplicas(leaders), newThrottledReplicas(followers)
	switch r.batch.Target {
	case compress.Gzip:
		r.batch.Level = int(v.TopicInt(own, "compression.gzip.level"))
	case compress.LZ4:
		r.batch.Level = int(v.TopicInt(own, "compression.lz4.level"))
	case compress.Zstd:
		r.batch.Level = int(v.TopicInt(own, "compression.zstd.level"))
	}
	for _, p := range policies {
		switch strings.TrimSpace(p) {
		case "compact":
			r.batch.Compacted = true
		case "delete":
			r.deletes = true
		}
	}
	r.log = logConfig(v, own)
	r.log.Deletes, r.log.Compacts = r.deletes, r.batch.Compacted
	r.log.Internal = meta.IsInternal(topic)
	r.log.Codec, r.log.Level, r.log.MaxBatchBytes = r.batch.Target, r.batch.Level, r.batch.MaxBytes
	return r
}

// logConfig is how storage keeps the topic's logs.
func logConfig(v config.View, own map[string]string) storage.Config {
	c := storage.DefaultConfig()
	c.SegmentBytes = v.TopicInt(own, "segment.bytes")
	if n := v.TopicInt(own, "internal.segment.bytes"); n > 0 {
		c.SegmentBytes = n
	}
	c.SegmentAge = duration(v.TopicInt(own, "segment.ms"))
	c.SegmentJitter = duration(v.TopicInt(own, "segment.jitter.ms"))
	c.IndexInterval = v.TopicInt(own, "index.interval.bytes")
	c.IndexBytes = v.TopicInt(own, "segment.index.bytes")
	c.FlushMessages = v.TopicInt(own, "flush.messages")
	c.FlushInterval = duration(v.TopicInt(own, "flush.ms"))
	c.DeleteDelay = duration(v.TopicInt(own, "file.delete.delay.ms"))
	c.ProducerExpiry = duration(v.BrokerInt("producer.id.expiration.ms"))
	c.RetentionAge = duration(v.TopicInt(own, "retention.ms"))
	c.RetentionBytes = v.TopicInt(own, "retention.bytes")
	ratio, _ := v.Topic(own, "min.cleanable.dirty.ratio")
	c.MinCleanableRatio, _ = strconv.ParseFloat(ratio, 64)
	c.MinCompactionLag = duration(v.TopicInt(own, "min.compaction.lag.ms"))
	c.MaxCompactionLag = duration(v.TopicInt(own, "max.compaction.lag.ms"))
	c.DeleteRetention = duration(v.TopicInt(own, "delete.retention.ms"))
	durability, _ := v.Topic(own, config.Durability)
	c.Fsync = durability == "fsync"
	return c
}

// duration is a number of milliseconds as a Duration; more than that holds (292 years) is the largest one, which storage
// takes for never.
func duration(n int64) time.Duration {
	const most = int64(math.MaxInt64 / time.Millisecond)
	switch {
	case n > most:
		return math.MaxInt64
	case n < -most:
		return math.MinInt64
	}
	return time.Duration(n) * time.Millisecond
}
