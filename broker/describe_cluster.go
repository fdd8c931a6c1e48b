package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/protocol"
)

// DescribeCluster, versions 0 to 2.
//
//	v1  whether brokers or controllers are asked for (KIP-919)
//	v2  fenced brokers too, if asked for (KIP-1073)

// Kinds of endpoints in a DescribeCluster.
const (
	brokerEndpoints     = 1
	controllerEndpoints = 2
)

func handleDescribeCluster(b *Broker, r *request) {
	req := r.msg.(*kmsg.DescribeClusterRequest)
	resp := req.ResponseKind().(*kmsg.DescribeClusterResponse)
	if err := checkEndpointType(req); err != nil {
		resp.ErrorCode, resp.ErrorMessage = int16(protocol.CodeOf(err)), errorText(err)
		r.Reply(resp)
		return
	}
	im := b.image()
	resp.ClusterID = im.ClusterID()
	resp.ControllerID = b.someController(r, im)
	for _, e := range b.endpoints(r, im) {
		if e.fenced && !req.IncludeFencedBrokers {
			continue
		}
		resp.Brokers = append(resp.Brokers, kmsg.DescribeClusterResponseBroker{
			NodeID: int32(e.id), Host: e.host, Port: e.port, Rack: e.rack, IsFenced: e.fenced,
		})
	}
	if req.IncludeClusterAuthorizedOperations {
		resp.ClusterAuthorizedOperations = clusterOperations
	}
	r.Reply(resp)
}

func checkEndpointType(req *kmsg.DescribeClusterRequest) error {
	switch {
	case req.Version == 0 || req.EndpointType == brokerEndpoints:
		return nil
	case req.EndpointType == controllerEndpoints:
		return protocol.Errorf(protocol.MismatchedEndpointType, "this is a listener of brokers, not of controllers")
	}
	return protocol.Errorf(protocol.UnsupportedEndpointType, "there is no endpoint type %d", req.EndpointType)
}
