package broker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
	"moldau.io/moldau/protocol"
)

// ofGroup is the resource type of groups.
const ofGroup kmsg.ConfigResourceType = 32

// setGroup sets keys of a group ("key=value"), or unsets them ("key"), and answers with the code.
func (w *groupWire) setGroup(group string, changes ...string) protocol.Code {
	w.T.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = ofGroup, group
	for _, c := range changes {
		key, value, set := strings.Cut(c, "=")
		k := kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: key, Op: kmsg.IncrementalAlterConfigOpDelete}
		if set {
			k.Op, k.Value = kmsg.IncrementalAlterConfigOpSet, &value
		}
		r.Configs = append(r.Configs, k)
	}
	req.Resources = []kmsg.IncrementalAlterConfigsRequestResource{r}
	resp := w.Do(brokertest.Latest(req)).(*kmsg.IncrementalAlterConfigsResponse)
	return protocol.Code(resp.Resources[0].ErrorCode)
}

// groupConfig is the value of a key of a group, and where it is from.
func (w *groupWire) groupConfig(group, key string) string {
	w.T.Helper()
	req := kmsg.NewPtrDescribeConfigsRequest()
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName, r.ConfigNames = ofGroup, group, []string{key}
	req.Resources = []kmsg.DescribeConfigsRequestResource{r}
	c := w.Do(brokertest.Latest(req)).(*kmsg.DescribeConfigsResponse).Resources[0].Configs[0]
	return fmt.Sprint(*c.Value, " ", c.Source)
}

// What is configured for a group holds for its members from their next heartbeat on.
func TestRule102_ConfigurationsOfGroupsHoldAtOnce(t *testing.T) {
	w := newGroupWire(t, map[string]string{"group.consumer.max.heartbeat.interval.ms": "9000"})
	one, other := w.joinConsumer("one", "m1"), w.joinConsumer("other", "m2")
	interval := func(when string, c *consumer, want int32) {
		t.Helper()
		if got := c.beat(nil).HeartbeatIntervalMillis; got != want {
			t.Errorf("%s: %s beats every %d ms, want %d", when, c.group, got, want)
		}
	}
	const key = "consumer.heartbeat.interval.ms"
	interval("by default", one, 5000)
	w.codes("set", w.setGroup("one", key+"=7000"), protocol.None)
	interval("set", one, 7000)
	interval("set on another", other, 5000)
	if got := w.groupConfig("one", key); got != "7000 "+fmt.Sprint(kmsg.ConfigSource(8)) {
		t.Errorf("described as %s", got)
	}
	w.codes("too high", w.setGroup("one", key+"=9001"), protocol.InvalidConfig)
	w.codes("too low", w.setGroup("one", key+"=4999"), protocol.InvalidConfig)
	w.codes("no number", w.setGroup("one", key+"=soon"), protocol.InvalidConfig)
	w.codes("unknown", w.setGroup("one", "heartbeat.interval.ms=7000"), protocol.InvalidConfig)
	w.codes("session below its bound", w.setGroup("one", "consumer.session.timeout.ms=8000"), protocol.InvalidConfig)
	w.codes("no group", w.setGroup("", key+"=7000"), protocol.InvalidRequest)
	w.codes("a group to come", w.setGroup("later", key+"=8000"), protocol.None)
	interval("before it is there", w.joinConsumer("later", "m3"), 8000)
	interval("refused", one, 7000)
	w.codes("delete", w.setGroup("one", key), protocol.None)
	interval("deleted", one, 5000)

	list := kmsg.NewPtrListConfigResourcesRequest()
	list.Version, list.ResourceTypes = 1, []int8{int8(ofGroup)}
	w.wants("list", list, 1, 1, "{ErrorCode:0,ConfigResources:[{Name:later,Type:32}]}")
}

// What was set within bounds that are others after a restart is brought into those.
func TestConfigurationsOfGroupsAreKeptWithinBounds(t *testing.T) {
	settings := map[string]string{"group.consumer.max.heartbeat.interval.ms": "9000"}
	w := newGroupWire(t, settings)
	w.codes("set", w.setGroup("g", "consumer.heartbeat.interval.ms=9000"), protocol.None)
	settings["group.consumer.max.heartbeat.interval.ms"] = "6000"
	w.broker.Restart()
	w.Client = w.broker.Dial()
	w.coordinator()
	if got := w.joinConsumer("g", "m").beat(nil).HeartbeatIntervalMillis; got != 6000 {
		t.Errorf("the member beats every %d ms", got)
	}
}
