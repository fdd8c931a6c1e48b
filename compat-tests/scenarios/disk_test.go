//go:build compat

package scenarios

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"moldau.io/moldau/compat-tests/harness"
)

// disk is a file system of its own that can be made to fail as one does whose disk has: ext4 turns read-only.
type disk struct {
	*testing.T
	image, at string
}

func newDisk(t *testing.T) *disk {
	t.Helper()
	dir := t.TempDir()
	d := &disk{t, filepath.Join(dir, "image"), filepath.Join(dir, "disk")}
	if err := os.Mkdir(d.at, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.image, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.image, 256<<20); err != nil {
		t.Fatal(err)
	}
	d.run("mkfs.ext4", "-q", d.image)
	d.mount()
	t.Cleanup(func() { _ = exec.Command("umount", "-l", d.at).Run() })
	return d
}

func (d *disk) run(name string, args ...string) {
	d.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		d.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func (d *disk) mount() { d.Helper(); d.run("mount", "-o", "loop", d.image, d.at) }

// fail lets the file system abort its journal: what is not on disk is lost, and nothing can be written any more.
func (d *disk) fail() { d.Helper(); d.run("mount", "-o", "remount,abort", d.at) }

// repair is what an operator does: unmount, check, mount.
func (d *disk) repair() {
	d.Helper()
	d.run("umount", d.at)
	if out, err := exec.Command("e2fsck", "-fy", d.image).CombinedOutput(); err != nil {
		if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() > 1 { // 1: errors were corrected
			d.Fatalf("e2fsck: %v\n%s", err, out)
		}
	}
	d.mount()
}

// TestADiskFails: the partitions on it are offline, the others go on; repaired, everything that was synced is there.
func TestADiskFails(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts a file system, for which it must be root")
	}
	d := newDisk(t)
	other := filepath.Join(d.at, "data")
	if err := os.Mkdir(other, 0o755); err != nil {
		t.Fatal(err)
	}
	b := harness.Start(t, harness.Config{OtherDirs: []string{other}, Properties: map[string]string{
		"log.flush.interval.messages": "1", "log.segment.bytes": "1048576", // else nothing is put on so small a disk
	}})
	const topic, partitions = "t", 4
	createTopic(t, b.Addr, topic, partitions)
	cl := manualClient(t, b.Addr)
	adm := kadm.NewClient(cl)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	produce := func(p int32) error {
		return cl.ProduceSync(ctx, &kgo.Record{Topic: topic, Partition: p, Value: []byte("v")}).FirstErr()
	}
	for p := range int32(partitions) {
		err := produce(p)
		for kerr.IsRetriable(err) && ctx.Err() == nil { // Apache Kafka leads a new partition a moment later
			err = produce(p)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	dirs := foldersOf(t, ctx, adm, topic)
	d.fail()
	failed := int32(-1)
	for p, dir := range dirs {
		if dir == other {
			failed = p
		}
	}
	if err := produce(failed); err == nil {
		t.Error("a record was acknowledged on a disk that is read-only")
	}
	awaitOffline(t, ctx, adm, topic, failed, other)
	for p, dir := range dirs {
		if err := produce(p); (err == nil) != (dir != other) {
			t.Errorf("partition %d in %s: %v", p, dir, err)
		}
	}
	b.Stop(t)
	d.repair()
	b.Run(t)
	cl = manualClient(t, b.Addr) // one that does not have to find out that the leaders are back
	for p, dir := range dirs {
		want := int64(1)
		if dir != other {
			want = 2
		}
		awaitEnd(t, ctx, kadm.NewClient(cl), topic, p, want)
		if err := produce(p); err != nil {
			t.Errorf("after the repair partition %d in %s: %v", p, dir, err)
		}
	}
}

// manualClient writes where it is told, and takes the first answer.
func manualClient(t *testing.T, addr string) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RecordRetries(0),
		kgo.RecordDeliveryTimeout(5*time.Second), kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.AllISRAcks()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// awaitEnd waits until a partition ends at want: what was read again after a crash is shown once it is durable again.
func awaitEnd(t *testing.T, ctx context.Context, adm *kadm.Client, topic string, p int32, want int64) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); ; <-tick.C {
		ends, err := adm.ListEndOffsets(ctx, topic)
		if err != nil {
			t.Fatal(err)
		}
		end, _ := ends.Lookup(topic, p)
		if end.Offset == want {
			return
		}
		if end.Offset > want || time.Now().After(deadline) {
			t.Fatalf("after the repair partition %d ends at %d (%v), want %d", p, end.Offset, end.Err, want)
		}
	}
}

// foldersOf is where each partition of a topic lies; both folders must have some.
func foldersOf(t *testing.T, ctx context.Context, adm *kadm.Client, topic string) map[int32]string {
	t.Helper()
	all, err := adm.DescribeAllLogDirs(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	dirs, seen := map[int32]string{}, map[string]bool{}
	all.Each(func(d kadm.DescribedLogDir) {
		for p := range d.Topics[topic] {
			dirs[p] = d.Dir
			seen[d.Dir] = true
		}
	})
	if len(seen) != 2 {
		t.Fatalf("the partitions are in %v", seen)
	}
	return dirs
}

// awaitOffline waits until the broker says what Apache Kafka does of a folder that has failed and a partition in it.
func awaitOffline(t *testing.T, ctx context.Context, adm *kadm.Client, topic string, p int32, dir string) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	last := ""
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-tick.C {
		all, err := adm.DescribeAllLogDirs(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		var code error
		all.Each(func(d kadm.DescribedLogDir) {
			if d.Dir == dir {
				code = d.Err
			}
		})
		topics, err := adm.ListTopics(ctx, topic)
		if err != nil {
			t.Fatal(err)
		}
		part := topics[topic].Partitions[p]
		if code == kerr.KafkaStorageError && part.Err == kerr.LeaderNotAvailable && part.Leader == -1 && len(part.OfflineReplicas) == 1 {
			return
		}
		last = fmt.Sprintf("the folder: %v; the partition: %+v", code, part)
	}
	t.Fatalf("the folder is not offline: %s", last)
}
