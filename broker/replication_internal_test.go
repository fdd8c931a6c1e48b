package broker

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"testing"
	"time"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/vfs"
)

// replicas are brokers whose metadata the test decides: each has one of its own, over which the test lays one that all
// share. Nobody takes proposals.
type replicas struct {
	*testing.T
	b    []*Broker // at the index of their id
	addr []string
	deaf map[protocol.BrokerID]bool // brokers that are told nothing
	recs []meta.Record
	at   int64

	configs []meta.Record
	topic   protocol.TopicID
}

func newReplicas(t *testing.T, n int, settings ...string) *replicas {
	t.Helper()
	rs := &replicas{T: t, b: make([]*Broker, n+1), addr: make([]string, n+1), deaf: map[protocol.BrokerID]bool{}, at: 1000,
		topic: protocol.TopicID{7}}
	rs.recs = []meta.Record{meta.ClusterRecord{ID: "AAAAAAAAAAAAAAAAAAAAAA"}}
	for id := 1; id <= n; id++ {
		values := map[string]string{"node.id": strconv.Itoa(id)}
		for i := 0; i+1 < len(settings); i += 2 {
			values[settings[i]] = settings[i+1]
		}
		static, _, err := config.NewStatic(config.Layer{Origin: "the test", Values: values})
		if err != nil {
			t.Fatal(err)
		}
		b, err := New(t.Context(), Config{Static: static, NodeGiven: true, FS: vfs.NewMem(), Dirs: []string{"data"},
			Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		rs.b[id] = b
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		rs.addr[id] = ln.Addr().String()
		at := config.Listener{Name: "PLAINTEXT", Host: "127.0.0.1", Port: int32(ln.Addr().(*net.TCPAddr).Port),
			Protocol: "PLAINTEXT"}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- b.Serve(ctx, Listener{Listener: ln, Advertised: at}) }()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		rs.until("it serves", func() bool { return b.Ready() == nil })
		rs.recs = append(rs.recs, meta.BrokerRecord{Broker: meta.Broker{ID: b.nodeID(), Epoch: b.brokerEpoch(), Incarnation: b.node.Incarnation(), Rack: "rack-" + strconv.Itoa(id),
			Listeners: []meta.Listener{{Name: at.Name, Host: at.Host, Port: at.Port, Protocol: at.Protocol}}}})
	}
	return rs
}

func (rs *replicas) until(what string, f func() bool) {
	rs.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !f() {
		if time.Now().After(deadline) {
			rs.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// assign says who holds the topic "t", whose partitions are all alike, and who leads it.
func (rs *replicas) assign(partitions int, leader protocol.BrokerID, leaderEpoch protocol.Epoch, isr ...protocol.BrokerID) {
	rs.Helper()
	var all []protocol.BrokerID
	for id := range rs.b[1:] {
		all = append(all, protocol.BrokerID(id+1))
	}
	ps := meta.PartitionsRecord{Topic: rs.topic}
	for range partitions {
		ps.Partitions = append(ps.Partitions, meta.Partition{
			Replicas: all, ISR: isr, Leader: leader, LeaderEpoch: leaderEpoch, Epoch: int32(rs.at),
		})
	}
	rs.at++
	im, err := meta.Empty().With(rs.at, append(append([]meta.Record{}, rs.recs...),
		append(rs.configs, meta.TopicRecord{Name: "t", ID: rs.topic}, ps)...)...)
	if err != nil {
		rs.Fatal(err)
	}
	for _, b := range rs.b[1:] {
		if !rs.deaf[b.nodeID()] {
			b.partitions.apply(im)
		}
	}
}

func (rs *replicas) p(id, partition int) *Partition {
	rs.Helper()
	p := rs.b[id].partitions.get(protocol.TopicPartition{Topic: "t", Partition: int32(partition)})
	if p == nil {
		rs.Fatalf("broker %d has no partition %d", id, partition)
	}
	return p
}

// put appends a batch at the leader.
func (rs *replicas) put(id, partition int, text string) {
	rs.Helper()
	if _, err := rs.p(id, partition).append(time.Now(), oneBatch(text), true); err != nil {
		rs.Fatal(err)
	}
}

func oneBatch(text string) batch.Batch {
	b := batch.NewBuilder(batch.BuilderOptions{})
	b.Add(1, nil, []byte(text))
	return b.Build()
}

// contents is all of a replica's log.
func contents(t *testing.T, p *Partition) []byte {
	t.Helper()
	b := p.log.Bounds()
	if b.Start == b.End {
		return nil
	}
	raw, err := p.Read(b.Start, make([]byte, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// same waits until all replicas of a partition have everything, and compares them byte for byte.
func (rs *replicas) same(partition int, end protocol.Offset) {
	rs.Helper()
	for id := range rs.b[1:] {
		p := rs.p(id+1, partition)
		rs.until(fmt.Sprintf("broker %d has everything of %v", id+1, p.id), func() bool {
			return p.log.Bounds().End == end && p.highWatermark() == end
		})
		if id > 0 && !bytes.Equal(contents(rs.T, p), contents(rs.T, rs.p(1, partition))) {
			rs.Errorf("replica %d of partition %d differs from the first", id+1, partition)
		}
	}
}

func TestI09_FollowersCopyTheirLeaderByteForByte(t *testing.T) {
	rs := newReplicas(t, 3)
	rs.assign(4, 1, 5, 1, 2, 3)
	for i := range 40 {
		rs.put(1, i%4, fmt.Sprint("record ", i))
	}
	for i := range 4 {
		rs.same(i, 10)
	}
}

func TestI22_AFollowerCutsOffWhatItsNewLeaderDoesNotHave(t *testing.T) {
	rs := newReplicas(t, 2)
	rs.assign(1, 1, 5, 1, 2)
	rs.put(1, 0, "common")
	rs.same(0, 1)
	rs.assign(1, -1, 6, 1)
	rs.p(1, 0).lead(time.Now(), rs.b[1].partitions.assignment(rs.b[1].image(), // nobody else has heard of this
		&meta.Partition{Replicas: []protocol.BrokerID{1, 2}, ISR: []protocol.BrokerID{1, 2}, Leader: 1, LeaderEpoch: 7},
		rs.p(1, 0).rules.Load()))
	rs.put(1, 0, "lost")
	rs.put(1, 0, "lost, too")
	rs.assign(1, 2, 8, 2, 1)
	rs.put(2, 0, "kept")
	rs.same(0, 2)
}

func TestAckedRecordsAreOnEveryReplicaInSync(t *testing.T) {
	rs := newReplicas(t, 3)
	rs.assign(1, 2, 1, 2, 1, 3)
	p := rs.p(2, 0)
	for i := range protocol.Offset(20) {
		rs.put(2, 0, "x")
		rs.until("it is committed", func() bool { return p.highWatermark() == i+1 })
		for id := 1; id <= 3; id++ {
			if end := rs.p(id, 0).log.Bounds().End; end < i+1 {
				t.Fatalf("offset %d is committed, and the log of broker %d ends at %d", i, id, end)
			}
		}
	}
}

// An answer that is full leaves some partitions for the next one: none is forgotten.
func TestAFollowerGetsEverythingThroughSmallAnswers(t *testing.T) {
	rs := newReplicas(t, 2, "replica.fetch.response.max.bytes", "500", "replica.fetch.max.bytes", "300")
	rs.assign(5, 1, 5, 1, 2)
	for i := range 200 {
		rs.put(1, i%5, fmt.Sprint("a record of some length, so that few fit into an answer: ", i))
	}
	for i := range 5 {
		rs.same(i, 40)
	}
}
