//go:build compat

package tools

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"moldau.io/moldau/compat-tests/harness"
)

// groupStory is everything that the tools for groups can be asked, told of one broker. Two groups of one protocol read two
// topics, are looked at, leave, and are reset, exported, imported and deleted.
type groupStory struct {
	t        *testing.T
	box      *toolbox
	broker   *harness.Broker
	protocol string    // classic or consumer
	began    time.Time // the same in the stories that are compared
	files    string
	told     []tellingOf
}

// tellingOf is one command and what it told, without what differs from run to run.
type tellingOf struct{ command, text string }

func (s *groupStory) name(suffix string) string {
	return s.box.release + "-" + s.protocol + "-" + suffix
}

// admin runs moldau's own command line against the broker, whichever it is.
func (s *groupStory) admin(stdin string, args ...string) string {
	s.t.Helper()
	return harness.MoldauTool(s.t, stdin, append(args, "-b", s.broker.Addr)...).Want(s.t).Stdout
}

// ask runs a tool and keeps what it tells.
func (s *groupStory) ask(class string, args ...string) string {
	s.t.Helper()
	r := s.box.run(s.t, append([]string{class, "--bootstrap-server", s.broker.Addr}, args...)...)
	text := fmt.Sprintf("exit code %d\n%s", r.Code, r.Stdout)
	s.told = append(s.told, tellingOf{strings.ReplaceAll(strings.Join(args, " "), s.files, "FILES"), s.mask(text)})
	return r.Stdout
}

func (s *groupStory) groups(args ...string) string {
	s.t.Helper()
	return s.ask(consumerGroups, args...)
}

var masks = []struct {
	form *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "ID"},
	{regexp.MustCompile(`\b[A-Za-z0-9_-]{22}\b`), "ID"},
	{regexp.MustCompile(`\n\tat [^\n]*`), ""}, // where in the tool an error was seen
}

