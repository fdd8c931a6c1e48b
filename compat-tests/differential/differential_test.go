//go:build compat

package differential

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/compat-tests/harness"
)

// properties of both brokers. They keep scripts about groups short, and old records from being deleted under a script.
var properties = map[string]string{
	"log.retention.ms": "-1",
	// What Apache Kafka's own server.properties sets shows as the source of a value, so both have it.
	"num.network.threads":                              "3",
	"num.io.threads":                                   "8",
	"socket.send.buffer.bytes":                         "102400",
	"socket.receive.buffer.bytes":                      "102400",
	"socket.request.max.bytes":                         "104857600",
	"num.partitions":                                   "1",
	"num.recovery.threads.per.data.dir":                "1",
	"offsets.topic.replication.factor":                 "1",
	"share.coordinator.state.topic.replication.factor": "1",
	"share.coordinator.state.topic.min.isr":            "1",
	"transaction.state.log.replication.factor":         "1",
	"transaction.state.log.min.isr":                    "1",
	"log.retention.hours":                              "168",
	"log.segment.bytes":                                "1073741824",
	"log.retention.check.interval.ms":                  "300000",
	"group.initial.rebalance.delay.ms":                 "0",
	"offsets.topic.num.partitions":                     "4",
	"group.consumer.assignment.interval.ms":            "0",
}

func TestAnswersAreKafkas(t *testing.T) {
	var kafka, other *harness.Broker
	var both sync.WaitGroup
	both.Go(func() { kafka = harness.Start(t, harness.Config{Kind: harness.Kafka, Properties: properties}) })
	other = harness.Start(t, harness.Config{Properties: properties})
	both.Wait()
	if kafka == nil {
		t.Fatal("Apache Kafka did not start")
	}
	versions := announced(t, kafka)
	announcedIsSubset(t, kafka, other)
	for _, group := range [][]script{protocolScripts, topicScripts, adminScripts, configScripts, configKindScripts,
		produceScripts, fetchScripts, offsetScripts,
		groupScripts, commitScripts, consumerScripts, consumerRandomScripts(), conversionScripts} {
		for _, sc := range group {
			t.Run(sc.title(), func(t *testing.T) {
				t.Parallel()
				compare(t, sc, kafka, other, versions)
			})
		}
	}
}

// compare runs sc against both brokers at the same time.
func compare(t *testing.T, sc script, kafka, other *harness.Broker, versions map[int16][2]int16) {
	t.Helper()
	want, got := playBoth(sc, kafka, other, versions)
	judge(t, sc, want, got, other.Kind)
}

func playBoth(sc script, kafka, other *harness.Broker, versions map[int16][2]int16) (want, got []step) {
	play := func(b *harness.Broker) []step {
		s := &session{broker: b, versions: versions, prefix: sc.name, began: time.Now(),
			names: &placeholders{seen: map[string]string{}}}
		return s.play(sc)
	}
	var wg sync.WaitGroup
	wg.Go(func() { want = play(kafka) })
	wg.Go(func() { got = play(other) })
	wg.Wait()
	return want, got
}

// judge compares two transcripts of a script.
func judge(t *testing.T, sc script, want, got []step, kind harness.Kind) {
	t.Helper()
	compared := 0
	for i := range min(len(want), len(got)) {
		compared += compareStep(t, sc.name, want[i], got[i])
	}
	if len(want) != len(got) {
		t.Errorf("kafka's transcript has %d steps (the last: %s %s), %s's has %d (the last: %s %s)", len(want),
			last(want).label,
			last(want).fate, kind, len(got), last(got).label, last(got).fate)
	}
	for _, st := range want {
		if st.fate == "silent" {
			t.Logf("kafka is silent: %s", st.label)
		}
	}
	if gave := last(want).fate; strings.HasPrefix(gave, "gave up") {
		t.Errorf("the script is wrong, Kafka itself: %s", gave)
	}
	t.Logf("%d steps, %d fields equal", len(want), compared)
}

