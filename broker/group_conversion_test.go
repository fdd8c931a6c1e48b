package broker_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
)

// roller is a group of three members, of which one after the other is replaced by one of the other protocol while records
// come in: the new one is there before the old one leaves, so that the others give something up and get it back.
type roller struct {
	t   *testing.T
	ctx context.Context
	b   *brokertest.Broker

	mu     sync.Mutex
	owners map[int32]string
	seen   map[string]int
	faults []string

	changed chan struct{} // has a token when any of that did
}

func (r *roller) change() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

func (r *roller) fault(format string, args ...any) {
	r.faults = append(r.faults, fmt.Sprintf(format, args...))
}

// member starts a member; it reads until the returned function is called, which returns when it has left.
func (r *roller) member(name string, classic bool) (stop func()) {
	opts := []kgo.Opt{
		kgo.SeedBrokers(r.b.Addr), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.DisableAutoCommit(),
		kgo.ClientID(name), kgo.HeartbeatInterval(50 * time.Millisecond), kgo.FetchMaxWait(50 * time.Millisecond),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, got map[string][]int32) {
			defer r.change()
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, p := range got["t"] {
				if o := r.owners[p]; o != "" {
					r.fault("partition %d is given to %s while %s has it", p, name, o)
				}
				r.owners[p] = name
			}
		}),
		kgo.OnPartitionsRevoked(func(ctx context.Context, c *kgo.Client, gone map[string][]int32) {
			_ = c.CommitUncommittedOffsets(ctx)
			r.release(name, gone)
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
			r.release(name, gone)
			if len(gone["t"]) > 0 {
				r.mu.Lock()
				r.fault("%s lost %v", name, gone)
				r.mu.Unlock()
			}
		}),
	}
	if !classic {
		opts = append(opts, kgo.Balancers(kgo.StickyBalancer()), kgo.ServerSideBalancer())
	}
	c, err := kgo.NewClient(opts...)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(r.ctx)
	var done sync.WaitGroup
	done.Go(func() {
		for ctx.Err() == nil {
			fs := c.PollFetches(ctx)
			r.mu.Lock()
			fs.EachRecord(func(rec *kgo.Record) { r.seen[string(rec.Value)]++ })
			r.mu.Unlock()
			r.change()
			if fs.NumRecords() > 0 {
				_ = c.CommitUncommittedOffsets(ctx)
			}
		}
	})
	return func() {
		cancel()
		done.Wait()
		c.Close()
	}
}

func (r *roller) release(name string, gone map[string][]int32) {
	defer r.change()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range gone["t"] {
		if r.owners[p] == name {
			delete(r.owners, p)
		}
	}
}

// until waits for ok, which is called with the lock held.
func (r *roller) until(what string, ok func() bool) {
	r.t.Helper()
	for {
		r.mu.Lock()
		done, faults := ok(), strings.Join(r.faults, "; ")
		state := fmt.Sprintf("owners %v, %d records seen", r.owners, len(r.seen))
		r.mu.Unlock()
		switch {
		case faults != "":
			r.t.Fatalf("%s: %s", what, faults)
		case done:
			return
		case r.ctx.Err() != nil:
			r.t.Fatalf("%s: not in time: %s", what, state)
		}
		select {
		case <-r.changed:
		case <-r.ctx.Done():
		}
	}
}

// A live group goes over to the consumer protocol, one member after the other, and back (rule 105). No partition is read by
// two members at a time, none is lost, and every record is seen.
func TestRule105_ALiveGroupOfRealClientsChangesItsProtocol(t *testing.T) {
	b := brokertest.Start(t, brokertest.Options{Quiet: true, Settings: map[string]string{
		"group.consumer.min.heartbeat.interval.ms": "50", "group.consumer.heartbeat.interval.ms": "50",
		"group.consumer.assignment.interval.ms": "0", "group.initial.rebalance.delay.ms": "0",
	}})
	createTopic(b.Dial(), "t", 6)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r := &roller{t: t, ctx: ctx, b: b, owners: map[int32]string{}, seen: map[string]int{}, changed: make(chan struct{}, 1)}
	p, err := kgo.NewClient(kgo.SeedBrokers(b.Addr), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	made := 0
	settled := func(what string, members int) {
		t.Helper()
		for range 60 {
			rec := &kgo.Record{Topic: "t", Value: fmt.Append(nil, made)}
			if err := p.ProduceSync(ctx, rec).FirstErr(); err != nil {
				t.Fatal(err)
			}
			made++
		}
		// All in balance means that no rebalance goes on: a group that is converted while one does answers the JoinGroups that
		// wait with REBALANCE_IN_PROGRESS, as Kafka does, upon which this client gives everything up.
		r.until(what, func() bool {
			held, most := map[string]int{}, 0
			for _, o := range r.owners {
				held[o]++
				most = max(most, held[o])
			}
			return len(r.owners) == 6 && len(held) == members && most == 2 && len(r.seen) == made
		})
	}
	kind := func() string {
		list := b.Dial().Do(brokertest.At(5, kmsg.NewPtrListGroupsRequest())).(*kmsg.ListGroupsResponse)
		return list.Groups[0].GroupType
	}
	stops := make([]func(), 3)
	for i := range stops {
		stops[i] = r.member(fmt.Sprint("old", i), true)
	}
	settled("all classic", 3)
	for i := range stops {
		old := stops[i]
		stops[i] = r.member(fmt.Sprint("new", i), false)
		settled(fmt.Sprintf("one more, and %d of the consumer protocol", i+1), 4)
		old()
		settled(fmt.Sprintf("%d of the consumer protocol", i+1), 3)
		if got := kind(); got != "consumer" {
			t.Errorf("with %d members of the consumer protocol the group is %s", i+1, got)
		}
	}
	for i := range stops {
		old := stops[i]
		stops[i] = r.member(fmt.Sprint("back", i), true)
		settled(fmt.Sprintf("one more, and %d classic again", i+1), 4)
		old()
		settled(fmt.Sprintf("%d classic again", i+1), 3)
	}
	if got := kind(); got != "classic" {
		t.Errorf("in the end the group is %s", got)
	}
	for _, stop := range stops {
		stop()
	}
}
