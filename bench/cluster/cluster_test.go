//go:build bench

// Package cluster measures three moldau brokers next to three of Apache Kafka on this machine, in one run in which they take
// turns, and prints both columns, their ratio and what was aimed at. All six run for the whole time; three are idle while the
// others are measured. Figures are medians over the rounds.
package cluster

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"moldau.io/moldau/compat-tests/harness"
)

var (
	parts     = flag.String("cluster.parts", "failover,produce,drain,topics", "what is measured, with commas")
	kinds     = flag.String("cluster.kinds", "kafka,moldau", "which brokers, with commas")
	failovers = flag.Int("cluster.failovers", 4, "leaders that are killed, every second of them the controller too")
	rounds    = flag.Int("cluster.rounds", 3, "rounds of each load")
	records   = flag.Int("cluster.records", 300_000, "records of 1 KB of each unbounded load in each round")
	events    = flag.Int("cluster.events", 2_000_000, "events that are drained in each round")
	topics    = flag.Int("cluster.topics", 1000, "topics of 10 partitions")
	window    = flag.Duration("cluster.window", 20*time.Second, "for how long idle brokers are watched")
)

// column is what was measured of one kind: by the row's name, a value for each round.
type column map[string][]float64

func (c column) add(row string, value float64) { c[row] = append(c[row], value) }

// row is a line of the table.
type row struct {
	name, unit string
	aim        string // of moldau divided by Apache Kafka
}

var table = []row{
	{"failover of a leader, until a produce is acknowledged", "ms", "<=0.33, <2000"},
	{"  where it is the controller too", "ms", "<=0.33, <2000"},
	{"  slowest", "ms", ""},
	{"produce, franz-go, 16 KB batches, linger 5 ms", "MB/s", ">=1.5"},
	{"  brokers' processor time", "s/GB", ""},
	{"produce, franz-go, 128 KB batches, linger 20 ms", "MB/s", ">=1.5"},
	{"  brokers' processor time, large batches", "s/GB", ""},
	{"produce, producer-perf-test, its defaults", "MB/s", ">=1.5"},
	{"  p99 under that load", "ms", "<=0.5"},
	{"produce, producer-perf-test, 64 KB, linger 10 ms", "MB/s", ">=1.5"},
	{"  p99 under that load, large batches", "ms", "<=0.5"},
	{"produce at 5,000 records/s, p50", "ms", ""},
	{"produce at 5,000 records/s, p99", "ms", "<=0.5"},
	{"produce at 5,000 records/s, p99.9", "ms", ""},
	{"192 partitions drained by a group of 8", "events/s", ">=1, >200000"},
	{"topics of 10 partitions RF 3 made until all brokers know", "s", "<=0.33"},
	{"  of it until the requests were answered", "s", ""},
	{"three idle brokers with these: memory", "MiB", "<=0.2"},
	{"three idle brokers with these: processor", "%", "<=0.2"},
	{"three idle brokers, empty: memory", "MiB", ""},
	{"three idle brokers, empty: processor", "%", ""},
}

// bench is one kind's cluster and column.
type bench struct {
	t *testing.T
	*harness.Cluster
	column
	admin *kadm.Client
}

// TestCluster prints; it asserts nothing about speed, since a shared machine would make that a coin toss.
func TestCluster(t *testing.T) {
	var both []*bench
	columns := map[harness.Kind]column{}
	for _, name := range strings.Split(*kinds, ",") {
		kind := harness.Kind(name)
		b := &bench{t: t, Cluster: harness.StartCluster(t, harness.ClusterConfig{Kind: kind, JavaHeap: "1G"}), column: column{}}
		cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...), kgo.RequestTimeoutOverhead(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cl.Close)
		b.admin = kadm.NewClient(cl)
		columns[kind] = b.column
		both = append(both, b)
	}
	for _, part := range strings.Split(*parts, ",") {
		for _, measure := range map[string][]func(*bench, int){
			"failover": {(*bench).emptyIdle, (*bench).failover},
			"produce":  {(*bench).produce},
			"drain":    {(*bench).drain},
			"topics":   {(*bench).manyTopics},
		}[part] {
			turns(both, part, measure)
		}
	}
	report(columns[harness.Kafka], columns[harness.Moldau])
}

