//go:build compat

package tools

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"moldau.io/moldau/compat-tests/harness"
)

// TestTools is one story: the later tools look at what the earlier ones have done.
func TestTools(t *testing.T) {
	b := harness.Start(t, harness.Config{})
	s := &story{b: b}
	for _, part := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"broker-api-versions", s.apiVersions},
		{"topics", s.topics},
		{"console-producer", s.consoleProducer},
		{"console-consumer", s.consoleConsumer},
		{"console-consumer-group", s.consoleConsumerGroup},
		{"consumer-groups", s.consumerGroups},
		{"configs", s.configs},
		{"get-offsets", s.getOffsets},
		{"delete-records", s.deleteRecords},
		{"log-dirs", s.logDirs},
		{"producer-perf-test", s.producerPerf},
		{"consumer-perf-test", s.consumerPerf},
		{"e2e-latency", s.endToEndLatency},
		{"verifiable", s.verifiable},
		{"topics-delete", s.deleteTopic},
		{"dump-log", s.dumpLog},
	} {
		if !t.Run(part.name, part.run) {
			return // what follows would only repeat it
		}
	}
}

type story struct{ b *harness.Broker }

func (s *story) server() []string { return []string{"--bootstrap-server", s.b.Addr} }

func (s *story) tool(t *testing.T, name string, args ...string) harness.Result {
	t.Helper()
	return harness.Tool(t, name, append(s.server(), args...)...)
}

func (s *story) apiVersions(t *testing.T) {
	s.tool(t, "broker-api-versions").Want(t, s.b.Addr, "Produce(0): ", "Fetch(1): 4 to 18", "JoinGroup(11): 0 to 9",
		"ApiVersions(18): 0 to 5", "CreateTopics(19): 2 to 7", "usable: 13")
}

func (s *story) topics(t *testing.T) {
	s.tool(t, "topics", "--create", "--topic", "orders", "--partitions", "3", "--replication-factor", "1",
		"--config", "retention.ms=3600000").Want(t, "Created topic orders.")
	if r := s.tool(t, "topics", "--create", "--topic", "orders"); r.Code == 0 ||
		!strings.Contains(r.Both(), "already exists") {
		t.Errorf("made twice: code %d\n%s", r.Code, r.Both())
	}
	s.tool(t, "topics", "--create", "--if-not-exists", "--topic", "orders").Want(t)
	r := s.tool(t, "topics", "--describe", "--topic", "orders").Want(t, "Topic: orders", "TopicId: ", "PartitionCount: 3",
		"ReplicationFactor: 1", "retention.ms=3600000", "Leader: 1", "Replicas: 1", "Isr: 1")
	if n := strings.Count(r.Stdout, "Leader: 1"); n != 3 {
		t.Errorf("%d partitions have leader 1:\n%s", n, r.Stdout)
	}
	s.tool(t, "topics", "--alter", "--topic", "orders", "--partitions", "4").Want(t)
	s.tool(t, "topics", "--describe", "--topic", "orders").Want(t, "PartitionCount: 4")
	if r := s.tool(t, "topics", "--describe", "--topic", "nothing"); r.Code == 0 ||
		!strings.Contains(r.Both(), "does not exist") {
		t.Errorf("describe of an unknown topic: code %d\n%s", r.Code, r.Both())
	}
	s.tool(t, "topics", "--list").Want(t, "orders")
}

const lines = 1000

// text is what console-producer is given: keys and values, with characters of several bytes.
func text() string {
	var b strings.Builder
	for i := range lines {
		fmt.Fprintf(&b, "key-%d:value %d of Vltava — Молдова — 伏尔塔瓦\n", i%50, i)
	}
	return b.String()
}

func (s *story) consoleProducer(t *testing.T) {
	harness.ToolInput(t, text(), "console-producer",
		append(s.server(), "--topic", "orders", "--property", "parse.key=true",
			"--property", "key.separator=:", "--compression-codec", "zstd")...).Want(t)
	s.tool(t, "get-offsets", "--topic", "orders").Want(t, "orders:0:", "orders:3:")
	if n := s.sumOfOffsets(t, "orders"); n != lines {
		t.Errorf("%d records are in the topic, %d were typed", n, lines)
	}
}

