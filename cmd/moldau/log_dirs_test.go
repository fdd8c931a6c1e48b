package main

import (
	"strings"
	"testing"
)

// TestLogsAreMovedByCommand: the folders are shown, a log goes to the other one, and what is wrong is told.
func TestLogsAreMovedByCommand(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	s := &shell{t, start(t, a+","+b, nil).kafka}
	s.do("topic", "create", "t", "-p", "2")
	s.feed("one\ntwo\nthree\n", "produce", "t")
	var views []dirView
	s.object(&views, "log", "dirs")
	if len(views) != 2 || views[0].Partitions+views[1].Partitions != 2 || views[0].Free <= 0 || views[0].Broker != 1 {
		t.Fatalf("%+v", views)
	}
	for _, dir := range []string{b, a, a} { // the second time it is there already
		if out := s.do("log", "move", "t:0", dir); !strings.Contains(out, "t:0 is in "+dir) {
			t.Errorf("moved to %s: %s", dir, out)
		}
	}
	lines := strings.Split(s.do("log", "dirs"), "\n")
	if head := words(lines[0]); strings.Join(head, " ") != "BROKER DIR PARTITIONS BYTES FREE TOTAL STATE" {
		t.Errorf("heading %v", head)
	}
	for _, line := range lines[1:3] {
		if w := words(line); len(w) != 7 || w[6] != "online" {
			t.Errorf("line %q", line)
		}
	}
	if got := s.do("consume", "t", "--from", "start", "-e"); strings.Count(got, "\n") != 3 {
		t.Errorf("after the moves: %s", got)
	}
	s.fails(exitFailure, []string{"log", "move", "t:7", a}, "no broker has a log of t:7")
	s.fails(exitFailure, []string{"log", "move", "t:0", "/nowhere"}, "/nowhere is no data folder", a, b)
	s.fails(exitUsage, []string{"log", "move", "t", a}, "TOPIC:PARTITION")
}
