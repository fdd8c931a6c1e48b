package broker_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
	"moldau.io/moldau/protocol"
)

// alter sets one key of a resource.
func alter(c *brokertest.Client, kind kmsg.ConfigResourceType, name, key, value string) {
	c.T.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	res := kmsg.NewIncrementalAlterConfigsRequestResource()
	res.ResourceType, res.ResourceName = kind, name
	cfg := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	cfg.Name, cfg.Value = key, &value
	res.Configs = append(res.Configs, cfg)
	req.Resources = append(req.Resources, res)
	resp := c.Do(brokertest.Latest(req)).(*kmsg.IncrementalAlterConfigsResponse)
	if code := resp.Resources[0].ErrorCode; code != 0 {
		c.T.Fatalf("alter %s: %v", key, protocol.Code(code))
	}
}

func TestAChangedConfigurationHoldsForTheNextRequest(t *testing.T) {
	w := newWorld(t)
	w.putAt(0, records(1, 5000))
	alter(w.c, kmsg.ConfigResourceTypeTopic, "t", "max.message.bytes", "1000")
	w.refused("larger than the topic's new limit", protocol.MessageTooLarge, records(1, 5000))
	alter(w.c, kmsg.ConfigResourceTypeTopic, "t", "max.message.bytes", "100000")
	w.putAt(1, records(1, 5000))
	createTopic(w.c, "u", 1)
	alter(w.c, kmsg.ConfigResourceTypeBroker, "", "message.max.bytes", "2000")
	if p := produce(w.c, 12, "u", w.id, 0, -1, records(1, 5000)); protocol.Code(p.ErrorCode) != protocol.MessageTooLarge {
		t.Errorf("larger than the brokers' new limit: %v", protocol.Code(p.ErrorCode))
	}
	w.putAt(2, records(1, 5000)) // the topic's own value wins

	alter(w.c, kmsg.ConfigResourceTypeBroker, "", "max.connections.per.ip", "2")
	w.b.Dial().Do(kmsg.NewPtrApiVersionsRequest())
	w.b.Dial().Closed()
}
