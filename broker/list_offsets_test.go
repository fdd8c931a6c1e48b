package broker_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
)

// timed is a batch of records with these timestamps.
func timed(ms ...int64) []byte {
	b := batch.NewBuilder(batch.BuilderOptions{})
	for _, at := range ms {
		b.Add(at, []byte("k"), []byte("v"))
	}
	return b.Build()
}

func deleteRecords(c *brokertest.Client, topic string, partition int32,
	offset int64) kmsg.DeleteRecordsResponseTopicPartition {
	c.T.Helper()
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = 10_000
	dt := kmsg.NewDeleteRecordsRequestTopic()
	dt.Topic = topic
	dp := kmsg.NewDeleteRecordsRequestTopicPartition()
	dp.Partition, dp.Offset = partition, offset
	dt.Partitions = append(dt.Partitions, dp)
	req.Topics = append(req.Topics, dt)
	return c.Do(brokertest.Latest(req)).(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0]
}

func TestRule074_075_C68_C70_OffsetsByTime(t *testing.T) {
	w := newWorld(t)
	now := time.Now().UnixMilli()
	w.putAt(0, timed(now-5000, now-3000, now-4000))
	w.putAt(3, timed(now-1000, now-1000))
	w.b.Restart()
	w.c = w.b.Dial()
	w.putAt(5, timed(now-2000))
	latest := listOffset(w.c, 11, "t", 0, -1)
	if latest.LeaderEpoch < 1 {
		t.Fatalf("%+v", latest)
	}
	old := latest.LeaderEpoch - 1
	for _, c := range []struct {
		what              string
		ask               int64
		offset, timestamp int64
		epoch             int32
	}{
		{"latest", -1, 6, -1, latest.LeaderEpoch},
		{"earliest", -2, 0, -1, old},
		{"largest timestamp", -3, 3, now - 1000, old},
		{"earliest local", -4, 0, -1, old},
		{"latest tiered", -5, -1, -1, -1},
		{"earliest pending upload", -6, -1, -1, -1},
		{"long ago", 0, 0, now - 5000, old},
		{"between", now - 4500, 1, now - 3000, old},
		{"exactly", now - 1000, 3, now - 1000, old},
		{"none", now, -1, -1, -1},
	} {
		p := listOffset(w.c, 11, "t", 0, c.ask)
		if p.ErrorCode != 0 || p.Offset != c.offset || p.Timestamp != c.timestamp || p.LeaderEpoch != c.epoch {
			t.Errorf("%s: offset %d, timestamp %d, epoch %d, %v; want %d, %d, %d", c.what, p.Offset, p.Timestamp,
				p.LeaderEpoch, protocol.Code(p.ErrorCode), c.offset, c.timestamp, c.epoch)
		}
	}
}

func TestRule074_SpecialTimestampsByVersion(t *testing.T) {
	w := newWorld(t)
	w.putAt(0, records(1, 10))
	since := map[int64]int16{-1: 1, -2: 1, -3: 7, -4: 8, -5: 9, -6: 11, -7: 99, -1 << 63: 99}
	for version := int16(1); version <= 11; version++ {
		for timestamp, first := range since {
			p := listOffset(w.c, version, "t", 0, timestamp)
			want := protocol.None
			if version < first {
				want = protocol.UnsupportedVersion
			}
			if protocol.Code(p.ErrorCode) != want {
				t.Errorf("version %d, timestamp %d: %v", version, timestamp, protocol.Code(p.ErrorCode))
			}
		}
	}
}

