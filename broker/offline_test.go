package broker_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

// twoDisks is a broker of the folders /a, which has the metadata, and /b, each of which can be made to fail.
type twoDisks struct {
	*testing.T
	b      *brokertest.Broker
	c      *brokertest.Client
	broken atomic.Pointer[string]
}

func newTwoDisks(t *testing.T) *twoDisks {
	w := &twoDisks{T: t}
	fs := vfs.WithFaults(vfs.NewMem(), func(op vfs.Op) error {
		if broken := w.broken.Load(); broken != nil && strings.HasPrefix(op.Name+"/", *broken+"/") {
			return &faultOf{op, syscall.EIO}
		}
		return nil
	})
	w.b = brokertest.Start(t, brokertest.Options{FS: fs, Dirs: []string{"/a", "/b"}, Quiet: true})
	w.c = w.b.Dial()
	return w
}

type faultOf struct {
	op  vfs.Op
	err error
}

func (e *faultOf) Error() string { return fmt.Sprintf("%s %s: %v", e.op.Kind, e.op.Name, e.err) }
func (e *faultOf) Unwrap() error { return e.err }

func (w *twoDisks) breaks(dir string) { w.broken.Store(&dir) }
func (w *twoDisks) heal()             { w.broken.Store(nil) }

func (w *twoDisks) restart() {
	w.Helper()
	w.b.Restart()
	w.c = w.b.Dial()
}

// where is the folder of each partition of a topic.
func (w *twoDisks) where(topic string, partitions int) (dirs []string) {
	w.Helper()
	_, in := describeDirs(w.c)
	for p := range partitions {
		at := ""
		for dir, names := range in {
			if slices.Contains(strings.Split(names, ", "), fmt.Sprintf("%s-%d", topic, p)) {
				at = dir
			}
		}
		dirs = append(dirs, at)
	}
	return dirs
}

func (w *twoDisks) produce(topic string, id protocol.TopicID, p int32) protocol.Code {
	w.Helper()
	return protocol.Code(produce(w.c, 13, topic, id, p, -1, records(2, 10)).ErrorCode)
}

// metadata is Metadata and DescribeTopicPartitions of a topic: they must say the same.
func (w *twoDisks) metadata(topic string) []kmsg.MetadataResponseTopicPartition {
	w.Helper()
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{{Topic: &topic}}
	parts := w.c.Do(brokertest.Latest(req)).(*kmsg.MetadataResponse).Topics[0].Partitions
	pages := kmsg.NewPtrDescribeTopicPartitionsRequest()
	pages.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: topic}}
	pages.ResponsePartitionLimit = 100
	for i, p := range w.c.Do(brokertest.Latest(pages)).(*kmsg.DescribeTopicPartitionsResponse).Topics[0].Partitions {
		m := parts[i]
		if p.ErrorCode != 0 || p.LeaderID != m.Leader || !slices.Equal(p.ISR, m.ISR) ||
			!slices.Equal(p.OfflineReplicas, m.OfflineReplicas) {
			w.Errorf("DescribeTopicPartitions says %+v, Metadata %+v", p, m)
		}
	}
	return parts
}

