//go:build compat

package tools

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"moldau.io/moldau/compat-tests/harness"
)

// The main classes of the tools that look after clusters.
const (
	topicCommand    = "org.apache.kafka.tools.TopicCommand"
	reassignCommand = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"
	electCommand    = "org.apache.kafka.tools.LeaderElectionCommand"
	quorumCommand   = "org.apache.kafka.tools.MetadataQuorumCommand"
	clusterCommand  = "org.apache.kafka.tools.ClusterTool"
)

var quietClusters = map[string]string{"auto.leader.rebalance.enable": "false", "offsets.topic.replication.factor": "3"}

// TestClusterToolsTellWhatTheyTellOfKafka runs the tools for clusters against three brokers of each kind.
func TestClusterToolsTellWhatTheyTellOfKafka(t *testing.T) {
	kafka := harness.StartCluster(t, harness.ClusterConfig{Kind: harness.Kafka, Properties: quietClusters})
	other := harness.StartCluster(t, harness.ClusterConfig{Numbered: true, Properties: quietClusters})
	box := openToolbox(t, "tools")
	tell := func(c *harness.Cluster) []telling {
		s := &clusterStory{t: t, box: box, c: c, dir: t.TempDir()}
		s.run()
		return s.told
	}
	want := tell(kafka)
	got := tell(other)
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			t.Errorf("%s\nof Kafka:\n%s\nof moldau:\n%s", want[i].command, want[i].text, got[i].text)
		}
	}
	if len(want) != len(got) {
		t.Errorf("%d commands against %d", len(want), len(got))
	}
}

// telling is what a tool said.
type telling struct{ command, text string }

type clusterStory struct {
	t    *testing.T
	box  *toolbox
	c    *harness.Cluster
	dir  string
	told []telling
}

// try runs a tool against the first broker.
func (s *clusterStory) try(class string, args ...string) string {
	s.t.Helper()
	words := append([]string{class, "--bootstrap-server", s.c.Brokers[0].Addr}, args...)
	if class == clusterCommand { // its command comes first
		words = append([]string{class, args[0], "--bootstrap-server", s.c.Brokers[0].Addr}, args[1:]...)
	}
	r := s.box.run(s.t, words...)
	return s.mask(fmt.Sprintf("exit code %d\n%s", r.Code, r.Stdout))
}

// ask is try, and keeps what was said.
func (s *clusterStory) ask(class string, args ...string) {
	s.t.Helper()
	s.keep(strings.Join(args, " "), s.try(class, args...))
}

func (s *clusterStory) keep(command, text string) {
	s.told = append(s.told, telling{strings.ReplaceAll(command, s.dir, "DIR"), text})
}

// until repeats a command until it says what is waited for, and keeps that.
func (s *clusterStory) until(part string, class string, args ...string) {
	s.t.Helper()
	var text string
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); {
		if text = s.try(class, args...); strings.Contains(text, part) && !strings.Contains(text, "still in progress") {
			s.keep(strings.Join(args, " "), text)
			return
		}
	}
	s.t.Fatalf("of %s: %s never said %q but\n%s", s.c.Kind, strings.Join(args, " "), part, text)
}

var clusterMasks = []struct {
	form *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`\b[A-Za-z0-9_-]{22}\b`), "ID"},
	{regexp.MustCompile(`(127\.0\.0\.1|localhost):\d+`), "ADDRESS"},
	{regexp.MustCompile(`\n\tat [^\n]*`), ""},
	{regexp.MustCompile(`(127\.0\.0\.1\s+)\d+`), "${1}PORT"},
	{regexp.MustCompile(`"[^"]*/data"`), `"DATA"`},
	{regexp.MustCompile(`,segment\.bytes=1073741824`), ""}, // set by the properties that Kafka comes with
	// Each has its own words.
	{regexp.MustCompile(`(Error while executing topic command :|PreferredLeaderNotAvailableException:|ElectionNotNeededException:).*`), "$1"},
	{regexp.MustCompile(`(?m)^(ClusterId|LeaderId|LeaderEpoch|HighWatermark|MaxFollowerLag|MaxFollowerLagTimeMs): .*$`), "$1"},
	{regexp.MustCompile(`(?m)^(CurrentVoters|CurrentObservers): .*$`), "$1"},
}

// inSync is a set, told in the order in which they came.
var inSync = regexp.MustCompile(`Isr: [0-9,]+`)