func last(steps []step) step {
	if len(steps) == 0 {
		return step{}
	}
	return steps[len(steps)-1]
}

// compareStep reports what differs and returns how many fields are equal.
func compareStep(t *testing.T, script string, want, got step) int {
	t.Helper()
	var diffs, meant []string
	add := func(path, w, g string) {
		if reason := knownReason(script, want, path, g == absent); reason != "" {
			if !slices.Contains(meant, reason) {
				meant = append(meant, reason)
			}
		} else {
			diffs = append(diffs, fmt.Sprintf("  %-50s kafka: %s\n  %-50s  here: %s", path, w, "", g))
		}
	}
	if want.label != got.label {
		add("label", want.label, got.label)
	}
	if want.fate != got.fate {
		add("fate", want.fate, got.fate)
	}
	equal := 0
	paths := maps.Clone(want.fields)
	if paths == nil {
		paths = map[string]string{}
	}
	maps.Copy(paths, got.fields)
	for _, p := range slices.Sorted(maps.Keys(paths)) {
		w, inWant := want.fields[p]
		g, inGot := got.fields[p]
		if inWant && inGot && w == g {
			equal++
			continue
		}
		add(p, orAbsent(w, inWant), orAbsent(g, inGot))
	}
	for _, reason := range meant {
		t.Logf("%s: differs as meant: %s", want.label, reason)
	}
	if len(diffs) > 0 {
		t.Errorf("%s\n%s\nkafka, whole:\n    %s\nhere, whole:\n    %s", want.label, strings.Join(firstOf(diffs, 12), "\n"),
			strings.Join(firstOf(sorted(want.fields), 40), "\n    "), strings.Join(firstOf(sorted(got.fields), 40), "\n    "))
	}
	return equal
}

const absent = "(absent)"

func orAbsent(v string, present bool) string {
	if !present {
		return absent
	}
	return v
}

func firstOf(lines []string, n int) []string {
	if len(lines) > n {
		return append(slices.Clone(lines[:n]), fmt.Sprintf("(and %d more)", len(lines)-n))
	}
	return lines
}

// announced is what ApiVersions says, with Produce's floor put right: 0 is announced for old librdkafka, 3 is served.
func announced(t *testing.T, b *harness.Broker) map[int16][2]int16 {
	t.Helper()
	c, err := harness.Dial(b.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	req := kmsg.NewPtrApiVersionsRequest()
	req.Version = 3
	req.ClientSoftwareName, req.ClientSoftwareVersion = "compat", "1"
	resp, err := c.Ask(req, answerLimit)
	if err != nil {
		t.Fatal(err)
	}
	out := map[int16][2]int16{}
	for _, k := range resp.(*kmsg.ApiVersionsResponse).ApiKeys {
		out[k.ApiKey] = [2]int16{k.MinVersion, k.MaxVersion}
	}
	if r, ok := out[0]; ok && r[0] == 0 {
		out[0] = [2]int16{3, r[1]}
	}
	return out
}

// announcedIsSubset holds what moldau announces to Kafka's versions: an API is there with all of them, or not at all.
func announcedIsSubset(t *testing.T, kafka, other *harness.Broker) {
	t.Helper()
	want, got := announced(t, kafka), announced(t, other)
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if got[key] != want[key] {
			t.Errorf("%s is announced as %v, by Kafka as %v", kmsg.NameForKey(key), got[key], want[key])
		}
	}
	for _, key := range requiredKeys {
		if _, ok := got[key]; !ok {
			t.Errorf("%s is not announced", kmsg.NameForKey(key))
		}
	}
}

// requiredKeys are the APIs that moldau serves. Groups, transactions and security add theirs.
var requiredKeys = []int16{0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 20, 21, 22, 23, 32, 33, 35, 37, 42, 44,
	47, 57, 60, 61, 68, 69, 74, 75}