// sumOfOffsets adds up what get-offsets prints for the partitions of a topic.
func (s *story) sumOfOffsets(t *testing.T, topic string, args ...string) int {
	t.Helper()
	r := s.tool(t, "get-offsets", append([]string{"--topic", topic}, args...)...).Want(t)
	sum := 0
	for line := range strings.Lines(r.Stdout) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		n, err := strconv.Atoi(fields[len(fields)-1])
		if len(fields) != 3 || fields[0] != topic || err != nil {
			t.Fatalf("get-offsets printed %q", line)
		}
		sum += n
	}
	return sum
}

func (s *story) consoleConsumer(t *testing.T) {
	r := s.tool(t, "console-consumer", "--topic", "orders", "--from-beginning", "--max-messages", strconv.Itoa(lines),
		"--timeout-ms", "30000", "--property", "print.key=true", "--property", "key.separator=:").Want(t)
	// Keys keep the order of their records; partitions come in any.
	if got, want := byKey(r.Stdout), byKey(text()); got != want {
		t.Errorf("other lines were read than typed:\n%s", harness.Tail(r.Stdout, 10))
	}
	s.tool(t, "console-consumer", "--topic", "orders", "--partition", "0", "--offset", "2", "--max-messages", "1",
		"--timeout-ms", "30000", "--property", "print.offset=true", "--property", "print.partition=true",
		"--property", "print.timestamp=true").Want(t, "CreateTime:", "Partition:0", "Offset:2")
}

// byKey brings lines with keys into the order of the keys, and leaves the order of one key's lines.
func byKey(text string) string {
	order, found := []string{}, map[string][]string{}
	for i := range 50 {
		order = append(order, fmt.Sprintf("key-%d", i))
	}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		found[key] = append(found[key], value)
	}
	var b strings.Builder
	for _, key := range order {
		fmt.Fprintln(&b, key, found[key])
	}
	return b.String()
}

func (s *story) consoleConsumerGroup(t *testing.T) {
	first := s.tool(t, "console-consumer", "--topic", "orders", "--group", "clerks", "--from-beginning", "--max-messages",
		"400",
		"--timeout-ms", "30000").Want(t)
	second := s.tool(t, "console-consumer", "--topic", "orders", "--group", "clerks", "--max-messages", "600",
		"--timeout-ms", "30000").Want(t)
	seen := map[string]bool{}
	for line := range strings.Lines(first.Stdout + second.Stdout) {
		if seen[line] {
			t.Fatalf("came twice: %s", line)
		}
		seen[line] = true
	}
	if len(seen) != lines {
		t.Errorf("the group has read %d lines, %d were typed", len(seen), lines)
	}
}

func (s *story) consumerGroups(t *testing.T) {
	s.tool(t, "consumer-groups", "--list").Want(t, "clerks")
	r := s.tool(t, "consumer-groups", "--describe", "--group", "clerks").Want(t, "clerks", "orders", "LAG")
	if lag := columnSum(t, r.Stdout, "LAG"); lag != 0 {
		t.Errorf("the lag is %d after everything was read:\n%s", lag, r.Stdout)
	}
	if end := columnSum(t, r.Stdout, "CURRENT-OFFSET"); end != lines {
		t.Errorf("the committed offsets add up to %d:\n%s", end, r.Stdout)
	}
	s.tool(t, "consumer-groups", "--describe", "--group", "clerks", "--state").Want(t, "clerks", "Empty", s.b.Addr)
	s.reset(t, 0, "--to-earliest")
	s.reset(t, lines, "--to-latest")
	s.reset(t, lines-4*5, "--shift-by", "-5")
	s.reset(t, 0, "--to-datetime", "2001-01-01T00:00:00.000")

	// A member that is there shows, and the group cannot be reset under it.
	member := harness.SpawnTool(t, nil, "console-consumer",
		append(s.server(), "--topic", "orders", "--group", "clerks")...)
	member.Await(t, 60*time.Second, "the whole topic", func(out string) bool { return strings.Count(out, "\n") == lines })
	s.tool(t, "consumer-groups", "--describe", "--group", "clerks", "--members", "--verbose").Want(t, "console-consumer-",
		"/127.0.0.1", "orders")
	s.tool(t, "consumer-groups", "--describe", "--group", "clerks", "--state").Want(t, "Stable", "range")
	busy := s.tool(t, "consumer-groups", "--reset-offsets", "--group", "clerks", "--topic", "orders", "--to-earliest",
		"--execute")
	if !strings.Contains(busy.Both(), "inactive") {
		t.Errorf("a live group was reset:\n%s", busy.Both())
	}
	if busy := s.tool(t, "consumer-groups", "--delete", "--group", "clerks"); !strings.Contains(busy.Both(), "NonEmpty") &&
		!strings.Contains(busy.Both(), "not empty") {
		t.Errorf("a live group was deleted:\n%s", busy.Both())
	}
	member.Signal(t, syscall.SIGTERM)
	member.Wait(t, 30*time.Second)
	s.tool(t, "consumer-groups", "--delete-offsets", "--group", "clerks", "--topic", "orders").Want(t, "orders")
	s.tool(t, "consumer-groups", "--delete", "--group", "clerks").Want(t, "successful")
	if r := s.tool(t, "consumer-groups", "--list").Want(t); strings.Contains(r.Stdout, "clerks") {
		t.Errorf("the group was deleted and is listed:\n%s", r.Stdout)
	}
}

