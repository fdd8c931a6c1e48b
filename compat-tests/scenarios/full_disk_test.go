//go:build compat

package scenarios

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/compat-tests/harness"
	"moldau.io/moldau/protocol/batch"
)

const (
	tinyDisk    = 64 << 20
	tinyReserve = tinyDisk / 10
	tinyValue   = 16 << 10
)

// TestAFullDiskIsSurvived fills a disk of 64 MiB. An idempotent producer with acks=all is held up, not failed: meanwhile
// everything can be read, groups commit, configurations change; records and a topic are deleted, and each time it goes on
// by itself. After a kill every acknowledged record is there once.
func TestAFullDiskIsSurvived(t *testing.T) {
	disk := mountTiny(t)
	b := harness.Start(t, harness.Config{Kind: harness.Moldau, DataDir: filepath.Join(disk, "data"),
		Properties: map[string]string{"log.segment.bytes": "1048576"}})
	for _, topic := range []string{"old", "new"} {
		createTopic(t, b.Addr, topic, 1)
	}
	adm := fullDiskAdmin(t, b.Addr)
	old := startWriter(t, b.Addr, "old")
	old.awaitAcked(t, tinyDisk/3/tinyValue)
	old.finish(t)
	w := startWriter(t, b.Addr, "new")

	awaitFull(t, b)
	held := w.count()
	text := refused(t, b.Addr)
	for _, want := range []string{filepath.Join(disk, "data"), "moldau.disk.reserve.bytes", fmt.Sprint(tinyReserve)} {
		if !strings.Contains(text, want) {
			t.Errorf("a client is told %q, which does not say %s", text, want)
		}
	}
	if free := freeOn(t, disk); free < tinyReserve-(2<<20) {
		t.Errorf("%d bytes are free, of a reserve of %d", free, tinyReserve)
	}
	readBack(t, b.Addr, "old", 0, old.count())
	readBack(t, b.Addr, "new", 0, held)
	commitAndConfigure(t, adm)

	// Records that are deleted make room at once, though their files would stay for file.delete.delay.ms.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	low := held / 2
	offsets := kadm.Offsets{}
	offsets.AddOffset("new", 0, low, -1)
	if _, err := adm.DeleteRecords(ctx, offsets); err != nil {
		t.Fatal(err)
	}
	w.awaitAcked(t, held+held/4)
	awaitFull(t, b)
	held = w.count()
	if _, err := adm.DeleteTopics(ctx, "old"); err != nil {
		t.Fatal(err)
	}
	w.awaitAcked(t, held+100)
	w.finish(t)

	b.Kill(t)
	b.Run(t)
	readBack(t, b.Addr, "new", low, w.count())
	b.Stop(t)
	log, err := os.ReadFile(b.LogFile)
	if err != nil {
		t.Fatal(err)
	}
	full, again := strings.Count(string(log), "the disk is full"), strings.Count(string(log), "has space again")
	if full < 2 || again < 2 || full > 6 || strings.Contains(string(log), "log is offline") {
		t.Errorf("the broker said %d times that the disk is full, %d times that it has space again:\n%s", full, again,
			harness.Tail(string(log), 60))
	}
}

// TestAFullDiskDropsTheOldest writes three times what the disk holds: with moldau.disk.full.policy=delete-oldest the oldest
// segments make room, each named in the log, and the newest records are there.
func TestAFullDiskDropsTheOldest(t *testing.T) {
	disk := mountTiny(t)
	b := harness.Start(t, harness.Config{Kind: harness.Moldau, DataDir: filepath.Join(disk, "data"),
		Properties: map[string]string{"log.segment.bytes": "1048576", "moldau.disk.full.policy": "delete-oldest"}})
	for _, topic := range []string{"old", "new"} {
		createTopic(t, b.Addr, topic, 1)
	}
	old := startWriter(t, b.Addr, "old")
	old.awaitAcked(t, tinyDisk/3/tinyValue)
	old.finish(t)
	w := startWriter(t, b.Addr, "new")
	w.awaitAcked(t, 3*tinyDisk/tinyValue)
	w.finish(t)
	readBack(t, b.Addr, "new", w.count()-tinyDisk/3/tinyValue, w.count())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	starts, err := fullDiskAdmin(t, b.Addr).ListStartOffsets(ctx, "old", "new")
	if err != nil {
		t.Fatal(err)
	}
	first, _ := starts.Lookup("old", 0)
	second, _ := starts.Lookup("new", 0)
	if first.Offset < old.count()-2<<20/tinyValue || second.Offset == 0 {
		t.Errorf("old begins at %d of %d, new at %d of %d: the oldest is to go first", first.Offset, old.count(),
			second.Offset, w.count())
	}
	b.Stop(t)
	log, err := os.ReadFile(b.LogFile)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(log), "before its time"); n < 2*tinyDisk>>20 {
		t.Errorf("%d deleted segments are named", n)
	}
}

