package broker

import (
	"errors"
	"log/slog"
	"net"

	"moldau.io/moldau/cluster"
	"moldau.io/moldau/cluster/config"
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

// ErrOtherCluster says that the data folders belong to another cluster than Config.ClusterID.
var ErrOtherCluster = cluster.ErrOtherCluster

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
	return errors.Join(faults...)
}