// TestAFailingFolderCostsItsPartitions: produce, fetch, offsets, metadata, folders and new topics, while one of two folders
// fails; all is there again when it is repaired. The codes are those of Apache Kafka 4.4.0 in the same situation.
func TestAFailingFolderCostsItsPartitions(t *testing.T) {
	w := newTwoDisks(t)
	id := createTopic(w.c, "t", 4)
	for p := range int32(4) {
		if got := w.produce("t", id, p); got != protocol.None {
			t.Fatal(got)
		}
	}
	dirs := w.where("t", 4)
	w.breaks("/b")
	first := int32(slices.Index(dirs, "/b"))
	if got := w.produce("t", id, first); got != protocol.KafkaStorageError {
		t.Errorf("the first to meet it: %v", got)
	}
	until(t, "the folder to be offline", func() bool {
		codes, in := describeDirs(w.c)
		return codes["/b"] == protocol.KafkaStorageError && in["/b"] == "" && codes["/a"] == protocol.None
	})
	until(t, "the partitions to be without leader", func() bool {
		return w.metadata("t")[first].ErrorCode == int16(protocol.LeaderNotAvailable)
	})
	for p, dir := range dirs {
		want, leader, offline := protocol.None, int32(1), 0
		if dir == "/b" {
			want, leader, offline = protocol.KafkaStorageError, -1, 1
		}
		if got := w.produce("t", id, int32(p)); got != want {
			t.Errorf("Produce to %d in %s: %v, want %v", p, dir, got, want)
		}
		got := fetch(w.c, 18, "t", id, fetchFrom(int32(p), 0)).Topics[0].Partitions[0]
		if protocol.Code(got.ErrorCode) != want || want == 0 && countRecords(t, got.RecordBatches) != 4 {
			t.Errorf("Fetch of %d in %s: %v", p, dir, protocol.Code(got.ErrorCode))
		}
		if got := listOffset(w.c, 9, "t", int32(p), -1); protocol.Code(got.ErrorCode) != want {
			t.Errorf("ListOffsets of %d in %s: %v", p, dir, protocol.Code(got.ErrorCode))
		}
		m := w.metadata("t")[p]
		if m.Leader != leader || len(m.OfflineReplicas) != offline || (m.ErrorCode == 0) != (offline == 0) {
			t.Errorf("Metadata of %d in %s: %+v", p, dir, m)
		}
	}
	createTopic(w.c, "u", 3)
	if got := fmt.Sprint(w.where("u", 3)); got != "[/a /a /a]" {
		t.Errorf("a new topic is in %s", got)
	}
	for _, to := range []string{"/a", "/b"} {
		for p, dir := range dirs {
			want := protocol.None
			if dir == "/b" || to == "/b" {
				want = protocol.KafkaStorageError
			}
			if got := alterDir(w.c, 2, to, "t", int32(p)); got[0] != want {
				t.Errorf("move %d from %s to %s: %v, want %v", p, dir, to, got[0], want)
			}
		}
	}
	if n := counted(t, w.b, "kafka_log_logmanager_offlinelogdirectorycount"); n != 1 {
		t.Errorf("%v folders are offline by the metrics", n)
	}
	if n := counted(t, w.b, "moldau_offline_partitions"); n < 2 {
		t.Errorf("%v partitions are offline by the metrics", n)
	}
	w.restart() // without the folder: nothing is made anew in the other
	for p, dir := range dirs {
		want := protocol.None
		if dir == "/b" {
			want = protocol.KafkaStorageError
		}
		if got := w.produce("t", id, int32(p)); got != want {
			t.Errorf("after a restart, Produce to %d in %s: %v, want %v", p, dir, got, want)
		}
	}
	if got := createTopic(w.c, "v", 2); fmt.Sprint(w.where("v", 2)) != "[/a /a]" {
		t.Errorf("a topic made after the restart, %v, is in %v", got, w.where("v", 2))
	}
	w.heal()
	w.restart()
	for p, dir := range dirs {
		n := 6 // one lot before, two meanwhile
		if dir == "/b" {
			n = 2
		}
		got := fetch(w.c, 18, "t", id, fetchFrom(int32(p), 0)).Topics[0].Partitions[0]
		if have := int(countRecords(t, got.RecordBatches)); have != n {
			t.Errorf("after the repair %d in %s has %d records, want %d", p, dir, have, n)
		}
		if got := w.produce("t", id, int32(p)); got != protocol.None {
			t.Errorf("after the repair, Produce to %d: %v", p, got)
		}
	}
}

// TestATopicDeletedWhileItsFolderIsOffline, and made again: when the folder is back there are two of one partition, and the
// right one is taken.
func TestATopicDeletedWhileItsFolderIsOffline(t *testing.T) {
	w := newTwoDisks(t)
	old := createTopic(w.c, "t", 4)
	for p := range int32(4) {
		if got := w.produce("t", old, p); got != protocol.None {
			t.Fatal(got)
		}
	}
	w.breaks("/b")
	w.produce("t", old, int32(slices.Index(w.where("t", 4), "/b")))
	until(t, "the folder to be offline", func() bool {
		codes, _ := describeDirs(w.c)
		return codes["/b"] == protocol.KafkaStorageError
	})
	w.restart()
	req := kmsg.NewPtrDeleteTopicsRequest()
	name := "t"
	req.TimeoutMillis, req.Topics = 10_000, []kmsg.DeleteTopicsRequestTopic{{Topic: &name}}
	if got := w.c.Do(brokertest.Latest(req)).(*kmsg.DeleteTopicsResponse).Topics[0].ErrorCode; got != 0 {
		t.Fatal(protocol.Code(got))
	}
	id := createTopic(w.c, "t", 4)
	for p := range int32(4) {
		if got := w.produce("t", id, p); got != protocol.None {
			t.Errorf("partition %d of the new topic: %v", p, got)
		}
	}
	w.heal()
	for range 2 {
		w.restart()
		for p := range int32(4) {
			got := fetch(w.c, 18, "t", id, fetchFrom(p, 0)).Topics[0].Partitions[0]
			if n := countRecords(t, got.RecordBatches); n != 2 {
				t.Errorf("partition %d has %d records: %v", p, n, protocol.Code(got.ErrorCode))
			}
		}
	}
}

