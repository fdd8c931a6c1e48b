package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

// shell runs commands of the binary against one broker.
type shell struct {
	*testing.T
	bootstrap string
}

// newShell starts a broker of its own for the test, whose groups do not wait for further members.
func newShell(t *testing.T) *shell {
	t.Helper()
	return &shell{t, start(t, t.TempDir(), nil, "--set", "group.initial.rebalance.delay.ms=0").kafka}
}

// try runs a command with stdin and gives what it did.
func (s *shell) try(stdin string, args ...string) (code int, stdout, stderr string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(cleanEnv(), "MOLDAU_BOOTSTRAP="+s.bootstrap)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if ctx.Err() != nil {
		s.Fatalf("%q did not end; it printed %s and said %s", args, out.String(), errs.String())
	}
	if err != nil && cmd.ProcessState == nil {
		s.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// do is try for a command that has to succeed; it gives what was printed.
func (s *shell) do(args ...string) string { s.Helper(); return s.feed("", args...) }

func (s *shell) feed(stdin string, args ...string) string {
	s.Helper()
	code, out, errs := s.try(stdin, args...)
	if code != 0 {
		s.Fatalf("%q: exit code %d\n%s%s", args, code, out, errs)
	}
	return out
}

// fails holds that a command ends with code, prints nothing, and says all of the parts.
func (s *shell) fails(code int, args []string, parts ...string) {
	s.Helper()
	got, out, errs := s.try("", args...)
	if got != code || out != "" {
		s.Errorf("%q: exit code %d instead of %d, printed %q, said %s", args, got, code, out, errs)
	}
	for _, p := range parts {
		if !strings.Contains(errs, p) {
			s.Errorf("%q does not say %q but %s", args, p, errs)
		}
	}
}

// object runs a command with -o json into v.
func (s *shell) object(v any, args ...string) {
	s.Helper()
	out := s.do(append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		s.Fatalf("%q printed %s: %v", args, out, err)
	}
}

func words(line string) []string { return strings.Fields(line) }

func TestTopicLife(t *testing.T) {
	s := newShell(t)
	var made []topicRow
	s.object(&made, "topic", "create", "rides", "-p", "3", "--config", "retention.ms=3600000")
	if len(made) != 1 || made[0].Topic != "rides" || made[0].Partitions != 3 || made[0].Replicas != 1 || len(made[0].ID) != 22 {
		t.Fatalf("%+v", made)
	}
	s.do("topic", "create", "a", "b")
	var rows []topicRow
	s.object(&rows, "topic", "list")
	if len(rows) != 3 || rows[0].Topic != "a" || rows[2] != made[0] {
		t.Fatalf("%+v", rows)
	}
	if table := strings.Split(s.do("topic", "list"), "\n"); len(table) != 5 || words(table[0])[0] != "TOPIC" ||
		strings.Join(words(table[3]), " ") != "rides 3 1 "+made[0].ID {
		t.Errorf("%q", table)
	}
	var views []topicView
	s.object(&views, "topic", "describe", "rides")
	if v := views[0]; len(v.Parts) != 3 || v.Parts[2].Partition != 2 || v.Parts[2].Leader != 1 || len(v.Parts[2].ISR) != 1 ||
		len(v.Configs) != 1 || v.Configs["retention.ms"] != "3600000" {
		t.Errorf("%+v", v)
	}
	var altered topicView
	s.object(&altered, "topic", "alter", "rides", "-p", "5", "-c", "cleanup.policy=compact", "--delete-config", "retention.ms")
	if len(altered.Parts) != 5 || len(altered.Configs) != 1 || altered.Configs["cleanup.policy"] != "compact" {
		t.Errorf("%+v", altered)
	}
	if out := s.do("topic", "describe", "rides"); !strings.Contains(out, "cleanup.policy=compact") {
		t.Error(out)
	}
	if out := s.do("topic", "delete", "rides", "a"); out != "deleted a\ndeleted rides\n" {
		t.Errorf("%q", out)
	}
	s.object(&rows, "topic", "list")
	if len(rows) != 1 || rows[0].Topic != "b" {
		t.Errorf("%+v", rows)
	}
}

func TestTopicFailuresSayWhatToDo(t *testing.T) {
	s := newShell(t)
	s.do("topic", "create", "there", "-p", "2")
	s.fails(1, []string{"topic", "create", "there"}, "TOPIC_ALREADY_EXISTS", "--if-not-exists")
	s.do("topic", "create", "there", "--if-not-exists")
	s.fails(1, []string{"topic", "create", "a b"}, "INVALID_TOPIC_EXCEPTION", "a b")
	s.fails(1, []string{"topic", "create", "x", "-r", "3"}, "INVALID_REPLICATION_FACTOR")
	s.fails(1, []string{"topic", "create", "x", "-c", "retention.ms=soon"}, "INVALID_CONFIG", "retention.ms")
	s.fails(1, []string{"topic", "alter", "there", "-c", "no.such=1"}, "INVALID_CONFIG", "no.such")
	s.fails(1, []string{"topic", "alter", "there", "-p", "1"}, "INVALID_PARTITIONS", "moldau topic describe")
	for _, args := range [][]string{{"describe"}, {"delete"}} {
		s.fails(1, []string{"topic", args[0], "nosuch"}, "topic nosuch", "UNKNOWN_TOPIC_OR_PARTITION", "moldau topic list")
	}
	s.do("topic", "delete", "nosuch", "--if-exists")
	s.fails(2, []string{"topic"}, "needs a command", "moldau topic --help")
	s.fails(2, []string{"topic", "create"}, "moldau topic create --help")
	s.fails(2, []string{"topic", "create", "x", "-c", "novalue"}, "key=value")
	s.fails(2, []string{"topic", "alter", "there"}, "nothing to alter")
	s.fails(2, []string{"topic", "list", "-o", "xml"}, "table or json")
	s.fails(2, []string{"topic", "nosuch"})
}

func TestNoBrokerSaysWhereAndHowToStartOne(t *testing.T) {
	s := &shell{t, "127.0.0.1:1"}
	for _, args := range [][]string{{"topic", "list"}, {"produce", "t"}, {"consume", "t"}, {"group", "list"}} {
		s.fails(1, args, "127.0.0.1:1", "moldau serve", "--bootstrap")
	}
}

func TestEveryCommandHasAnExample(t *testing.T) {
	for _, c := range []string{
		"topic create", "topic list", "topic describe", "topic alter", "topic delete", "produce", "consume",
		"group list", "group describe", "group reset", "group delete", "cluster status", "cluster drain", "cluster rebalance",
		"cluster remove",
	} {
		code, out, errs := command(t, nil, append(strings.Fields(c), "--help")...)
		if code != 0 || errs != "" || !strings.Contains(out, "Examples:\n") || !strings.Contains(out, "moldau "+c) ||
			!strings.Contains(out, "--output") || !strings.Contains(out, "--bootstrap") {
			t.Errorf("%s: %d\n%s%s", c, code, out, errs)
		}
	}
}
