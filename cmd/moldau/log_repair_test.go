package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRepairLife damages a partition under a broker's feet: verify finds it, the broker takes it offline, repair puts it in
// order, and the broker serves what was before the damage, or around it with --skip.
func TestRepairLife(t *testing.T) {
	for _, skip := range []bool{false, true} {
		dir := t.TempDir()
		sv := start(t, dir, nil)
		s := &shell{t, sv.kafka}
		s.do("topic", "create", "rides")
		for i := range 5 {
			s.feed(numbers(i*10, i*10+9), "produce", "rides")
		}
		if code, out, errs := inside(t, "log", "repair", dir, "--yes"); code != exitData || !strings.Contains(errs, "process") {
			t.Fatalf("beside a running broker: exit code %d, %s%s", code, out, errs)
		}
		sv.stop()

		log := filepath.Join(dir, "rides-0", "00000000000000000000.log")
		third := strings.Split(dumpText(t, log), "\n")[3]
		if !strings.Contains(third, "batch 20..29") {
			t.Fatalf("the third batch is %s", third)
		}
		raw, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		flip(t, log, bytes.Index(raw, []byte("25")))
		if code, out, _ := inside(t, "log", "verify", dir); code != exitFailure || !strings.Contains(out, "offset 20") {
			t.Fatalf("verify: exit code %d, %s", code, out)
		}
		args := []string{"log", "repair", dir}
		if skip {
			args = append(args, "--skip")
		}
		code, out, _ := inside(t, append(args, "--dry-run")...)
		lost := "LOST: records from offset 20 to 49; the log will end at offset 20"
		if skip {
			lost = "LOST: records from offset 20 to 29; the log will end at offset 50"
		}
		if code != exitOK || !strings.Contains(out, lost) {
			t.Fatalf("the plan: exit code %d, %s", code, out)
		}
		// Nobody says yes.
		var no bytes.Buffer
		if code := run(context.Background(), world{strings.NewReader("no\n"), &no, &no, nil}, args); code != exitFailure ||
			!strings.Contains(no.String(), "nothing was changed") {
			t.Fatalf("without a yes: exit code %d, %s", code, no.String())
		}
		if code, _, _ := inside(t, "log", "verify", dir); code != exitFailure {
			t.Fatal("it was repaired though nobody said yes")
		}
		if code, out, errs := inside(t, append(args, "--yes")...); code != exitOK || !strings.Contains(out, "repaired;") {
			t.Fatalf("repair: exit code %d, %s%s", code, out, errs)
		}
		if code, out, _ := inside(t, "log", "verify", dir); code != exitOK {
			t.Fatalf("verify after the repair: exit code %d, %s", code, out)
		}
		if code, out, _ := inside(t, "log", "repair", dir); code != exitOK || !strings.Contains(out, "nothing to repair") {
			t.Fatalf("repair after the repair: exit code %d, %s", code, out)
		}

		sv = start(t, dir, nil)
		s = &shell{t, sv.kafka}
		want := numbers(0, 19)
		if skip {
			want += numbers(30, 49)
		}
		if got := s.do("consume", "rides", "--from", "start", "--exit"); got != want {
			t.Errorf("skip=%v: the broker serves %q, not %q", skip, got, want)
		}
		sv.stop()
	}
}

func dumpText(t *testing.T, path string) string {
	t.Helper()
	code, out, errs := inside(t, "log", "dump", path)
	if code != 0 {
		t.Fatal(code, errs)
	}
	return out
}

func TestRepairRefusesWhatIsNoDataFolder(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{dir, filepath.Join(dir, "none")} {
		if code, out, errs := inside(t, "log", "repair", name, "--yes"); code != exitData {
			t.Errorf("%s: exit code %d, %s%s", name, code, out, errs)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("a lock was left in a folder that is none of a broker's: %v", left)
	}
}
