//go:build compat

package groups

import (
	"flag"
	"os"
	"sync"
	"testing"

	"moldau.io/moldau/compat-tests/harness"
)

// TestMain lets more stories play at once than there are processors: most of the time they wait for timeouts.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

var tellers = map[string]func(s *story, program, protocol string){
	"members": members,
	"smooth":  smooth,
	"stops":   stops,
	"convert": convert,
	"rolling": rolling,
	"zombie":  zombie,
	"fenced":  fenced,
	"crash":   crash,
	"mixed":   mixed,
	"pattern": pattern,
	"chosen":  chosen,
}

// TestGroups plays the stories on one broker, with one process a client; first those that must be alone, then the
// others side by side. -run TestGroups/members plays one of them.
func TestGroups(t *testing.T) {
	s := newStage(t, harness.UnderTest())
	var mu sync.Mutex
	var verdicts []harness.Verdict
	t.Cleanup(func() {
		if len(verdicts) == len(Stories) { // -run may have left some out
			harness.Record(t, "groups", verdicts)
		}
	})
	play := func(told Story) {
		t.Run(told.String(), func(t *testing.T) {
			t.Cleanup(func() {
				mu.Lock()
				defer mu.Unlock()
				verdicts = append(verdicts, harness.Verdict{Broker: s.broker.Kind, Scenario: told.String(),
					Passed: !t.Failed()})
			})
			if !told.Alone {
				t.Parallel()
			}
			tellers[told.Name](&story{s, t}, told.Client, told.Protocol)
		})
	}
	for _, told := range Stories {
		if told.Alone {
			play(told)
		}
	}
	if s.broker.Kind == harness.Moldau {
		t.Run("reference", reference)
	}
	for _, told := range Stories {
		if !told.Alone {
			play(told)
		}
	}
}
