package segment

import (
	"reflect"
	"slices"
	"testing"
)

// TestACopyHasEveryField fails when a field comes that Segment.In does not know: say there what becomes of it.
func TestACopyHasEveryField(t *testing.T) {
	known := []string{"base", "log", "offsets", "times", "txns", "seq", "size", "next", "tip", "follows",
		"maxTimestamp", "maxRelative", "checks", "timed", "maxSure", "mends", "w"}
	parts := map[string][]string{
		"offsets": {"file", "entryBytes", "held", "mu", "made", "kept", "tail", "near"},
		"txns":    {"file", "some", "sure", "mu", "size", "waiting"},
		"checks":  {"opened", "spans", "fits"},
	}
	segment := reflect.TypeFor[Segment]()
	if got := fields(segment); !slices.Equal(got, known) {
		t.Errorf("Segment has %v, Segment.In knows %v", got, known)
	}
	for name, want := range parts {
		part, _ := segment.FieldByName(name)
		if got := fields(part.Type); !slices.Equal(got, want) {
			t.Errorf("Segment.%s has %v, Segment.In knows %v", name, got, want)
		}
	}
}

func fields(t reflect.Type) (names []string) {
	for i := range t.NumField() {
		names = append(names, t.Field(i).Name)
	}
	return names
}
