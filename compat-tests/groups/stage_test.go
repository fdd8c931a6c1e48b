//go:build compat

package groups

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sys/unix"

	"moldau.io/moldau/compat-tests/harness"
)

// patience is how long a story waits for what must come. It is no measure of anything.
const patience = 60 * time.Second

// now is the clock of the histories.
func now() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Nano()
}

// stage is a broker, the client programs, and what their members saw. The stories share it.
type stage struct {
	t      *testing.T
	broker *harness.Broker
	client *kgo.Client

	starting sync.Mutex // admits one at a time to start a program

	mu       sync.Mutex
	programs map[string]*program
	seen     History
	groups   map[string]*sight
	change   chan struct{} // closed and replaced when seen has grown
}

// sight is what one group has come to, kept up with its history so that waiting is cheap.
type sight struct {
	owner  map[string]string // partition to member
	read   map[string]int64  // partition to the offset after the last record
	kinds  map[string]int    // "member kind" to how often
	failed string
}

// properties make groups quick where the defaults are for large clusters, on both brokers.
var properties = map[string]string{
	"group.initial.rebalance.delay.ms":         "0",
	"group.min.session.timeout.ms":             "1000",
	"group.consumer.min.session.timeout.ms":    "1000",
	"group.consumer.min.heartbeat.interval.ms": "100",
	"group.consumer.heartbeat.interval.ms":     "200",
}

func newStage(t *testing.T, kind harness.Kind) *stage {
	t.Helper()
	s := &stage{t: t, broker: harness.Start(t, harness.Config{Kind: kind, Properties: properties}),
		programs: map[string]*program{}, groups: map[string]*sight{}, change: make(chan struct{})}
	client, err := kgo.NewClient(kgo.SeedBrokers(s.broker.Addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	s.client = client
	return s
}

// program is one process that runs members.
type program struct {
	process *harness.Process
	stdin   *os.File
	part    []byte // of a line
	stage   *stage
}

// Write takes what the program writes to its history.
func (p *program) Write(text []byte) (int, error) {
	p.part = append(p.part, text...)
	var events History
	for {
		line, rest, ok := bytes.Cut(p.part, []byte("\n"))
		if !ok {
			break
		}
		p.part = rest
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			e = Event{At: now(), Kind: Failed, Why: fmt.Sprintf("%q is no event: %v", line, err)}
		}
		events = append(events, e)
	}
	p.part = bytes.Clone(p.part)
	p.stage.add(events)
	return len(text), nil
}

func (s *stage) add(events History) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, events...)
	for i := range events {
		s.sight(events[i].Group).add(&events[i])
	}
	close(s.change)
	s.change = make(chan struct{})
}

// sight is called with mu.
func (s *stage) sight(group string) *sight {
	g := s.groups[group]
	if g == nil {
		g = &sight{owner: map[string]string{}, read: map[string]int64{}, kinds: map[string]int{}}
		s.groups[group] = g
	}
	return g
}

func (g *sight) add(e *Event) {
	g.kinds[e.Member+" "+string(e.Kind)]++
	switch e.Kind {
	case Assigned:
		for _, p := range e.Partitions {
			g.owner[p] = e.Member
		}
	case Polled:
		g.read[e.Partition] = max(g.read[e.Partition], e.Offset+1)
	case Revoked, Lost, Fenced, Closed:
		end(g.owner, e)
	case Failed:
		g.failed = e.Member + ": " + e.Why
	}
}

// start starts a program under a name of its own, or returns the one that runs.
func (s *stage) start(t *testing.T, kind, name string) *program {
	t.Helper()
	s.starting.Lock()
	defer s.starting.Unlock()
	s.mu.Lock()
	p := s.programs[name]
	s.mu.Unlock()
	if p != nil {
		return p
	}
	var argv []string
	switch kind {
	case "java":
		argv = harness.Java(harness.JavaBuild(s.t, "compat-tests/groups/java", "java-4.4"), "Members")
	case "franz-go":
		argv = []string{harness.GoBuild(s.t, "compat-tests/groups/franz-go")}
	case "kafkajs":
		argv = []string{"env", "NODE_PATH=" + filepath.Join(harness.Cache(), "node", "node_modules"), harness.Node(),
			filepath.Join(harness.Root(), "compat-tests/groups/kafkajs/members.cjs")}
	default:
		argv = []string{harness.Python(), filepath.Join(harness.Root(), "compat-tests/groups/python/members.py")}
	}
	argv = append(argv, s.broker.Addr)
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p = &program{stdin: out, stage: s}
	p.process = harness.SpawnTo(s.t, in, p, argv...)
	in.Close()
	s.t.Cleanup(func() {
		out.Close()
		if s.t.Failed() {
			s.t.Logf("%s wrote to stderr:\n%s", name, harness.Tail(p.process.Stderr(), 40))
		}
	})
	s.mu.Lock()
	s.programs[name] = p
	s.mu.Unlock()
	return p
}

