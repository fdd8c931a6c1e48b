package broker

import (
	"context"
	"errors"
	"path"
	"syscall"

	"moldau.io/moldau/cluster"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage"
)

// identity is who this broker is, before anything of it is opened.
type identity struct {
	clusterID string
	quorum    uint64           // for a new folder of the metadata log
	joining   bool             // the cluster has admitted this broker, and its members will send the metadata
	members   []string         // cluster addresses
	address   *cluster.Address // of a broker that joins: open
}

// identify takes the ids of cluster and node from the data folder, where it has them and the operator has not named
// them; a new folder gets those that the cluster at Join gives it, or a new cluster. Folders that belong to others are refused
// when they are opened.
func (c *Config) identify(ctx context.Context) (identity, error) {
	m, found, err := c.readMeta()
	if err != nil {
		return identity{}, err
	}
	if found && m.NodeID >= 0 && !c.NodeGiven {
		c.Static = c.Static.WithNodeID(m.NodeID)
	}
	who := identity{clusterID: c.ClusterID, members: c.Join}
	if who.clusterID == "" && found {
		who.clusterID = m.ClusterID
	}
	if len(c.Join) > 0 {
		if fresh, err := c.withoutMetadata(); err != nil {
			return who, err
		} else if fresh {
			return c.join(ctx, who, m, found)
		}
	}
	if who.clusterID == "" {
		who.clusterID = storage.NewID()
	}
	return who, nil
}

// readMeta reads the meta.properties of the first folder that can be read.
func (c *Config) readMeta() (m storage.Meta, found bool, err error) {
	m, found, err = storage.ReadMeta(c.FS, c.Dirs[0])
	for _, d := range c.Dirs[1:] {
		if !storage.DiskFailed(err) { // else another folder says the same
			break
		}
		m, found, err = storage.ReadMeta(c.FS, d)
	}
	return m, found, err
}

// withoutMetadata says that no data folder holds metadata. One with that of Apache Kafka cannot join: it has a cluster.
func (c *Config) withoutMetadata() (bool, error) {
	for _, d := range c.Dirs {
		for _, place := range []string{d, path.Join(d, kafkasMetadata)} {
			if have, err := exists(c.FS, path.Join(place, quorumFolder)); err != nil || have {
				return false, err
			}
		}
		if kafkas, err := exists(c.FS, path.Join(d, kafkasMetadata)); err != nil || kafkas {
			return false, errors.Join(err, &storage.UnusableError{
				Path: d, What: "holds the metadata of Apache Kafka, and cannot join another cluster",
				Do: "Start it without --join to take it over, or join with an empty data folder.",
			})
		}
	}
	return true, nil
}

// join asks the cluster who this broker is to be.
func (c *Config) join(ctx context.Context, who identity, m storage.Meta, found bool) (identity, error) {
	address, err := c.openAddress(ctx)
	if err != nil {
		return who, err
	}
	asked := protocol.BrokerID(-1)
	if c.NodeGiven || found && m.NodeID >= 0 {
		asked = protocol.BrokerID(c.Static.NodeID())
	}
	id, members, err := address.Admit(ctx, cluster.JoinConfig{
		Addrs: c.Join, Asked: asked, ClusterID: who.clusterID, Begin: c.Begin,
		Progress: func(text string) { c.Log.Info(text) },
	})
	if errors.Is(err, cluster.ErrBegin) && !found {
		if who.address = address; who.clusterID == "" {
			who.clusterID = storage.NewID()
		}
		return who, nil
	}
	if err != nil {
		return who, errors.Join(err, address.Close())
	}
	c.Log.Info("admitted to the cluster", "cluster", id.ClusterID, "node", id.NodeID)
	c.Static = c.Static.WithNodeID(int32(id.NodeID))
	return identity{clusterID: id.ClusterID, quorum: id.Quorum, joining: true, members: members, address: address}, nil
}

// openAddress opens the cluster address.
func (c *Config) openAddress(ctx context.Context) (*cluster.Address, error) {
	cfg := cluster.AddressConfig{
		Network: c.Network, Listen: c.ClusterListen, Advertise: c.ClusterAdvertise, Key: c.ClusterKey,
		Version: c.Version, Logger: c.Log,
	}
	a, err := cluster.Listen(ctx, cfg)
	if errors.Is(err, syscall.EADDRINUSE) && c.ClusterListenElse != "" {
		cfg.Listen = c.ClusterListenElse
		if a, err = cluster.Listen(ctx, cfg); err == nil {
			c.Log.Info("the default cluster address is taken, so another is used; choose one with --cluster-listen",
				"taken", c.ClusterListen, "address", a.String())
		}
	}
	return a, err
}

// ClusterAddress is what other brokers dial; empty where this broker has none.
func (b *Broker) ClusterAddress() string {
	if b.address == nil {
		return ""
	}
	return b.address.String()
}
