//go:build compat

package cluster

import (
	"bytes"
	"context"
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
	"golang.org/x/sys/unix"

	"moldau.io/moldau/compat-tests/harness"
)

// patience is how long a story waits for what must come. It is no measure of anything.
const patience = 90 * time.Second

// now is the clock of the histories.
func now() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Nano()
}

// stage is a cluster, its clients, and what they saw.
type stage struct {
	t       *testing.T
	cluster *harness.Cluster
	java    *javaActors
	ctx     context.Context
	admin   *kadm.Client
	began   time.Time

	topics  []string
	writers []actor
	readers []actor

	mu     sync.Mutex
	seen   History
	counts map[string]*count // by name
	change chan struct{}     // closed and replaced when seen has grown
}

// actor is a client that runs until it is closed.
type actor struct {
	name  string
	topic string
	style Style
	grow  func(partitions int) // nil for those that see it themselves
	close func()               // asks it to end; Closed follows
}

// count is what a story waits for.
type count struct {
	sent, acked, next map[string]int64 // by partition: number of the newest value; offset after the newest read
	unknown, errors   int
	closed            bool
}

func newStage(t *testing.T, java *javaActors, cfg harness.ClusterConfig) *stage {
	t.Helper()
	s := &stage{t: t, java: java, ctx: t.Context(), began: time.Now(), counts: map[string]*count{}, change: make(chan struct{})}
	s.cluster = harness.StartCluster(t, cfg)
	client, err := kgo.NewClient(kgo.SeedBrokers(s.cluster.Addrs()...), kgo.RequestTimeoutOverhead(2*time.Second),
		kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	s.admin = kadm.NewClient(client)
	t.Cleanup(func() {
		if t.Failed() {
			s.keep()
		}
	})
	return s
}

// say logs what happens, with the story's time.
func (s *stage) say(format string, args ...any) {
	s.t.Helper()
	s.t.Logf("%6.2f s: %s", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
}

// keep writes the history and what the brokers wrote down.
func (s *stage) keep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var text bytes.Buffer
	for _, e := range s.seen.Sorted() {
		fmt.Fprintln(&text, e)
	}
	keepFile(s.t, "history", text.Bytes())
	for i, b := range s.cluster.Brokers {
		log, _ := os.ReadFile(b.LogFile)
		keepFile(s.t, fmt.Sprintf("broker-%d.log", i+1), log)
	}
}

// keepFile keeps a file of a failed test where MOLDAU_COMPAT_KEEP says.
func keepFile(t *testing.T, name string, content []byte) {
	dir := os.Getenv("MOLDAU_COMPAT_KEEP")
	if dir == "" {
		return
	}
	full := filepath.Join(dir, strings.ReplaceAll(t.Name(), "/", "-")+"."+name)
	t.Logf("kept: %s (%v)", full, os.WriteFile(full, content, 0o644))
}

func (s *stage) add(events ...Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range events {
		s.seen = append(s.seen, e)
		s.of(e.Who).add(e)
	}
	close(s.change)
	s.change = make(chan struct{})
}

// of is called with mu.
func (s *stage) of(who string) *count {
	c := s.counts[who]
	if c == nil {
		c = &count{sent: map[string]int64{}, acked: map[string]int64{}, next: map[string]int64{}}
		s.counts[who] = c
	}
	return c
}

func (c *count) add(e Event) {
	switch e.Kind {
	case Sent:
		_, _, c.sent[e.Partition], _ = parseValue(e.Value)
	case Acked:
		_, _, n, _ := parseValue(e.Value)
		c.acked[e.Partition] = max(c.acked[e.Partition], n)
	case Read:
		c.next[e.Partition] = max(c.next[e.Partition], e.Offset+1)
	case Unknown:
		c.unknown++
	case Error:
		c.errors++
	case Closed:
		c.closed = true
	}
}

// await waits until what is known satisfies cond, which is called with mu and says what is missing.
func (s *stage) await(what string, cond func() string) {
	s.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	rest := time.NewTicker(10 * time.Millisecond)
	defer rest.Stop()
	var gone <-chan struct{}
	if s.java != nil {
		gone = s.java.process.Done()
	}
	for {
		<-rest.C // there may be thousands of changes a second
		s.mu.Lock()
		missing, change := cond(), s.change
		s.mu.Unlock()
		if missing == "" {
			return
		}
		select {
		case <-change:
		case <-gone:
			s.t.Fatalf("%s: the Java clients are gone", what)
		case <-limit.C:
			s.t.Fatalf("%s: not in %v: %s\n%s", what, patience, missing, s.troubles())
		}
	}
}

// troubles are the newest errors that clients were told.
func (s *stage) troubles() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	for _, e := range s.seen {
		if e.Kind == Error || e.Kind == Unknown || e.Kind == Refused {
			lines = append(lines, e.String())
		}
	}
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// flowing waits until each writer has had something acknowledged in every partition that it sent from now on.
func (s *stage) flowing() {
	s.t.Helper()
	began := time.Now()
	s.mu.Lock()
	before := map[string]map[string]int64{}
	for _, w := range s.writers {
		before[w.name] = map[string]int64{}
		for p, n := range s.of(w.name).sent {
			before[w.name][p] = n
		}
	}
	s.mu.Unlock()
	s.await("everybody writes again", func() string {
		var missing []string
		for _, w := range s.writers {
			for p, n := range before[w.name] {
				if s.of(w.name).acked[p] <= n {
					missing = append(missing, w.name+" of "+p)
				}
			}
			if len(s.of(w.name).acked) == 0 {
				missing = append(missing, w.name)
			}
		}
		slices.Sort(missing)
		return strings.Join(missing, ", ")
	})
	s.say("everybody has written in every partition, %.2f s later", time.Since(began).Seconds())
}

// topic makes a topic with replicas on three brokers, two of which must be in sync.
func (s *stage) topic(name string, partitions int) {
	s.t.Helper()
	s.topicWith(name, partitions, map[string]*string{"min.insync.replicas": kadm.StringPtr("2")})
}

func (s *stage) topicWith(name string, partitions int, configs map[string]*string) {
	s.t.Helper()
	resp, err := s.admin.CreateTopic(s.ctx, int32(partitions), 3, configs, name)
	if err != nil {
		s.t.Fatalf("create %s: %v %s", name, err, resp.ErrMessage)
	}
	s.topics = append(s.topics, name)
}

// open takes an actor into the play.
func (s *stage) open(actors ...actor) {
	for _, a := range actors {
		switch a.style {
		case Idempotent, Plain, Careless:
			s.writers = append(s.writers, a)
		default:
			s.readers = append(s.readers, a)
		}
	}
}

// end closes actors and waits until they are closed.
func (s *stage) end(actors []actor) {
	s.t.Helper()
	for _, a := range actors {
		a.close()
	}
	s.await("the clients have ended", func() string {
		var missing []string
		for _, a := range actors {
			if !s.of(a.name).closed {
				missing = append(missing, a.name)
			}
		}
		return strings.Join(missing, ", ")
	})
}
