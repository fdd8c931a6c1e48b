package broker

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
)

func (rs *replicas) wire(id int) *wire {
	return &wire{T: rs.T, b: rs.b[id], addr: rs.addr[id], logs: &syncBuffer{}}
}

// fetchOf is a Fetch of partition 0 of "t", without a session.
func (rs *replicas) fetchOf(version int16, offset int64, wait int32) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch = wait, 1, 1<<20, -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = "t", rs.topic
	p := kmsg.NewFetchRequestTopicPartition()
	p.FetchOffset, p.PartitionMaxBytes = offset, 1<<20
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

func (rs *replicas) fetch(id int, version int16, offset int64) kmsg.FetchResponseTopicPartition {
	rs.Helper()
	resp := rs.wire(id).ask(version, rs.fetchOf(version, offset, 0)).(*kmsg.FetchResponse)
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		rs.Fatalf("%+v", resp)
	}
	return resp.Topics[0].Partitions[0]
}

func TestI26_C63_AFollowerServesBelowItsHighWatermark(t *testing.T) {
	rs := newReplicas(t, 2)
	rs.assign(1, 1, 5, 1, 2)
	rs.put(1, 0, "a")
	rs.put(1, 0, "b")
	rs.same(0, 2)
	if p := rs.fetch(2, 11, 0); p.ErrorCode != 0 || len(p.RecordBatches) == 0 || p.HighWatermark != 2 {
		t.Errorf("below the high watermark: %+v", p)
	}
	if p := rs.fetch(2, 11, 2); p.ErrorCode != 0 || len(p.RecordBatches) != 0 {
		t.Errorf("at the high watermark: %+v", p)
	}
	if p := rs.fetch(2, 11, 3); protocol.Code(p.ErrorCode) != protocol.OffsetNotAvailable {
		t.Errorf("where the leader may be: %+v", p)
	}
	if p := rs.fetch(1, 11, 3); protocol.Code(p.ErrorCode) != protocol.OffsetOutOfRange {
		t.Errorf("where the leader is not: %+v", p)
	}
	if p := rs.fetch(2, 10, 0); protocol.Code(p.ErrorCode) != protocol.NotLeaderOrFollower {
		t.Errorf("a client that knows of no followers: %+v", p)
	}
	if _, err := rs.p(2, 0).log.Mirror(time.Now(), stamped("c", 2, 5)); err != nil { // as if the leader had not committed it
		t.Fatal(err)
	}
	if p := rs.fetch(2, 11, 2); p.ErrorCode != 0 || len(p.RecordBatches) != 0 {
		t.Errorf("above the high watermark: %+v", p)
	}
	fenced := rs.fetchOf(12, 0, 0)
	fenced.Topics[0].Partitions[0].CurrentLeaderEpoch = 4
	if p := rs.wire(2).ask(12, fenced).(*kmsg.FetchResponse).Topics[0].Partitions[0]; protocol.Code(p.ErrorCode) !=
		protocol.FencedLeaderEpoch {
		t.Errorf("an older epoch: %+v", p)
	}
}

// stamped is a batch of one record as a leader has written it.
func stamped(text string, base protocol.Offset, epoch protocol.Epoch) batch.Batch {
	b := oneBatch(text)
	b.Stamp(base, epoch)
	return b
}

func TestC64_DeletedRecordsAreDeletedOnFollowers(t *testing.T) {
	rs := newReplicas(t, 3)
	rs.assign(1, 1, 5, 1, 2, 3)
	for range 10 {
		rs.put(1, 0, "x")
	}
	rs.same(0, 10)
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = 20_000
	dt := kmsg.NewDeleteRecordsRequestTopic()
	dt.Topic = "t"
	dt.Partitions = append(dt.Partitions, kmsg.DeleteRecordsRequestTopicPartition{Offset: 7})
	req.Topics = append(req.Topics, dt)
	resp := rs.wire(1).ask(2, req).(*kmsg.DeleteRecordsResponse)
	if p := resp.Topics[0].Partitions[0]; p.ErrorCode != 0 || p.LowWatermark != 7 {
		t.Errorf("%+v", p)
	}
	for id := 2; id <= 3; id++ { // the answer says that every replica has followed
		if start := rs.p(id, 0).log.Bounds().Start; start != 7 {
			t.Errorf("the log of broker %d begins at %d", id, start)
		}
		if p := rs.fetch(id, 11, 6); protocol.Code(p.ErrorCode) != protocol.OffsetOutOfRange {
			t.Errorf("broker %d gives what was deleted: %+v", id, p)
		}
	}
}

func TestRule078_DeleteRecordsWaitsForReplicas(t *testing.T) {
	rs := newReplicas(t, 2)
	rs.assign(1, 1, 5, 1, 2)
	rs.put(1, 0, "x")
	rs.same(0, 1)
	rs.deaf[1] = true
	rs.assign(1, -1, 6) // broker 2 follows nobody any more
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = 100
	dt := kmsg.NewDeleteRecordsRequestTopic()
	dt.Topic = "t"
	dt.Partitions = append(dt.Partitions, kmsg.DeleteRecordsRequestTopicPartition{Offset: 1})
	req.Topics = append(req.Topics, dt)
	resp := rs.wire(1).ask(2, req).(*kmsg.DeleteRecordsResponse)
	if p := resp.Topics[0].Partitions[0]; protocol.Code(p.ErrorCode) != protocol.RequestTimedOut || p.LowWatermark != 0 {
		t.Errorf("%+v", p)
	}
}

