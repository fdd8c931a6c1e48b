// Command moldau is a Kafka broker in one binary, with the commands to run and to look at it. This package holds flags,
// subcommands and wiring; what the broker does is in the packages that it wires up.
//
// Invariant: data goes to stdout, everything else to stderr; the exit code is 0 on success, 1 on failure, 2 on bad usage
// and 3 when a data folder cannot be used.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// The exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
	exitData    = 3
)

// world is what a command sees of the process that runs it.
type world struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string
}

func main() {
	os.Exit(run(context.Background(), world{os.Stdin, os.Stdout, os.Stderr, os.Environ()}, os.Args[1:]))
}

// run is main without the process: it runs the command that args name and gives the exit code.
func run(ctx context.Context, w world, args []string) int {
	root := newRoot(w)
	root.SetArgs(args)
	started := false // whatever fails before a command runs is a fault in how it was called
	root.PersistentPreRun = func(*cobra.Command, []string) { started = true }
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	code := exitFailure
	var e *exitError
	if errors.As(err, &e) {
		code = e.code
	} else if !started {
		code = exitUsage
	}
	fmt.Fprintf(w.stderr, "moldau: %v\n", err)
	if code == exitUsage {
		fmt.Fprintf(w.stderr, "Run '%s --help' for usage.\n", cmd.CommandPath())
	}
	return code
}

func newRoot(w world) *cobra.Command {
	root := &cobra.Command{
		Use:           "moldau",
		Short:         "A Kafka broker in one binary",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(w.stdin)
	root.SetOut(w.stdout)
	root.SetErr(w.stderr)
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(newServe(w), newDev(w), newVersion(w), newTopic(w), newProduce(w), newConsume(w), newGroup(w),
		newLog(w), newCluster(w))
	return root
}

// exitError is an error that wants a certain exit code.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usageErrorf is an error for exit code 2: the command was called wrongly or configured wrongly.
func usageErrorf(format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// dataErrorf is an error for exit code 3: the data folder cannot be used.
func dataErrorf(format string, args ...any) error {
	return &exitError{code: exitData, err: fmt.Errorf(format, args...)}
}

// output is the value of -o.
type output string

const (
	outputTable output = "table"
	outputJSON  output = "json"
)

// addOutputFlag gives cmd its -o, which every command that prints data has.
func addOutputFlag(cmd *cobra.Command) *output {
	o := outputTable
	cmd.Flags().VarP(&o, "output", "o", "how to print: table or json")
	return &o
}

func (o *output) String() string { return string(*o) }
func (o *output) Type() string   { return "table|json" }

// Set takes a value given on the command line.
func (o *output) Set(s string) error {
	switch output(s) {
	case outputTable, outputJSON:
		*o = output(s)
		return nil
	}
	return fmt.Errorf("it must be table or json")
}
