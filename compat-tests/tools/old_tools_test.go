//go:build compat

package tools

import (
	"strings"
	"testing"
	"time"

	"moldau.io/moldau/compat-tests/harness"
)

// TestC16_ToolsOfOlderReleases: operators have the tools of the cluster that they come from.
func TestC16_ToolsOfOlderReleases(t *testing.T) {
	b := harness.Start(t, harness.Config{})
	for _, release := range []struct {
		name                                       string
		topics, producer, consumer, groups, offset string // main classes
		offsetFlag                                 string
	}{
		{"2.8", "kafka.admin.TopicCommand", "kafka.tools.ConsoleProducer", "kafka.tools.ConsoleConsumer",
			"kafka.admin.ConsumerGroupCommand",
			"kafka.tools.GetOffsetShell", "--broker-list"},
		{"3.9", "org.apache.kafka.tools.TopicCommand", "kafka.tools.ConsoleProducer",
			"org.apache.kafka.tools.consumer.ConsoleConsumer",
			"org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", "org.apache.kafka.tools.GetOffsetShell",
			"--bootstrap-server"},
	} {
		t.Run(release.name, func(t *testing.T) {
			run := func(stdin, class string, args ...string) harness.Result {
				t.Helper()
				argv := harness.Java(harness.ClassPath("tools-"+release.name), class, args...)
				return harness.Run(t, 90*time.Second, stdin, argv...)
			}
			topic, group := "old-"+release.name, "group-"+release.name
			server := []string{"--bootstrap-server", b.Addr}
			with := func(args ...string) []string { return append(append([]string{}, server...), args...) }
			run("", release.topics, with("--create", "--topic", topic, "--partitions", "2", "--replication-factor",
				"1")...).Want(t, "Created topic "+topic)
			run("", release.topics, with("--describe", "--topic", topic)...).Want(t, "Topic: "+topic, "PartitionCount: 2",
				"Leader: 1")
			run("one\ntwo\nthree\n", release.producer, with("--topic", topic)...).Want(t)
			read := run("", release.consumer, with("--topic", topic, "--from-beginning", "--group", group, "--max-messages", "3",
				"--timeout-ms", "30000")...).
				Want(t, "one\n", "two\n", "three\n")
			if n := strings.Count(read.Stdout, "\n"); n != 3 {
				t.Errorf("%d lines were read:\n%s", n, read.Stdout)
			}
			if lag := columnSum(t, run("", release.groups, with("--describe", "--group", group)...).Want(t).Stdout,
				"LAG"); lag != 0 {
				t.Errorf("lag %d after everything was read", lag)
			}
			run("", release.offset, release.offsetFlag, b.Addr, "--topic", topic).Want(t, topic+":0:", topic+":1:")
		})
	}
}
