package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"moldau.io/moldau/broker"
)

// mortal is a real client whose connections can be cut for good, as those of a machine that loses its power.
type mortal struct {
	*kgo.Client
	mu    sync.Mutex
	conns []net.Conn
	dead  bool
}

func newMortal(t *testing.T, s *shell, clientID, group string, session time.Duration) *mortal {
	t.Helper()
	m := &mortal{}
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.bootstrap), kgo.ClientID(clientID), kgo.ConsumerGroup(group),
		kgo.ConsumeTopics("t"), kgo.Dialer(m.dial), kgo.SessionTimeout(session), kgo.HeartbeatInterval(session/5),
		kgo.SoftwareNameAndVersion("mortal-client", "1.2.3"), kgo.DisableAutoCommit(),
		kgo.Balancers(kgo.RangeBalancer()))
	if err != nil {
		t.Fatal(err)
	}
	m.Client = cl
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			m.PollFetches(ctx)
		}
	}()
	t.Cleanup(func() {
		m.kill()
		cancel()
		<-done
		m.CloseAllowingRebalance()
	})
	return m
}

func (m *mortal) dial(ctx context.Context, network, host string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, host)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil && m.dead {
		_ = c.Close()
		err = errors.New("dead")
	}
	if err != nil {
		return nil, err
	}
	m.conns = append(m.conns, c)
	return c, nil
}

func (m *mortal) kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
	for _, c := range m.conns {
		_ = c.Close()
	}
}

// why is what the command says of a group, asked again until it is so.
func (s *shell) why(admin, group string, ok func(*broker.GroupDetail) bool) *broker.GroupDetail {
	s.Helper()
	for end := time.Now().Add(testTime); ; {
		d := &broker.GroupDetail{}
		code, out, _ := s.try("", "group", "why", group, "--admin", admin, "-o", "json")
		if code == 0 && json.Unmarshal([]byte(out), d) == nil && ok(d) {
			return d
		}
		if time.Now().After(end) {
			s.Fatalf("it did not become so: %s", s.do("group", "why", group, "--admin", admin))
		}
	}
}

func TestGroupWhyAMemberWasKilled(t *testing.T) {
	b := start(t, t.TempDir(), nil, "--set", "group.initial.rebalance.delay.ms=0", "--set", "group.min.session.timeout.ms=100")
	s := &shell{t, b.kafka}
	s.do("topic", "create", "t", "-p", "2")
	s.feed(numbers(1, 10), "produce", "t", "-p", "1")
	newMortal(t, s, "stays", "database", 10*time.Second)
	settled := func(members int) func(*broker.GroupDetail) bool {
		return func(d *broker.GroupDetail) bool {
			return d.State == "Stable" && len(d.Members) == members && d.Last != nil && d.Last.Ended != nil
		}
	}
	s.why(b.admin, "database", settled(1))
	dies := newMortal(t, s, "dies", "database", 3*time.Second)
	d := s.why(b.admin, "database", settled(2))
	if d.Last.Cause != "member-joined" || d.Last.ClientID != "dies" {
		t.Errorf("why it rebalanced before: %+v", d.Last)
	}
	dies.kill()
	d = s.why(b.admin, "database", settled(1))

	reason := regexp.MustCompile(`^member dies-[0-9a-f-]{36} on 127\.0\.0\.1 missed its heartbeat for [0-9.]+ s$`)
	if l := d.Last; l.Cause != "session-timeout" || !reason.MatchString(l.Reason) || l.ClientID != "dies" || l.Host != "127.0.0.1" ||
		l.Software != "mortal-client 1.2.3" || l.Left != 1 || l.Seconds <= 0 || l.Members != 1 {
		t.Errorf("the last rebalance: %+v", l)
	}
	if d.Members[0].ClientID != "stays" || d.Members[0].Software != "mortal-client 1.2.3" {
		t.Errorf("who is there: %+v", d.Members)
	}
	var events []string
	for _, e := range d.Journal {
		events = append(events, e.Event)
	}
	if got := strings.Join(events, " "); !strings.HasSuffix(got, "joined rebalancing rebalanced expired rebalancing rebalanced") {
		t.Errorf("the journal: %s", got)
	}

	table := s.do("group", "why", "database", "--admin", b.admin)
	for _, want := range []string{
		"group database  state Stable  type classic", "last rebalance", "missed its heartbeat for", "mortal-client 1.2.3",
		"0 joined, 1 gone", "TIME", "expired",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("the table does not say %q:\n%s", want, table)
		}
	}
	line := b.await(`msg="group has rebalanced" group=database generation=3 members=1`)
	for _, want := range []string{"cause=session-timeout", "missed its heartbeat for", "client=dies", "host=127.0.0.1", "left=1"} {
		if !strings.Contains(line, want) {
			t.Errorf("the log's line does not say %q: %s", want, line)
		}
	}

	var views []groupView
	s.object(&views, "group", "describe", "database", "--admin", b.admin)
	if l := views[0].LastRebalance; l == nil || l.Cause != "session-timeout" || !reason.MatchString(l.Reason) {
		t.Errorf("describe: %+v", l)
	}
	if text := s.do("group", "describe", "database", "--admin", b.admin); !strings.Contains(text, "missed its heartbeat for") {
		t.Errorf("describe:\n%s", text)
	}
	metrics := b.page("/metrics")
	for _, want := range []string{
		`moldau_group_rebalances_total{cause="session-timeout"} 1`, `moldau_group_rebalance_seconds_count 3`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics do not say %s", want)
		}
	}
}

