package group

import (
	"cmp"
	"strconv"
	"strings"
	"testing"
)

func TestRule105_AClassicGroupBecomesAConsumerGroup(t *testing.T)     { run(t, "upgrade") }
func TestRule105_AConsumerGroupBecomesAClassicGroup(t *testing.T)     { run(t, "downgrade") }
func TestRule105_AStaticMemberBringsTheClassicGroupBack(t *testing.T) { run(t, "downgrade_static") }
func TestRule105_ClassicMembersInAConsumerGroup(t *testing.T)         { run(t, "consumer_classic") }

// subscription is the metadata of a protocol: a subscription where it begins with +, as in +t+u, and +t/t:0;1 of a member
// that has partitions 0 and 1; else the text.
func (b *bench) subscription(text string) []byte {
	topics, ok := strings.CutPrefix(text, "+")
	if !ok {
		return []byte(text)
	}
	topics, owned, _ := strings.Cut(topics, "/")
	names := strings.Split(topics, "+")
	out := []byte{0, 1, 0, 0, 0, byte(len(names))}
	for _, n := range names {
		out = append(append(out, 0, byte(len(n))), n...)
	}
	out = append(out, 0xff, 0xff, 0xff, 0xff) // no user data
	list := appendAssignment(nil, 1, readNamed(owned))
	return append(out, list[2:len(list)-4]...)
}

// assignmentBytes is an assignment where the text begins with +, as in +t:0;1/u:2.
func assignmentBytes(text string) []byte {
	if list, ok := strings.CutPrefix(text, "+"); ok {
		return appendAssignment(nil, 1, readNamed(list))
	}
	return []byte(text)
}

func readNamed(text string) []namedPartitions {
	var list []namedPartitions
	for _, part := range strings.FieldsFunc(text, func(c rune) bool { return c == '/' }) {
		name, ps, _ := strings.Cut(part, ":")
		t := namedPartitions{topic: name}
		for _, p := range strings.Split(ps, ";") {
			n, _ := strconv.Atoi(p)
			t.partitions = append(t.partitions, int32(n))
		}
		list = append(list, t)
	}
	return list
}

func showNamed(list []namedPartitions) string {
	s := ""
	for _, t := range list {
		s += "/" + t.topic + ":"
		for i, p := range t.partitions {
			s += strings.Repeat(",", min(i, 1)) + strconv.Itoa(int(p))
		}
	}
	return cmp.Or(strings.TrimPrefix(s, "/"), "-")
}

// textOf is an assignment as scripts write it.
func textOf(assignment []byte) string {
	if list, _, ok := readAssignment(assignment); ok {
		return showNamed(list)
	}
	return string(assignment)
}

// text is metadata as scripts write it.
func text(metadata []byte) string {
	if s, ok := readSubscription(metadata); ok {
		return "+" + strings.Join(s.topics, "+")
	}
	return string(metadata)
}

// The parser takes outside bytes: it does not panic, makes nothing larger than what came in, and reads what it wrote.
func FuzzConsumerProtocol(f *testing.F) {
	b := &bench{}
	f.Add(b.subscription("+t+u/t:0;1"))
	f.Add(assignmentBytes("+t:0;1/u:2"))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0, 3, 0, 0, 0, 1, 0, 1, 't', 0, 0, 0, 1, 7, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 'r', '1'})
	f.Add([]byte{0, 1, 0x7f, 0xff, 0xff, 0xff})
	f.Add([]byte{0xff, 0xff, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		if s, ok := readSubscription(in); ok && (len(s.topics) > len(in) || len(s.owned) > len(in) || s.version < 0) {
			t.Errorf("%x: %+v", in, s)
		}
		if topics, ok := readTopics(in); ok && len(topics) > len(in) {
			t.Errorf("%x: %d topics", in, len(topics))
		}
		list, _, ok := readAssignment(in)
		if !ok {
			return
		}
		again, custom, ok := readAssignment(appendAssignment(nil, int16(in[0])<<8|int16(in[1]), list))
		if !ok || custom || showNamed(again) != showNamed(list) {
			t.Errorf("%x: %v, again %v", in, list, again)
		}
	})
}

// Versions 0 to 3 of a subscription, and later ones, which are read as 3.
func TestSubscriptionsOfAllVersions(t *testing.T) {
	body := []byte{0, 0, 0, 2, 0, 1, 't', 0, 1, 'u', 0, 0, 0, 1, 9}
	owned := []byte{0, 0, 0, 1, 0, 1, 't', 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4}
	generation, rack := []byte{0, 0, 0, 7}, []byte{0, 2, 'r', '1'}
	for _, c := range []struct {
		version byte
		parts   [][]byte
		owned   string
		rack    string
		ok      bool
	}{
		{0, [][]byte{body}, "-", "", true},
		{1, [][]byte{body, owned}, "t:3,4", "", true},
		{2, [][]byte{body, owned, generation}, "t:3,4", "", true},
		{3, [][]byte{body, owned, generation, rack}, "t:3,4", "r1", true},
		{3, [][]byte{body, owned, generation, {0xff, 0xff}}, "t:3,4", "", true},
		{9, [][]byte{body, owned, generation, rack, {1, 2, 3}}, "t:3,4", "r1", true},
		{1, [][]byte{body}, "", "", false},
		{2, [][]byte{body, owned}, "", "", false},
		{3, [][]byte{body, owned, generation}, "", "", false},
		{0, [][]byte{body[:len(body)-1]}, "", "", false},
	} {
		in := []byte{0, c.version}
		for _, part := range c.parts {
			in = append(in, part...)
		}
		s, ok := readSubscription(in)
		if ok != c.ok {
			t.Errorf("version %d, %x: read %v, want %v", c.version, in, ok, c.ok)
		}
		if ok && (strings.Join(s.topics, ",") != "t,u" || showNamed(s.owned) != c.owned || s.rack != c.rack) {
			t.Errorf("version %d: %+v", c.version, s)
		}
	}
	if _, _, ok := readAssignment([]byte{0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}); ok {
		t.Error("an assignment of a negative version was read")
	}
	if _, custom, ok := readAssignment([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 5}); !ok || !custom {
		t.Error("an assignor's own data was not seen")
	}
}
