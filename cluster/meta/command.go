package meta

import (
	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/protocol"
)

// Command is a wish to change the metadata. The types that end in "Reply" answer it, one for each kind of command.
type Command interface{ command() }

// Reply is the answer to a Command: for a command X it is an XReply.
type Reply interface{ reply() }

type (
	// Bootstrap begins a cluster: it is refused once there is one.
	Bootstrap struct {
		ClusterID string
		Features  []Feature
	}

	// BootstrapReply has nothing to say.
	BootstrapReply struct{}

	// RegisterBroker is a broker that has started, or that has changed what it tells of itself.
	RegisterBroker struct {
		ID        protocol.BrokerID
		Rack      string
		Listeners []Listener

		// SameEpochs says that the broker has lost no record since it was here last and that its partitions are to go on in
		// the same leader epochs.
		SameEpochs bool

		// Incarnation is drawn at each start of the process, so that a registration that is repeated is told from another
		// process with the same id.
		Incarnation protocol.TopicID

		// CleanEpoch is the epoch under which this broker ended in order, all its logs flushed; -1 where it did not. A broker
		// that did not may have lost records: it leaves every ISR and ELR that it is in (KIP-966).
		CleanEpoch int64

		Cluster  string
		Quorum   uint64
		Version  string
		Features []FeatureRange
	}

	// RegisterBrokerReply tells the broker under which epoch it is known from now on.
	RegisterBrokerReply struct{ Epoch int64 }

	// BrokerHeartbeat renews a broker's lease with the controller (BrokerHeartbeatManager). A broker is fenced from its
	// registration on until it has applied the metadata up to that, and when its lease runs out.
	BrokerHeartbeat struct {
		ID           protocol.BrokerID
		Epoch        int64
		Offset       int64 // of the metadata that it has applied
		WantFence    bool
		WantShutdown bool
	}

	// BrokerHeartbeatReply tells a broker its own state.
	BrokerHeartbeatReply struct {
		CaughtUp bool
		Fenced   bool
		Shutdown bool // it leads nothing any more and may stop
	}

	// BrokerGone says that a process is known to have ended: its address refuses connections. The broker is fenced at once,
	// unless it has registered anew meanwhile.
	BrokerGone struct {
		ID    protocol.BrokerID
		Epoch int64
	}

	// BrokerGoneReply has nothing to say.
	BrokerGoneReply struct{}

	// AdmitNode gives a node that wants to join its id: the one that it asks for, or that of the dead broker that was last
	// at its address, or a new one.
	AdmitNode struct {
		Asked   protocol.BrokerID // -1: any
		Cluster string            // its cluster address
		Quorum  uint64            // drawn by the node; one that comes back with the same has lost nothing
	}

	// AdmitNodeReply is who the node is from now on.
	AdmitNodeReply struct {
		ID        protocol.BrokerID
		ClusterID string
	}

	// UnregisterBroker forgets a broker that is not alive.
	UnregisterBroker struct{ ID protocol.BrokerID }

	// UnregisterBrokerReply has nothing to say.
	UnregisterBrokerReply struct{}

	// DrainBroker has everything moved off a broker, or ends that.
	DrainBroker struct {
		ID    protocol.BrokerID
		Drain bool
	}

	// DrainBrokerReply has nothing to say.
	DrainBrokerReply struct{}

	// AlterPartition is a leader's wish to change who is in sync with it, for several partitions, each by itself.
	AlterPartition struct {
		Broker      protocol.BrokerID
		BrokerEpoch int64
		Partitions  []ISRChange
	}

	// ISRChange is the change to one partition.
	ISRChange struct {
		Topic       protocol.TopicID
		Partition   int32
		LeaderEpoch protocol.Epoch
		Epoch       int32 // of the partition, that the change starts from
		ISR         []ISRMember
		Recovered   bool // an uncleanly elected leader has recovered
	}

	// ISRMember is a replica that is to be in sync, and the registration under which it has caught up (KIP-903).
	ISRMember struct {
		ID    protocol.BrokerID
		Epoch int64 // -1: not known
	}

	// AlterPartitionReply has one result for each change, in their order.
	AlterPartitionReply struct{ Partitions []ISRChanged }

	// ISRChanged is the partition after the change, or why there was none.
	ISRChanged struct {
		Code      protocol.Code
		Partition Partition
	}

	// ElectLeaders elects the preferred replicas, or where Unclean is set any replica that is alive.
	ElectLeaders struct {
		Unclean    bool
		All        bool
		Partitions []protocol.TopicPartition
	}

	// ElectLeadersReply has one result for each partition of the command; with All, for those that were elected or failed.
	ElectLeadersReply struct{ Partitions []PartitionResult }

	// PartitionResult is what became of one partition.
	PartitionResult struct {
		Partition protocol.TopicPartition
		Outcome   Outcome
	}

	// AlterReassignments starts, changes and cancels the moves of partitions to other replicas.
	AlterReassignments struct {
		Partitions []Reassignment

		// KeepFactor refuses what would change how many replicas a partition has.
		KeepFactor bool
	}

	// Reassignment gives a partition other replicas. Nil ones cancel the reassignment that goes on.
	Reassignment struct {
		Partition protocol.TopicPartition
		Replicas  []protocol.BrokerID
	}

	// AlterReassignmentsReply has one result for each partition of the command, in its order.
	AlterReassignmentsReply struct{ Partitions []PartitionResult }

	// CreateTopics creates topics, each by itself: some may fail and others not.
	CreateTopics struct {
		Topics       []NewTopic
		ValidateOnly bool // decide and answer as always, but create nothing
	}

	// NewTopic is a topic to create. Partitions and ReplicationFactor of -1 ask for the cluster's defaults, and must be -1
	// where Assignments say it all.
	NewTopic struct {
		Name              string
		Partitions        int32
		ReplicationFactor int16
		Assignments       []Assignment
		Configs           []ConfigPair
	}

	// Assignment places one partition by hand.
	Assignment struct {
		Partition int32
		Replicas  []protocol.BrokerID
	}

	// ConfigPair is a key with the value that is asked for it; a null value is refused.
	ConfigPair struct {
		Key   string
		Value *string
	}

	// CreateTopicsReply has one result for each topic of the command, in its order.
	CreateTopicsReply struct{ Topics []CreatedTopic }

	// CreatedTopic is what became of one NewTopic. Only Name and Err are set where Err is.
	CreatedTopic struct {
		Name              string
		Outcome           Outcome
		ID                protocol.TopicID // with ValidateOnly: an id that nothing has
		Partitions        int32
		ReplicationFactor int16
		Configs           map[string]string // what was set on the topic
	}

	// DeleteTopics deletes topics, each by itself.
	DeleteTopics struct{ Topics []TopicRef }

	// TopicRef names a topic by its name or by its id, never by both.
	TopicRef struct {
		Name string
		ID   protocol.TopicID
	}

	// DeleteTopicsReply has one result for each topic of the command, in its order.
	DeleteTopicsReply struct{ Topics []DeletedTopic }

	// DeletedTopic is what became of one TopicRef. Name and ID are both set where the topic was found.
	DeletedTopic struct {
		Name    string
		ID      protocol.TopicID
		Outcome Outcome
	}

	// CreatePartitions adds partitions to topics, each topic by itself.
	CreatePartitions struct {
		Topics       []MorePartitions
		ValidateOnly bool
	}

	// MorePartitions asks for Count partitions in all. Assignments, where given, place the new ones.
	MorePartitions struct {
		Name        string
		Count       int32
		Assignments [][]protocol.BrokerID
		Assigned    bool // Assignments are given, if only an empty list
	}

	// CreatePartitionsReply has one result for each topic of the command, in its order.
	CreatePartitionsReply struct{ Topics []TopicResult }

	// TopicResult is what became of one topic.
	TopicResult struct {
		Name    string
		Outcome Outcome
	}

	// AlterConfigs changes configurations, each resource by itself.
	AlterConfigs struct {
		Resources    []AlterResource
		Replace      bool // the old AlterConfigs: what is not named is unset
		ValidateOnly bool
	}

	// AlterResource is the changes to one resource.
	AlterResource struct {
		Resource Resource
		Ops      []ConfigOp
	}

	// ConfigOp changes one key. With Replace, Op is Set.
	ConfigOp struct {
		Key   string
		Op    Op
		Value *string
	}

	// AlterConfigsReply has one result for each resource of the command, in its order.
	AlterConfigsReply struct{ Resources []ResourceResult }

	// ResourceResult is what became of one resource.
	ResourceResult struct {
		Resource Resource
		Outcome  Outcome
	}

	// UpdateFeatures finalizes features at other levels, all or none.
	UpdateFeatures struct {
		Updates      []FeatureUpdate
		ValidateOnly bool

		Node      protocol.BrokerID // who asks, and what it knows how to behave at
		Supported []FeatureRange
	}

	// FeatureUpdate asks for one level; 0 takes the feature back.
	FeatureUpdate struct {
		Name  string
		Level int16
		Kind  FeatureUpdateKind
	}

	// FeatureRange is the levels of a feature that a broker supports.
	FeatureRange struct {
		Name     string
		Min, Max int16
	}

	// UpdateFeaturesReply says what was wrong with the first update that was.
	UpdateFeaturesReply struct{ Outcome Outcome }

	// Adopt takes over what another broker's metadata says of the same cluster: it begins the cluster where there is none,
	// and else brings topics that were adopted before up to what they have become since.
	Adopt struct {
		ClusterID      string
		Features       []Feature // of a cluster that it begins; those not named are as in any new cluster
		Topics         []Topic   // with ids, placement and epochs as they are to be
		Removed        []protocol.TopicID
		Configs        []AdoptedConfigs
		NextProducerID int64
	}

	// AdoptedConfigs is everything that is to be set on one resource.
	AdoptedConfigs struct {
		Resource Resource
		Values   map[string]string
	}

	// AdoptReply names what was not taken.
	AdoptReply struct{ Refused []RefusedConfig }

	// RefusedConfig is a key that was not taken; an empty one stands for all keys of the resource.
	RefusedConfig struct {
		Resource Resource
		Key      string
		Outcome  Outcome
	}

	// AllocateProducerIDs asks for a block of producer ids that nobody else will ever be given.
	AllocateProducerIDs struct {
		Broker      protocol.BrokerID
		BrokerEpoch int64
	}

	// AllocateProducerIDsReply is the block: Count ids from First on.
	AllocateProducerIDsReply struct {
		First int64
		Count int32
	}
)

