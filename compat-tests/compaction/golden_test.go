//go:build golden

package compaction

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"moldau.io/moldau/compat-tests/harness"
)

// goldenTopics are two topics of one partition, by their message.timestamp.type.
var goldenTopics = map[string]string{"created": "CreateTime", "appended": "LogAppendTime"}

// TestMakeGoldenFolders writes what storage/testdata/compaction holds into the folder that MOLDAU_GOLDEN names: data
// folders of Apache Kafka before and after its cleaner ran, twice. It is run by hand, with the tag golden, once for
// each version of Kafka.
func TestMakeGoldenFolders(t *testing.T) {
	out := os.Getenv("MOLDAU_GOLDEN")
	if out == "" {
		t.Fatal("MOLDAU_GOLDEN names no folder to write to")
	}
	b := harness.Start(t, harness.Config{Kind: harness.Kafka, JavaHeap: "512M", Properties: map[string]string{
		"log.cleaner.enable": "false", "log.cleaner.backoff.ms": "100",
		"log.initial.task.delay.ms": "100", "log.cleaner.dedupe.buffer.size": "2097152",
	}})
	g := &goldenFolders{b: b, out: out}
	g.createTopics(t)
	for _, round := range []string{"1", "2"} {
		g.fill(t, round)
		g.stopAndCopy(t, round+"-before")
		g.cleaner(t, true)
		b.Run(t)
		g.awaitCleaned(t)
		g.stopAndCopy(t, round+"-after")
		g.cleaner(t, false)
		if round == "1" {
			b.Run(t)
		}
	}
}

type goldenFolders struct {
	b   *harness.Broker
	out string
}

func (g *goldenFolders) client(t *testing.T, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(g.b.Addr), kgo.ProducerLinger(50 * time.Millisecond)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (g *goldenFolders) createTopics(t *testing.T) {
	t.Helper()
	admin := kadm.NewClient(g.client(t))
	for topic, kind := range goldenTopics {
		configs := map[string]string{
			"message.timestamp.type": kind, "cleanup.policy": "delete", "internal.segment.bytes": "1500",
			"index.interval.bytes": "200", "min.cleanable.dirty.ratio": "0.01", "delete.retention.ms": "1",
			"retention.ms": "-1", "message.timestamp.after.max.ms": "9223372036854775807",
		}
		asked := map[string]*string{}
		for k, v := range configs {
			asked[k] = kadm.StringPtr(v)
		}
		if _, err := admin.CreateTopic(context.Background(), 1, 1, asked, topic); err != nil {
			t.Fatal(err)
		}
	}
}

// fill writes batches of every kind: without key while the topic may still have such, of each codec, with tombstones,
// in transactions of both outcomes, of producers that write no more.
func (g *goldenFolders) fill(t *testing.T, round string) {
	t.Helper()
	for topic := range goldenTopics {
		if round == "1" {
			g.batch(t, g.client(t), topic, round+" without key", 3, func(int) string { return "" })
			_, err := kadm.NewClient(g.client(t)).AlterTopicConfigs(context.Background(),
				[]kadm.AlterConfig{{Op: kadm.SetConfig, Name: "cleanup.policy", Value: kadm.StringPtr("compact")}}, topic)
			if err != nil {
				t.Fatal(err)
			}
		}
		codecs := []kgo.CompressionCodec{
			kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression(),
		}
		for i, codec := range codecs {
			c := g.client(t, kgo.ProducerBatchCompression(codec))
			for n := range 3 {
				g.batch(t, c, topic, fmt.Sprintf("%s codec %d batch %d", round, i, n), 5,
					func(r int) string { return fmt.Sprintf("key-%d", (i+n+r)%9) })
			}
		}
		plain := g.client(t, kgo.DisableIdempotentWrite(), kgo.ProducerBatchCompression(kgo.NoCompression()))
		g.batch(t, plain, topic, "", 3, func(r int) string { return fmt.Sprintf("key-%d", r) }) // tombstones
		g.batch(t, plain, topic, round+" plain", 4, func(r int) string { return fmt.Sprintf("own-%s-%d", round, r%2) })
		for i, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit, kgo.TryAbort} {
			c := g.client(t, kgo.TransactionalID(fmt.Sprintf("%s-%s-%d", topic, round, i/2)),
				kgo.ProducerBatchCompression(codecs[i]))
			if err := c.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			value := fmt.Sprintf("%s transaction %d", round, i)
			g.batch(t, c, topic, value, 3, func(r int) string { return fmt.Sprintf("key-%d", 4+r) })
			if i == 2 {
				g.batch(t, c, topic, "", 1, func(int) string { return "key-8" })
			}
			g.batch(t, plain, topic, value+" beside", 2, func(r int) string { return fmt.Sprintf("key-%d", 6+r) })
			if err := c.EndTransaction(context.Background(), end); err != nil {
				t.Fatal(err)
			}
			c.Close()
		}
		g.batch(t, plain, topic, round+" last", 6, func(r int) string { return fmt.Sprintf("key-%d", r%3) })
		g.batch(t, plain, topic, strings.Repeat(round, 1300), 1, func(int) string { return "long" })
		g.batch(t, plain, topic, round+" active", 2, func(r int) string { return fmt.Sprintf("key-%d", r) })
	}
}

