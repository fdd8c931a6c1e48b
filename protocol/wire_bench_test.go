package protocol

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// BenchmarkProduce walks a request of 16 partitions in place, and for comparison has kmsg decode it.
func BenchmarkProduce(b *testing.B) {
	body := produceBody(12, make([]byte, 1000), 16)
	b.Run("place", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			p, err := ParseProduce(12, body)
			if err != nil {
				b.Fatal(err)
			}
			for c := p.Cursor(); c.Next(); {
			}
		}
	})
	b.Run("kmsg", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			req := kmsg.NewPtrProduceRequest()
			req.Version = 12
			if err := req.ReadFrom(body); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkDecodeBody shows what the skimmer adds to kmsg's decoder.
func BenchmarkDecodeBody(b *testing.B) {
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Version, commit.Group, commit.MemberID = 9, "riders", "consumer-1-4f9a"
	topic := kmsg.NewOffsetCommitRequestTopic()
	topic.Topic = "locations"
	for i := range 12 {
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset, p.Metadata = int32(i), int64(i), kmsg.StringPtr("")
		topic.Partitions = append(topic.Partitions, p)
	}
	commit.Topics = append(commit.Topics, topic)
	body := commit.AppendTo(nil)
	api, _ := Lookup(commit.Key())
	b.Run("skim", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := skim(api, 9, body); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := DecodeBody(api, 9, body); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkFetchResponse encodes an answer of 16 partitions.
func BenchmarkFetchResponse(b *testing.B) {
	var ignored int
	resp := &FetchResponse{}
	for i := range 16 {
		resp.Results = append(resp.Results, FetchResult{
			Topic: fmt.Sprint("topic", i/4), TopicID: TopicID{byte(i / 4)}, Partition: int32(i % 4), PreferredReadReplica: -1,
			Records: memory{make([]byte, 1), &ignored},
		})
	}
	b.ReportAllocs()
	for b.Loop() {
		EncodeFetchResponse(Header{Key: 1, Version: 17}, resp).Release()
	}
}
