package broker

import (
	"log/slog"
	"time"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/coordinator"
	"moldau.io/moldau/coordinator/group"
	"moldau.io/moldau/protocol"
)

// groupTopics is what the coordinator of groups sees of the metadata.
type groupTopics struct{ b *Broker }

// ID is the id of the topic that has the name now; zero if there is none.
func (t groupTopics) ID(topic string) protocol.TopicID {
	if found := t.b.image().Topic(topic); found != nil {
		return found.ID
	}
	return protocol.TopicID{}
}

// Partitions is the number of partitions of the topic that has the name now; 0 if there is none.
func (t groupTopics) Partitions(topic string) int {
	if found := t.b.image().Topic(topic); found != nil {
		return len(found.Partitions)
	}
	return 0
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
	return c
}

func newGroups(b *Broker, log *slog.Logger) *coordinator.Groups {
	return coordinator.NewGroups(groupConfig(b.static), groupTopics{b}, log)
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