func TestRule076_WhatListOffsetsRefuses(t *testing.T) {
	w := newWorld(t)
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	lt := kmsg.NewListOffsetsRequestTopic()
	lt.Topic = "t"
	for _, p := range []struct{ partition, epoch int32 }{{0, -1}, {1, -1}, {0, -1}, {9, -1}} {
		lp := kmsg.NewListOffsetsRequestTopicPartition()
		lp.Partition, lp.Timestamp, lp.CurrentLeaderEpoch = p.partition, -1, p.epoch
		lt.Partitions = append(lt.Partitions, lp)
	}
	req.Topics = append(req.Topics, lt)
	resp := w.c.Do(brokertest.Latest(req)).(*kmsg.ListOffsetsResponse)
	// The partition that was asked for twice is answered once.
	want := []protocol.Code{protocol.InvalidRequest, protocol.None, protocol.UnknownTopicOrPartition}
	if n := len(resp.Topics[0].Partitions); n != len(want) {
		t.Fatalf("%d entries, want %d", n, len(want))
	}
	for i, p := range resp.Topics[0].Partitions {
		if protocol.Code(p.ErrorCode) != want[i] {
			t.Errorf("entry %d: %v, want %v", i, protocol.Code(p.ErrorCode), want[i])
		}
	}
	epoch := listOffset(w.c, 11, "t", 0, -1).LeaderEpoch
	lt.Partitions = lt.Partitions[:1]
	lt.Partitions[0].CurrentLeaderEpoch = epoch + 1
	req.Topics[0] = lt
	resp = w.c.Do(req).(*kmsg.ListOffsetsResponse)
	if got := protocol.Code(resp.Topics[0].Partitions[0].ErrorCode); got != protocol.UnknownLeaderEpoch {
		t.Errorf("a newer epoch: %v", got)
	}
}

func TestRule075_C69_AnEmptyLog(t *testing.T) {
	w := newWorld(t)
	for ask, want := range map[int64]int64{-1: 0, -2: 0, -3: -1, 0: -1} {
		if p := listOffset(w.c, 11, "t", 0, ask); p.ErrorCode != 0 || p.Offset != want || p.Timestamp != -1 {
			t.Errorf("timestamp %d: %+v", ask, p)
		}
	}
}

func epochEnd(c *brokertest.Client, version int16, current,
	epoch int32) kmsg.OffsetForLeaderEpochResponseTopicPartition {
	c.T.Helper()
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	req.Version, req.ReplicaID = version, -1
	et := kmsg.NewOffsetForLeaderEpochRequestTopic()
	et.Topic = "t"
	ep := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	ep.CurrentLeaderEpoch, ep.LeaderEpoch = current, epoch
	et.Partitions = append(et.Partitions, ep)
	req.Topics = append(req.Topics, et)
	return c.Do(req).(*kmsg.OffsetForLeaderEpochResponse).Topics[0].Partitions[0]
}

func TestRule077_C71_EndsOfEpochs(t *testing.T) {
	w := newWorld(t)
	w.putAt(0, records(3, 10))
	first := listOffset(w.c, 11, "t", 0, -1).LeaderEpoch
	w.b.Restart()
	w.c = w.b.Dial()
	now := listOffset(w.c, 11, "t", 0, -1).LeaderEpoch
	for version := int16(2); version <= 4; version++ {
		// Nothing was appended in the new epoch yet, but it has begun.
		if p := epochEnd(w.c, version, -1, now); p.ErrorCode != 0 || p.LeaderEpoch != now || p.EndOffset != 3 {
			t.Errorf("the current epoch: %+v", p)
		}
		if p := epochEnd(w.c, version, now, first); p.ErrorCode != 0 || p.LeaderEpoch != first || p.EndOffset != 3 {
			t.Errorf("the epoch before: %+v", p)
		}
		if p := epochEnd(w.c, version, -1, now+5); p.ErrorCode != 0 || p.LeaderEpoch != -1 || p.EndOffset != -1 {
			t.Errorf("an unknown epoch: %+v", p)
		}
		if p := epochEnd(w.c, version, now+1, first); protocol.Code(p.ErrorCode) != protocol.UnknownLeaderEpoch {
			t.Errorf("a newer current epoch: %+v", p)
		}
		if p := epochEnd(w.c, version, first, first); protocol.Code(p.ErrorCode) != protocol.FencedLeaderEpoch {
			t.Errorf("an older current epoch: %+v", p)
		}
	}
}

