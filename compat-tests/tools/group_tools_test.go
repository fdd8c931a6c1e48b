//go:build compat

package tools

import (
	"sync"
	"testing"
	"time"

	"moldau.io/moldau/compat-tests/harness"
)

// quickGroups keeps groups from waiting for more members.
var quickGroups = map[string]string{"group.initial.rebalance.delay.ms": "0", "offsets.topic.num.partitions": "4",
	"log.retention.ms": "-1"}

// TestGroupToolsTellWhatTheyTellOfKafka asks Kafka's tools for groups the same of Apache Kafka and of moldau, for groups of
// either protocol and with tools of two releases, and compares what they print, also with what 'moldau group' tells of the
// same broker.
func TestGroupToolsTellWhatTheyTellOfKafka(t *testing.T) {
	var kafka, other *harness.Broker
	var both sync.WaitGroup
	both.Go(func() {
		kafka = harness.Start(t, harness.Config{Kind: harness.Kafka, Properties: quickGroups, JavaHeap: "512M"})
	})
	other = harness.Start(t, harness.Config{Properties: quickGroups})
	both.Wait()
	if kafka == nil {
		t.Fatal("Apache Kafka did not start")
	}
	began := time.Now()
	for _, jars := range []string{"tools", "tools-3.9"} {
		box := openToolbox(t, jars)
		for _, protocol := range []string{"classic", "consumer"} {
			t.Run(jars+"/"+protocol, func(t *testing.T) {
				tell := func(b *harness.Broker) *groupStory {
					s := &groupStory{t: t, box: box, broker: b, protocol: protocol, began: began, files: t.TempDir()}
					s.run(func() {
						s.sameNumbers(s.name("one"))
						s.sameNumbers(s.name("two"))
					})
					return s
				}
				compareTellings(t, tell(kafka), tell(other))
			})
		}
	}
}

// compareTellings names every command that told something else.
func compareTellings(t *testing.T, kafka, other *groupStory) {
	t.Helper()
	for i, k := range kafka.told {
		if i >= len(other.told) {
			t.Fatalf("of moldau nothing was asked any more after %d commands", i)
		}
		if o := other.told[i]; o != k {
			t.Errorf("%s\nof Kafka:\n%s\nof moldau (%s):\n%s", k.command, k.text, o.command, o.text)
		}
	}
	if len(other.told) != len(kafka.told) {
		t.Errorf("%d commands against %d", len(other.told), len(kafka.told))
	}
}
