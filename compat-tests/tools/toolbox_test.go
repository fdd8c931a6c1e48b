//go:build compat

package tools

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"moldau.io/moldau/compat-tests/harness"
)

// toolbox is one JVM of one release in which tools run one after the other.
type toolbox struct {
	release string
	in      io.Writer
	out     *bufio.Reader
	mu      sync.Mutex
}

// openToolbox starts the JVM with a folder of jars: "tools" or "tools-3.9".
func openToolbox(t *testing.T, jars string) *toolbox {
	t.Helper()
	b := &toolbox{release: jars}
	argv := harness.Java(harness.JavaBuild(t, "compat-tests/tools/toolbox", jars), "Toolbox")
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = t.TempDir()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := harness.StartProgram(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	b.in, b.out = in, bufio.NewReader(out)
	return b
}

// The main classes that a toolbox can run.
const (
	consumerGroups  = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
	groups          = "org.apache.kafka.tools.GroupsCommand"
	configs         = "kafka.admin.ConfigCommand"
	dumpLog         = "org.apache.kafka.tools.DumpLogSegments"
	consoleConsumer = "org.apache.kafka.tools.consumer.ConsoleConsumer"
)

// run runs one command to its end.
func (b *toolbox) run(t *testing.T, words ...string) harness.Result {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	began := time.Now()
	done := make(chan error, 1)
	r := harness.Result{Command: b.release + " " + strings.Join(words, " ")}
	go func() {
		if _, err := fmt.Fprintln(b.in, strings.Join(words, "\t")); err != nil {
			done <- err
			return
		}
		var outBytes, errBytes int
		line, err := b.out.ReadString('\n')
		if err == nil {
			_, err = fmt.Sscan(line, &r.Code, &outBytes, &errBytes)
		}
		text := make([]byte, outBytes+errBytes)
		if err == nil {
			_, err = io.ReadFull(b.out, text)
		}
		r.Stdout, r.Stderr = string(text[:outBytes]), string(text[outBytes:])
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Fatalf("%s: %v", r.Command, err)
		}
	case <-time.After(90 * time.Second):
		t.Fatalf("%s: still running after 90 s", r.Command)
	}
	if r.Took = time.Since(began); r.Took > time.Second {
		t.Logf("%.1f s: %s", r.Took.Seconds(), r.Command)
	}
	return r
}

// must is run for what has to work.
func (b *toolbox) must(t *testing.T, words ...string) harness.Result {
	t.Helper()
	return b.run(t, words...).Want(t)
}
