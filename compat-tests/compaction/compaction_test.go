//go:build compat

package compaction

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/compat-tests/harness"
	"moldau.io/moldau/protocol/batch"
)

// TestACompactedTopicHasOneRecordForEachKey writes many values for few keys, takes some keys away, waits until the
// cleaner has come to the last segment, and reads the topic: each key once, with its last value; and again after a
// restart.
func TestACompactedTopicHasOneRecordForEachKey(t *testing.T) {
	b := harness.Start(t, harness.Config{JavaHeap: "512M", Properties: map[string]string{
		"log.cleaner.backoff.ms": "100", "log.cleaner.dedupe.buffer.size": "4194304", "log.initial.task.delay.ms": "100",
	}})
	const topic, keys = "compacted", 50
	create(t, b, topic)
	want := produceUpdates(t, b, topic, keys)
	awaitCompacted(t, b, topic, len(want)+2*recordsBehind)
	check := func() {
		t.Helper()
		got, records := table(t, b, topic)
		if !maps.Equal(got, want) {
			t.Fatalf("%v\nwant %v", got, want)
		}
		if records > len(want)+2*recordsBehind {
			t.Fatalf("%d records for %d keys", records, len(want))
		}
	}
	check()
	if addr := b.AdminAddr(); addr != "" {
		checkMetrics(t, addr)
	}
	b.Stop(t)
	b.Run(t)
	check()
}

// recordsBehind is how many records the last segment has, which is not compacted.
const recordsBehind = 20

func create(t *testing.T, b *harness.Broker, topic string) {
	t.Helper()
	c := client(t, b)
	configs := map[string]string{
		"cleanup.policy": "compact", "internal.segment.bytes": "20000", "min.cleanable.dirty.ratio": "0.01",
		"delete.retention.ms": "0", "file.delete.delay.ms": "0",
	}
	asked := map[string]*string{}
	for k, v := range configs {
		asked[k] = kadm.StringPtr(v)
	}
	if _, err := kadm.NewClient(c).CreateTopic(context.Background(), 1, 1, asked, topic); err != nil {
		t.Fatal(err)
	}
}

func client(t *testing.T, b *harness.Broker, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.Addr)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// produceUpdates is what a table of the topic should hold afterwards.
func produceUpdates(t *testing.T, b *harness.Broker, topic string, keys int) map[string]string {
	t.Helper()
	c := client(t, b)
	want := map[string]string{}
	put := func(key string, value []byte) {
		t.Helper()
		r := &kgo.Record{Topic: topic, Key: []byte(key), Value: value}
		if err := c.ProduceSync(context.Background(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if value == nil {
			delete(want, key)
		} else {
			want[key] = string(value)
		}
	}
	for round := range 20 {
		for k := range keys {
			put(fmt.Sprint("key-", k), fmt.Appendf(nil, "round %d of %d %s", round, k, strings.Repeat("x", 60)))
		}
	}
	for k := range keys / 5 {
		put(fmt.Sprint("key-", 5*k), nil)
	}
	put("large", []byte(strings.Repeat("l", 19000))) // begins a segment, so that what is before it can be cleaned
	for range recordsBehind {
		put("behind", []byte(strings.Repeat("b", 100)))
	}
	return want
}

// awaitCompacted waits until the log has at most so many records.
func awaitCompacted(t *testing.T, b *harness.Broker, topic string, records int) {
	t.Helper()
	pause := time.NewTicker(200 * time.Millisecond)
	defer pause.Stop()
	n := 0
	for deadline := time.Now().Add(90 * time.Second); time.Now().Before(deadline); <-pause.C {
		if _, n = table(t, b, topic); n <= records {
			return
		}
	}
	text, _ := os.ReadFile(filepath.Join(b.DataDir, "cleaner-offset-checkpoint"))
	t.Fatalf("%d records after 90 s, at most %d should be left; cleaner-offset-checkpoint:\n%s", n, records, text)
}

// table reads a whole topic, and makes a table of it.
func table(t *testing.T, b *harness.Broker, topic string) (rows map[string]string, records int) {
	t.Helper()
	c := client(t, b, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer c.Close()
	ends, err := kadm.NewClient(c).ListEndOffsets(context.Background(), topic)
	if err != nil {
		t.Fatal(err)
	}
	end, _ := ends.Lookup(topic, 0)
	rows = map[string]string{}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for next := int64(0); next < end.Offset; {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			records++
			next = r.Offset + 1
			if r.Value == nil {
				delete(rows, string(r.Key))
			} else {
				rows[string(r.Key)] = string(r.Value)
			}
		})
	}
	return rows, records
}

func checkMetrics(t *testing.T, addr string) {
	t.Helper()
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"moldau_cleaner_runs_total", "moldau_cleaner_dropped_records_total",
		"kafka_log_logcleaner_cleaner_recopy_percent"} {
		if !strings.Contains(string(text), "\n"+name+" ") || strings.Contains(string(text), "\n"+name+" 0\n") {
			t.Errorf("the metric %s is 0 or not there", name)
		}
	}
}

