package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestReadyLineComesAfterClientsAreAnswered(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	defer cancel()
	cluster, err := askCluster(ctx, s.kafka)
	if err != nil || cluster != s.cluster {
		t.Fatalf("right after the ready line: cluster %q, %v; the line says %q", cluster, err, s.cluster)
	}
	for path, want := range map[string]string{
		"/livez": "ok", "/readyz": "ok", "/metrics": "moldau_build_info", "/": "node 1 of cluster " + s.cluster,
		"/debug/pprof/": "goroutine",
	} {
		resp, err := http.Get("http://" + s.admin + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 200 || !strings.Contains(string(body), want) {
			t.Errorf("%s: %d without %q", path, resp.StatusCode, want)
		}
	}
}

func TestSIGTERMEndsWithZeroAndTheClusterIsTheSameAfterwards(t *testing.T) {
	dir := t.TempDir()
	first := start(t, dir, nil)
	if code := first.stop(); code != exitOK {
		t.Fatalf("exit code %d after SIGTERM", code)
	}
	if last := first.seen[len(first.seen)-1]; !strings.Contains(last, "msg=stopped") {
		t.Errorf("the last line is %q", last)
	}
	second := start(t, dir, nil)
	if second.cluster != first.cluster {
		t.Errorf("cluster %s became %s", first.cluster, second.cluster)
	}
}

func TestSecondServeOnTheSameFolderNamesTheFirst(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, nil)
	code, _, stderr := command(t, nil, "serve", "--data", dir, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
	pid := fmt.Sprintf("process %d", s.cmd.Process.Pid)
	if code != exitData || !strings.Contains(stderr, pid) || !strings.Contains(stderr, "--data") {
		t.Errorf("exit code %d, %q; want %d and %q", code, stderr, exitData, pid)
	}
}

func TestTakenPortSaysWhichAndWhatToDo(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	taken := ln.Addr().String()
	for _, args := range [][]string{
		{"--listen", taken, "--admin-listen", "127.0.0.1:0"}, {"--listen", "127.0.0.1:0", "--admin-listen", taken},
	} {
		code, _, stderr := command(t, nil, append([]string{"serve"}, args...)...)
		if code != exitFailure || !strings.Contains(stderr, taken) || !strings.Contains(stderr, "address already in use") ||
			!strings.Contains(stderr, "choose another") {
			t.Errorf("%v: exit code %d, %q", args, code, stderr)
		}
	}
}

func TestWrongClusterIsExitCode3(t *testing.T) {
	dir := t.TempDir()
	start(t, dir, []string{"CLUSTER_ID=4L6g3nShT-eMCtK--X86sw"}).stop()
	code, _, stderr := command(t, []string{"CLUSTER_ID=5L6g3nShT-eMCtK--X86sw"}, "serve", "--data", dir, "--listen", "127.0.0.1:0",
		"--admin-listen", "127.0.0.1:0")
	if code != exitData || !strings.Contains(stderr, "4L6g3nShT-eMCtK--X86sw") || !strings.Contains(stderr, "5L6g3nShT-eMCtK--X86sw") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	if s := start(t, dir, []string{"CLUSTER_ID=4L6g3nShT-eMCtK--X86sw"}); s.cluster != "4L6g3nShT-eMCtK--X86sw" {
		t.Error("cluster", s.cluster)
	}
}

func TestReadyLineNamesTheHostThatWasAskedFor(t *testing.T) {
	s := startWith(t, nil, "--data", t.TempDir(), "--listen", "0.0.0.0:0", "--admin-listen=")
	if !regexp.MustCompile(`^0\.0\.0\.0:[1-9][0-9]*$`).MatchString(s.kafka) || s.admin != "none" {
		t.Errorf("kafka=%s admin=%s", s.kafka, s.admin)
	}
	s.kafka = strings.Replace(s.kafka, "0.0.0.0", "127.0.0.1", 1)
	if got := s.brokerConfig("listeners"); got != "PLAINTEXT://0.0.0.0:0" {
		t.Error("listeners is", got)
	}
}

func TestNodeIDIsKeptInTheDataFolder(t *testing.T) {
	dir := t.TempDir()
	start(t, dir, nil, "--node-id", "7").stop()
	s := start(t, dir, nil)
	if line := s.seen[len(s.seen)-1]; !strings.Contains(line, "node=7") {
		t.Errorf("after a restart: %q", line)
	}
	s.stop()
	code, _, stderr := command(t, nil, "serve", "--data", dir, "--node-id", "8", "--listen", "127.0.0.1:0", "--admin-listen=")
	if code != exitData || !strings.Contains(stderr, "7") || !strings.Contains(stderr, "--data") {
		t.Errorf("as another node: exit code %d, %q", code, stderr)
	}
}

func TestAFileInPlaceOfTheDataFolderIsExitCode3(t *testing.T) {
	file := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := command(t, nil, "serve", "--data", file, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
	if code != exitData || !strings.Contains(stderr, file) {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}

func TestBadUsageIsExitCode2(t *testing.T) {
	f := func(want string, env []string, args ...string) {
		t.Helper()
		code, stdout, stderr := command(t, env, args...)
		if code != exitUsage || !strings.Contains(stderr, want) || stdout != "" {
			t.Errorf("%v %v: exit code %d, %q, want %q", env, args, code, stderr, want)
		}
	}
	f("unknown command", nil, "fly")
	f("unknown flag: --bogus", nil, "serve", "--bogus")
	f(`unknown command "extra"`, nil, "serve", "extra")
	f(`--set "a" is not KEY=VALUE`, nil, "serve", "--set", "a")
	f(`--set: invalid value "x" for num.partitions: it must be a whole number`, nil, "serve", "--set", "num.partitions=x")
	f(`the environment: invalid value "0" for num.partitions: it must be at least 1`, []string{"KAFKA_NUM_PARTITIONS=0"}, "serve")
	f(`a flag: invalid value "-3" for node.id`, nil, "serve", "--node-id", "-3")
	f("asks for SSL, which moldau does not offer yet", nil, "serve", "--listen", "SSL://127.0.0.1:0")
	f("neither host:port", nil, "serve", "--listen", "here")
	f("is no address that a client can connect to", nil, "serve", "--advertise", "0.0.0.0:9092")
	f("host:port is wanted", nil, "serve", "--join", "10.0.0.1")
	f("does not name this node", []string{"KAFKA_CONTROLLER_QUORUM_VOTERS=3@a:9093,2@b:9093"}, "serve")
	f("its own controller", []string{"KAFKA_PROCESS_ROLES=controller"}, "serve")
	f("everybody would be let in", nil, "serve", "--set", "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer")
	f("no such file", nil, "serve", "--config", "/does/not/exist.properties")
	f("it must be table or json", nil, "version", "-o", "xml")
}

func TestKeysWithoutEffectAndUnknownKeysAreNamedOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "server.properties")
	text := "zookeeper.connect=zk:2181\nnum.io.threads=8\nno.such.key=1\nnum.partitions=3\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, t.TempDir(), nil, "--config", file, "--set", "num.partitions=5")
	said := strings.Join(s.seen, "\n")
	if !strings.Contains(said, `msg="accepted, but has no effect here" keys=num.io.threads,zookeeper.connect`) ||
		!strings.Contains(said, `msg="unknown to Kafka and to moldau" keys=no.such.key`) || strings.Count(said, "has no effect") != 1 {
		t.Errorf("it said\n%s", said)
	}
	if got := s.brokerConfig("num.partitions"); got != "5" {
		t.Error("num.partitions is", got)
	}
}

// brokerConfig asks the running broker for a value.
func (s *served) brokerConfig(key string) string {
	s.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.kafka))
	if err != nil {
		s.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	defer cancel()
	all, err := kadm.NewClient(client).DescribeBrokerConfigs(ctx, 1)
	if err != nil {
		s.Fatal(err)
	}
	for _, c := range all[0].Configs {
		if c.Key == key {
			return c.MaybeValue()
		}
	}
	return "absent"
}

func TestPrecedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "server.properties")
	text := "broker.rack=file\nnum.partitions=2\nlog.retention.hours=2\ndefault.replication.factor=1\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"KAFKA_BROKER_RACK=env", "KAFKA_NUM_PARTITIONS=3", "KAFKA_LOG_RETENTION_HOURS=3"}
	s := start(t, t.TempDir(), env, "--config", file, "--set", "broker.rack=set", "--set", "num.partitions=4", "--rack", "flag")
	for key, want := range map[string]string{
		"broker.rack": "flag", "num.partitions": "4", "log.retention.hours": "3", "default.replication.factor": "1",
	} {
		if got := s.brokerConfig(key); got != want {
			t.Errorf("%s=%s, want %s", key, got, want)
		}
	}
}

// TestEnvironmentOfAnOfficialComposeFile starts from the variables of the apache/kafka image's single-node example alone.
func TestEnvironmentOfAnOfficialComposeFile(t *testing.T) {
	dir := t.TempDir()
	s := startWith(t, []string{
		"KAFKA_NODE_ID=1",
		"KAFKA_LISTENER_SECURITY_PROTOCOL_MAP=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PLAINTEXT_HOST:PLAINTEXT",
		"KAFKA_ADVERTISED_LISTENERS=PLAINTEXT_HOST://localhost:9092,PLAINTEXT://127.0.0.1:1",
		"KAFKA_PROCESS_ROLES=broker,controller",
		"KAFKA_CONTROLLER_QUORUM_VOTERS=1@broker:29093",
		"KAFKA_LISTENERS=CONTROLLER://:29093,PLAINTEXT_HOST://127.0.0.1:0,PLAINTEXT://127.0.0.1:0",
		"KAFKA_INTER_BROKER_LISTENER_NAME=PLAINTEXT",
		"KAFKA_CONTROLLER_LISTENER_NAMES=CONTROLLER",
		"CLUSTER_ID=4L6g3nShT-eMCtK--X86sw",
		"KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR=1",
		"KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS=0",
		"KAFKA_TRANSACTION_STATE_LOG_MIN_ISR=1",
		"KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR=1",
		"KAFKA_LOG_DIRS=" + dir,
		"KAFKA_HEAP_OPTS=-Xmx1G",
		"MOLDAU_ADMIN_LISTEN=127.0.0.1:0",
	})
	if s.cluster != "4L6g3nShT-eMCtK--X86sw" || strings.Count(s.kafka, ",") != 1 {
		t.Errorf("cluster %s, listeners %s", s.cluster, s.kafka)
	}
	if _, err := os.Stat(filepath.Join(dir, "meta.properties")); err != nil {
		t.Error(err)
	}
	s.await("advertised=127.0.0.1:1 ") // it cannot be reached, and that is said
	if said := strings.Join(s.seen, "\n"); strings.Contains(said, "unknown to Kafka") {
		t.Errorf("it said\n%s", said)
	}
}

