package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is a program that runs beside the test. Its output is kept, and may be waited for.
type Process struct {
	name string
	cmd  *exec.Cmd
	out  output // what it wrote to stdout
	err  output // what it wrote to stderr
	done chan struct{}
	exit error // valid once done is closed
}

// output is a growing text that can be waited on.
type output struct {
	mu     sync.Mutex
	buf    bytes.Buffer
	change chan struct{} // closed and replaced at every write
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf.Write(p)
	if o.change != nil {
		close(o.change)
		o.change = nil
	}
	return len(p), nil
}

// now returns the text so far and a channel that closes when it has grown.
func (o *output) now() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.change == nil {
		o.change = make(chan struct{})
	}
	return o.buf.String(), o.change
}

// Spawn starts a program; it is killed when the test ends.
func Spawn(tb testing.TB, stdin io.Reader, argv ...string) *Process {
	tb.Helper()
	return SpawnTo(tb, stdin, nil, argv...)
}

// SpawnTo is Spawn of a program whose stdout goes to a writer of the test, if not nil, and is not kept.
func SpawnTo(tb testing.TB, stdin io.Reader, stdout io.Writer, argv ...string) *Process {
	tb.Helper()
	p := &Process{name: argv[0], cmd: exec.Command(argv[0], argv[1:]...), done: make(chan struct{})}
	p.cmd.Stdin = stdin
	p.cmd.Stdout = stdout
	if stdout == nil {
		p.cmd.Stdout = &p.out
	}
	p.cmd.Stderr = &p.err
	p.cmd.Dir = tb.TempDir()
	// A test binary that is killed itself takes its children with it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := start(p.cmd); err != nil {
		tb.Fatalf("start %s: %v", strings.Join(argv, " "), err)
	}
	go func() {
		p.exit = p.cmd.Wait()
		close(p.done)
	}()
	tb.Cleanup(func() { p.Signal(tb, os.Kill) })
	return p
}

// Stdout is what the program has written so far.
func (p *Process) Stdout() string { s, _ := p.out.now(); return s }

// Stderr is what the program has written so far.
func (p *Process) Stderr() string { s, _ := p.err.now(); return s }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Await waits until stdout satisfies cond, and fails the test when the program ends or the time is up before.
func (p *Process) Await(tb testing.TB, limit time.Duration, what string, cond func(stdout string) bool) {
	tb.Helper()
	await(tb, p, &p.out, limit, what, cond)
}

// AwaitErr is Await on stderr.
func (p *Process) AwaitErr(tb testing.TB, limit time.Duration, what string, cond func(stderr string) bool) {
	tb.Helper()
	await(tb, p, &p.err, limit, what, cond)
}

func await(tb testing.TB, p *Process, o *output, limit time.Duration, what string, cond func(string) bool) {
	tb.Helper()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		text, change := o.now()
		if cond(text) {
			return
		}
		select {
		case <-change:
		case <-p.done:
			if text, _ := o.now(); cond(text) {
				return
			}
			tb.Fatalf("%s ended (%v) before: %s\n%s", p.name, p.exit, what, p.tail())
		case <-timer.C:
			tb.Fatalf("%s: not seen in %v: %s\n%s", p.name, limit, what, p.tail())
		}
	}
}

func (p *Process) tail() string {
	return "stdout:\n" + Tail(p.Stdout(), 40) + "\nstderr:\n" + Tail(p.Stderr(), 40)
}

// Signal sends sig; after SIGKILL it also waits for the end.
func (p *Process) Signal(tb testing.TB, sig os.Signal) {
	select {
	case <-p.done:
		return
	default:
	}
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		tb.Logf("signal %v to %s: %v", sig, p.name, err)
	}
	if sig == os.Kill {
		<-p.done
	}
}

// Wait waits for the end and returns the exit code. At the limit the program is killed and the test fails.
func (p *Process) Wait(tb testing.TB, limit time.Duration) int {
	tb.Helper()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-timer.C:
		text := p.tail()
		p.Signal(tb, os.Kill)
		tb.Fatalf("%s did not end in %v\n%s", p.name, limit, text)
		return -1
	}
}

// Result is what a finished program left.
type Result struct {
	Command string
	Stdout  string
	Stderr  string
	Code    int
	Took    time.Duration
}

// Both is stdout and stderr, for errors that a tool may print on either.
func (r Result) Both() string { return r.Stdout + r.Stderr }

// Want fails the test unless the program ended with code 0 and its stdout has every one of parts.
func (r Result) Want(tb testing.TB, parts ...string) Result {
	tb.Helper()
	if r.Code != 0 {
		tb.Fatalf("%s: exit code %d\nstdout:\n%s\nstderr:\n%s", r.Command, r.Code, Tail(r.Stdout, 60), Tail(r.Stderr, 60))
	}
	for _, part := range parts {
		if !strings.Contains(r.Stdout, part) {
			tb.Fatalf("%s: %q is not in its output\nstdout:\n%s\nstderr:\n%s", r.Command, part, Tail(r.Stdout, 60),
				Tail(r.Stderr, 60))
		}
	}
	return r
}

// Run runs a program to its end. A program that outlives the limit is killed and fails the test.
func Run(tb testing.TB, limit time.Duration, stdin string, argv ...string) Result {
	tb.Helper()
	return RunIn(tb, tb.TempDir(), nil, limit, stdin, argv...)
}

// RunIn is Run in a folder, with additions to the environment.
func RunIn(tb testing.TB, dir string, env []string, limit time.Duration, stdin string, argv ...string) Result {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.WaitDelay = 2 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	began := time.Now()
	err := start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	r := Result{Command: shorten(argv), Stdout: out.String(), Stderr: errs.String(), Took: time.Since(began)}
	if ctx.Err() != nil {
		tb.Fatalf("%s: still running after %v\nstdout:\n%s\nstderr:\n%s", r.Command, limit, Tail(r.Stdout, 40),
			Tail(r.Stderr, 40))
	}
	if cmd.ProcessState == nil {
		tb.Fatalf("%s: %v", r.Command, err)
	}
	r.Code = cmd.ProcessState.ExitCode()
	return r
}

// shorten leaves out the long, always equal part of a Java command line.
func shorten(argv []string) string {
	if argv[0] != "java" {
		return strings.Join(argv, " ")
	}
	for i, a := range argv {
		if a == "-cp" && i+2 <= len(argv) {
			return "java " + strings.Join(argv[i+2:], " ")
		}
	}
	return strings.Join(argv, " ")
}

// Tail is the last n lines of text.
func Tail(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > n {
		lines = append([]string{fmt.Sprintf("(%d lines before)", len(lines)-n)}, lines[len(lines)-n:]...)
	}
	return strings.Join(lines, "\n")
}
