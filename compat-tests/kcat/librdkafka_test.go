//go:build compat

package kcat

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"moldau.io/moldau/compat-tests/harness"
)

func kcat(t *testing.T, stdin string, args ...string) harness.Result {
	t.Helper()
	return harness.Run(t, 60*time.Second, stdin, append([]string{"kcat"}, args...)...)
}

// TestC80_StaticMembers: a static member does not leave when it ends; the next one of its instance goes on at once
// where it was, without the rest of a session timeout.
func TestC80_StaticMembers(t *testing.T) {
	b := harness.Start(t, harness.Config{})
	var lines strings.Builder
	for i := range 30 {
		fmt.Fprintln(&lines, i)
	}
	kcat(t, lines.String(), "-P", "-b", b.Addr, "-t", "static").Want(t)
	read := func(n int) string {
		began := time.Now()
		r := kcat(t, "", "-b", b.Addr, "-G", "group", "-c", fmt.Sprint(n), "-q", "-X", "group.instance.id=one",
			"-X", "session.timeout.ms=45000", "-X", "auto.offset.reset=earliest", "static").Want(t)
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("the member waited %v", took)
		}
		return r.Stdout
	}
	if got := read(10) + read(20); got != lines.String() {
		t.Errorf("the two lives of the member read:\n%s", got)
	}
}
