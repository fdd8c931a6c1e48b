package group

import (
	"cmp"
	"strconv"
	"strings"
	"testing"
)

func TestRule105_AClassicGroupBecomesAConsumerGroup(t *testing.T) { run(t, "upgrade") }

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
