package assignor

import (
	"bufio"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestKafkaAssignments makes the assignments that Apache Kafka 4.4.0 made and compares every record that it wrote, with the
// order of the topics and of the partitions in it. compat-tests/groupmath writes the file, and others that
// MOLDAU_ASSIGNMENTS names. A line of it is one of
//
//	=                                   another group begins, without members and topics
//	t TOPIC ID PARTITIONS               a topic is there now
//	t TOPIC                             it is not there any more
//	e TOPIC,...                         what the regular expression of the group's members matches now
//	m MEMBER INSTANCE TOPIC,... REGEX   a member joins, or changes its subscription or its instance id, - for none;
//	                                    REGEX is 1 if it has the regular expression
//	x MEMBER                            a member leaves
//	r MEMBER MEMBER                     the second takes the place of the first, which has its instance id; its line m follows
//	a ASSIGNOR HOMOGENEOUS JOINING      an assignment is made; with JOINING the member of the line before is not written yet
//	+ NUMBER TOPIC:PARTITIONS ...       the record for a member, by its place among those that joined
func TestKafkaAssignments(t *testing.T) {
	assignments, err := replay(goldenLines(t, "MOLDAU_ASSIGNMENTS", "testdata/kafka-4.4.0.gz"))
	if err != nil {
		t.Fatal(err)
	}
	if assignments < 3000 {
		t.Errorf("only %d assignments", assignments)
	}
	t.Logf("%d assignments", assignments)
}

// goldenLines reads a packed file, or the one that a variable names.
func goldenLines(t *testing.T, variable, name string) (lines []string) {
	t.Helper()
	if other := os.Getenv(variable); other != "" {
		name = other
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	scanner := bufio.NewScanner(z)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		lines = append(lines, scanner.Text())
	}
	if err := scanner.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

// play is a group as the lines so far have it.
type play struct {
	group   Group
	matched []string
	regex   map[string]bool // members that have the regular expression
	replace map[string][]Topic
	result  Assignment
	changed map[string]bool
}

func newPlay() *play {
	return &play{group: Group{Topics: map[string]TopicInfo{}}, regex: map[string]bool{}, replace: map[string][]Topic{}}
}

func replay(lines []string) (assignments int, err error) {
	p := newPlay()
	for i, line := range lines {
		f := strings.Fields(line)
		if f[0] != "+" {
			err = p.unchanged()
		}
		switch {
		case err != nil:
		case f[0] == "=":
			p = newPlay()
		case f[0] == "t":
			err = p.topic(f[1:])
		case f[0] == "e":
			p.matched = list(f[1])
		case f[0] == "m":
			p.member(f[1:])
		case f[0] == "x":
			p.remove(f[1])
		case f[0] == "r":
			p.replace[f[2]] = p.remove(f[1])
		case f[0] == "a":
			assignments++
			err = p.assign(f[1], f[2] == "1", f[3] == "1")
		case f[0] == "+":
			err = p.record(f[1:])
		}
		if err != nil {
			return assignments, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return assignments, p.unchanged()
}

func list(s string) []string {
	if s == "-" {
		return nil
	}
	return strings.Split(s, ",")
}

func (p *play) topic(f []string) error {
	delete(p.group.Topics, f[0])
	if len(f) == 1 {
		return nil
	}
	var info TopicInfo
	id, err := base64.RawURLEncoding.DecodeString(f[1])
	if err != nil {
		return err
	}
	copy(info.ID[:], id)
	info.Partitions, err = strconv.Atoi(f[2])
	p.group.Topics[f[0]] = info
	return err
}

func (p *play) member(f []string) {
	p.peak()
	at := slices.IndexFunc(p.group.Members, func(m Member) bool { return m.ID == f[0] })
	if at < 0 {
		at = len(p.group.Members)
		p.group.Members = append(p.group.Members, Member{ID: f[0], Target: p.replace[f[0]]})
	}
	m := &p.group.Members[at]
	m.Instance = nil
	if f[1] != "-" {
		m.Instance = &f[1]
	}
	m.Names = list(f[2])
	p.regex[m.ID] = f[3] == "1"
}

func (p *play) peak() { p.group.Peak = max(p.group.Peak, len(p.group.Members)) }

func (p *play) remove(id string) (target []Topic) {
	p.peak()
	p.group.Members = slices.DeleteFunc(p.group.Members, func(m Member) bool {
		if m.ID == id {
			target = m.Target
		}
		return m.ID == id
	})
	return target
}

func (p *play) assign(assignor string, homogeneous, joining bool) (err error) {
	p.group.Homogeneous, p.group.Joining = homogeneous, joining
	if !joining {
		p.peak()
	}
	for i := range p.group.Members {
		m := &p.group.Members[i]
		m.Matched = nil
		if p.regex[m.ID] {
			m.Matched = p.matched
		}
	}
	p.changed = map[string]bool{}
	if assignor == "range" {
		p.result, err = Range(p.group)
	} else {
		p.result, err = Uniform(p.group)
	}
	return err
}

// record compares what a member has now with a record, and makes it its target.
func (p *play) record(f []string) error {
	at, err := strconv.Atoi(f[0])
	if err != nil {
		return err
	}
	var want []Topic
	for _, topic := range f[1:] {
		name, partitions, _ := strings.Cut(topic, ":")
		want = append(want, Topic{p.group.Topics[name].ID, numbers(partitions)})
	}
	m := &p.group.Members[at]
	if got := p.result[m.ID]; !slices.EqualFunc(got, want, equal) {
		return fmt.Errorf("%s has %v, with Kafka it has %v", m.ID, got, want)
	}
	m.Target = want
	p.changed[m.ID] = true
	return nil
}

// unchanged checks that members without a record have what they had.
func (p *play) unchanged() error {
	if p.result == nil {
		return nil
	}
	for _, m := range p.group.Members {
		if got := p.result[m.ID]; !p.changed[m.ID] && !slices.EqualFunc(got, m.Target, equal) {
			return fmt.Errorf("before this, %s has %v, with Kafka it still has %v", m.ID, got, m.Target)
		}
	}
	p.result = nil
	return nil
}

func equal(a, b Topic) bool { return a.ID == b.ID && slices.Equal(a.Partitions, b.Partitions) }

// numbers reads 0-3,7.
func numbers(s string) (all []int32) {
	for _, part := range strings.Split(s, ",") {
		first, last, ranged := strings.Cut(part, "-")
		if !ranged {
			last = first
		}
		from, _ := strconv.Atoi(first)
		to, _ := strconv.Atoi(last)
		for n := from; n <= to; n++ {
			all = append(all, int32(n))
		}
	}
	return all
}
