package broker

import (
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/cluster/replica"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
)

// partitionWire is a broker with a topic "t" of one partition, whose place among its replicas the test decides.
type partitionWire struct {
	*wire
	p     *Partition
	epoch protocol.Epoch
}

func newPartitionWire(t *testing.T, configs ...string) *partitionWire {
	t.Helper()
	w := newServedWire(t)
	create := kmsg.NewPtrCreateTopicsRequest()
	create.Topics = append(create.Topics, wish("t", 1, 1, configs...))
	create.TimeoutMillis = 10_000
	if resp := w.ask(7, create).(*kmsg.CreateTopicsResponse); resp.Topics[0].ErrorCode != 0 {
		t.Fatalf("%+v", resp)
	}
	p := w.b.partitions.get(protocol.TopicPartition{Topic: "t"})
	return &partitionWire{w, p, protocol.Epoch(p.epoch.Load())}
}

// inSync has the replicas 1, which is the broker, and 2, of which these are in sync; 2 has nothing yet.
func (w *partitionWire) inSync(isr ...protocol.BrokerID) {
	w.p.lead(time.Now(), replica.Assignment{Local: 1, Epoch: w.epoch, Replicas: []protocol.BrokerID{1, 2}, ISR: isr})
}

func (w *partitionWire) produceRequest(acks int16, timeout int32, recs []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = acks, timeout
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic, rt.TopicID = "t", w.p.topicID
	rp := kmsg.NewProduceRequestTopicPartition()
	rp.Records = recs
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return req
}

// wants produces and compares the code and the offset.
func (w *partitionWire) wants(what string, acks int16, timeout int32, recs []byte, code protocol.Code, offset int64) {
	w.Helper()
	p := w.ask(13, w.produceRequest(acks, timeout, recs)).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	if protocol.Code(p.ErrorCode) != code || p.BaseOffset != offset {
		w.Errorf("%s: %v at offset %d, want %v at %d", what, protocol.Code(p.ErrorCode), p.BaseOffset, code, offset)
	}
}

// later asks in the background, on a connection of its own.
func (w *partitionWire) later(version int16, req kmsg.Request) <-chan kmsg.Response {
	answer := make(chan kmsg.Response, 1)
	nc := w.dial()
	go func(nc net.Conn) {
		resp, err := w.tryAsk(nc, version, req)
		if err != nil {
			w.Error(err)
		}
		answer <- resp
	}(nc)
	return answer
}

// from is a batch of n records of an idempotent producer.
func from(sequence int32, n int) []byte {
	b := batch.NewBuilder(batch.BuilderOptions{Producer: &batch.Producer{ID: 9, Sequence: sequence}})
	for range n {
		b.Add(time.Now().UnixMilli(), []byte("k"), []byte("v"))
	}
	return b.Build()
}

// appended waits until the log ends at offset.
func (w *partitionWire) appended(offset protocol.Offset) {
	w.Helper()
	for end := time.Now().Add(10 * time.Second); w.p.log.Bounds().End != offset; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("the log ends at %d, want %d", w.p.log.Bounds().End, offset)
		}
	}
}

func TestRule037_AcksAllIsAnsweredAtTheHighWatermark(t *testing.T) {
	w := newPartitionWire(t)
	w.wants("alone", -1, 10_000, from(0, 1), protocol.None, 0)
	w.inSync(1, 2)
	w.wants("acks=1 waits for nobody", 1, 10_000, from(1, 1), protocol.None, 1)

	answer := w.later(13, w.produceRequest(-1, 10_000, from(2, 2)))
	w.appended(4)
	select {
	case resp := <-answer:
		t.Fatalf("answered before replica 2 has it: %+v", resp)
	case <-time.After(50 * time.Millisecond):
	}
	w.inSync(1) // replica 2 has fallen out: what the leader has is committed
	p := (<-answer).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	if p.ErrorCode != 0 || p.BaseOffset != 2 {
		t.Errorf("at the high watermark: %+v", p)
	}

	w.inSync(1, 2)
	start := time.Now()
	w.wants("the timeout", -1, 100, from(4, 3), protocol.RequestTimedOut, -1)
	if d := time.Since(start); d < 100*time.Millisecond {
		t.Errorf("timed out after %v", d)
	}
	w.appended(7) // the data stays
	w.wants("a retry that times out too", -1, 1, from(4, 3), protocol.RequestTimedOut, -1)
	w.appended(7)
	w.inSync(1)
	w.wants("the retry, when all is well", -1, 10_000, from(4, 3), protocol.None, 4)
	w.appended(7)
}