// story is one test on the stage.
type story struct {
	*stage
	t *testing.T
}

// member says how a member is opened. Its name is its own in its group.
type member struct {
	program  string // java, confluent-kafka, franz-go, kafkajs
	process  string // the program's own name; default: one process for all members of program
	name     string
	group    string
	topics   string // with commas
	pattern  string
	protocol string // range, cooperative, consumer
	options  string // further words of the command
}

// command names the member to its program, which runs those of several groups.
func (m member) command() string { return m.group + "/" + m.name }

func (s *story) program(m member) *program {
	s.t.Helper()
	name := m.process
	if name == "" {
		name = m.program
	}
	return s.start(s.t, m.program, name)
}

// open starts members and waits until they have subscribed.
func (s *story) open(ms ...member) {
	s.t.Helper()
	for _, m := range ms {
		words := []string{"open", m.command(), "name=" + m.name, "group=" + m.group, "protocol=" + m.protocol, m.options}
		if m.pattern != "" {
			words = append(words, "pattern="+m.pattern)
		} else {
			words = append(words, "topics="+m.topics)
		}
		if m.protocol != "consumer" && !strings.Contains(m.options, "session=") {
			words = append(words, "session=20000", "heartbeat=200")
		}
		s.command(m, Opened, strings.Join(words, " "))
	}
}

// tell gives members a command and waits for the event that follows from it.
func (s *story) tell(verb string, then Kind, ms ...member) {
	s.t.Helper()
	for _, m := range ms {
		s.command(m, then, verb+" "+m.command())
	}
}

func (s *story) close(ms ...member) {
	s.t.Helper()
	s.tell("close", Closed, ms...)
}

func (s *story) command(m member, then Kind, line string) {
	s.t.Helper()
	p := s.program(m)
	key := m.name + " " + string(then)
	s.mu.Lock()
	before := s.sight(m.group).kinds[key]
	s.mu.Unlock()
	if _, err := fmt.Fprintln(p.stdin, line); err != nil {
		s.t.Fatalf("%s: %v", line, err)
	}
	s.await(m.group, line, func(g *sight) bool { return g.kinds[key] > before })
}

// resume lets members poll again that hold still.
func (s *story) resume(ms ...member) {
	s.t.Helper()
	for _, m := range ms {
		if _, err := fmt.Fprintln(s.program(m).stdin, "go "+m.command()); err != nil {
			s.t.Fatalf("%s: %v", m.name, err)
		}
	}
}

// await waits until what is known of a group satisfies cond.
func (s *story) await(group, what string, cond func(*sight) bool) {
	s.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		s.mu.Lock()
		g := s.sight(group)
		ok, change, failed := cond(g), s.change, g.failed+s.sight("").failed
		state := fmt.Sprint(g.owner, g.read)
		s.mu.Unlock()
		switch {
		case ok:
			return
		case failed != "":
			s.t.Fatalf("%s: %s: %s", group, what, failed)
		}
		select {
		case <-change:
		case <-limit.C:
			s.t.Fatalf("%s: not seen in %v: %s; owners and read: %s\n%s", group, patience, what, state,
				s.tail(group))
		}
	}
}

// tail is what a group did last beside reading.
func (s *story) tail(group string) string {
	var lines strings.Builder
	h := s.history(group).where(func(e *Event) bool { return e.Kind != Polled && e.Kind != Committed })
	for _, e := range h[max(0, len(h)-60):] {
		fmt.Fprintf(&lines, "%.3f %s %s %v %s\n", time.Duration(e.At).Seconds(), e.Member, e.Kind, e.Partitions, e.Why)
	}
	return lines.String()
}

// history is what a group saw so far.
func (s *story) history(group string) History {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Sorted(s.seen.Of(group))
}

// owned are the members of a group with how many partitions each has.
func (g *sight) owned() map[string]int {
	n := map[string]int{}
	for _, m := range g.owner {
		n[m]++
	}
	return n
}

// awaitSpread waits until the broker says that a group has that many members and is stable, and the histories that all
// the partitions are with members, each with a number of them that is in want.
func (s *story) awaitSpread(group string, members, partitions int, want ...int) {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		state, n := s.describe(group)
		s.mu.Lock()
		g := s.sight(group)
		owned, total, failed := g.owned(), len(g.owner), g.failed+s.sight("").failed
		s.mu.Unlock()
		ok := state == "Stable" && n == members && total == partitions
		for _, count := range owned {
			ok = ok && (want == nil || slices.Contains(want, count))
		}
		if ok {
			return
		}
		if failed != "" || time.Now().After(deadline) {
			s.t.Fatalf("%s: not stable with %d members and %d partitions, %v each, in %v: %s, %d members, %v; %s\n%s", group,
				members, partitions, want, patience, state, n, owned, failed, s.tail(group))
		}
		<-tick.C
	}
}

