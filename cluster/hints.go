package cluster

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"moldau.io/moldau/cluster/gossip"
	"moldau.io/moldau/cluster/link"
	"moldau.io/moldau/cluster/meta"
)

// Gossip only says where somebody may be: at which address a member of the quorum is tried, and whom a node without a seat
// asks for one. What is true of the cluster is decided by the quorum alone.

const (
	// leaveTime bounds saying good-bye.
	leaveTime = 200 * time.Millisecond

	// otherClusterTime is how long the addresses of --join are given to say that they are of another cluster.
	otherClusterTime = time.Second
)

// startGossip begins to listen to others, and looks for those that are known.
func (n *Node) startGossip() error {
	g, err := gossip.Start(gossip.Config{
		Link: n.addr.link, Name: strconv.Itoa(int(n.cfg.NodeID)), Meta: n.gossipMember,
		FS: n.cfg.FS, Path: path.Join(n.cfg.Dir, "quorum", "peers"), Logger: n.cfg.Logger,
	})
	if err != nil {
		return err
	}
	n.gossip = g
	n.wg.Go(func() {
		if others := n.otherAddrs(); len(others) > 0 {
			if _, err := g.Join(n.ctx, others...); err != nil && n.ctx.Err() == nil {
				n.cfg.Logger.Debug("not all members have been found", "err", err)
			}
		}
		for {
			n.takeHints(g.Members())
			select {
			case <-g.Changes():
			case <-n.ctx.Done():
				return
			}
		}
	})
	return nil
}

func (n *Node) gossipMember() gossip.Member {
	n.lease.mu.Lock()
	cmd := n.lease.cmd
	n.lease.mu.Unlock()
	m := gossip.Member{
		ID: n.cfg.NodeID, ClusterID: n.self.ClusterID, Addr: n.addr.String(), Rack: cmd.Rack, Version: n.cfg.Version,
		Quorum: n.self.Quorum, Started: n.started,
	}
	for _, l := range cmd.Listeners {
		m.Listeners = append(m.Listeners, fmt.Sprintf("%s://%s:%d", l.Name, l.Host, l.Port))
	}
	return m
}

func (n *Node) takeHints(members []gossip.Member) {
	hints := map[uint64]string{}
	for _, m := range members {
		if m.Quorum != 0 && m.Quorum != n.self.Quorum && m.Addr != "" {
			hints[m.Quorum] = m.Addr
		}
	}
	n.peers.hint(hints)
}

// Gossip is who is there, as far as one has heard: hints for people, and for finding each other.
func (n *Node) Gossip() []gossip.Member {
	if n.gossip == nil {
		return nil
	}
	return n.gossip.Members()
}

// otherAddrs is every address at which another member may be.
func (n *Node) otherAddrs() []string {
	addrs := slices.Concat(n.memberAddrs(), n.cfg.Members, n.peers.hinted())
	slices.Sort(addrs)
	return slices.DeleteFunc(slices.Compact(addrs), func(a string) bool { return a == "" || a == n.addr.String() })
}

func (n *Node) endGossip() error {
	if n.gossip == nil {
		return nil
	}
	if !n.dropped.Load() {
		ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
		defer cancel()
		_ = n.gossip.Leave(ctx) // a courtesy: the others find out anyway
	}
	return n.gossip.Close()
}

// checkMembers refuses to go on where whoever started this broker names members, and all that answer are of another cluster:
// the data folder is the wrong one, or the address.
func (n *Node) checkMembers(ctx context.Context) error {
	if n.addr == nil || n.cfg.Joining || len(n.cfg.Members) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, otherClusterTime)
	defer cancel()
	faults := make([]error, len(n.cfg.Members))
	var wg sync.WaitGroup
	for i, addr := range n.cfg.Members {
		wg.Go(func() {
			var who whoAnswer
			if faults[i] = n.addr.call(ctx, addr, methodWho, struct{}{}, &who); faults[i] == nil {
				cancel() // one is enough
			}
		})
	}
	wg.Wait()
	var others []string
	for _, err := range faults {
		switch {
		case err == nil:
			return nil
		case errors.Is(err, link.ErrOtherCluster):
			others = append(others, err.Error())
		}
	}
	if len(others) == 0 {
		return nil // they may be starting, too
	}
	return fmt.Errorf("%w: %s is in cluster %s: %s; name a member of that cluster with --join, or join with an empty data folder",
		ErrOtherCluster, n.cfg.Dir, n.self.ClusterID, strings.Join(others, "; "))
}

// memberAddrs is the cluster addresses of all brokers that are known to the metadata.
func (n *Node) memberAddrs() []string { return addrsOf(n.Image()) }

func addrsOf(im *meta.Image) []string {
	var addrs []string
	for _, known := range im.Nodes() {
		addrs = append(addrs, known.Cluster)
	}
	for _, b := range im.Brokers() {
		if b.Cluster != "" {
			addrs = append(addrs, b.Cluster)
		}
	}
	slices.Sort(addrs)
	return slices.Compact(addrs)
}
