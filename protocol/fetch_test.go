package protocol

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var fetchAPI, _ = Lookup(1)

// sameFetch compares an in-place view with what kmsg decoded from the same bytes.
func sameFetch(t *testing.T, got FetchRequest, want *kmsg.FetchRequest) {
	t.Helper()
	v := got.Version
	replica, epoch := want.ReplicaID, int64(-1)
	if v >= 15 {
		replica, epoch = want.ReplicaState.ID, want.ReplicaState.Epoch
	}
	type top struct {
		replica, wait, minB, maxB, id, sessionEpoch int32
		iso                                         int8
		epoch                                       int64
		rack, cluster                               string
		noCluster                                   bool
	}
	w := top{replica, want.MaxWaitMillis, want.MinBytes, want.MaxBytes, want.SessionID, want.SessionEpoch,
		want.IsolationLevel, epoch, want.Rack, "", want.ClusterID == nil}
	if want.ClusterID != nil {
		w.cluster = *want.ClusterID
	}
	g := top{int32(got.ReplicaID), got.MaxWaitMillis, got.MinBytes, got.MaxBytes, got.SessionID, got.SessionEpoch,
		got.IsolationLevel, got.ReplicaEpoch, string(got.Rack), string(got.ClusterID), got.ClusterID == nil}
	if g != w {
		t.Fatalf("version %d:\n%+v\n%+v", v, g, w)
	}

	n := 0
	c := got.Cursor()
	for _, topic := range want.Topics {
		for _, p := range topic.Partitions {
			if !c.Next() {
				t.Fatalf("version %d: the cursor ended early", v)
			}
			if v < 17 {
				p.ReplicaDirectoryID = [16]byte{}
			}
			if v < 18 {
				p.HighWatermark = int64(HighWatermarkUnknown)
			}
			w := kmsg.FetchRequestTopicPartition{
				Partition: c.Partition, CurrentLeaderEpoch: int32(c.CurrentLeaderEpoch), FetchOffset: int64(c.FetchOffset),
				LastFetchedEpoch: int32(c.LastFetchedEpoch), LogStartOffset: int64(c.LogStart), PartitionMaxBytes: c.MaxBytes,
				ReplicaDirectoryID: c.DirectoryID, HighWatermark: int64(c.HighWatermark),
			}
			p.UnknownTags = kmsg.Tags{}
			if string(c.Topic) != topic.Topic || c.TopicID != topic.TopicID || !equalFetchPartition(w, p) {
				t.Fatalf("version %d:\n%q %+v\n%q %+v", v, c.Topic, w, topic.Topic, p)
			}
			n++
		}
	}
	if c.Next() || n != got.Partitions {
		t.Fatalf("version %d: %d partitions counted, want %d", v, got.Partitions, n)
	}
	n = 0
	f := got.ForgottenCursor()
	for _, topic := range want.ForgottenTopics {
		for _, p := range topic.Partitions {
			if !f.Next() || string(f.Topic) != topic.Topic || f.TopicID != topic.TopicID || f.Partition != p {
				t.Fatalf("version %d: forgotten %+v, want %q %d", v, f.ForgottenPartition, topic.Topic, p)
			}
			n++
		}
	}
	if f.Next() || n != got.Forgotten {
		t.Fatalf("version %d: %d forgotten partitions counted, want %d", v, got.Forgotten, n)
	}
}

func equalFetchPartition(a, b kmsg.FetchRequestTopicPartition) bool {
	return a.Partition == b.Partition && a.CurrentLeaderEpoch == b.CurrentLeaderEpoch && a.FetchOffset == b.FetchOffset &&
		a.LastFetchedEpoch == b.LastFetchedEpoch && a.LogStartOffset == b.LogStartOffset &&
		a.PartitionMaxBytes == b.PartitionMaxBytes && a.ReplicaDirectoryID == b.ReplicaDirectoryID &&
		a.HighWatermark == b.HighWatermark
}

func TestFetchParsesWhatKmsgEncodes(t *testing.T) {
	r := newRand(2)
	for v := fetchAPI.Min; v <= fetchAPI.Max; v++ {
		for range 100 {
			body := randomRequest(r, fetchAPI, v, true).AppendTo(nil)
			got, err := ParseFetch(v, body)
			if err != nil {
				t.Fatalf("version %d: %v", v, err)
			}
			want := kmsg.NewPtrFetchRequest()
			want.Version = v
			if err := want.ReadFrom(body); err != nil {
				t.Fatal(err)
			}
			sameFetch(t, got, want)
			for cut := range len(body) {
				if _, err := ParseFetch(v, body[:cut]); !errors.Is(err, InvalidRequest) {
					t.Fatalf("version %d cut at %d of %d bytes: %v", v, cut, len(body), err)
				}
			}
		}
	}
}

