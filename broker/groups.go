package broker

import (
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/coordinator"
	"moldau.io/moldau/coordinator/group"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/compress"
)

// groupTopics is what the coordinator of groups sees of the metadata.
type groupTopics struct{ b *Broker }

// Now is the newest metadata.
func (t groupTopics) Now() group.Metadata { return groupMetadata{t.b.image()} }

// groupMetadata is an image as the coordinator sees it.
type groupMetadata struct{ im *meta.Image }

func (m groupMetadata) Version() int64 { return m.im.Offset() }

func (m groupMetadata) Topic(name string) (group.Topic, bool) { return groupTopic(m.im.Topic(name)) }

func (m groupMetadata) TopicByID(id protocol.TopicID) (group.Topic, bool) {
	return groupTopic(m.im.TopicByID(id))
}

func groupTopic(t *meta.Topic) (group.Topic, bool) {
	if t == nil {
		return group.Topic{}, false
	}
	return group.Topic{Name: t.Name, ID: t.ID, Partitions: len(t.Partitions)}, true
}

// Names of all topics, sorted.
func (m groupMetadata) Names() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, t := range m.im.Topics() {
			if !yield(t.Name) {
				return
			}
		}
	}
}

// Racks of the brokers that hold a partition.
func (m groupMetadata) Racks(id protocol.TopicID, partition int32) []string {
	t := m.im.TopicByID(id)
	if t == nil {
		return nil
	}
	p, ok := t.Partition(partition)
	if !ok {
		return nil
	}
	var racks []string
	for _, r := range p.Replicas {
		if b := m.im.Broker(r); b != nil && b.Rack != "" {
			racks = append(racks, b.Rack)
		}
	}
	return racks
}

// groupConfig is the coordinator's part of the configuration.
func groupConfig(st *config.Static) group.Config {
	c := group.DefaultConfig()
	c.InitialRebalanceDelay = st.Millis("group.initial.rebalance.delay.ms")
	c.MinSessionTimeout = st.Millis("group.min.session.timeout.ms")
	c.MaxSessionTimeout = st.Millis("group.max.session.timeout.ms")
	c.MaxSize = int(st.Int("group.max.size"))
	c.OffsetMetadataMax = int(st.Int("offset.metadata.max.bytes"))
	c.OffsetsRetention = time.Duration(st.Int("offsets.retention.minutes")) * time.Minute
	c.RetentionCheck = st.Millis("offsets.retention.check.interval.ms")
	c.ConsumerMaxSize = int(st.Int("group.consumer.max.size"))
	c.Assignors = config.Assignors(st.List("group.consumer.assignors"))
	policy, _ := st.Get("group.consumer.migration.policy")
	c.Migration = migrations[strings.ToUpper(policy)]
	c.RegexRefresh = st.Millis("group.consumer.regex.refresh.interval.ms")
	return c
}

// migrations are the values of group.consumer.migration.policy.
var migrations = map[string]group.Migration{
	"DISABLED": 0, "UPGRADE": group.Upgrade, "DOWNGRADE": group.Downgrade, "BIDIRECTIONAL": group.Upgrade | group.Downgrade,
}

// groupConfigs answers what is configured for a group. Every heartbeat asks, so what does not depend on the group is worked
// out once for each image.
type groupConfigs struct {
	b      *Broker
	bounds [3]span // of consumerKeys
	last   atomic.Pointer[groupDefaults]
}

// consumerKeys are the keys of group.ConsumerConfig, in the order of its fields, with the broker's keys that bound them.
var consumerKeys = [3]struct{ name, low, high string }{
	{"consumer.session.timeout.ms", "group.consumer.min.session.timeout.ms", "group.consumer.max.session.timeout.ms"},
	{"consumer.heartbeat.interval.ms", "group.consumer.min.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms"},
	{"consumer.assignment.interval.ms", "group.consumer.min.assignment.interval.ms",
		"group.consumer.max.assignment.interval.ms"},
}

// span is the bounds of a value, as the broker was started with.
type span struct{ low, high time.Duration }

// groupDefaults is what holds in one image for groups that have nothing of their own.
type groupDefaults struct {
	im       *meta.Image
	view     config.View
	consumer group.ConsumerConfig
}

func newGroupConfigs(b *Broker) *groupConfigs {
	c := &groupConfigs{b: b}
	for i, key := range consumerKeys {
		c.bounds[i] = span{b.static.Millis(key.low), b.static.Millis(key.high)}
	}
	return c
}

// consumer is the configuration in force of one consumer group: its own, else the broker's. What was set within bounds that
// have since been moved is brought back into them, as in Kafka.
func (c *groupConfigs) consumer(id string) group.ConsumerConfig {
	im := c.b.image()
	d := c.last.Load()
	if d == nil || d.im != im {
		d = &groupDefaults{im: im, view: config.NewView(c.b.static, im)}
		d.consumer = c.of(d.view, nil)
		c.last.Store(d)
	}
	if own := im.Configs(config.GroupResource, id); len(own) > 0 {
		return c.of(d.view, own)
	}
	return d.consumer
}

func (c *groupConfigs) of(v config.View, own map[string]string) group.ConsumerConfig {
	var out [len(consumerKeys)]time.Duration
	for i, key := range consumerKeys {
		out[i] = time.Duration(v.GroupInt(own, key.name)) * time.Millisecond // checked when it was set
		out[i] = max(c.bounds[i].low, min(out[i], c.bounds[i].high))
	}
	return group.ConsumerConfig{Session: out[0], Heartbeat: out[1], AssignmentInterval: out[2]}
}

func newGroups(b *Broker, log *slog.Logger) *coordinator.Groups {
	cfg := groupConfig(b.static)
	cfg.ConsumerOf = newGroupConfigs(b).consumer
	b.allowsConsumerGroups = slices.ContainsFunc(b.static.List("group.coordinator.rebalance.protocols"),
		func(p string) bool { return strings.EqualFold(p, "consumer") })
	g := coordinator.NewGroups(cfg, groupTopics{b}, log)
	switch n := b.static.Int("offsets.topic.compression.codec"); {
	case n >= int64(compress.None) && n <= int64(compress.Zstd):
		g.Compress(compress.Codec(n))
	default:
		log.Warn("there is no such codec; groups are written without compression", "offsets.topic.compression.codec", n)
	}
	return g
}

// forgetTopics tells the coordinator of deleted topics: their committed offsets go with them.
func forgetTopics(g *coordinator.Groups, removed []*meta.Topic) {
	deleted := make([]group.DeletedTopic, 0, len(removed))
	for _, t := range removed {
		deleted = append(deleted, group.DeletedTopic{Name: t.Name, ID: t.ID})
	}
	if len(deleted) > 0 {
		g.ForgetTopics(deleted)
	}
}

// millis is a timeout of a request. Negative ones stay negative.
func millis(ms int32) time.Duration { return time.Duration(ms) * time.Millisecond }

// orEmpty is the string, or an empty one for null.
func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
