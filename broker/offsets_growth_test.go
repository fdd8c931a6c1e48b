package broker_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
)

// TestTheTopicOfTheGroupsGrowsWithTheCluster: groups of a cluster that began as one broker outlive that broker.
func TestTheTopicOfTheGroupsGrowsWithTheCluster(t *testing.T) {
	o := brokertest.Options{Settings: map[string]string{"offsets.topic.num.partitions": "4"}}
	brokers := brokertest.StartCluster(t, 1, o)
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.CoordinatorKeys = []string{"g"}
	brokers[0].Dial().Do(brokertest.At(4, req))
	wanted := func(replicas int) func(*kmsg.MetadataResponse) bool {
		return func(m *kmsg.MetadataResponse) bool {
			for _, topic := range m.Topics {
				if *topic.Topic != "__consumer_offsets" || len(topic.Partitions) != 4 {
					continue
				}
				for _, p := range topic.Partitions {
					if len(p.Replicas) != replicas || len(p.ISR) != replicas {
						return false
					}
				}
				return true
			}
			return false
		}
	}
	brokers[0].AwaitMetadata("the topic on one broker", wanted(1))
	for id := 2; id <= 4; id++ {
		brokers = append(brokers, brokertest.Join(t, brokers, id, o))
		brokers[0].AwaitMetadata("the topic on all brokers, up to three", wanted(min(id, 3)))
	}
}
