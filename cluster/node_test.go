package cluster

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

func start(t *testing.T, cfg Config) *Node {
	t.Helper()
	cfg.Dir, cfg.NodeID = "data", 1
	n, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

func propose(t *testing.T, n *Node, cmd meta.Command) meta.Reply {
	t.Helper()
	r, err := n.Propose(t.Context(), cmd)
	if err != nil {
		t.Fatalf("%+v: %v", cmd, err)
	}
	return r
}

func create(name string, partitions int32) meta.CreateTopics {
	return meta.CreateTopics{Topics: []meta.NewTopic{{Name: name, Partitions: partitions, ReplicationFactor: 1}}}
}

func dump(im *meta.Image) string { return hex.Dump(meta.AppendRecords(nil, im.Records())) }

func TestAChangeIsInTheImageWhenItIsAnswered(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	mem := vfs.NewMem()
	n := start(t, Config{FS: mem, Features: []meta.Feature{{Name: "metadata.version", Level: 33}}})
	if len(n.Image().ClusterID()) != 22 || n.Image().Feature("metadata.version") != 33 {
		t.Errorf("cluster %q, features %v", n.Image().ClusterID(), n.Image().Features())
	}
	propose(t, n, meta.RegisterBroker{ID: 1})
	before := n.Image().Offset()
	propose(t, n, create("a", 3))
	if topic := n.Image().Topic("a"); topic == nil || len(topic.Partitions) != 3 || n.Image().Offset() <= before {
		t.Fatalf("%+v", topic)
	}
	select {
	case <-n.Changes():
	default:
		t.Error("no token tells of the change")
	}
	want := dump(n.Image())
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Propose(t.Context(), create("b", 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	again := start(t, Config{FS: mem})
	if got := dump(again.Image()); got != want {
		t.Errorf("after a restart the image is\n%s\nand was\n%s", got, want)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestCallersShareSyncs(t *testing.T) {
	var syncs atomic.Int64
	gate := make(chan struct{})
	var once sync.Once
	held := make(chan struct{})
	closed := atomic.Bool{}
	fs := vfs.WithFaults(vfs.NewMem(), func(op vfs.Op) error {
		if op.Kind == "Sync" && closed.Load() {
			syncs.Add(1)
			once.Do(func() { close(held); <-gate })
		}
		return nil
	})
	n := start(t, Config{FS: fs})
	propose(t, n, meta.RegisterBroker{ID: 1})
	closed.Store(true)
	var wg sync.WaitGroup
	wg.Go(func() { propose(t, n, create("first", 1)) })
	<-held // the first entry is being synced
	for i := range 100 {
		wg.Go(func() { propose(t, n, create(fmt.Sprint("t", i), 1)) })
	}
	for len(n.calls) < 100 { // all others wait for it
		select {
		case <-t.Context().Done():
			t.Fatal("the callers never came")
		default:
		}
	}
	close(gate)
	wg.Wait()
	if got := syncs.Load(); got != 2 || len(n.Image().Topics()) != 101 {
		t.Errorf("%d syncs for %d topics", got, len(n.Image().Topics()))
	}
}

func TestTheSecondOfTwoEqualCommandsIsRefusedInOneBatch(t *testing.T) {
	n := start(t, Config{FS: vfs.NewMem()})
	propose(t, n, meta.RegisterBroker{ID: 1})
	var made, refused atomic.Int64
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			switch r := propose(t, n, create("same", 1)).(meta.CreateTopicsReply); protocol.CodeOf(r.Topics[0].Outcome.Err()) {
			case protocol.None:
				made.Add(1)
			case protocol.TopicAlreadyExists:
				refused.Add(1)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 || refused.Load() != 49 {
		t.Errorf("%d made, %d refused", made.Load(), refused.Load())
	}
}

func TestTheLogBecomesASnapshot(t *testing.T) {
	mem := vfs.NewMem()
	n := start(t, Config{FS: mem, SnapshotBytes: 2000})
	propose(t, n, meta.RegisterBroker{ID: 1})
	for i := range 300 {
		propose(t, n, create(fmt.Sprint("t", i%3), 1))
		propose(t, n, meta.DeleteTopics{Topics: []meta.TopicRef{{Name: fmt.Sprint("t", i%3)}}})
	}
	propose(t, n, create("last", 2))
	want := dump(n.Image())
	size := int64(0)
	for _, name := range []string{"data/quorum/log", "data/quorum/snapshot"} {
		e, err := mem.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		size += e.Size
	}
	if size > 6000 {
		t.Errorf("one topic takes %d bytes on disk", size)
	}
	// What is there must be enough whether or not the node was closed.
	disk := mem.CrashClone(rand.New(rand.NewPCG(1, 1)), 0)
	if got := dump(start(t, Config{FS: disk}).Image()); got != want {
		t.Errorf("after a crash the image is\n%s\nand was\n%s", got, want)
	}
}

func TestAnotherClustersFolderIsRefused(t *testing.T) {
	mem := vfs.NewMem()
	id := start(t, Config{FS: mem, ClusterID: "MkU3OEVBNTcwNTJENDM2Qk"}).Image().ClusterID()
	if id != "MkU3OEVBNTcwNTJENDM2Qk" {
		t.Errorf("cluster id %q", id)
	}
	_, err := Start(t.Context(), Config{FS: mem, Dir: "data", NodeID: 1, ClusterID: "AAAAAAAAAAAAAAAAAAAAAA"})
	if !errors.Is(err, ErrOtherCluster) {
		t.Errorf("%v", err)
	}
}

func TestAFailedDiskRefusesAndDoesNotPublish(t *testing.T) {
	broken := atomic.Bool{}
	mem := vfs.NewMem()
	n := start(t, Config{FS: vfs.WithFaults(mem, func(op vfs.Op) error {
		if broken.Load() && op.Kind == "Sync" {
			return errors.New("disk failure")
		}
		return nil
	})})
	propose(t, n, meta.RegisterBroker{ID: 1})
	before := n.Image()
	broken.Store(true)
	for range 2 {
		if _, err := n.Propose(t.Context(), create("a", 1)); protocol.CodeOf(err) != protocol.KafkaStorageError {
			t.Errorf("%v", err)
		}
		broken.Store(false) // the log stays failed: nobody knows what is on the disk
	}
	if n.Image() != before {
		t.Error("an image was published that is not on the disk")
	}
}

func TestProposeRespectsItsContext(t *testing.T) {
	n := start(t, Config{FS: vfs.NewMem()})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 { // a select would take either case
		if _, err := n.Propose(ctx, create("a", 0)); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
}

func TestCloseAnswersEverybody(t *testing.T) {
	n := start(t, Config{FS: vfs.NewMem()})
	propose(t, n, meta.RegisterBroker{ID: 1})
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			_, err := n.Propose(t.Context(), create(fmt.Sprint("t", i), 1))
			if err != nil && !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
		})
	}
	if err := errors.Join(n.Close(), n.Close()); err != nil {
		t.Error(err)
	}
	wg.Wait()
}
