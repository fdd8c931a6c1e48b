package config

import (
	"slices"
	"strings"
	"testing"
)

// Assignors may be named as Kafka's classes are. Those of others are refused when the broker starts, not when a group
// chooses one.
func TestAssignorsOfConsumerGroups(t *testing.T) {
	const key = "group.consumer.assignors"
	for value, want := range map[string]string{
		"range": "range", "range,uniform": "range uniform", "uniform": "uniform",
		"org.apache.kafka.coordinator.group.assignor.RangeAssignor, uniform": "range uniform",
		"sticky": "refused", "uniform,com.example.Mine": "refused", "": "refused",
	} {
		got := "refused"
		st, _, err := NewStatic(Layer{"--set", map[string]string{key: value}})
		if err == nil {
			got = strings.Join(Assignors(st.List(key)), " ")
		}
		if got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
		if err != nil && !strings.Contains(err.Error(), key) {
			t.Errorf("%q: %v", value, err)
		}
	}
	if !slices.Equal(Assignors([]string{"uniform", "range"}), []string{"uniform", "range"}) {
		t.Error("the default is not taken")
	}
}
