package meta

import (
	"slices"
	"time"

	"moldau.io/moldau/protocol"
)

// admitNode gives a node its id. A node that asks again gets the same one.
func (c *Controller) admitNode(now time.Time, cmd AdmitNode) ([]Record, Reply, error) {
	id, err := c.chooseID(now, cmd)
	if err != nil {
		return nil, nil, err
	}
	n := Node{ID: id, Cluster: cmd.Cluster, Quorum: cmd.Quorum}
	reply := AdmitNodeReply{ID: id, ClusterID: c.image.ClusterID()}
	if old, ok := c.image.Node(id); ok && old == n {
		return nil, reply, nil
	}
	return []Record{NodeRecord{Node: n}}, reply, nil
}

func (c *Controller) chooseID(now time.Time, cmd AdmitNode) (protocol.BrokerID, error) {
	for _, n := range c.known() {
		if cmd.Quorum != 0 && n.Quorum == cmd.Quorum && (cmd.Asked == -1 || cmd.Asked == n.ID) {
			return n.ID, nil
		}
	}
	if cmd.Asked >= 0 {
		return cmd.Asked, c.free(now, cmd.Asked)
	}
	for _, n := range c.known() {
		if n.Cluster == cmd.Cluster && cmd.Cluster != "" {
			return n.ID, c.free(now, n.ID)
		}
	}
	return c.newID(), nil
}

// free says whether an id can be given to another node than the one that has it: that one must be dead.
func (c *Controller) free(now time.Time, id protocol.BrokerID) error {
	if b := c.image.Broker(id); b != nil && c.living(now, b) {
		return protocol.Errorf(protocol.DuplicateBrokerRegistration, "broker %d is alive, at %s; if it was stopped just now "+
			"this passes within %v", id, b.where(), c.cfg.Lease)
	}
	return nil
}

// known is all nodes that were admitted, and the brokers that were there before nodes were.
func (c *Controller) known() []Node {
	all := slices.Clone(c.image.Nodes())
	for _, b := range c.image.Brokers() {
		if _, ok := c.image.Node(b.ID); !ok {
			all = append(all, Node{ID: b.ID, Cluster: b.Cluster, Quorum: b.Quorum})
		}
	}
	return all
}

// newID is an id above all that were ever a broker's, as far as anything still names them: a new broker must not find itself a
// replica of what another has left behind.
func (c *Controller) newID() protocol.BrokerID {
	top := protocol.BrokerID(0)
	for _, n := range c.known() {
		top = max(top, n.ID)
	}
	for _, t := range c.image.Topics() {
		for i := range t.Partitions {
			for _, id := range t.Partitions[i].Replicas {
				top = max(top, id)
			}
		}
	}
	return top + 1
}
