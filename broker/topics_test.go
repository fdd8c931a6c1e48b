package broker_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
	"moldau.io/moldau/protocol"
)

func metadata(c *brokertest.Client, create bool, names ...string) *kmsg.MetadataResponse {
	c.T.Helper()
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = create
	for _, name := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	return c.Do(brokertest.Latest(req)).(*kmsg.MetadataResponse)
}

// TestC18_ATopicIsUsableWhenItsCreationIsAnswered: no retry, no pause, from many clients at once.
func TestC18_ATopicIsUsableWhenItsCreationIsAnswered(t *testing.T) {
	b := brokertest.Start(t, brokertest.Options{})
	var wg sync.WaitGroup
	for i := range 8 {
		c := b.Dial()
		wg.Go(func() {
			for j := range 10 {
				made := fmt.Sprintf("made-%d-%d", i, j)
				id := createTopic(c, made, 3)
				if p := produce(c, 13, made, id, 2, -1, records(1, 10)); p.ErrorCode != 0 || p.BaseOffset != 0 {
					t.Errorf("%s: %+v", made, p)
				}
				auto := fmt.Sprintf("auto-%d-%d", i, j)
				if code := metadata(c, true, auto).Topics[0].ErrorCode; code != int16(protocol.UnknownTopicOrPartition) {
					t.Errorf("%s: first answer %d", auto, code)
				}
				if p := produce(c, 12, auto, protocol.TopicID{}, 0, -1, records(1, 10)); p.ErrorCode != 0 || p.BaseOffset != 0 {
					t.Errorf("%s: %+v", auto, p)
				}
			}
		})
	}
	wg.Wait()
}

func TestC24_ADeletedTopicIsGoneByItsID(t *testing.T) {
	b := brokertest.Start(t, brokertest.Options{})
	c := b.Dial()
	old := createTopic(c, "t", 1)
	produce(c, 13, "t", old, 0, -1, records(5, 10))
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Topics = []kmsg.DeleteTopicsRequestTopic{{TopicID: old}}
	if resp := c.Do(brokertest.Latest(req)).(*kmsg.DeleteTopicsResponse); resp.Topics[0].ErrorCode != 0 {
		t.Fatalf("%+v", resp)
	}
	id := createTopic(c, "t", 1)
	if p := produce(c, 13, "t", old, 0, -1, records(1, 10)); p.ErrorCode != int16(protocol.UnknownTopicID) {
		t.Errorf("the old id: %+v", p)
	}
	if p := produce(c, 13, "t", id, 0, -1, records(1, 10)); p.ErrorCode != 0 || p.BaseOffset != 0 {
		t.Errorf("the new topic has the old one's records: %+v", p)
	}
}

func TestC28_NewPartitionsAreUsableAtOnce(t *testing.T) {
	b := brokertest.Start(t, brokertest.Options{})
	c := b.Dial()
	id := createTopic(c, "t", 1)
	for count := int32(2); count < 20; count++ {
		req := kmsg.NewPtrCreatePartitionsRequest()
		req.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: "t", Count: count}}
		if resp := c.Do(brokertest.Latest(req)).(*kmsg.CreatePartitionsResponse); resp.Topics[0].ErrorCode != 0 {
			t.Fatalf("%+v", resp)
		}
		if p := produce(c, 13, "t", id, count-1, -1, records(1, 10)); p.ErrorCode != 0 {
			t.Fatalf("partition %d: %+v", count-1, p)
		}
	}
}

// TestC127_MetadataIsTheSameAfterARestart, but for the leader epochs, which rise.
func TestC127_MetadataIsTheSameAfterARestart(t *testing.T) {
	b := brokertest.Start(t, brokertest.Options{})
	c := b.Dial()
	ids := map[string]protocol.TopicID{}
	for i := range 20 {
		name := fmt.Sprint("t", i)
		ids[name] = createTopic(c, name, int32(i%4+1), "retention.ms", "1000")
	}
	cluster := *metadata(c, false).ClusterID
	for start := int32(1); start <= 2; start++ {
		b.Restart()
		c = b.Dial()
		resp := metadata(c, false)
		if *resp.ClusterID != cluster || len(resp.Topics) != len(ids) {
			t.Fatalf("cluster %s with %d topics", *resp.ClusterID, len(resp.Topics))
		}
		for _, topic := range resp.Topics {
			if ids[*topic.Topic] != topic.TopicID || topic.ErrorCode != 0 {
				t.Errorf("%s: %+v", *topic.Topic, topic)
			}
			for _, p := range topic.Partitions {
				if p.LeaderEpoch != start || p.Leader != 1 || p.ErrorCode != 0 {
					t.Errorf("%s-%d: leader %d in epoch %d after %d restarts", *topic.Topic, p.Partition, p.Leader, p.LeaderEpoch, start)
				}
			}
		}
		if p := produce(c, 13, "t3", ids["t3"], 3, -1, records(1, 10)); p.ErrorCode != 0 || p.BaseOffset != int64(start-1) {
			t.Errorf("%+v", p)
		}
	}
}

func TestRule047_ProducerIDsAreNotGivenAgainAfterARestart(t *testing.T) {
	b := brokertest.Start(t, brokertest.Options{})
	seen := map[int64]bool{}
	for range 4 {
		c := b.Dial()
		for range 10 {
			req := kmsg.NewPtrInitProducerIDRequest()
			req.ProducerID, req.ProducerEpoch = -1, -1
			resp := c.Do(brokertest.Latest(req)).(*kmsg.InitProducerIDResponse)
			if resp.ErrorCode != 0 || seen[resp.ProducerID] {
				t.Fatalf("%+v", resp)
			}
			seen[resp.ProducerID] = true
		}
		b.Restart()
	}
}
