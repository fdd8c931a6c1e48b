//go:build compat

package golden

import (
	"context"
	"fmt"
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

// base is the timestamp of most first records, in milliseconds.
const base = int64(1_700_000_000_000)

// story writes what the folders hold.
type story struct {
	t     *testing.T
	b     *harness.Broker
	ctx   context.Context
	cl    *kgo.Client
	round int
}

func newStory(t *testing.T, b *harness.Broker) *story {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	s := &story{t: t, b: b, ctx: ctx}
	s.connect()
	return s
}

func (s *story) connect() { s.cl = s.client(); s.round++ }

func (s *story) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *story) client(opts ...kgo.Opt) *kgo.Client {
	s.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(s.b.Addr), kgo.ProducerLinger(0)}, opts...)...)
	s.must(err)
	s.t.Cleanup(cl.Close)
	return cl
}

// plain is a client whose batches have no producer.
func (s *story) plain(codec kgo.CompressionCodec) *kgo.Client {
	return s.client(kgo.ProducerBatchCompression(codec), kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.AllISRAcks()))
}

func (s *story) topics() {
	small := map[string]string{"internal.segment.bytes": "3000", "index.interval.bytes": "200", "retention.ms": "-1",
		"message.timestamp.after.max.ms": "9223372036854775807"}
	for topic, more := range map[string]map[string]string{
		"codecs":     nil,
		"txn":        {"internal.segment.bytes": "2000"},
		"compact":    {"cleanup.policy": "compact", "internal.segment.bytes": "1500", "min.cleanable.dirty.ratio": "0.01"},
		"compacttxn": {"cleanup.policy": "compact", "internal.segment.bytes": "1500", "min.cleanable.dirty.ratio": "0.01"},
		"appendtime": {"message.timestamp.type": "LogAppendTime"},
		"times":      nil,
		"producers":  nil,
		"deleted":    {"internal.segment.bytes": "1000", "file.delete.delay.ms": "1"},
	} {
		cfg := map[string]*string{}
		for k, v := range small {
			cfg[k] = kadm.StringPtr(v)
		}
		for k, v := range more {
			cfg[k] = kadm.StringPtr(v)
		}
		_, err := kadm.NewClient(s.cl).CreateTopic(s.ctx, 1, 1, cfg, topic)
		s.must(err)
	}
}

// batch has one batch produced: records with a key, a value and a header each.
func (s *story) batch(cl *kgo.Client, topic string, ts int64, n, size int, key func(i int) []byte) {
	s.t.Helper()
	var rs []*kgo.Record
	for i := range n {
		r := &kgo.Record{Topic: topic, Timestamp: time.UnixMilli(ts + int64(i)), Value: value(i, size)}
		if key != nil {
			r.Key = key(i)
		}
		if i%2 == 0 {
			r.Headers = []kgo.RecordHeader{{Key: "h", Value: []byte{byte(i)}}, {Key: "none"}}
		}
		rs = append(rs, r)
	}
	s.must(cl.ProduceSync(s.ctx, rs...).FirstErr())
}

// value compresses well, and is printed by dump-log as it is.
func value(i, size int) []byte {
	return []byte(strings.Repeat(fmt.Sprintf("v%d.", i), size/3+1)[:size])
}

func (s *story) codecs() {
	at := base + int64(s.round)*1_000_000
	for _, codec := range []kgo.CompressionCodec{
		kgo.NoCompression(), kgo.SnappyCompression(),
		kgo.GzipCompression(), kgo.GzipCompression().WithLevel(1), kgo.GzipCompression().WithLevel(9),
		kgo.Lz4Compression(), kgo.Lz4Compression().WithLevel(9),
		kgo.ZstdCompression(), kgo.ZstdCompression().WithLevel(1), kgo.ZstdCompression().WithLevel(9),
	} {
		cl := s.plain(codec)
		s.batch(cl, "codecs", at, 3, 60, nil)
		s.batch(cl, "codecs", at+100, 5, 300, func(i int) []byte { return fmt.Appendf(nil, "key%d", i) })
		s.must(cl.ProduceSync(s.ctx, &kgo.Record{Topic: "codecs", Timestamp: time.UnixMilli(at + 50)}).FirstErr()) // all null
		at += 1000
	}
}