// TestCommittedOffsetsSurviveTheCleaning: the topic of the groups is compacted like any other, down to one record for each
// offset and for each thing that is kept of a consumer group. What a coordinator loads from it after a restart is what was
// committed last, and a member of a consumer group goes on in its epoch.
func TestCommittedOffsetsSurviveTheCleaning(t *testing.T) {
	b := harness.Start(t, harness.Config{JavaHeap: "512M", Properties: map[string]string{
		"log.cleaner.backoff.ms": "100", "log.cleaner.dedupe.buffer.size": "4194304", "log.initial.task.delay.ms": "100",
		"offsets.topic.num.partitions": "1", "group.consumer.assignment.interval.ms": "0",
		"group.consumer.min.assignment.interval.ms": "0",
	}})
	admin := kadm.NewClient(client(t, b))
	ctx := context.Background()
	create(t, b, "consumed")
	commit := func(group string, at int64) {
		t.Helper()
		var offsets kadm.Offsets
		offsets.Add(kadm.Offset{Topic: "consumed", Partition: 0, At: at, LeaderEpoch: -1, Metadata: strings.Repeat("m", 200)})
		if err := admin.CommitAllOffsets(ctx, group, offsets); err != nil {
			t.Fatal(err)
		}
	}
	commit("first", 1)
	_, err := admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{
		{Op: kadm.SetConfig, Name: "internal.segment.bytes", Value: kadm.StringPtr("20000")},
		{Op: kadm.SetConfig, Name: "min.cleanable.dirty.ratio", Value: kadm.StringPtr("0.01")},
	}, "__consumer_offsets")
	if err != nil {
		t.Fatal(err)
	}
	const groups, rounds = 5, 100
	member := &rider{}
	for at := range int64(rounds) {
		member.beat(t, b, at)
		for g := range groups {
			commit(fmt.Sprint("group-", g), at*10+int64(g))
		}
	}
	if deleted, err := admin.DeleteGroups(ctx, "group-4"); err != nil || deleted["group-4"].Err != nil {
		t.Fatal(err, deleted["group-4"].Err)
	}
	oncePerKey(t, b, awaitCleanerRuns(t, b))
	check := func() {
		t.Helper()
		if before := member.epoch; before < rounds {
			t.Errorf("the member is in epoch %d after %d changes", before, rounds)
		} else if member.beat(t, b, -1); member.epoch != before {
			t.Errorf("the member's epoch %d became %d", before, member.epoch)
		}
		for g := range groups {
			got, err := admin.FetchOffsets(ctx, fmt.Sprint("group-", g))
			if err != nil {
				t.Fatal(err)
			}
			o, ok := got.Lookup("consumed", 0)
			if want := int64((rounds-1)*10 + g); g < 4 && (!ok || o.At != want) || g == 4 && ok && o.At >= 0 {
				t.Errorf("group %d: %v %+v", g, ok, o)
			}
		}
	}
	check()
	b.Stop(t)
	b.Run(t)
	check()
}

// rider is a member of a consumer group that subscribes to something else all the time.
type rider struct{ epoch int32 }

// beat changes the subscription, unless n is below 0.
func (r *rider) beat(t *testing.T, b *harness.Broker, n int64) {
	t.Helper()
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Version, req.Group, req.MemberID, req.MemberEpoch = 1, "riders", "rider", r.epoch
	if n >= 0 {
		req.SubscribedTopicNames = []string{"consumed", fmt.Sprint("other-", n)}
	}
	if r.epoch == 0 {
		req.RebalanceTimeoutMillis, req.Topics = 60_000, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	}
	resp, err := req.RequestWith(context.Background(), client(t, b))
	if err != nil || resp.ErrorCode != 0 {
		t.Fatalf("heartbeat in epoch %d: %v %+v", r.epoch, err, resp)
	}
	r.epoch = resp.MemberEpoch
}

// oncePerKey looks at what is kept below the offset up to which the topic of the groups is cleaned.
func oncePerKey(t *testing.T, b *harness.Broker, cleaned int64) {
	t.Helper()
	kept, records := map[string]int{}, 0
	for _, segment := range b.Segments(t, "__consumer_offsets", 0) {
		log, err := os.ReadFile(segment)
		if err != nil {
			t.Fatal(err)
		}
		for len(log) > 0 {
			one, rest, err := batch.Next(log)
			if err != nil {
				break // the segment is preallocated, or was just removed
			}
			log = rest
			for r, err := range one.Records(nil) {
				if err != nil {
					t.Fatal(err)
				}
				if int64(one.BaseOffset())+int64(r.OffsetDelta) < cleaned {
					kept[string(r.Key)]++
					records++
				}
			}
		}
	}
	if records != len(kept) || len(kept) < 10 {
		t.Errorf("of %d offsets %d records of %d keys are kept", cleaned, records, len(kept))
	}
	t.Logf("of %d offsets %d records are kept", cleaned, records)
}

// awaitCleanerRuns waits until the topic of the groups has been cleaned, and says up to where.
func awaitCleanerRuns(t *testing.T, b *harness.Broker) int64 {
	t.Helper()
	pause := time.NewTicker(200 * time.Millisecond)
	defer pause.Stop()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); <-pause.C {
		text, _ := os.ReadFile(filepath.Join(b.DataDir, "cleaner-offset-checkpoint"))
		for _, line := range strings.Split(string(text), "\n") {
			var at int64
			if n, _ := fmt.Sscanf(line, "__consumer_offsets 0 %d", &at); n == 1 && at > 300 {
				return at
			}
		}
	}
	t.Fatal("the topic of the groups is not cleaned")
	return 0
}
