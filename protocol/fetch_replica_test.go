package protocol

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// replicaFetches is a follower's request, ours and as kmsg spells it.
func replicaFetches(r *rand.Rand) (*ReplicaFetch, *kmsg.FetchRequest) {
	q := &ReplicaFetch{
		CorrelationID: r.Int32(), ClientID: "replica-2-0", Replica: BrokerID(r.Int32N(9)), ReplicaEpoch: r.Int64(),
		MaxWaitMillis: r.Int32(), MinBytes: r.Int32(), MaxBytes: r.Int32(), SessionID: r.Int32(), SessionEpoch: r.Int32(),
	}
	if r.IntN(2) == 0 {
		q.ClusterID = "a cluster"
	}
	k := kmsg.NewPtrFetchRequest()
	k.Version = ReplicaFetchVersion
	k.ReplicaState.ID, k.ReplicaState.Epoch = int32(q.Replica), q.ReplicaEpoch
	k.MaxWaitMillis, k.MinBytes, k.MaxBytes = q.MaxWaitMillis, q.MinBytes, q.MaxBytes
	k.SessionID, k.SessionEpoch = q.SessionID, q.SessionEpoch
	if q.ClusterID != "" {
		k.ClusterID = &q.ClusterID
	}
	for t := range r.IntN(3) {
		id := TopicID{byte(t + 1), byte(r.IntN(256))}
		kt, kf := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestForgottenTopic()
		kt.TopicID, kf.TopicID = id, id
		for i := range int32(r.IntN(3) + 1) {
			p := FetchPartition{
				TopicID: id, Partition: i, CurrentLeaderEpoch: Epoch(r.Int32()), FetchOffset: Offset(r.Int64()),
				LastFetchedEpoch: Epoch(r.Int32()), LogStart: Offset(r.Int64()), MaxBytes: r.Int32(),
				HighWatermark: HighWatermarkUnknown,
			}
			if r.IntN(2) == 0 {
				p.HighWatermark = Offset(r.Int64())
			}
			kp := kmsg.NewFetchRequestTopicPartition()
			kp.Partition, kp.CurrentLeaderEpoch, kp.FetchOffset = i, int32(p.CurrentLeaderEpoch), int64(p.FetchOffset)
			kp.LastFetchedEpoch, kp.LogStartOffset = int32(p.LastFetchedEpoch), int64(p.LogStart)
			kp.PartitionMaxBytes, kp.HighWatermark = p.MaxBytes, int64(p.HighWatermark)
			q.Partitions, kt.Partitions = append(q.Partitions, p), append(kt.Partitions, kp)
			q.Forgotten = append(q.Forgotten, ForgottenPartition{TopicID: id, Partition: i})
			kf.Partitions = append(kf.Partitions, i)
		}
		k.Topics, k.ForgottenTopics = append(k.Topics, kt), append(k.ForgottenTopics, kf)
	}
	return q, k
}

func TestAReplicasFetchIsEncodedAsKmsgDoes(t *testing.T) {
	r := newRand(31)
	for range 300 {
		q, k := replicaFetches(r)
		want := kmsg.NewRequestFormatter(kmsg.FormatterClientID(q.ClientID)).AppendRequest(nil, k, q.CorrelationID)
		if got := q.Append([]byte("x")); !bytes.Equal(got[1:], want) {
			t.Fatalf("%+v\n%x\n%x", q, got, want)
		}
	}
}