// describe is the state of a group and how many members it has, by whichever protocol it is.
func (s *story) describe(group string) (state string, members int) {
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	modern := kmsg.NewPtrConsumerGroupDescribeRequest()
	modern.Groups = []string{group}
	if resp, err := modern.RequestWith(ctx, s.client); err == nil && len(resp.Groups) == 1 &&
		resp.Groups[0].ErrorCode == 0 {
		return resp.Groups[0].State, len(resp.Groups[0].Members)
	}
	classic := kmsg.NewPtrDescribeGroupsRequest()
	classic.Groups = []string{group}
	resp, err := classic.RequestWith(ctx, s.client)
	if err != nil || len(resp.Groups) != 1 {
		return fmt.Sprint(err), 0
	}
	return resp.Groups[0].State, len(resp.Groups[0].Members)
}

// kind is the type of a group as the broker lists it, in lower case.
func (s *story) kind(group string) string {
	s.t.Helper()
	resp, err := kmsg.NewPtrListGroupsRequest().RequestWith(s.t.Context(), s.client)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, g := range resp.Groups {
		if g.Group == group {
			return strings.ToLower(g.GroupType)
		}
	}
	return ""
}

// awaitRead waits until a group has read what is written.
func (s *story) awaitRead(group string, w *writer) {
	s.t.Helper()
	written := w.written()
	s.await(group, fmt.Sprintf("all of %v read", written), func(g *sight) bool {
		for p, n := range written {
			if g.read[p] < n {
				return false
			}
		}
		return true
	})
}

// check fails the test for everything that is wrong.
func (s *story) check(what string, errs ...error) {
	s.t.Helper()
	for _, err := range errs {
		if err != nil {
			s.t.Errorf("%s: %v", what, err)
		}
	}
}

// writer writes a topic: the records of each partition one after the other, and their values say where they are.
type writer struct {
	s      *story
	topic  string
	client *kgo.Client

	mu   sync.Mutex
	next []int64 // by partition
	stop func()
}

// topic makes a topic and its writer.
func (s *story) topic(name string, partitions int) *writer {
	s.t.Helper()
	if _, err := kadm.NewClient(s.client).CreateTopic(s.t.Context(), int32(partitions), 1, nil, name); err != nil {
		s.t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(s.broker.Addr), kgo.DefaultProduceTopic(name),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.UnknownTopicRetries(-1)) // Kafka may take a while to tell of a topic that it has made
	if err != nil {
		s.t.Fatal(err)
	}
	w := &writer{s: s, topic: name, client: client, next: make([]int64, partitions), stop: func() {}}
	s.t.Cleanup(func() { w.stop(); client.Close() })
	return w
}

// write writes n more records to every partition.
func (w *writer) write(n int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var records []*kgo.Record
	for range n {
		for p := range w.next {
			value := Value(fmt.Sprintf("%s-%d", w.topic, p), w.next[p])
			records = append(records, &kgo.Record{Partition: int32(p), Value: []byte(value)})
			w.next[p]++
		}
	}
	// A record whose fate is unknown would leave the values out of step with the offsets, so that the test ends here.
	return w.client.ProduceSync(context.Background(), records...).FirstErr()
}

func (w *writer) burst(n int) {
	w.s.t.Helper()
	if err := w.write(n); err != nil {
		w.s.t.Fatal(err)
	}
}

// run writes a record to every partition at every interval, until stop.
func (w *writer) run(interval time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	w.stop = func() {
		cancel()
		<-done
		w.stop = func() {}
	}
	go func() {
		defer close(done)
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if err := w.write(1); err != nil {
					w.s.t.Errorf("write to %s: %v", w.topic, err)
					return
				}
			}
		}
	}()
}

// written is how many records each partition has, by "topic-0".
func (w *writer) written() map[string]int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := map[string]int64{}
	for p, next := range w.next {
		n[fmt.Sprintf("%s-%d", w.topic, p)] = next
	}
	return n
}

// awaitMore waits until a group has read n more records of every partition that a member has.
func (s *story) awaitMore(group string, n int64) {
	s.t.Helper()
	s.mu.Lock()
	before := map[string]int64{}
	for p := range s.sight(group).owner {
		before[p] = s.sight(group).read[p]
	}
	s.mu.Unlock()
	s.await(group, fmt.Sprintf("%d more records of every partition", n), func(g *sight) bool {
		for p, read := range before {
			if g.read[p] < read+n {
				return false
			}
		}
		return true
	})
}
