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

	// Of clusters of several brokers.
	kindPartitionsInFull recordKind = 10 // partitions of which some have more than a single broker's
	kindPartitionChanges recordKind = 11
	kindBrokerChange     recordKind = 12
	kindRemoveBroker     recordKind = 13
	kindBrokerEpochs     recordKind = 14
	kindNode             recordKind = 15
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

	// PartitionChangesRecord is what becomes of some partitions of one topic. It is the record of elections and of changes
	// to in-sync replicas, and small: when a broker dies, there is one change for each partition that it led or followed.
	PartitionChangesRecord struct {
		Topic   protocol.TopicID
		Changes []PartitionChange
	}

	// PartitionChange is one partition's change: those of To's fields that Fields names, and always To.Epoch, are as in To
	// from now on. All other fields of To are zero.
	PartitionChange struct {
		Partition int32
		Fields    PartitionFields
		To        Partition
	}

	// BrokerChangeRecord is what becomes of a registered broker. Epoch is that of the registration.
	BrokerChangeRecord struct {
		ID       protocol.BrokerID
		Epoch    int64
		Fenced   bool
		Stopping bool
		Draining bool
	}

	// RemoveBrokerRecord ends a registration, and what was known of the broker's node. Epoch is -1 for a node that was
	// admitted and has never registered.
	RemoveBrokerRecord struct {
		ID    protocol.BrokerID
		Epoch int64
	}

	// BrokerEpochsRecord says that all broker epochs up to Last have been given out. Only snapshots need it, for brokers that
	// have been removed.
	BrokerEpochsRecord struct{ Last int64 }

	// NodeRecord is a node that has been given its id.
	NodeRecord struct{ Node Node }
)

// PartitionFields names fields of a Partition.
type PartitionFields uint8

// The bits are on disk.
const (
	FieldReplicas PartitionFields = 1 << iota
	FieldISR
	FieldLeader // and LeaderEpoch
	FieldELR
	FieldLastKnownELR
	FieldAdding
	FieldRemoving
	FieldRecovering
)

func (ClusterRecord) kind() recordKind        { return kindCluster }
func (FeatureRecord) kind() recordKind        { return kindFeature }
func (BrokerRecord) kind() recordKind         { return kindBroker }
func (TopicRecord) kind() recordKind          { return kindTopic }
func (RemoveTopicRecord) kind() recordKind    { return kindRemoveTopic }
func (ConfigRecord) kind() recordKind         { return kindConfig }
func (ProducerIDsRecord) kind() recordKind    { return kindProducerIDs }
func (BrokerElectionRecord) kind() recordKind { return kindBrokerElection }

// kind is the old one wherever it says it all, so that a folder of a single broker can be read by builds of before there
// were clusters.
func (r PartitionsRecord) kind() recordKind {
	for i := range r.Partitions {
		if r.Partitions[i].more() {
			return kindPartitionsInFull
		}
	}
	return kindPartitions
}

func (PartitionChangesRecord) kind() recordKind { return kindPartitionChanges }
func (BrokerChangeRecord) kind() recordKind     { return kindBrokerChange }
func (RemoveBrokerRecord) kind() recordKind     { return kindRemoveBroker }
func (BrokerEpochsRecord) kind() recordKind     { return kindBrokerEpochs }
func (NodeRecord) kind() recordKind             { return kindNode }

// more says that p has anything that a partition of a single broker has not.
func (p *Partition) more() bool {
	return len(p.ELR) > 0 || len(p.LastKnownELR) > 0 || len(p.Adding) > 0 || len(p.Removing) > 0 || p.Recovering
}