// replicaAnswers is an answer to a follower as it comes, and as it is to be read.
func replicaAnswer(r *rand.Rand) (*FetchResponse, []byte) {
	in := &FetchResponse{ThrottleMillis: r.Int32(), Code: Code(r.IntN(100)), SessionID: r.Int32()}
	for t := range r.IntN(3) {
		id := TopicID{byte(t + 1), byte(r.IntN(256))}
		for i := range int32(r.IntN(3) + 1) {
			res := FetchResult{
				TopicID: id, Partition: i, Code: Code(r.IntN(100)), HighWatermark: Offset(r.Int64()),
				LastStable: Offset(r.Int64()), LogStart: Offset(r.Int64()), PreferredReadReplica: -1,
			}
			if r.IntN(2) == 0 {
				res.Records = memory{bytes.Repeat([]byte{0xAB}, r.IntN(300)), new(int)}
			}
			if r.IntN(3) == 0 {
				res.Aborted = []AbortedTransaction{{1, 2}, {3, 4}}
			}
			if r.IntN(3) == 0 {
				res.Diverging = &DivergingEpoch{Epoch: Epoch(r.Int32()), EndOffset: Offset(r.Int64())}
			}
			if r.IntN(3) == 0 {
				res.Leader = &Leader{ID: BrokerID(r.Int32()), Epoch: Epoch(r.Int32())}
			}
			in.Results = append(in.Results, res)
		}
	}
	if r.IntN(2) == 0 {
		in.Nodes = []NodeEndpoint{{ID: 3, Host: "broker-3", Port: 9092, Rack: "r1"}}
	}
	resp := kmsgFetch(ReplicaFetchVersion, in)
	return in, EncodeResponse(Header{Key: fetchKey, Version: ReplicaFetchVersion, CorrelationID: 77}, resp).Head[4:]
}

func TestAReplicasAnswerIsReadInPlace(t *testing.T) {
	r := newRand(32)
	for range 300 {
		want, frame := replicaAnswer(r)
		got, err := ParseReplicaAnswer(frame)
		if err != nil {
			t.Fatal(err)
		}
		if got.CorrelationID != 77 || got.ThrottleMillis != want.ThrottleMillis || got.Code != want.Code ||
			got.SessionID != want.SessionID || got.Partitions != len(want.Results) {
			t.Fatalf("%+v is read as %+v", want, got)
		}
		c := got.Cursor()
		for _, w := range want.Results {
			if !c.Next() {
				t.Fatal("the cursor ended early")
			}
			if c.TopicID != w.TopicID || c.Partition != w.Partition || c.Code != w.Code || c.HighWatermark != w.HighWatermark ||
				c.LastStable != w.LastStable || c.LogStart != w.LogStart {
				t.Fatalf("%+v is read as %+v", w, c.FetchedPartition)
			}
			var records []byte
			if w.Records != nil {
				records = w.Records.(memory).b
			}
			if !bytes.Equal(c.Records, records) {
				t.Fatalf("%d bytes of records are read as %d", len(records), len(c.Records))
			}
			if d := w.Diverging; c.Diverges != (d != nil && d.Epoch >= 0) || d != nil && *d != c.Diverging {
				t.Fatalf("diverging %+v is read as %v %+v", d, c.Diverges, c.Diverging)
			}
			if l := w.Leader; l != nil && *l != c.Leader || l == nil && c.Leader != (Leader{-1, -1}) {
				t.Fatalf("leader %+v is read as %+v", l, c.Leader)
			}
		}
		if c.Next() {
			t.Fatal("the cursor goes on")
		}
		for cut := range len(frame) {
			if _, err := ParseReplicaAnswer(frame[:cut]); !errors.Is(err, InvalidRequest) {
				t.Fatalf("cut at %d of %d bytes: %v", cut, len(frame), err)
			}
		}
	}
}

func TestAReplicasFetchAllocatesNothing(t *testing.T) {
	q, _ := replicaFetches(newRand(33))
	_, frame := replicaAnswer(newRand(34))
	buf := make([]byte, 0, 4096)
	var sum Offset
	allocs := testing.AllocsPerRun(100, func() {
		buf = q.Append(buf[:0])
		f, err := ParseReplicaAnswer(frame)
		if err != nil {
			t.Fatal(err)
		}
		for c := f.Cursor(); c.Next(); {
			sum += c.HighWatermark
		}
	})
	if allocs > 1 { // the cluster id's tagged field
		t.Errorf("%v allocations", allocs)
	}
}

func FuzzReplicaAnswer(f *testing.F) {
	r := newRand(35)
	for range 20 {
		_, frame := replicaAnswer(r)
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		a, err := ParseReplicaAnswer(frame)
		if err != nil {
			if !errors.Is(err, InvalidRequest) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		n, total := 0, 0
		for c := a.Cursor(); c.Next(); n++ {
			total += len(c.Records)
		}
		if n != a.Partitions || total > len(frame) {
			t.Fatalf("%d partitions with %d bytes in a frame of %d that says %d", n, total, len(frame), a.Partitions)
		}
	})
}