// turns has each kind measured in each round.
func turns(both []*bench, part string, measure func(*bench, int)) {
	n := map[string]int{"failover": *failovers, "topics": 1}[part]
	if n == 0 {
		n = *rounds
	}
	for round := range n {
		for _, b := range both {
			b.t.Logf("%s %d of %d: %s", part, round+1, n, b.Kind)
			measure(b, round)
		}
	}
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

func report(kafka, moldau column) {
	fmt.Printf("\n%-58s %-9s %12s %12s %8s %14s\n", "median of each, three brokers each", "", "Apache Kafka", "moldau", "ratio", "aim")
	for _, r := range table {
		a, b := median(kafka[r.name]), median(moldau[r.name])
		if len(kafka[r.name])+len(moldau[r.name]) > 0 {
			fmt.Printf("%-58s %-9s %12.1f %12.1f %8.2f %14s\n", r.name, r.unit, a, b, b/a, r.aim)
		}
	}
}

// make makes a topic with three replicas of which two must be in sync.
func (b *bench) make(name string, partitions int) {
	b.t.Helper()
	resp, err := b.admin.CreateTopic(b.t.Context(), int32(partitions), 3, map[string]*string{"min.insync.replicas": kadm.StringPtr("2")}, name)
	if err != nil {
		b.t.Fatalf("%s: create %s: %v %s", b.Kind, name, err, resp.ErrMessage)
	}
	b.whole(name)
}

// whole waits until every broker says that every partition of the topics has all replicas in sync.
func (b *bench) whole(topics ...string) {
	b.t.Helper()
	for _, x := range b.Brokers {
		b.until("all replicas are in sync", func() bool {
			resp, err := x.Metadata(b.t.Context(), 30*time.Second, topics...)
			if err != nil {
				return false
			}
			for _, t := range resp.Topics {
				for _, p := range t.Partitions {
					if p.Leader < 0 || len(p.ISR) != 3 {
						return false
					}
				}
				if t.ErrorCode != 0 || len(t.Partitions) == 0 {
					return false
				}
			}
			return true
		})
	}
}

// until waits for cond.
func (b *bench) until(what string, cond func() bool) {
	b.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(5 * time.Minute); !cond(); <-tick.C {
		if time.Now().After(deadline) {
			b.t.Fatalf("%s: not in 5 minutes: %s", b.Kind, what)
		}
	}
}

func (b *bench) remove(topics ...string) {
	b.t.Helper()
	if _, err := b.admin.DeleteTopics(b.t.Context(), topics...); err != nil {
		b.t.Fatalf("%s: delete: %v", b.Kind, err)
	}
}

// used is the processor time of the three brokers.
func (b *bench) used() time.Duration {
	b.t.Helper()
	sum := time.Duration(0)
	for _, x := range b.Brokers {
		_, all, err := harness.CPUTime(x.PID())
		if err != nil {
			b.t.Fatal(err)
		}
		sum += all
	}
	return sum
}

// idle watches the three brokers do nothing.
func (b *bench) idle(row string) {
	b.t.Helper()
	rest(b.t.Context(), 5*time.Second)
	before := b.used()
	rest(b.t.Context(), *window)
	b.add(row+": processor", 100*(b.used()-before).Seconds()/window.Seconds())
	sum := int64(0)
	for _, x := range b.Brokers {
		rss, err := harness.Memory(x.PID(), "VmRSS")
		if err != nil {
			b.t.Fatal(err)
		}
		sum += rss
	}
	b.add(row+": memory", float64(sum)/(1<<20))
}

func (b *bench) emptyIdle(round int) {
	if round == 0 {
		b.idle("three idle brokers, empty")
	}
}

// rest lets time pass, which is what is measured.
func rest(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