// page reads a page of the admin listener.
func (s *served) page(path string) string {
	s.Helper()
	resp, err := http.Get("http://" + s.admin + path)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		s.Fatalf("%s: %s %v", path, resp.Status, err)
	}
	return string(body)
}

// TestGroupLagOfAConsumerThatStops: it has read 4 of 10 records, and no exporter is needed to see that.
func TestGroupLagOfAConsumerThatStops(t *testing.T) {
	b := start(t, t.TempDir(), nil, "--set", "group.initial.rebalance.delay.ms=0")
	s := &shell{t, b.kafka}
	s.do("topic", "create", "t")
	s.feed(numbers(1, 10), "produce", "t")
	produced := time.Now()
	s.do("consume", "t", "-g", "a/b", "--from", "beginning", "-n", "4")
	d := s.why(b.admin, "a/b", func(d *broker.GroupDetail) bool { return d.Lag != nil && d.State == "Empty" })
	if len(d.Partitions) != 1 || *d.Lag != 6 || d.LagSeconds == nil || *d.LagSeconds < 0 ||
		*d.LagSeconds > time.Since(produced).Seconds()+testTime.Seconds() {
		t.Errorf("%+v", d)
	}
	if p := d.Partitions[0]; p.Topic != "t" || p.Committed != 4 || p.End != 10 || p.Lag != 6 || p.LagSeconds == nil {
		t.Errorf("%+v", p)
	}
	if metrics := b.page("/metrics"); !strings.Contains(metrics, `moldau_group_lag{group="a/b",partition="0",topic="t"} 6`) {
		t.Error("the metrics do not say so")
	}
	var views []groupView
	s.object(&views, "group", "describe", "a/b", "--admin", b.admin)
	if v := views[0]; v.LagSeconds == nil || v.Partitions[0].LagSeconds == nil || v.LastRebalance == nil {
		t.Errorf("describe: %+v", v)
	}
	s.feed(numbers(1, 6), "consume", "t", "-g", "a/b", "-n", "6")
	d = s.why(b.admin, "a/b", func(d *broker.GroupDetail) bool { return d.Lag != nil && *d.Lag == 0 })
	if *d.LagSeconds != 0 {
		t.Errorf("all is read, and the oldest unread record is %v s old", *d.LagSeconds)
	}
}

func TestGroupWhyFailures(t *testing.T) {
	b := start(t, t.TempDir(), nil)
	s := &shell{t, b.kafka}
	s.do("topic", "create", "t")
	s.feed(numbers(1, 1), "produce", "t")
	s.do("consume", "t", "-g", "g", "--from", "beginning", "-n", "1")
	s.fails(1, []string{"group", "why", "nosuch", "--admin", b.admin}, "group nosuch", "no such group")
	s.fails(1, []string{"group", "why", "g", "--admin", "127.0.0.1:1"}, "is a broker running there", "--admin")
	s.fails(1, []string{"group", "describe", "g", "--admin", "127.0.0.1:1"}, "is a broker running there", "--admin")
	s.fails(2, []string{"group", "why"})
	s.fails(2, []string{"group", "why", "a", "b"})

	other := start(t, t.TempDir(), nil)
	(&shell{t, other.kafka}).do("topic", "create", "t")
	(&shell{t, other.kafka}).feed(numbers(1, 1), "produce", "t")
	(&shell{t, other.kafka}).do("consume", "t", "-g", "g", "--from", "beginning", "-n", "1")
	s.fails(1, []string{"group", "describe", "g", "--admin", other.admin}, "another cluster", "--admin")
}

// TestGroupWhyAMemberOfTheConsumerProtocolWasKilled: a process that is killed says no goodbye.
func TestGroupWhyAMemberOfTheConsumerProtocolWasKilled(t *testing.T) {
	b := start(t, t.TempDir(), nil, "--set", "group.consumer.min.session.timeout.ms=1000",
		"--set", "group.consumer.session.timeout.ms=3000", "--set", "group.consumer.min.heartbeat.interval.ms=100",
		"--set", "group.consumer.heartbeat.interval.ms=200")
	s := &shell{t, b.kafka}
	s.do("topic", "create", "t", "-p", "2")
	s.feed(numbers(1, 10), "produce", "t", "-p", "1")
	ctx, cancel := context.WithTimeout(context.Background(), 2*testTime)
	defer cancel()
	member := exec.CommandContext(ctx, program, "consume", "t", "-g", "database", "--group-protocol", "consumer", "-b", b.kafka)
	member.Env = cleanEnv()
	if err := member.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = member.Wait() }()
	d := s.why(b.admin, "database", func(d *broker.GroupDetail) bool {
		return d.State == "Stable" && d.Type == "consumer" && d.Last != nil && d.Last.Ended != nil
	})
	if d.Last.Cause != "member-joined" || !strings.Contains(d.Last.Software, "kgo") {
		t.Errorf("why it rebalanced before: %+v", d.Last)
	}
	if err := member.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	d = s.why(b.admin, "database", func(d *broker.GroupDetail) bool { return d.State == "Empty" })
	reason := regexp.MustCompile(`^member \S+ on 127\.0\.0\.1 missed its heartbeat for [0-9.]+ s$`)
	if l := d.Last; l.Cause != "session-timeout" || !reason.MatchString(l.Reason) || l.Ended == nil || l.Members != 0 {
		t.Errorf("the last rebalance: %+v", l)
	}
	b.await(`msg="group is empty" group=database`)
	if page := b.page("/"); !strings.Contains(page, "missed its heartbeat for") {
		t.Error("the console's page does not say why")
	}
}
