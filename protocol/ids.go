package protocol

import (
	"encoding/base64"
	"fmt"
)

type (
	// Offset counts records in a partition. The first record of a log has offset 0.
	Offset int64
	// Epoch is the leader epoch of a partition: it rises by one with each election. -1 means unknown.
	Epoch int32
	// BrokerID is Kafka's node.id. -1 stands for a consumer in a Fetch and for "no leader" in metadata.
	BrokerID int32
	// TopicID identifies one life of a topic: deleting and creating a topic again gives a new one (KIP-516).
	// The zero value means "by name".
	TopicID [16]byte
)

// IsZero says that the id is not set.
func (id TopicID) IsZero() bool { return id == TopicID{} }

// String is the id as Kafka prints it: URL-safe base64 without padding, 22 characters.
func (id TopicID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// ParseTopicID reads what String wrote.
func ParseTopicID(s string) (TopicID, error) {
	var id TopicID
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(raw) != len(id) {
		return id, fmt.Errorf("topic id %q is not 16 bytes in URL-safe base64", s)
	}
	copy(id[:], raw)
	return id, nil
}

// TopicPartition names one partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// String is topic-partition, which is also the name of the partition's folder on disk.
func (tp TopicPartition) String() string { return fmt.Sprintf("%s-%d", tp.Topic, tp.Partition) }
