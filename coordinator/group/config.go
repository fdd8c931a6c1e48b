package group

import "time"

// Config is what an operator may set of groups. Zero values are not defaults; start from DefaultConfig.
type Config struct {
	// InitialRebalanceDelay is how long the first join of an empty group waits for more members; each joiner extends it
	// up to the rebalance timeout. Default 3 s (group.initial.rebalance.delay.ms).
	InitialRebalanceDelay time.Duration
	// MinSessionTimeout and MaxSessionTimeout bound what a member may ask for. Default 6 s (group.min.session.timeout.ms)
	// and 30 min (group.max.session.timeout.ms).
	MinSessionTimeout, MaxSessionTimeout time.Duration
	// MaxSize is the number of members a group may have. Default 2147483647 (group.max.size).
	MaxSize int
	// OffsetMetadataMax is the number of characters of the text that may accompany a commit. Default 4096
	// (offset.metadata.max.bytes).
	OffsetMetadataMax int
	// OffsetsRetention is how long offsets outlive their group, or the last commit of a group without members. Default
	// 7 days (offsets.retention.minutes).
	OffsetsRetention time.Duration
	// RetentionCheck is the time between two looks for expired offsets. Default 10 min
	// (offsets.retention.check.interval.ms).
	RetentionCheck time.Duration
	// NewMemberJoinTimeout is how long a member that has not completed its first rebalance may stay without a sign of
	// life. It is 5 min in Kafka and not configurable there.
	NewMemberJoinTimeout time.Duration

	// Consumer is what holds for consumer groups that have no configuration of their own.
	Consumer ConsumerConfig
	// ConsumerOf is what holds for one consumer group (kafka-configs --entity-type groups); nil: Consumer for all.
	ConsumerOf func(group string) ConsumerConfig
	// ConsumerMaxSize is the number of members of a consumer group. Default 2147483647 (group.consumer.max.size).
	ConsumerMaxSize int
	// Assignors are the names of those that members may choose from; the first is the default. Default uniform, range
	// (group.consumer.assignors).
	Assignors []string
	// Migration says which live groups may change between the classic and the consumer protocol. Default both ways
	// (group.consumer.migration.policy).
	Migration Migration
	// RegexRefresh is how old the topics that a regular expression matches may be, if no topic was made meanwhile. Default
	// 10 min (group.consumer.regex.refresh.interval.ms).
	RegexRefresh time.Duration
}

// ConsumerConfig is what may be set for one consumer group.
type ConsumerConfig struct {
	// Session is how long a member may be silent. Default 45 s (consumer.session.timeout.ms).
	Session time.Duration
	// Heartbeat is the interval that members are told. Default 5 s (consumer.heartbeat.interval.ms).
	Heartbeat time.Duration
	// AssignmentInterval is the least time between two computations of the target. Default 1 s
	// (consumer.assignment.interval.ms).
	AssignmentInterval time.Duration
}

// Migration is a set of directions.
type Migration uint8

// The directions.
const (
	Upgrade   Migration = 1 << iota // from classic to consumer
	Downgrade                       // from consumer to classic, when the last member of the new protocol leaves
)

// consumer is what holds for one group.
func (c *Config) consumer(group string) ConsumerConfig {
	if c.ConsumerOf != nil {
		return c.ConsumerOf(group)
	}
	return c.Consumer
}

// DefaultConfig is Kafka's.
func DefaultConfig() Config {
	return Config{
		InitialRebalanceDelay: 3 * time.Second,
		MinSessionTimeout:     6 * time.Second,
		MaxSessionTimeout:     30 * time.Minute,
		MaxSize:               1<<31 - 1,
		OffsetMetadataMax:     4096,
		OffsetsRetention:      7 * 24 * time.Hour,
		RetentionCheck:        10 * time.Minute,
		NewMemberJoinTimeout:  5 * time.Minute,
		Consumer: ConsumerConfig{
			Session: 45 * time.Second, Heartbeat: 5 * time.Second, AssignmentInterval: time.Second,
		},
		ConsumerMaxSize: 1<<31 - 1,
		Assignors:       []string{"uniform", "range"},
		Migration:       Upgrade | Downgrade,
		RegexRefresh:    10 * time.Minute,
	}
}
