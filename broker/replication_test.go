package broker_test

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
	"moldau.io/moldau/protocol"
)

// fleet is a cluster with a topic "t" on all of its brokers, and clients that write down what was acknowledged.
type fleet struct {
	*testing.T
	brokers []*brokertest.Broker
	id      protocol.TopicID
	parts   int32

	mu    sync.Mutex
	acked map[int32]map[int64]string // by partition and offset
}

func newFleet(t *testing.T, n int, parts int32, o brokertest.Options, configs ...string) *fleet {
	t.Helper()
	o.Quiet = true
	f := &fleet{T: t, brokers: brokertest.StartCluster(t, n, o), parts: parts, acked: map[int32]map[int64]string{}}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 20_000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "t", parts, int16(n)
	for i := 0; i+1 < len(configs); i += 2 {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = configs[i], &configs[i+1]
		topic.Configs = append(topic.Configs, c)
	}
	req.Topics = append(req.Topics, topic)
	resp := f.brokers[0].Dial().Do(brokertest.At(7, req)).(*kmsg.CreateTopicsResponse)
	if resp.Topics[0].ErrorCode != 0 {
		t.Fatalf("%+v", resp)
	}
	f.id = resp.Topics[0].TopicID
	for _, b := range f.brokers {
		f.whole(b)
	}
	return f
}

// partition is what a broker says of one partition.
func partition(m *kmsg.MetadataResponse, i int32) kmsg.MetadataResponseTopicPartition {
	for _, t := range m.Topics {
		for _, p := range t.Partitions {
			if t.Topic != nil && *t.Topic == "t" && p.Partition == i {
				return p
			}
		}
	}
	return kmsg.MetadataResponseTopicPartition{Leader: -1}
}

// whole waits until a broker says that every replica of every partition is in sync.
func (f *fleet) whole(b *brokertest.Broker) {
	f.Helper()
	b.AwaitMetadata("all replicas in sync", func(m *kmsg.MetadataResponse) bool {
		for i := range f.parts {
			if p := partition(m, i); p.Leader < 0 || len(p.ISR) != len(f.brokers) {
				return false
			}
		}
		return true
	})
}

func (f *fleet) client(opts ...kgo.Opt) *kgo.Client {
	f.Helper()
	var seeds []string
	for _, b := range f.brokers {
		seeds = append(seeds, b.Addr)
	}
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(seeds...), kgo.DefaultProduceTopic("t"),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(20 * time.Millisecond),
		kgo.RetryTimeout(60 * time.Second), kgo.ProducerLinger(0)}, opts...)...)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(cl.Close)
	return cl
}

// load writes until stop is called, which returns when all of it is acknowledged.
func (f *fleet) load() (stop func()) {
	ctx, cancel := context.WithCancel(f.Context())
	var wg sync.WaitGroup
	for w := range f.parts {
		cl := f.client()
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				value := fmt.Sprintf("%d-%d", w, i)
				r := cl.ProduceSync(context.Background(), &kgo.Record{Partition: w, Value: []byte(value)})
				if err := r.FirstErr(); err != nil {
					f.Errorf("record %s: %v", value, err)
					return
				}
				f.note(r[0].Record)
			}
		})
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

func (f *fleet) note(r *kgo.Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.acked[r.Partition] == nil {
		f.acked[r.Partition] = map[int64]string{}
	}
	f.acked[r.Partition][r.Offset] = string(r.Value)
}

// count is how many records were acknowledged.
func (f *fleet) count() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.acked {
		n += len(p)
	}
	return n
}

// more waits until n more records are acknowledged.
func (f *fleet) more(n int) {
	f.Helper()
	want := f.count() + n
	for deadline := time.Now().Add(60 * time.Second); f.count() < want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			f.Fatalf("%d records were acknowledged, waited for %d", f.count(), want)
		}
	}
}

// read is everything of a partition that one broker has, leader or not.
func (f *fleet) read(b *brokertest.Broker, part int32) (raw []byte, hw int64) {
	f.Helper()
	c := b.Dial()
	for offset := int64(0); ; {
		req := brokertest.At(11, kmsg.NewPtrFetchRequest())
		req.MaxBytes, req.SessionEpoch, req.ReplicaID = 64<<20, -1, -1
		t := kmsg.NewFetchRequestTopic()
		t.Topic = "t"
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.PartitionMaxBytes = part, offset, 64<<20
		t.Partitions = append(t.Partitions, p)
		req.Topics = append(req.Topics, t)
		got := c.Do(req).(*kmsg.FetchResponse).Topics[0].Partitions[0]
		if got.ErrorCode != 0 {
			f.Fatalf("partition %d: %v", part, protocol.Code(got.ErrorCode))
		}
		if len(got.RecordBatches) == 0 {
			return raw, got.HighWatermark
		}
		raw = append(raw, got.RecordBatches...)
		for rest := got.RecordBatches; len(rest) > 0; {
			var rb kmsg.RecordBatch
			if err := rb.ReadFrom(rest); err != nil {
				f.Fatal(err)
			}
			offset = rb.FirstOffset + int64(rb.LastOffsetDelta) + 1
			rest = rest[12+rb.Length:]
		}
	}
}

