package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// devRunner is dev in this process, with its commands and events.
type devRunner struct {
	*testing.T
	stdin  *io.PipeWriter
	events chan devEvent
	code   chan int
	boot   devEvent // of the cluster
}

func startDev(t *testing.T, args ...string) *devRunner {
	t.Helper()
	in, stdin := io.Pipe()
	out, stdout := io.Pipe()
	d := &devRunner{T: t, stdin: stdin, events: make(chan devEvent, 1000), code: make(chan int, 1)}
	args = append([]string{
		"dev", "-o", "json", "--listen", "127.0.0.1:0", "--cluster-listen", "127.0.0.1:0", "--admin-listen=",
		"--set", "offsets.topic.num.partitions=3",
	}, args...)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		d.code <- run(ctx, world{stdin: in, stdout: stdout, stderr: devLog{t}, environ: cleanEnv()}, args)
		_ = stdout.Close()
	}()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(d.events)
		for s := bufio.NewScanner(out); s.Scan(); {
			var e devEvent
			if err := json.Unmarshal(s.Bytes(), &e); err != nil {
				t.Errorf("%s: %v", s.Bytes(), err)
			}
			d.events <- e
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		_ = stdin.Close()
	})
	d.boot = d.await("cluster")
	return d
}

type devLog struct{ t *testing.T }

func (l devLog) Write(p []byte) (int, error) {
	l.t.Logf("%s", p)
	return len(p), nil
}

// await takes events until one of that name comes.
func (d *devRunner) await(event string) devEvent {
	d.Helper()
	limit := time.After(2 * testTime)
	for {
		select {
		case e, ok := <-d.events:
			if !ok {
				d.Fatalf("dev ended before %q", event)
			}
			if e.Event == event {
				return e
			}
			if e.Error != "" {
				d.Fatalf("%+v instead of %q", e, event)
			}
		case <-limit:
			d.Fatalf("%q never came", event)
		}
	}
}

// do gives a command and waits for what it leads to.
func (d *devRunner) do(command, event string) devEvent {
	d.Helper()
	if _, err := fmt.Fprintln(d.stdin, command); err != nil {
		d.Fatal(err)
	}
	return d.await(event)
}

func (d *devRunner) status() devReport {
	d.Helper()
	return *d.do("status", "status").Status
}

// quit ends the cluster and gives the exit code.
func (d *devRunner) quit() int {
	d.Helper()
	if _, err := fmt.Fprintln(d.stdin, "quit"); err != nil {
		d.Fatal(err)
	}
	return <-d.code
}

func (d *devRunner) client(opts ...kgo.Opt) *kgo.Client {
	d.Helper()
	opts = append(opts, kgo.SeedBrokers(strings.Split(d.boot.Bootstrap, ",")...), kgo.MetadataMinAge(20*time.Millisecond))
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(cl.Close)
	return cl
}

// produce writes n records to topic t, acknowledged by all in-sync replicas.
func (d *devRunner) produce(cl *kgo.Client, n int) {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), testTime)
	defer cancel()
	for i := range n {
		r := kgo.StringRecord(fmt.Sprint(i))
		r.Topic = "t"
		if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
			d.Fatalf("record %d: %v", i, err)
		}
	}
}

// records counts what topic t holds.
func (d *devRunner) records() int64 {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), testTime)
	defer cancel()
	ends, err := kadm.NewClient(d.client()).ListEndOffsets(ctx, "t")
	if err := orError(err, ends.Error()); err != nil {
		d.Fatal(err)
	}
	total := int64(0)
	ends.Each(func(o kadm.ListedOffset) { total += o.Offset })
	return total
}

