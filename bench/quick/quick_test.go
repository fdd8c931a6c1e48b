//go:build bench

// Package quick measures moldau next to Apache Kafka on this machine, in one alternating run, and prints both columns and
// their ratio. Both brokers run for the whole time, one of them idle while the other is measured; every figure is the
// median over the rounds. The first round warms both up and is not counted.
//
// CPU is what the broker's process used, from /proc, so that the load generator's own cost is not in it.
package quick

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"moldau.io/moldau/compat-tests/harness"
)

var (
	rounds    = flag.Int("quick.rounds", 3, "rounds that are counted")
	megabytes = flag.Int64("quick.mb", 512, "megabytes of each load in each round")
	latency   = flag.Duration("quick.latency", 10*time.Second, "length of the end-to-end load in each round")
)

// TestQuick prints; it asserts nothing about speed, since a shared machine would make that a coin toss.
func TestQuick(t *testing.T) {
	kinds := []harness.Kind{harness.Kafka, harness.Moldau}
	columns := make([]figures, len(kinds))
	brokers := make([]*harness.Broker, len(kinds))
	for i, kind := range kinds {
		measureStarts(t, kind, &columns[i])
	}
	for i, kind := range kinds {
		brokers[i] = harness.Start(t, harness.Config{Kind: kind})
	}
	for i, b := range brokers {
		if err := measureIdle(t.Context(), b, &columns[i]); err != nil {
			t.Fatal(err)
		}
	}
	for round := range *rounds + 1 {
		for i, b := range brokers {
			t.Logf("round %d of %d: %s", round, *rounds, b.Kind)
			into := &columns[i]
			if round == 0 {
				into = &figures{} // warm-up
			}
			if err := measureRound(t.Context(), b, round, into); err != nil {
				t.Fatalf("%s: %v", b.Kind, err)
			}
		}
	}
	for i, b := range brokers {
		peak, err := harness.Memory(b.PID(), "VmHWM")
		if err != nil {
			t.Fatal(err)
		}
		columns[i].peak = append(columns[i].peak, float64(peak)/(1<<20))
	}
	report(columns[0], columns[1])
}

