package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// program is the binary under test, built once by TestMain.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "moldau-test")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "moldau")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// testTime bounds everything that a test waits for.
const testTime = 30 * time.Second

// command runs the binary to its end.
func command(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(cleanEnv(), env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("%q did not end; it said %s", args, errs.String())
	}
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// cleanEnv is the environment without what would configure a broker.
func cleanEnv() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "KAFKA_") && !strings.HasPrefix(e, "MOLDAU_") && !strings.HasPrefix(e, "CLUSTER_ID=") {
			env = append(env, e)
		}
	}
	return env
}

// served is a running broker.
type served struct {
	*testing.T
	cmd      *exec.Cmd
	kafka    string // its real address
	admin    string
	cluster  string
	lines    chan string // what it says on stderr, from the start
	seen     []string
	stopOnce sync.Once
}

var readyForm = regexp.MustCompile(`^ready node=(\d+) cluster=([A-Za-z0-9_-]{22}) kafka=(\S+) admin=(\S+) start=(\S+)$`)

// start runs serve on free ports and waits until it is ready.
func start(t *testing.T, dir string, env []string, args ...string) *served {
	t.Helper()
	return startWith(t, env, append([]string{
		"--data", dir, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
	}, args...)...)
}

// startWith runs serve with these flags alone and waits until it is ready.
func startWith(t *testing.T, env []string, args ...string) *served {
	t.Helper()
	cmd := exec.Command(program, append([]string{"serve"}, args...)...)
	cmd.Env = append(cleanEnv(), env...)
	cmd.Dir = t.TempDir()
	pipe, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &served{T: t, cmd: cmd, lines: make(chan string, 1024)}
	go func(r io.Reader) {
		defer close(s.lines)
		for sc := bufio.NewScanner(r); sc.Scan(); {
			s.lines <- sc.Text()
		}
	}(pipe)
	t.Cleanup(s.kill)
	m := readyForm.FindStringSubmatch(s.await("ready "))
	if m == nil {
		t.Fatalf("the ready line has another form: %q", s.seen[len(s.seen)-1])
	}
	s.cluster, s.kafka, s.admin = m[2], m[3], m[4]
	if took, err := time.ParseDuration(m[5]); err != nil || took <= 0 {
		t.Errorf("start=%s", m[5])
	}
	return s
}

// await is the next line that begins with prefix, or that holds it in the form of a log line.
func (s *served) await(part string) string {
	s.Helper()
	timeout := time.After(testTime)
	for {
		select {
		case line, ok := <-s.lines:
			if !ok {
				s.Fatalf("the broker ended without saying %q; it said\n%s", part, strings.Join(s.seen, "\n"))
			}
			s.seen = append(s.seen, line)
			if strings.Contains(line, part) {
				return line
			}
		case <-timeout:
			s.Fatalf("the broker did not say %q; it said\n%s", part, strings.Join(s.seen, "\n"))
		}
	}
}

// stop sends SIGTERM and gives the exit code.
func (s *served) stop() int {
	s.Helper()
	code := -1
	s.stopOnce.Do(func() {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		code = s.wait()
	})
	return code
}

func (s *served) wait() int {
	timer := time.AfterFunc(testTime, func() { _ = s.cmd.Process.Kill() })
	defer timer.Stop()
	for line := range s.lines {
		s.seen = append(s.seen, line)
	}
	_ = s.cmd.Wait()
	return s.cmd.ProcessState.ExitCode()
}

func (s *served) kill() {
	s.stopOnce.Do(func() {
		_ = s.cmd.Process.Kill()
		s.wait()
	})
	if s.Failed() {
		s.Logf("the broker said\n%s", strings.Join(s.seen, "\n"))
	}
}