// mask replaces ids and the address, and brings the lines into an order: rows come in that of hash maps.
func (s *groupStory) mask(text string) string {
	text = strings.ReplaceAll(text, s.broker.Addr, "BROKER")
	for _, m := range masks {
		text = m.form.ReplaceAllString(text, m.with)
	}
	// Release 3.9 prints the plan of a reset without line feeds.
	for _, group := range []string{"one", "two", "young"} {
		text = strings.ReplaceAll(text, " "+s.name(group)+" ", "\n"+s.name(group)+" ")
	}
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// topics makes rides with three partitions of ten records each, an hour between them, and fares with one.
func (s *groupStory) topics() {
	s.admin("", "topic", "create", s.name("rides"), "-p", "3")
	s.admin("", "topic", "create", s.name("fares"))
	var in strings.Builder
	for p := range 3 {
		for i := range 10 {
			fmt.Fprintf(&in, `{"value":"%d","partition":%d,"timestamp":%d}`+"\n", i, p,
				s.began.Add(-time.Duration(10-i)*time.Hour).UnixMilli())
		}
	}
	s.admin(in.String(), "produce", s.name("rides"), "--input", "json")
	s.admin("a\nb\nc\n", "produce", s.name("fares"))
}

// member starts a consumer that has read and committed everything when this returns.
func (s *groupStory) member(name, group, instance, topics string, records int) {
	s.t.Helper()
	s.memberBy(s.protocol, name, group, instance, topics, records)
}

func (s *groupStory) memberBy(protocol, name, group, instance, topics string, records int) {
	s.t.Helper()
	s.box.must(s.t, "@member", s.name(name), s.broker.Addr, s.name(group), protocol, instance, topics, fmt.Sprint(records))
}

// mixed looks at a group on its way between the protocols. Its members want different topics, so that there is one way only to
// assign them.
func (s *groupStory) mixed() {
	three := s.name("three")
	s.memberBy("consumer", "c", "three", "-", s.name("fares"), 3)
	s.memberBy("classic", "d", "three", "-", s.name("rides"), 30)
	for _, what := range [][]string{nil, {"--members"}, {"--members", "--verbose"}, {"--state"}} {
		s.groups(append([]string{"--describe", "--group", three}, what...)...)
	}
	s.groups("--list", "--type")
	s.box.must(s.t, "@leave", s.name("c")) // which leaves a classic group
	s.groups("--list", "--type")
	s.groups("--describe", "--group", three)
	s.box.must(s.t, "@leave", s.name("d"))
	s.settled(three)
	s.groups("--delete", "--group", three)
}

// run tells the story; check looks at the groups by other means, where there are any.
func (s *groupStory) run(check func()) {
	one, two := s.name("one"), s.name("two")
	rides, fares := s.name("rides"), s.name("fares")
	s.topics()
	s.member("a", "one", "-", rides+","+fares, 33)
	s.member("b", "two", "desk", rides, 30)
	check()
	if s.current() {
		s.listings()
		s.configs(one)
	}
	for _, args := range [][]string{{"--list"}, {"--list", "--state"}, {"--list", "--type"}, {"--list", "--state", "stable"},
		{"--list", "--state", "Empty,Dead", "--type", s.protocol}, {"--list", "--type", s.protocol, "--state", "Stable"},
		{"--list", "--state", "Happy"}, {"--list", "--type", "old"}} {
		s.groups(args...)
	}
	for _, what := range [][]string{nil, {"--offsets"}, {"--offsets", "--verbose"}, {"--members"}, {"--members", "--verbose"},
		{"--state"}, {"--state", "--verbose"}} {
		s.groups(append([]string{"--describe", "--group", one}, what...)...)
		s.groups(append([]string{"--describe", "--all-groups"}, what...)...)
	}
	s.groups("--describe", "--group", one, "--group", two)
	s.groups("--describe", "--group", s.name("nosuch"))
	// Nothing of a live group can be taken away.
	s.groups("--reset-offsets", "--group", one, "--topic", rides, "--to-earliest", "--execute")
	s.groups("--delete", "--group", one)
	s.groups("--delete-offsets", "--group", one, "--topic", rides)

	if s.protocol == "consumer" && s.current() {
		s.mixed()
	}
	s.box.must(s.t, "@leave", s.name("a"))
	s.box.must(s.t, "@leave", s.name("b"))
	s.settled(one)
	s.groups("--describe", "--group", two, "--members", "--verbose") // whose member is static, and may come back
	s.groups("--describe", "--group", two, "--state", "--verbose")
	s.box.must(s.t, "@remove", s.name("b"))
	s.settled(two)
	for _, what := range [][]string{nil, {"--offsets", "--verbose"}, {"--members", "--verbose"}, {"--state", "--verbose"}} {
		s.groups(append([]string{"--describe", "--group", one}, what...)...)
	}
	s.resets(one, two, rides, fares)
	check()
	s.groups("--delete-offsets", "--group", one, "--topic", rides+":0,1")
	s.groups("--delete-offsets", "--group", one, "--topic", fares, "--topic", "nosuch")
	s.groups("--delete-offsets", "--group", s.name("nosuch"), "--topic", rides)
	s.groups("--describe", "--group", one)
	s.groups("--delete", "--group", one, "--group", s.name("nosuch"))
	s.groups("--list")
	s.groups("--delete", "--all-groups")
	s.groups("--list")
}

// current says that the tools are of a release that has them all.
func (s *groupStory) current() bool { return s.box.release == "tools" }

// listings are those of kafka-groups.sh.
func (s *groupStory) listings() {
	for _, args := range [][]string{nil, {"--consumer"}, {"--group-type", s.protocol}, {"--group-type", "share"},
		{"--protocol", "consumer"}, {"--protocol", "connect"}, {"--share"}, {"--streams"}} {
		s.ask(groups, append([]string{"--list"}, args...)...)
	}
	for _, regex := range []string{"rides-.*", "a(?=b)"} {
		r := s.box.run(s.t, consumerGroups, "--validate-regex", regex)
		s.told = append(s.told, tellingOf{"--validate-regex " + regex, s.mask(r.Stdout)})
	}
}

// configs are those of a group.
func (s *groupStory) configs(group string) {
	entity := []string{"--entity-type", "groups", "--entity-name", group}
	for _, args := range [][]string{{"--describe"}, {"--alter", "--add-config", "consumer.session.timeout.ms=50000"},
		{"--describe"}, {"--alter", "--add-config", "consumer.session.timeout.ms=1"},
		{"--alter", "--add-config", "no.such.key=1"}, {"--describe", "--all"},
		{"--alter", "--delete-config", "consumer.session.timeout.ms"}, {"--describe"}} {
		s.ask(configs, append(slices.Clone(entity), args...)...)
	}
}

// settled waits until a group is empty: a classic one rebalances when its last member has left.
func (s *groupStory) settled(group string) {
	s.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		if s.view(group).State == "Empty" {
			return
		}
	}
	s.t.Fatalf("group %s is not empty after its members have left", group)
}

