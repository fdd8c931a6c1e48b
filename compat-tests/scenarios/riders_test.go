//go:build compat

package scenarios

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"moldau.io/moldau/compat-tests/harness"
)

const (
	riders     = 700_000
	ticks      = 23 // 16.1 million updates in all
	rideTopic  = "rider-locations"
	partitions = 12
)

// TestRidersReachTheDatabaseAndTheSocketServer follows 700,000 riders. Each sends its position at every tick. The group
// "database" (two members that share the work) and the group "socket" (one member) each get every update exactly once,
// and no rider ever goes back in time.
func TestRidersReachTheDatabaseAndTheSocketServer(t *testing.T) {
	b := harness.Start(t, harness.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	createTopic(t, b.Addr, rideTopic, partitions)

	database, socket := newGroup("database"), newGroup("socket")
	var members sync.WaitGroup
	for _, g := range []*riderGroup{database, database, socket} {
		members.Go(func() { g.read(ctx, b.Addr) })
	}
	// The groups settle first, so that "exactly once" speaks of the broker and not of a hand-over between members.
	awaitMembers(t, ctx, b.Addr, map[string]int{"database": 2, "socket": 1})

	began := time.Now()
	if err := ride(ctx, b.Addr); err != nil {
		t.Fatal(err)
	}
	produced := time.Since(began)
	members.Wait()
	read := time.Since(began)

	for _, g := range []*riderGroup{database, socket} {
		if err := g.verdict(); err != nil {
			t.Errorf("group %s: %v", g.name, err)
		}
	}
	total := float64(riders * ticks)
	t.Logf("%d updates: produced at %.0f/s, read by both groups at %.0f/s each (%.1f s in all)",
		riders*ticks, total/produced.Seconds(), total/read.Seconds(), read.Seconds())
}

// ride produces every rider's update for every tick, tick after tick.
func ride(ctx context.Context, addr string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DefaultProduceTopic(rideTopic),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(5*time.Millisecond),
		kgo.MaxBufferedRecords(100_000))
	if err != nil {
		return err
	}
	defer cl.Close()
	var failed atomic.Pointer[error]
	promise := func(_ *kgo.Record, err error) {
		if err != nil {
			failed.CompareAndSwap(nil, &err)
		}
	}
	for tick := range ticks {
		for rider := range riders {
			key, value := update(rider, tick)
			cl.Produce(ctx, &kgo.Record{Key: key, Value: value}, promise)
		}
		if p := failed.Load(); p != nil {
			return *p
		}
	}
	return cl.Flush(ctx)
}

// update is one location update of about 120 bytes; the rider and the tick stand at its front.
func update(rider, tick int) (key, value []byte) {
	buf := make([]byte, 0, 128)
	buf = strconv.AppendInt(buf, int64(rider), 10)
	n := len(buf)
	buf = append(buf, buf...)
	buf = append(buf, ' ')
	buf = strconv.AppendInt(buf, int64(tick), 10)
	buf = append(buf, ` {"lat":50.0`...)
	buf = strconv.AppendInt(buf, int64(10000+rider%89999), 10)
	buf = append(buf, `,"lon":14.4`...)
	buf = strconv.AppendInt(buf, int64(10000+(rider*7+tick)%89999), 10)
	buf = append(buf, `,"speed":31,"bearing":184,"city":"praha","on_trip":true,"shift":2}`...)
	return buf[:n:n], buf[n:]
}

// parse reads what update wrote.
func parse(value []byte) (rider, tick int, err error) {
	numbers := [2]int{}
	at := 0
	for i := range numbers {
		start := at
		for at < len(value) && value[at] >= '0' && value[at] <= '9' {
			numbers[i] = numbers[i]*10 + int(value[at]-'0')
			at++
		}
		if at == start || at == len(value) || value[at] != ' ' {
			return 0, 0, fmt.Errorf("not a location update: %q", value)
		}
		at++
	}
	return numbers[0], numbers[1], nil
}

// riderGroup is what the members of one consumer group have seen together.
type riderGroup struct {
	name  string
	seen  atomic.Int64
	next  []atomic.Int32 // by rider: the tick that must come next
	wrong atomic.Pointer[error]
	done  context.CancelFunc
	ended context.Context
}

func newGroup(name string) *riderGroup {
	g := &riderGroup{name: name, next: make([]atomic.Int32, riders)}
	g.ended, g.done = context.WithCancel(context.Background())
	return g
}

func (g *riderGroup) fail(err error) {
	g.wrong.CompareAndSwap(nil, &err)
	g.done()
}

// read is one member's life: it ends when the group has seen everything, or something wrong.
func (g *riderGroup) read(ctx context.Context, addr string) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumerGroup(g.name), kgo.ConsumeTopics(rideTopic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		g.fail(err)
		return
	}
	defer cl.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(g.ended, cancel)
	for g.ended.Err() == nil {
		fetches := cl.PollFetches(ctx)
		if g.ended.Err() != nil {
			return
		}
		if err := fetches.Err(); err != nil {
			g.fail(err)
			return
		}
		fetches.EachRecord(g.take)
	}
}

func (g *riderGroup) take(r *kgo.Record) {
	rider, tick, err := parse(r.Value)
	if err != nil || rider >= riders || string(r.Key) != strconv.Itoa(rider) {
		g.fail(fmt.Errorf("%d@%d: key %q, value %q: %w", r.Partition, r.Offset, r.Key, r.Value, err))
		return
	}
	if want := g.next[rider].Add(1) - 1; int(want) != tick {
		g.fail(fmt.Errorf("rider %d at %d@%d: tick %d came where %d was due", rider, r.Partition, r.Offset, tick, want))
		return
	}
	if g.seen.Add(1) == riders*ticks {
		g.done()
	}
}

func (g *riderGroup) verdict() error {
	if p := g.wrong.Load(); p != nil {
		return *p
	}
	for rider := range g.next {
		if got := g.next[rider].Load(); got != ticks {
			return fmt.Errorf("rider %d: %d of %d updates were seen (%d in all)", rider, got, ticks, g.seen.Load())
		}
	}
	return nil
}

// awaitMembers waits until every group is stable with that many members and all its partitions are given out.
func awaitMembers(t *testing.T, ctx context.Context, addr string, want map[string]int) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for group, members := range want {
		for {
			d, err := kadm.NewClient(cl).DescribeGroups(ctx, group)
			if g := d[group]; err == nil && g.State == "Stable" && len(g.Members) == members {
				break
			}
			select {
			case <-ctx.Done():
				t.Fatalf("group %s has not settled with %d members: %+v, %v", group, members, d[group], err)
			case <-tick.C:
			}
		}
	}
}
