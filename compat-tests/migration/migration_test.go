//go:build compat

package migration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"moldau.io/moldau/compat-tests/harness"
)

const (
	rides, profiles, paid = "rides", "profiles", "paid"
	readers               = "readers"
)

func client(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func text(s string) *string { return &s }

// fill makes topics of each kind: all codecs over several segments, a compacted one, transactions that were committed and
// aborted, and a group that has committed.
func fill(t *testing.T, addr string) {
	t.Helper()
	ctx := within(t)
	adm := kadm.NewClient(client(t, addr))
	for topic, configs := range map[string]map[string]*string{
		rides:    {"segment.bytes": text("1048576"), "retention.ms": text("-1")},
		profiles: {"cleanup.policy": text("compact"), "segment.ms": text("100"), "min.cleanable.dirty.ratio": text("0.01")},
		paid:     nil,
		"grown":  nil,
	} {
		_, err := adm.CreateTopic(ctx, 3, 1, configs, topic)
		check(t, err)
	}
	_, err := adm.UpdatePartitions(ctx, 4, "grown")
	check(t, err)
	for i, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(),
		kgo.Lz4Compression(), kgo.ZstdCompression()} {
		append5(t, addr, fmt.Sprintf("codec %d", i), kgo.ProducerBatchCompression(codec))
	}
	txn := client(t, addr, kgo.TransactionalID("pay"), kgo.DefaultProduceTopic(paid))
	for i := range 4 {
		check(t, txn.BeginTransaction())
		check(t, txn.ProduceSync(ctx, kgo.StringRecord(fmt.Sprintf("payment %d", i)), kgo.StringRecord("and more")).FirstErr())
		check(t, txn.EndTransaction(ctx, i%2 == 0))
	}
	readOn(t, addr, 700)
}

