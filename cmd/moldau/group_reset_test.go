package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// newOffsets are the partitions and new offsets of a plan: t:0=3.
func newOffsets(rows []resetRow) string {
	var list []string
	for _, r := range rows {
		list = append(list, fmt.Sprintf("%s:%d=%d", r.Topic, r.Partition, r.New))
	}
	return strings.Join(list, " ")
}

// stamped is lines with timestamps that are so many minutes old each, for produce --input json.
func stamped(ages ...time.Duration) string {
	var in strings.Builder
	for i, age := range ages {
		fmt.Fprintf(&in, `{"value":"%d","partition":0,"timestamp":%d}`+"\n", i, time.Now().Add(-age).UnixMilli())
	}
	return in.String()
}

// Every way to say where, against one group that has committed 4 of t-0 (10 records) and nothing of t-1 (3 records).
func TestGroupResetEveryWay(t *testing.T) {
	s := newShell(t)
	s.do("topic", "create", "t", "-p", "2")
	s.do("topic", "create", "other")
	ages := make([]time.Duration, 10)
	for i := range ages {
		ages[i] = time.Duration(10-i) * time.Hour // 10 h to 1 h
	}
	s.feed(stamped(ages...), "produce", "t", "--input", "json")
	s.feed(numbers(1, 3), "produce", "t", "-p", "1")
	s.feed(numbers(1, 3), "produce", "other", "-p", "0")
	file := filepath.Join(t.TempDir(), "start.csv")
	if err := os.WriteFile(file, []byte("t,0,4\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.do("group", "reset", "g", "--from-file", file, "--execute")
	for _, x := range []struct {
		args string
		want string
	}{
		{"--to beginning", "t:0=0 t:1=0"}, {"--to-earliest", "t:0=0 t:1=0"},
		{"--to end", "t:0=10 t:1=3"}, {"--to-latest --all-topics", "t:0=10 t:1=3"},
		{"--to 2", "t:0=2 t:1=2"}, {"--to-offset 2", "t:0=2 t:1=2"}, {"--to-offset 7", "t:0=7 t:1=3"},
		{"--to -1", "t:0=9 t:1=2"},
		{"--to-current", "t:0=4"}, {"--to-current --topic t", "t:0=4 t:1=3"},
		{"--shift-by -3", "t:0=1"}, {"--shift-by 3 --topic t:0", "t:0=7"}, {"--shift-by -99", "t:0=0"},
		{"--shift-by 99", "t:0=10"},
		{"--since 150m", "t:0=8 t:1=0"}, {"--by-duration PT2H30M", "t:0=8 t:1=0"}, {"--by-duration P1D", "t:0=0 t:1=0"},
		{"--by-duration 150m", "t:0=8 t:1=0"}, {"--to-datetime 2001-01-01T00:00:00.000", "t:0=0 t:1=0"},
		{"--to-datetime " + time.Now().Add(-150*time.Minute).UTC().Format("2006-01-02T15:04:05.000"), "t:0=8 t:1=0"},
		{"--to-datetime 2100-01-01T00:00:00.000+01:00", "t:0=10 t:1=3"},
		{"--to-earliest --topic other", "other:0=0"}, {"--to-latest --topic t:1 --topic other", "other:0=3 t:1=3"},
		{"--to-latest --topic t:1,0,other", "other:0=3 t:0=10 t:1=3"},
		{"--from-file " + file, "t:0=4"},
	} {
		var plan []resetRow
		s.object(&plan, append([]string{"group", "reset", "g"}, strings.Fields(x.args)...)...)
		if got := newOffsets(plan); got != x.want {
			t.Errorf("%s: %s instead of %s", x.args, got, x.want)
		}
	}
	var views []groupView
	s.object(&views, "group", "describe", "g")
	if v := views[0]; len(v.Partitions) != 1 || v.Partitions[0].Committed != 4 || v.Lag != 6 || v.State != "Empty" {
		t.Errorf("the plans have changed something: %+v", v)
	}
	code, out, errs := s.try("", "group", "reset", "g", "--to-offset", "77", "--topic", "t:0", "--execute")
	if code != 0 || strings.Count(out, "10") != 1 || !strings.Contains(errs, "offset 77 is not in it, which has 0 to 10; 10 is taken") {
		t.Errorf("%d %q %q", code, out, errs)
	}
}

// A plan for many groups names some offsets that do not fit, and counts the others.
func TestGroupResetSaysNotTooMuch(t *testing.T) {
	s := newShell(t)
	s.do("topic", "create", "t", "-p", "25")
	code, out, errs := s.try("", "group", "reset", "g", "--topic", "t", "--to-offset", "7", "--execute")
	if code != 0 || strings.Count(out, "\n") != 26 || strings.Count(errs, "0 is taken") != 10 ||
		!strings.Contains(errs, "and 15 more") {
		t.Errorf("%d %s %s", code, out, errs)
	}
}

func TestGroupResetOfSeveral(t *testing.T) {
	s := newShell(t)
	s.do("topic", "create", "t")
	s.feed(numbers(1, 10), "produce", "t")
	both := "a,t,0,3\nb,t,0,5\n"
	var plan []resetRow
	s.object(&plan, "group", "reset", "a", "b", "--to-offset", "2", "--topic", "t", "--execute")
	if len(plan) != 2 || plan[0] != (resetRow{"a", "t", 0, -1, 2}) || plan[1] != (resetRow{"b", "t", 0, -1, 2}) {
		t.Fatalf("%+v", plan)
	}
	if out := s.feed(both, "group", "import", "-", "--execute", "--export"); out != both {
		t.Errorf("%q", out)
	}
	if out := s.do("group", "export", "--all-groups"); out != both {
		t.Errorf("%q", out)
	}
	if out := s.do("group", "export", "b"); out != "t,0,5\n" {
		t.Errorf("%q", out)
	}
	if out := s.do("group", "reset", "--all-groups", "--to-current", "--export"); out != both {
		t.Errorf("%q", out)
	}
	if out := s.do("group", "reset", "a", "--shift-by", "1", "--export"); out != "t,0,4\n" {
		t.Errorf("%q", out)
	}
	// Only what is about the named group is taken from a file for several.
	s.object(&plan, "group", "reset", "c", "--to", "1", "--topic", "t", "--execute")
	if out := s.feed(both, "group", "import", "-", "b", "--execute", "--export"); out != "t,0,5\n" {
		t.Errorf("%q", out)
	}
	if out := s.feed("t,0,9\n", "group", "import", "-", "c", "--execute", "--export"); out != "t,0,9\n" {
		t.Errorf("%q", out)
	}
	if out := s.do("group", "export", "--all-groups", "--topic", "t:0"); out != both+"c,t,0,9\n" {
		t.Errorf("%q", out)
	}
	if out := s.do("group", "delete", "--all-groups"); out != "deleted a\ndeleted b\ndeleted c\n" {
		t.Errorf("%q", out)
	}
}

func TestGroupResetFailures(t *testing.T) {
	s := newShell(t)
	s.do("topic", "create", "t", "-p", "2")
	s.do("group", "reset", "g", "--to", "0", "--topic", "t:0", "--execute")
	s.fails(1, []string{"group", "reset", "g", "--shift-by", "1", "--topic", "t"}, "topic t, partition 1", "nothing to shift",
		"--to-offset")
	s.fails(1, []string{"group", "reset", "g", "--to", "0", "--topic", "t:2"}, "topic t has no partition 2, but 0 to 1")
	s.fails(1, []string{"group", "reset", "g", "--from-file", "/no/such.csv"}, "/no/such.csv")
	for _, x := range []struct{ file, part string }{
		{"", "holds no offsets"}, {"t,0\n", "2 fields"}, {"t,x,1\n", "line 1"}, {"t,0,1\nt,0,-1\n", "line 2"},
		{"t,0,1\ng,t,0,1\n", "line 2: some lines have a group"}, {",0,1\n", "no name"}, {"other,t,0,1\n", "says nothing about it"},
		{"nosuch,0,1\n", "topic nosuch, partition 0"}, {"\"t,0,1\n", "line 1"},
	} {
		code, out, errs := s.try(x.file, "group", "import", "-", "g", "--execute")
		if code != 1 || out != "" || !strings.Contains(errs, x.part) {
			t.Errorf("%q: exit code %d, printed %q, said %s", x.file, code, out, errs)
		}
	}
	for _, args := range [][]string{
		{"reset", "g", "--to-earliest", "--to-latest"}, {"reset", "g", "--to-offset", "-1"}, {"reset", "g", "--by-duration", "P"},
		{"reset", "g", "--by-duration", "PT"}, {"reset", "g", "--by-duration", "yesterday"}, {"reset", "g", "--to-datetime", "noon"},
		{"reset", "g", "--to", "end", "--topic", "t:"}, {"reset", "g", "--to", "end", "--topic", "t:x"},
		{"reset", "g", "--to", "end", "--topic", "t", "--all-topics"}, {"reset", "--to", "end"},
		{"reset", "g", "--all-groups", "--to", "end"}, {"reset", "g", "--to-latest=false"},
		{"delete", "g", "--all-groups"}, {"describe", "g", "--members", "--state"}, {"delete-offsets", "g"},
		{"list", "--state", "happy"}, {"list", "--type", "old"}, {"list", "--consumer", "--type", "classic"},
		{"export"}, {"import"},
	} {
		s.fails(2, append([]string{"group"}, args...))
	}
	code, _, errs := s.try("t,0,1\n", "group", "import", "-")
	if code != 2 || !strings.Contains(errs, "names no groups") {
		t.Errorf("%d %s", code, errs)
	}
}

func TestGroupDeleteOffsets(t *testing.T) {
	s := newShell(t)
	s.do("topic", "create", "t", "u", "-p", "3")
	s.do("group", "reset", "g", "--to", "0", "--topic", "t,u", "--execute")
	committed := func() string { return strings.ReplaceAll(s.do("group", "export", "g"), "\n", " ") }
	if got := committed(); got != "t,0,0 t,1,0 t,2,0 u,0,0 u,1,0 u,2,0 " {
		t.Fatal(got)
	}
	var rows []deletedRow
	s.object(&rows, "group", "delete-offsets", "g", "--topic", "t:0,2")
	if !slices.Equal(rows, []deletedRow{{"t", 0, ""}, {"t", 2, ""}}) {
		t.Errorf("%+v", rows)
	}
	if out := s.do("group", "delete-offsets", "g", "--topic", "u"); strings.Count(out, "deleted") != 3 {
		t.Error(out)
	}
	if got := committed(); got != "t,1,0 " {
		t.Error(got)
	}
	s.fails(1, []string{"group", "delete-offsets", "nosuch", "--topic", "t"}, "nosuch does not exist", "group list")
	s.fails(1, []string{"group", "delete-offsets", "g", "--topic", "nosuch"}, "topic nosuch", "UNKNOWN_TOPIC_OR_PARTITION")
}

func TestParsePlaces(t *testing.T) {
	for _, x := range []struct {
		args []string
		want string
	}{
		{[]string{"a"}, "map[a:[]]"}, {[]string{"a,b"}, "map[a:[] b:[]]"}, {[]string{"a:0,1,2"}, "map[a:[0 1 2]]"},
		{[]string{"a:0,1,b,c:7"}, "map[a:[0 1] b:[] c:[7]]"}, {[]string{"7"}, "map[7:[]]"}, {[]string{"7:1,2"}, "map[7:[1 2]]"},
		{[]string{"a:0", "a:1"}, "map[a:[0 1]]"}, {[]string{"a", "a:1"}, "map[a:[]]"}, {[]string{"a:1", "a"}, "map[a:[]]"},
		{nil, "map[]"},
	} {
		got, err := parsePlaces(x.args)
		if err != nil || fmt.Sprint(map[string][]int32(got)) != x.want {
			t.Errorf("%q: %v, %v", x.args, got, err)
		}
	}
	for _, bad := range []string{"", ":", ":1", "a:", "a:x", "a:-1", "a:99999999999", "a,,b"} {
		if got, err := parsePlaces([]string{bad}); err == nil {
			t.Errorf("%q is taken as %v", bad, got)
		}
	}
}

func TestParseISODuration(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"PT5M": 5 * time.Minute, "P1D": 24 * time.Hour, "P1DT2H3M4.5S": 26*time.Hour + 3*time.Minute + 4500*time.Millisecond,
		"pt1s": time.Second, "PT0S": 0, "90s": 90 * time.Second,
	} {
		if got, err := parseISODuration(in); err != nil || got != want {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
	for _, bad := range []string{"", "P", "PT", "P1", "P1W", "P1DT", "-PT1M", "-5m", "PT1H1D", "P99999999999999999999D"} {
		if got, err := parseISODuration(bad); err == nil {
			t.Errorf("%q is taken as %v", bad, got)
		}
	}
}

// What is read is written as it was, and nothing that comes in does harm.
func TestOffsetsFileThereAndBack(t *testing.T) {
	check := func(t rapid.TB, text string) {
		rows, err := readOffsets(strings.NewReader(text), "it")
		if err != nil {
			return
		}
		plan := make([]resetRow, len(rows))
		for i, r := range rows {
			plan[i] = resetRow{Group: r.group, Topic: r.topic, Partition: r.partition, New: r.offset}
		}
		var out strings.Builder
		if err := writeOffsets(&out, plan, rows[0].group != ""); err != nil {
			t.Fatal(err)
		}
		again, err := readOffsets(strings.NewReader(out.String()), "it")
		if err != nil || !slices.Equal(again, rows) {
			t.Fatalf("%q became %q: %v, %v", text, out.String(), again, err)
		}
	}
	for _, text := range []string{"t,0,1\n", "g,t,0,1\nh,t,2,9223372036854775807\n", "\"a,\"\"b\",t,0,1\n", "t, 0, 1", "\"", ",,,",
		"t,0,x\n"} {
		check(t, text)
	}
	rapid.Check(t, func(t *rapid.T) {
		field := rapid.StringOfN(rapid.RuneFrom([]rune("gt019,\"\r\n -ä\x00")), 0, 5, -1)
		number := rapid.Map(rapid.Int64Min(0), func(n int64) string { return strconv.FormatInt(n%1000, 10) })
		line := rapid.OneOf(
			rapid.Custom(func(t *rapid.T) string { return field.Draw(t, "f") }),
			rapid.Custom(func(t *rapid.T) string {
				group, topic := strconv.Quote(field.Draw(t, "group")), field.Draw(t, "topic")
				return group + "," + topic + "," + number.Draw(t, "p") + "," + number.Draw(t, "o")
			}))
		check(t, strings.Join(rapid.SliceOfN(line, 0, 4).Draw(t, "lines"), "\n"))
	})
}

func TestGroupListFilters(t *testing.T) {
	s := newShell(t)
	s.do("topic", "create", "t")
	s.do("group", "reset", "a", "b", "--to", "0", "--topic", "t", "--execute")
	for args, want := range map[string]int{
		"": 2, "--state empty": 2, "--state EMPTY,stable": 2, "--state Stable": 0, "--type classic": 2, "--type Consumer": 0,
		"--consumer": 2, "--protocol connect": 0, "--type classic --state empty": 2,
	} {
		var rows []groupRow
		s.object(&rows, append([]string{"group", "list"}, strings.Fields(args)...)...)
		if len(rows) != want {
			t.Errorf("list %s: %+v", args, rows)
		}
		if want == 2 && rows[0] != (groupRow{"a", "Empty", "classic", "", 1}) {
			t.Errorf("%+v", rows[0])
		}
	}
	if out := s.do("group", "describe", "--all-groups", "--state", "--verbose"); strings.Count(out, "Empty") != 2 ||
		!strings.Contains(out, "ASSIGNMENT-EPOCH") {
		t.Error(out)
	}
	code, out, errs := s.try("", "group", "describe", "a", "nosuch")
	if code != 1 || !strings.Contains(out, "group a ") || !strings.Contains(errs, "nosuch does not exist") {
		t.Errorf("%d %s %s", code, out, errs)
	}
}

func TestGroupValidateRegex(t *testing.T) {
	if code, out, errs := command(t, nil, "group", "validate-regex", "rides-.*"); code != 0 || !strings.Contains(out, "is valid") {
		t.Errorf("%d %s %s", code, out, errs)
	}
	if code, _, errs := command(t, nil, "group", "validate-regex", "a(?=b)"); code != 1 ||
		!strings.Contains(errs, "invalid or unsupported Perl syntax") || !strings.Contains(errs, "(?=") {
		t.Errorf("%d %s", code, errs)
	}
}