// FeatureUpdateKind is what whoever updates a feature agrees to; the numbers are those of UpdateFeatures.
type FeatureUpdateKind int8

const (
	Upgrade         FeatureUpdateKind = 1
	SafeDowngrade   FeatureUpdateKind = 2
	UnsafeDowngrade FeatureUpdateKind = 3
)

// Op says what an incremental change does to a key; the numbers are those of IncrementalAlterConfigs.
type Op int8

const (
	Set      Op = 0
	Delete   Op = 1
	Append   Op = 2
	Subtract Op = 3
)

func (Bootstrap) command()           {}
func (RegisterBroker) command()      {}
func (CreateTopics) command()        {}
func (DeleteTopics) command()        {}
func (CreatePartitions) command()    {}
func (AlterConfigs) command()        {}
func (AllocateProducerIDs) command() {}
func (UpdateFeatures) command()      {}
func (Adopt) command()               {}

func (BrokerHeartbeat) command()    {}
func (BrokerGone) command()         {}
func (AdmitNode) command()          {}
func (UnregisterBroker) command()   {}
func (DrainBroker) command()        {}
func (AlterPartition) command()     {}
func (ElectLeaders) command()       {}
func (AlterReassignments) command() {}

func (BrokerHeartbeatReply) reply()    {}
func (BrokerGoneReply) reply()         {}
func (AdmitNodeReply) reply()          {}
func (UnregisterBrokerReply) reply()   {}
func (DrainBrokerReply) reply()        {}
func (AlterPartitionReply) reply()     {}
func (ElectLeadersReply) reply()       {}
func (AlterReassignmentsReply) reply() {}

func (BootstrapReply) reply()           {}
func (RegisterBrokerReply) reply()      {}
func (CreateTopicsReply) reply()        {}
func (DeleteTopicsReply) reply()        {}
func (CreatePartitionsReply) reply()    {}
func (AlterConfigsReply) reply()        {}
func (AllocateProducerIDsReply) reply() {}
func (UpdateFeaturesReply) reply()      {}
func (AdoptReply) reply()               {}

// topicResource names the configuration of a topic.
func topicResource(name string) Resource { return Resource{Type: config.TopicResource, Name: name} }
