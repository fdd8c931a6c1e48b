//go:build compat

package golden

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"moldau.io/moldau/compat-tests/harness"
)

// TestGoldenFolders makes the folders anew and has storage's tests read them. MOLDAU_GOLDEN_OUT=storage/testdata keeps
// them for those who have no Kafka.
func TestGoldenFolders(t *testing.T) {
	out := t.TempDir()
	if dir := os.Getenv("MOLDAU_GOLDEN_OUT"); dir != "" {
		out = filepath.Join(harness.Root(), dir)
	}
	b := harness.Start(t, harness.Config{Kind: harness.Kafka, JavaHeap: "512M", Properties: map[string]string{
		"transaction.state.log.num.partitions":                        "1",
		"transaction.state.log.replication.factor":                    "1",
		"transaction.state.log.min.isr":                               "1",
		"transaction.abort.timed.out.transaction.cleanup.interval.ms": "600000",
		"offsets.topic.num.partitions":                                "1",
		"offsets.topic.replication.factor":                            "1",
		"log.cleaner.backoff.ms":                                      "100",
		"log.initial.task.delay.ms":                                   "100",
		"log.index.size.max.bytes":                                    "1048576",
		"log.retention.check.interval.ms":                             "200",
		"auto.create.topics.enable":                                   "false",
	}})
	s := newStory(t, b)
	s.topics()
	s.codecs()
	s.transactions()
	s.compacted()
	s.appendTime()
	s.times()
	s.manyProducers()
	s.deleted()
	s.awaitCleaned()
	facts := s.facts()
	b.Stop(t)
	s.keep(out, "kafka-4.4.0-stopped", facts)

	b.Run(t)
	s.connect()
	s.codecs()
	s.transactions()
	s.appendTime()
	s.manyProducers()
	s.again()
	s.leaveOpen()
	s.awaitCleaned()
	facts = s.facts()
	b.Kill(t)
	s.keep(out, "kafka-4.4.0-killed", facts)

	cmd := exec.Command("go", "test", "-count=1", "-run", "TestGolden", "./storage")
	cmd.Dir = harness.Root()
	cmd.Env = append(os.Environ(), "MOLDAU_GOLDEN="+out)
	began := time.Now()
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	t.Logf("storage's tests read the folders in %v", time.Since(began))
}
