// Package script runs data-driven tests: files of commands with the transcript that they must give. A file is a row of
// blocks with an empty line between them. A block is commands, one a line, then a line of four dashes, then what came out:
//
//	# b does not come back during a rebalance
//	join c
//	advance 60s
//	----
//	c: generation=5 leader=a
//
// Lines that begin with # are comments and stay. With the flag -rewrite the files are written anew with the output as it
// is, to be reviewed as a diff.
//
// Invariant: a file whose transcript is right is rewritten byte for byte as it was.
package script

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// rewrite is the flag of the test binary. Flags have to be registered before tests run, hence the variable.
var rewrite = flag.Bool("rewrite", false, "write the transcripts of script tests anew")

const divider = "----"

// Command is one line of a script: a name and its arguments, of which those with an equals sign are named.
type Command struct {
	Name string
	Args []string          // without a name, in their order
	Opts map[string]string // by name
	Line string            // as it stands in the file
}

// Has says whether the option or the bare word is there.
func (c Command) Has(word string) bool {
	if _, ok := c.Opts[word]; ok {
		return true
	}
	for _, a := range c.Args {
		if a == word {
			return true
		}
	}
	return false
}

// Opt is an option's value, or what to take without it.
func (c Command) Opt(name, otherwise string) string {
	if v, ok := c.Opts[name]; ok {
		return v
	}
	return otherwise
}

// RunAll runs every file that the pattern matches as a subtest. start gives each file its own state: a function that does
// one command and returns what came out, lines with or without a newline at the end.
func RunAll(t *testing.T, pattern string, start func(t *testing.T) func(Command) string) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts match %s (%v)", pattern, err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			Run(t, f, start(t))
		})
	}
}

// Run runs one file.
func Run(t *testing.T, file string, do func(Command) string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out := transcript(string(text), do)
	if out == string(text) {
		return
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(out), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	was, is := strings.Split(string(text), "\n"), strings.Split(out, "\n")
	for i := range max(len(was), len(is)) {
		a, b := at(was, i), at(is, i)
		if a != b {
			t.Fatalf("%s:%d\n  wanted: %s\n  got:    %s\n\nthe whole transcript (-rewrite writes it):\n%s", file, i+1, a, b, out)
		}
	}
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(end of the file)"
}

// transcript is text with the output of every block as do gives it.
func transcript(text string, do func(Command) string) string {
	var out, result strings.Builder
	inInput := true
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		switch {
		case line == divider:
			out.WriteString(divider + "\n" + result.String())
			result.Reset()
			inInput = false
		case line == "":
			out.WriteString("\n")
			inInput = true
		case !inInput:
			// the old output
		default:
			out.WriteString(line + "\n")
			if !strings.HasPrefix(line, "#") {
				if got := do(parse(line)); got != "" {
					result.WriteString(strings.TrimSuffix(got, "\n") + "\n")
				}
			}
		}
	}
	return out.String()
}

func parse(line string) Command {
	c := Command{Line: line, Opts: map[string]string{}}
	for i, word := range strings.Fields(line) {
		name, value, named := strings.Cut(word, "=")
		switch {
		case i == 0:
			c.Name = word
		case named:
			c.Opts[name] = value
		default:
			c.Args = append(c.Args, word)
		}
	}
	return c
}
