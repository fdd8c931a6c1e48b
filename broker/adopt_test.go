package broker_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker"
	"moldau.io/moldau/broker/brokertest"
	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage"
	"moldau.io/moldau/storage/vfs"
)

// kafkasFolder puts the data folder that Apache Kafka 4.4.0 wrote, with the topic golden, into memory.
func kafkasFolder(t *testing.T) *vfs.Mem {
	t.Helper()
	const golden = "../storage/testdata/kafka-4.4.0"
	m := vfs.NewMem()
	err := filepath.WalkDir(golden, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := "data" + strings.TrimPrefix(filepath.ToSlash(name), golden)
		if d.IsDir() {
			return m.MkdirAll(to)
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return vfs.WriteFile(m, to, b)
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// goldenID is the golden topic's id, as its partition.metadata says it.
func goldenID(t *testing.T, m vfs.FS) protocol.TopicID {
	t.Helper()
	id, err := storage.ReadTopicID(m, "data/golden-0")
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// metadata records as Kafka writes them.

func metaTopic(name string, id protocol.TopicID) []byte {
	b := append([]byte{1, 2, 0, byte(len(name) + 1)}, name...)
	return append(append(b, id[:]...), 0)
}

func metaPartition(id protocol.TopicID, number, replica, epoch int32) []byte {
	be := binary.BigEndian
	b := append(be.AppendUint32([]byte{1, 3, 0}, uint32(number)), id[:]...)
	for range 2 {
		b = be.AppendUint32(append(b, 2), uint32(replica))
	}
	b = be.AppendUint32(append(b, 1, 1), uint32(replica))
	return append(be.AppendUint32(be.AppendUint32(b, uint32(epoch)), 1), 0)
}

func metaConfig(topic, key, value string) []byte {
	b := append([]byte{1, 4, 0, byte(config.TopicResource), byte(len(topic) + 1)}, topic...)
	b = append(append(b, byte(len(key)+1)), key...)
	return append(append(append(b, byte(len(value)+1)), value...), 0)
}

func metaRemove(id protocol.TopicID) []byte { return append(append([]byte{1, 9, 0}, id[:]...), 0) }

// putMetadata writes records as the log of __cluster_metadata.
func putMetadata(t *testing.T, m vfs.FS, records ...[]byte) {
	t.Helper()
	if err := m.MkdirAll("data/__cluster_metadata-0"); err != nil {
		t.Fatal(err)
	}
	var log []byte
	for i, r := range records {
		b := batch.NewBuilder(batch.BuilderOptions{Base: protocol.Offset(i)})
		b.Add(1, nil, r)
		log = append(log, b.Build()...)
	}
	name := path.Join("data/__cluster_metadata-0", "00000000000000000000.log")
	if err := vfs.WriteFile(m, name, log); err != nil {
		t.Fatal(err)
	}
}

// newBroker opens a broker on the folder and closes it again.
func newBroker(t *testing.T, m vfs.FS, settings map[string]string) error {
	t.Helper()
	static, _, err := config.NewStatic(config.Layer{Origin: "the test", Values: settings})
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.New(t.Context(), broker.Config{Static: static, FS: m, Dirs: []string{"data"}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	return b.Close()
}

// topics is what Metadata says: names with the number of partitions, and the leader epoch of the first.
func topics(t *testing.T, b *brokertest.Broker) (partitions map[string]int, epochs map[string]int32) {
	t.Helper()
	c := b.Dial()
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 12
	partitions, epochs = map[string]int{}, map[string]int32{}
	for _, topic := range c.Do(req).(*kmsg.MetadataResponse).Topics {
		partitions[*topic.Topic] = len(topic.Partitions)
		epochs[*topic.Topic] = topic.Partitions[0].LeaderEpoch
	}
	return partitions, epochs
}

// endOf is the offset behind a partition's last record.
func endOf(t *testing.T, b *brokertest.Broker, topic string) int64 {
	t.Helper()
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version, req.ReplicaID = 7, -1
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewListOffsetsRequestTopicPartition()
	rp.Timestamp = -1
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return b.Dial().Do(req).(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0].Offset
}

func TestAFolderOfKafkasIsTakenOver(t *testing.T) {
	m := kafkasFolder(t)
	id, fresh := goldenID(t, m), protocol.TopicID{9, 15: 1}
	putMetadata(t, m, metaTopic("golden", id), metaPartition(id, 0, 1, 4), metaConfig("golden", "retention.ms", "-1"),
		metaTopic("fresh", fresh), metaPartition(fresh, 0, 1, 0), metaPartition(fresh, 1, 1, 0))
	b := brokertest.Start(t, brokertest.Options{FS: m})
	partitions, epochs := topics(t, b)
	if partitions["golden"] != 1 || partitions["fresh"] != 2 || len(partitions) != 2 || epochs["golden"] != 5 {
		t.Errorf("topics %v, epochs %v", partitions, epochs)
	}
	if end := endOf(t, b, "golden"); end != 73 {
		t.Errorf("the golden topic ends at %d", end)
	}
	if _, err := m.Stat("data/quorum"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("our metadata lies in a folder that keeps Kafka from starting: %v", err)
	}
	b.Restart()
	if _, again := topics(t, b); again["golden"] != 5 {
		t.Errorf("after an orderly stop the epoch is %d: Kafka would not know it", again["golden"])
	}
}

func TestWhatKafkaChangedMeanwhileIsTakenOver(t *testing.T) {
	m := kafkasFolder(t)
	id, doomed := goldenID(t, m), protocol.TopicID{9, 15: 1}
	records := [][]byte{metaTopic("golden", id), metaPartition(id, 0, 1, 4), metaTopic("doomed", doomed),
		metaPartition(doomed, 0, 1, 0)}
	putMetadata(t, m, records...)
	b := brokertest.Start(t, brokertest.Options{FS: m, Quiet: true})
	b.Dial().Do(brokertest.Latest(createTopicRequest("ours")))
	b.Stop()

	if err := vfs.WriteFile(m, "data/ours-0/ours.txt", []byte("this very folder")); err != nil {
		t.Fatal(err)
	}

	// Kafka ran: a topic is gone, one is new, and it put ours aside.
	later := protocol.TopicID{9, 15: 2}
	putMetadata(t, m, append(records, metaRemove(doomed), metaTopic("later", later), metaPartition(later, 0, 1, 0))...)
	if err := m.Rename("data/ours-0", "data/ours-0.0123456789abcdef0123456789abcdef-stray"); err != nil {
		t.Fatal(err)
	}
	if err := vfs.RemoveAll(m, "data/doomed-0"); err != nil {
		t.Fatal(err)
	}
	b.Restart()
	partitions, _ := topics(t, b)
	if partitions["golden"] != 1 || partitions["later"] != 1 || partitions["ours"] != 1 || len(partitions) != 3 {
		t.Errorf("topics %v", partitions)
	}
	if _, err := m.Stat("data/ours-0/ours.txt"); err != nil {
		t.Errorf("our partition's folder is not back: %v", err)
	}
}

// TestTakingOverIsDoneAgainAfterACrash: the note of what was taken over is lost, and what Kafka changed since is not.
func TestTakingOverIsDoneAgainAfterACrash(t *testing.T) {
	m := kafkasFolder(t)
	id := goldenID(t, m)
	records := [][]byte{metaTopic("golden", id), metaPartition(id, 0, 1, 4)}
	putMetadata(t, m, records...)
	b := brokertest.Start(t, brokertest.Options{FS: m, Quiet: true})
	b.Dial().Do(brokertest.Latest(createTopicRequest("ours")))
	b.Stop()
	if err := m.Remove("data/__cluster_metadata-0/quorum/adopted"); err != nil {
		t.Fatal(err)
	}
	later := protocol.TopicID{9, 15: 2}
	putMetadata(t, m, append(records, metaTopic("later", later), metaPartition(later, 0, 1, 0))...)
	b.Restart()
	if partitions, _ := topics(t, b); partitions["golden"] != 1 || partitions["later"] != 1 || partitions["ours"] != 1 {
		t.Errorf("topics %v", partitions)
	}
}

func createTopicRequest(name string) *kmsg.CreateTopicsRequest {
	req := kmsg.NewPtrCreateTopicsRequest()
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = name, 1, 1
	req.Topics = append(req.Topics, rt)
	return req
}

func TestWithoutMetadataFoldersSayWhatTopicsThereAre(t *testing.T) {
	m := kafkasFolder(t)
	b := brokertest.Start(t, brokertest.Options{FS: m, Quiet: true})
	if partitions, _ := topics(t, b); partitions["golden"] != 1 {
		t.Errorf("topics %v", partitions)
	}
	if end := endOf(t, b, "golden"); end != 73 {
		t.Errorf("the golden topic ends at %d", end)
	}
}

func TestARefusedFolderIsLeftToKafka(t *testing.T) {
	m := kafkasFolder(t)
	id := goldenID(t, m)
	scram := append([]byte{1, 11, 0, 6}, "alice"...)
	scram = append(scram, 1, 2, 'x', 2, 'y', 2, 'z', 0, 0, 32, 0, 0)
	putMetadata(t, m, metaTopic("golden", id), metaPartition(id, 0, 1, 4), scram)
	err := newBroker(t, m, nil)
	var unusable *storage.UnusableError
	if !errors.As(err, &unusable) || !strings.Contains(err.Error(), "moldau.adopt.ignore=scram") {
		t.Fatalf("refused with %v", err)
	}
	if _, err := m.Stat("data/.kafka_cleanshutdown"); err != nil {
		t.Errorf("the mark of an orderly end is gone: %v", err)
	}
	if err := newBroker(t, m, map[string]string{"moldau.adopt.ignore": "scram"}); err != nil {
		t.Errorf("with the way out that was named: %v", err)
	}
}

func TestDamagedMetadataIsNamed(t *testing.T) {
	m := kafkasFolder(t)
	id := goldenID(t, m)
	putMetadata(t, m, metaTopic("golden", id), metaPartition(id, 0, 1, 4), metaConfig("golden", "retention.ms", "-1"))
	f, err := m.Open("data/__cluster_metadata-0/00000000000000000000.log")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{0xff}, 80); err != nil {
		t.Fatal(err)
	}
	if err := newBroker(t, m, nil); err == nil || !strings.Contains(err.Error(), "00000000000000000000.log: is damaged") {
		t.Errorf("damaged metadata: %v", err)
	}
}

// TestManyPartitionsAreTakenOver: one entry of the metadata log holds them all.
func TestManyPartitionsAreTakenOver(t *testing.T) {
	const count = 3000
	m := kafkasFolder(t)
	var records [][]byte
	for i := range count {
		id := protocol.TopicID{9, byte(i >> 8), byte(i), 15: 1}
		name := fmt.Sprintf("topic%d", i)
		records = append(records, metaTopic(name, id), metaPartition(id, 0, 1, 0), metaConfig(name, "retention.ms", "-1"))
	}
	putMetadata(t, m, records...)
	b := brokertest.Start(t, brokertest.Options{FS: m, Quiet: true})
	if partitions, _ := topics(t, b); len(partitions) != count {
		t.Errorf("%d topics", len(partitions))
	}
	b.Restart()
	if partitions, _ := topics(t, b); len(partitions) != count {
		t.Errorf("%d topics after a restart", len(partitions))
	}
}

// TestPartitionsInAFolderThatWasNotNamedAreMissed: Kafka's metadata says in which of several folders each partition lies.
func TestPartitionsInAFolderThatWasNotNamedAreMissed(t *testing.T) {
	m := kafkasFolder(t)
	id := goldenID(t, m)
	second := protocol.TopicID{7, 15: 200}
	if err := m.MkdirAll("more"); err != nil {
		t.Fatal(err)
	}
	text := "version=1\ncluster.id=4L6g3nShT-eMCtK--X86sw\nnode.id=1\ndirectory.id=" + second.String() + "\n"
	if err := vfs.WriteFile(m, "more/meta.properties", []byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := m.Rename("data/golden-0", "more/golden-0"); err != nil {
		t.Fatal(err)
	}
	record := metaPartition(id, 0, 1, 4)
	record[2] = 1 // the version that names the folders
	record = append(append(record[:len(record)-1], 2), second[:]...)
	putMetadata(t, m, metaTopic("golden", id), append(record, 0))

	err := newBroker(t, m, nil)
	if err == nil || !strings.Contains(err.Error(), "lie in a data folder that was not named: golden-0") {
		t.Fatalf("with one of two folders: %v", err)
	}
	b := brokertest.Start(t, brokertest.Options{FS: m, Dirs: []string{"data", "more"}, Quiet: true})
	if end := endOf(t, b, "golden"); end != 73 {
		t.Errorf("the golden topic ends at %d", end)
	}
}
