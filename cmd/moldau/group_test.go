package main

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

func TestGroupLife(t *testing.T) {
	s := newShell(t)
	s.do("topic", "create", "t", "-p", "2")
	s.feed(numbers(1, 10), "produce", "t", "-p", "1")
	if out := s.do("consume", "t", "-g", "database", "--from", "beginning", "-n", "4"); out != numbers(1, 4) {
		t.Fatalf("%q", out)
	}
	var rows []groupRow
	s.object(&rows, "group", "list")
	if len(rows) != 1 || rows[0].Group != "database" || rows[0].State != "Empty" || rows[0].Type != "classic" || rows[0].Kind != "consumer" || rows[0].Coordinator != 1 {
		t.Fatalf("%+v", rows)
	}
	describe := func() groupView {
		var views []groupView
		s.object(&views, "group", "describe", "database")
		return views[0]
	}
	v := describe()
	if v.Lag != 6 || len(v.Members) != 0 || len(v.Partitions) == 0 {
		t.Fatalf("%+v", v)
	}
	if p := v.Partitions[len(v.Partitions)-1]; p.Topic != "t" || p.Partition != 1 || p.Committed != 4 || p.End != 10 || p.Lag != 6 {
		t.Errorf("%+v", p)
	}
	if out := s.do("group", "describe", "database"); !strings.Contains(out, "lag 6") || !strings.Contains(out, "COMMITTED") {
		t.Error(out)
	}
	// The plan changes nothing.
	for _, args := range [][]string{{}, {"--dry-run"}} {
		var plan []resetRow
		s.object(&plan, append([]string{"group", "reset", "database", "--topic", "t", "--to", "earliest"}, args...)...)
		if len(plan) != 2 || plan[1] != (resetRow{"database", "t", 1, 4, 0}) || describe().Lag != 6 {
			t.Errorf("%+v", plan)
		}
	}
	for _, x := range []struct {
		args []string
		lag  int64
	}{
		{[]string{"--to", "beginning"}, 10}, {[]string{"--to", "latest"}, 0}, {[]string{"--to", "7"}, 3},
		{[]string{"--to", "-2"}, 2}, {[]string{"--to", "99"}, 0}, {[]string{"--since", "1h"}, 10},
	} {
		s.do(append([]string{"group", "reset", "database", "--execute"}, x.args...)...)
		if got := describe().Lag; got != x.lag {
			t.Errorf("after %q the lag is %d instead of %d", x.args, got, x.lag)
		}
	}
	if out := s.do("group", "delete", "database"); out != "deleted database\n" {
		t.Errorf("%q", out)
	}
	s.object(&rows, "group", "list")
	if len(rows) != 0 {
		t.Errorf("%+v", rows)
	}
}

// joined runs a member of g that has printed the first record of t; it ends with the test, or before that by leave.
func (s *shell) joined(protocol string) (leave func()) {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	member := exec.CommandContext(ctx, program, "consume", "t", "--from", "beginning", "-g", "g", "-b", s.bootstrap,
		"--group-protocol", protocol)
	out, err := member.StdoutPipe()
	if err != nil {
		s.Fatal(err)
	}
	if err := member.Start(); err != nil {
		s.Fatal(err)
	}
	leave = sync.OnceFunc(func() {
		_ = member.Process.Signal(os.Interrupt)
		_ = member.Wait()
		cancel()
	})
	s.Cleanup(leave)
	if lines := bufio.NewScanner(out); !lines.Scan() {
		s.Fatal("the member printed nothing")
	}
	return leave
}

func TestGroupWithMembers(t *testing.T) {
	for _, protocol := range []string{"classic", "consumer"} {
		t.Run(protocol, func(t *testing.T) {
			s := newShell(t)
			s.do("topic", "create", "t")
			s.feed(numbers(1, 1), "produce", "t")
			leave := s.joined(protocol)
			var rows []groupRow
			s.object(&rows, "group", "list", "--type", protocol, "--state", "stable")
			if len(rows) != 1 || rows[0] != (groupRow{"g", "Stable", protocol, "consumer", 1}) {
				t.Errorf("%+v", rows)
			}
			var views []groupView
			s.object(&views, "group", "describe", "g")
			v := views[0]
			if v.State != "Stable" || v.Type != protocol || len(v.Members) != 1 || len(v.Partitions) != 1 ||
				v.Partitions[0].Client != "moldau" {
				t.Fatalf("%+v", v)
			}
			m := v.Members[0]
			if m.Client != "moldau" || m.Host != "127.0.0.1" || m.Type != protocol || m.Assigned != 1 ||
				m.subscribed() != "t" || partsCell(m.Assignment) != "t:0" {
				t.Errorf("%+v", m)
			}
			if protocol == "consumer" && (v.Protocol != "uniform" || v.Epoch == nil || *v.Epoch < 1 || m.Epoch == nil ||
				*m.Epoch != *v.Epoch || *v.AssignmentEpoch != *v.Epoch || partsCell(m.Target) != "t:0") {
				t.Errorf("%+v", v)
			}
			if out := s.do("group", "describe", "g", "--members", "--verbose"); !strings.Contains(out, "t:0") ||
				!strings.Contains(out, m.Member) || strings.Contains(out, "COMMITTED") {
				t.Error(out)
			}
			s.fails(1, []string{"group", "delete", "g"}, "NON_EMPTY_GROUP", "1 member holds it", "stop its members")
			s.fails(1, []string{"group", "reset", "g", "--to", "end", "--execute"}, "is Stable", "1 member holds it",
				"client moldau, host 127.0.0.1", "stop them first")
			code, out, errs := s.try("", "group", "delete-offsets", "g", "--topic", "t")
			if code != 1 || !strings.Contains(out+errs, "GROUP_SUBSCRIBED_TO_TOPIC") {
				t.Errorf("%d %s %s", code, out, errs)
			}
			leave()
			s.do("group", "reset", "g", "--to", "0", "--execute")
			s.object(&views, "group", "describe", "g")
			if v := views[0]; v.State != "Empty" || v.Lag != 1 || len(v.Members) != 0 {
				t.Errorf("%+v", v)
			}
			s.object(&rows, "group", "list")
			if len(rows) != 1 || rows[0] != (groupRow{"g", "Empty", protocol, "consumer", 1}) {
				t.Errorf("after a reset: %+v", rows)
			}
			s.do("group", "delete", "g")
			if s.object(&rows, "group", "list"); len(rows) != 0 {
				t.Errorf("after its deletion: %+v", rows)
			}
		})
	}
}

func TestGroupFailures(t *testing.T) {
	s := newShell(t)
	s.fails(1, []string{"group", "describe", "nosuch"}, "nosuch", "moldau group list")
	s.fails(1, []string{"group", "delete", "nosuch"}, "GROUP_ID_NOT_FOUND", "moldau group list")
	s.fails(1, []string{"group", "reset", "nosuch", "--to", "end"}, "committed nothing", "--topic")
	s.fails(1, []string{"group", "reset", "g", "--to", "end", "--topic", "nosuch"}, "topic nosuch", "UNKNOWN_TOPIC")
	for _, args := range [][]string{
		{"group"}, {"group", "reset", "g"}, {"group", "reset", "g", "--to", "end", "--since", "1h"},
		{"group", "reset", "g", "--to", "noon"}, {"group", "reset", "g", "--to", "end", "--execute", "--dry-run"},
		{"group", "describe"}, {"group", "delete"},
	} {
		s.fails(2, args)
	}
}