// mountTiny is a file system of its own. That needs root, or `unshare -rm` around the test.
func mountTiny(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", tinyDisk)); err != nil {
		t.Fatalf("a small disk cannot be mounted: %v; run this as root, or inside of `unshare -rm`", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func freeOn(t *testing.T, dir string) int64 {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Bavail) * st.Bsize
}

func fullDiskAdmin(t *testing.T, addr string) *kadm.Client {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return kadm.NewClient(cl)
}

// awaitFull waits until the broker's metric says that appends are refused.
func awaitFull(t *testing.T, b *harness.Broker) {
	t.Helper()
	want := fmt.Sprintf("moldau_disk_full{dir=%q} 1", b.DataDir)
	deadline := time.Now().Add(20 * time.Second)
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	for time.Now().Before(deadline) {
		resp, err := http.Get("http://" + b.AdminAddr() + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), want) {
			return
		}
		<-pause.C
	}
	t.Fatalf("%s was not seen", want)
}

// refused sends one batch by hand and returns what the broker says about it.
func refused(t *testing.T, addr string) string {
	t.Helper()
	c, err := harness.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	records := batch.NewBuilder(batch.BuilderOptions{})
	records.Add(time.Now().UnixMilli(), nil, make([]byte, tinyValue))
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = 9, -1, 5000
	part := kmsg.NewProduceRequestTopicPartition()
	part.Records = records.Build()
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic, topic.Partitions = "old", []kmsg.ProduceRequestTopicPartition{part}
	req.Topics = append(req.Topics, topic)
	resp, err := c.Ask(req, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	got := resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	if got.ErrorCode != kerr.KafkaStorageError.Code || got.ErrorMessage == nil {
		t.Fatalf("%v, %v", kerr.ErrorForCode(got.ErrorCode), got.ErrorMessage)
	}
	return *got.ErrorMessage
}

// commitAndConfigure does what must go on while clients' appends are refused.
func commitAndConfigure(t *testing.T, adm *kadm.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for n := range int64(20) {
		offsets := kadm.Offsets{}
		offsets.AddOffset("old", 0, n, -1)
		if err := adm.CommitAllOffsets(ctx, "readers", offsets); err != nil {
			t.Fatalf("a commit on a full disk: %v", err)
		}
	}
	value := "3600000"
	resps, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Name: "retention.ms", Value: &value}}, "old")
	if err == nil {
		_, err = resps.On("old", nil)
	}
	if err != nil {
		t.Fatalf("a configuration on a full disk: %v", err)
	}
}

// writer is an idempotent producer of numbered records, so that number n is at offset n.
type writer struct {
	topic string
	cl    *kgo.Client
	stop  context.CancelFunc
	done  chan struct{}

	mu      sync.Mutex
	acked   int64
	fault   error
	changed chan struct{} // one token after an acknowledgement
}

func startWriter(t *testing.T, addr, topic string) *writer {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	ctx, stop := context.WithCancel(t.Context())
	w := &writer{topic: topic, cl: cl, stop: stop, done: make(chan struct{}), changed: make(chan struct{}, 1)}
	go func() {
		defer close(w.done)
		window := make(chan struct{}, 64)
		for n := uint64(0); ; n++ {
			select {
			case window <- struct{}{}:
			case <-ctx.Done():
				return
			}
			r := &kgo.Record{Topic: topic, Value: tinyRecord(n)}
			cl.Produce(context.Background(), r, func(r *kgo.Record, err error) {
				w.note(int64(n), r, err)
				<-window
			})
		}
	}()
	return w
}

// tinyRecord is what number n has for a value.
func tinyRecord(n uint64) []byte {
	value := make([]byte, tinyValue)
	rng := rand.New(rand.NewPCG(n, 1))
	for i := 8; i < len(value); i += 8 {
		binary.BigEndian.PutUint64(value[i:], rng.Uint64())
	}
	binary.BigEndian.PutUint64(value, n)
	return value
}

func (w *writer) note(n int64, r *kgo.Record, err error) {
	w.mu.Lock()
	switch {
	case w.fault != nil:
	case err != nil:
		w.fault = fmt.Errorf("record %d of %s: %w", n, w.topic, err)
	case r.Offset != n:
		w.fault = fmt.Errorf("record %d of %s is at offset %d", n, w.topic, r.Offset)
	default:
		w.acked++
	}
	w.mu.Unlock()
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// count is how many records are acknowledged.
func (w *writer) count() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.acked
}

func (w *writer) awaitAcked(t *testing.T, n int64) {
	t.Helper()
	late := time.NewTimer(20 * time.Second)
	defer late.Stop()
	for w.count() < n {
		w.failed(t)
		select {
		case <-w.changed:
		case <-late.C:
			t.Fatalf("%d records of %s are acknowledged after 20 s, %d are expected", w.count(), w.topic, n)
		}
	}
}

func (w *writer) failed(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fault != nil {
		t.Fatal(w.fault)
	}
}

// finish waits until all that was sent is acknowledged.
func (w *writer) finish(t *testing.T) {
	t.Helper()
	w.stop()
	<-w.done
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := w.cl.Flush(ctx); err != nil {
		t.Fatalf("the last records of %s are not acknowledged: %v", w.topic, err)
	}
	w.failed(t)
}

// readBack reads the records from..to of a topic.
func readBack(t *testing.T, addr, topic string, from, to int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		topic: {0: kgo.NewOffset().At(from)},
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for next := from; next < to; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%s at %d of %d: %v", topic, next, to, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset != next || string(r.Value) != string(tinyRecord(uint64(next))) {
				t.Fatalf("%s: another record than %d at offset %d", topic, next, r.Offset)
			}
			next++
		})
	}
}