func (s *story) reset(t *testing.T, want int, how ...string) {
	t.Helper()
	args := append([]string{"--reset-offsets", "--group", "clerks", "--topic", "orders", "--execute"}, how...)
	r := s.tool(t, "consumer-groups", args...).Want(t, "NEW-OFFSET", "clerks")
	if got := columnSum(t, r.Stdout, "NEW-OFFSET"); got != want {
		t.Errorf("reset %v: the offsets add up to %d, want %d:\n%s", how, got, want, r.Stdout)
	}
}

// columnSum adds up a column of a table with a head.
func columnSum(t *testing.T, table, column string) int {
	t.Helper()
	sum, at := 0, -1
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if at < 0 {
			for i, f := range fields {
				if f == column {
					at = i
				}
			}
			continue
		}
		if len(fields) <= at {
			continue
		}
		n, err := strconv.Atoi(fields[at])
		if err != nil {
			t.Fatalf("column %s has %q in\n%s", column, fields[at], table)
		}
		sum += n
	}
	if at < 0 {
		t.Fatalf("no column %s in\n%s", column, table)
	}
	return sum
}

func (s *story) configs(t *testing.T) {
	entity := []string{"--entity-type", "topics", "--entity-name", "orders"}
	s.tool(t, "configs", append(entity, "--alter", "--add-config",
		"cleanup.policy=[compact,delete],segment.bytes=1048576")...).
		Want(t, "Completed updating config for topic orders.")
	s.tool(t, "configs", append(entity, "--describe")...).Want(t, "cleanup.policy=compact,delete", "segment.bytes=1048576",
		"retention.ms=3600000", "DYNAMIC_TOPIC_CONFIG")
	s.tool(t, "configs", append(entity, "--alter", "--delete-config", "cleanup.policy,segment.bytes")...).Want(t)
	r := s.tool(t, "configs", append(entity, "--describe", "--all")...).Want(t, "cleanup.policy=delete",
		"segment.bytes=1073741824",
		"DEFAULT_CONFIG", "max.message.bytes=1048588")
	if n := strings.Count(r.Stdout, "synonyms="); n < 37 {
		t.Errorf("%d topic properties are described, Kafka has 37", n)
	}
	if bad := s.tool(t, "configs", append(entity, "--alter", "--add-config", "no.such.key=1")...); bad.Code == 0 ||
		!strings.Contains(bad.Both(), "no.such.key") {
		t.Errorf("an unknown key: code %d\n%s", bad.Code, bad.Both())
	}
	s.tool(t, "configs", "--entity-type", "brokers", "--entity-name", "1", "--alter", "--add-config",
		"log.cleaner.threads=2").Want(t)
	s.tool(t, "configs", "--entity-type", "brokers", "--entity-name", "1", "--describe").Want(t, "log.cleaner.threads=2",
		"DYNAMIC_BROKER_CONFIG")
	s.tool(t, "configs", "--entity-type", "brokers", "--entity-name", "1", "--describe", "--all").Want(t,
		"num.partitions=", "log.dirs=", "node.id=1")
}