func TestFetchParsingAllocatesNothing(t *testing.T) {
	body := randomRequest(newRand(3), fetchAPI, 17, false).AppendTo(nil)
	var sum Offset
	allocs := testing.AllocsPerRun(100, func() {
		f, err := ParseFetch(17, body)
		if err != nil {
			t.Fatal(err)
		}
		for c := f.Cursor(); c.Next(); {
			sum += c.FetchOffset
		}
		for c := f.ForgottenCursor(); c.Next(); {
			sum += Offset(c.Partition)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// memory is a Section in memory that counts its releases.
type memory struct {
	b        []byte
	released *int
}

func (m memory) Len() int64 { return int64(len(m.b)) }
func (m memory) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(m.b)
	return int64(n), err
}
func (m memory) Release() { *m.released++ }

// flat is a response as it goes to the client.
func flat(t *testing.T, r *Response) []byte {
	t.Helper()
	var out bytes.Buffer
	at := 0
	for _, s := range r.Splices {
		out.Write(r.Head[at:s.At])
		at = s.At
		if _, err := s.Section.WriteTo(&out); err != nil {
			t.Fatal(err)
		}
	}
	out.Write(r.Head[at:])
	if int64(out.Len()) != r.Size() {
		t.Fatalf("%d bytes, size says %d", out.Len(), r.Size())
	}
	return out.Bytes()
}

// kmsgFetch is the answer as kmsg spells it.
func kmsgFetch(v int16, in *FetchResponse) *kmsg.FetchResponse {
	resp := kmsg.NewPtrFetchResponse()
	resp.Version = v
	resp.ThrottleMillis, resp.ErrorCode, resp.SessionID = in.ThrottleMillis, int16(in.Code), in.SessionID
	for _, r := range in.Results {
		n := len(resp.Topics)
		if n == 0 || resp.Topics[n-1].Topic != r.Topic || resp.Topics[n-1].TopicID != r.TopicID {
			topic := kmsg.NewFetchResponseTopic()
			topic.Topic, topic.TopicID = r.Topic, r.TopicID
			resp.Topics = append(resp.Topics, topic)
			n++
		}
		p := kmsg.NewFetchResponseTopicPartition()
		p.Partition, p.ErrorCode, p.HighWatermark = r.Partition, int16(r.Code), int64(r.HighWatermark)
		p.LastStableOffset, p.LogStartOffset = int64(r.LastStable), int64(r.LogStart)
		p.PreferredReadReplica = int32(r.PreferredReadReplica)
		p.RecordBatches = []byte{}
		if r.Records != nil {
			p.RecordBatches = r.Records.(memory).b
		}
		if r.Aborted != nil {
			p.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{}
		}
		for _, a := range r.Aborted {
			p.AbortedTransactions = append(p.AbortedTransactions, kmsg.FetchResponseTopicPartitionAbortedTransaction{
				ProducerID: a.ProducerID, FirstOffset: int64(a.FirstOffset),
			})
		}
		if d := r.Diverging; d != nil {
			p.DivergingEpoch.Epoch, p.DivergingEpoch.EndOffset = int32(d.Epoch), int64(d.EndOffset)
		}
		if l := r.Leader; l != nil {
			p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch = int32(l.ID), int32(l.Epoch)
		}
		if s := r.Snapshot; s != nil {
			p.SnapshotID.EndOffset, p.SnapshotID.Epoch = int64(s.EndOffset), int32(s.Epoch)
		}
		resp.Topics[n-1].Partitions = append(resp.Topics[n-1].Partitions, p)
	}
	if v >= 16 {
		for _, b := range in.Nodes {
			resp.Brokers = append(resp.Brokers, kmsg.FetchResponseBroker{
				NodeID: int32(b.ID), Host: b.Host, Port: b.Port, Rack: nullable(b.Rack),
			})
		}
	}
	return resp
}

// TestC8: NodeEndpoints stand in no version below 16. TestC52: records are never null.
func TestC6_C8_C52_FetchResponseEqualsKmsg(t *testing.T) {
	var released int
	section := func(n int) Section { return memory{bytes.Repeat([]byte{0xAB}, n), &released} }
	none := FetchResult{HighWatermark: -1, LastStable: -1, LogStart: -1, PreferredReadReplica: -1}
	with := func(r FetchResult, f func(*FetchResult)) FetchResult { f(&r); return r }
	results := []FetchResult{
		{Topic: "a", TopicID: TopicID{1}, Partition: 0, HighWatermark: 100, LastStable: 90, LogStart: 3,
			PreferredReadReplica: -1, Records: section(127), Aborted: []AbortedTransaction{{7, 50}, {8, 60}}},
		with(none, func(r *FetchResult) { r.Topic, r.TopicID, r.Partition, r.Records = "a", TopicID{1}, 1, section(0) }),
		with(none, func(r *FetchResult) {
			r.Topic, r.TopicID, r.Partition, r.Code = "b", TopicID{2}, 9, NotLeaderOrFollower
			r.Leader, r.Aborted = &Leader{3, 12}, []AbortedTransaction{}
		}),
		with(none, func(r *FetchResult) {
			r.Topic, r.TopicID, r.Partition = "b", TopicID{2}, 10
			r.Diverging, r.Snapshot = &DivergingEpoch{4, 1234}, &SnapshotID{99, 2}
		}),
		{Topic: "a", TopicID: TopicID{1}, Partition: 4, PreferredReadReplica: 2, Records: section(70000)},
	}
	nodes := []NodeEndpoint{{ID: 3, Host: "broker-3", Port: 9092, Rack: "r1"}, {ID: 4, Host: "b", Port: 1}}
	for v := fetchAPI.Min; v <= fetchAPI.Max; v++ {
		for n := range len(results) + 1 {
			released = 0
			h := Header{Key: 1, Version: v, CorrelationID: -5}
			in := &FetchResponse{ThrottleMillis: 3, Code: None, SessionID: 1 << 30, Results: results[:n], Nodes: nodes}
			resp := EncodeFetchResponse(h, in)
			want := kmsgFetch(v, in)
			if got, want := flat(t, resp), EncodeResponse(h, want).Head; !bytes.Equal(got, want) {
				t.Fatalf("version %d, %d results: bytes differ (%d, %d)", v, n, len(got), len(want))
			}
			resp.Release()
			sections := 0
			for _, r := range results[:n] {
				if r.Records != nil {
					sections++
				}
			}
			if released != sections {
				t.Errorf("version %d: %d sections released, want %d", v, released, sections)
			}
		}
	}
}
