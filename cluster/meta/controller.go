package meta

import (
	"fmt"
	"math/rand/v2"
	"time"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/protocol"
)

// Controller turns commands into records. Only the leader of the metadata quorum runs one.
//
// It runs ahead of the published image: Apply is called as soon as its records are in the log, whether or not they are
// committed, so that the next command is judged by what will be so when its turn comes. A controller whose records did
// not make it is thrown away.
type Controller struct {
	cfg ControllerConfig

	image *Image // ahead; its offset counts applied commands, since the log's is not known yet

	// Soft state: lost with the controller.
	standings map[protocol.BrokerID]*standing
	seen      time.Time // the latest time that anybody has told
	upkeep

	// collisions is the topics whose names have a '.' or a '_', by the name with every '.' made a '_'. Two topics must not
	// share one, because metrics are named so.
	collisions map[string][]string
}

// ControllerConfig is what an operator sets, and where chance comes from.
type ControllerConfig struct {
	// Partitions and ReplicationFactor are what a topic gets that does not say. Default 1 (num.partitions,
	// default.replication.factor).
	Partitions        int32
	ReplicationFactor int16

	// Static is what the controller's broker was started with: the bounds and defaults that configurations are judged by.
	// Default: config.Empty().
	Static *config.Static

	// Lease is how long a broker is taken for alive after its last heartbeat. Default 2 s (broker.session.timeout.ms).
	Lease time.Duration

	// Random places replicas and makes topic ids. It must be seeded with entropy in production: ids are never to be given
	// twice.
	Random *rand.Rand
}

// NewController starts from a committed image.
func NewController(cfg ControllerConfig, im *Image) *Controller {
	cfg.Partitions = max(cfg.Partitions, 1)
	cfg.ReplicationFactor = max(cfg.ReplicationFactor, 1)
	if cfg.Static == nil {
		cfg.Static = config.Empty()
	}
	if cfg.Lease <= 0 {
		cfg.Lease = leaseDefault
	}
	c := &Controller{
		cfg: cfg, image: im, upkeep: upkeep{grow: len(im.Brokers()) > 1, reform: len(im.Brokers()) > 0}, standings: map[protocol.BrokerID]*standing{},
		collisions: map[string][]string{},
	}
	for _, t := range im.Topics() {
		c.addCollision(t.Name)
	}
	return c
}

// Handle decides one command. It changes nothing that is to last: the caller puts the records into the log and calls Apply, and gives the
// reply away once they are committed. The error is a refusal of the whole command.
//
// now is monotonic where it decides about leases.
func (c *Controller) Handle(now time.Time, cmd Command) ([]Record, Reply, error) {
	c.clock(now)
	switch cmd := cmd.(type) {
	case Bootstrap:
		return c.bootstrap(cmd)
	case RegisterBroker:
		return c.registerBroker(now, cmd)
	case BrokerHeartbeat:
		return c.brokerHeartbeat(now, cmd)
	case BrokerGone:
		return c.brokerGone(cmd)
	case AlterPartition:
		return c.alterPartition(cmd)
	case AdmitNode:
		return c.admitNode(now, cmd)
	case UnregisterBroker:
		return c.unregisterBroker(cmd)
	case DrainBroker:
		return c.drainBroker(cmd)
	case CreateTopics:
		return c.createTopics(cmd)
	case DeleteTopics:
		return c.deleteTopics(cmd)
	case CreatePartitions:
		return c.createPartitions(cmd)
	case AlterConfigs:
		return c.alterConfigs(cmd)
	case AllocateProducerIDs:
		return c.allocateProducerIDs(cmd)
	case UpdateFeatures:
		return c.updateFeatures(cmd)
	case Adopt:
		return c.adopt(cmd)
	case ElectLeaders:
		return c.electLeaders(cmd)
	case AlterReassignments:
		return c.alterReassignments(cmd)
	default:
		return nil, nil, fmt.Errorf("command of unknown type %T", cmd)
	}
}

// Apply takes the records of one Handle as done.
func (c *Controller) Apply(recs ...Record) error {
	if len(recs) == 0 {
		return nil
	}
	before := c.image
	im, err := before.With(before.Offset()+1, recs...)
	if err != nil {
		return err
	}
	c.image = im
	for _, r := range recs {
		c.changed(before, r)
		switch r := r.(type) {
		case TopicRecord:
			c.addCollision(r.Name)
		case RemoveTopicRecord:
			if t := before.TopicByID(r.Topic); t != nil {
				c.removeCollision(t.Name)
			}
		}
	}
	return nil
}

func (c *Controller) bootstrap(cmd Bootstrap) ([]Record, Reply, error) {
	if c.image.ClusterID() != "" {
		return nil, nil, protocol.Errorf(protocol.InvalidRequest, "the cluster already exists: %s", c.image.ClusterID())
	}
	recs := []Record{ClusterRecord{ID: cmd.ClusterID}}
	for _, f := range cmd.Features {
		recs = append(recs, FeatureRecord(f))
		if f.Name == eligibleLeaderReplicas && f.Level > 0 {
			recs = append(recs, c.oneMinISR()...)
		}
	}
	return recs, BootstrapReply{}, nil
}

// producerIDBlock is the number of ids in a block. A broker that stops loses what is left of its block, which at 2^63 ids
// is nobody's loss.
const producerIDBlock = 1000

func (c *Controller) allocateProducerIDs(cmd AllocateProducerIDs) ([]Record, Reply, error) {
	b := c.image.Broker(cmd.Broker)
	if b == nil {
		return nil, nil, protocol.Errorf(protocol.BrokerIDNotRegistered, "broker %d is not registered", cmd.Broker)
	}
	if b.Epoch != cmd.BrokerEpoch {
		return nil, nil, protocol.Errorf(protocol.StaleBrokerEpoch, "broker %d is known under epoch %d, not %d",
			cmd.Broker, b.Epoch, cmd.BrokerEpoch)
	}
	first := c.image.NextProducerID()
	return []Record{ProducerIDsRecord{Next: first + producerIDBlock}},
		AllocateProducerIDsReply{First: first, Count: producerIDBlock}, nil
}
