package cluster

import (
	"context"
	"time"

	"moldau.io/moldau/cluster/meta"
)

// goneTime bounds for how long it is tried to tell the controller of a dead process. By then its lease has run out.
const goneTime = 10 * time.Second

// peerDown is told by the link that a connection broke. Where a fresh one is refused the process has ended: nobody needs to
// wait for its lease. If it was the leader of the quorum, no member needs to wait for its silence either.
func (n *Node) peerDown(addr string, refused bool) {
	if !refused {
		return
	}
	if lead := n.lead.Load().quorum; n.peers.addr(lead) == addr {
		n.order(func() { n.r.log.ForgetLeader(lead) })
	}
	for _, b := range n.Image().Brokers() {
		if b.Cluster == addr && b.ID != n.cfg.NodeID && !b.Fenced {
			n.tellGone(b)
		}
	}
}

func (n *Node) tellGone(b *meta.Broker) {
	n.wg.Go(func() {
		ctx, cancel := context.WithTimeout(n.ctx, goneTime)
		defer cancel()
		if _, err := n.Propose(ctx, meta.BrokerGone{ID: b.ID, Epoch: b.Epoch}); err != nil && n.ctx.Err() == nil {
			n.cfg.Logger.Debug("the controller has not been told that a broker is gone", "broker", b.ID, "err", err)
		}
	})
}
