package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"moldau.io/moldau/broker"
)

// TestI30_ScrubOfARunningBroker flips a bit while the broker is stopped: before anybody has read that partition, the scrub
// takes it offline and names the place; the other partition is served on.
func TestI30_ScrubOfARunningBroker(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, nil)
	run := func(want int, in string, args ...string) (string, string) {
		t.Helper()
		code, out, errs := (&shell{t, s.kafka}).try(in, args...)
		if code != want {
			t.Fatalf("%q: exit code %d, %s", args, code, errs)
		}
		return out, errs
	}
	for _, topic := range []string{"good", "bad"} {
		run(0, "", "topic", "create", topic)
		run(0, numbers(1, 300), "produce", topic)
	}
	scrub := func(want int) (st broker.ScrubStatus, errs string) {
		t.Helper()
		out, errs := run(want, "", "log", "scrub", "--admin", s.admin, "-o", "json")
		if err := json.Unmarshal([]byte(out), &st); err != nil {
			t.Fatalf("%v in %q", err, out)
		}
		return st, errs
	}
	if st, _ := scrub(0); st.Bytes == 0 || st.Bytes != st.Of || st.Segments < 2 || len(st.Damaged) != 0 || st.Running {
		t.Fatalf("nothing is wrong: %+v", st)
	}
	if code := s.stop(); code != 0 {
		t.Fatal("exit code", code)
	}
	name := filepath.Join(dir, "bad-0", "00000000000000000000.log")
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 4
	if err := os.WriteFile(name, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	s = start(t, dir, nil)
	st, errs := scrub(1)
	if len(st.Damaged) != 1 || st.Damaged[0].Topic != "bad" || !strings.Contains(st.Damaged[0].Reason, name) ||
		!strings.Contains(errs, "1 damaged partition") {
		t.Fatalf("%+v, %q", st, errs)
	}
	if out, _ := run(1, "", "log", "scrub", "--admin", s.admin); !strings.Contains(out, "bad") || !strings.Contains(out, name) {
		t.Errorf("as a table: %s", out)
	}
	if out, _ := run(0, "", "consume", "good", "-n", "300", "--from", "beginning"); out != numbers(1, 300) {
		t.Errorf("the good one: %d bytes", len(out))
	}
	if _, errs := run(1, "", "log", "scrub", "--admin", "127.0.0.1:1"); !strings.Contains(errs, "--admin-listen") {
		t.Errorf("no broker: %s", errs)
	}
}
