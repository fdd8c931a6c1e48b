package coordinator

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/coordinator/group"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
)

func str(s string) *string { return &s }

func sampleRecords() []group.Record {
	return []group.Record{
		{Group: "g", Topic: "t", Partition: 7, Value: &group.Commit{
			Offset: 42, LeaderEpoch: 3, Metadata: "hello", Timestamp: 1700000000000, Expires: -1, TopicID: protocol.TopicID{1, 2},
		}},
		{Group: "", Topic: "t", Partition: 0, Value: &group.Commit{Offset: -5, LeaderEpoch: -1, Timestamp: 1, Expires: -1}},
		{Group: "old", Topic: "t", Partition: 1, Value: &group.Commit{
			Offset: 5, LeaderEpoch: -1, Metadata: "m", Timestamp: 10, Expires: 20,
		}},
		{Group: "g", Topic: "t", Partition: 7},
		{Kind: group.KindSaved, Group: "g"},
		{Kind: group.KindSaved, Group: "g", Value: &group.Saved{Generation: 0, Since: 5}},
		{Kind: group.KindSaved, Group: "g", Value: &group.Saved{
			Type: "consumer", Generation: 9, Protocol: str("range"), Leader: str("m1"), Since: 1234,
			Members: []group.SavedMember{
				{Member: "m1", ClientID: "c", ClientHost: "/1.2.3.4", Instance: str("i"), Rebalance: 60000, Session: 10000,
					Metadata: []byte{1, 2, 3}, Assignment: []byte{4}},
				{Member: "m2", ClientID: "", ClientHost: "/::1", Rebalance: 1, Session: 2, Metadata: []byte{}, Assignment: []byte{}},
			},
		}},
	}
}

func consumerRecords() []group.Record {
	topics := []group.TopicPartitions{
		{ID: protocol.TopicID{1}, Partitions: []int32{0, 3, 4}, Epochs: []int32{7, 2, 7}},
		{ID: protocol.TopicID{2}, Partitions: []int32{1}},
	}
	plain := []group.TopicPartitions{{ID: protocol.TopicID{1}, Partitions: []int32{0, 3, 4}}, {ID: protocol.TopicID{9}}}
	return []group.Record{
		{Kind: group.KindEpoch, Group: "c", Value: &group.Epoch{Epoch: 4, MetadataHash: -77}},
		{Kind: group.KindEpoch, Group: "c", Value: &group.Epoch{Epoch: 4}},
		{Kind: group.KindEpoch, Group: "c"},
		{Kind: group.KindPartitions, Group: "c", Value: &group.Partitions{}},
		{Kind: group.KindPartitions, Group: "c"},
		{Kind: group.KindMember, Group: "c", Name: "m", Value: &group.Member{
			Instance: str("i"), Rack: str("r"), ClientID: "id", ClientHost: "/::1", Topics: []string{"a", "b"}, Regex: str("a.*"),
			RebalanceMillis: 300_000, Assignor: str("range"), Classic: &group.ClassicMember{SessionMillis: 45_000,
				Protocols: []group.Protocol{{Name: "range", Metadata: []byte{1, 2}}, {Name: "sticky", Metadata: []byte{}}}},
		}},
		{Kind: group.KindMember, Group: "c", Name: "m", Value: &group.Member{RebalanceMillis: -1}},
		{Kind: group.KindMember, Group: "c", Name: "m", Value: &group.Member{Regex: str(""), Classic: &group.ClassicMember{}}},
		{Kind: group.KindMember, Group: "c", Name: "m"},
		{Kind: group.KindTarget, Group: "c", Value: &group.Target{Epoch: 4, Timestamp: 1700000000000}},
		{Kind: group.KindTarget, Group: "c", Value: &group.Target{Epoch: 0}},
		{Kind: group.KindTarget, Group: "c"},
		{Kind: group.KindMemberTarget, Group: "c", Name: "m", Value: &group.MemberTarget{Topics: plain}},
		{Kind: group.KindMemberTarget, Group: "c", Name: "m", Value: &group.MemberTarget{}},
		{Kind: group.KindMemberTarget, Group: "c", Name: "m"},
		{Kind: group.KindCurrent, Group: "c", Name: "m", Value: &group.Current{
			Epoch: -2, PreviousEpoch: 3, State: group.MemberUnreleased, Assigned: topics, Revoking: topics[1:],
		}},
		{Kind: group.KindCurrent, Group: "c", Name: "m", Value: &group.Current{State: group.MemberUnknown}},
		{Kind: group.KindCurrent, Group: "c", Name: "m"},
		{Kind: group.KindRegex, Group: "c", Name: "a.*", Value: &group.Regex{Topics: []string{"a", "ab"}, Version: 9, Timestamp: 5}},
		{Kind: group.KindRegex, Group: "c", Name: ".*", Value: &group.Regex{Version: -1}},
		{Kind: group.KindRegex, Group: "c", Name: ".*"},
	}
}

func encodeRecord(r *group.Record) (key, value []byte) {
	key = appendKey(nil, r)
	value, has := appendValue([]byte{}, r)
	if !has {
		value = nil
	}
	return key, value
}

func TestCodecKeepsRecords(t *testing.T) {
	for _, r := range append(sampleRecords(), consumerRecords()...) {
		key, value := encodeRecord(&r)
		got, err := newDecoder().decode(key, value)
		if err != nil {
			t.Fatalf("%+v: %v", r, err)
		}
		if !reflect.DeepEqual(got, r) {
			t.Errorf("got  %+v %+v\nwant %+v %+v", got, got.Value, r, r.Value)
		}
	}
}

