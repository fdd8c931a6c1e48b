//go:build compat

package tools

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"moldau.io/moldau/compat-tests/harness"
)

// TestGroupRecordsAreReadByKafkasTools reads __consumer_offsets as operators do: with the console consumer's formatters from a
// running broker, and with kafka-dump-log from the files of one that has ended.
func TestGroupRecordsAreReadByKafkasTools(t *testing.T) {
	b := harness.Start(t, harness.Config{Properties: quickGroups})
	box := openToolbox(t, "tools")
	var stories []*groupStory
	for _, protocol := range []string{"classic", "consumer"} {
		s := &groupStory{t: t, box: box, broker: b, protocol: protocol, began: time.Now(), files: t.TempDir()}
		s.topics()
		s.member("a", "one", "-", s.name("rides")+","+s.name("fares"), 33)
		stories = append(stories, s)
	}
	read := func(formatter string) string {
		t.Helper()
		// It ends when nothing has come for a while.
		return box.run(t, consoleConsumer, "--bootstrap-server", b.Addr, "--topic", "__consumer_offsets", "--from-beginning",
			"--timeout-ms", "3000", "--formatter", "org.apache.kafka.tools.consumer."+formatter).Stdout
	}
	offsets, metadata := read("OffsetsMessageFormatter"), read("GroupMetadataMessageFormatter")
	for _, s := range stories {
		holds(t, offsets, `"group":"`+s.name("one")+`","topic":"`+s.name("rides")+`","partition":2`, `"offset":10`)
		holds(t, offsets, `"group":"`+s.name("one")+`","topic":"`+s.name("fares")+`","partition":0`, `"offset":3`)
	}
	holds(t, metadata, `"group":"`+stories[0].name("one")+`"`, `"protocolType":"consumer"`, `"generation":1`)
	box.must(t, "@leave", stories[0].name("a"))
	box.must(t, "@leave", stories[1].name("a"))
	b.Stop(t)
	files, _ := filepath.Glob(filepath.Join(b.DataDir, "__consumer_offsets-*", "*.log"))
	dump := box.must(t, dumpLog, "--offsets-decoder", "--files", strings.Join(files, ",")).Stdout
	if bad := regexp.MustCompile(`isvalid: false|(?i)unknown|exception|could not`).FindString(dump); bad != "" {
		t.Errorf("the dump has %q:\n%s", bad, harness.Tail(dump, 40))
	}
	for _, s := range stories {
		holds(t, dump, `"group":"`+s.name("one")+`","topic":"`+s.name("rides")+`","partition":0`, `"offset":10`)
	}
	holds(t, dump, `"group":"`+stories[0].name("one")+`"`, `"protocolType":"consumer"`, `"clientId":"`+stories[0].name("a")+`"`)
	one := `"groupId":"` + stories[1].name("one") + `"`
	holds(t, dump, one, `"epoch":`)                                            // ConsumerGroupMetadata
	holds(t, dump, one, `"subscribedTopicNames":`, `"rebalanceTimeoutMs":`)    // ConsumerGroupMemberMetadata
	holds(t, dump, one, `"assignmentEpoch":`)                                  // ConsumerGroupTargetAssignmentMetadata
	holds(t, dump, one, `"topicPartitions":`, `"partitions":[0,1,2]`)          // ConsumerGroupTargetAssignmentMember
	holds(t, dump, one, `"memberEpoch":`, `"assignedPartitions":`, `"state":`) // ConsumerGroupCurrentMemberAssignment
	if n := strings.Count(dump, `"data":{`); n < 12 {
		t.Errorf("only %d records are shown:\n%s", n, harness.Tail(dump, 40))
	}
}

// holds wants a line of text that has every one of parts.
func holds(t *testing.T, text string, parts ...string) {
	t.Helper()
lines:
	for line := range strings.Lines(text) {
		for _, p := range parts {
			if !strings.Contains(line, p) {
				continue lines
			}
		}
		return
	}
	t.Errorf("no line with %q in\n%s", parts, harness.Tail(text, 60))
}