func (s *story) getOffsets(t *testing.T) {
	if n := s.sumOfOffsets(t, "orders", "--time", "earliest"); n != 0 {
		t.Errorf("the earliest offsets add up to %d", n)
	}
	if n := s.sumOfOffsets(t, "orders", "--time", "latest"); n != lines {
		t.Errorf("the latest offsets add up to %d", n)
	}
	if n := s.sumOfOffsets(t, "orders", "--time", "946684800000"); n != 0 {
		t.Errorf("the offsets of the year 2000 add up to %d", n)
	}
	s.tool(t, "get-offsets", "--topic", "orders", "--time", "max-timestamp").Want(t, "orders:0:")
}

func (s *story) deleteRecords(t *testing.T) {
	file := filepath.Join(t.TempDir(), "delete.json")
	json := `{"version":1,"partitions":[
		{"topic":"orders","partition":0,"offset":10},
		{"topic":"orders","partition":1,"offset":-1}]}`
	if err := os.WriteFile(file, []byte(json), 0o644); err != nil {
		t.Fatal(err)
	}
	s.tool(t, "delete-records", "--offset-json-file", file).Want(t, "partition: orders-0\tlow_watermark: 10",
		"partition: orders-1\tlow_watermark: ")
	s.tool(t, "get-offsets", "--topic", "orders", "--time", "earliest").Want(t, "orders:0:10", "orders:2:0")
}

func (s *story) logDirs(t *testing.T) {
	r := s.tool(t, "log-dirs", "--describe", "--topic-list", "orders").Want(t, s.b.DataDir, `"partition":"orders-0"`,
		`"partition":"orders-3"`,
		`"isFuture":false`, `"offsetLag":0`)
	sizes := regexp.MustCompile(`"size":(\d+)`).FindAllStringSubmatch(r.Stdout, -1)
	if len(sizes) != 4 {
		t.Fatalf("%d sizes in\n%s", len(sizes), r.Stdout)
	}
	onDisk := int64(0)
	for p := range 4 {
		for _, segment := range s.b.Segments(t, "orders", p) {
			info, err := os.Stat(segment)
			if err != nil {
				t.Fatal(err)
			}
			onDisk += info.Size()
		}
	}
	told := int64(0)
	for _, m := range sizes {
		n, _ := strconv.ParseInt(m[1], 10, 64)
		told += n
	}
	if told != onDisk {
		t.Errorf("the sizes add up to %d, the files to %d", told, onDisk)
	}
}

func (s *story) producerPerf(t *testing.T) {
	s.tool(t, "topics", "--create", "--topic", "perf", "--partitions", "2", "--config", "segment.bytes=4194304").Want(t)
	harness.Tool(t, "producer-perf-test", "--topic", "perf", "--num-records", "100000", "--record-size", "200",
		"--throughput", "-1",
		"--producer-props", "bootstrap.servers="+s.b.Addr, "compression.type=lz4", "acks=all").Want(t, "100000 records sent",
		"99.9th")
	harness.Tool(t, "producer-perf-test", "--topic", "perf", "--num-records", "20000", "--record-size", "1000",
		"--throughput", "-1",
		"--producer-props", "bootstrap.servers="+s.b.Addr, "enable.idempotence=false", "acks=1").Want(t, "20000 records sent")
}

func (s *story) consumerPerf(t *testing.T) {
	r := s.tool(t, "consumer-perf-test", "--topic", "perf", "--messages", "120000", "--timeout", "30000",
		"--hide-header").Want(t)
	fields := strings.Split(strings.TrimSpace(r.Stdout), ",")
	if len(fields) < 5 || strings.TrimSpace(fields[4]) != "120000" {
		t.Errorf("it has read another number of records:\n%s", r.Stdout)
	}
}

func (s *story) endToEndLatency(t *testing.T) {
	harness.Tool(t, "e2e-latency", "--bootstrap-server", s.b.Addr, "--topic", "perf", "--num-records", "300",
		"--producer-acks", "all",
		"--record-size", "100").Want(t, "Avg latency: ", "Percentiles: 50th = ")
}