// figures is one broker's column: a list of each round's value.
type figures struct {
	start, idle, peak          []float64 // ms, MiB, MiB
	batched, ready, consumed   []float64 // broker CPU seconds per GB
	batchedUser, readyUser     []float64 // of these, in the broker's own code
	consumedUser               []float64
	p50, p99, p999             []float64 // ms
	batchedMB, readyMB, readMB []float64 // MB/s as the client saw it
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

func report(kafka, moldau figures) {
	fmt.Printf("\n%-52s %12s %12s %8s %8s\n", "median of each", "Apache Kafka", "moldau", "ratio", "aim")
	row := func(name string, k, m []float64, aim string) {
		a, b := median(k), median(m)
		fmt.Printf("%-52s %12.3f %12.3f %8.3f %8s\n", name, a, b, b/a, aim)
	}
	row("broker CPU, s/GB produced, 1 KB records", kafka.batched, moldau.batched, "<=0.5")
	row("broker CPU, s/GB produced, ready 16 KB requests", kafka.ready, moldau.ready, "<=0.5")
	row("broker CPU, s/GB consumed", kafka.consumed, moldau.consumed, "<=0.5")
	row("  of it in the broker's own code: batched", kafka.batchedUser, moldau.batchedUser, "")
	row("  of it in the broker's own code: ready-made", kafka.readyUser, moldau.readyUser, "")
	row("  of it in the broker's own code: consumed", kafka.consumedUser, moldau.consumedUser, "")
	row("end to end at 10,000 msg/s, p50 ms", kafka.p50, moldau.p50, "<=0.5")
	row("end to end at 10,000 msg/s, p99 ms", kafka.p99, moldau.p99, "<=0.5")
	row("end to end at 10,000 msg/s, p99.9 ms", kafka.p999, moldau.p999, "<=0.5")
	row("idle memory, MiB resident", kafka.idle, moldau.idle, "<=0.1")
	row("peak memory, MiB resident", kafka.peak, moldau.peak, "<=0.1")
	row("start to first Metadata answer, ms", kafka.start, moldau.start, "<=0.02")
	row("(client) MB/s produced, 1 KB records", kafka.batchedMB, moldau.batchedMB, "")
	row("(client) MB/s produced, ready 16 KB requests", kafka.readyMB, moldau.readyMB, "")
	row("(client) MB/s consumed", kafka.readMB, moldau.readMB, "")
}

// measureStarts starts the broker several times on a folder that it has used before, from exec to the first answer.
func measureStarts(t *testing.T, kind harness.Kind, f *figures) {
	b := harness.Start(t, harness.Config{Kind: kind})
	for range *rounds {
		b.Stop(t)
		began := time.Now()
		b.Run(t)
		f.start = append(f.start, float64(time.Since(began).Microseconds())/1000)
	}
	b.Stop(t)
}

// measureIdle is the resident memory with one topic, five seconds after it was made.
func measureIdle(ctx context.Context, p *harness.Broker, f *figures) error {
	if err := createTopic(ctx, p.Addr, "idle", 1); err != nil {
		return err
	}
	select {
	case <-time.After(5 * time.Second):
	case <-ctx.Done():
		return ctx.Err()
	}
	rss, err := harness.Memory(p.PID(), "VmRSS")
	f.idle = append(f.idle, float64(rss)/(1<<20))
	return err
}

// touchPages has the kernel use n bytes of page cache and give them back. On a virtual machine the first use of a page
// costs the hypervisor's work, several times what writing to it costs, and whoever is measured first would pay for it.
func touchPages(n int64) error {
	f, err := os.CreateTemp("", "moldau-bench-pages-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	buf := make([]byte, 1<<20)
	for ; n > 0; n -= int64(len(buf)) {
		if _, err := f.Write(buf); err != nil {
			return err
		}
	}
	return nil
}

func measureRound(ctx context.Context, p *harness.Broker, round int, f *figures) error {
	batched, ready, e2e := fmt.Sprintf("batched-%d", round), fmt.Sprintf("ready-%d", round), fmt.Sprintf("e2e-%d", round)
	if err := errors.Join(createTopic(ctx, p.Addr, batched, 6), createTopic(ctx, p.Addr, ready, 1),
		createTopic(ctx, p.Addr, e2e, 1)); err != nil {
		return err
	}
	total := *megabytes << 20
	load := func(cpu, user, rate *[]float64, topic string, work func(context.Context, string, string, int64) error) error {
		if err := touchPages(total + total/4); err != nil {
			return err
		}
		userBefore, before, err := harness.CPUTime(p.PID())
		if err != nil {
			return err
		}
		began := time.Now()
		if err := work(ctx, p.Addr, topic, total); err != nil {
			return err
		}
		took := time.Since(began).Seconds()
		userAfter, after, err := harness.CPUTime(p.PID())
		*cpu = append(*cpu, (after-before).Seconds()/(float64(total)/1e9))
		*user = append(*user, (userAfter-userBefore).Seconds()/(float64(total)/1e9))
		*rate = append(*rate, float64(total)/1e6/took)
		return err
	}
	if err := load(&f.batched, &f.batchedUser, &f.batchedMB, batched, produceBatched); err != nil {
		return fmt.Errorf("produce: %w", err)
	}
	if err := load(&f.consumed, &f.consumedUser, &f.readMB, batched, consume); err != nil {
		return fmt.Errorf("consume: %w", err)
	}
	if err := load(&f.ready, &f.readyUser, &f.readyMB, ready, produceReady); err != nil {
		return fmt.Errorf("produce ready-made requests: %w", err)
	}
	l, err := endToEnd(ctx, p.Addr, e2e, 10_000, *latency)
	if err != nil {
		return fmt.Errorf("end to end: %w", err)
	}
	ms := func(q float64) float64 { return float64(l.at(q).Microseconds()) / 1000 }
	f.p50, f.p99, f.p999 = append(f.p50, ms(.5)), append(f.p99, ms(.99)), append(f.p999, ms(.999))
	return errors.Join(deleteTopic(ctx, p.Addr, batched), deleteTopic(ctx, p.Addr, ready), deleteTopic(ctx, p.Addr, e2e))
}
