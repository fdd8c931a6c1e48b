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
	}
}
