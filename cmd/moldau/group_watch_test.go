package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"moldau.io/moldau/broker"
)

var updatePictures = flag.Bool("update-pictures", false, "write the pictures of watch anew")

// watched is a group of two members on two topics, of which one is far behind.
func watched(committed, end int64) groupView {
	v := groupView{groupRow: groupRow{"database", "Stable", "classic", "consumer", 1}, Protocol: "range",
		Members: []groupPeer{
			{Member: "reader-1-1f0e8a3c-6f0f-4bb1-9a57-3a3f1d8e6f11", Client: "reader-1", Host: "10.0.0.1", Assigned: 3,
				Assignment: []topicParts{{"fares", []int32{0}}, {"rides", []int32{0, 1}}}},
			{Member: "reader-2-77c4f1d2-0a0e-4d50-8b59-0a6a0f8b7c22", Client: "reader-2", Instance: "reader-2", Host: "10.0.0.2",
				Assigned: 1, Assignment: []topicParts{{"rides", []int32{2}}}},
		}}
	add := func(topic string, p int32, member int, committed, end int64) {
		row := groupLag{Topic: topic, Partition: p, Committed: committed, End: end, Lag: max(0, end-max(0, committed))}
		row.Member = v.Members[member].Member
		v.Partitions = append(v.Partitions, row)
		v.Lag += row.Lag
	}
	add("fares", 0, 0, -1, 7)
	add("rides", 0, 0, committed, end)
	add("rides", 1, 0, end, end)
	add("rides", 2, 1, end-500, end)
	return v
}

// coordinatorOf is what the coordinator says of the watched group.
func coordinatorOf(now time.Time) *broker.GroupDetail {
	ended, age := now.Add(-180*time.Second), 75.4
	d := &broker.GroupDetail{Partitions: []broker.PartitionLag{{Topic: "rides", Partition: 0, LagSeconds: &age}}}
	d.LagSeconds = &age
	d.Last = &broker.RebalanceStatus{Began: now.Add(-182 * time.Second), Ended: &ended, Seconds: 2,
		Reason: "member reader-3 on 10.0.0.3 missed its heartbeat for 45 s"}
	return d
}

