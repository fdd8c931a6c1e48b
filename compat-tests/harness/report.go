package harness

import (
	"fmt"
	"os"
	"strings"
)

// The rest of this file is for the client programs that are written in Go.

// Arguments of a client program: BOOTSTRAP PREFIX PHASE.
type Arguments struct {
	Bootstrap string
	Topic     string
	Group     string
	Second    bool // the phase after the broker's restart
}

// ProgramArguments reads the command line of a client program.
func ProgramArguments() Arguments {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: BOOTSTRAP PREFIX first|second")
		os.Exit(2)
	}
	return Arguments{os.Args[1], os.Args[2] + "-topic", os.Args[2] + "-group", os.Args[3] == "second"}
}

// Scenario runs one scenario and prints its verdict. The first failure ends the program.
func Scenario(name string, run func() error) {
	if err := run(); err != nil {
		fmt.Printf("fail %s: %v\n", name, err)
		os.Exit(1)
	}
	fmt.Println("ok", name)
}

// RecordsPerCodec is how many records each producing scenario writes.
const RecordsPerCodec = 60

var filler = strings.Repeat("x", 200)

// TestRecord is the i-th record of a producing scenario.
func TestRecord(tag string, i int) (key, value string) {
	return fmt.Sprintf("%s-%d", tag, i), fmt.Sprintf("%s:%d:%s", tag, i, filler)
}

// Seen are the keys of the records that a client has read.
type Seen map[string]bool

// Take checks one record and keeps its key.
func (s Seen) Take(key, value, codec string) error {
	if want := strings.Replace(key, "-", ":", 1) + ":" + filler; value != want {
		return fmt.Errorf("the value of %s is %q", key, value)
	}
	if codec == "" {
		return fmt.Errorf("%s has no header", key)
	}
	if s[key] {
		return fmt.Errorf("%s came twice", key)
	}
	s[key] = true
	return nil
}

// Equal fails unless s has exactly the keys of want.
func (s Seen) Equal(want Seen) error {
	for key := range want {
		if !s[key] {
			return fmt.Errorf("%s was not read (%d of %d were)", key, len(s), len(want))
		}
	}
	if len(s) != len(want) {
		return fmt.Errorf("%d records were read, %d were written", len(s), len(want))
	}
	return nil
}