func TestRule076_ALeaderThatCatchesUpDoesNotSayWhereTheLogEnds(t *testing.T) {
	rs := newReplicas(t, 2)
	rs.assign(1, 1, 5, 1, 2)
	rs.put(1, 0, "x")
	rs.same(0, 1)
	rs.deaf[2] = true
	rs.put(1, 0, "not committed")
	rs.until("the follower has it", func() bool { return rs.p(2, 0).log.Bounds().End == 2 })
	rs.p(1, 0).log.SetHighWatermark(1) // as it is where the follower's next fetch has not come before the election
	rs.assign(1, 1, 6, 1, 2)
	ask := func(version int16, timestamp int64) protocol.Code {
		req := kmsg.NewPtrListOffsetsRequest()
		req.ReplicaID = -1
		lt := kmsg.NewListOffsetsRequestTopic()
		lt.Topic = "t"
		lp := kmsg.NewListOffsetsRequestTopicPartition()
		lp.Timestamp, lp.CurrentLeaderEpoch = timestamp, -1
		lt.Partitions = append(lt.Partitions, lp)
		req.Topics = append(req.Topics, lt)
		return protocol.Code(rs.wire(1).ask(version, req).(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0].ErrorCode)
	}
	got := fmt.Sprint(ask(8, -1), ask(4, -1), ask(8, -2), ask(8, 0), ask(8, 99))
	want := fmt.Sprint(protocol.OffsetNotAvailable, protocol.LeaderNotAvailable, protocol.None, protocol.None,
		protocol.OffsetNotAvailable)
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestRule072_ConsumersAreSentToAReplicaInTheirRack(t *testing.T) {
	rs := newReplicas(t, 3, "replica.selector.class", rackAware)
	rs.assign(1, 1, 5, 1, 2, 3)
	rs.put(1, 0, "x")
	rs.same(0, 1)
	ask := func(rack string, offset int64) string {
		req := rs.fetchOf(11, offset, 0)
		req.Rack = rack
		p := rs.wire(1).ask(11, req).(*kmsg.FetchResponse).Topics[0].Partitions[0]
		return fmt.Sprint(p.ErrorCode, " ", p.PreferredReadReplica, " ", len(p.RecordBatches) > 0)
	}
	for _, c := range []struct {
		rack   string
		offset int64
		want   string
	}{
		{"rack-2", 0, "0 2 false"}, {"rack-3", 1, "0 3 false"}, {"rack-1", 0, "0 -1 true"}, {"elsewhere", 0, "0 -1 true"},
		{"", 0, "0 -1 true"},
	} {
		if got := ask(c.rack, c.offset); got != c.want {
			t.Errorf("rack %q, offset %d: %s, want %s", c.rack, c.offset, got, c.want)
		}
	}
	rs.put(1, 0, "y")
	rs.same(0, 2)
}

func TestC50_TooFewReplicasAfterAnAppend(t *testing.T) {
	rs := newReplicas(t, 2)
	minimum := "2"
	rs.configs = []meta.Record{meta.ConfigRecord{
		Resource: meta.Resource{Type: config.TopicResource, Name: "t"}, Key: "min.insync.replicas", Value: &minimum}}
	rs.deaf[2] = true // it never fetches
	rs.assign(1, 1, 5, 1, 2)
	w := rs.wire(1)
	pw := &partitionWire{wire: w, p: rs.p(1, 0), epoch: 5}
	answer := pw.later(13, pw.produceRequest(-1, 20_000, from(0, 1)))
	pw.appended(1)
	rs.assign(1, 1, 5, 1)        // the follower is in sync no more
	pw.p.log.SetHighWatermark(1) // as if it had fetched in the last moment
	pw.p.mu.Lock()
	pw.p.mu.waits.all()
	pw.p.mu.Unlock()
	if p := (<-answer).(*kmsg.ProduceResponse).Topics[0].Partitions[0]; protocol.Code(p.ErrorCode) !=
		protocol.NotEnoughReplicasAfterAppend {
		t.Errorf("%+v", p)
	}
}

func TestRule073_HostileReplicasAreNotBelieved(t *testing.T) {
	rs := newReplicas(t, 2)
	rs.deaf[2] = true
	rs.assign(1, 1, 5, 1, 2)
	if _, err := rs.p(1, 0).append(time.Now(), oneBatch("x"), true); err != nil {
		t.Fatal(err)
	}
	epoch := rs.b[2].brokerEpoch()
	ask := func(version int16, id int32, epoch int64) protocol.Code {
		req := rs.fetchOf(version, 1, 0)
		req.ReplicaID, req.ReplicaState.ID, req.ReplicaState.Epoch = id, id, epoch
		req.Topics[0].Partitions[0].CurrentLeaderEpoch = 5
		resp := rs.wire(1).ask(version, req).(*kmsg.FetchResponse)
		return protocol.Code(resp.Topics[0].Partitions[0].ErrorCode)
	}
	for _, c := range []struct {
		version int16
		id      int32
		epoch   int64
	}{{18, 1, rs.b[1].brokerEpoch()}, {18, 2, epoch + 1}, {18, 2, -1}, {18, 3, epoch}, {18, 1 << 30, -1}, {12, 2, 0}, {4, 2, 0}} {
		if code := ask(c.version, c.id, c.epoch); code != protocol.NotLeaderOrFollower {
			t.Errorf("version %d, replica %d, epoch %d: %v", c.version, c.id, c.epoch, code)
		}
		if hw := rs.p(1, 0).highWatermark(); hw != 0 {
			t.Fatalf("version %d, replica %d, epoch %d: the high watermark is %d", c.version, c.id, c.epoch, hw)
		}
	}
	if code := ask(18, 2, epoch); code != protocol.None {
		t.Errorf("the broker itself: %v", code)
	}
	if hw := rs.p(1, 0).highWatermark(); hw != 1 {
		t.Errorf("it has everything, and the high watermark is %d", hw)
	}
}
