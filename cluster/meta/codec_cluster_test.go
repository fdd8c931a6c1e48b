package meta

import (
	"encoding/hex"
	"os"
	"reflect"
	"testing"

	"moldau.io/moldau/protocol"
)

// everyClusterRecord has each kind of record that clusters of several brokers have added, with each field set to something.
func everyClusterRecord() []Record {
	id := protocol.TopicID{0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x46, 0x27, 0x98, 0x29, 0x2a, 0x2b, 0x2c, 0x2d, 0x2e, 0x2f}
	whole := Partition{
		Replicas: ids{1, 2, 3, 4}, ISR: ids{1}, Leader: 1, LeaderEpoch: 300, Epoch: 7000, ELR: ids{2}, LastKnownELR: ids{3},
		Adding: ids{4}, Removing: ids{1, 2}, Recovering: true,
	}
	return []Record{
		BrokerRecord{Broker: Broker{
			ID: 3, Epoch: 77, Rack: "r1", Fenced: true, Incarnation: id, Stopping: true, Draining: true, Cluster: "a.example:9190",
			Quorum: 1 << 40, Version: "1.2.3", Features: []FeatureRange{{"metadata.version", 7, 33}, {"x", -1, 1}},
		}},
		TopicRecord{Name: "orders", ID: id},
		PartitionsRecord{Topic: id, First: 0, Partitions: []Partition{
			whole, {Replicas: ids{1}, Leader: -1}, {Replicas: ids{1}, ISR: ids{1}, Leader: 1, Recovering: true},
		}},
		PartitionChangesRecord{Topic: id, Changes: []PartitionChange{
			{Partition: 0, Fields: 0xff, To: Partition{
				Replicas: ids{2, 3, 4}, ISR: ids{2, 3}, Leader: 2, LeaderEpoch: 301, Epoch: 7001, ELR: ids{4}, LastKnownELR: ids{2},
				Adding: ids{3}, Removing: ids{4}, Recovering: false,
			}},
			{Partition: 1, To: Partition{Epoch: 1}},
			{Partition: 2, Fields: FieldISR | FieldELR, To: Partition{Epoch: 5, ELR: ids{1}}},
		}},
		BrokerChangeRecord{ID: 3, Epoch: 77, Stopping: true},
		BrokerChangeRecord{ID: 3, Epoch: 77, Fenced: true, Draining: true},
		NodeRecord{Node: Node{ID: 3, Cluster: "b.example:9190", Quorum: 1<<63 + 5}},
		NodeRecord{Node: Node{ID: 4}},
		RemoveBrokerRecord{ID: 3, Epoch: 77},
		RemoveBrokerRecord{ID: 4, Epoch: -1},
		BrokerEpochsRecord{Last: 99},
	}
}

func TestClusterRecordsComeBackAsTheyWere(t *testing.T) {
	want := everyClusterRecord()
	got, err := DecodeRecords(AppendRecords(nil, want))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n got %+v\nwant %+v", err, got, want)
	}
	im, err := Empty().With(1, want...)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Empty().With(1, im.Records()...); err != nil || !reflect.DeepEqual(again.Records(), im.Records()) {
		t.Errorf("the image's own records: %v", err)
	}
}

// TestFormatOfClustersIsTheOneOnDisk is TestFormatIsTheOneOnDisk for what clusters have added.
func TestFormatOfClustersIsTheOneOnDisk(t *testing.T) {
	const golden = "testdata/cluster_records.hex"
	got := hex.Dump(AppendRecords(nil, everyClusterRecord()))
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestTheOldFormatIsWrittenWhereItSaysAll: a folder of a single broker stays one that builds of before there were clusters read.
func TestTheOldFormatIsWrittenWhereItSaysAll(t *testing.T) {
	for _, r := range everyRecord() {
		if k := r.kind(); k > kindBrokerElection {
			t.Errorf("%T is written as kind %d", r, k)
		}
	}
}

// TestAChangeOfManyPartitionsIsSmall: every partition that a dead broker led costs a few bytes.
func TestAChangeOfManyPartitionsIsSmall(t *testing.T) {
	r := PartitionChangesRecord{}
	for i := range 100 {
		r.Changes = append(r.Changes, PartitionChange{Partition: int32(i), Fields: FieldISR | FieldLeader, To: Partition{
			ISR: ids{2, 3}, Leader: 2, LeaderEpoch: 5, Epoch: 9,
		}})
	}
	if n := len(AppendRecords(nil, []Record{r})); n > 100*9+30 {
		t.Errorf("a hundred elections take %d bytes", n)
	}
}