func TestAdvertisedAddressThatLeadsNowhereIsNamed(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nowhere := ln.Addr().String()
	ln.Close()
	s := start(t, t.TempDir(), nil, "--advertise", nowhere)
	if line := s.await("cannot reach"); !strings.Contains(line, nowhere) || !strings.Contains(line, "--advertise") {
		t.Errorf("it said %q", line)
	}
}

func TestVersion(t *testing.T) {
	code, stdout, _ := command(t, nil, "version", "-o", "json")
	var b build
	if err := json.Unmarshal([]byte(stdout), &b); err != nil || code != exitOK || b.Kafka != kafkaCompat || b.Go == "" || b.Commit == "" {
		t.Errorf("exit code %d, %q, %v", code, stdout, err)
	}
	code, stdout, _ = command(t, nil, "version")
	if code != exitOK || !strings.Contains(stdout, "kafka    "+kafkaCompat) {
		t.Errorf("exit code %d, %q", code, stdout)
	}
}

func TestHelpNamesEveryFlagOfServe(t *testing.T) {
	code, stdout, _ := command(t, nil, "serve", "--help")
	for _, flag := range []string{
		"--data", "--listen", "--advertise", "--join", "--cluster-listen", "--node-id", "--rack", "--admin-listen", "--config", "--set",
	} {
		if !strings.Contains(stdout, flag) {
			t.Errorf("%s is not in the help", flag)
		}
	}
	if code != exitOK {
		t.Error("exit code", code)
	}
}
