package broker

import (
	"context"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
)

// InitProducerId, versions 0 to 5, for idempotent producers.
//
//	v3  the producer's id and epoch so far, which mean something to transactional producers only (KIP-360)
//
// A transactional id is refused with UNSUPPORTED_VERSION, because transactions are not there yet: every client takes this
// code as final and shows it, where a retriable one would have it try until its timeout.

func handleInitProducerID(b *Broker, r *request) {
	req := r.msg.(*kmsg.InitProducerIDRequest)
	resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
	id, err := b.initProducerID(r.ctx, req)
	if err != nil {
		resp.ErrorCode, resp.ProducerID, resp.ProducerEpoch = int16(protocol.CodeOf(err)), -1, -1
		r.log().Debug("no producer id", "err", err)
	} else {
		resp.ProducerID, resp.ProducerEpoch = id, 0
	}
	r.Reply(resp)
}

func (b *Broker) initProducerID(ctx context.Context, req *kmsg.InitProducerIDRequest) (int64, error) {
	if (req.ProducerID == -1) != (req.ProducerEpoch == -1) {
		return 0, protocol.Errorf(protocol.InvalidRequest, "producer id and epoch come together or not at all")
	}
	if req.TransactionalID != nil {
		if *req.TransactionalID == "" {
			return 0, protocol.Errorf(protocol.InvalidRequest, "a transactional id must not be empty")
		}
		return 0, protocol.Errorf(protocol.UnsupportedVersion, "this version has no transactions")
	}
	return b.producerIDs.next(ctx, b)
}

// producerIDs gives out the ids of the block that this broker has, and fetches the next block when it is used up.
type producerIDs struct {
	// fetching is taken while a block is being fetched, so that one request fetches and the others wait.
	fetching chan struct{}

	mu          sync.Mutex
	first, left int64
}

func newProducerIDs() *producerIDs { return &producerIDs{fetching: make(chan struct{}, 1)} }

func (p *producerIDs) take() (int64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left == 0 {
		return 0, false
	}
	id := p.first
	p.first, p.left = p.first+1, p.left-1
	return id, true
}

func (p *producerIDs) next(ctx context.Context, b *Broker) (int64, error) {
	for {
		if id, ok := p.take(); ok {
			return id, nil
		}
		select {
		case p.fetching <- struct{}{}:
		case <-ctx.Done():
			return 0, protocol.Errorf(protocol.CoordinatorLoadInProgress, "no producer ids yet: %v", ctx.Err())
		}
		err := p.fetch(ctx, b)
		<-p.fetching
		if err != nil {
			return 0, err
		}
	}
}

// fetch gets a block unless somebody else has done so in the meantime. An error is one that clients retry after, for the
// ids are there; they only could not be had now.
func (p *producerIDs) fetch(ctx context.Context, b *Broker) error {
	p.mu.Lock()
	left := p.left
	p.mu.Unlock()
	if left > 0 {
		return nil
	}
	self := b.node.Image().Broker(b.nodeID())
	if self == nil {
		return protocol.Errorf(protocol.CoordinatorLoadInProgress, "this broker is not registered yet")
	}
	reply, err := b.node.Propose(ctx, meta.AllocateProducerIDs{Broker: self.ID, BrokerEpoch: self.Epoch})
	if err != nil {
		return protocol.Errorf(protocol.CoordinatorLoadInProgress, "no producer ids: %v", err)
	}
	block := reply.(meta.AllocateProducerIDsReply)
	p.mu.Lock()
	p.first, p.left = block.First, int64(block.Count)
	p.mu.Unlock()
	return nil
}
