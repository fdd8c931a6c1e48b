package meta

import (
	"encoding/hex"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"moldau.io/moldau/protocol"
)

var update = flag.Bool("update", false, "write the golden files anew")

// everyRecord has each kind of record, with each field set to something.
func everyRecord() []Record {
	id := protocol.TopicID{0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x46, 0x17, 0x98, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f}
	return []Record{
		ClusterRecord{ID: testCluster},
		FeatureRecord{Name: "metadata.version", Level: 33},
		BrokerRecord{Broker: Broker{ID: 3, Epoch: 77, Rack: "r1", Fenced: true, Listeners: []Listener{
			{Name: "PLAINTEXT", Host: "a.example", Port: 9092, Protocol: "PLAINTEXT"}, {Name: "X", Port: 65535, Protocol: "SASL_SSL"},
		}}},
		TopicRecord{Name: "orders", ID: id},
		PartitionsRecord{Topic: id, First: 2, Partitions: []Partition{
			{Replicas: ids{3, 1}, ISR: ids{3}, Leader: 3, LeaderEpoch: 4, Epoch: 9},
			{Replicas: ids{1}, ISR: ids{1}, Leader: -1, LeaderEpoch: 1 << 30, Epoch: 1},
		}},
		ConfigRecord{Resource: topicResource("orders"), Key: "retention.ms", Value: ptr("1000")},
		ConfigRecord{Resource: topicResource("orders"), Key: "cleanup.policy", Value: ptr("")},
		ConfigRecord{Resource: Resource{Type: 4}, Key: "log.retention.ms"},
		ProducerIDsRecord{Next: 3000},
		BrokerElectionRecord{Broker: 3},
		RemoveTopicRecord{Topic: id},
	}
}

func TestRecordsComeBackAsTheyWere(t *testing.T) {
	want := everyRecord()
	got, err := DecodeRecords(AppendRecords(nil, want))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n got %+v\nwant %+v", err, got, want)
	}
}

// TestFormatIsTheOneOnDisk holds the encoding to bytes that an earlier version wrote. If it fails, folders that are out there
// are no longer read: raise formatVersion and read both.
func TestFormatIsTheOneOnDisk(t *testing.T) {
	const golden = "testdata/records.hex"
	if *update {
		if err := os.WriteFile(golden, []byte(hex.Dump(AppendRecords(nil, everyRecord()))), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.Dump(AppendRecords(nil, everyRecord())); got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestANewerRecordIsNotPassedOver(t *testing.T) {
	b := AppendRecords(nil, everyRecord())
	for what, bad := range map[string][]byte{
		"nothing":        {},
		"another format": append([]byte{2}, b[1:]...),
		"another kind":   append(append([]byte{}, b...), 200, 0),
		"cut short":      b[:len(b)-1],
	} {
		if _, err := DecodeRecords(bad); err == nil {
			t.Errorf("%s is read without an error", what)
		}
	}
	// Fields that a later version has added are passed over.
	more := append([]byte{formatVersion, byte(kindProducerIDs), 3}, 2, 0, 0)
	if recs, err := DecodeRecords(more); err != nil || !reflect.DeepEqual(recs, []Record{ProducerIDsRecord{Next: 1}}) {
		t.Errorf("%v %v", recs, err)
	}
	if _, err := DecodeRecords(append([]byte{}, b[:40]...)); err == nil || strings.Contains(err.Error(), "kind") {
		t.Errorf("cut in the middle: %v", err)
	}
}

func FuzzDecodeRecords(f *testing.F) {
	f.Add(AppendRecords(nil, everyRecord()))
	f.Add(AppendRecords(nil, everyClusterRecord()))
	for _, r := range append(everyRecord(), everyClusterRecord()...) {
		f.Add(AppendRecords(nil, []Record{r}))
	}
	f.Add([]byte{formatVersion, byte(kindPartitions), 30, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		recs, err := DecodeRecords(b)
		if err != nil {
			return
		}
		again, err := DecodeRecords(AppendRecords(nil, recs))
		if err != nil || !reflect.DeepEqual(again, recs) {
			t.Fatalf("%v\n got %+v\nwant %+v", err, again, recs)
		}
		if im, err := Empty().With(1, recs...); err == nil {
			if _, err := Empty().With(1, im.Records()...); err != nil {
				t.Fatalf("the image's own records cannot be applied: %v", err)
			}
		}
	})
}
