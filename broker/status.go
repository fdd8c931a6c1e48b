package broker

import "time"

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

// GroupStatus is one group that this broker coordinates.
type GroupStatus struct {
	Name     string
	State    string
	Protocol string
}
