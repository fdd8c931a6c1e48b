package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"moldau.io/moldau/storage"
	"moldau.io/moldau/storage/inspect"
	"moldau.io/moldau/storage/vfs"
)

func newLogRepair(w world) *cobra.Command {
	var skip, dry, yes bool
	cmd := &cobra.Command{
		Use:   "repair DIR",
		Short: "Put a damaged data folder, or one partition of it, in order",
		Long: "Put a damaged data folder, or one partition's folder in it, in order, while no broker uses it. What will be done is " +
			"shown first, with the records that are lost, and is done with --yes or after a typed yes.\n\n" +
			"A damaged log is cut where the damage begins, so that it is a correct prefix of what it was; with --skip only what is " +
			"damaged is dropped, and what follows stays at its offsets. Indexes, producer snapshots and leader epochs are made anew. " +
			"Nothing is deleted: what is cut off or replaced is moved into a folder moldau.repair-TIME in the data folder.",
		Example: "  moldau log repair /var/lib/moldau --dry-run\n  moldau log repair /var/lib/moldau/rides-0 --skip --yes",
		Args:    cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	f.BoolVar(&skip, "skip", false, "drop what is damaged and keep what follows")
	f.BoolVar(&dry, "dry-run", false, "show what would be done, and do nothing")
	f.BoolVarP(&yes, "yes", "y", false, "do it without asking")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		return repair(w, filepath.ToSlash(filepath.Clean(args[0])), skip, dry, yes)
	}
	return cmd
}

func repair(w world, dir string, skip, dry, yes bool) (err error) {
	fsys := vfs.OS()
	if st, err := fsys.Stat(dir); err != nil || !st.Dir {
		return dataErrorf("%s is no folder; name a data folder or a partition's folder in one", dir)
	}
	data := dir
	if _, ok := storage.ParseFolder(path.Base(dir)); ok {
		data = path.Dir(dir)
	}
	if _, found, err := storage.ReadMeta(vfs.ReadOnly(), data); err != nil || !found {
		return dataErrorf("%s is no data folder: %w", data, errors.Join(err, errNoMeta(found)))
	}
	lock, err := storage.TakeFolder(fsys, data)
	var held *vfs.LockedError
	switch {
	case errors.As(err, &held):
		return dataErrorf("%s is in use: %w; stop that broker first", data, err)
	case err != nil && !(dry && (errors.Is(err, fs.ErrPermission) || isReadOnly(err))):
		return dataErrorf("%s: %w", data, err)
	case err == nil:
		defer func() { err = errors.Join(err, lock.Close()) }()
	}
	r := &inspect.Repairer{FS: fsys, Skip: skip}
	if dry {
		r.FS = vfs.ReadOnly()
	}
	plan, err := r.Plan(dir)
	if err != nil {
		return dataErrorf("%w", err)
	}
	now := time.Now()
	aside := inspect.Aside(r.FS, data, now)
	printPlan(w.stdout, plan, aside, skip)
	switch {
	case plan.Empty(), dry:
		return nil
	case !yes && !confirmed(w):
		return errors.New("nothing was changed")
	}
	if err := r.Apply(plan, aside, now); err != nil {
		return err
	}
	fmt.Fprintf(w.stdout, "repaired; what was taken away is in %s\n", aside)
	return nil
}

func errNoMeta(found bool) error {
	if found {
		return nil
	}
	return errors.New("it has no meta.properties")
}

func isReadOnly(err error) bool { return strings.Contains(err.Error(), "read-only file system") }

// confirmed asks for a typed yes.
func confirmed(w world) bool {
	fmt.Fprint(w.stderr, "Do it? Type yes: ")
	line, _ := bufio.NewReader(w.stdin).ReadString('\n')
	return strings.TrimSpace(line) == "yes"
}

// printPlan says what will be done.
func printPlan(w io.Writer, plan inspect.Plan, aside string, skip bool) {
	if plan.Empty() {
		fmt.Fprintf(w, "%s: nothing to repair\n", plan.Dir)
		return
	}
	for _, name := range plan.Checkpoints {
		fmt.Fprintf(w, "%s: the lines that are whole are kept\n", path.Join(plan.Dir, name))
	}
	for _, p := range plan.Partitions {
		fmt.Fprintf(w, "%v:\n", p.Partition)
		for _, f := range p.Findings {
			fmt.Fprintf(w, "  found: %s\n", findingLine{lineType{}, f}.text())
		}
		for _, s := range p.Segments {
			printSegmentPlan(w, s)
		}
		fmt.Fprintln(w, "  indexes, producer snapshots and leader epochs are made anew from the log")
		if p.LostFrom < 0 {
			fmt.Fprintf(w, "  no record is lost; the log ends at offset %d\n", p.End)
			continue
		}
		fmt.Fprintf(w, "  LOST: records from offset %d to %d; the log will end at offset %d\n", p.LostFrom, p.LostTo, p.End)
		if p.Rescued {
			fmt.Fprintf(w, "  acknowledged records that waited in %s for the log's former end are moved aside, too\n", storage.RescuedFile)
		}
		if p.Good > 0 && !skip {
			fmt.Fprintf(w, "  %d of them can be read and stand behind the damage; --skip keeps those\n", p.Good)
		}
	}
	fmt.Fprintf(w, "what is taken away goes to %s\n", aside)
}

func printSegmentPlan(w io.Writer, s inspect.SegmentPlan) {
	switch {
	case s.Whole:
		fmt.Fprintf(w, "  segment %d: all of it, %d bytes, is moved aside\n", s.Base, s.Size)
	case s.CutAt >= 0:
		fmt.Fprintf(w, "  segment %d: is cut at byte %d of %d\n", s.Base, s.CutAt, s.Size)
	}
	for _, d := range s.Dropped {
		fmt.Fprintf(w, "  segment %d: bytes %d to %d are dropped\n", s.Base, d.From, d.To-1)
	}
}
