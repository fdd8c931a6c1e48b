package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// kafkasCopy is a copy of the folder that Apache Kafka 4.4.0 wrote.
func kafkasCopy(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(dir, os.DirFS(kafkasFolder)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func flip(t *testing.T, name string, at int) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 1
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestVerifyExitCodes(t *testing.T) {
	dir := kafkasCopy(t)
	code, out, errs := inside(t, "log", "verify", dir)
	if code != exitOK || !strings.Contains(out, "1 partitions, 7 segments, 29 batches, 73 records, 4704 bytes: all is well") {
		t.Errorf("a good folder: exit code %d, %s%s", code, out, errs)
	}
	if code, out, _ := inside(t, "log", "verify", filepath.Join(dir, "golden-0")); code != exitOK {
		t.Errorf("a good partition: exit code %d, %s", code, out)
	}
	log := filepath.Join(dir, "golden-0", "00000000000000000012.log")
	flip(t, log, 400)
	code, out, _ = inside(t, "log", "verify", dir)
	want := "DAMAGE: " + filepath.ToSlash(log) + ", byte 316, offset 18: 158 bytes: the checksum is "
	if code != exitFailure || !strings.Contains(out, want) || !strings.Contains(out, "moldau log repair") {
		t.Errorf("a flipped bit: exit code %d, %s; it should say %s", code, out, want)
	}
	code, out, _ = inside(t, "log", "verify", "-o", "json", dir)
	var f map[string]any
	if err := json.Unmarshal([]byte(strings.SplitN(out, "\n", 2)[0]), &f); err != nil || code != exitFailure ||
		f["type"] != "finding" || f["damage"] != true || f["byte"] != 316.0 || f["offset"] != 18.0 {
		t.Errorf("as JSON: exit code %d, %v, %s", code, err, out)
	}
	if code, _, _ := inside(t, "log", "verify", filepath.Join(dir, "nowhere")); code != exitData {
		t.Errorf("a folder that is not there: exit code %d", code)
	}
	if code, _, _ := inside(t, "log", "verify"); code != exitUsage {
		t.Errorf("no folder: exit code %d", code)
	}
}

// TestVerifyBesideARunningBroker has a broker append while its folder is checked again and again: no false alarm.
func TestVerifyBesideARunningBroker(t *testing.T) {
	dir := t.TempDir()
	sv := start(t, dir, nil)
	s := &shell{t, sv.kafka}
	s.do("topic", "create", "busy", "-p", "2", "-c", "segment.bytes=1048576")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 5 {
			s.try(numbers(1, 20000), "produce", "busy")
		}
	}()
	rounds := 0
	for running := true; running || rounds == 0; rounds++ {
		select {
		case <-done:
			running = false
		default:
		}
		if code, out, errs := inside(t, "log", "verify", dir); code != exitOK || !strings.Contains(out, "in use by process") {
			t.Fatalf("beside a running broker: exit code %d, %s%s", code, out, errs)
		}
	}
	sv.stop()
	if code, out, errs := inside(t, "log", "verify", dir); code != exitOK || !strings.Contains(out, "100000 records") {
		t.Errorf("afterwards: exit code %d, %s%s", code, out, errs)
	}
	t.Logf("checked %d times", rounds)
}

// TestVerifyBesideACleaningBroker checks a compacted partition while its segments are replaced under the checker's eyes.
func TestVerifyBesideACleaningBroker(t *testing.T) {
	dir := t.TempDir()
	sv := start(t, dir, nil, "--set", "log.cleaner.backoff.ms=10", "--set", "log.retention.check.interval.ms=10")
	s := &shell{t, sv.kafka}
	s.do("topic", "create", "busy", "-c", "cleanup.policy=compact,delete", "-c", "segment.bytes=1048576", "-c",
		"min.cleanable.dirty.ratio=0.01", "-c", "file.delete.delay.ms=0", "-c", "retention.bytes=3000000")
	var records strings.Builder
	for i := range 20000 {
		fmt.Fprintf(&records, "%d:%0200d\n", i%500, i)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 4 {
			s.try(records.String(), "produce", "busy", "--key-separator", ":")
		}
	}()
	rounds := 0
	for running := true; running || rounds == 0; rounds++ {
		select {
		case <-done:
			running = false
		default:
		}
		if code, out, errs := inside(t, "log", "verify", dir); code != exitOK {
			t.Fatalf("beside a running broker: exit code %d, %s%s", code, out, errs)
		}
	}
	sv.stop()
	code, out, errs := inside(t, "log", "verify", dir)
	if code != exitOK {
		t.Errorf("afterwards: exit code %d, %s%s", code, out, errs)
	}
	if strings.Contains(out, " 80000 records") {
		t.Errorf("nothing was compacted or deleted, so that nothing was tested: %s", out)
	}
	t.Logf("checked %d times: %s", rounds, out)
}

// TestI10_ReplicasAreCompared: equal folders, a folder in which a batch differs, and what is wrong with the command.
func TestI10_ReplicasAreCompared(t *testing.T) {
	a, b := kafkasCopy(t), kafkasCopy(t)
	code, out, errs := inside(t, "log", "verify", "--replicas", a, b)
	want := "2 brokers, 1 partitions, 2 replicas, 29 batches, 73 records, 4704 bytes compared: all replicas are equal"
	if code != exitOK || !strings.Contains(out, want) {
		t.Errorf("equal folders: exit code %d, %s%s", code, out, errs)
	}
	flip(t, filepath.Join(b, "golden-0", "00000000000000000012.log"), 15) // the leader epoch of a batch
	code, out, errs = inside(t, "log", "verify", "--replicas", a, b)
	if code != exitFailure || !strings.Contains(out, "DIFFERENT: golden-0 of ") || !strings.Contains(out, "offset 12") ||
		!strings.Contains(errs, "1 differences") {
		t.Errorf("different folders: exit code %d, %s%s", code, out, errs)
	}
	_, out, _ = inside(t, "log", "verify", "--replicas", a, b, "-o", "json")
	var d map[string]any
	if err := json.Unmarshal([]byte(strings.SplitN(out, "\n", 2)[0]), &d); err != nil || d["type"] != "difference" ||
		d["topic"] != "golden" || d["offset"] != 12.0 {
		t.Errorf("as JSON: %v, %s", err, out)
	}
	if code, _, _ := inside(t, "log", "verify", "--replicas", a); code != exitUsage {
		t.Errorf("one folder: exit code %d", code)
	}
	if code, _, _ := inside(t, "log", "verify", "--replicas", a, filepath.Join(b, "nowhere")); code != exitData {
		t.Errorf("a folder that is not there: exit code %d", code)
	}
}