func (s *story) txnClient(id string) *kgo.Client {
	return s.client(kgo.TransactionalID(id), kgo.TransactionTimeout(10*time.Minute), kgo.DefaultProduceTopic("txn"))
}

// transactions interleaves two producers, with markers of both kinds, and a third one outside of transactions.
func (s *story) transactions() {
	one, two := s.txnClient(fmt.Sprintf("one-%d", s.round)), s.txnClient(fmt.Sprintf("two-%d", s.round))
	at := base + int64(s.round)*1_000_000
	for i := range 6 {
		s.must(one.BeginTransaction())
		s.batch(one, "txn", at, 2, 40, nil)
		s.must(two.BeginTransaction())
		s.batch(two, "txn", at+10, 3, 50, nil)
		s.batch(one, "txn", at+20, 1, 40, nil)
		s.must(one.EndTransaction(s.ctx, kgo.TransactionEndTry(i%2 == 0)))
		s.batch(s.cl, "txn", at+30, 2, 20, nil)
		s.batch(two, "txn", at+40, 1, 50, nil)
		s.must(two.EndTransaction(s.ctx, kgo.TransactionEndTry(i%3 == 0)))
		at += 1000
	}
}

// leaveOpen begins a transaction that a kill finds open.
func (s *story) leaveOpen() {
	cl := s.txnClient("open")
	s.must(cl.BeginTransaction())
	s.batch(cl, "txn", base+9_000_000, 3, 40, nil)
	s.batch(s.cl, "txn", base+9_000_100, 3, 40, nil)
}

// compacted overwrites keys, deletes some, and has batches of which nothing will be left.
func (s *story) compacted() {
	key := func(n int) func(int) []byte { return func(i int) []byte { return fmt.Appendf(nil, "k%d", (i+n)%9) } }
	for n := range 12 {
		codec := []kgo.CompressionCodec{kgo.NoCompression(), kgo.Lz4Compression(), kgo.GzipCompression()}[n%3]
		cl := s.client(kgo.ProducerBatchCompression(codec))
		s.batch(cl, "compact", base+int64(n)*1000, 4, 50, key(n))
		s.batch(cl, "compact", base+int64(n)*1000+100, 1, 50, key(n))
		s.must(cl.ProduceSync(s.ctx, &kgo.Record{Topic: "compact", Key: key(n)(2),
			Timestamp: time.UnixMilli(base + int64(n)*1000 + 200)}).FirstErr())
	}
	cl := s.client(kgo.TransactionalID("compacting"), kgo.TransactionTimeout(10*time.Minute))
	for n := range 10 {
		s.must(cl.BeginTransaction())
		s.batch(cl, "compacttxn", base+int64(n)*1000, 3, 60, key(n))
		s.must(cl.EndTransaction(s.ctx, kgo.TransactionEndTry(n%3 > 0)))
		s.batch(s.cl, "compacttxn", base+int64(n)*1000+500, 2, 60, key(n+1))
	}
	for n := range 12 { // the last ones are not cleaned
		s.batch(s.cl, "compact", base+int64(n+20)*1000, 3, 60, key(0))
		s.batch(s.cl, "compacttxn", base+int64(n+20)*1000, 3, 60, key(0))
	}
}

// again has every log hold records of the second leader.
func (s *story) again() {
	for n := range 4 {
		for _, topic := range []string{"compact", "compacttxn", "deleted", "times"} {
			s.batch(s.cl, topic, base+int64(n+40)*1000, 3, 60, func(i int) []byte { return fmt.Appendf(nil, "k%d", i) })
		}
	}
}