// append5 appends to each topic, enough to rides for several segments.
func append5(t *testing.T, addr, what string, opts ...kgo.Opt) {
	t.Helper()
	ctx := within(t)
	cl := client(t, addr, append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	filler := strings.Repeat("v", 1500)
	for i := range 900 {
		cl.Produce(ctx, &kgo.Record{
			Topic: rides, Partition: int32(i % 3), Key: fmt.Append(nil, i), Value: fmt.Appendf(nil, "%s %d %s", what, i, filler),
			Headers: []kgo.RecordHeader{{Key: "what", Value: []byte(what)}},
		}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	check(t, cl.Flush(ctx))
	for i := range 60 {
		r := &kgo.Record{Topic: profiles, Partition: int32(i % 2), Key: fmt.Append(nil, i%6), Value: fmt.Appendf(nil, "%s %d", what, i)}
		check(t, cl.ProduceSync(ctx, r).FirstErr())
	}
}

// readOn has the group read n records of rides from where it is, and commit.
func readOn(t *testing.T, addr string, n int) {
	t.Helper()
	ctx := within(t)
	g, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumerGroup(readers), kgo.ConsumeTopics(rides), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxPartitionBytes(64<<10))
	check(t, err)
	defer g.Close()
	for n > 0 {
		fs := g.PollRecords(ctx, n)
		check(t, errors.Join(ctx.Err(), fs.Err()))
		n -= fs.NumRecords()
	}
	check(t, g.CommitUncommittedOffsets(ctx))
}

// committed is where the group is.
func committed(t *testing.T, addr string) map[string]int64 {
	t.Helper()
	offsets, err := kadm.NewClient(client(t, addr)).FetchOffsets(within(t), readers)
	check(t, err)
	out := map[string]int64{}
	for _, o := range offsets.Sorted() {
		out[fmt.Sprintf("%s-%d", o.Topic, o.Partition)] = o.At
	}
	return out
}

// topics is each topic with its id, its partitions and what is set on it.
func topics(t *testing.T, addr string) map[string]string {
	t.Helper()
	ctx := within(t)
	adm := kadm.NewClient(client(t, addr))
	list, err := adm.ListTopicsWithInternal(ctx)
	check(t, err)
	configs, err := adm.DescribeTopicConfigs(ctx, list.Names()...)
	check(t, err)
	out := map[string]string{}
	for name, d := range list {
		set := []string{}
		c, err := configs.On(name, nil)
		check(t, err)
		for _, kv := range c.Configs {
			if kv.Source == 1 { // set on the topic
				set = append(set, kv.Key+"="+kv.MaybeValue())
			}
		}
		slices.Sort(set)
		out[name] = fmt.Sprintf("%s %d %v", d.ID, len(d.Partitions), set)
	}
	return out
}

// served is every record of a topic, as a reader of committed ones sees it.
func served(t *testing.T, addr, topic string) map[string]string {
	t.Helper()
	ctx := within(t)
	ends, err := kadm.NewClient(client(t, addr)).ListEndOffsets(ctx, topic)
	check(t, err)
	cl := client(t, addr, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	out := map[string]string{}
	at := map[int32]int64{}
	for {
		left := false
		ends.Each(func(o kadm.ListedOffset) { left = left || at[o.Partition] < o.Offset })
		if !left {
			return out
		}
		fs := cl.PollFetches(ctx)
		check(t, errors.Join(ctx.Err(), fs.Err()))
		fs.EachRecord(func(r *kgo.Record) {
			at[r.Partition] = r.Offset + 1
			if r.Attrs.IsControl() {
				return
			}
			out[fmt.Sprintf("%d/%d", r.Partition, r.Offset)] = fmt.Sprintf("%s=%s at %d %v %d", r.Key, r.Value,
				r.Timestamp.UnixMilli(), r.Headers, r.Attrs.CompressionType())
		})
	}
}

// same holds what is served now against what was before.
func same(t *testing.T, when string, before, now map[string]string) {
	t.Helper()
	differs := 0
	for k, v := range before {
		if now[k] != v {
			if differs++; differs < 4 {
				t.Errorf("%s: %s was %.120q and is %.120q", when, k, v, now[k])
			}
		}
	}
	if len(now) < len(before) || differs > 0 {
		t.Errorf("%s: %d of %d are different; there are %d", when, differs, len(before), len(now))
	}
}

func all(t *testing.T, addr string) map[string]map[string]string {
	t.Helper()
	out := map[string]map[string]string{}
	for _, topic := range []string{rides, paid} { // profiles is compacted while we look
		out[topic] = served(t, addr, topic)
	}
	return out
}

// latest is the newest value of each key of the compacted topic.
func latest(t *testing.T, addr string) map[string]string {
	t.Helper()
	out := map[string]string{}
	newest := map[string]string{}
	for at, v := range served(t, addr, profiles) {
		key, _, _ := strings.Cut(v, "=")
		if at = fmt.Sprintf("%20s", at); at > newest[key] {
			newest[key], out[key] = at, v
		}
	}
	return out
}

// settled waits until every partition has a leader: Kafka answers Metadata before.
func settled(t *testing.T, addr string) {
	t.Helper()
	ctx := within(t)
	adm := kadm.NewClient(client(t, addr))
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		ends, err := adm.ListEndOffsets(ctx, rides, profiles, paid, "grown", "__consumer_offsets")
		if err == nil {
			err = ends.Error()
		}
		if err == nil {
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("not every partition got a leader: %v", err)
		}
	}
}

// TestAFolderGoesFromKafkaToMoldauAndBack takes one data folder through Kafka, moldau, Kafka and moldau again, each of which
// has to serve what the others wrote, and to go on with groups, topics and configurations.
func TestAFolderGoesFromKafkaToMoldauAndBack(t *testing.T) {
	for _, end := range []string{"SIGTERM", "kill -9"} {
		t.Run(end, func(t *testing.T) { roundTrip(t, end == "SIGTERM") })
	}
}

func roundTrip(t *testing.T, orderly bool) {
	stop := func(b *harness.Broker) {
		if orderly {
			b.Stop(t)
		} else {
			b.Kill(t)
		}
	}
	settings := map[string]string{"offsets.topic.num.partitions": "5", "transaction.state.log.num.partitions": "3",
		"group.initial.rebalance.delay.ms": "0", "log.cleaner.backoff.ms": "500", "group.consumer.assignment.interval.ms": "0",
		"group.consumer.min.assignment.interval.ms": "0"}
	kafka := harness.Start(t, harness.Config{Kind: harness.Kafka, JavaHeap: "512M", Properties: settings})
	fill(t, kafka.Addr)
	records, newest, place, known := all(t, kafka.Addr), latest(t, kafka.Addr), committed(t, kafka.Addr), topics(t, kafka.Addr)
	if len(records[rides]) != 4500 || len(records[paid]) != 4 {
		t.Fatalf("Kafka serves %d and %d records", len(records[rides]), len(records[paid]))
	}
	kiosk := "kiosk"
	one, two, three := &rider{id: "one"}, &rider{id: "two", fixed: &kiosk}, &rider{id: "three"}
	join(t, kafka.Addr, one)
	join(t, kafka.Addr, one, two)
	stop(kafka)

	moldau := harness.Start(t, harness.Config{Kind: harness.Moldau, Properties: settings, DataDir: kafka.DataDir})
	compare := func(when, addr string) {
		t.Helper()
		settled(t, addr)
		for topic, before := range records {
			same(t, when+", "+topic, before, served(t, addr, topic))
		}
		same(t, when+", newest of each key", newest, latest(t, addr))
		same(t, when+", topics", known, topics(t, addr))
		if now := committed(t, addr); !maps.Equal(now, place) {
			t.Errorf("%s: the group is at %v, not at %v", when, now, place)
		}
	}
	compare("moldau after Kafka", moldau.Addr)
	goOn(t, "moldau after Kafka", moldau.Addr, one, two)
	join(t, moldau.Addr, one, two, three)
	append5(t, moldau.Addr, "by moldau", kgo.ProducerBatchCompression(kgo.Lz4Compression()))
	readOn(t, moldau.Addr, 500)
	_, err := kadm.NewClient(client(t, moldau.Addr)).CreateTopic(within(t), 1, 1, nil, "ours")
	check(t, err)
	check(t, client(t, moldau.Addr).ProduceSync(within(t), &kgo.Record{Topic: "ours", Value: []byte("kept")}).FirstErr())
	records, newest, place = all(t, moldau.Addr), latest(t, moldau.Addr), committed(t, moldau.Addr)
	stop(moldau)
	dumpOf(t, moldau)
	decoded(t, moldau, one, two, three)
	kafka.Run(t)
	compare("Kafka after moldau", kafka.Addr)
	goOn(t, "Kafka after moldau", kafka.Addr, one, two, three)
	append5(t, kafka.Addr, "by Kafka again")
	readOn(t, kafka.Addr, 300)
	records, newest, place = all(t, kafka.Addr), latest(t, kafka.Addr), committed(t, kafka.Addr)
	stop(kafka)

	moldau.Run(t)
	compare("moldau again", moldau.Addr)
	goOn(t, "moldau again", moldau.Addr, one, two, three)
	if ours := served(t, moldau.Addr, "ours"); len(ours) != 1 {
		t.Errorf("of our own topic %d records are left", len(ours))
	}
	append5(t, moldau.Addr, "at last")
}

// dumpOf has Kafka's own tool check what moldau has written.
func dumpOf(t *testing.T, b *harness.Broker) {
	t.Helper()
	segments := b.Segments(t, rides, 0)
	last := segments[len(segments)-1]
	r := harness.Tool(t, "dump-log", "--deep-iteration", "--files", last).Want(t, "isvalid: true")
	if strings.Contains(r.Both(), "isvalid: false") {
		t.Errorf("dump-log of %s:\n%s", last, harness.Tail(r.Both(), 20))
	}
	for _, suffix := range []string{".index", ".timeindex"} {
		r := harness.Tool(t, "dump-log", "--index-sanity-check", "--files", strings.TrimSuffix(last, ".log")+suffix)
		r.Want(t)
		if strings.Contains(r.Both(), "Mismatch") || strings.Contains(r.Both(), "corrupt") {
			t.Errorf("%s", harness.Tail(r.Both(), 20))
		}
	}
}
