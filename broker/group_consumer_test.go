package broker_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"moldau.io/moldau/broker/brokertest"
)

// Two consumers share a topic, one leaves, the broker restarts, and the other goes on where they were: every record is
// seen, and after the restart none that was committed comes again. Eager and cooperative rebalances look the same to the
// broker and different to the members; with KIP-848 the broker assigns.
func TestConsumersOfAGroupOutliveARestart(t *testing.T) {
	for name, protocol := range map[string][]kgo.Opt{
		"eager":       {kgo.Balancers(kgo.RangeBalancer())},
		"cooperative": {kgo.Balancers(kgo.CooperativeStickyBalancer())},
		"KIP-848":     {kgo.Balancers(kgo.RangeBalancer()), kgo.ServerSideBalancer()},
		"expression":  {kgo.Balancers(kgo.StickyBalancer()), kgo.ServerSideBalancer(), kgo.ConsumeRegex()},
	} {
		t.Run(name, func(t *testing.T) {
			b := brokertest.Start(t, brokertest.Options{Quiet: true, Settings: map[string]string{
				"group.consumer.min.heartbeat.interval.ms": "100", "group.consumer.heartbeat.interval.ms": "100",
				"group.consumer.assignment.interval.ms": "0",
			}})
			createTopic(b.Dial(), "t", 4)
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			client := func(opts ...kgo.Opt) *kgo.Client {
				cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(b.Addr))...)
				if err != nil {
					t.Fatal(err)
				}
				return cl
			}
			member := func() *kgo.Client {
				return client(append(protocol, kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.DisableAutoCommit(),
					kgo.HeartbeatInterval(100*time.Millisecond), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
			}
			produce := func(from, to int) {
				p := client()
				defer p.Close()
				for i := from; i < to; i++ {
					r := &kgo.Record{Topic: "t", Key: fmt.Append(nil, i), Value: fmt.Append(nil, i)}
					if err := p.ProduceSync(ctx, r).FirstErr(); err != nil {
						t.Fatal(err)
					}
				}
			}
			seen := map[string]int{}
			poll := func(c *kgo.Client, until int) {
				for len(seen) < until {
					short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
					fs := c.PollFetches(short)
					cancel()
					fs.EachRecord(func(r *kgo.Record) { seen[string(r.Value)]++ })
					if ctx.Err() != nil {
						t.Fatalf("%d of %d records", len(seen), until)
					}
					if fs.NumRecords() == 0 {
						return
					}
					if err := c.CommitUncommittedOffsets(ctx); err != nil {
						t.Logf("commit: %v", err) // a rebalance came between; the records come again
					}
				}
			}
			produce(0, 100)
			one, two := member(), member()
			for len(seen) < 100 {
				poll(one, 100)
				poll(two, 100)
			}
			two.Close()
			for admin := kadm.NewClient(one); ; { // a rebalance may have refused a commit
				poll(one, 101)
				if err := one.CommitUncommittedOffsets(ctx); err != nil {
					t.Logf("commit: %v", err)
				}
				offsets, err := admin.FetchOffsets(ctx, "g")
				if err != nil {
					t.Fatal(err)
				}
				committed := int64(0)
				offsets.Each(func(o kadm.OffsetResponse) {
					if o.Topic == "t" { // an expression may match more
						committed += o.At
					}
				})
				if committed == 100 {
					break
				}
			}
			one.Close()

			b.Restart()
			produce(100, 150)
			clear(seen)
			three := member()
			defer three.Close()
			for len(seen) < 50 {
				poll(three, 50)
			}
			for i := 100; i < 150; i++ {
				if seen[fmt.Sprint(i)] == 0 {
					t.Errorf("record %d was not seen after the restart", i)
				}
			}
		})
	}
}