// verify waits for the cluster to be whole and finds every acknowledged record where it was acknowledged, on every replica,
// which are the same byte for byte.
func (f *fleet) verify() {
	f.Helper()
	for _, b := range f.brokers {
		f.whole(b)
	}
	for part := range f.parts {
		var first []byte
		for i, b := range f.brokers {
			raw, hw := f.read(b, part)
			for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
				if _, leads := f.read(f.leader(part), part); leads == hw {
					break
				}
				raw, hw = f.read(b, part)
			}
			if i == 0 {
				first = raw
				f.find(raw, part)
			} else if !bytes.Equal(raw, first) {
				f.Errorf("partition %d: broker %d has %d bytes, broker 1 has %d, or others", part, i+1, len(raw), len(first))
			}
		}
	}
}

func (f *fleet) leader(part int32) *brokertest.Broker {
	f.Helper()
	var id int32
	for _, b := range f.brokers {
		if b.Ready() == nil {
			b.AwaitMetadata("a leader", func(m *kmsg.MetadataResponse) bool {
				id = partition(m, part).Leader
				return id > 0
			})
			break
		}
	}
	return f.brokers[id-1]
}

// find looks for what was acknowledged.
func (f *fleet) find(raw []byte, part int32) {
	f.Helper()
	seen := map[string]int64{}
	for len(raw) > 0 {
		var rb kmsg.RecordBatch
		if err := rb.ReadFrom(raw); err != nil {
			f.Fatal(err)
		}
		raw = raw[12+rb.Length:]
		records := rb.Records
		for range rb.NumRecords {
			var r kmsg.Record
			if err := r.ReadFrom(records); err != nil {
				f.Fatal(err)
			}
			length, n := varint(records)
			records = records[n+length:]
			at := rb.FirstOffset + int64(r.OffsetDelta)
			if before, twice := seen[string(r.Value)]; twice {
				f.Errorf("I-04: %s is at the offsets %d and %d of partition %d", r.Value, before, at, part)
			}
			seen[string(r.Value)] = at
		}
	}
	for at, value := range f.acked[part] {
		if got, ok := seen[value]; !ok || got != at {
			f.Errorf("I-01: %s was acknowledged at offset %d of partition %d; it is at %d, %v", value, at, part, got, ok)
		}
	}
}

func varint(b []byte) (value, n int) {
	var u uint
	for shift := 0; ; shift += 7 {
		u |= uint(b[n]&0x7f) << shift
		n++
		if b[n-1] < 0x80 {
			return int(u>>1) ^ -int(u&1), n
		}
	}
}

func TestI01_I04_I10_KillsLoseNothingThatWasAcknowledged(t *testing.T) {
	f := newFleet(t, 3, 4, brokertest.Options{})
	stop := f.load()
	f.more(200)
	for _, b := range f.brokers {
		b.Kill()
		f.more(200)
		b.Restart()
		b.AwaitReady()
		f.whole(b)
		f.more(100)
	}
	stop()
	f.verify()
}

func TestI01_I10_StopsFailNoRequestForLong(t *testing.T) {
	f := newFleet(t, 3, 4, brokertest.Options{})
	stop := f.load()
	f.more(200)
	for _, b := range f.brokers {
		b.Stop()
		f.more(200)
		b.Restart()
		b.AwaitReady()
		f.whole(b)
	}
	stop()
	f.verify()
}

func TestI23_TooFewInSync(t *testing.T) {
	f := newFleet(t, 3, 1, brokertest.Options{}, "min.insync.replicas", "2")
	stop := f.load()
	f.more(50)
	lead := f.leader(0)
	var others []*brokertest.Broker
	for _, b := range f.brokers {
		if b != lead {
			others = append(others, b)
		}
	}
	others[0].Kill()
	f.more(50) // two are enough
	others[0].Restart()
	others[0].AwaitReady()
	f.whole(lead)
	stop()
	f.verify()
}

func TestL01_AFollowerThatWasCutOffComesBack(t *testing.T) {
	f := newFleet(t, 3, 2, brokertest.Options{})
	stop := f.load()
	f.more(100)
	away := "1"
	if f.leader(0) == f.brokers[0] {
		away = "2"
	}
	f.brokers[0].Switch().Isolate(away)
	f.more(200)
	f.brokers[0].Switch().HealAll()
	for _, b := range f.brokers {
		f.whole(b)
	}
	f.more(50)
	stop()
	f.verify()
}

// TestALeaderThatIsCutOffGivesWritesUp: long before the client's own patience ends. The client would hear of the new leader
// first, write there, and come with what it had asked this one for when that is out of order.
func TestALeaderThatIsCutOffGivesWritesUp(t *testing.T) {
	f := newFleet(t, 3, 1, brokertest.Options{})
	for _, b := range f.brokers {
		b.AwaitVoters(3)
	}
	lead := f.leader(0)
	for i, b := range f.brokers {
		if b == lead {
			b.Switch().Isolate(strconv.Itoa(i + 1))
		}
	}
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 120_000
	topic, part := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	topic.Topic, part.Records = "t", records(1, 10)
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	resp := lead.Dial().Do(brokertest.At(9, req)).(*kmsg.ProduceResponse)
	if code := protocol.Code(resp.Topics[0].Partitions[0].ErrorCode); code != protocol.NotLeaderOrFollower {
		t.Errorf("answered with %v", code)
	}
	lead.Switch().HealAll()
}
