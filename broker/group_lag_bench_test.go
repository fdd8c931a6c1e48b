package broker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
)

// BenchmarkScrapeOfLag gathers all metrics of a broker with 1,000 groups that are behind in 10 partitions each.
func BenchmarkScrapeOfLag(b *testing.B) {
	const groups, partitions = 1000, 10
	br := brokertest.Start(b, brokertest.Options{Quiet: true, Settings: map[string]string{
		"moldau.group.lag.metrics": "10000", "offsets.topic.num.partitions": "50",
	}})
	c := br.Dial()
	id := createTopic(c, "t", partitions)
	for p := range int32(partitions) {
		for range 5 {
			produce(c, 9, "t", id, p, 1, timed(time.Now().UnixMilli()))
		}
	}
	commit := func(offset int64) {
		for g := range groups {
			req := kmsg.NewPtrOffsetCommitRequest()
			req.Group, req.Generation = fmt.Sprintf("group-%04d", g), -1
			t := kmsg.NewOffsetCommitRequestTopic()
			t.Topic = "t"
			for p := range int32(partitions) {
				rp := kmsg.NewOffsetCommitRequestTopicPartition()
				rp.Partition, rp.Offset = p, offset
				t.Partitions = append(t.Partitions, rp)
			}
			req.Topics = append(req.Topics, t)
			for {
				resp := c.Do(brokertest.At(8, req)).(*kmsg.OffsetCommitResponse)
				if resp.Topics[0].Partitions[0].ErrorCode == 0 {
					break
				}
				fc := kmsg.NewPtrFindCoordinatorRequest()
				fc.CoordinatorKeys = []string{"g"}
				c.Do(brokertest.Latest(fc))
			}
		}
	}
	commit(0)
	for len(series(b, br, "moldau_group_lag")) != groups*partitions {
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := br.Metrics().Gather(); err != nil {
			b.Fatal(err)
		}
	}
}