// batch writes one batch. An empty value is a tombstone, an empty key none.
func (g *goldenFolders) batch(t *testing.T, c *kgo.Client, topic, value string, n int, key func(i int) string) {
	t.Helper()
	var rs []*kgo.Record
	for i := range n {
		r := &kgo.Record{Topic: topic, Headers: []kgo.RecordHeader{{Key: "n", Value: []byte{byte('0' + i)}}}}
		if k := key(i); k != "" {
			r.Key = []byte(k)
		}
		if value != "" {
			r.Value = fmt.Appendf(nil, "%s record %d", value, i)
		}
		rs = append(rs, r)
	}
	if err := c.ProduceSync(context.Background(), rs...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func (g *goldenFolders) stopAndCopy(t *testing.T, name string) {
	t.Helper()
	g.b.Stop(t)
	to := filepath.Join(g.out, name)
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(g.b.DataDir, func(from string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(g.b.DataDir, from)
		top := strings.Split(rel, string(filepath.Separator))[0]
		switch base := filepath.Base(from); {
		case strings.HasPrefix(top, "__"), base == ".lock", base == "bootstrap.checkpoint",
			strings.HasSuffix(base, ".deleted"):
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		b, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// cleaner switches the broker's cleaner, for its next start.
func (g *goldenFolders) cleaner(t *testing.T, on bool) {
	t.Helper()
	name := filepath.Join(filepath.Dir(g.b.DataDir), "server.properties")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	from, to := "log.cleaner.enable=false", "log.cleaner.enable=true"
	if !on {
		from, to = to, from
	}
	if err := os.WriteFile(name, []byte(strings.Replace(string(b), from, to, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// awaitCleaned waits until the cleaner has come to the last segment of each topic.
func (g *goldenFolders) awaitCleaned(t *testing.T) {
	t.Helper()
	pause := time.NewTicker(100 * time.Millisecond)
	defer pause.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-pause.C {
		text, _ := os.ReadFile(filepath.Join(g.b.DataDir, "cleaner-offset-checkpoint"))
		done := 0
		for topic := range goldenTopics {
			segments := g.b.Segments(t, topic, 0)
			var base int64
			fmt.Sscanf(filepath.Base(segments[len(segments)-1]), "%d.log", &base)
			if strings.Contains(string(text), fmt.Sprintf("%s 0 %d\n", topic, base)) {
				done++
			}
		}
		if done == len(goldenTopics) {
			return
		}
	}
	t.Fatal("the cleaner does not come to an end")
}