// kmsg has the schemas from another hand.
func TestC90_CodecAgreesWithKmsg(t *testing.T) {
	r := sampleRecords()
	key, value := encodeRecord(&r[0])
	var ck kmsg.OffsetCommitKey
	var cv kmsg.OffsetCommitValue
	if err := errors.Join(ck.ReadFrom(key), cv.ReadFrom(value)); err != nil {
		t.Fatal(err)
	}
	if ck.Group != "g" || ck.Topic != "t" || ck.Partition != 7 || cv.Version != 4 || cv.Offset != 42 || cv.LeaderEpoch != 3 ||
		cv.Metadata != "hello" || cv.CommitTimestamp != 1700000000000 || cv.TopicID != [16]byte{1, 2} {
		t.Errorf("%+v %+v", ck, cv)
	}
	if b := cv.AppendTo(nil); !bytes.Equal(b, value) {
		t.Errorf("kmsg writes %x, we %x", b, value)
	}
	key, value = encodeRecord(&r[6])
	var gk kmsg.GroupMetadataKey
	var gv kmsg.GroupMetadataValue
	if err := errors.Join(gk.ReadFrom(key), gv.ReadFrom(value)); err != nil {
		t.Fatal(err)
	}
	if gk.Group != "g" || gv.Version != 3 || gv.Generation != 9 || len(gv.Members) != 2 || *gv.Members[0].InstanceID != "i" {
		t.Errorf("%+v %+v", gk, gv)
	}
	if b := gv.AppendTo(nil); !bytes.Equal(b, value) {
		t.Errorf("kmsg writes %x, we %x", b, value)
	}
	for v := int16(0); v <= 4; v++ { // values of all ages are read
		cv := kmsg.OffsetCommitValue{Version: v, Offset: 8, LeaderEpoch: 2, Metadata: "m", CommitTimestamp: 5, ExpireTimestamp: 6}
		got, err := newDecoder().decode(appendKey(nil, &r[0]), cv.AppendTo(nil))
		if err != nil || got.Value.(*group.Commit).Offset != 8 || got.Value.(*group.Commit).Metadata != "m" || got.Value.(*group.Commit).Timestamp != 5 {
			t.Errorf("commit value %d: %+v, %v", v, got.Value, err)
		}
		gv.Version = v
		got, err = newDecoder().decode(key, gv.AppendTo(nil))
		if err != nil || got.Value.(*group.Saved).Generation != 9 || len(got.Value.(*group.Saved).Members) != 2 ||
			!bytes.Equal(got.Value.(*group.Saved).Members[0].Metadata, []byte{1, 2, 3}) {
			t.Errorf("group value %d: %+v, %v", v, got.Value, err)
		}
	}
}

// The golden files are partitions that Apache Kafka 4.4.0 wrote: commits of several versions, with and without members,
// deletions, a static member that comes back, a group that empties.
func TestC90_CodecWritesWhatKafkaWrites(t *testing.T) {
	files := goldenFiles(t, "*")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		eachRecord(t, b, func(key, value []byte) {
			n++
			r, err := newDecoder().decode(key, value)
			if err != nil {
				t.Fatalf("%s: record %d: %v", f, n, err)
			}
			k, v := encodeRecord(&r)
			if !bytes.Equal(k, key) || !bytes.Equal(v, value) || (v == nil) != (value == nil) {
				t.Errorf("%s: record %d: we write\n%x %x, Kafka\n%x %x", f, n, k, v, key, value)
			}
		})
		if n == 0 {
			t.Errorf("%s: no records", f)
		}
	}
}

// goldenFiles are those that match, of MOLDAU_GOLDEN if that is set.
func goldenFiles(t *testing.T, pattern string) []string {
	t.Helper()
	dir := "testdata"
	if other := os.Getenv("MOLDAU_GOLDEN"); other != "" {
		dir, pattern = other, "*"
	}
	files, err := filepath.Glob(filepath.Join(dir, "kafka-4.4.0-"+pattern+".log"))
	if err != nil || len(files) == 0 {
		t.Fatal("no golden files", err)
	}
	return files
}

func FuzzDecode(f *testing.F) {
	for _, r := range append(sampleRecords(), consumerRecords()...) {
		key, value := encodeRecord(&r)
		f.Add(key, value)
	}
	f.Add([]byte{0, 3, 0, 1, 'g'}, []byte{0, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		r, err := newDecoder().decode(key, value)
		if err != nil {
			return
		}
		k, v := encodeRecord(&r)
		again, err := newDecoder().decode(k, v)
		if err != nil {
			t.Fatalf("what was read from %x %x cannot be read again: %v", key, value, err)
		}
		k2, v2 := encodeRecord(&again)
		if !bytes.Equal(k, k2) || !bytes.Equal(v, v2) {
			t.Fatalf("%x %x became %x %x", k, v, k2, v2)
		}
	})
}

// eachRecord walks the records of a segment.
func eachRecord(t *testing.T, segment []byte, each func(key, value []byte)) {
	t.Helper()
	for len(segment) > 0 {
		b, rest, err := batch.Next(segment)
		if err != nil {
			t.Fatal(err)
		}
		for r, err := range b.Records(nil) {
			if err != nil {
				t.Fatal(err)
			}
			each(r.Key, r.Value)
		}
		segment = rest
	}
}