func orError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestDevIsAClusterThatCanBeBroken: each broker is killed, stopped and cut off in turn, clients go on, and all is there
// afterwards, also in the next run.
func TestDevIsAClusterThatCanBeBroken(t *testing.T) {
	dir := t.TempDir()
	d := startDev(t, "--brokers", "3", "--data", dir, "--racks", "a,b,c")
	cl := d.client(kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	ctx, cancel := context.WithTimeout(t.Context(), testTime)
	defer cancel()
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, 6, -1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	d.do("wait", "in-step")
	if r := d.status(); r.Controller == 0 || r.Partitions != 6 || r.Leaderless+r.UnderReplicated > 0 || len(r.Brokers) != 3 ||
		r.Brokers[0].Leads != 2 || r.Brokers[1].Replicas != 6 || !r.Brokers[2].Voter {
		t.Fatalf("%+v", r)
	}
	d.produce(cl, 60)

	clean := func(broker int) bool {
		_, err := os.Stat(filepath.Join(dir, fmt.Sprint("broker-", broker), ".kafka_cleanshutdown"))
		return err == nil
	}
	for _, n := range []int{d.status().Controller, 1, 2, 3} {
		d.do(fmt.Sprint("kill ", n), "killed")
		d.produce(cl, 20)
		if r := d.status(); r.Brokers[n-1].State != "killed" || r.Controller == n {
			t.Errorf("after kill %d: %+v", n, r)
		}
		if clean(n) {
			t.Errorf("broker %d was killed, and its folder says that it was stopped in order", n)
		}
		d.do(fmt.Sprint("start ", n), "ready")
		d.do("wait", "in-step")
	}
	d.do("stop 2", "stopped")
	if !clean(2) {
		t.Error("broker 2 was stopped, and its folder does not say so")
	}
	d.produce(cl, 20)
	d.do("start 2", "ready")
	d.do("wait", "in-step")

	leader := d.status().Controller
	d.do(fmt.Sprint("isolate ", leader), "isolated")
	if r := d.status(); strings.Join(r.Cuts, ",") != fmt.Sprint(leader) {
		t.Errorf("%+v", r)
	}
	// Clients still reach the broker that is alone, and are told by it that it leads: they must give it up after a time.
	d.produce(d.client(kgo.ProduceRequestTimeout(time.Second)), 20)
	d.do("heal", "healed")
	d.do("wait", "in-step")
	if got := d.records(); got < 180 {
		t.Errorf("%d records of 180 are there", got)
	}
	if code := d.quit(); code != exitOK {
		t.Errorf("exit code %d", code)
	}

	again := startDev(t, "--brokers", "3", "--data", dir)
	if again.boot.ClusterID != d.boot.ClusterID {
		t.Errorf("cluster %s became %s", d.boot.ClusterID, again.boot.ClusterID)
	}
	again.do("wait", "in-step")
	if got := again.records(); got < 180 {
		t.Errorf("%d records of 180 are there after all were stopped", got)
	}
	if code := again.quit(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

func TestDevSaysWhatDoesNotWork(t *testing.T) {
	d := startDev(t, "--brokers", "1")
	for command, want := range map[string]string{
		"explode": `"explode" is not known`, "kill": "kill wants 1 of the brokers 1 to 1", "kill 2": "there are the brokers 1 to 1",
		"cut 1 1": "a link has two ends", "start 1": "broker 1 runs already", "sleep": "seconds are wanted", "wait x": "seconds",
	} {
		if _, err := fmt.Fprintln(d.stdin, command); err != nil {
			t.Fatal(err)
		}
		if e := <-d.events; e.Event != "error" || !strings.Contains(e.Error, want) {
			t.Errorf("%s: %+v", command, e)
		}
	}
	if _, err := os.Stat(d.boot.Data); err != nil {
		t.Error(err)
	}
	if code := d.quit(); code != exitFailure {
		t.Errorf("exit code %d of a script of which something failed", code)
	}
	if _, err := os.Stat(d.boot.Data); err == nil {
		t.Errorf("%s is still there", d.boot.Data)
	}
	for _, args := range [][]string{{"--brokers", "0"}, {"--listen", "nowhere"}, {"--set", "x"}} {
		if code, _, stderr := command(t, nil, append([]string{"dev"}, args...)...); code != exitUsage {
			t.Errorf("%v: exit code %d, %s", args, code, stderr)
		}
	}
}
