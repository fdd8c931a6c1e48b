package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"moldau.io/moldau/storage/inspect"
	"moldau.io/moldau/storage/vfs"
)

// verifyProgress is how often long work says how far it is.
const verifyProgress = 2 * time.Second

func newLogVerify(w world) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify PATH...",
		Short: "Check everything in data folders or partition folders",
		Long: "Read everything in a data folder, or in one partition's, and say what does not check out or does not fit together: " +
			"checksums, records, offsets, indexes, aborted transactions, producers, leader epochs, checkpoints. It only reads, and " +
			"takes no lock: a broker may be using the folder.\n\n" +
			"With --replicas the paths are the data folders of several brokers, and what they have of the same partitions is " +
			"compared byte for byte; the first difference of each is told. While records are written, followers are behind.\n\n" +
			"Exit codes: 0 all is well, 1 there is damage or a difference, 3 a folder cannot be read.",
		Example: "  moldau log verify /var/lib/moldau\n  moldau log verify /var/lib/moldau/rides-0 -o json\n" +
			"  moldau log verify --replicas /mnt/broker1 /mnt/broker2 /mnt/broker3a,/mnt/broker3b",
		Args: cobra.MinimumNArgs(1),
	}
	replicas := cmd.Flags().Bool("replicas", false, "compare the data folders of several brokers")
	out := addOutputFlag(cmd)
	cmd.RunE = func(_ *cobra.Command, paths []string) error {
		p := newLinePrinter(w.stdout, *out)
		if *replicas {
			return compareReplicas(w, p, paths)
		}
		damage := 0
		for _, name := range paths {
			sum, err := verify(w, p, filepath.ToSlash(filepath.Clean(name)))
			if err != nil {
				return errors.Join(dataErrorf("cannot check %s: %w", name, err), p.flush())
			}
			damage += sum.Damage
			if err := p.print(summaryLine{lineType{"summary"}, name, sum}); err != nil {
				return err
			}
		}
		if err := p.flush(); err != nil {
			return err
		}
		if damage > 0 {
			return fmt.Errorf("there is damage: %d findings", damage)
		}
		return nil
	}
	return cmd
}

// sayProgress tells on stderr from time to time how far somebody is who reads much. The format's first value is the MiB.
func sayProgress(w world, format string, more ...any) func(bytes int64) {
	told := time.Now()
	return func(bytes int64) {
		if now := time.Now(); now.Sub(told) >= verifyProgress {
			told = now
			fmt.Fprintf(w.stderr, format, append([]any{bytes >> 20}, more...)...)
		}
	}
}

func verify(w world, p *linePrinter, name string) (inspect.Summary, error) {
	var failed error
	v := &inspect.Verifier{
		FS: vfs.ReadOnly(),
		Report: func(f inspect.Finding) {
			failed = errors.Join(failed, p.print(findingLine{lineType{"finding"}, f}), p.flush())
		},
		Progress: sayProgress(w, "%[2]s: %[1]d MiB read\n", name),
	}
	sum, err := v.Verify(name)
	return sum, errors.Join(err, failed)
}

type findingLine struct {
	lineType
	inspect.Finding
}

func (l findingLine) text() string {
	var s strings.Builder
	if l.Note {
		s.WriteString("note: ")
	} else {
		s.WriteString("DAMAGE: ")
	}
	s.WriteString(l.File)
	if l.Byte >= 0 {
		fmt.Fprintf(&s, ", byte %d", l.Byte)
	}
	if l.Offset >= 0 {
		fmt.Fprintf(&s, ", offset %d", l.Offset)
	}
	fmt.Fprintf(&s, ": %s; %s", l.What, l.Do)
	return s.String()
}

// MarshalJSON names the fields as the other lines do.
func (l findingLine) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Type   string `json:"type"`
		Damage bool   `json:"damage"`
		File   string `json:"file"`
		Byte   int64  `json:"byte"`
		Offset int64  `json:"offset"`
		What   string `json:"what"`
		Do     string `json:"do"`
	}{"finding", !l.Note, l.File, l.Byte, int64(l.Offset), l.What, l.Do})
}

type summaryLine struct {
	lineType
	path string
	sum  inspect.Summary
}

func (l summaryLine) text() string {
	verdict := "all is well"
	switch {
	case l.sum.Damage > 0:
		verdict = fmt.Sprintf("DAMAGE in %d places", l.sum.Damage)
	case l.sum.Notes > 0:
		verdict = "no damage"
	}
	if l.sum.Notes > 0 {
		verdict += fmt.Sprintf(", %d notes", l.sum.Notes)
	}
	if l.sum.Running != 0 {
		verdict += fmt.Sprintf(" (in use by process %d, whose newest records were not waited for)", l.sum.Running)
	}
	return fmt.Sprintf("%s: %d partitions, %d segments, %d batches, %d records, %d bytes: %s", l.path, l.sum.Partitions,
		l.sum.Segments, l.sum.Batches, l.sum.Records, l.sum.Bytes, verdict)
}

// MarshalJSON names the fields as the other lines do.
func (l summaryLine) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Type       string `json:"type"`
		Path       string `json:"path"`
		Partitions int    `json:"partitions"`
		Segments   int    `json:"segments"`
		Batches    int64  `json:"batches"`
		Records    int64  `json:"records"`
		Bytes      int64  `json:"bytes"`
		Damage     int    `json:"damage"`
		Notes      int    `json:"notes"`
		Process    int    `json:"process,omitempty"`
	}{"summary", l.path, l.sum.Partitions, l.sum.Segments, l.sum.Batches, l.sum.Records, l.sum.Bytes, l.sum.Damage, l.sum.Notes,
		l.sum.Running})
}