func TestRule078_C35_DeleteRecords(t *testing.T) {
	w := newWorld(t)
	w.putAt(0, records(10, 10))
	for _, c := range []struct {
		offset, low int64
		code        protocol.Code
	}{
		{11, -1, protocol.OffsetOutOfRange}, {-2, -1, protocol.OffsetOutOfRange},
		{4, 4, protocol.None}, {2, 4, protocol.None}, {-1, 10, protocol.None},
	} {
		p := deleteRecords(w.c, "t", 0, c.offset)
		if protocol.Code(p.ErrorCode) != c.code || p.LowWatermark != c.low {
			t.Errorf("offset %d: low watermark %d, %v", c.offset, p.LowWatermark, protocol.Code(p.ErrorCode))
		}
		if c.offset == 4 {
			// In the middle of a batch: what is left of it is sent whole, what is before cannot be asked for.
			if got := w.get(4); countRecords(t, got.RecordBatches) != 10 || got.LogStartOffset != 4 {
				t.Errorf("at the new start: %+v", got)
			}
			if got := w.get(3); protocol.Code(got.ErrorCode) != protocol.OffsetOutOfRange {
				t.Errorf("below the start: %v", protocol.Code(got.ErrorCode))
			}
			if p := listOffset(w.c, 11, "t", 0, -2); p.Offset != 4 {
				t.Errorf("earliest: %+v", p)
			}
		}
	}
	if p := deleteRecords(w.c, "nope", 0, 0); protocol.Code(p.ErrorCode) != protocol.UnknownTopicOrPartition {
		t.Errorf("unknown topic: %+v", p)
	}
	createTopic(w.c, "c", 1, "cleanup.policy", "compact")
	p := deleteRecords(w.c, "c", 0, -1)
	if protocol.Code(p.ErrorCode) != protocol.PolicyViolation || p.LowWatermark != -1 {
		t.Errorf("compacted: %+v", p)
	}
	w.b.Restart()
	w.c = w.b.Dial()
	if p := listOffset(w.c, 11, "t", 0, -2); p.Offset != 10 {
		t.Errorf("earliest after a restart: %+v", p)
	}
}

func TestC130_DescribeLogDirs(t *testing.T) {
	w := newWorld(t)
	w.putAt(0, records(10, 100))
	req := kmsg.NewPtrDescribeLogDirsRequest()
	for version := int16(1); version <= 5; version++ {
		req.Topics = nil
		resp := w.c.Do(brokertest.At(version, req)).(*kmsg.DescribeLogDirsResponse)
		if len(resp.Dirs) != 1 || resp.Dirs[0].ErrorCode != 0 || len(resp.Dirs[0].Topics) != 1 ||
			len(resp.Dirs[0].Topics[0].Partitions) != 2 || resp.Dirs[0].Topics[0].Partitions[0].Size < 1000 {
			t.Errorf("version %d: %+v", version, resp)
		}
		dt := kmsg.NewDescribeLogDirsRequestTopic()
		dt.Topic, dt.Partitions = "t", []int32{1, 7}
		req.Topics = []kmsg.DescribeLogDirsRequestTopic{dt}
		resp = w.c.Do(req).(*kmsg.DescribeLogDirsResponse)
		if ps := resp.Dirs[0].Topics[0].Partitions; len(ps) != 1 || ps[0].Partition != 1 {
			t.Errorf("version %d, one partition: %+v", version, resp)
		}
	}
}

func TestDescribeProducers(t *testing.T) {
	w := newWorld(t)
	w.putAt(0, from(77, 2, 0, 3))
	req := kmsg.NewPtrDescribeProducersRequest()
	pt := kmsg.NewDescribeProducersRequestTopic()
	pt.Topic, pt.Partitions = "t", []int32{0, 1, 5}
	req.Topics = append(req.Topics, pt)
	ps := w.c.Do(req).(*kmsg.DescribeProducersResponse).Topics[0].Partitions
	if len(ps) != 3 || len(ps[0].ActiveProducers) != 1 || len(ps[1].ActiveProducers) != 0 ||
		protocol.Code(ps[2].ErrorCode) != protocol.UnknownTopicOrPartition {
		t.Fatalf("%+v", ps)
	}
	p := ps[0].ActiveProducers[0]
	if p.ProducerID != 77 || p.ProducerEpoch != 2 || p.LastSequence != 2 || p.CurrentTxnStartOffset != -1 {
		t.Errorf("%+v", p)
	}
}