func (s *story) verifiable(t *testing.T) {
	s.tool(t, "topics", "--create", "--topic", "checked", "--partitions", "2").Want(t)
	r := s.tool(t, "verifiable-producer", "--topic", "checked", "--max-messages", "500", "--acks", "-1").
		Want(t, `"name":"shutdown_complete"`, `"acked":500`)
	if n := strings.Count(r.Stdout, `"name":"producer_send_success"`); n != 500 {
		t.Errorf("%d successes", n)
	}
	r = s.tool(t, "verifiable-consumer", "--topic", "checked", "--group-id", "checkers", "--max-messages", "500",
		"--reset-policy", "earliest").
		Want(t, `"name":"partitions_assigned"`, `"name":"records_consumed"`, `"name":"offsets_committed"`, `"success":true`,
			`"name":"shutdown_complete"`)
	sum := 0
	for _, m := range regexp.MustCompile(`"name":"records_consumed".*?"count":(\d+)`).FindAllStringSubmatch(r.Stdout, -1) {
		n, _ := strconv.Atoi(m[1])
		sum += n
	}
	// The fields of an event are in no fixed order, so that the counts may stand before the name.
	if sum == 0 {
		for _, m := range regexp.MustCompile(`"count":(\d+)[^\n]*"name":"records_consumed"`).FindAllStringSubmatch(r.Stdout,
			-1) {
			n, _ := strconv.Atoi(m[1])
			sum += n
		}
	}
	if sum != 500 {
		t.Errorf("%d records consumed:\n%s", sum, harness.Tail(r.Stdout, 20))
	}
}

func (s *story) deleteTopic(t *testing.T) {
	s.tool(t, "topics", "--delete", "--topic", "checked").Want(t)
	if r := s.tool(t, "topics", "--list").Want(t, "orders", "perf"); strings.Contains(r.Stdout, "checked") {
		t.Errorf("a deleted topic is listed:\n%s", r.Stdout)
	}
}

// dumpLog reads the files that the broker has written, after it has ended cleanly.
func (s *story) dumpLog(t *testing.T) {
	s.b.Stop(t)
	segments := append(s.b.Segments(t, "orders", 0), s.b.Segments(t, "perf", 0)...)
	if len(segments) < 4 {
		t.Errorf("only %d segments: the log has not rolled", len(segments))
	}
	r := harness.Tool(t, "dump-log", "--deep-iteration", "--files", strings.Join(segments, ",")).
		Want(t, "Log starting offset: 0", "baseOffset: ", "isvalid: true", "compresscodec: zstd", "compresscodec: lz4",
			"magic: 2")
	// The tool names the start of every later segment as a gap after "-1": that is its own counting.
	complaints := regexp.MustCompile(`isvalid: false|Found [^\n]*|\w*Exception|[0-9]+ is followed by`).FindAllString(
		strings.ReplaceAll(r.Both(), "-1 is followed by", ""), 10)
	if len(complaints) > 0 {
		t.Errorf("dump-log complains: %q", complaints)
	}
	var indexes []string
	for _, log := range segments {
		base := strings.TrimSuffix(log, ".log")
		indexes = append(indexes, base+".index", base+".timeindex")
	}
	// Every entry of the indexes against the log; what does not fit is named.
	v := harness.Tool(t, "dump-log", "--verify-index-only", "--files", strings.Join(indexes, ",")).Want(t)
	bad := regexp.MustCompile(`Mismatch|out of order|not found|Indexed offset|Exception`)
	if n := strings.Count(v.Stdout, "Dumping "); n != len(indexes) || bad.MatchString(v.Both()) {
		t.Errorf("%d of %d indexes were read, or one does not fit its log:\n%s", n, len(indexes), harness.Tail(v.Both(), 30))
	}
	c := harness.Tool(t, "dump-log", "--index-sanity-check", "--files", strings.Join(indexes, ",")).Want(t)
	passed, empty := strings.Count(c.Stdout, "passed sanity check"), strings.Count(c.Stdout, "is empty")
	if passed+empty != len(indexes) || passed < len(indexes)/2 {
		t.Errorf("%d of %d indexes passed, %d are empty:\n%s", passed, len(indexes), empty, harness.Tail(c.Both(), 30))
	}
	offsets, _ := filepath.Glob(filepath.Join(s.b.DataDir, "__consumer_offsets-*", "*.log"))
	o := harness.Tool(t, "dump-log", "--offsets-decoder", "--files", strings.Join(offsets, ",")).Want(t, "isvalid: true")
	for _, want := range []string{`"group":"checkers"`, `"topic":"checked"`, `"protocolType":"consumer"`} {
		if !strings.Contains(o.Stdout, want) {
			t.Errorf("the offsets topic does not show %s:\n%s", want, harness.Tail(o.Stdout, 20))
		}
	}
}