// TestTheFolderOfTheMetadataFails: the broker ends, and says so. It does not start without it either.
func TestTheFolderOfTheMetadataFails(t *testing.T) {
	w := newTwoDisks(t)
	id := createTopic(w.c, "t", 4)
	dirs := w.where("t", 4)
	w.breaks("/a")
	w.c.Send(w.c.Encode(produceTo("t", id, int32(slices.Index(dirs, "/a")))))
	err := w.b.Ended()
	if err == nil || !strings.Contains(err.Error(), "metadata") || !strings.Contains(err.Error(), "/a") {
		t.Errorf("it ended with: %v", err)
	}
	w.heal()
	w.restart()
	if got := w.produce("t", id, 0); got != protocol.None {
		t.Errorf("after the repair: %v", got)
	}
	// It may also be the metadata log that meets it first.
	w.breaks("/a")
	req := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "u", 1, 1
	req.TimeoutMillis, req.Topics = 10_000, append(req.Topics, topic)
	w.c.Send(w.c.Encode(brokertest.Latest(req)))
	if err := w.b.Ended(); err == nil || !strings.Contains(err.Error(), "metadata") {
		t.Errorf("it ended with: %v", err)
	}
	w.heal()
	w.restart()
}

// produceTo is a request of one batch.
func produceTo(topic string, id protocol.TopicID, p int32) kmsg.Request {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 10_000
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic, rt.TopicID = topic, id
	rp := kmsg.NewProduceRequestTopicPartition()
	rp.Partition, rp.Records = p, records(2, 10)
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return brokertest.Latest(req)
}

// TestGroupsOfAFailingFolder: those whose partition of __consumer_offsets is in it have no coordinator, the others go on.
func TestGroupsOfAFailingFolder(t *testing.T) {
	w := newTwoDisks(t)
	id := createTopic(w.c, "t", 4)
	find := func(group string) protocol.Code {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorKeys = []string{group}
		return protocol.Code(w.c.Do(brokertest.Latest(req)).(*kmsg.FindCoordinatorResponse).Coordinators[0].ErrorCode)
	}
	commit := func(group string) protocol.Code {
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Group, req.Generation = group, -1
		rt := kmsg.NewOffsetCommitRequestTopic()
		rt.Topic, rt.TopicID = "t", id
		rt.Partitions = append(rt.Partitions, kmsg.NewOffsetCommitRequestTopicPartition())
		req.Topics = append(req.Topics, rt)
		return protocol.Code(w.c.Do(brokertest.Latest(req)).(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode)
	}
	until(t, "a coordinator", func() bool { return find("g0") == protocol.None })
	dirs := w.where("__consumer_offsets", 3)
	inB := map[string]bool{}
	for i := range 12 { // some are in each of the three partitions
		g := fmt.Sprintf("g%d", i)
		inB[g] = dirs[groupPartition(g, 3)] == "/b"
		until(t, "a commit of "+g, func() bool { return commit(g) == protocol.None })
	}
	w.breaks("/b")
	some := ""
	for g, bad := range inB {
		if bad {
			some = g
		}
	}
	if got := commit(some); got == protocol.None {
		t.Error("a commit was acknowledged that is on a disk that fails")
	}
	until(t, "the coordinator to be gone", func() bool { return find(some) == protocol.CoordinatorNotAvailable })
	for g, bad := range inB {
		switch found, committed := find(g), commit(g); {
		case bad && (found != protocol.CoordinatorNotAvailable || committed != protocol.NotCoordinator):
			t.Errorf("%s, in the failed folder: %v, %v", g, found, committed)
		case !bad && (found != protocol.None || committed != protocol.None):
			t.Errorf("%s, in the other one: %v, %v", g, found, committed)
		}
	}
	w.heal()
	w.restart()
	for g := range inB {
		until(t, "the coordinator of "+g, func() bool { return commit(g) == protocol.None })
	}
}

// groupPartition is the partition of __consumer_offsets that a group's state is in: Java's hash of its name.
func groupPartition(group string, partitions int32) int32 {
	var h int32
	for _, c := range group {
		h = 31*h + c
	}
	return (h & 0x7fffffff) % partitions
}
