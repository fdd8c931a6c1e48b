//go:build bench

package storage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// A measurement that needs a process of its own runs this binary once more, with the name of its work in childVariable and
// the folder in folderVariable. The child prints what it found as JSON.
const (
	childVariable  = "MOLDAU_BENCH_CHILD"
	folderVariable = "MOLDAU_BENCH_FOLDER"
)

var children = map[string]func() error{
	"open":  openInChild,
	"drain": drainInChild,
	"write": writeInChild,
	"crash": crashInChild,
}

// found is what a child measured.
type found struct {
	Millis float64
	RSS    int64 // bytes resident when the store was open
	Peak   int64 // bytes resident at most
	Heap   int64 // bytes of live objects
	Read   int64 // bytes that read calls returned
	Logs   int
	Behind int64 // bytes behind the recovery points
}

// runChild runs the work of that name on dir.
func runChild(t testing.TB, name, dir string) found {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+name, folderVariable+"="+dir)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	var f found
	if err = errors.Join(err, json.Unmarshal(out, &f)); err != nil {
		t.Fatalf("%s in a process of its own: %v\n%s", name, err, complaints.Bytes())
	}
	return f
}

// procRow is the number in a row of a file of /proc/self.
func procRow(file, name string) (int64, error) {
	raw, err := os.ReadFile("/proc/self/" + file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			return strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		}
	}
	return 0, fmt.Errorf("/proc/self/%s has no row %s", file, name)
}