// resets moves offsets in every way there is.
func (s *groupStory) resets(one, two, rides, fares string) {
	reset := func(args ...string) string {
		s.t.Helper()
		return s.groups(append([]string{"--reset-offsets"}, args...)...)
	}
	at := func(age time.Duration) string { return s.began.Add(-age).UTC().Format("2006-01-02T15:04:05.000") }
	for _, how := range [][]string{{"--to-earliest"}, {"--to-latest"}, {"--to-current"}, {"--to-offset", "3"},
		{"--to-offset", "99"}, {"--shift-by", "-2"}, {"--shift-by", "5"}, {"--shift-by", "-99"},
		{"--to-datetime", at(150 * time.Minute)}, {"--to-datetime", at(0) + "+00:00"}, {"--by-duration", "PT2H30M"},
		{"--by-duration", "P7D"}} {
		printed := reset(append([]string{"--group", one, "--topic", rides, "--dry-run"}, how...)...)
		if s.current() {
			s.samePlan(one, rides, how, printed)
		}
	}
	reset("--group", one, "--topic", rides+":0,2", "--to-offset", "4", "--execute")
	reset("--group", one, "--topic", fares, "--topic", rides+":1", "--to-earliest", "--execute")
	if s.current() {
		reset("--group", one, "--topic", rides+":7", "--to-earliest", "--execute") // older tools wait for it, and then give up
	}
	reset("--group", one, "--topic", "nosuch", "--to-earliest", "--execute")
	reset("--group", two, "--topic", fares, "--shift-by", "1", "--dry-run") // has committed nothing of it
	reset("--group", s.name("young"), "--topic", fares, "--to-offset", "2", "--execute")
	reset("--group", two, "--all-topics", "--to-earliest", "--to-latest", "--dry-run")
	reset("--group", two, "--to-earliest", "--dry-run")
	s.groups("--describe", "--group", one)

	// There and back, of one group and of all.
	save := func(name, text string) string {
		path := filepath.Join(s.files, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			s.t.Fatal(err)
		}
		return path
	}
	single := save("one.csv", reset("--group", one, "--all-topics", "--to-current", "--dry-run", "--export"))
	all := save("all.csv", reset("--all-groups", "--all-topics", "--to-current", "--dry-run", "--export"))
	reset("--group", one, "--all-topics", "--to-latest", "--execute")
	reset("--group", two, "--all-topics", "--to-offset", "1", "--execute")
	reset("--group", one, "--from-file", single, "--dry-run")
	reset("--group", one, "--from-file", single, "--execute")
	s.groups("--describe", "--group", one)
	reset("--group", one, "--group", two, "--from-file", all, "--execute")
	s.groups("--describe", "--all-groups")
}

