//go:build compat

package groups

import (
	"testing"

	"moldau.io/moldau/compat-tests/harness"
)

// TestGroups plays the stories on one broker, with one process a client. -run TestGroups/members plays one of them.
func TestGroups(t *testing.T) {
	s := newStage(t, harness.UnderTest())
	play := func(name string, tell func(*story)) {
		t.Run(name, func(t *testing.T) { tell(&story{s, t}) })
	}
	for _, c := range [][2]string{{"java", "range"}, {"java", "cooperative"},
		{"confluent-kafka", "range"}, {"confluent-kafka", "cooperative"},
		{"franz-go", "cooperative"}} {
		play("members/"+c[0]+"/"+c[1], func(s *story) { members(s, c[0], c[1]) })
	}
	play("smooth/java/cooperative", func(s *story) { smooth(s, "java", "cooperative") })
	play("smooth/confluent-kafka/cooperative", func(s *story) { smooth(s, "confluent-kafka", "cooperative") })
	play("stops/java", func(s *story) { stops(s, "java") })
	play("rolling/java/range", func(s *story) { rolling(s, "java", "range", 20) })
}
