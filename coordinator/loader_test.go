package coordinator

import (
	"bytes"
	"encoding/binary"
	"os"
	"testing"

	"moldau.io/moldau/coordinator/group"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/protocol/compress"
)

// logOf is a log with the batches of a file, offsets and all.
func logOf(t *testing.T, file string) *memLog {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	log := newMemLog()
	for len(b) > 0 {
		one, rest, err := batch.Next(b)
		if err != nil {
			t.Fatal(err)
		}
		log.batches = append(log.batches, one)
		log.end = one.LastOffset() + 1
		b = rest
	}
	return log
}

func TestC90_GroupsThatKafkaWroteAreLoaded(t *testing.T) {
	g := testGroups(t, logOf(t, "testdata/kafka-4.4.0-29.log"))
	r := ask[*group.DescribeResult](t, g, &group.Describe{Group: "grp"})
	if r.State != group.Empty || r.Type != "consumer" {
		t.Errorf("grp: %+v", r)
	}
	if at := offsetOf(t, g, "grp"); at != 5 {
		t.Errorf("grp: offset %d", at)
	}
	log := logOf(t, "testdata/kafka-4.4.0-29.log") // as it was before the member left
	log.batches = log.batches[:5]
	log.end = log.batches[4].LastOffset() + 1
	g.Lead(0, log)
	r = ask[*group.DescribeResult](t, g, &group.Describe{Group: "grp"})
	if r.State != group.Stable || len(r.Members) != 1 || string(r.Members[0].Assignment) != "ass" ||
		r.Members[0].ClientHost != "/127.0.0.1" || *r.Members[0].Instance != "i1" || r.Protocol != "range" {
		t.Errorf("stable: %+v", r)
	}
	g.Lead(0, logOf(t, "testdata/kafka-4.4.0-16.log"))
	if r := ask[*group.DescribeResult](t, g, &group.Describe{Group: "simple2"}); r.State != group.Dead {
		t.Errorf("the deleted group is %v", r.State)
	}
}

func encodeBatch(o batch.BuilderOptions, records ...group.Record) batch.Batch {
	b := batch.NewBuilder(o)
	for _, r := range records {
		key, value := encodeRecord(&r)
		b.Add(1, key, value)
	}
	return b.Build()
}

func record(id string, offset protocol.Offset) group.Record {
	return group.Record{Group: id, Topic: "t", Value: &group.Commit{Offset: offset, LeaderEpoch: -1, Expires: -1}}
}

func marker(producer *batch.Producer, kind int16) batch.Batch {
	b := batch.NewBuilder(batch.BuilderOptions{Producer: producer, Transactional: true, Control: true})
	b.Add(1, binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(kind)), []byte{0, 0, 0, 0, 0, 0})
	return b.Build()
}

// Compressed batches, transactions and records that mean nothing to us may all be in a log that another broker wrote.
func TestLoadReadsWhatAnyKafkaMayHaveWritten(t *testing.T) {
	log := newMemLog()
	kept, dropped, open := &batch.Producer{ID: 7}, &batch.Producer{ID: 8}, &batch.Producer{ID: 9}
	foreign := batch.NewBuilder(batch.BuilderOptions{})
	foreign.Add(1, []byte{0, 3, 0, 1, 'g'}, []byte{0, 0, 0, 0, 0, 1})     // a consumer group of KIP-848
	foreign.Add(1, []byte{0, 1, 0, 1, 'g', 0, 1, 't'}, []byte{0, 4})      // damaged
	foreign.Add(1, []byte{0, 1, 0, 1, 'g', 0, 1, 't', 0, 0, 0, 0}, nil)   // a tombstone of nothing
	foreign.Add(1, nil, []byte{1})                                        // without a key
	foreign.Add(1, []byte{0, 2, 0, 4, 'g', 'o', 'n', 'e'}, []byte{0, 99}) // of a version to come
	for _, b := range []batch.Batch{
		encodeBatch(batch.BuilderOptions{Codec: compress.Zstd}, record("zstd", 1), record("both", 1)),
		encodeBatch(batch.BuilderOptions{Producer: kept, Transactional: true}, record("kept", 2), record("both", 2)),
		encodeBatch(batch.BuilderOptions{Producer: dropped, Transactional: true}, record("dropped", 3), record("both", 3)),
		foreign.Build(),
		encodeBatch(batch.BuilderOptions{Producer: open, Transactional: true}, record("open", 4)),
		marker(dropped, 0),
		marker(kept, 1),
		encodeBatch(batch.BuilderOptions{}, record("last", 5)),
	} {
		if _, err := log.Append(b); err != nil {
			t.Fatal(err)
		}
	}
	g := testGroups(t, log)
	for id, want := range map[string]protocol.Offset{
		"zstd": 1, "kept": 2, "both": 2, "dropped": -1, "open": -1, "last": 5, "g": -1,
	} {
		if at := offsetOf(t, g, id); at != want {
			t.Errorf("%s: offset %d, want %d", id, at, want)
		}
	}
	for id, want := range map[string]protocol.Code{"open": protocol.UnstableOffsetCommit, "kept": protocol.None} {
		r := ask[*group.FetchResult](t, g, &group.FetchOffsets{
			Group: id, Stable: true, Topics: []group.FetchTopic{{Topic: "t", Partitions: []int32{0}}},
		})
		if got := r.Topics[0].Partitions[0].Code; got != want {
			t.Errorf("%s: a stable offset is answered %v, want %v", id, got, want)
		}
	}
}

func FuzzLoad(f *testing.F) {
	var seed []byte
	for _, r := range sampleRecords() {
		seed = append(seed, encodeBatch(batch.BuilderOptions{}, r)...)
	}
	f.Add(seed)
	f.Add([]byte(marker(&batch.Producer{ID: 1}, 1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		l := newLoader(group.New(group.DefaultConfig(), onePartition{}, newRand()))
		if _, err := l.batches(bytes.Clone(b)); err != nil {
			return
		}
	})
}
