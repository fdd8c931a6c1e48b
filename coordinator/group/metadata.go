package group

import (
	"iter"

	"moldau.io/moldau/protocol"
)

// Topics leads to the newest metadata.
type Topics interface {
	// Now is the newest metadata. It does not change while it is looked at.
	Now() Metadata
}

// Metadata is what groups must know of topics, at one moment.
type Metadata interface {
	// Version rises when anything changes.
	Version() int64
	// Topic is the one that has the name now.
	Topic(name string) (Topic, bool)
	TopicByID(id protocol.TopicID) (Topic, bool)
	// Names of all topics, sorted.
	Names() iter.Seq[string]
	// Racks of the brokers that hold a partition, in the order of its replicas; brokers without a rack are left out.
	Racks(id protocol.TopicID, partition int32) []string
}

// Topic is one topic.
type Topic struct {
	Name       string
	ID         protocol.TopicID
	Partitions int
}
