package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
)

// UnregisterBroker, version 0 (KIP-631): the cluster forgets a broker for good.

func handleUnregisterBroker(b *Broker, r *request) {
	req := r.msg.(*kmsg.UnregisterBrokerRequest)
	resp := req.ResponseKind().(*kmsg.UnregisterBrokerResponse)
	ctx, cancel := context.WithTimeout(r.ctx, defaultTimeout)
	defer cancel()
	_, err := b.propose(ctx, meta.UnregisterBroker{ID: protocol.BrokerID(req.BrokerID)})
	if err != nil {
		err = adminError(err)
		resp.ErrorCode, resp.ErrorMessage = int16(protocol.CodeOf(err)), errorText(err)
	} else {
		b.log.Info("a broker is unregistered", "broker", req.BrokerID, "client", r.client())
	}
	r.Reply(resp)
}
