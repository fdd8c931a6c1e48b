package group

import (
	"fmt"
	"maps"
	"slices"
)

// A classic group is not told of new partitions: its leader finds them and asks for a new assignment. What the group knew
// when it assigned last is kept only to say why.

// sizes are the partitions of the topics that g is subscribed to; 0 of those that are not there.
func (m *Machine) sizes(g *group) map[string]int {
	if len(g.topics) == 0 {
		return nil
	}
	now := m.topics.Now()
	sizes := make(map[string]int, len(g.topics))
	for name := range g.topics {
		t, _ := now.Topic(name)
		sizes[name] = t.Partitions
	}
	return sizes
}

// changedTopic says what has become of the first topic that is not what it was when g assigned last; "" if all are.
func (m *Machine) changedTopic(g *group) string {
	now := m.topics.Now()
	for _, name := range slices.Sorted(maps.Keys(g.sizes)) {
		t, _ := now.Topic(name)
		if was := g.sizes[name]; was != t.Partitions {
			return resized(name, was, t.Partitions)
		}
	}
	return ""
}

// resized says what has become of a topic that had so many partitions, of which 0 is no topic.
func resized(name string, was, is int) string {
	switch {
	case was == 0:
		return fmt.Sprintf("topic %.250s was made, with %d partitions", name, is)
	case is == 0:
		return fmt.Sprintf("topic %.250s was deleted", name)
	}
	return fmt.Sprintf("topic %.250s has %d partitions instead of %d", name, is, was)
}
