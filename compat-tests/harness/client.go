package harness

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Scenarios of the client programs, in the order of scenarios.md.
var Scenarios = []string{"create-topic", "produce-none", "produce-gzip", "produce-snappy", "produce-lz4",
	"produce-zstd", "produce-idempotent", "read-back", "group-commit", "group-resume", "after-restart"}

// Clients are the folders of the client programs.
var Clients = []string{"java-4.4", "java-3.9", "confluent-kafka", "kafka-python", "aiokafka", "franz-go", "sarama",
	"kafka-go", "kafkajs", "platformatic-kafka", "kcat"}

// Absent are the scenarios that a client has no means for; scenarios.md says why.
var Absent = map[string][]string{"kafka-go": {"produce-idempotent"}}

// Verdict is how one scenario of one client ended.
type Verdict struct {
	Broker   Kind
	Scenario string
	Passed   bool
	Why      string
}

// RunClient runs a client's program against a fresh broker, restarts the broker, and runs the program again. argv is
// the program, to which BOOTSTRAP, PREFIX and PHASE are added. Each scenario is a subtest.
func RunClient(t *testing.T, client string, argv ...string) {
	t.Helper()
	if !slices.Contains(Clients, client) {
		t.Fatalf("%s is not among the clients", client)
	}
	b := Start(t, Config{})
	first := runPhase(t, client, "first", b, argv)
	b.Stop(t)
	b.Run(t)
	second := runPhase(t, client, "second", b, argv)
	for k, v := range second {
		first[k] = v
	}
	var verdicts []Verdict
	for _, scenario := range Scenarios {
		if slices.Contains(Absent[client], scenario) {
			continue
		}
		why, seen := first[scenario]
		if !seen {
			why = "the program did not get there"
		}
		verdicts = append(verdicts, Verdict{b.Kind, scenario, why == "", why})
		t.Run(scenario, func(t *testing.T) {
			if why != "" {
				t.Error(why)
			}
		})
	}
	Record(t, client, verdicts)
}

// runPhase returns why each scenario failed; "" for one that passed.
func runPhase(t *testing.T, client, phase string, b *Broker, argv []string) map[string]string {
	t.Helper()
	dir := filepath.Join(Root(), "compat-tests", client)
	full := append(slices.Clone(argv), b.Addr, client, phase)
	r := RunIn(t, dir, []string{"NODE_PATH=" + filepath.Join(Cache(), "node", "node_modules"),
		"PYTHONDONTWRITEBYTECODE=1"},
		3*time.Minute, "", full...)
	verdicts := map[string]string{}
	for line := range strings.Lines(r.Stdout) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "ok":
			verdicts[rest] = ""
		case "fail":
			scenario, why, _ := strings.Cut(rest, ": ")
			verdicts[scenario] = "failed: " + why
		}
	}
	if r.Code != 0 {
		t.Errorf("%s, phase %s: exit code %d\nstdout:\n%s\nstderr:\n%s", client, phase, r.Code, Tail(r.Stdout, 30),
			Tail(r.Stderr, 60))
	}
	t.Logf("%s, phase %s: %.1f s", client, phase, r.Took.Seconds())
	return verdicts
}

// Record keeps the verdicts of a client, or of another that has some, for the matrix.
func Record(t *testing.T, name string, verdicts []Verdict) {
	t.Helper()
	dir := filepath.Join(Cache(), "verdicts")
	text, err := json.MarshalIndent(verdicts, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".json"), text, 0o644); err != nil {
		t.Fatal(err)
	}
}
