//go:build compat

package groupmath

import (
	"bytes"
	"compress/gzip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"moldau.io/moldau/compat-tests/harness"
)

// TestFreshAssignments has Kafka make assignments for groups that no test has seen yet. MOLDAU_SEED makes the same again,
// and MOLDAU_GOLDEN_OUT=coordinator/group/assignor/testdata/kafka-4.4.0.gz keeps them for those who have no Kafka.
func TestFreshAssignments(t *testing.T) {
	text := run(t, "Assignments", seed(t), 700)
	compare(t, text, "MOLDAU_ASSIGNMENTS", "./coordinator/group/assignor", "TestKafkaAssignments")
}

// TestFreshTables has Java walk through hash maps, whose order the assignments depend on. With
// MOLDAU_GOLDEN_OUT=coordinator/group/assignor/testdata/java-tables.gz the walks are kept.
func TestFreshTables(t *testing.T) {
	text := run(t, "Tables", seed(t), 500)
	compare(t, text, "MOLDAU_TABLES", "./coordinator/group/assignor", "TestJavaTables")
}

// TestFreshHashes has Kafka hash topics and groups of them. With MOLDAU_GOLDEN_OUT=coordinator/group/testdata/kafka-4.4.0-hashes.gz
// they are kept.
func TestFreshHashes(t *testing.T) {
	text := run(t, "Hashes", seed(t), 250)
	compare(t, text, "MOLDAU_HASHES", "./coordinator/group", "TestKafkaMetadataHashes")
}

// TestFreshExpressions asks Kafka's library about regular expressions. With
// MOLDAU_GOLDEN_OUT=coordinator/group/testdata/kafka-4.4.0-regexes.gz its answers are kept.
func TestFreshExpressions(t *testing.T) {
	text := run(t, "Regexes", seed(t), 6000)
	compare(t, text, "MOLDAU_REGEXES", "./coordinator/group", "TestKafkaExpressions")
}

func seed(t *testing.T) int {
	if s := os.Getenv("MOLDAU_SEED"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	n := int(time.Now().UnixMilli() % 1_000_000)
	t.Logf("MOLDAU_SEED=%d", n)
	return n
}

// run is what a program prints.
func run(t *testing.T, class string, args ...int) []byte {
	t.Helper()
	line := []string{"-Xmx512m", "-cp", harness.JavaBuild(t, "compat-tests/groupmath", "broker"), class}
	for _, a := range args {
		line = append(line, strconv.Itoa(a))
	}
	cmd := exec.Command("java", line...)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", class, err, complaints.Bytes())
	}
	return text
}

// compare has a test of the coordinator read the text, packed, from the file that a variable names.
func compare(t *testing.T, text []byte, variable, pkg, test string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "kafka.gz")
	if out := os.Getenv("MOLDAU_GOLDEN_OUT"); out != "" {
		name = filepath.Join(harness.Root(), out)
	}
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, packed.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "test", "-count=1", "-v", "-run", test, pkg)
	cmd.Dir = harness.Root()
	cmd.Env = append(os.Environ(), variable+"="+name)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
