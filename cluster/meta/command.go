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
	}

	// RegisterBrokerReply tells the broker under which epoch it is known from now on.
	RegisterBrokerReply struct{ Epoch int64 }

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
		Err               error
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
		Name string
		ID   protocol.TopicID
		Err  error
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
		Name string
		Err  error
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
		Err      error
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
	UpdateFeaturesReply struct{ Err error }

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
		Err      error
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
