package broker

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
)

// What the handlers about metadata share: where brokers are reached, who may do what, and changes through the controller.

// Operations that may be done to a topic and to the cluster, as bits numbered by AclOperation. There is no authorizer, so
// everybody may do all that can be done.
const (
	topicOperations   int32 = 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<11
	clusterOperations int32 = 1<<5 | 1<<7 | 1<<8 | 1<<9 | 1<<10 | 1<<11 | 1<<12
)

// nodeID is this broker's own id.
func (b *Broker) nodeID() protocol.BrokerID { return protocol.BrokerID(b.static.NodeID()) }

// endpoint is where the client of a request reaches one broker.
type endpoint struct {
	id     protocol.BrokerID
	host   string
	port   int32
	rack   *string
	fenced bool
}

// endpoints is every broker that has the listener that r came in by, sorted by id.
func (b *Broker) endpoints(r *request, im *meta.Image) []endpoint {
	var es []endpoint
	for _, br := range im.Brokers() {
		l, ok := br.Listener(r.listener())
		if !ok {
			continue
		}
		e := endpoint{id: br.ID, host: l.Host, port: l.Port, fenced: br.Fenced}
		if e.host == "" { // a wildcard listener: the address at which this client has reached us is the one that it can reach
			e.host = r.localHost()
		}
		if br.Rack != "" {
			e.rack = &br.Rack
		}
		es = append(es, e)
	}
	return es
}

// someController is the id of a broker that takes requests for the controller, which is any that is alive; the choice
// spreads the load. -1 if there is none.
func (b *Broker) someController(r *request, im *meta.Image) int32 {
	var alive []protocol.BrokerID
	for _, br := range im.Brokers() {
		if _, ok := br.Listener(r.listener()); ok && !br.Fenced {
			alive = append(alive, br.ID)
		}
	}
	if len(alive) == 0 {
		return -1
	}
	return int32(alive[rand.IntN(len(alive))])
}

// offlineReplicas is the replicas of p on brokers that are not alive, or that the client of r cannot reach.
func (b *Broker) offlineReplicas(r *request, im *meta.Image, p meta.Partition) []int32 {
	var off []int32
	for _, id := range p.Replicas {
		br := im.Broker(id)
		if br != nil && !br.Fenced {
			if _, ok := br.Listener(r.listener()); ok {
				continue
			}
		}
		off = append(off, int32(id))
	}
	return off
}

func brokerIDs(ids []protocol.BrokerID) []int32 {
	out := make([]int32, len(ids))
	for i, id := range ids {
		out[i] = int32(id)
	}
	return out
}

// propose has the controller decide cmd, and returns when this broker serves what has changed: a client that is told of a
// new topic can write to it at once.
func (b *Broker) propose(ctx context.Context, cmd meta.Command) (meta.Reply, error) {
	if err := ctx.Err(); err != nil {
		return nil, err // too late before it has begun: nothing is changed
	}
	reply, err := b.node.Propose(ctx, cmd)
	if err != nil {
		return nil, err
	}
	return reply, b.awaitImage(ctx, b.node.Image().Offset())
}

// defaultTimeout is for admin requests whose protocol has no timeout.
const defaultTimeout = 30 * time.Second

// adminContext ends when the client of r has gone, or has waited for as long as it wanted to. A timeout of 0 or less is
// over before anything is done, as in Kafka's controller.
func adminContext(r *request, timeoutMillis int32) (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.ctx, max(0, time.Duration(timeoutMillis)*time.Millisecond))
}

// adminError is the error of propose as the client is told it: what the controller refused with, or that the time was up.
func adminError(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return protocol.RequestTimedOut // the change was not finished in time; it may still come
	}
	return err
}

// errorText is what goes into an error message field: null where there is no error, or none with words of its own.
func errorText(err error) *string {
	if err == nil || err.Error() == protocol.CodeOf(err).Error() {
		return nil
	}
	s := err.Error()
	return &s
}