// TestC50_TooFewInSyncIsRefusedBeforeAnythingIsWritten, so that the retry of an idempotent producer finds its place.
func TestC50_TooFewInSyncIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	w := newPartitionWire(t, "min.insync.replicas=2")
	w.wants("one replica", -1, 10_000, from(0, 1), protocol.None, 0) // no more can be asked for than there are
	w.inSync(1)
	for range 3 {
		w.wants("one of two", -1, 10_000, from(1, 1), protocol.NotEnoughReplicas, -1)
		w.appended(1)
	}
	w.wants("acks=1", 1, 10_000, from(1, 1), protocol.None, 1)
	answer := w.later(13, w.produceRequest(-1, 10_000, from(2, 1)))
	if p := (<-answer).(*kmsg.ProduceResponse).Topics[0].Partitions[0]; protocol.Code(p.ErrorCode) != protocol.NotEnoughReplicas {
		t.Errorf("%+v", p)
	}
	w.inSync(1, 2)
	answer = w.later(13, w.produceRequest(-1, 10_000, from(2, 1))) // the retry is in sequence
	w.appended(3)
	w.p.lead(time.Now(), replica.Assignment{Local: 1, Epoch: w.epoch, Replicas: []protocol.BrokerID{1},
		ISR: []protocol.BrokerID{1}})
	if p := (<-answer).(*kmsg.ProduceResponse).Topics[0].Partitions[0]; p.ErrorCode != 0 || p.BaseOffset != 2 {
		t.Errorf("%+v", p)
	}
}

// TestRule038_WhoIsNotTheLeaderNamesHim, in the versions that have a place for it, with the address of the client's listener.
func TestRule038_WhoIsNotTheLeaderNamesHim(t *testing.T) {
	w := newPartitionWire(t)
	w.inSync(1, 2)
	waiting := w.later(13, w.produceRequest(-1, 20_000, from(0, 1)))
	w.appended(1)
	w.p.rest()
	im, err := w.b.image().With(w.b.image().Offset()+1,
		meta.BrokerRecord{Broker: meta.Broker{ID: 2, Epoch: 9, Rack: "r", Listeners: []meta.Listener{
			{Name: "OTHER", Host: "inside", Port: 1}, {Name: "PLAINTEXT", Host: "outside", Port: 4711}}}},
		meta.PartitionsRecord{Topic: w.p.topicID, Partitions: []meta.Partition{
			{Replicas: []protocol.BrokerID{1, 2}, ISR: []protocol.BrokerID{2}, Leader: 2, LeaderEpoch: w.epoch + 1, Epoch: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	w.b.served.publish(im)
	if p := (<-waiting).(*kmsg.ProduceResponse).Topics[0].Partitions[0]; protocol.Code(p.ErrorCode) != protocol.NotLeaderOrFollower {
		t.Errorf("C50: the leadership went while acks were waited for: %+v", p)
	}
	versions(t, 0, func(v int16) {
		resp := w.ask(v, w.produceRequest(-1, 1000, from(1, 1))).(*kmsg.ProduceResponse)
		p := resp.Topics[0].Partitions[0]
		leader, nodes := [2]int32{-1, -1}, 0
		if v >= 10 {
			leader, nodes = [2]int32{2, int32(w.epoch) + 1}, 1
		}
		if protocol.Code(p.ErrorCode) != protocol.NotLeaderOrFollower || len(resp.Brokers) != nodes ||
			leader != [2]int32{p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch} {
			t.Errorf("Produce version %d: %+v", v, resp)
		}
		if nodes > 0 && (resp.Brokers[0].NodeID != 2 || resp.Brokers[0].Host != "outside" || resp.Brokers[0].Port != 4711 || *resp.Brokers[0].Rack != "r") {
			t.Errorf("Produce version %d: %+v", v, resp.Brokers)
		}
	})
	versions(t, 1, func(v int16) {
		req := kmsg.NewPtrFetchRequest()
		req.MaxBytes, req.SessionEpoch = 1<<20, -1
		rt := kmsg.NewFetchRequestTopic()
		rt.Topic, rt.TopicID = "t", w.p.topicID
		rt.Partitions = append(rt.Partitions, kmsg.NewFetchRequestTopicPartition())
		req.Topics = append(req.Topics, rt)
		resp := w.ask(v, req).(*kmsg.FetchResponse)
		p := resp.Topics[0].Partitions[0]
		leader, nodes := [2]int32{-1, -1}, 0
		if v >= 16 {
			leader, nodes = [2]int32{2, int32(w.epoch) + 1}, 1
		}
		if protocol.Code(p.ErrorCode) != protocol.NotLeaderOrFollower || len(resp.Brokers) != nodes ||
			leader != [2]int32{p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch} {
			t.Errorf("Fetch version %d: %+v", v, resp)
		}
	})
}
