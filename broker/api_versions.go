package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
)

// ApiVersions, versions 0 to 5.
//
//	v3  the client's software name and version in the request; features in the answer
//	v4  supported features that begin at level 0 are named too (KAFKA-17011)
//	v5  the cluster and the node that the client means to talk to (KIP-1242)
//
// An unknown version does not come here: dispatch answers it in version 0, with the versions that are known.

// supportedFeatures is the levels of Kafka's features that this broker knows how to behave at. A feature whose requests
// are not answered yet is not named, because clients take a named one for a promise.
var supportedFeatures = []kmsg.ApiVersionsResponseSupportedFeature{
	{Name: "metadata.version", MinVersion: 7, MaxVersion: 33}, // 3.3-IV3 to 4.4-IV2
	{Name: elrVersion, MinVersion: 0, MaxVersion: 1},          // 1: replicas that have left the ISR may lead (KIP-966)
	{Name: groupVersion, MinVersion: 0, MaxVersion: 1},        // 1: consumer groups (KIP-848)
}

// groupVersion is the feature that says whether there are consumer groups.
const groupVersion = "group.version"

// elrVersion is the feature that says whether the controller keeps eligible leader replicas.
const elrVersion = "eligible.leader.replicas.version"

// initialFeatures is what a new cluster finalizes.
var initialFeatures = []meta.Feature{
	{Name: elrVersion, Level: 1}, {Name: groupVersion, Level: 1}, {Name: "metadata.version", Level: 33},
}

func handleAPIVersions(b *Broker, r *request) {
	req := r.msg.(*kmsg.ApiVersionsRequest)
	im := b.image()
	resp := req.ResponseKind().(*kmsg.ApiVersionsResponse)
	if code := checkAPIVersions(req, im, b.nodeID()); code != protocol.None {
		resp.ErrorCode = int16(code)
		r.Reply(resp)
		return
	}
	if req.Version >= 3 {
		r.conn.software = brief(req.ClientSoftwareName) + " " + brief(req.ClientSoftwareVersion)
	}
	for _, a := range protocol.APIs() {
		resp.ApiKeys = append(resp.ApiKeys, kmsg.ApiVersionsResponseApiKey{
			ApiKey: a.Key, MinVersion: a.AdvertisedMin, MaxVersion: a.Max,
		})
	}
	for _, f := range supportedFeatures {
		if f.MinVersion > 0 || r.version() >= 4 {
			resp.SupportedFeatures = append(resp.SupportedFeatures, f)
		}
	}
	resp.FinalizedFeaturesEpoch = im.Offset()
	for _, f := range im.Features() {
		if meta.IsOwnFeature(f.Name) {
			continue
		}
		resp.FinalizedFeatures = append(resp.FinalizedFeatures, kmsg.ApiVersionsResponseFinalizedFeature{
			Name: f.Name, MinVersionLevel: f.Level, MaxVersionLevel: f.Level,
		})
	}
	r.Reply(resp)
}

func checkAPIVersions(req *kmsg.ApiVersionsRequest, im *meta.Image, node protocol.BrokerID) protocol.Code {
	if req.Version >= 3 && !(isSoftwareName(req.ClientSoftwareName) && isSoftwareName(req.ClientSoftwareVersion)) {
		return protocol.InvalidRequest
	}
	if req.Version < 5 {
		return protocol.None
	}
	switch {
	case req.ClusterID == nil && req.NodeID == -1:
		return protocol.None
	case req.ClusterID == nil || req.NodeID == -1:
		return protocol.InvalidRequest
	case *req.ClusterID != im.ClusterID() || protocol.BrokerID(req.NodeID) != node:
		return protocol.RebootstrapRequired
	}
	return protocol.None
}

// isSoftwareName is Kafka's [a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])? on the whole text.
func isSoftwareName(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		c := s[i]
		alphanumeric := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		inside := i > 0 && i < len(s)-1
		if !alphanumeric && !(inside && (c == '-' || c == '.')) {
			return false
		}
	}
	return true
}
