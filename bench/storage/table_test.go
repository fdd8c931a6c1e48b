//go:build bench

// Package storage measures the log next to what the machine can do: a bare pwrite, a bare sendfile, one fsync a batch. Both
// sides run in one process, in alternating rounds, and every figure is the median over the rounds. It prints a table; only
// what a machine's load cannot change (allocations, system calls, bytes read) is asserted.
//
// The folders are made on the disk that -storage.dir names, which is the temporary one unless it is given.
package storage

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var (
	baseDir = flag.String("storage.dir", "", "where folders are made; empty: the temporary directory")
	rounds  = flag.Int("storage.rounds", 7, "rounds of each measurement that alternates")
	logs    = flag.Int("storage.logs", 10_000, "logs of the folder that is opened and closed")
	crashGB = flag.Int("storage.crash.gb", 10, "gigabytes of the folder that a kill leaves; 0: not measured")
)

func TestMain(m *testing.M) {
	if work := children[os.Getenv(childVariable)]; work != nil {
		if err := work(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	os.Exit(m.Run())
}

// row is one line of the table: what was measured, what it is held against, and the aim.
type row struct{ what, bare, ours, ratio, aim string }

// part is one measurement. Its rows are printed as they come and again all together at the end.
type part struct {
	name    string
	measure func(t *testing.T) []row
}

// parts is the whole table, in its order.
func parts() []part {
	return []part{
		{"append", measureAppend},
		{"read", measureRead},
		{"open", measureOpen},
		{"create", measureCreate},
		{"crash", measureCrash},
		{"fsync", measureFsync},
	}
}

// TestTable prints the table: go test -tags bench -run TestTable -v ./bench/storage
func TestTable(t *testing.T) {
	var all []row
	for _, p := range parts() {
		t.Run(p.name, func(t *testing.T) {
			found := p.measure(t)
			print(found)
			all = append(all, found...)
		})
	}
	fmt.Println()
	print(all)
}

func print(rows []row) {
	fmt.Print("\n| measurement | bare | moldau | ratio | aim |\n|---|---|---|---|---|\n")
	for _, r := range rows {
		fmt.Println("| " + strings.Join([]string{r.what, r.bare, r.ours, r.ratio, r.aim}, " | ") + " |")
	}
}

// tempDir is a new folder that is gone after the test.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(*baseDir, "moldau-bench-storage-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}