func (s *clusterStory) mask(text string) string {
	for _, m := range clusterMasks {
		text = m.form.ReplaceAllString(text, m.with)
	}
	text = inSync.ReplaceAllStringFunc(text, func(ids string) string {
		list := strings.Split(ids[len("Isr: "):], ",")
		slices.Sort(list)
		return "Isr: " + strings.Join(list, ",")
	})
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// plan is a file with a reassignment of the topic's partitions.
func (s *clusterStory) plan(name string, replicas ...string) string {
	s.t.Helper()
	var ps []string
	for p, r := range replicas {
		ps = append(ps, fmt.Sprintf(`{"topic":"moved","partition":%d,"replicas":[%s]}`, p, r))
	}
	file := filepath.Join(s.dir, name)
	if err := os.WriteFile(file, []byte(`{"version":1,"partitions":[`+strings.Join(ps, ",")+`]}`), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return file
}

func (s *clusterStory) run() {
	s.ask(topicCommand, "--create", "--topic", "moved", "--replica-assignment", "1:2,2:3,3:1", "--config", "min.insync.replicas=2")
	s.until("Partition: 2 Leader: 3", topicCommand, "--describe", "--topic", "moved")
	s.ask(topicCommand, "--create", "--topic", "many", "--partitions", "1", "--replication-factor", "4")
	s.ask(clusterCommand, "cluster-id")
	s.ask(clusterCommand, "list-endpoints")
	s.ask(quorumCommand, "describe", "--status")
	s.ask(topicCommand, "--describe", "--under-replicated-partitions")

	there := s.plan("there.json", "2,3", "3,1", "1,2")
	s.ask(reassignCommand, "--verify", "--reassignment-json-file", there)
	s.ask(reassignCommand, "--execute", "--reassignment-json-file", there)
	s.until("moved-2 is completed", reassignCommand, "--verify", "--reassignment-json-file", there)
	s.ask(reassignCommand, "--list")
	more := s.plan("more.json", "1,2,3", "2,3,1", "3,1,2")
	s.ask(reassignCommand, "--execute", "--reassignment-json-file", more, "--throttle", "10000000")
	s.until("moved-2 is completed", reassignCommand, "--verify", "--reassignment-json-file", more)
	s.ask(reassignCommand, "--execute", "--reassignment-json-file", s.plan("wrong.json", "1,9"))
	s.ask(reassignCommand, "--execute", "--disallow-replication-factor-change", "--reassignment-json-file", s.plan("fewer.json", "1"))
	s.ask(electCommand, "--election-type", "preferred", "--topic", "moved", "--partition", "0")
	s.ask(electCommand, "--election-type", "preferred", "--topic", "moved", "--partition", "0")
	s.ask(electCommand, "--election-type", "unclean", "--topic", "moved", "--partition", "1")
	s.try(electCommand, "--election-type", "preferred", "--all-topic-partitions")
	s.until("Partition: 2 Leader: 3", topicCommand, "--describe", "--topic", "moved")

	s.c.Brokers[2].Stop(s.t)
	s.until("Partition: 2 Leader: 1", topicCommand, "--describe", "--topic", "moved")
	s.ask(topicCommand, "--describe", "--under-replicated-partitions")
	s.ask(topicCommand, "--describe", "--at-min-isr-partitions")
	s.ask(topicCommand, "--describe", "--unavailable-partitions")
	s.ask(electCommand, "--election-type", "preferred", "--topic", "moved", "--partition", "2")
	fewer := s.plan("two.json", "1,2", "2,1", "1,2")
	s.ask(reassignCommand, "--execute", "--reassignment-json-file", fewer)
	s.until("moved-2 is completed", reassignCommand, "--verify", "--reassignment-json-file", fewer)
	waits := s.plan("waits.json", "1,3", "2,3", "1,3")
	s.ask(reassignCommand, "--execute", "--reassignment-json-file", waits)
	s.ask(reassignCommand, "--list")
	s.ask(reassignCommand, "--cancel", "--preserve-throttles", "--reassignment-json-file", waits)
	s.ask(reassignCommand, "--list")
	s.ask(clusterCommand, "unregister", "--id", "3")
	s.ask(clusterCommand, "unregister", "--id", "7")
	s.ask(topicCommand, "--describe", "--topic", "moved")
}
