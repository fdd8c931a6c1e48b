//go:build compat

package cluster

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"moldau.io/moldau/compat-tests/harness"
)

// javaActors is one Java process whose clients play in all stories.
type javaActors struct {
	process *harness.Process
	stdin   *os.File

	mu     sync.Mutex
	part   []byte            // of a line
	stages map[string]*stage // by the client's name
}

func startJava(t *testing.T) *javaActors {
	t.Helper()
	j := &javaActors{stages: map[string]*stage{}}
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	j.stdin = out
	j.process = harness.SpawnTo(t, in, j, harness.Java(harness.JavaBuild(t, "compat-tests/cluster/java", "java-4.4"), "Actors")...)
	in.Close()
	t.Cleanup(func() {
		out.Close()
		if t.Failed() {
			t.Logf("the Java clients wrote to stderr:\n%s", harness.Tail(j.process.Stderr(), 15))
			keepFile(t, "java.log", []byte(j.process.Stderr()))
		}
	})
	return j
}

// Write takes what the process writes to the histories.
func (j *javaActors) Write(text []byte) (int, error) {
	j.mu.Lock()
	j.part = append(j.part, text...)
	events := map[*stage][]Event{}
	for {
		line, rest, ok := bytes.Cut(j.part, []byte("\n"))
		if !ok {
			break
		}
		j.part = rest
		e, err := parseLine(string(line))
		if err != nil {
			e = Event{At: now(), Kind: Error, Why: err.Error()}
		}
		if s := j.stages[e.Who]; s != nil {
			events[s] = append(events[s], e)
		}
	}
	j.part = bytes.Clone(j.part)
	j.mu.Unlock()
	for s, list := range events {
		s.add(list...)
	}
	return len(text), nil
}

// prefix makes the names of a story's clients different from those of others.
func (s *stage) prefix() string {
	return strings.NewReplacer("/", ".", " ", ".").Replace(s.t.Name()) + "."
}

func (j *javaActors) command(s *stage, format string, args ...any) {
	s.t.Helper()
	if _, err := fmt.Fprintf(j.stdin, format+"\n", args...); err != nil {
		s.t.Errorf("a command to the Java clients: %v", err)
	}
}

// javaActor opens a client in the Java process.
func (s *stage) javaActor(name, topic string, style Style, partitions int, options ...string) actor {
	s.t.Helper()
	full := s.prefix() + name
	if style == Member {
		options = append(options, "group="+GroupOf(full))
	}
	s.java.mu.Lock()
	s.java.stages[full] = s
	s.java.mu.Unlock()
	s.java.command(s, "open %s style=%s bootstrap=%s topic=%s partitions=%d %s", full, style, s.cluster.Bootstrap(), topic,
		partitions, strings.Join(options, " "))
	a := actor{name: full, topic: topic, style: style, close: func() { s.java.command(s, "close %s", full) }}
	if style != Member {
		a.grow = func(n int) { s.java.command(s, "partitions %s %d", full, n) }
	}
	return a
}
