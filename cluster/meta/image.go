package meta

import (
	"cmp"
	"slices"
	"strings"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/protocol"
)

// Image is all metadata at one offset of the metadata log. It is immutable: readers keep it as long as they like, and
// must change nothing that they get from it.
type Image struct {
	offset     int64
	clusterID  string
	features   []Feature // sorted by name
	brokers    []*Broker // sorted by id
	nodes      []Node    // sorted by id
	lastEpoch  int64     // the highest broker epoch that was ever given out
	byName     shards[string, *Topic]
	byID       shards[protocol.TopicID, *Topic]
	sorted     []*Topic // byName's topics, sorted by name
	configs    shards[Resource, map[string]string]
	nextPID    int64
	partitions int
}

// Topic is one topic.
type Topic struct {
	Name       string
	ID         protocol.TopicID
	Partitions []Partition // at the index of their number
}

// Partition is who holds one partition, and who leads it.
type Partition struct {
	Replicas    []protocol.BrokerID // in the order of preference
	ISR         []protocol.BrokerID
	Leader      protocol.BrokerID // -1: nobody
	LeaderEpoch protocol.Epoch    // rises with each election
	Epoch       int32             // rises with each change to the partition

	// ELR is the replicas outside the ISR that hold every committed record, because the ISR has been too small for anything
	// to be committed since they left it; LastKnownELR is whom an unclean election asks first (KIP-966).
	ELR          []protocol.BrokerID
	LastKnownELR []protocol.BrokerID

	// Adding and Removing are the replicas that a reassignment brings and takes (KIP-455). Both are among Replicas until it
	// ends.
	Adding   []protocol.BrokerID
	Removing []protocol.BrokerID

	// Recovering says that the leader was elected uncleanly and has not said yet that it has recovered (LeaderRecoveryState).
	Recovering bool
}

// Broker is one registered broker.
type Broker struct {
	ID        protocol.BrokerID
	Epoch     int64 // the offset of its registration in the metadata log
	Rack      string
	Listeners []Listener
	Fenced    bool // registered, but not alive: it leads nothing and clients are not sent to it

	Incarnation protocol.TopicID // drawn anew at each start of the process (Kafka's incarnation id)
	Stopping    bool             // in a controlled shutdown: it is given no leadership
	Draining    bool             // an operator moves everything off it: it is given no new replica

	// Cluster is the host:port of gossip and quorum, Quorum the broker's id in the quorum; empty and 0 for a broker that was
	// registered before there were clusters.
	Cluster string
	Quorum  uint64

	Version  string         // the build, as "moldau version" says
	Features []FeatureRange // the levels that it supports
}

// Node is a member of the cluster, from the moment on at which it was given its id: before it is registered as a broker, too.
type Node struct {
	ID      protocol.BrokerID
	Cluster string // host:port of gossip and quorum
	Quorum  uint64 // its id in the quorum
}

// Listener is an address that clients of a broker dial.
type Listener struct {
	Name     string
	Host     string
	Port     int32
	Protocol string // PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL
}

// Feature is a feature that the cluster has agreed to use, at a level.
type Feature struct {
	Name  string
	Level int16
}

// Resource names what a configuration belongs to.
type Resource struct {
	Type config.ResourceType
	Name string // empty for the brokers' cluster-wide defaults
}

// Empty is the image before the first record. Its offset is -1.
func Empty() *Image {
	return &Image{
		offset:  -1,
		byName:  shards[string, *Topic]{hash: hashString},
		byID:    shards[protocol.TopicID, *Topic]{hash: func(id protocol.TopicID) uint8 { return id[0] ^ id[15] }},
		configs: shards[Resource, map[string]string]{hash: func(r Resource) uint8 { return hashString(r.Name) }},
	}
}

// Offset is the offset of the last record in the image; -1 for none.
func (im *Image) Offset() int64 { return im.offset }

// ClusterID is the cluster's id: 22 characters, empty only before the cluster's first record.
func (im *Image) ClusterID() string { return im.clusterID }

// Topic is the topic of that name, or nil.
func (im *Image) Topic(name string) *Topic {
	t, _ := im.byName.get(name)
	return t
}

// TopicByID is the topic with that id, or nil.
func (im *Image) TopicByID(id protocol.TopicID) *Topic {
	t, _ := im.byID.get(id)
	return t
}

// Topics is every topic, sorted by name. The slice is shared.
func (im *Image) Topics() []*Topic { return im.sorted }

// PartitionCount is the number of partitions of all topics together.
func (im *Image) PartitionCount() int { return im.partitions }

// Brokers is every registered broker, fenced ones too, sorted by id. The slice is shared.
func (im *Image) Brokers() []*Broker { return im.brokers }

