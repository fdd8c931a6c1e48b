package broker

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/vfs"
)

// transactional is a batch of n records in a transaction of a producer.
func transactional(id int64, sequence int32, n int) batch.Batch {
	b := batch.NewBuilder(batch.BuilderOptions{
		Transactional: true, Producer: &batch.Producer{ID: id, Sequence: sequence},
	})
	for range n {
		b.Add(time.Now().UnixMilli(), []byte("k"), []byte("v"))
	}
	return b.Build()
}

// marker ends a transaction of a producer: 0 aborts it, 1 commits it.
func marker(id int64, kind uint16) batch.Batch {
	b := batch.NewBuilder(batch.BuilderOptions{
		Transactional: true, Control: true, Producer: &batch.Producer{ID: id, Sequence: -1},
	})
	b.Add(time.Now().UnixMilli(), binary.BigEndian.AppendUint16([]byte{0, 0}, kind), make([]byte, 6))
	return b.Build()
}

// newServedWire is a broker with everything, on a disk in memory.
func newServedWire(t *testing.T) *wire {
	t.Helper()
	b, err := New(t.Context(), Config{Static: config.Empty(), FS: vfs.NewMem(), Dirs: []string{"data"}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		done <- b.Serve(ctx, Listener{Listener: ln, Advertised: config.Listener{
			Name: "PLAINTEXT", Host: "127.0.0.1", Port: 1, Protocol: "PLAINTEXT",
		}})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &wire{T: t, b: b, addr: ln.Addr().String(), logs: &syncBuffer{}}
}

// The test writes transactions into a partition as their coordinator would, and reads them as clients do.
func TestRule064_C59_C60_TransactionsAsReadersSeeThem(t *testing.T) {
	w := newServedWire(t)
	b := w.b
	create := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "t", 1, 1
	create.Topics = append(create.Topics, topic)
	if resp := w.ask(7, create).(*kmsg.CreateTopicsResponse); resp.Topics[0].ErrorCode != 0 {
		t.Fatalf("%+v", resp)
	}
	p := b.partitions.get(protocol.TopicPartition{Topic: "t"})
	put := func(x batch.Batch) {
		t.Helper()
		if _, err := p.append(time.Now(), x, true); err != nil {
			t.Fatal(err)
		}
	}
	read := func(isolation int8, from int64, wait int32) kmsg.FetchResponseTopicPartition {
		t.Helper()
		req := kmsg.NewPtrFetchRequest()
		req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.IsolationLevel = wait, 1, 1<<20, isolation
		req.SessionEpoch = -1
		ft := kmsg.NewFetchRequestTopic()
		ft.Topic = "t"
		fp := kmsg.NewFetchRequestTopicPartition()
		fp.FetchOffset, fp.PartitionMaxBytes = from, 1<<20
		ft.Partitions = append(ft.Partitions, fp)
		req.Topics = append(req.Topics, ft)
		return w.ask(11, req).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	}
	latest := func(isolation int8) int64 {
		req := kmsg.NewPtrListOffsetsRequest()
		req.ReplicaID, req.IsolationLevel = -1, isolation
		lt := kmsg.NewListOffsetsRequestTopic()
		lt.Topic = "t"
		lp := kmsg.NewListOffsetsRequestTopicPartition()
		lp.Timestamp, lp.CurrentLeaderEpoch = -1, -1
		lt.Partitions = append(lt.Partitions, lp)
		req.Topics = append(req.Topics, lt)
		return w.ask(5, req).(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0].Offset
	}

	put(transactional(1, 0, 2)) // 0-1, will be aborted
	put(transactional(2, 0, 3)) // 2-4, will be committed
	if got := read(1, 0, 0); len(got.RecordBatches) != 0 || got.LastStableOffset != 0 || got.HighWatermark != 5 {
		t.Errorf("both open: %d bytes, last stable %d, high watermark %d", len(got.RecordBatches), got.LastStableOffset,
			got.HighWatermark)
	}
	if got := read(0, 0, 0); len(got.RecordBatches) == 0 || got.AbortedTransactions != nil {
		t.Errorf("read_uncommitted: %+v", got)
	}
	if latest(0) != 5 || latest(1) != 0 {
		t.Errorf("latest: %d and %d", latest(0), latest(1))
	}
	put(marker(1, 0)) // 5
	if got := read(1, 0, 0); got.LastStableOffset != 2 || len(got.AbortedTransactions) != 1 {
		t.Errorf("one aborted: last stable %d, %+v", got.LastStableOffset, got.AbortedTransactions)
	}
	// A fetch at the last stable offset waits for the transaction to end.
	answer := make(chan kmsg.FetchResponseTopicPartition, 1)
	go func() { answer <- read(1, 2, 20_000) }()
	select {
	case got := <-answer:
		t.Fatalf("it did not wait: %+v", got)
	case <-time.After(50 * time.Millisecond):
	}
	put(marker(2, 1)) // 6
	if got := <-answer; len(got.RecordBatches) == 0 || got.LastStableOffset != 7 {
		t.Errorf("after the commit: %+v", got)
	}
	put(transactional(3, 0, 1)) // 7
	put(transactional(1, 2, 1)) // 8
	put(marker(1, 0))           // 9
	put(marker(3, 0))           // 10
	got := read(1, 0, 0)
	want := []int64{0, 7, 8}
	if len(got.AbortedTransactions) != len(want) {
		t.Fatalf("aborted: %+v", got.AbortedTransactions)
	}
	for i, a := range got.AbortedTransactions {
		if a.FirstOffset != want[i] {
			t.Errorf("aborted %d begins at %d, want %d", i, a.FirstOffset, want[i])
		}
	}
	if got := read(1, 5, 0); len(got.AbortedTransactions) != 3 && len(got.AbortedTransactions) != 2 {
		t.Errorf("from the marker on: %+v", got.AbortedTransactions)
	}
}
