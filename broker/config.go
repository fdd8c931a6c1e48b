package broker

import (
	"errors"
	"log/slog"
	"net"

	"moldau.io/moldau/cluster"
	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/cluster/link"
	"moldau.io/moldau/storage/vfs"
)

// Config is everything that a broker is made with.
type Config struct {
	// Static is what the operator set: Kafka's keys and moldau's own.
	Static *config.Static

	// NodeGiven says that the operator named the node's id. If not, the one in the data folders wins over Static's.
	NodeGiven bool

	// FS holds the data folders, which are Dirs (log.dirs). The metadata log is in the first.
	FS   vfs.FS
	Dirs []string

	// ClusterID is the cluster that the data folders must belong to. Empty: whichever they belong to, or a new one.
	ClusterID string

	// Join are cluster addresses of any members of a running cluster. With a new data folder this broker becomes a member of
	// it, and needs a ClusterListen. None: a new folder begins a cluster.
	Join []string

	// Begin is how many brokers, this one and those at Join, form a new cluster together, where this is the one that begins
	// it; 0 where another does. It is for brokers that are all started with the same list (controller.quorum.voters).
	Begin int

	// ClusterListen is the address for gossip and the metadata quorum (moldau.cluster.listen); empty: none, so that nobody
	// can join. ClusterListenElse is used where ClusterListen is taken, if it is not empty. ClusterAdvertise is what other
	// brokers dial, where that is another.
	ClusterListen     string
	ClusterListenElse string
	ClusterAdvertise  string

	// ClusterKey encrypts and authenticates what goes between cluster addresses (moldau.gossip.key); empty: nothing does.
	ClusterKey []byte

	// Network is how brokers reach each other. Default: the machine's.
	Network link.Network

	// Log takes one line an event. Level is the level that it lets through, which clients may change; nil where they may
	// not.
	Log   *slog.Logger
	Level *slog.LevelVar

	// Version is the build that is running, for metrics.
	Version string
}

// Listener is an open socket and what the clients that come in by it are told to connect to. The broker closes it.
type Listener struct {
	net.Listener

	// Advertised carries the listener's name and protocol. An empty host means the address that the client reached.
	Advertised config.Listener
}

var (
	// ErrOtherCluster says that the data folders belong to another cluster than Config.ClusterID.
	ErrOtherCluster = cluster.ErrOtherCluster
	// ErrJoin says that no cluster has taken this broker in.
	ErrJoin = cluster.ErrJoin
	// ErrNodeIDInUse says that another process has this broker's id.
	ErrNodeIDInUse = cluster.ErrIDInUse
)

// Validate reports every fault at once.
func (c Config) Validate() error {
	var faults []error
	for what, missing := range map[string]bool{
		"a static configuration": c.Static == nil, "a file system": c.FS == nil, "a data folder": len(c.Dirs) == 0,
		"a logger": c.Log == nil,
	} {
		if missing {
			faults = append(faults, errors.New("a broker needs "+what))
		}
	}
	if len(c.Join) > 0 && c.ClusterListen == "" {
		faults = append(faults, errors.New("a broker that joins a cluster needs a cluster address (--cluster-listen)"))
	}
	return errors.Join(faults...)
}
