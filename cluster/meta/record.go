package meta

import (
	"moldau.io/moldau/protocol"
)

// Record is one change to the metadata. A record says what is so from now on, never what to do: who applies it has
// nothing left to decide.
type Record interface{ kind() recordKind }

type recordKind uint8

// The numbers are on disk; they are never given to another record.
const (
	kindCluster        recordKind = 1
	kindFeature        recordKind = 2
	kindBroker         recordKind = 3
	kindTopic          recordKind = 4
	kindPartitions     recordKind = 5
	kindRemoveTopic    recordKind = 6
	kindConfig         recordKind = 7
	kindProducerIDs    recordKind = 8
	kindBrokerElection recordKind = 9
)

type (
	// ClusterRecord names the cluster. It is the first record of its log.
	ClusterRecord struct{ ID string }

	// FeatureRecord finalizes a feature at a level; level 0 takes it back.
	FeatureRecord struct {
		Name  string
		Level int16
	}

	// BrokerRecord is a broker as it is from now on.
	BrokerRecord struct{ Broker Broker }

	// TopicRecord is a new topic, still without partitions.
	TopicRecord struct {
		Name string
		ID   protocol.TopicID
	}

	// PartitionsRecord is a run of partitions of one topic as they are from now on. First is at most the number of
	// partitions that the topic has, so that there are never gaps.
	PartitionsRecord struct {
		Topic      protocol.TopicID
		First      int32
		Partitions []Partition
	}

	// RemoveTopicRecord is the end of a topic, its partitions and its configuration.
	RemoveTopicRecord struct{ Topic protocol.TopicID }

	// ConfigRecord sets one key of one resource, or unsets it where Value is nil.
	ConfigRecord struct {
		Resource Resource
		Key      string
		Value    *string
	}

	// ProducerIDsRecord says that all producer ids below Next have been given to some broker.
	ProducerIDsRecord struct{ Next int64 }

	// BrokerElectionRecord elects a broker anew in every partition that it leads already: each gets the next leader epoch.
	// A broker that comes back has it written, so that clients can tell records of before the stop, of which a crash
	// may have lost some, from records of after it (KIP-320).
	BrokerElectionRecord struct{ Broker protocol.BrokerID }
)

func (ClusterRecord) kind() recordKind        { return kindCluster }
func (FeatureRecord) kind() recordKind        { return kindFeature }
func (BrokerRecord) kind() recordKind         { return kindBroker }
func (TopicRecord) kind() recordKind          { return kindTopic }
func (PartitionsRecord) kind() recordKind     { return kindPartitions }
func (RemoveTopicRecord) kind() recordKind    { return kindRemoveTopic }
func (ConfigRecord) kind() recordKind         { return kindConfig }
func (ProducerIDsRecord) kind() recordKind    { return kindProducerIDs }
func (BrokerElectionRecord) kind() recordKind { return kindBrokerElection }