// Broker is the broker with that id, or nil.
func (im *Image) Broker(id protocol.BrokerID) *Broker {
	i, ok := slices.BinarySearchFunc(im.brokers, id, compareBroker)
	if !ok {
		return nil
	}
	return im.brokers[i]
}

// Nodes is every node that was given an id, sorted by id. The slice is shared.
func (im *Image) Nodes() []Node { return im.nodes }

// Node is the node with that id.
func (im *Image) Node(id protocol.BrokerID) (Node, bool) {
	i, ok := slices.BinarySearchFunc(im.nodes, id, compareNode)
	if !ok {
		return Node{}, false
	}
	return im.nodes[i], true
}

// Configs is what has been set on one resource: no defaults. The map is shared, and nil where nothing was set.
func (im *Image) Configs(t config.ResourceType, name string) map[string]string {
	m, _ := im.configs.get(Resource{Type: t, Name: name})
	return m
}

// ConfiguredResources is every resource of type t on which something has been set, sorted by name.
func (im *Image) ConfiguredResources(t config.ResourceType) []string {
	var names []string
	for r := range im.configs.each() {
		if r.Type == t {
			names = append(names, r.Name)
		}
	}
	slices.Sort(names)
	return names
}

// Features is what the cluster has finalized, sorted by name. The slice is shared.
func (im *Image) Features() []Feature { return im.features }

// Feature is the level at which a feature is finalized; 0 if it is not.
func (im *Image) Feature(name string) int16 {
	for _, f := range im.features {
		if f.Name == name {
			return f.Level
		}
	}
	return 0
}

// NextProducerID is the first producer id that no broker has been given yet.
func (im *Image) NextProducerID() int64 { return im.nextPID }

// Partition is partition i of t.
func (t *Topic) Partition(i int32) (Partition, bool) {
	if t == nil || i < 0 || int(i) >= len(t.Partitions) {
		return Partition{}, false
	}
	return t.Partitions[i], true
}

// Internal says that clients may not write to the topic: it holds a coordinator's state.
func (t *Topic) Internal() bool { return IsInternal(t.Name) }

// Listener is the broker's listener of that name.
func (b *Broker) Listener(name string) (Listener, bool) {
	for _, l := range b.Listeners {
		if l.Name == name {
			return l, true
		}
	}
	return Listener{}, false
}

// Delta is what differs between two images.
type Delta struct {
	Topics  []*Topic // new or changed, as they are now, sorted by name
	Removed []*Topic // gone, as they were, sorted by name; a topic that was deleted and created again is in both
	Configs []Resource

	Brokers     []*Broker // new or changed, as they are now, sorted by id
	GoneBrokers []*Broker // removed, as they were, sorted by id
	Nodes       bool      // whether any node has been given an id, or another address, or has been removed
	Features    bool      // whether any level is another
}

// Since is what changed from old to im. Its cost goes with the size of the change, not with that of the cluster.
func (im *Image) Since(old *Image) Delta {
	var d Delta
	for id := range im.byID.changed(old.byID) {
		now, before := im.TopicByID(id), old.TopicByID(id)
		if now != nil && now != before {
			d.Topics = append(d.Topics, now)
		}
		if now == nil && before != nil {
			d.Removed = append(d.Removed, before)
		}
	}
	for r := range im.configs.changed(old.configs) {
		now, _ := im.configs.get(r)
		before, _ := old.configs.get(r)
		if !sameMap(now, before) {
			d.Configs = append(d.Configs, r)
		}
	}
	slices.SortFunc(d.Topics, byTopicName)
	slices.SortFunc(d.Removed, byTopicName)
	slices.SortFunc(d.Configs, compareResources)
	d.brokers(im, old)
	d.Nodes = !slices.Equal(im.nodes, old.nodes)
	d.Features = !slices.Equal(im.features, old.features)
	return d
}

func (d *Delta) brokers(im, old *Image) {
	if sameBrokers(im.brokers, old.brokers) {
		return
	}
	for _, b := range im.brokers {
		if old.Broker(b.ID) != b {
			d.Brokers = append(d.Brokers, b)
		}
	}
	for _, b := range old.brokers {
		if im.Broker(b.ID) == nil {
			d.GoneBrokers = append(d.GoneBrokers, b)
		}
	}
}

// sameBrokers says that a is b itself, or just like it.
func sameBrokers(a, b []*Broker) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}

func sameMap(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || w != v {
			return false
		}
	}
	return true
}

func byTopicName(a, b *Topic) int { return strings.Compare(a.Name, b.Name) }

func compareResources(a, b Resource) int {
	if a.Type != b.Type {
		return int(a.Type) - int(b.Type)
	}
	return strings.Compare(a.Name, b.Name)
}

func compareBroker(b *Broker, id protocol.BrokerID) int { return cmp.Compare(b.ID, id) }

func compareNode(n Node, id protocol.BrokerID) int { return cmp.Compare(n.ID, id) }
