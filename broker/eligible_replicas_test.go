package broker_test

import (
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
)

// TestI24_EligibleReplicasAreShown: two of three replicas die, and who left the in-sync set when it was too small already is
// eligible; back from a crash they are not, until they have caught up and are in sync.
func TestI24_EligibleReplicasAreShown(t *testing.T) {
	brokers := brokertest.StartCluster(t, 5, brokertest.Options{
		Settings: map[string]string{"min.insync.replicas": "2"}, Quiet: true,
	})
	place(t, brokers, "a", []int32{3, 4, 5})
	brokers[3].Kill()
	c := brokers[0].Dial()
	is := func(what string, leader int32, isr, elr []int32) {
		t.Helper()
		var got kmsg.DescribeTopicPartitionsResponseTopicPartition
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			req := kmsg.NewPtrDescribeTopicPartitionsRequest()
			req.ResponsePartitionLimit = 10
			req.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "a"}}
			got = c.Do(brokertest.At(0, req)).(*kmsg.DescribeTopicPartitionsResponse).Topics[0].Partitions[0]
			slices.Sort(got.ISR)
			if got.LeaderID == leader && slices.Equal(got.ISR, isr) && slices.Equal(got.EligibleLeaderReplicas, elr) {
				return
			}
		}
		t.Fatalf("%s: %+v", what, got)
	}
	is("one has died", 3, []int32{3, 5}, nil)
	brokers[2].Kill()
	is("two have died", 5, []int32{5}, []int32{3})
	brokers[2].Restart()
	brokers[3].Restart()
	is("both are back", 5, []int32{3, 4, 5}, nil)
}