// The picture of a frame depends on the frame and the size alone.
func TestWatchPictures(t *testing.T) {
	now := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	var h watchHistory
	first := h.observe(now, watched(1000, 5000), nil, nil)
	second := h.observe(now.Add(10*time.Second), watched(3000, 6000), coordinatorOf(now), nil)
	alone := watched(3000, 6000)
	alone.Members = alone.Members[:1]
	alone.State = "PreparingRebalance"
	third := h.observe(now.Add(11*time.Second), alone, nil, nil)
	silent := h.observe(now.Add(100*time.Second), groupView{}, nil, errors.New("no broker answers"))
	epoch, own := int32(7), int32(6)
	modern := watched(3000, 6000)
	modern.Type, modern.State, modern.Protocol, modern.Epoch = "consumer", "Reconciling", "uniform", &epoch
	modern.Members[0].Epoch = &own
	modern.Members[0].Target = []topicParts{{"rides", []int32{0, 3}}}
	var other watchHistory
	ongoing := coordinatorOf(now)
	ongoing.Last.Ended = nil
	for _, x := range []struct {
		name          string
		frame         *watchFrame
		columns, rows int
	}{
		{"first", first, 120, 40}, {"second", second, 120, 40}, {"narrow", second, 60, 40}, {"low", second, 120, 10},
		{"tiny", second, 20, 3}, {"rebalance", third, 120, 40}, {"silent", silent, 120, 40},
		{"ongoing", other.observe(now, watched(3000, 6000), ongoing, nil), 120, 12},
		{"moving", other.observe(now, modern, nil, nil), 0, 0},
	} {
		lines := x.frame.draw(x.columns, x.rows)
		for _, l := range lines {
			if n := len([]rune(l)); x.columns > 0 && n > x.columns {
				t.Errorf("%s: a line of %d characters where there is room for %d: %q", x.name, n, x.columns, l)
			}
		}
		if x.rows > 0 && len(lines) > x.rows {
			t.Errorf("%s: %d lines where there is room for %d", x.name, len(lines), x.rows)
		}
		path := filepath.Join("testdata", "watch", x.name+".txt")
		got := strings.Join(lines, "\n") + "\n"
		if *updatePictures {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil || got != string(want) {
			t.Errorf("%s: %v\n%s\nwant\n%s", x.name, err, got, want)
		}
	}
}

func TestWatchRates(t *testing.T) {
	now := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	var h watchHistory
	look := func(at time.Duration, committed, end int64) string {
		v := groupView{Partitions: []groupLag{{Topic: "t", Committed: committed, End: end}}}
		f := h.observe(now.Add(at), v, nil, nil)
		return rateCell(f.Reads) + " " + rateCell(f.Arrives)
	}
	for i, x := range []struct {
		at             time.Duration
		committed, end int64
		want           string
	}{
		{0, -1, 0, "- -"},
		{time.Second, -1, 100, "- 100"},                        // nothing committed yet
		{2 * time.Second, 10, 200, "- -"},                      // the first commit says nothing about how fast
		{4 * time.Second, 30, 400, "10.0 100"},                 //
		{5 * time.Second, 30, 500, "6.7 100"},                  //
		{19 * time.Second, 30, 500, "0.0 6.7"},                 // what lies before the window does not count
		{20 * time.Second, 30, 500, "0.0 0.0"},                 //
		{40 * time.Second, 30, 500, "0.0 0.0"},                 //
		{41 * time.Second, 5, 500, "- -"},                      // reset
		{42 * time.Second, 6, 510, "1.0 10.0"},                 //
		{42 * time.Second, 6, 510, "1.0 10.0"},                 // the same moment twice
		{42*time.Second + time.Millisecond, 6, 0, "- -"},       // the topic was made anew
		{43*time.Second + time.Millisecond, 6, 200, "0.0 200"}, //
	} {
		if got := look(x.at, x.committed, x.end); got != x.want {
			t.Errorf("look %d: %s instead of %s", i, got, x.want)
		}
	}
}

// A watch with a source and a clock of its own: what fails at first is an error, what fails later is shown and tried again.
func TestWatchGoesOn(t *testing.T) {
	answers := []func() (groupView, error){
		func() (groupView, error) { return watched(1001, 1002), nil },
		func() (groupView, error) { return groupView{}, errors.New("gone away") },
		func() (groupView, error) { return groupView{}, errors.New("gone away") },
		func() (groupView, error) { v := watched(1002, 1002); v.Members = v.Members[1:]; return v, nil },
	}
	now, looks := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC), 0
	ticks := make(chan time.Time, len(answers))
	for range answers {
		ticks <- now
	}
	var out bytes.Buffer
	watch := groupWatch{ticks: ticks, count: len(answers), screen: plainLines{&out},
		now: func() time.Time { now = now.Add(time.Second); return now },
		look: func(context.Context) (groupView, *broker.GroupDetail, error) {
			looks++
			v, err := answers[looks-1]()
			return v, nil, err
		}}
	if err := watch.run(context.Background()); err != nil {
		t.Fatal(err)
	}
	want := `10:00:01 database state=Stable members=2 partitions=4 lag=508 reads=-/s arrives=-/s
10:00:02 database: out of sight: gone away
10:00:04 database: in sight again
10:00:04 database: member reader-1-1f0e8a3c-6f0f-4bb1-9a57-3a3f1d8e6f11 is gone
10:00:04 database state=Stable members=1 partitions=4 lag=507 reads=0.3/s arrives=0.0/s
`
	if out.String() != want {
		t.Errorf("%s\ninstead of\n%s", out.String(), want)
	}
	watch.look = func(context.Context) (groupView, *broker.GroupDetail, error) {
		return groupView{}, nil, errors.New("no such group")
	}
	if err := watch.run(context.Background()); err == nil || err.Error() != "no such group" {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	watch = groupWatch{screen: plainLines{&out}, now: time.Now,
		look: func(context.Context) (groupView, *broker.GroupDetail, error) {
			cancel()
			return groupView{}, nil, context.Canceled
		}}
	if err := watch.run(ctx); err != nil {
		t.Errorf("interrupted: %v", err)
	}
}

// Names come from clients; they must not move the cursor.
func TestWatchShowsNoControlCharacters(t *testing.T) {
	v := watched(1, 2)
	v.Members[0].Instance, v.Protocol = "\x1b[2Jevil\n", "\u009b2J"
	var h watchHistory
	for _, line := range h.observe(time.Unix(0, 0), v, nil, nil).draw(0, 0) {
		if strings.ContainsAny(line, "\x1b\n\u009b") {
			t.Errorf("%q", line)
		}
	}
}

func TestSpanCell(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 59400 * time.Millisecond: "59s", 59500 * time.Millisecond: "1m00s", 192 * time.Second: "3m12s",
		time.Hour: "1h00m", 99 * time.Hour: "4d03h", -time.Second: "0s",
	} {
		if got := spanCell(d); got != want {
			t.Errorf("%v: %s instead of %s", d, got, want)
		}
	}
}