// awaitCleaned waits until the cleaner has come to the active segments of both compacted topics.
func (s *story) awaitCleaned() {
	for _, topic := range []string{"compact", "compacttxn"} {
		s.eventually(topic+" is cleaned", func() bool {
			segments := s.b.Segments(s.t, topic, 0)
			active := strings.TrimLeft(strings.TrimSuffix(filepath.Base(segments[len(segments)-1]), ".log"), "0")
			b, _ := os.ReadFile(filepath.Join(s.b.DataDir, "cleaner-offset-checkpoint"))
			return strings.Contains(string(b), fmt.Sprintf("%s 0 %s\n", topic, active))
		})
	}
}

func (s *story) eventually(what string, cond func() bool) {
	s.t.Helper()
	for limit := time.Now().Add(time.Minute); !cond(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(limit) {
			s.t.Fatalf("after a minute it is not so that %s", what)
		}
	}
}

func (s *story) appendTime() {
	for _, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.ZstdCompression()} {
		cl := s.plain(codec)
		for range 4 {
			s.batch(cl, "appendtime", base, 3, 60, nil)
		}
	}
}

// times sends batches with every odd order of timestamps. A client library would not, so they are sent by hand.
func (s *story) times() {
	for _, ts := range [][]int64{
		{base, base, base}, {base + 3, base + 2, base + 1}, {base}, {-1, -1}, {base + 1, -1, base + 5}, {0, 1},
		{base + 1_000_000_000_000, base}, {base + 10}, {base + 1_000_000_000_000}, {base + 20, base + 5, base + 20, base + 7},
		{9_000_000_000_000_000, 5}, {base + 30}, {base + 31}, {base + 31}, {base + 30}, {base + 40, base + 39},
	} {
		for _, size := range []int{20, 250} { // some with an index entry, some without
			b := batch.NewBuilder(batch.BuilderOptions{})
			for i, at := range ts {
				b.Add(at, nil, value(i, size))
			}
			s.raw("times", b.Build())
		}
	}
}

func (s *story) raw(topic string, b batch.Batch) {
	s.t.Helper()
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 10_000
	tp := kmsg.NewProduceRequestTopicPartition()
	tp.Records = b
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.TopicID, t.Partitions = topic, s.topicID(topic), []kmsg.ProduceRequestTopicPartition{tp}
	req.Topics = []kmsg.ProduceRequestTopic{t}
	resp, err := req.RequestWith(s.ctx, s.cl.Broker(1))
	s.must(err)
	if p := resp.Topics[0].Partitions[0]; p.ErrorCode != 0 {
		s.t.Fatalf("produce to %s: %d %v", topic, p.ErrorCode, p.ErrorMessage)
	}
}

func (s *story) topicID(topic string) [16]byte {
	found, err := kadm.NewClient(s.cl).ListTopics(s.ctx, topic)
	s.must(err)
	return found[topic].ID
}

func (s *story) manyProducers() {
	var cls []*kgo.Client
	for range 5 {
		cls = append(cls, s.client())
	}
	for n := range 4 {
		for i, cl := range cls {
			s.batch(cl, "producers", base+int64(n*100+i), 1+i, 90, nil)
		}
	}
}

// deleted has records deleted up to the middle of a batch in the middle of a segment.
func (s *story) deleted() {
	for n := range 20 {
		s.batch(s.cl, "deleted", base+int64(n)*100, 4, 60, nil)
	}
	to := kadm.Offsets{}
	to.Add(kadm.Offset{Topic: "deleted", At: 42})
	_, err := kadm.NewClient(s.cl).DeleteRecords(s.ctx, to)
	s.must(err)
	s.eventually("deleted segments are gone", func() bool {
		left, _ := filepath.Glob(filepath.Join(s.b.DataDir, "deleted-0", "*.deleted"))
		return len(left) == 0 && !strings.HasSuffix(s.b.Segments(s.t, "deleted", 0)[0], "/00000000000000000000.log")
	})
	s.eventually("the start is written down", func() bool {
		b, _ := os.ReadFile(filepath.Join(s.b.DataDir, "log-start-offset-checkpoint"))
		return strings.Contains(string(b), "deleted 0 42")
	})
}
