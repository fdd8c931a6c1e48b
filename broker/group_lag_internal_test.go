package broker

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/coordinator/lag"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
)

// TestLagPassesOverMarkers: who is in front of one has nothing to read, or what comes behind it.
func TestLagPassesOverMarkers(t *testing.T) {
	w := newServedWire(t)
	create := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "t", 1, 1
	create.Topics = append(create.Topics, topic)
	if resp := w.ask(7, create).(*kmsg.CreateTopicsResponse); resp.Topics[0].ErrorCode != 0 {
		t.Fatalf("%+v", resp)
	}
	p := w.b.partitions.get(protocol.TopicPartition{Topic: "t"})
	put := func(x batch.Batch) {
		t.Helper()
		if _, err := p.append(time.Now(), x, true); err != nil {
			t.Fatal(err)
		}
	}
	at := time.Now().Add(-time.Hour).UnixMilli()
	plain := func(ms int64) batch.Batch {
		b := batch.NewBuilder(batch.BuilderOptions{})
		b.Add(ms, []byte("k"), []byte("v"))
		return b.Build()
	}
	put(plain(at))                // 0
	put(transactional(1, 0, 1))   // 1
	put(transactional(2, 0, 1))   // 2
	put(marker(1, 0))             // 3
	put(marker(2, 1))             // 4
	put(plain(at + 60_000))       // 5
	put(transactional(1, 1, 100)) // 6..105
	put(marker(1, 1))             // 106

	ends := logEnds{w.b}
	end, ok := ends.End("t", protocol.TopicID{}, 0)
	if !ok || end.ID != p.topicID || end.High != 107 || end.Start != 0 {
		t.Fatalf("%v %+v", ok, end)
	}
	if _, ok := ends.End("t", protocol.TopicID{9}, 0); ok {
		t.Error("an offset of an earlier topic of that name is taken for one of this")
	}
	for _, x := range []struct {
		from protocol.Offset
		want int64
	}{{0, at}, {3, at + 60_000}, {4, at + 60_000}, {5, at + 60_000}, {106, lag.None}, {107, lag.None}} {
		if got, ok := ends.Timestamp(end, x.from); !ok || got != x.want {
			t.Errorf("from %d: %d %v, want %d", x.from, got, ok, x.want)
		}
	}
	if got, ok := ends.Timestamp(end, 50); !ok || got < at+60_000 || got > time.Now().UnixMilli() {
		t.Errorf("in the middle of a batch: %d %v", got, ok)
	}
	// What is not committed is not there.
	if got, ok := p.stampAt(3, 5); !ok || got != lag.None {
		t.Errorf("below a high watermark of 5: %d %v", got, ok)
	}
	end.ID = protocol.TopicID{9}
	if _, ok := ends.Timestamp(end, 0); ok {
		t.Error("a topic that is no more has records")
	}
}
