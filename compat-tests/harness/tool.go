package harness

import (
	"io"
	"testing"
	"time"
)

// mainClasses maps the names of Kafka's scripts, without "kafka-" and ".sh", to what they start.
var mainClasses = map[string]string{
	"broker-api-versions": "org.apache.kafka.tools.BrokerApiVersionsCommand",
	"configs":             "kafka.admin.ConfigCommand",
	"console-consumer":    "org.apache.kafka.tools.consumer.ConsoleConsumer",
	"console-producer":    "org.apache.kafka.tools.ConsoleProducer",
	"consumer-groups":     "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
	"consumer-perf-test":  "org.apache.kafka.tools.ConsumerPerformance",
	"delete-records":      "org.apache.kafka.tools.DeleteRecordsCommand",
	"dump-log":            "org.apache.kafka.tools.DumpLogSegments",
	"e2e-latency":         "org.apache.kafka.tools.EndToEndLatency",
	"get-offsets":         "org.apache.kafka.tools.GetOffsetShell",
	"log-dirs":            "org.apache.kafka.tools.LogDirsCommand",
	"producer-perf-test":  "org.apache.kafka.tools.ProducerPerformance",
	"topics":              "org.apache.kafka.tools.TopicCommand",
	"verifiable-consumer": "org.apache.kafka.tools.VerifiableConsumer",
	"verifiable-producer": "org.apache.kafka.tools.VerifiableProducer",
}

// java is a command line with flags for programs that live for seconds: no second compiler, one collector thread. They
// change how soon a program starts on few cores, nothing of what it does.
func java(classPath string, args ...string) []string {
	return append([]string{"java", "-Xmx512M", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
		"-Djava.awt.headless=true", "-Dlog4j2.level=WARN", "-Dorg.apache.logging.log4j.level=WARN",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", classPath}, args...)
}

// Java is the command line of a short-lived Java program.
func Java(classPath, main string, args ...string) []string {
	return java(classPath, append([]string{main}, args...)...)
}

// ToolCommand is the command line of one of Kafka's tools.
func ToolCommand(tb testing.TB, name string, args ...string) []string {
	tb.Helper()
	class, ok := mainClasses[name]
	if !ok {
		tb.Fatalf("no such tool: %s", name)
	}
	return Java(ClassPath("tools"), class, args...)
}

// Tool runs one of Kafka's command line tools to its end.
func Tool(tb testing.TB, name string, args ...string) Result {
	tb.Helper()
	return Run(tb, 90*time.Second, "", ToolCommand(tb, name, args...)...)
}

// ToolInput is Tool with a text on its stdin.
func ToolInput(tb testing.TB, stdin, name string, args ...string) Result {
	tb.Helper()
	return Run(tb, 90*time.Second, stdin, ToolCommand(tb, name, args...)...)
}

// SpawnTool starts one of Kafka's command line tools beside the test.
func SpawnTool(tb testing.TB, stdin io.Reader, name string, args ...string) *Process {
	tb.Helper()
	return Spawn(tb, stdin, ToolCommand(tb, name, args...)...)
}

// MoldauTool runs one of moldau's own commands to its end.
func MoldauTool(tb testing.TB, stdin string, args ...string) Result {
	tb.Helper()
	return Run(tb, 60*time.Second, stdin, append([]string{MoldauBinary(tb)}, args...)...)
}