func TestGroupWatch(t *testing.T) {
	s := newShell(t)
	s.do("topic", "create", "t")
	s.feed(numbers(1, 10), "produce", "t")
	s.fails(1, []string{"group", "watch", "nosuch"}, "nosuch does not exist")
	s.fails(2, []string{"group", "watch", "g", "--interval", "1ms"}, "100ms")
	s.fails(2, []string{"group", "watch"})
	s.do("group", "reset", "g", "--topic", "t", "--to", "4", "--execute")
	out := s.do("group", "watch", "g", "-n", "2", "--interval", "100ms", "-o", "json")
	if n := strings.Count(out, "\n"); n != 2 {
		t.Fatalf("%d lines: %s", n, out)
	}
	for line := range strings.Lines(out) {
		var f watchFrame
		if err := json.Unmarshal([]byte(line), &f); err != nil || f.Lag != 6 || f.State != "Empty" || len(f.Partitions) != 1 ||
			f.Partitions[0].End != 10 || f.Partitions[0].Committed != 4 {
			t.Errorf("%s: %v", line, err)
		}
	}
	out = s.do("group", "watch", "g", "-n", "1")
	if want := " g state=Empty members=0 partitions=1 lag=6 reads=-/s arrives=-/s\n"; !strings.HasSuffix(out, want) {
		t.Errorf("%q", out)
	}
}

// The coordinator's own account of the last rebalance is shown, unless the admin address is that of another cluster.
func TestGroupWatchAsksTheCoordinator(t *testing.T) {
	b := start(t, t.TempDir(), nil, "--set", "group.initial.rebalance.delay.ms=0")
	s := &shell{t, b.kafka}
	s.do("topic", "create", "t")
	s.feed(numbers(1, 3), "produce", "t")
	s.do("consume", "t", "--from", "beginning", "-g", "g", "-n", "1")
	var f watchFrame
	out := s.do("group", "watch", "g", "-n", "1", "-o", "json", "--admin", b.admin)
	if err := json.Unmarshal([]byte(out), &f); err != nil || f.Rebalance == nil || f.Rebalance.Seen || f.Rebalance.Reason == "" {
		t.Errorf("%s: %v", out, err)
	}
	s.fails(1, []string{"group", "watch", "g", "-n", "1", "--admin", "127.0.0.1:1"}, "127.0.0.1:1", "--admin-listen")
	other := start(t, t.TempDir(), nil)
	(&shell{t, other.kafka}).do("topic", "create", "t")
	(&shell{t, other.kafka}).do("group", "reset", "g", "--topic", "t", "--to", "0", "--execute")
	s.fails(1, []string{"group", "watch", "g", "-n", "1", "--admin", other.admin}, "of another cluster", other.cluster)
}
