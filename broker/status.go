package broker

import (
	"context"
	"time"

	"moldau.io/moldau/cluster"
	"moldau.io/moldau/cluster/config"
)

// NodeStatus is this broker and the cluster that it is in, for people who look.
type NodeStatus struct {
	ID        int32
	ClusterID string
	Rack      string
	Version   string
	Started   time.Time
	DataDirs  []string
	Brokers   []BrokerStatus // sorted by id
}

// BrokerStatus is one broker of the cluster.
type BrokerStatus struct {
	ID        int32
	Listeners []string
	Rack      string
	Fenced    bool
}

// TopicStatus is one topic.
type TopicStatus struct {
	Name       string
	ID         string
	Internal   bool
	Partitions []PartitionStatus // at the index of their number
}

// PartitionStatus is one partition. Offsets and bytes are -1 where this broker does not hold it.
type PartitionStatus struct {
	Number        int32
	Leader        int32 // -1: none
	Replicas, ISR []int32
	Start, End    int64
	Bytes         int64
}

// Quorum asks the leader of the metadata quorum for its state.
func (b *Broker) Quorum(ctx context.Context) (cluster.QuorumStatus, error) { return b.node.Quorum(ctx) }

// Voters is how many brokers vote in the metadata quorum, as far as this one knows.
func (b *Broker) Voters() int { return b.node.Voters() }

// NodeStatus says who this broker is and whom it knows.
func (b *Broker) NodeStatus() NodeStatus {
	im := b.image()
	s := NodeStatus{
		ID: b.static.NodeID(), ClusterID: im.ClusterID(), Version: b.cfg.Version, Started: b.started, DataDirs: b.cfg.Dirs,
	}
	s.Rack, _ = b.static.Get("broker.rack")
	for _, broker := range im.Brokers() {
		bs := BrokerStatus{ID: int32(broker.ID), Rack: broker.Rack, Fenced: broker.Fenced}
		for _, l := range broker.Listeners {
			bs.Listeners = append(bs.Listeners, config.Listener(l).String())
		}
		s.Brokers = append(s.Brokers, bs)
	}
	return s
}

// TopicStatus is every topic of the cluster, with what this broker holds of it.
func (b *Broker) TopicStatus() []TopicStatus {
	var all []TopicStatus
	for _, t := range b.image().Topics() {
		ts := TopicStatus{Name: t.Name, ID: t.ID.String(), Internal: t.Internal()}
		for i, p := range t.Partitions {
			ps := PartitionStatus{
				Number: int32(i), Leader: int32(p.Leader), Replicas: brokerIDs(p.Replicas), ISR: brokerIDs(p.ISR),
				Start: -1, End: -1, Bytes: -1,
			}
			if here := b.partitions.topicByID(t.ID).at(int32(i)); here != nil {
				start, end := here.Bounds()
				ps.Start, ps.End, ps.Bytes = int64(start), int64(end), here.log.Size()
			}
			ts.Partitions = append(ts.Partitions, ps)
		}
		all = append(all, ts)
	}
	return all
}
