package broker_test

import (
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
)

func TestThreeBrokersFormACluster(t *testing.T) {
	brokers := brokertest.StartCluster(t, 3, brokertest.Options{})
	for _, b := range brokers {
		b.AwaitMetadata("all three brokers", func(m *kmsg.MetadataResponse) bool {
			return len(m.Brokers) == 3 && slices.IsSortedFunc(m.Brokers, func(x, y kmsg.MetadataResponseBroker) int {
				return int(x.NodeID - y.NodeID)
			})
		})
	}
	brokers[0].Kill()
	for _, b := range brokers[1:] {
		b.AwaitMetadata("two brokers", func(m *kmsg.MetadataResponse) bool { return len(m.Brokers) == 2 })
	}
	brokers[0].Restart()
	for _, b := range brokers {
		b.AwaitMetadata("three brokers again", func(m *kmsg.MetadataResponse) bool { return len(m.Brokers) == 3 })
	}
	brokers[2].Kill()
	brokers[2].Wipe()
	brokers[2].Restart()
	brokers[2].AwaitReady()
}