// samePlan holds the plan of a reset against that of moldau's own command with the same flags.
func (s *groupStory) samePlan(group, topic string, how []string, printed string) {
	s.t.Helper()
	var plan []struct {
		Group, Topic   string
		Partition, New int
	}
	text := s.admin("", append([]string{"group", "reset", group, "--topic", topic, "--dry-run", "-o", "json"}, how...)...)
	if err := json.Unmarshal([]byte(text), &plan); err != nil {
		s.t.Fatalf("%v: %s", err, text)
	}
	var want []string
	for _, r := range plan {
		want = append(want, fmt.Sprintln(r.Group, r.Topic, r.Partition, r.New))
	}
	s.sameRows(group, "plan by "+strings.Join(how, " "), want, printed)
}

// groupNumbers is what is compared of 'moldau group describe -o json'.
type groupNumbers struct {
	Group, State, Type, Protocol string
	Coordinator                  int
	Members                      []struct {
		Member, Instance, Client, Host string
		Partitions                     int
	}
	Partitions []struct {
		Topic                     string
		Partition, Committed, End int
		Lag                       int
		Member                    string
	}
}

// view is what moldau's own command tells of a group.
func (s *groupStory) view(group string) groupNumbers {
	s.t.Helper()
	var views []groupNumbers
	text := s.admin("", "group", "describe", group, "-o", "json")
	if err := json.Unmarshal([]byte(text), &views); err != nil || len(views) != 1 {
		s.t.Fatalf("%v: %s", err, text)
	}
	return views[0]
}

// sameNumbers holds what the tools print of a group against what moldau's own command does.
func (s *groupStory) sameNumbers(group string) {
	s.t.Helper()
	v := s.view(group)
	var want []string
	for _, p := range v.Partitions {
		lag := fmt.Sprint(p.Lag)
		if p.Committed < 0 {
			lag = "-"
		}
		client, host := "-", "-"
		for _, m := range v.Members {
			if m.Member == p.Member {
				client, host = m.Client, "/"+m.Host
			}
		}
		want = append(want, fmt.Sprintln(group, p.Topic, p.Partition, p.Committed, p.End, lag, cmp.Or(p.Member, "-"), host, client))
	}
	s.sameRows(group, "offsets", want, s.box.must(s.t, consumerGroups, "--bootstrap-server", s.broker.Addr, "--describe",
		"--group", group).Stdout)
	want = nil
	for _, m := range v.Members {
		row := fmt.Sprintln(group, m.Member, "/"+m.Host, m.Client, m.Partitions)
		if m.Instance != "" {
			row = fmt.Sprintln(group, m.Member, m.Instance, "/"+m.Host, m.Client, m.Partitions)
		}
		want = append(want, row)
	}
	s.sameRows(group, "members", want, s.box.must(s.t, consumerGroups, "--bootstrap-server", s.broker.Addr, "--describe",
		"--group", group, "--members").Stdout)
	want = []string{fmt.Sprintln(group, s.broker.Addr, fmt.Sprintf("(%d)", v.Coordinator), v.Protocol, v.State, len(v.Members))}
	s.sameRows(group, "state", want, strings.ReplaceAll(s.box.must(s.t, consumerGroups, "--bootstrap-server", s.broker.Addr,
		"--describe", "--group", group, "--state").Stdout, " - ", "  "))
}

// sameRows compares the rows of a table, without its heading and the width of its columns.
func (s *groupStory) sameRows(group, what string, want []string, table string) {
	s.t.Helper()
	var got []string
	for line := range strings.Lines(table) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] == group {
			got = append(got, strings.Join(fields, " "))
		}
	}
	for i := range want {
		want[i] = strings.Join(strings.Fields(want[i]), " ")
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		s.t.Errorf("the %s of %s on %s: the tool prints\n%s\nand moldau group has\n%s", what, group, s.broker.Kind,
			strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
