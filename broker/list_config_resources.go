package broker

import (
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
)

// listedTypes are the types of resources that can be listed, in the order of Kafka's answer.
var listedTypes = []config.ResourceType{
	config.GroupResource, config.ClientMetricsResource, config.BrokerLoggerResource, config.BrokerResource,
	config.TopicResource,
}

// ListConfigResources, versions 0 and 1.
//
//	v0  client metrics subscriptions only (KIP-1000)
//	v1  all types; no type in the request asks for all of them (KIP-1142)
func handleListConfigResources(b *Broker, r *request) {
	req := r.msg.(*kmsg.ListConfigResourcesRequest)
	resp := req.ResponseKind().(*kmsg.ListConfigResourcesResponse)
	var types []config.ResourceType
	for _, t := range req.ResourceTypes {
		types = append(types, config.ResourceType(t))
	}
	switch {
	case r.version() == 0:
		types = []config.ResourceType{config.ClientMetricsResource}
	case len(types) == 0:
		types = listedTypes
	}
	if slices.ContainsFunc(types, func(t config.ResourceType) bool { return !slices.Contains(listedTypes, t) }) {
		resp.ErrorCode = int16(protocol.UnsupportedVersion)
		r.Reply(resp)
		return
	}
	for _, t := range listedTypes {
		if !slices.Contains(types, t) {
			continue
		}
		for _, name := range configResources(b.image(), t) {
			c := kmsg.NewListConfigResourcesResponseConfigResource()
			c.Name, c.Type = name, int8(t)
			resp.ConfigResources = append(resp.ConfigResources, c)
		}
	}
	r.Reply(resp)
}

// configResources are the names of the resources of a type: all topics and brokers, but only those groups and
// subscriptions on which something is set, since the others need not exist anywhere.
func configResources(im *meta.Image, t config.ResourceType) []string {
	var names []string
	switch t {
	case config.TopicResource:
		for _, topic := range im.Topics() {
			names = append(names, topic.Name)
		}
	case config.BrokerResource, config.BrokerLoggerResource:
		for _, broker := range im.Brokers() {
			names = append(names, strconv.Itoa(int(broker.ID)))
		}
	default:
		names = im.ConfiguredResources(t)
	}
	return names
}
